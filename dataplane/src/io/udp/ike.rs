//! UDP sockets for IKE messages: port 500, and the port that IKE shares with ESP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::message::{ANY, Exchange, Meta, Outgoing};
use super::socket::{prepare, separate_families, set_fragmentation};
use crate::io::fault::Fault;
use crate::io::sys;

/// A UDP socket that sends and receives one IKE message at a time.
///
/// Nonblocking; implements [`AsFd`] and [`AsRawFd`] so that tokio's `AsyncFd` can wait for it.
///
/// Concurrency: for the control side; may be used from several threads.
pub struct IkeSocket {
    fd: OwnedFd,
    bound: SocketAddr,
}

impl IkeSocket {
    /// Binds a socket of its own, for port 500.
    ///
    /// No other socket may share the address. IKE messages may be cut by IP: not every peer knows RFC 7383.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let fd = sys::socket(sys::domain(address.ip()), libc::SOCK_DGRAM, 0)?;
        separate_families(fd.as_fd(), address.ip())?;
        prepare(fd.as_fd(), address.ip(), RECEIVE_BUFFER)?;
        set_fragmentation(fd.as_fd(), address.ip(), true)?;
        report_errors(fd.as_fd(), address.ip())?;
        sys::bind(fd.as_fd(), address)?;
        let bound = sys::local_address(fd.as_fd())?;
        Ok(Self { fd, bound })
    }

    /// A second descriptor of a queue's socket.
    pub(super) fn of(fd: OwnedFd, bound: SocketAddr) -> Self {
        Self { fd, bound }
    }

    /// The address it is bound to.
    pub fn bound(&self) -> SocketAddr {
        self.bound
    }

    /// Receives one datagram; `WouldBlock` if there is none. A datagram longer than `room` has `truncated` set.
    pub fn receive(&self, room: &mut [u8]) -> io::Result<Meta> {
        loop {
            let mut found = None;
            let rooms = std::iter::once(&mut *room);
            let count =
                Exchange::new(1).receive(self.fd.as_fd(), self.bound, rooms, |_, meta| found = meta)?;
            match found {
                Some(meta) => return Ok(meta),
                None if count == 0 => return Err(io::ErrorKind::WouldBlock.into()),
                // A sender without an address: look for the next.
                None => {}
            }
        }
    }

    /// What became of an earlier message that could not be delivered: where it was sent to and what the network (by ICMP)
    /// or this host said. Anybody on the way can forge it: good for an operator's eyes only.
    pub fn undelivered(&self) -> Option<(SocketAddr, io::Error)> {
        let mut found = None;
        let mut room = [0u8; 0];
        let rooms = std::iter::once(&mut room[..]);
        Exchange::new(1)
            .receive_from(
                self.fd.as_fd(),
                self.bound,
                libc::MSG_ERRQUEUE,
                rooms,
                |_, meta| {
                    found =
                        meta.and_then(|meta| Some((meta.remote, io::Error::from_raw_os_error(meta.error?))));
                },
            )
            .ok()?;
        found
    }

    /// Sends one IKE message as it is (port 500).
    ///
    /// The kernel may refuse it because of what an earlier message met, to whomever; so it is asked again, once.
    pub fn send(&self, local: IpAddr, remote: SocketAddr, message: &[u8]) -> io::Result<()> {
        self.send_datagram(local, remote, message)
            .or_else(|_| self.send_datagram(local, remote, message))
    }

    /// Sends one IKE message behind the non-ESP marker (RFC 3948 2.2), for the port that ESP uses too.
    pub fn send_marked(&self, local: IpAddr, remote: SocketAddr, message: &[u8]) -> io::Result<()> {
        let mut datagram = Vec::with_capacity(MARKER.len() + message.len());
        datagram.extend_from_slice(&MARKER);
        datagram.extend_from_slice(message);
        self.send_datagram(local, remote, &datagram)
    }

    /// Sends one NAT-keepalive (RFC 3948 2.3).
    pub fn send_keepalive(&self, local: IpAddr, remote: SocketAddr) -> io::Result<()> {
        self.send_datagram(local, remote, &KEEPALIVE)
    }

    fn send_datagram(&self, local: IpAddr, remote: SocketAddr, datagram: &[u8]) -> io::Result<()> {
        match self.send_once(local, remote, datagram) {
            Err(Fault::TooBig) => {
                // The socket belongs to ESP and sets DF; a long IKE message has to be cut by IP. ESP packets that leave in
                // between may go without DF, which is harmless.
                set_fragmentation(self.fd.as_fd(), self.bound.ip(), true)?;
                let result = self.send_once(local, remote, datagram);
                set_fragmentation(self.fd.as_fd(), self.bound.ip(), false)?;
                result
            }
            other => other,
        }
        .map_err(io::Error::from)
    }

    fn send_once(&self, local: IpAddr, remote: SocketAddr, bytes: &[u8]) -> Result<(), Fault> {
        let local = if local.is_ipv6() == remote.is_ipv6() {
            local
        } else {
            ANY
        };
        let datagram = Outgoing {
            bytes,
            local,
            remote,
            traffic_class: 0,
        };
        let mut result = Ok(());
        Exchange::new(1).send(self.fd.as_fd(), std::iter::once(datagram), |_, fault| {
            result = Err(fault)
        });
        result
    }
}

