//! The wire side of a queue: its UDP sockets and its raw ESP sockets.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::esp_raw::RawEsp;
use super::fault::Fault;
use super::landing::Landing;
use super::refusals::Refusals;
use super::udp::message::{self, BATCH, SegmentedRun};
use super::udp::socket::path_mtu;
use super::udp::{Outgoing, UdpSocket};
use super::{Port, Sent, TooBig};
use crate::api::{Encapsulation, Path, Refused};
use crate::buffer::{Batch, Meta, Packet, Pool};
use crate::discard::Discard;
use crate::stats::QueueStats;

/// All sockets of a queue, as one port.
///
/// A packet leaves through the socket whose address and family its path names. [`mark_ready`](Self::mark_ready) says which
/// socket has something to read; each that is marked is read once per mark.
///
/// Concurrency: owned by one queue thread.
pub struct WirePort {
    sockets: Vec<Socket>,
    ready: Vec<usize>,
    /// Empty packets for the next receive from a raw socket.
    rooms: Vec<Packet>,
    landing: Landing,
    /// Whether the kernel is asked to cut runs of packets (UDP_SEGMENT).
    segment: bool,
    /// To whom it refused to cut runs that it then took packet by packet.
    refusals: Refusals<IpAddr>,
    refused: Vec<Refused>,
    /// System calls made to receive and to send; sendmmsg(2) counts once.
    calls: [u64; 2],
    stats: Arc<QueueStats>,
}

enum Socket {
    Udp(UdpSocket),
    Raw(RawEsp),
    /// To send from only.
    Own(UdpSocket),
}

impl WirePort {
    /// A port with these sockets.
    pub fn new(udp: Vec<UdpSocket>, raw: Vec<RawEsp>, stats: Arc<QueueStats>) -> Self {
        let sockets = udp
            .into_iter()
            .map(Socket::Udp)
            .chain(raw.into_iter().map(Socket::Raw))
            .collect();
        Self {
            sockets,
            ready: Vec::new(),
            rooms: Vec::with_capacity(BATCH),
            landing: Landing::new(),
            segment: true,
            refusals: Refusals::default(),
            refused: Vec::new(),
            calls: [0; 2],
            stats,
        }
    }

    /// Sends from these what is to leave from the queue's own port ([`Meta::own_port`]).
    pub fn with_own_ports(mut self, own: Vec<UdpSocket>) -> Self {
        self.sockets.extend(own.into_iter().map(Socket::Own));
        self
    }

    /// Hands the kernel packets one by one.
    pub fn without_segmentation(mut self) -> Self {
        self.segment = false;
        self
    }

    /// What to wait for, each with the name to mark it ready by.
    pub fn descriptors(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        let all = self.sockets.iter().enumerate();
        all.filter_map(|(index, socket)| match socket {
            Socket::Udp(udp) => Some((index, udp.as_fd())),
            Socket::Raw(raw) => Some((index, raw.as_fd())),
            Socket::Own(_) => None,
        })
    }

    /// Something can be read from this socket.
    pub fn mark_ready(&mut self, socket: usize) {
        self.ready.push(socket);
    }

    /// Receives one batch from one socket.
    fn receive(&mut self, index: usize, batch: &mut Batch, pool: &mut Pool) -> io::Result<usize> {
        match self.sockets.get_mut(index) {
            Some(Socket::Udp(socket)) => self.landing.receive(socket, batch, &self.stats),
            Some(Socket::Raw(_)) => self.receive_raw(index, batch, pool),
            Some(Socket::Own(_)) | None => Ok(0),
        }
    }

    /// Receives from a raw socket.
    fn receive_raw(&mut self, index: usize, batch: &mut Batch, pool: &mut Pool) -> io::Result<usize> {
        let Some(Socket::Raw(socket)) = self.sockets.get_mut(index) else {
            return Ok(0);
        };
        let want = batch.vacancy().min(BATCH);
        while self.rooms.len() < want {
            self.rooms.push(pool.take());
        }
        let mut found = [None; BATCH];
        let rooms = self.rooms.iter_mut().take(want).map(Packet::room);
        let received = socket.receive(rooms, |index, meta| {
            if let Some(entry) = found.get_mut(index) {
                *entry = meta;
            }
        })?;
        let before = batch.len();
        for (mut packet, meta) in self.rooms.drain(..received.min(want)).zip(found) {
            match meta.filter(|meta| !meta.truncated) {
                Some(meta) => {
                    packet.commit(meta.len);
                    // All of a packet that has no ESP header: what is left is too short and counted so.
                    packet.trim_front(socket.header_len(packet.octets()).unwrap_or(packet.len()));
                    packet.meta = received_meta(&meta, Encapsulation::None);
                    batch.push(packet);
                }
                None => {
                    self.stats.discard(Discard::ReceivedTooLong);
                    pool.give(packet);
                }
            }
        }
        Ok(batch.len() - before)
    }

