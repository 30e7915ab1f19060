//! Batches of datagrams: recvmmsg(2) and sendmmsg(2).

use std::ffi::{c_int, c_uint};
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::cmsg::{self, Control};
use crate::buffer::{self, Packet};
use crate::io::fault::Fault;
use crate::io::sys::{Name, check, retry};

/// Datagrams per system call, at most.
pub const BATCH: usize = 64;

/// What came beside the octets of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The address it was sent to; the port is the socket's.
    pub local: SocketAddr,
    /// From where.
    pub remote: SocketAddr,
    /// TOS or traffic class octet: DSCP and ECN (RFC 3168).
    pub traffic_class: u8,
    /// Octets received.
    pub len: usize,
    /// There was more than the room given; the rest is lost.
    pub truncated: bool,
    /// Several datagrams in one: the length of each but the last, which may be shorter.
    pub segment: Option<u16>,
    /// Not a datagram but what became of an earlier one of ours to `remote` (`errno`).
    pub error: Option<i32>,
}

/// One datagram to send.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The payload.
    pub bytes: &'a [u8],
    /// The address to send from; unspecified leaves it to the kernel.
    pub local: IpAddr,
    /// Where to.
    pub remote: SocketAddr,
    /// TOS or traffic class octet.
    pub traffic_class: u8,
}

/// Packets that leave as one piece, which the kernel cuts.
#[derive(Clone, Copy, Debug)]
pub struct SegmentedRun<'a> {
    /// All to one place, all of the same length; the last may be shorter.
    pub packets: &'a [Packet],
    /// The length of each but the last.
    pub segment: u16,
}

/// Names and control messages of one batch, kept between calls.
///
/// Concurrency: owned by one thread, as the socket it is used with.
pub(crate) struct Exchange {
    names: Vec<Name>,
    controls: Vec<Control>,
}

