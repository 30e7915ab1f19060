//! What an errno means to a packet path: one packet is lost, or the descriptor is.

use std::io;

/// Why the kernel took or gave no packet.
///
/// Only [`Fault::Gone`] ends the use of a descriptor; everything else costs one packet and a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `EAGAIN`: the queue of the socket or device is full (sending) or empty (receiving).
    WouldBlock,
    /// `EMSGSIZE`: longer than the path allows with DF set; the kernel knows the path MTU now.
    TooBig,
    /// `ENETUNREACH`, `EHOSTUNREACH`, `EADDRNOTAVAIL`, `ENETDOWN`, `EHOSTDOWN`: no route, or not from that address.
    Unreachable,
    /// `ECONNREFUSED`: the peer's host answered port unreachable to an earlier datagram.
    Refused,
    /// `ENOBUFS`, `ENOMEM`: the kernel is out of memory for packets.
    NoBuffers,
    /// `EPERM`, `EACCES`: a firewall on this host refuses it.
    Forbidden,
    /// `EIO`, `EINVAL` and anything else: this packet is not acceptable (for a TUN: the interface is down).
    Rejected,
    /// `EBADF`, `EBADFD`, `ENODEV`, `ENOTSOCK`: the interface was deleted or the socket is no more.
    Gone,
}

impl Fault {
    /// Reads an error of a receiving or sending system call.
    pub fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            // EWOULDBLOCK is the same number.
            Some(libc::EAGAIN | libc::EINTR) => Self::WouldBlock,
            Some(libc::EMSGSIZE) => Self::TooBig,
            Some(
                libc::ENETUNREACH
                | libc::EHOSTUNREACH
                | libc::EADDRNOTAVAIL
                | libc::ENETDOWN
                | libc::EHOSTDOWN,
            ) => Self::Unreachable,
            Some(libc::ECONNREFUSED) => Self::Refused,
            Some(libc::ENOBUFS | libc::ENOMEM) => Self::NoBuffers,
            Some(libc::EPERM | libc::EACCES) => Self::Forbidden,
            Some(libc::EBADF | libc::EBADFD | libc::ENODEV | libc::ENOTSOCK) => Self::Gone,
            Some(_) | None => Self::Rejected,
        }
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        Self::from_raw_os_error(match fault {
            Fault::WouldBlock => libc::EAGAIN,
            Fault::TooBig => libc::EMSGSIZE,
            Fault::Unreachable => libc::ENETUNREACH,
            Fault::Refused => libc::ECONNREFUSED,
            Fault::NoBuffers => libc::ENOBUFS,
            Fault::Forbidden => libc::EPERM,
            Fault::Rejected => libc::EINVAL,
            Fault::Gone => libc::EBADF,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lost_descriptor_is_gone() {
        for errno in 1..134 {
            let fault = Fault::of(&io::Error::from_raw_os_error(errno));
            let lost = [libc::EBADF, libc::EBADFD, libc::ENODEV, libc::ENOTSOCK].contains(&errno);
            assert_eq!(fault == Fault::Gone, lost, "errno {errno}");
        }
    }

    #[test]
    fn a_full_queue_and_a_long_packet_are_told_apart() {
        assert_eq!(
            Fault::of(&io::Error::from_raw_os_error(libc::EAGAIN)),
            Fault::WouldBlock
        );
        assert_eq!(
            Fault::of(&io::Error::from_raw_os_error(libc::EMSGSIZE)),
            Fault::TooBig
        );
    }
}