    /// The socket for a path: the one bound to its address, else the one bound to any address with its port.
    fn socket_for(&self, path: &Path) -> Option<usize> {
        let fits = |exact: bool| {
            self.sockets
                .iter()
                .position(|socket| match (socket, path.encapsulation) {
                    (Socket::Udp(udp), Encapsulation::Udp) => serves(udp.bound(), path, exact),
                    // The ports of the path mean nothing.
                    (Socket::Raw(raw), Encapsulation::None) => serves_address(raw.bound().ip(), path, exact),
                    (Socket::Udp(_), Encapsulation::None)
                    | (Socket::Raw(_), Encapsulation::Udp)
                    | (Socket::Own(_), _) => false,
                })
        };
        fits(true).or_else(|| fits(false))
    }

    /// The queue's own port for a path.
    fn own_socket_for(&self, path: &Path) -> Option<usize> {
        let fits = |exact: bool| {
            self.sockets
                .iter()
                .position(|socket| match (socket, path.encapsulation) {
                    (Socket::Own(own), Encapsulation::Udp) => serves_address(own.bound().ip(), path, exact),
                    (Socket::Own(_), Encapsulation::None) | (Socket::Udp(_) | Socket::Raw(_), _) => false,
                })
        };
        fits(true).or_else(|| fits(false))
    }

    /// Sends packets of one run through one socket.
    fn send_run(&mut self, index: usize, mut packets: &[Packet], sent: &mut Sent) {
        // Rare: an IPv6 packet of 1280 octets over a path that does not take it whole (RFC 2473 7.1).
        let cut = packets.first().is_some_and(|first| !first.meta.dont_fragment);
        let udp = matches!(self.sockets.get(index), Some(Socket::Udp(_) | Socket::Own(_)));
        if cut || !udp || !self.segment {
            self.send_each(index, packets, cut, sent);
            return;
        }
        while let Some(first) = packets.first() {
            let allow = |packet: &Packet| self.refusals.allow(packet.meta.path.remote.ip());
            let (pieces, count) = if self.refusals.is_empty() {
                (true, packets.len())
            } else {
                let pieces = allow(first);
                let same = packets.iter().take_while(|packet| allow(packet) == pieces);
                (pieces, same.count())
            };
            let (now, later) = packets.split_at(count);
            if pieces {
                self.send_pieces(index, now, sent);
            } else {
                self.send_each(index, now, false, sent);
            }
            packets = later;
        }
    }

    /// Sends packets through one UDP socket, as many in a piece as the kernel can cut.
    fn send_pieces(&mut self, index: usize, mut packets: &[Packet], sent: &mut Sent) {
        while let Some(Socket::Udp(socket) | Socket::Own(socket)) = self.sockets.get_mut(index)
            && !packets.is_empty()
        {
            self.calls[1] += 1;
            let (left, fault) = socket.send_runs(Segments(packets));
            sent.packets += left;
            let (gone, rest) = packets.split_at_checked(left).unwrap_or((packets, &[]));
            if !self.refusals.is_empty() {
                let several = Segments(gone).filter(|piece| piece.packets.len() > 1);
                several.for_each(|piece| self.refusals.worked(remote(piece.packets)));
            }
            packets = rest;
            match fault {
                None => {}
                // Nothing more goes now.
                Some(Fault::WouldBlock | Fault::Gone) => return,
                // Packet by packet it will be seen whether it was the cutting.
                Some(fault) => {
                    let piece = Segments(packets).next().map_or(0, |piece| piece.packets.len());
                    let (piece, rest) = packets.split_at(piece);
                    let single = self.send_each(index, piece, false, sent);
                    let refused = piece.len() > 1 && single && fault == Fault::Rejected;
                    if refused && self.refusals.refused(remote(piece)) {
                        self.refused.push(Refused::Gso {
                            remote: remote(piece),
                        });
                    }
                    packets = rest;
                }
            }
        }
    }

    /// Sends packets one by one. Returns whether all left.
    fn send_each(&mut self, index: usize, packets: &[Packet], cut: bool, sent: &mut Sent) -> bool {
        let Some(socket) = self.sockets.get_mut(index) else {
            return false;
        };
        if cut && socket.allow_fragments(true).is_err() {
            return false;
        }
        let mut left = 0;
        for packets in packets.chunks(BATCH) {
            self.calls[1] += 1;
            let outgoing = packets.iter().map(|packet| Outgoing {
                bytes: packet.octets(),
                local: packet.meta.path.local.ip(),
                remote: packet.meta.path.remote,
                traffic_class: packet.meta.tos,
            });
            let (too_long, too_big) = (&mut sent.too_long, &mut sent.too_big);
            left += socket.send(outgoing, |failed, fault| {
                if fault == Fault::TooBig {
                    *too_long += 1;
                    if too_big.is_none() {
                        *too_big = packets.get(failed).and_then(learn_path_mtu);
                    }
                }
            });
        }
        if cut {
            // What could be set can be set back.
            let _ = socket.allow_fragments(false);
        }
        sent.packets += left;
        left == packets.len()
    }
}

/// The runs that can leave in one piece: one place, one traffic class, one length.
struct Segments<'a>(&'a [Packet]);