impl Exchange {
    /// For batches of up to `capacity` datagrams, at most [`BATCH`].
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.min(BATCH);
        Self {
            names: vec![Name::empty(); capacity],
            controls: vec![Control::new(); capacity],
        }
    }

    /// Receives a batch of datagrams without waiting, one into each of `rooms`, and tells `each` about them in order.
    ///
    /// A datagram whose sender has no address that we understand is passed over with `None`: it still used up its room.
    pub(crate) fn receive<'a>(
        &mut self,
        fd: BorrowedFd<'_>,
        bound: SocketAddr,
        rooms: impl Iterator<Item = &'a mut [u8]>,
        each: impl FnMut(usize, Option<Meta>),
    ) -> io::Result<usize> {
        self.receive_from(fd, bound, 0, rooms, each)
    }

    /// The same with the flags of recvmmsg(2), such as `MSG_ERRQUEUE`.
    pub(crate) fn receive_from<'a>(
        &mut self,
        fd: BorrowedFd<'_>,
        bound: SocketAddr,
        flags: c_int,
        rooms: impl Iterator<Item = &'a mut [u8]>,
        mut each: impl FnMut(usize, Option<Meta>),
    ) -> io::Result<usize> {
        let mut parts = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH];
        let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH];
        let mut count = 0;
        let slots = parts
            .iter_mut()
            .zip(&mut headers)
            .zip(self.names.iter_mut().zip(self.controls.iter_mut()));
        for (((part, header), (name, control)), room) in slots.zip(rooms) {
            let part = part.write(libc::iovec {
                iov_base: room.as_mut_ptr().cast(),
                iov_len: room.len(),
            });
            name.len = Name::CAPACITY;
            header.write(message(name, std::slice::from_mut(part), control, cmsg::CAPACITY));
            count += 1;
        }
        if count == 0 {
            return Ok(0);
        }
        let vlen = c_uint::try_from(count).unwrap_or(0);
        let first = headers.as_mut_ptr().cast::<libc::mmsghdr>();
        let (fd, flags, timeout) = (fd.as_raw_fd(), flags | libc::MSG_DONTWAIT, std::ptr::null_mut());
        // SAFETY: the first `count` headers are initialised; each points at a name, a control buffer, and a part that are
        // writable for the lengths given and outlive the call: `rooms` yields `&'a mut`, and 'a outlives this function.
        let received = retry(|| check(unsafe { libc::recvmmsg(fd, first, vlen, flags as _, timeout) }))?;
        let received = usize::try_from(received).unwrap_or(0).min(count);
        for (index, header) in headers.iter().enumerate().take(received) {
            // SAFETY: `received` is at most `count`, so this header was initialised above.
            let header = unsafe { header.assume_init_ref() };
            if let (Some(name), Some(control)) = (self.names.get_mut(index), self.controls.get(index)) {
                name.len = header.msg_hdr.msg_namelen;
                each(index, meta(header, name, control, bound));
            }
        }
        Ok(received)
    }

    /// Sends a batch of datagrams without waiting and tells `failed` which were not sent and why.
    ///
    /// Never fatal: a datagram that cannot be sent is one lost on the way. Returns how many were sent.
    pub(crate) fn send<'a>(
        &mut self,
        fd: BorrowedFd<'_>,
        datagrams: impl Iterator<Item = Outgoing<'a>>,
        mut failed: impl FnMut(usize, Fault),
    ) -> usize {
        let mut parts = [const { MaybeUninit::<libc::iovec>::uninit() }; BATCH];
        let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH];
        let mut count = 0;
        let slots = parts
            .iter_mut()
            .zip(&mut headers)
            .zip(self.names.iter_mut().zip(self.controls.iter_mut()));
        for (((part, header), (name, control)), datagram) in slots.zip(datagrams) {
            let base = datagram.bytes.as_ptr().cast_mut().cast();
            let part = part.write(libc::iovec {
                iov_base: base,
                iov_len: datagram.bytes.len(),
            });
            *name = Name::from(datagram.remote);
            let used = control.ask(datagram.local, datagram.traffic_class, datagram.remote.is_ipv6());
            header.write(message(name, std::slice::from_mut(part), control, used));
            count += 1;
        }
        let (mut done, mut sent) = (0, 0);
        while done < count {
            let vlen = c_uint::try_from(count - done).unwrap_or(0);
            let first = headers[done..].as_mut_ptr().cast::<libc::mmsghdr>();
            let (fd, flags) = (fd.as_raw_fd(), libc::MSG_DONTWAIT);
            // SAFETY: headers `done..count` are initialised; sendmmsg(2) reads the names, control messages and parts they
            // point at, all of which outlive the call ('a outlives this function), and writes only `msg_len`.
            let result = retry(|| check(unsafe { libc::sendmmsg(fd, first, vlen, flags as _) }));
            match result {
                Ok(now) => {
                    let now = usize::try_from(now).unwrap_or(0).clamp(1, count - done);
                    done += now;
                    sent += now;
                }
                // The error is that of the first datagram not sent yet.
                Err(error) => {
                    let fault = Fault::of(&error);
                    let lost = if matches!(fault, Fault::WouldBlock | Fault::Gone) {
                        count - done
                    } else {
                        1
                    };
                    (done..done + lost).for_each(|index| failed(index, fault));
                    done += lost;
                }
            }
        }
        sent
    }

    /// Sends runs of packets without waiting, each run in one piece that the kernel cuts (UDP_SEGMENT), in order.
    ///
    /// Returns how many packets were sent, and why the next one was not: what follows it was not tried.
    pub(crate) fn send_runs<'a>(
        &mut self,
        fd: BorrowedFd<'_>,
        runs: impl Iterator<Item = SegmentedRun<'a>>,
    ) -> (usize, Option<Fault>) {
        let mut parts = [EMPTY; PARTS];
        let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH];
        let mut counts = [0; BATCH];
        let mut room = &mut parts[..];
        let mut count = 0;
        let slots = headers
            .iter_mut()
            .zip(&mut counts)
            .zip(self.names.iter_mut().zip(self.controls.iter_mut()));
        for (((header, packets), (name, control)), run) in slots.zip(runs) {
            let Some((now, later)) = std::mem::take(&mut room).split_at_mut_checked(run.packets.len()) else {
                break;
            };
            for (part, packet) in now.iter_mut().zip(run.packets) {
                let octets = packet.octets();
                part.iov_base = octets.as_ptr().cast_mut().cast();
                part.iov_len = octets.len();
            }
            let buffer::Meta { path, tos, .. } =
                run.packets.first().map(|first| first.meta).unwrap_or_default();
            *name = Name::from(path.remote);
            let mut used = control.ask(path.local.ip(), tos, path.remote.is_ipv6());
            if run.packets.len() > 1 {
                used = control.ask_segments(used, run.segment);
            }
            header.write(message(name, now, control, used));
            *packets = run.packets.len();
            count += 1;
            room = later;
        }
        let mut done = 0;
        while done < count {
            let vlen = c_uint::try_from(count - done).unwrap_or(0);
            let first = headers[done..].as_mut_ptr().cast::<libc::mmsghdr>();
            let (fd, flags) = (fd.as_raw_fd(), libc::MSG_DONTWAIT);
            // SAFETY: headers `done..count` are initialised; sendmmsg(2) reads the names, control messages and parts they
            // point at, all of which outlive the call ('a outlives this function), and writes only `msg_len`.
            match retry(|| check(unsafe { libc::sendmmsg(fd, first, vlen, flags as _) })) {
                Ok(now) => done += usize::try_from(now).unwrap_or(0).clamp(1, count - done),
                // The error is that of the first not sent yet.
                Err(error) => return (counts[..done].iter().sum(), Some(Fault::of(&error))),
            }
        }
        (counts[..done].iter().sum(), None)
    }
}

fn meta(header: &libc::mmsghdr, name: &Name, control: &Control, bound: SocketAddr) -> Option<Meta> {
    #[allow(clippy::unnecessary_cast)] // socklen_t on musl, size_t on glibc
    let said = control.said(header.msg_hdr.msg_controllen as usize);
    Some(Meta {
        local: SocketAddr::new(said.local.unwrap_or(bound.ip()), bound.port()),
        remote: name.address()?,
        traffic_class: said.traffic_class.unwrap_or(0),
        len: usize::try_from(header.msg_len).unwrap_or(0),
        truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        segment: said.segment.filter(|length| *length > 0),
        error: said.error,
    })
}

#[allow(clippy::cast_possible_truncation)] // Lengths are below CAPACITY; their types differ between glibc and musl.
fn message(
    name: &mut Name,
    parts: &mut [libc::iovec],
    control: &mut Control,
    control_len: usize,
) -> libc::mmsghdr {
    // SAFETY: mmsghdr is integers and pointers (and padding on musl), for all of which zeros are a value.
    let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
    header.msg_hdr.msg_name = name.as_mut_ptr().cast();
    header.msg_hdr.msg_namelen = name.len;
    header.msg_hdr.msg_iov = parts.as_mut_ptr();
    header.msg_hdr.msg_iovlen = parts.len() as _;
    header.msg_hdr.msg_control = control.as_mut_ptr().cast();
    header.msg_hdr.msg_controllen = control_len as _;
    header
}

const EMPTY: libc::iovec = libc::iovec {
    iov_base: std::ptr::null_mut(),
    iov_len: 0,
};
/// Packets in one call of [`Exchange::send_runs`].
const PARTS: usize = 256;

/// No address in particular.
pub(crate) const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