impl AsFd for IkeSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for IkeSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Has the kernel keep what ICMP says about messages of this socket.
fn report_errors(fd: BorrowedFd<'_>, family: IpAddr) -> io::Result<()> {
    match family {
        IpAddr::V4(_) => sys::set_option(fd, libc::IPPROTO_IP, libc::IP_RECVERR, 1),
        IpAddr::V6(_) => sys::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1),
    }
}

/// Where a batch of IKE messages is received: under a flood the way into the kernel costs more than what is done with most
/// of them.
///
/// Concurrency: for one thread.
pub struct IkeInbox {
    exchange: Exchange,
    room: Vec<u8>,
}

impl IkeInbox {
    /// Room for one batch.
    #[allow(clippy::new_without_default)] // It takes two megabytes of address space.
    pub fn new() -> Self {
        Self {
            exchange: Exchange::new(AT_ONCE),
            room: vec![0; AT_ONCE * LONGEST],
        }
    }

    /// Receives what is there, up to a batch, and tells `each` about it in order; `WouldBlock` if there is nothing. What was
    /// longer than a UDP datagram can be is passed over.
    pub fn receive(&mut self, socket: &IkeSocket, mut each: impl FnMut(Meta, &[u8])) -> io::Result<()> {
        let mut metas = [None; AT_ONCE];
        let rooms = self.room.chunks_exact_mut(LONGEST);
        let count = self
            .exchange
            .receive(socket.fd.as_fd(), socket.bound, rooms, |index, meta| {
                if let Some(slot) = metas.get_mut(index) {
                    *slot = meta;
                }
            })?;
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        for (meta, room) in metas.into_iter().zip(self.room.chunks_exact(LONGEST)) {
            if let Some(meta) = meta.filter(|meta| !meta.truncated) {
                each(meta, room.get(..meta.len).unwrap_or_default());
            }
        }
        Ok(())
    }
}

/// Messages received at once.
const AT_ONCE: usize = 32;
/// The longest UDP datagram, rounded up.
const LONGEST: usize = 65_536;
/// Asked of the kernel for a socket on port 500: what a few hundred peers say at once when they all come back.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Four zero octets where ESP has its SPI.
const MARKER: [u8; 4] = [0; 4];
const KEEPALIVE: [u8; 1] = [0xff];

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::time::{Duration, Instant};

    #[test]
    fn says_that_nobody_listens_at_the_peer() {
        for host in ["127.0.0.1", "::1"] {
            let Ok(vacated) = UdpSocket::bind((host, 0)) else {
                continue; // no IPv6 here
            };
            let nobody = vacated.local_addr().unwrap();
            drop(vacated);
            let socket = IkeSocket::bind(SocketAddr::new(nobody.ip(), 0)).unwrap();
            assert!(socket.undelivered().is_none());
            socket.send(nobody.ip(), nobody, b"hello").unwrap();
            let begin = Instant::now();
            let (remote, error) = loop {
                if let Some(found) = socket.undelivered() {
                    break found;
                }
                assert!(
                    begin.elapsed() < Duration::from_secs(5),
                    "the kernel said nothing"
                );
            };
            assert_eq!((remote, error.kind()), (nobody, io::ErrorKind::ConnectionRefused));
        }
    }

    #[test]
    fn sends_to_one_peer_although_another_refused() {
        let vacated = UdpSocket::bind("127.0.0.1:0").unwrap();
        let nobody = vacated.local_addr().unwrap();
        drop(vacated);
        let somebody = UdpSocket::bind("127.0.0.1:0").unwrap();
        somebody.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let socket = IkeSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        socket.send(nobody.ip(), nobody, b"hello").unwrap();
        let there = somebody.local_addr().unwrap();
        socket.send(there.ip(), there, b"hello").unwrap();
        assert_eq!(somebody.recv(&mut [0; 16]).unwrap(), 5);
    }
}
