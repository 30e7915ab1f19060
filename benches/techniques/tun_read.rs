//! Reading a TUN: packets wait in its queue, as behind an interrupt that brought many.

use std::io;
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use io_uring::{opcode, squeue, types};

use crate::bed::{self, Bed};
use crate::measure::{Run, Variant, compare};
use crate::ring::{Lasting, all, polled_ring, ring};
use crate::sys::{self, Beside, Messages, part};

pub(crate) fn run(bed: &Bed, size: usize, rounds: usize) -> io::Result<()> {
    let title = format!("read from the TUN, {FILL} packets with {size} octets in UDP wait");
    let each = |in_one| read_each(bed, size, FILL, in_one);
    let variants = vec![
        Variant::new("read, a call for each packet (as it is)", each(true)?),
        Variant::new("the same again", each(true)?),
        Variant::new("readv, header and packet in two parts", each(false)?),
        Variant::new(
            "read, where the application sent 32 as one (UDP_SEGMENT)",
            read_joined(bed, size, true)?,
        ),
        Variant::new("readv, where it sent 32 as one", read_joined(bed, size, false)?),
        Variant::new("io_uring, 32 readv in a call", ring_readv(bed, size)?),
        Variant::new(
            "io_uring, 32 reads, registered file and buffers",
            ring_fixed(bed, size, FILL, false)?,
        ),
        Variant::new(
            "io_uring, one read that lasts (multishot), 64 buffers",
            ring_lasting(bed, size)?,
        ),
        Variant::new(
            "io_uring, registered, a thread of the kernel's polls",
            ring_fixed(bed, size, FILL, true)?,
        ),
    ];
    compare(&title, variants, rounds);
    let title = format!("read from the TUN, {FEW} packets with {size} octets in UDP wait");
    let each = |in_one| read_each(bed, size, FEW, in_one);
    let variants = vec![
        Variant::new("read until there is nothing (as it is)", each(true)?),
        Variant::new("the same again", each(true)?),
        Variant::new("readv until there is nothing", each(false)?),
        Variant::new(
            "io_uring, 32 reads in a call, most in vain",
            ring_fixed(bed, size, FEW, false)?,
        ),
    ];
    compare(&title, variants, rounds);
    Ok(())
}

/// Puts packets into the TUN's queue.
struct Filler {
    socket: UdpSocket,
    messages: Messages,
    count: usize,
}

impl Filler {
    /// `joined`: 32 datagrams in one send, which go through the TUN as one.
    fn new(bed: &Bed, size: usize, fill: usize, joined: bool) -> io::Result<Self> {
        let socket = bed
            .gateway
            .run(|| bed::bind(SocketAddrV4::new([0, 0, 0, 0].into(), 0)))??;
        socket.connect(SocketAddrV4::new(bed::TUN_NETWORK, 9))?;
        let (count, parts) = if joined { (fill / BATCH, BATCH) } else { (fill, 1) };
        let segment = joined.then(|| u16::try_from(size).unwrap_or(u16::MAX));
        let beside = Beside {
            segment,
            ..Beside::default()
        };
        Ok(Self {
            socket,
            messages: Messages::new(count, parts, size, beside),
            count,
        })
    }

    fn fill(&mut self) -> io::Result<()> {
        self.messages.send(self.socket.as_fd(), self.count, 0).map(drop)
    }
}

/// `in_one`: the virtio-net header and the packet in one piece of memory.
fn read_each<'a>(bed: &'a Bed, size: usize, fill: usize, in_one: bool) -> io::Result<Run<'a>> {
    let mut filler = Filler::new(bed, size, fill, false)?;
    let (header, room) = ([0_u8; HEADER], Room::new());
    Ok(Box::new(move |meter| {
        for _ in 0..TOTAL / fill {
            filler.fill()?;
            meter.begin();
            let mut reads = 0;
            // The last call finds nothing: how else would the dataplane know.
            while read_one(bed, in_one, &header, &room) {
                reads += 1;
            }
            meter.end(fill);
            expect(reads, fill)?;
        }
        Ok(())
    }))
}

fn read_joined<'a>(bed: &'a Bed, size: usize, in_one: bool) -> io::Result<Run<'a>> {
    let mut filler = Filler::new(bed, size, FILL, true)?;
    let (header, room) = ([0_u8; HEADER], Room::new());
    Ok(Box::new(move |meter| {
        for _ in 0..TOTAL / FILL {
            filler.fill()?;
            meter.begin();
            let mut reads = 0;
            while read_one(bed, in_one, &header, &room) {
                reads += 1;
            }
            meter.end(FILL);
            expect(reads, filler.count)?;
        }
        Ok(())
    }))
}

/// Whether there was a packet.
fn read_one(bed: &Bed, in_one: bool, header: &[u8], room: &Room) -> bool {
    let tun = bed.tun.as_fd();
    match in_one {
        false => sys::readv(tun, &[part(header), part(room.packet())]).is_ok(),
        true => sys::read(tun, part(room.whole())).is_ok(),
    }
}

