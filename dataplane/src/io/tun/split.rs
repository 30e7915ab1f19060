//! From one read of a TUN to packets: a super-packet becomes the segments that the kernel left to us to make.
//!
//! ```text
//!   | IP | TCP | payload ....................................................... |     one read
//!
//!   | IP | TCP | payload |   | IP | TCP | payload |   | IP | TCP | pay |               what leaves
//! ```
//!
//! Each payload is copied once, to where ESP will be written around it, and its checksum is made on the way.

use std::ops::Range;

use super::Room;
use super::vnet::{self, VnetHeader};
use crate::buffer::{MAX_LEN, Packet, Pool};
use crate::io::tun::vnet::VnetError;
use crate::ip::checksum;
use crate::ip::word::{get, set};

/// What was read last, and how much of it has left.
///
/// Concurrency: owned by one queue thread.
pub(super) struct Splitter {
    read: Room,
    shape: Shape,
    /// Payload not yet in a segment.
    rest: Range<usize>,
    /// Segments made so far.
    made: u16,
}

/// What the segments have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    /// Octets before the payload; what every segment begins with.
    headers: usize,
    /// Where the transport header begins.
    transport: usize,
    /// Payload octets per segment.
    size: usize,
    protocol: Protocol,
    v6: bool,
    /// The sum of the pseudo-header without its length, where the addresses in the IPv6 header may not be those in it.
    pseudo: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
    /// Not a super-packet: the whole is the payload.
    Whole,
}

impl Splitter {
    /// With room for the longest read.
    pub(super) fn new() -> Self {
        Self {
            read: Room::new(LONGEST),
            shape: Shape::WHOLE,
            rest: 0..0,
            made: 0,
        }
    }

    /// Where to read to; [`begin`](Self::begin) afterwards. What was left of the last read is forgotten.
    pub(super) fn room(&mut self) -> &mut Room {
        self.rest = 0..0;
        &mut self.read
    }

    /// A packet of `len` octets has been read into the room, with this header before it.
    pub(super) fn begin(&mut self, header: &VnetHeader, len: usize) -> Result<(), VnetError> {
        let octets = self.read.packet_mut().get_mut(..len).ok_or(VnetError::TooLong)?;
        let shape = match header.gso_type {
            vnet::GSO_NONE => {
                header.settle(octets)?;
                Shape {
                    size: len,
                    ..Shape::WHOLE
                }
            }
            _ => Shape::of(header, octets)?,
        };
        if shape.headers + shape.size > MAX_LEN {
            return Err(VnetError::TooLong);
        }
        (self.shape, self.rest, self.made) = (shape, shape.headers..len, 0);
        Ok(())
    }

    /// Whether all segments have left.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next segment; `None` when all have left.
    pub(super) fn next(&mut self, pool: &mut Pool) -> Option<Packet> {
        if self.rest.is_empty() {
            return None;
        }
        let Shape { headers, size, .. } = self.shape;
        let payload = self.rest.start..self.rest.end.min(self.rest.start + size);
        let last = payload.end == self.rest.end;
        self.rest.start = payload.end;
        let mut packet = pool.take();
        let octets = self.read.packet();
        let (head, body) = (octets.get(..headers)?, octets.get(payload)?);
        let (head_room, body_room) = packet.room().split_at_mut_checked(headers)?;
        head_room.copy_from_slice(head);
        body_room.get_mut(..body.len())?.copy_from_slice(body);
        packet.commit(headers + body.len());
        if self.shape.protocol != Protocol::Whole {
            self.shape.fix(packet.octets_mut(), self.made, last)?;
        }
        self.made = self.made.wrapping_add(1);
        Some(packet)
    }
}

impl Shape {
    const WHOLE: Self = Self {
        headers: 0,
        transport: 0,
        size: 0,
        protocol: Protocol::Whole,
        v6: false,
        pseudo: None,
    };

