//! The UDP sockets of the queues, and what is asked of every socket that carries ESP or IKE.

use std::ffi::c_int;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::message::{BATCH, Exchange, Meta, Outgoing, SegmentedRun};
use super::steer;
use crate::io::fault::Fault;
use crate::io::sys;

/// One UDP socket of a queue.
///
/// Concurrency: owned by one queue thread; [`share`](Self::share) gives others a descriptor to send with.
pub struct UdpSocket {
    fd: OwnedFd,
    bound: SocketAddr,
    exchange: Exchange,
}

impl UdpSocket {
    /// `count` sockets on one address (SO_REUSEPORT), bound first to last. Until [`steer`](Self::steer) the kernel keeps each
    /// peer's datagrams on one of them, by a hash.
    ///
    /// `buffer` is the size of the socket buffers to ask for.
    pub fn group(address: SocketAddr, count: usize, buffer: usize) -> io::Result<Vec<Self>> {
        claim(address)?;
        let mut sockets = Vec::with_capacity(count.max(1));
        let mut address = address;
        for _ in 0..count.max(1) {
            let fd = sys::socket(sys::domain(address.ip()), libc::SOCK_DGRAM, 0)?;
            sys::set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
            separate_families(fd.as_fd(), address.ip())?;
            prepare(fd.as_fd(), address.ip(), buffer)?;
            // RFC 4301 8.2: the outer packet is never cut, the inner one is told the path MTU.
            set_fragmentation(fd.as_fd(), address.ip(), false)?;
            sys::bind(fd.as_fd(), address)?;
            let bound = sys::local_address(fd.as_fd())?;
            // Port 0 asked the kernel to choose; the others of the group take its choice.
            address.set_port(bound.port());
            sockets.push(Self {
                fd,
                bound,
                exchange: Exchange::new(BATCH),
            });
        }
        Ok(sockets)
    }

    /// From now on ESP goes to the socket `SPI % count` of a [`group`](Self::group) of `count`, anything else to the first.
    /// An error leaves the hash in force.
    pub fn steer(group: &[Self]) -> io::Result<()> {
        match group {
            [] | [_] => Ok(()),
            [first, ..] => {
                let count = u32::try_from(group.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
                steer::by_spi(first.fd.as_fd(), count)
            }
        }
    }

    /// A socket to send from only, on a port of its own: what is sent to it is dropped by the kernel.
    pub fn sender(address: IpAddr, buffer: usize) -> io::Result<Self> {
        let fd = sys::socket(sys::domain(address), libc::SOCK_DGRAM, 0)?;
        separate_families(fd.as_fd(), address)?;
        prepare(fd.as_fd(), address, buffer)?;
        set_fragmentation(fd.as_fd(), address, false)?;
        steer::nothing(fd.as_fd())?;
        sys::bind(fd.as_fd(), SocketAddr::new(address, 0))?;
        let bound = sys::local_address(fd.as_fd())?;
        Ok(Self {
            fd,
            bound,
            exchange: Exchange::new(BATCH),
        })
    }

    /// The address it is bound to.
    pub fn bound(&self) -> SocketAddr {
        self.bound
    }

    /// Receives what is there, one datagram into each of `rooms`; `each` learns of them in order.
    ///
    /// `None` is a datagram that used up its room and cannot be answered. `EAGAIN` if there is none.
    pub fn receive<'a>(
        &mut self,
        rooms: impl Iterator<Item = &'a mut [u8]>,
        each: impl FnMut(usize, Option<Meta>),
    ) -> io::Result<usize> {
        self.exchange.receive(self.fd.as_fd(), self.bound, rooms, each)
    }