/// Room for a virtio-net header and a packet behind it that begins with a cache line, as the dataplane's.
struct Room {
    octets: Vec<u8>,
    packet: usize,
}

impl Room {
    fn new() -> Self {
        let octets = vec![0; PLACE + 2 * LINE];
        let packet = octets.as_ptr().align_offset(LINE) + LINE;
        Self { octets, packet }
    }

    fn packet(&self) -> &[u8] {
        &self.octets[self.packet..]
    }

    fn whole(&self) -> &[u8] {
        &self.octets[self.packet - HEADER..]
    }
}

fn ring_readv<'a>(bed: &'a Bed, size: usize) -> io::Result<Run<'a>> {
    let mut filler = Filler::new(bed, size, FILL, false)?;
    let mut ring = ring()?;
    let (headers, rooms) = (vec![0_u8; BATCH * HEADER], vec![0_u8; BATCH * PLACE]);
    let parts: Vec<[libc::iovec; 2]> = headers
        .chunks_exact(HEADER)
        .zip(rooms.chunks_exact(PLACE))
        .map(|(header, room)| [part(header), part(room)])
        .collect();
    let fd = types::Fd(bed.tun.as_raw_fd());
    Ok(Box::new(move |meter| {
        let _kept = (&headers, &rooms);
        for _ in 0..TOTAL / FILL {
            filler.fill()?;
            meter.begin();
            for _ in 0..FILL / BATCH {
                let requests = parts
                    .iter()
                    .map(|parts| opcode::Readv::new(fd, parts.as_ptr(), 2).build());
                all(&mut ring, requests)?;
            }
            meter.end(FILL);
        }
        Ok(())
    }))
}

fn ring_fixed<'a>(bed: &'a Bed, size: usize, fill: usize, polled: bool) -> io::Result<Run<'a>> {
    let mut filler = Filler::new(bed, size, fill, false)?;
    let rooms = vec![0_u8; BATCH * PLACE];
    let parts: Vec<libc::iovec> = rooms.chunks_exact(PLACE).map(part).collect();
    Ok(Box::new(move |meter| {
        let _kept = &rooms;
        // Made for each round: a thread that polls is not to run beside the others.
        let mut ring = if polled { polled_ring()? } else { ring()? };
        ring.submitter().register_files(&[bed.tun.as_raw_fd()])?;
        // SAFETY: the rooms live longer than the ring.
        unsafe { ring.submitter().register_buffers(&parts) }?;
        let request = |(index, part): (usize, &libc::iovec)| -> squeue::Entry {
            let (length, index) = (
                u32::try_from(PLACE).unwrap_or(0),
                u16::try_from(index).unwrap_or(0),
            );
            opcode::ReadFixed::new(types::Fixed(0), part.iov_base.cast(), length, index)
                .rw_flags(libc::RWF_NOWAIT)
                .build()
        };
        // The other core is the kernel's thread's; with two cores in all, whoever else wants to run waits.
        for _ in 0..TOTAL / fill / if polled { 6 } else { 1 } {
            filler.fill()?;
            meter.begin();
            for _ in 0..fill.div_ceil(BATCH) {
                all(&mut ring, parts.iter().enumerate().map(request))?;
            }
            meter.end(fill);
        }
        drop(ring);
        if polled {
            // Its thread goes when it has found nothing for a while.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Ok(())
    }))
}

fn ring_lasting<'a>(bed: &'a Bed, size: usize) -> io::Result<Run<'a>> {
    let mut filler = Filler::new(bed, size, FILL, false)?;
    let fd = types::Fd(bed.tun.as_raw_fd());
    Ok(Box::new(move |meter| {
        // A file that does not wait makes a request that does not, either.
        sys::set_nonblocking(bed.tun.as_fd(), false)?;
        let mut lasting = Lasting::new(opcode::ReadMulti::new(fd, 0, 0).build())?;
        let mut measured = || -> io::Result<()> {
            for _ in 0..TOTAL / FILL {
                filler.fill()?;
                meter.begin();
                let mut reads = 0;
                while reads < FILL {
                    lasting.take(|_| reads += 1)?;
                }
                meter.end(FILL);
            }
            Ok(())
        };
        let result = measured();
        lasting.end()?;
        sys::set_nonblocking(bed.tun.as_fd(), true)?;
        result
    }))
}

pub(crate) fn expect(found: usize, expected: usize) -> io::Result<()> {
    match found == expected {
        true => Ok(()),
        false => Err(io::Error::other(format!("{found} of {expected} packets came"))),
    }
}

/// Packets in the queue before they are read.
const FILL: usize = 256;
/// A burst of what a machine with 75,000 packets per second brings between two turns.
const FEW: usize = 4;
/// Packets in a round.
const TOTAL: usize = 60 * FILL;
/// In one call.
const BATCH: usize = 32;
const HEADER: usize = 10;
/// Of the caches.
const LINE: usize = 64;
/// The longest super-packet and its virtio-net header, a page more than 64 KiB.
const PLACE: usize = (1 << 16) + 4096;
