//! Writing to a TUN: packets that the gateway forwards to the host. All the way to the host's socket is the writer's.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use io_uring::{opcode, types};
use xvpn_dataplane::ip::checksum;

use crate::bed::{self, Bed};
use crate::measure::{Run, Variant, compare};
use crate::ring::{all, ring};
use crate::sys::{self, Beside, Messages, part};
use crate::tun_read::expect;

pub(crate) fn run(bed: &Bed, size: usize, rounds: usize) -> io::Result<()> {
    let title = format!("write to the TUN, packets with {size} octets in UDP");
    let (tun, napi) = ((&bed.tun, bed::TUN_NETWORK), (&bed.napi_tun, bed::NAPI_NETWORK));
    let joined = (60_000 / size).min(32);
    let variants = vec![
        Variant::new("writev, a call for each packet", write(bed, tun, size, [1, 1])),
        Variant::new("the same again", write(bed, tun, size, [1, 1])),
        Variant::new(
            "joined into super-packets of 32, gathered (as it is)",
            write(bed, tun, size, [joined, joined]),
        ),
        Variant::new(
            "joined into super-packets of 32, the payload in one piece",
            write(bed, tun, size, [joined, 1]),
        ),
        Variant::new("IFF_NAPI, a call for each packet", write(bed, napi, size, [1, 1])),
        Variant::new(
            "IFF_NAPI, joined into super-packets of 32",
            write(bed, napi, size, [joined, joined]),
        ),
        Variant::new("io_uring, 32 writev in a call", ring_write(bed, size)?),
    ];
    compare(&title, variants, rounds);
    let frags = bed
        .gateway
        .run(|| sys::open_tun("xf", sys::IFF_NAPI | sys::IFF_NAPI_FRAGS))?;
    println!(
        "\nIFF_NAPI_FRAGS: {}",
        frags.map_or_else(|error| error.to_string(), |_| "taken".to_owned())
    );
    Ok(())
}

/// Packets in a write, and pieces that their payload lies in.
type Shape = [usize; 2];

fn write<'a>(bed: &'a Bed, (tun, from): (&'a OwnedFd, Ipv4Addr), size: usize, shape: Shape) -> Run<'a> {
    let packets = Packets::new(from, size, shape);
    let [joined, _] = shape;
    let mut sink = Sink::new(bed, size);
    Box::new(move |meter| {
        // All of it, not only what is named below: the parts point into the rest.
        let packets = &packets;
        for _ in 0..BURSTS {
            meter.begin();
            for parts in &packets.parts {
                sys::writev(tun.as_fd(), parts)?;
            }
            meter.end(packets.parts.len() * joined);
            sink.expect(packets.parts.len() * joined)?;
        }
        Ok(())
    })
}

fn ring_write<'a>(bed: &'a Bed, size: usize) -> io::Result<Run<'a>> {
    let packets = Packets::new(bed::TUN_NETWORK, size, [1, 1]);
    let mut sink = Sink::new(bed, size);
    let mut ring = ring()?;
    let fd = types::Fd(bed.tun.as_raw_fd());
    Ok(Box::new(move |meter| {
        let packets = &packets;
        for _ in 0..BURSTS {
            meter.begin();
            for batch in packets.parts.chunks(32) {
                all(
                    &mut ring,
                    batch
                        .iter()
                        .map(|parts| opcode::Writev::new(fd, parts.as_ptr(), 2).build()),
                )?;
            }
            meter.end(BURST);
            sink.expect(BURST)?;
        }
        Ok(())
    }))
}

/// What arrives on the host.
struct Sink<'a> {
    fd: BorrowedFd<'a>,
    room: Messages,
    size: usize,
}

impl<'a> Sink<'a> {
    fn new(bed: &'a Bed, size: usize) -> Self {
        Self {
            fd: bed.host_sink.as_fd(),
            room: Messages::new(64, 1, 2048, Beside::default()),
            size,
        }
    }

    fn expect(&mut self, packets: usize) -> io::Result<()> {
        expect(self.room.drain(self.fd) / self.size, packets)
    }
}

/// Datagrams to the host, each with its virtio-net header; super-packets gathered from a header and payloads elsewhere.
struct Packets {
    parts: Vec<Vec<libc::iovec>>,
    _heads: Vec<Vec<u8>>,
    _payload: Vec<u8>,
}

impl Packets {
    fn new(from: Ipv4Addr, size: usize, [joined, pieces]: Shape) -> Self {
        let payload = vec![0x5a; 2048 * joined];
        let heads: Vec<_> = (0..BURST / joined)
            .map(|_| head(from, size, joined, &payload[..size]))
            .collect();
        let parts = heads.iter().map(|head| {
            let (header, packet) = head.split_at(HEADER);
            let payloads = payload.chunks_exact(2048).map(|place| part(&place[..size]));
            let parts = [part(header), part(packet)].into_iter();
            match (joined, pieces) {
                // What is alone lies in one piece with its headers.
                (1, _) => parts.collect(),
                (_, 1) => parts.chain([part(&payload[..size * joined])]).collect(),
                _ => parts.chain(payloads).collect(),
            }
        });
        Self {
            parts: parts.collect(),
            _heads: heads,
            _payload: payload,
        }
    }
}

fn head(from: Ipv4Addr, size: usize, joined: usize, payload: &[u8]) -> Vec<u8> {
    let word = |length: usize| u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    let length = 8 + size * joined;
    let mut network = vec![0x45, 0];
    network.extend(word(20 + length));
    network.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    network.extend(from.octets());
    network.extend(bed::HOST.octets());
    let sum = checksum::finish(checksum::add(0, &network));
    network[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut transport = [0x2b, 0x67].to_vec();
    transport.extend(bed::PORT.to_be_bytes());
    transport.extend(word(length));
    transport.extend([0, 0]);
    let pseudo = checksum::add(17 + u32::try_from(length).unwrap_or(0), &network[12..]);
    let mut header = vec![0; HEADER];
    if joined == 1 {
        transport.extend(payload);
        let sum = checksum::finish(checksum::add(pseudo, &transport));
        transport[6..8].copy_from_slice(&sum.to_be_bytes());
    } else {
        // VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_UDP_L4.
        let fields = [28, u16::try_from(size).unwrap_or(u16::MAX), 20, 6];
        header = [1, 5]
            .into_iter()
            .chain(fields.into_iter().flat_map(u16::to_ne_bytes))
            .collect();
        transport[6..8].copy_from_slice(&(!checksum::finish(pseudo)).to_be_bytes());
    }
    [header, network, transport].concat()
}

/// Packets before the host is looked at.
const BURST: usize = 256;
/// How often in a round.
const BURSTS: usize = 60;
const HEADER: usize = 10;