    /// Sends up to [`BATCH`] datagrams; `failed` learns which did not leave. Returns how many did.
    pub fn send<'a>(
        &mut self,
        datagrams: impl Iterator<Item = Outgoing<'a>>,
        failed: impl FnMut(usize, Fault),
    ) -> usize {
        self.exchange.send(self.fd.as_fd(), datagrams, failed)
    }

    /// Takes datagrams of one flow joined from now on: see [`Meta::segment`]. An error if the kernel cannot (before Linux 5.0); each comes
    /// by itself then.
    pub fn join_datagrams(&self) -> io::Result<()> {
        sys::set_option(self.fd.as_fd(), libc::SOL_UDP, libc::UDP_GRO, 1)
    }

    /// Whether the kernel knows UDP_SEGMENT (Linux 4.18): one that does not would send a run as one datagram without a word.
    pub fn cuts_runs(&self) -> io::Result<()> {
        sys::get_option(self.fd.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT).map(drop)
    }

    /// Sends runs of packets, each cut by the kernel. Returns how many packets left, and why the next did not.
    pub fn send_runs<'a>(&mut self, runs: impl Iterator<Item = SegmentedRun<'a>>) -> (usize, Option<Fault>) {
        self.exchange.send_runs(self.fd.as_fd(), runs)
    }

    /// Whether IP may cut what is sent from now on.
    pub(crate) fn allow_fragments(&self, allowed: bool) -> io::Result<()> {
        set_fragmentation(self.fd.as_fd(), self.bound.ip(), allowed)
    }

    /// Another descriptor of the same socket, to send IKE messages from the port that ESP uses (RFC 3948).
    pub fn share(&self) -> io::Result<super::IkeSocket> {
        Ok(super::IkeSocket::of(self.fd.try_clone()?, self.bound))
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The path MTU to `remote` as the kernel knows it now, from `local` if that is not unspecified.
///
/// After an `EMSGSIZE` or an ICMP "fragmentation needed" the kernel remembers a lower one for some minutes.
pub fn path_mtu(local: IpAddr, remote: SocketAddr) -> io::Result<u32> {
    let probe = sys::socket(sys::domain(remote.ip()), libc::SOCK_DGRAM, 0)?;
    if local.is_ipv6() == remote.is_ipv6() && !local.is_unspecified() {
        sys::bind(probe.as_fd(), SocketAddr::new(local, 0))?;
    }
    // Nothing is sent: connect(2) only looks up the route.
    sys::connect(probe.as_fd(), SocketAddr::new(remote.ip(), remote.port().max(1)))?;
    let mtu = match remote {
        SocketAddr::V4(_) => sys::get_option(probe.as_fd(), libc::IPPROTO_IP, libc::IP_MTU),
        SocketAddr::V6(_) => sys::get_option(probe.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_MTU),
    }?;
    u32::try_from(mtu).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Fails if anybody holds the address: with SO_REUSEPORT a second daemon of the same user would join the group, and each would
/// get half of the peers.
fn claim(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    let alone = sys::socket(sys::domain(address.ip()), libc::SOCK_DGRAM, 0)?;
    separate_families(alone.as_fd(), address.ip())?;
    sys::bind(alone.as_fd(), address)
}

/// What every socket of ours is asked before it is bound: to name the local address and traffic class of each datagram.
pub(crate) fn prepare(fd: BorrowedFd<'_>, address: IpAddr, buffer: usize) -> io::Result<()> {
    match address {
        IpAddr::V4(_) => {
            sys::set_option(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
            sys::set_option(fd, libc::IPPROTO_IP, libc::IP_RECVTOS, 1)?;
        }
        IpAddr::V6(_) => {
            sys::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
            sys::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1)?;
        }
    }
    if buffer > 0 {
        sys::set_buffers(fd, buffer)
    } else {
        Ok(())
    }
}

/// Two families, two sockets: an IPv4 peer must not appear as ::ffff:192.0.2.1. (Raw sockets never mix them.)
pub(crate) fn separate_families(fd: BorrowedFd<'_>, address: IpAddr) -> io::Result<()> {
    match address {
        IpAddr::V4(_) => Ok(()),
        IpAddr::V6(_) => sys::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1),
    }
}

/// Whether the kernel may cut datagrams of this socket that are longer than the path MTU (and leave DF clear).
pub(crate) fn set_fragmentation(fd: BorrowedFd<'_>, family: IpAddr, allowed: bool) -> io::Result<()> {
    let (level, name, mode): (c_int, c_int, c_int) = match (family, allowed) {
        (IpAddr::V4(_), false) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DO),
        (IpAddr::V4(_), true) => (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_DONT),
        (IpAddr::V6(_), false) => (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IP_PMTUDISC_DO),
        (IpAddr::V6(_), true) => (
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IP_PMTUDISC_DONT,
        ),
    };
    sys::set_option(fd, level, name, mode)
}