    /// What the header says of a super-packet, compared with what the super-packet says.
    fn of(header: &VnetHeader, octets: &[u8]) -> Result<Self, VnetError> {
        let (protocol, v6) = match header.gso_type & !vnet::GSO_ECN {
            vnet::GSO_TCPV4 => (Protocol::Tcp, false),
            vnet::GSO_TCPV6 => (Protocol::Tcp, true),
            vnet::GSO_UDP_L4 => (Protocol::Udp, octets.first().is_some_and(|first| first >> 4 == 6)),
            _ => return Err(VnetError::UnexpectedSegments),
        };
        let transport = usize::from(header.checksum_start);
        let field = |at| get(octets, at).map_or(0, usize::from);
        let (network, total) = match octets.first().ok_or(VnetError::Contradiction)? {
            first @ 0x45..=0x4f if !v6 => (usize::from(first & 0xf) * 4, field(2)),
            0x60..=0x6f if v6 => (IPV6_HEADER, IPV6_HEADER + field(4)),
            _ => return Err(VnetError::Contradiction),
        };
        // Between an IPv6 header and the transport there may be extension headers; all segments have the same.
        let right = total == octets.len() && (transport == network || (v6 && transport > network));
        let headers = match protocol {
            Protocol::Udp | Protocol::Whole => transport + UDP_HEADER,
            Protocol::Tcp => {
                let offset = octets.get(transport + 12).ok_or(VnetError::Contradiction)? >> 4;
                if offset < 5 {
                    return Err(VnetError::Contradiction);
                }
                transport + usize::from(offset) * 4
            }
        };
        let partial = header.flags & vnet::F_NEEDS_CSUM != 0;
        if !right || !partial || header.gso_size == 0 || headers >= octets.len() {
            return Err(VnetError::Contradiction);
        }
        // RFC 8200 8.1: a routing header names the destination that counts. The kernel has summed up the right one.
        let extended = v6 && transport > IPV6_HEADER;
        let at = transport + usize::from(header.checksum_offset);
        let partial = get(octets, at).ok_or(VnetError::Contradiction)?;
        let length = u16::try_from(octets.len() - transport).map_err(|_| VnetError::Contradiction)?;
        Ok(Self {
            headers,
            transport,
            size: usize::from(header.gso_size),
            protocol,
            v6,
            pseudo: extended.then(|| u32::from(partial) + u32::from(!length)),
        })
    }

    /// Makes a segment a packet of its own: lengths, identification, sequence number, flags, checksums.
    fn fix(&self, packet: &mut [u8], number: u16, last: bool) -> Option<()> {
        let total = packet.len();
        let (network, transport) = packet.split_at_mut_checked(self.transport)?;
        let addresses = if self.v6 {
            // RFC 8200 3: what follows the first 40 octets.
            set(network, 4, u16::try_from(total - IPV6_HEADER).ok()?)?;
            network.get(8..40)?
        } else {
            set(network, 2, u16::try_from(total).ok()?)?;
            let id = get(network, 4)?;
            set(network, 4, id.wrapping_add(number))?;
            set(network, 10, 0)?;
            let sum = checksum::finish(checksum::add(0, network));
            set(network, 10, sum)?;
            network.get(12..20)?
        };
        let length = u32::try_from(transport.len()).ok()?;
        let (protocol, at) = match self.protocol {
            Protocol::Tcp => {
                let sequence = transport.get_mut(4..8)?.first_chunk_mut::<4>()?;
                let before = u32::from(number).wrapping_mul(u32::try_from(self.size).ok()?);
                *sequence = u32::from_be_bytes(*sequence).wrapping_add(before).to_be_bytes();
                let flags = transport.get_mut(13)?;
                // What ends the stream or pushes it belongs to its end; RFC 3168 6.1.2: CWR is said once.
                *flags &= if last { 0xff } else { !(FIN | PSH) };
                *flags &= if number == 0 { 0xff } else { !CWR };
                (TCP, TCP_CHECKSUM)
            }
            Protocol::Udp => {
                set(transport, 4, u16::try_from(length).ok()?)?;
                (UDP, UDP_CHECKSUM)
            }
            Protocol::Whole => return None,
        };
        set(transport, at, 0)?;
        let pseudo = match self.pseudo {
            Some(sum) => sum + length,
            None => checksum::add(protocol + length, addresses),
        };
        let sum = checksum::finish(checksum::add(pseudo, transport));
        // RFC 768: a sum of zero is sent as all ones, for zero means that there is none. All ones is right for TCP, too.
        set(transport, at, if sum == 0 { 0xffff } else { sum })
    }
}

/// The longest super-packet: an IPv6 header and the 65,535 octets it can tell of.
const LONGEST: usize = IPV6_HEADER + 65_535;
const IPV6_HEADER: usize = 40;
const UDP_HEADER: usize = 8;
const TCP: u32 = 6;
const UDP: u32 = 17;
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;
