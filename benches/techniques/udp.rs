//! Sending and receiving the datagrams of ESP between gateway and peer.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use io_uring::{opcode, types};

use crate::bed::{self, Bed};
use crate::measure::{Meter, Run, Variant, compare};
use crate::ring::{Lasting, all, ring};
use crate::sys::{self, Beside, Messages};
use crate::tun_read::expect;

pub(crate) fn send(bed: &Bed, inner: usize, rounds: usize) -> io::Result<()> {
    let size = outer(inner);
    let title = format!("send by UDP, datagrams of {size} octets");
    let segment = Some(u16::try_from(size).unwrap_or(u16::MAX));
    let to = Some(SocketAddrV4::new(bed::PEER, bed::PORT));
    let whole = Beside {
        to,
        from: Some(bed::GATEWAY),
        class: Some(0),
        segment,
    };
    let bare = Beside {
        segment,
        ..Beside::default()
    };
    let new = |beside, parts, how| {
        Sender::new(bed, size, beside, parts, how)
            .map(|mut sender| -> Run<'_> { Box::new(move |meter| sender.run(meter)) })
    };
    let variants = vec![
        Variant::new(
            "UDP_SEGMENT, 32 in one, address and class beside it (as it is)",
            new(whole, BATCH, How::Call)?,
        ),
        Variant::new("the same again", new(whole, BATCH, How::Call)?),
        Variant::new(
            "without the address to send from (IP_PKTINFO)",
            new(Beside { from: None, ..whole }, BATCH, How::Call)?,
        ),
        Variant::new(
            "without the class (IP_TOS), too",
            new(
                Beside {
                    from: None,
                    class: None,
                    ..whole
                },
                BATCH,
                How::Call,
            )?,
        ),
        Variant::new(
            "a connected socket, UDP_SEGMENT beside the octets",
            new(bare, BATCH, How::Call)?,
        ),
        Variant::new(
            "a connected socket, UDP_SEGMENT as its option",
            new(Beside::default(), BATCH, How::Option)?,
        ),
        Variant::new("io_uring sendmsg, 32 in one", new(whole, BATCH, How::Ring)?),
        // 32 packets in places of their own are more fragments than a kernel's packet has without a copy (17).
        Variant::new("UDP_SEGMENT, 8 in one", new(whole, 8, How::Call)?),
        Variant::new("MSG_ZEROCOPY, 8 in one", new(whole, 8, How::ZeroCopy)?),
        Variant::new("io_uring sendmsg_zc, 8 in one", new(whole, 8, How::RingZeroCopy)?),
        Variant::new("UDP_SEGMENT, 4 in one", new(whole, 4, How::Call)?),
        Variant::new("4 in one, a connected socket", new(bare, 4, How::Call)?),
        Variant::new(
            "4 in one, io_uring, 8 sendmsg in a call",
            new(whole, 4, How::Ring)?,
        ),
        Variant::new(
            "each by itself, sendmmsg of 32",
            new(
                Beside {
                    segment: None,
                    ..whole
                },
                1,
                How::Call,
            )?,
        ),
        Variant::new(
            "each by itself, a connected socket",
            new(Beside::default(), 1, How::Call)?,
        ),
        Variant::new(
            "each by itself, io_uring, 32 sendmsg in a call",
            new(
                Beside {
                    segment: None,
                    ..whole
                },
                1,
                How::Ring,
            )?,
        ),
    ];
    compare(&title, variants, rounds);
    Ok(())
}

pub(crate) fn receive(bed: &Bed, inner: usize, rounds: usize) -> io::Result<()> {
    let size = outer(inner);
    let title = format!("receive by UDP, datagrams of {size} octets");
    let new = |joined, lasting| receiver(bed, size, joined, lasting);
    let variants = vec![
        Variant::new("recvmmsg, UDP_GRO (as it is)", new(true, false)?),
        Variant::new("the same again", new(true, false)?),
        Variant::new("io_uring, one recvmsg that lasts, UDP_GRO", new(true, true)?),
        Variant::new("recvmmsg of 32, each by itself", new(false, false)?),
        Variant::new(
            "io_uring, one recvmsg that lasts, each by itself",
            new(false, true)?,
        ),
    ];
    compare(&title, variants, rounds);
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
enum How {
    Call,
    /// UDP_SEGMENT for all that the socket sends.
    Option,
    ZeroCopy,
    Ring,
    RingZeroCopy,
}

struct Sender {
    socket: UdpSocket,
    sink: UdpSocket,
    messages: Messages,
    room: Messages,
    ring: io_uring::IoUring,
    parts: usize,
    size: usize,
    how: How,
}

impl Sender {
    /// `parts`: datagrams that leave as one.
    fn new(bed: &Bed, size: usize, beside: Beside, parts: usize, how: How) -> io::Result<Self> {
        let (socket, sink) = pair(bed, Ipv4Addr::UNSPECIFIED)?;
        let fd = socket.as_fd();
        let beside = Beside {
            to: beside.to.map(|_| address(&sink)).transpose()?,
            ..beside
        };
        if beside.to.is_none() {
            socket.connect(sink.local_addr()?)?;
        }
        if how == How::Option {
            sys::set_option(
                fd,
                libc::SOL_UDP,
                libc::UDP_SEGMENT,
                i32::try_from(size).unwrap_or(0),
            )?;
        }
        if how == How::ZeroCopy {
            sys::set_option(fd, libc::SOL_SOCKET, libc::SO_ZEROCOPY, 1)?;
        }
        Ok(Self {
            messages: Messages::new(BATCH / parts, parts, size, beside),
            room: Messages::new(64, 1, 2048, Beside::default()),
            ring: ring()?,
            socket,
            sink,
            parts,
            size,
            how,
        })
    }

    fn run(&mut self, meter: &mut Meter) -> io::Result<()> {
        for _ in 0..BURSTS {
            meter.begin();
            for _ in 0..BURST / BATCH {
                self.batch()?;
            }
            meter.end(BURST);
            expect(self.room.drain(self.sink.as_fd()) / self.size, BURST)?;
        }
        Ok(())
    }

    fn batch(&mut self) -> io::Result<()> {
        let (fd, count) = (types::Fd(self.socket.as_raw_fd()), BATCH / self.parts);
        let headers = self.messages.headers[..count]
            .iter()
            .map(|header| &raw const header.msg_hdr);
        match self.how {
            How::Call | How::Option => self.messages.send(self.socket.as_fd(), count, 0).map(drop),
            How::ZeroCopy => {
                self.messages
                    .send(self.socket.as_fd(), count, libc::MSG_ZEROCOPY)?;
                // The octets may be written to again when the kernel says so.
                let (fd, until) = (self.socket.as_fd(), Instant::now() + Duration::from_secs(1));
                while let Err(error) = self.room.receive(fd, 1, libc::MSG_ERRQUEUE) {
                    if error.kind() != io::ErrorKind::WouldBlock || Instant::now() > until {
                        return Err(error);
                    }
                }
                Ok(())
            }
            How::Ring => all(
                &mut self.ring,
                headers.map(|header| opcode::SendMsg::new(fd, header).build()),
            )
            .map(drop),
            How::RingZeroCopy => all(
                &mut self.ring,
                headers.map(|header| opcode::SendMsgZc::new(fd, header).build()),
            )
            .map(drop),
        }
    }
}

fn receiver<'a>(bed: &'a Bed, size: usize, joined: bool, lasting: bool) -> io::Result<Run<'a>> {
    let (sender, sink) = pair(bed, bed::GATEWAY)?;
    sender.connect(sink.local_addr()?)?;
    // What the dataplane wants to know of each.
    for (level, name) in [
        (libc::IPPROTO_IP, libc::IP_PKTINFO),
        (libc::IPPROTO_IP, libc::IP_RECVTOS),
    ] {
        sys::set_option(sink.as_fd(), level, name, 1)?;
    }
    sys::set_option(sink.as_fd(), libc::SOL_UDP, libc::UDP_GRO, i32::from(joined))?;
    let segment = Some(u16::try_from(size).unwrap_or(u16::MAX));
    let mut messages = Messages::new(
        BURST / BATCH,
        BATCH,
        size,
        Beside {
            segment,
            ..Beside::default()
        },
    );
    let mut room = Messages::new(
        32,
        1,
        1 << 16,
        Beside {
            to: Some(address(&sink)?),
            ..Beside::default()
        },
    );
    let total = BURST * size;
    Ok(Box::new(move |meter| {
        // SAFETY: an all-zero msghdr is one without anything; only its lengths are looked at.
        let mut layout: libc::msghdr = unsafe { std::mem::zeroed() };
        layout.msg_namelen = 16;
        layout.msg_controllen = 128;
        let header = 16 + 16 + 128;
        let request = opcode::RecvMsgMulti::new(types::Fd(sink.as_raw_fd()), &raw const layout, 0).build();
        let mut ring = if lasting {
            Some(Lasting::new(request)?)
        } else {
            None
        };
        for _ in 0..BURSTS {
            messages.send(sender.as_fd(), BURST / BATCH, 0)?;
            meter.begin();
            let mut octets = 0;
            match &mut ring {
                Some(ring) => {
                    while octets < total {
                        ring.take(|len| octets += len.saturating_sub(header))?;
                    }
                }
                None => {
                    while let Ok((more, _)) = room.receive(sink.as_fd(), 32, 0) {
                        octets += more;
                    }
                }
            }
            meter.end(BURST);
            expect(octets / size, BURST)?;
        }
        ring.map_or(Ok(()), |mut ring| ring.end())
    }))
}

/// A socket of the gateway and one of the peer.
fn pair(bed: &Bed, own: Ipv4Addr) -> io::Result<(UdpSocket, UdpSocket)> {
    let socket = bed.gateway.run(|| bed::bind(SocketAddrV4::new(own, 0)))??;
    let sink = bed.peer.run(|| bed::bind(SocketAddrV4::new(bed::PEER, 0)))??;
    Ok((socket, sink))
}

fn address(socket: &UdpSocket) -> io::Result<SocketAddrV4> {
    match socket.local_addr()? {
        std::net::SocketAddr::V4(address) => Ok(address),
        std::net::SocketAddr::V6(_) => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// The ESP packet (RFC 4303, AES-GCM) of a datagram of so many octets, without the outer headers.
fn outer(inner: usize) -> usize {
    8 + 8 + (28 + inner + 2).next_multiple_of(4) + 16
}

/// Datagrams in a call.
const BATCH: usize = 32;
/// Datagrams before the peer is looked at.
const BURST: usize = 256;
/// How often in a round.
const BURSTS: usize = 60;
