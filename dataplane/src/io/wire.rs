//! The wire side of a queue: its UDP sockets and its raw ESP sockets.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::esp_raw::RawEsp;
use super::fault::Fault;
use super::udp::message::{self, BATCH};
use super::udp::socket::path_mtu;
use super::udp::{Outgoing, UdpSocket};
use super::{Port, Sent, TooBig};
use crate::api::{Encapsulation, Path};
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
    /// Empty packets for the next receive.
    rooms: Vec<Packet>,
    stats: Arc<QueueStats>,
}

enum Socket {
    Udp(UdpSocket),
    Raw(RawEsp),
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
            stats,
        }
    }

    /// What to wait for, each with the name to mark it ready by.
    pub fn descriptors(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        self.sockets.iter().map(Socket::as_fd).enumerate()
    }

    /// Something can be read from this socket.
    pub fn mark_ready(&mut self, socket: usize) {
        self.ready.push(socket);
    }

    /// Receives one batch from one socket.
    fn receive(&mut self, index: usize, batch: &mut Batch, pool: &mut Pool) -> io::Result<usize> {
        let Some(socket) = self.sockets.get_mut(index) else {
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
            let encapsulation = socket.encapsulation();
            match meta.filter(|meta| !meta.truncated) {
                Some(meta) => {
                    packet.commit(meta.len);
                    packet.trim_front(socket.header_len(packet.octets()));
                    packet.meta = Meta {
                        path: Path {
                            local: meta.local,
                            remote: meta.remote,
                            encapsulation,
                        },
                        tos: meta.traffic_class,
                        ..Meta::default()
                    };
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
                    (Socket::Udp(_), Encapsulation::None) | (Socket::Raw(_), Encapsulation::Udp) => false,
                })
        };
        fits(true).or_else(|| fits(false))
    }

    /// Sends `run` packets from `start` on through one socket.
    fn send_run(&mut self, index: usize, batch: &Batch, start: usize, run: usize, sent: &mut Sent) {
        let Some(socket) = self.sockets.get_mut(index) else {
            return;
        };
        let outgoing = batch.iter().skip(start).take(run).map(|packet| Outgoing {
            bytes: packet.octets(),
            local: packet.meta.path.local.ip(),
            remote: packet.meta.path.remote,
            traffic_class: packet.meta.tos,
        });
        // Rare: an IPv6 packet of 1280 octets over a path that does not take it whole (RFC 2473 7.1).
        let cut = batch
            .iter()
            .nth(start)
            .is_some_and(|first| !first.meta.dont_fragment);
        if cut && socket.allow_fragments(true).is_err() {
            return;
        }
        let (too_long, too_big) = (&mut sent.too_long, &mut sent.too_big);
        sent.packets += socket.send(outgoing, |failed, fault| {
            if fault == Fault::TooBig {
                *too_long += 1;
                if too_big.is_none() {
                    *too_big = batch.iter().nth(start + failed).and_then(learn_path_mtu);
                }
            }
        });
        if cut {
            // What could be set can be set back.
            let _ = socket.allow_fragments(false);
        }
    }
}

impl Port for WirePort {
    fn recv(&mut self, batch: &mut Batch, pool: &mut Pool) -> io::Result<usize> {
        while let Some(index) = self.ready.pop() {
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
        let mut start = 0;
        while let Some(first) = batch.iter().nth(start) {
            let meta = first.meta;
            let index = self.socket_for(&meta.path);
            // Usually the whole batch has one path.
            let same = |packet: &&Packet| same_run(&packet.meta, &meta);
            let run = batch
                .iter()
                .skip(start)
                .take(BATCH)
                .take_while(same)
                .count()
                .max(1);
            if let Some(index) = index {
                self.send_run(index, batch, start, run, &mut sent);
            }
            start += run;
        }
        sent.lost = batch.len() - sent.packets;
        batch.recycle(pool);
        sent
    }
}

impl Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Udp(udp) => udp.as_fd(),
            Self::Raw(raw) => raw.as_fd(),
        }
    }

    fn encapsulation(&self) -> Encapsulation {
        match self {
            Self::Udp(_) => Encapsulation::Udp,
            Self::Raw(_) => Encapsulation::None,
        }
    }

    /// Octets in front of the ESP header. All of a packet that has no ESP header: what is left is too short and counted so.
    fn header_len(&self, octets: &[u8]) -> usize {
        match self {
            Self::Udp(_) => 0,
            Self::Raw(raw) => raw.header_len(octets).unwrap_or(octets.len()),
        }
    }

    fn allow_fragments(&self, allowed: bool) -> io::Result<()> {
        match self {
            Self::Udp(udp) => udp.allow_fragments(allowed),
            Self::Raw(raw) => raw.allow_fragments(allowed),
        }
    }

    fn receive<'a>(
        &mut self,
        rooms: impl Iterator<Item = &'a mut [u8]>,
        each: impl FnMut(usize, Option<message::Meta>),
    ) -> io::Result<usize> {
        match self {
            Self::Udp(udp) => udp.receive(rooms, each),
            Self::Raw(raw) => raw.receive(rooms, each),
        }
    }

    fn send<'a>(
        &mut self,
        outgoing: impl Iterator<Item = Outgoing<'a>>,
        failed: impl FnMut(usize, Fault),
    ) -> usize {
        match self {
            Self::Udp(udp) => udp.send(outgoing, failed),
            Self::Raw(raw) => raw.send(outgoing, failed),
        }
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
}

fn learn_path_mtu(packet: &Packet) -> Option<TooBig> {
    let path = packet.meta.path;
    let mtu = path_mtu(path.local.ip(), path.remote).ok()?;
    Some(TooBig {
        tunnel: packet.meta.tunnel,
        path_mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
    })
}
