//! Where UDP datagrams land: the kernel may have joined many of one flow into one piece (UDP_GRO), which is taken apart here.
//!
//! Nothing is copied: the packets of a piece are the parts of the place where it landed, opened there and written from there. A
//! place is free again when the last of them is gone, which is at the end of the turn.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use bytes::BytesMut;

use super::udp::UdpSocket;
use super::udp::message::Meta;
use super::wire::received_meta;
use crate::api::Encapsulation;
use crate::buffer::{Batch, MAX_LEN, Packet};
use crate::discard::Discard;
use crate::stats::QueueStats;

/// What was received and is not in a batch yet.
///
/// Concurrency: owned by one queue thread.
pub(super) struct Landing {
    /// Each takes as many datagrams as the kernel may join.
    places: Vec<BytesMut>,
    /// First to last.
    landed: VecDeque<Landed>,
    /// Datagrams that came in one piece lately.
    joined: usize,
}

/// One piece.
struct Landed {
    octets: BytesMut,
    meta: Meta,
}

impl Landing {
    pub(super) fn new() -> Self {
        Self {
            // Zeros from the kernel: a page that is never written to is never resident.
            places: (0..PLACES).map(|_| BytesMut::zeroed(PLACE)).collect(),
            landed: VecDeque::with_capacity(PLACES),
            joined: 1,
        }
    }

    /// Receives what is there, about as much as the batch takes by what came lately.
    pub(super) fn receive(
        &mut self,
        socket: &mut UdpSocket,
        batch: &mut Batch,
        stats: &QueueStats,
    ) -> io::Result<usize> {
        if !self.landed.is_empty() {
            // A batch without room: what has landed goes first.
            return Ok(0);
        }
        let want = (batch.vacancy() / self.joined).clamp(1, PLACES);
        let mut found = [None; PLACES];
        let rooms = self.places.iter_mut().take(want).map(|place| {
            make_whole(place);
            &mut place[..]
        });
        let received = socket.receive(rooms, |index, meta| {
            if let Some(entry) = found.get_mut(index) {
                *entry = meta;
            }
        })?;
        for (place, meta) in self.places.iter_mut().zip(found).take(received) {
            match meta.filter(|meta| !meta.truncated && meta.len <= place.len()) {
                Some(meta) => self.landed.push_back(Landed {
                    octets: place.split_to(meta.len),
                    meta,
                }),
                None => stats.discard(Discard::ReceivedTooLong),
            }
        }
        let count = self.take(batch, stats);
        self.joined = (count / received.max(1)).max(1);
        Ok(count)
    }

    /// Takes what has landed apart until the batch is full; the last piece is taken whole. The rest waits for the next batch:
    /// one that held all of it would not fit into the cache.
    pub(super) fn take(&mut self, batch: &mut Batch, stats: &QueueStats) -> usize {
        let before = batch.len();
        while batch.vacancy() > 0 {
            let Some(Landed { octets, meta }) = self.landed.pop_front() else {
                break;
            };
            take_apart(octets, &meta, batch, stats);
        }
        batch.len() - before
    }
}

/// A place as long as it was made, whatever has been split off it.
fn make_whole(place: &mut BytesMut) {
    if place.len() == PLACE {
        return;
    }
    place.clear();
    if place.try_reclaim(PLACE) {
        // SAFETY: `try_reclaim` says that there are PLACE octets from here on, of the allocation that `zeroed` has made, for no other
        // is ever put in its place but by the next line; so all of them were initialised once.
        unsafe { place.set_len(PLACE) };
    } else {
        // Somebody keeps a packet that landed here.
        *place = BytesMut::zeroed(PLACE);
    }
}

