//! Where UDP datagrams land: the kernel may have joined many of one flow into one piece (UDP_GRO), which is taken apart here.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use super::udp::UdpSocket;
use super::udp::message::Meta;
use super::wire::received_meta;
use crate::api::Encapsulation;
use crate::buffer::{Batch, MAX_LEN, Packet, Pool};
use crate::discard::Discard;
use crate::stats::QueueStats;

/// What was received and is not in a batch yet.
///
/// Concurrency: owned by one queue thread.
pub(super) struct Landing {
    /// A row of places: each takes as many datagrams as the kernel may join.
    octets: Box<[u8]>,
    /// First to last.
    landed: VecDeque<Landed>,
    /// Datagrams that came in one piece lately.
    joined: usize,
}

/// One piece in its place.
#[derive(Clone, Copy)]
struct Landed {
    place: usize,
    meta: Meta,
}

impl Landing {
    pub(super) fn new() -> Self {
        Self {
            // Zeros from the kernel: a page that is never written to is never resident.
            octets: vec![0; PLACES * PLACE].into_boxed_slice(),
            landed: VecDeque::with_capacity(PLACES),
            joined: 1,
        }
    }

    /// Receives what is there, about as much as the batch takes by what came lately.
    pub(super) fn receive(
        &mut self,
        socket: &mut UdpSocket,
        batch: &mut Batch,
        pool: &mut Pool,
        stats: &QueueStats,
    ) -> io::Result<usize> {
        if !self.landed.is_empty() {
            // A batch without room: what has landed lies where more would land.
            return Ok(0);
        }
        let want = (batch.vacancy() / self.joined).clamp(1, PLACES);
        let landed = &mut self.landed;
        let received =
            socket.receive(
                self.octets.chunks_exact_mut(PLACE).take(want),
                |place, meta| match meta.filter(|meta| !meta.truncated) {
                    Some(meta) => landed.push_back(Landed { place, meta }),
                    None => stats.discard(Discard::ReceivedTooLong),
                },
            )?;
        let count = self.take(batch, pool, stats);
        self.joined = (count / received.max(1)).max(1);
        Ok(count)
    }

    /// Copies what has landed apart until the batch is full; the last piece is taken whole. The rest waits for the next batch:
    /// one that held all of it would not fit into the cache.
    pub(super) fn take(&mut self, batch: &mut Batch, pool: &mut Pool, stats: &QueueStats) -> usize {
        let before = batch.len();
        while batch.vacancy() > 0 {
            let Some(Landed { place, meta }) = self.landed.pop_front() else {
                break;
            };
            let start = place * PLACE;
            let octets = self.octets.get(start..start + meta.len).unwrap_or_default();
            take_apart(octets, &meta, batch, pool, stats);
        }
        batch.len() - before
    }
}

/// Makes packets of a piece: each datagram in it is one.
pub(super) fn take_apart(octets: &[u8], meta: &Meta, batch: &mut Batch, pool: &mut Pool, stats: &QueueStats) {
    let each = meta.segment.map_or(octets.len(), usize::from).max(1);
    let meta = received_meta(meta, Encapsulation::Udp);
    // An empty datagram is one, too: the pipeline says what is wrong with it.
    let empty = octets.is_empty().then_some(octets);
    for (index, datagram) in octets.chunks(each).chain(empty).enumerate() {
        if datagram.len() > MAX_LEN || index >= MOST_JOINED {
            stats.discard(Discard::ReceivedTooLong);
            continue;
        }
        let mut packet = pool.take();
        packet.set(datagram);
        packet.meta = meta;
        batch.push(packet);
    }
}

/// What a piece becomes, for fuzz targets: no interface for programs.
pub fn taken_apart(octets: &[u8], segment: Option<u16>) -> Vec<Packet> {
    let (mut batch, mut pool) = (Batch::default(), Pool::default());
    take_apart_into(octets, segment, &mut batch, &mut pool, &QueueStats::new());
    batch.drain().collect()
}

/// The same into a batch, with packets of a pool, as a queue does it: for benches.
pub fn take_apart_into(
    octets: &[u8],
    segment: Option<u16>,
    batch: &mut Batch,
    pool: &mut Pool,
    stats: &QueueStats,
) {
    let anywhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
    let meta = Meta {
        local: anywhere,
        remote: anywhere,
        traffic_class: 0,
        len: octets.len(),
        truncated: false,
        segment,
        error: None,
    };
    take_apart(octets, &meta, batch, pool, stats);
}

/// Pieces received by one call.
const PLACES: usize = 32;
/// Datagrams in one piece: no kernel joins or passes on more. But before Linux 6.7 a guest of this host may claim that one long
/// datagram is thousands of short ones.
const MOST_JOINED: usize = 128;
/// Octets of the longest piece.
const PLACE: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_landed_is_not_overwritten_while_a_batch_has_no_room() {
        let here = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        let mut socket = UdpSocket::group(here, 1, 0).unwrap().pop().unwrap();
        let sender = std::net::UdpSocket::bind(here).unwrap();
        let (mut landing, mut pool, stats) = (Landing::new(), Pool::default(), QueueStats::new());
        let mut full = Batch::new(1);
        full.push(Packet::new());
        for datagram in [b"one", b"two"] {
            sender.send_to(datagram, socket.bound()).unwrap();
            let received = landing.receive(&mut socket, &mut full, &mut pool, &stats);
            assert_eq!(received.unwrap(), 0);
        }
        let mut batch = Batch::default();
        assert_eq!(landing.take(&mut batch, &mut pool, &stats), 1);
        landing
            .receive(&mut socket, &mut batch, &mut pool, &stats)
            .unwrap();
        let received: Vec<&[u8]> = batch.iter().map(Packet::octets).collect();
        assert_eq!(received, [b"one", b"two"]);
    }

    #[test]
    fn a_piece_that_claims_to_be_thousands_of_datagrams_makes_no_more_packets_than_kernels_join() {
        assert_eq!(taken_apart(&[7; 60_000], Some(1)).len(), MOST_JOINED);
    }
}
