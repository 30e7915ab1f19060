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
        prepare(fd.as_fd(), address.ip(), 0)?;
        set_fragmentation(fd.as_fd(), address.ip(), true)?;
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

    /// Sends one IKE message as it is (port 500).
    pub fn send(&self, local: IpAddr, remote: SocketAddr, message: &[u8]) -> io::Result<()> {
        self.send_datagram(local, remote, message)
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

/// Four zero octets where ESP has its SPI.
const MARKER: [u8; 4] = [0; 4];
const KEEPALIVE: [u8; 1] = [0xff];