/// Makes packets of a piece: each datagram in it is one.
fn take_apart(mut octets: BytesMut, meta: &Meta, batch: &mut Batch, stats: &QueueStats) {
    let each = meta.segment.map_or(octets.len(), usize::from).max(1);
    let meta = received_meta(meta, Encapsulation::Udp);
    let mut made = 0;
    loop {
        let datagram = octets.split_to(each.min(octets.len()));
        if datagram.len() > MAX_LEN || made >= MOST_JOINED {
            stats.discard(Discard::ReceivedTooLong);
        } else {
            batch.push(Packet::landed(datagram, meta));
        }
        made += 1;
        // An empty datagram is one, too: the pipeline says what is wrong with it.
        if octets.is_empty() {
            return;
        }
    }
}

/// What a piece becomes, for fuzz targets: no interface for programs.
pub fn taken_apart(octets: &[u8], segment: Option<u16>) -> Vec<Packet> {
    let mut batch = Batch::default();
    take_apart_into(BytesMut::from(octets), segment, &mut batch, &QueueStats::new());
    batch.drain().collect()
}

/// The same into a batch, where the octets lie, as a queue does it: for benches.
pub fn take_apart_into(octets: BytesMut, segment: Option<u16>, batch: &mut Batch, stats: &QueueStats) {
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
    take_apart(octets, &meta, batch, stats);
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
        let (mut landing, stats) = (Landing::new(), QueueStats::new());
        let mut full = Batch::new(1);
        full.push(Packet::new());
        for datagram in [b"one", b"two"] {
            sender.send_to(datagram, socket.bound()).unwrap();
            let received = landing.receive(&mut socket, &mut full, &stats);
            assert_eq!(received.unwrap(), 0);
        }
        let mut batch = Batch::default();
        assert_eq!(landing.take(&mut batch, &stats), 1);
        landing.receive(&mut socket, &mut batch, &stats).unwrap();
        let received: Vec<&[u8]> = batch.iter().map(Packet::octets).collect();
        assert_eq!(received, [b"one", b"two"]);
    }

    #[test]
    fn a_place_is_used_again_when_its_packets_are_gone_and_left_to_one_that_is_kept() {
        let here = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        let mut socket = UdpSocket::group(here, 1, 0).unwrap().pop().unwrap();
        let sender = std::net::UdpSocket::bind(here).unwrap();
        let (mut landing, stats) = (Landing::new(), QueueStats::new());
        let mut receive = |octets: &[u8]| {
            sender.send_to(octets, socket.bound()).unwrap();
            let mut batch = Batch::default();
            assert_eq!(landing.receive(&mut socket, &mut batch, &stats).unwrap(), 1);
            batch.pop().unwrap()
        };
        let gone = receive(b"first").octets().as_ptr();
        let kept = receive(b"second, kept");
        assert_eq!(kept.octets().as_ptr(), gone);
        let later = receive(b"third");
        assert_ne!(later.octets().as_ptr(), gone);
        assert_eq!(
            (kept.octets(), later.octets()),
            (&b"second, kept"[..], &b"third"[..])
        );
    }

    #[test]
    fn a_piece_that_claims_to_be_thousands_of_datagrams_makes_no_more_packets_than_kernels_join() {
        assert_eq!(taken_apart(&[7; 60_000], Some(1)).len(), MOST_JOINED);
    }

    #[test]
    fn a_place_that_is_made_whole_again_has_every_octet_and_none_that_was_never_written() {
        // For Miri (tests/sanitize.sh): reading what was never written is what it finds.
        let mut place = BytesMut::zeroed(PLACE);
        let whole = |place: &BytesMut| place.iter().filter(|octet| **octet <= 1).count();
        for (first, second) in [(3, 0), (PLACE, 0), (1472, PLACE - 1472), (0, 0)] {
            let mut landed = [place.split_to(first), place.split_to(second)];
            landed.iter_mut().for_each(|octets| octets.fill(1));
            drop(landed);
            make_whole(&mut place);
            assert_eq!(whole(&place), PLACE);
        }
        let kept = place.split_to(9);
        make_whole(&mut place);
        place.fill(0);
        assert_eq!((whole(&place), &kept[..]), (PLACE, &[1; 9][..]));
    }
}
