//! Raw sockets for ESP without UDP (IP protocol 50).
//!
//! Every raw socket gets a copy of every packet, so each queue's socket has a filter that keeps the SPIs that are its own:
//! those with `SPI % queues == queue`. So one replay window is used by one thread.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::io::bpf::{
    self, BPF_ABS, BPF_ALU, BPF_B, BPF_IND, BPF_K, BPF_LD, BPF_LDX, BPF_MOD, BPF_MSH, BPF_RET, BPF_W,
    statement, unless_equal_skip,
};
use crate::io::fault::Fault;
use crate::io::sys;
use crate::io::udp::message::{BATCH, Exchange, Meta, Outgoing};
use crate::io::udp::socket::{prepare, set_fragmentation};

/// One raw socket of a queue.
///
/// Concurrency: owned by one queue thread.
pub struct RawEsp {
    fd: OwnedFd,
    bound: SocketAddr,
    exchange: Exchange,
}

/// The family of a raw socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl RawEsp {
    /// `count` sockets on one address (or any) that share the SPIs among them. Needs CAP_NET_RAW.
    pub fn group(address: IpAddr, count: u32, buffer: usize) -> io::Result<Vec<Self>> {
        let bound = SocketAddr::new(address, 0);
        let open = |queue| {
            let fd = sys::socket(sys::domain(address), libc::SOCK_RAW, libc::IPPROTO_ESP)?;
            prepare(fd.as_fd(), address, buffer)?;
            set_fragmentation(fd.as_fd(), address, false)?;
            keep_spis(fd.as_fd(), family_of(address), queue, count.max(1))?;
            sys::bind(fd.as_fd(), bound)?;
            Ok(Self {
                fd,
                bound,
                exchange: Exchange::new(BATCH),
            })
        };
        (0..count.max(1)).map(open).collect()
    }

    /// The address it is bound to, with port 0.
    pub fn bound(&self) -> SocketAddr {
        self.bound
    }

    /// The family of its packets.
    pub fn family(&self) -> Family {
        family_of(self.bound.ip())
    }

    /// Receives what is there, one packet into each of `rooms`; `each` learns of the packet and of where in its room the ESP
    /// header begins: behind the IP header, which the kernel leaves in place for IPv4.
    pub fn receive<'a>(
        &mut self,
        rooms: impl Iterator<Item = &'a mut [u8]>,
        each: impl FnMut(usize, Option<Meta>),
    ) -> io::Result<usize> {
        self.exchange.receive(self.fd.as_fd(), self.bound, rooms, each)
    }

    /// Sends up to [`BATCH`] packets, each beginning with the ESP header.
    pub fn send<'a>(
        &mut self,
        packets: impl Iterator<Item = Outgoing<'a>>,
        failed: impl FnMut(usize, Fault),
    ) -> usize {
        // A raw socket reads a port in the destination as a protocol number and refuses it (IPv6).
        let without_ports = packets.map(|packet| {
            let mut packet = packet;
            packet.remote.set_port(0);
            packet
        });
        self.exchange.send(self.fd.as_fd(), without_ports, failed)
    }

    /// Whether IP may cut what is sent from now on.
    pub(crate) fn allow_fragments(&self, allowed: bool) -> io::Result<()> {
        set_fragmentation(self.fd.as_fd(), self.bound.ip(), allowed)
    }

    /// How many octets of a received packet come before its ESP header; `None` if it is not even an IP header.
    pub fn header_len(&self, packet: &[u8]) -> Option<usize> {
        match self.family() {
            Family::V4 => {
                let len = usize::from(packet.first()? & 0x0f) * 4;
                (20..=packet.len()).contains(&len).then_some(len)
            }
            Family::V6 => Some(0),
        }
    }
}

impl AsFd for RawEsp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn family_of(address: IpAddr) -> Family {
    match address {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}

/// Attaches the filter `SPI % count == queue`.
fn keep_spis(fd: BorrowedFd<'_>, family: Family, queue: u32, count: u32) -> io::Result<()> {
    let mut program = match family {
        // The packet begins with its IP header: X = its length, A = the word behind it.
        Family::V4 => vec![
            statement(BPF_LDX | BPF_B | BPF_MSH, 0),
            statement(BPF_LD | BPF_W | BPF_IND, 0),
        ],
        // The packet begins with the ESP header.
        Family::V6 => vec![statement(BPF_LD | BPF_W | BPF_ABS, 0)],
    };
    program.extend([
        statement(BPF_ALU | BPF_MOD | BPF_K, count),
        unless_equal_skip(queue),
        statement(BPF_RET | BPF_K, u32::MAX),
        statement(BPF_RET | BPF_K, 0),
    ]);
    bpf::attach(fd, libc::SO_ATTACH_FILTER, &program)
}