impl<'a> Iterator for Segments<'a> {
    type Item = SegmentedRun<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.0.first()?;
        let size = first.len();
        let (mut count, mut octets) = (1, size);
        for packet in self.0.iter().skip(1).take(MOST_SEGMENTS - 1) {
            let whole = octets == size * count;
            // One SPI: the receiver gives a piece to the queue of its first packet (`io/udp/steer.rs`).
            let like = packet.meta.path.remote == first.meta.path.remote
                && packet.meta.tos == first.meta.tos
                && packet.octets().first_chunk::<4>() == first.octets().first_chunk();
            if !whole || !like || packet.len() > size || octets + packet.len() > LONGEST_RUN {
                break;
            }
            count += 1;
            octets += packet.len();
        }
        let (packets, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(SegmentedRun {
            packets,
            segment: u16::try_from(size).unwrap_or(u16::MAX),
        })
    }
}

impl Port for WirePort {
    fn recv(&mut self, batch: &mut Batch, pool: &mut Pool) -> io::Result<usize> {
        let left = self.landing.take(batch, &self.stats);
        if left > 0 {
            return Ok(left);
        }
        while let Some(index) = self.ready.pop() {
            self.calls[0] += 1;
            match self.receive(index, batch, pool) {
                Ok(0) => {}
                Ok(count) => return Ok(count),
                // Sockets are never lost under us; anything else is about one datagram, or there was none.
                Err(error) if Fault::of(&error) != Fault::Gone => {}
                Err(error) => return Err(error),
            }
        }
        Ok(0)
    }

    fn send(&mut self, batch: &mut Batch, pool: &mut Pool) -> Sent {
        let mut sent = Sent::default();
        let mut packets = &*batch.packets_mut();
        while let Some(first) = packets.first() {
            let meta = first.meta;
            // Usually the whole batch has one path.
            let same = packets.iter().take_while(|packet| same_run(&packet.meta, &meta));
            let (run, rest) = packets.split_at(same.count());
            let own = meta.own_port.then(|| self.own_socket_for(&meta.path));
            if let Some(index) = own.flatten().or_else(|| self.socket_for(&meta.path)) {
                self.send_run(index, run, &mut sent);
            }
            packets = rest;
        }
        sent.lost = batch.len() - sent.packets;
        batch.recycle(pool);
        sent
    }

    fn system_calls(&self) -> [u64; 2] {
        self.calls
    }

    fn take_refused(&mut self) -> Option<Refused> {
        self.refused.pop()
    }
}

impl Socket {
    fn allow_fragments(&self, allowed: bool) -> io::Result<()> {
        match self {
            Self::Udp(udp) | Self::Own(udp) => udp.allow_fragments(allowed),
            Self::Raw(raw) => raw.allow_fragments(allowed),
        }
    }

    fn send<'a>(
        &mut self,
        outgoing: impl Iterator<Item = Outgoing<'a>>,
        failed: impl FnMut(usize, Fault),
    ) -> usize {
        match self {
            Self::Udp(udp) | Self::Own(udp) => udp.send(outgoing, failed),
            Self::Raw(raw) => raw.send(outgoing, failed),
        }
    }
}

/// What is known of a datagram that was received.
pub(super) fn received_meta(meta: &message::Meta, encapsulation: Encapsulation) -> Meta {
    Meta {
        path: Path {
            local: meta.local,
            remote: meta.remote,
            encapsulation,
        },
        tos: meta.traffic_class,
        ..Meta::default()
    }
}

/// Whether a UDP socket bound to `bound` may send along `path`.
fn serves(bound: SocketAddr, path: &Path, exact: bool) -> bool {
    // A path whose local port is not known yet leaves through whatever there is.
    serves_address(bound.ip(), path, exact) && (bound.port() == path.local.port() || path.local.port() == 0)
}

fn serves_address(bound: IpAddr, path: &Path, exact: bool) -> bool {
    let address = if exact {
        bound == path.local.ip()
    } else {
        bound.is_unspecified()
    };
    address && bound.is_ipv6() == path.remote.is_ipv6()
}

/// Whether two packets leave through the same socket with the same options.
fn same_run(one: &Meta, other: &Meta) -> bool {
    one.path.local == other.path.local
        && one.path.encapsulation == other.path.encapsulation
        && one.path.remote.is_ipv6() == other.path.remote.is_ipv6()
        && one.dont_fragment == other.dont_fragment
        && one.own_port == other.own_port
}

/// Where a piece goes; it is never empty.
fn remote(piece: &[Packet]) -> IpAddr {
    let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    piece
        .first()
        .map_or(unknown, |packet| packet.meta.path.remote.ip())
}

fn learn_path_mtu(packet: &Packet) -> Option<TooBig> {
    let path = packet.meta.path;
    let mtu = path_mtu(path.local.ip(), path.remote).ok()?;
    Some(TooBig {
        tunnel: packet.meta.tunnel,
        path_mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
    })
}

/// Packets in one piece to be cut: what kernels took before they took 128.
const MOST_SEGMENTS: usize = 64;
/// Octets in one piece to be cut: the longest payload of a datagram of IPv4.
const LONGEST_RUN: usize = 65_507;
