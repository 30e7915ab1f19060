//! From packets to one write to a TUN: consecutive segments of one flow become a super-packet.
//!
//! ```text
//!   | IP | TCP | payload |   | IP | TCP | payload |   | IP | TCP | pay |            what was received
//!
//!   | IP | TCP | payload |           | payload |           | pay |                  one write, gathered
//! ```
//!
//! The kernel takes it for what it would have received from a network card that does the same, and segments it again where
//! it must leave as segments. So only what segmentation gives back octet by octet is joined, and only what is intact: from
//! then on the kernel does not look at the checksums any more.

use super::vnet::{self, VnetHeader};
use crate::buffer::Packet;
use crate::ip::checksum;
use crate::ip::word::{get, set};

/// Packets that may be written as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// How many, from the first on.
    pub(super) count: usize,
    /// Octets of the first packet's headers: where the payload begins, in all of them.
    pub(super) headers: usize,
    shape: Shape,
    /// Octets of the whole.
    total: usize,
}

/// What a packet must have in order to be joined to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    v6: bool,
    transport: usize,
    headers: usize,
    protocol: Protocol,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
}

impl Run {
    /// How many of `packets` the first super-packet takes; at least two, or `None`.
    ///
    /// `joins`: whether the interface takes super-packets of TCP, and of UDP.
    pub(super) fn of(packets: &[Packet], joins: [bool; 2]) -> Option<Self> {
        let [tcp, udp] = joins;
        let (first, rest) = packets.split_first()?;
        let octets = first.octets();
        let shape = Shape::of(octets).filter(|shape| match shape.protocol {
            Protocol::Tcp => tcp,
            Protocol::Udp => udp,
        })?;
        let size = octets.len() - shape.headers;
        let mut run = Self {
            count: 1,
            headers: shape.headers,
            shape,
            total: octets.len(),
        };
        let mut before = octets;
        let most = match shape.protocol {
            Protocol::Tcp => MOST,
            Protocol::Udp => MOST_UDP,
        };
        for packet in rest.iter().take(most - 1) {
            let next = packet.octets();
            if first.meta.tunnel != packet.meta.tunnel || !run.takes(size, before, next) {
                break;
            }
            // The first has to be intact only if there is a second.
            if (run.count == 1 && !shape.is_intact(octets)) || !shape.is_intact(next) {
                break;
            }
            run.count += 1;
            run.total += next.len() - shape.headers;
            before = next;
        }
        (run.count > 1).then_some(run)
    }

    /// Whether `next` follows `before`, both of the flow of this run.
    fn takes(&self, size: usize, before: &[u8], next: &[u8]) -> bool {
        let shape = &self.shape;
        if Shape::of(next) != Some(*shape) || self.total + next.len() - shape.headers > LONGEST {
            return false;
        }
        // All segments have one size; a shorter one, or one that was pushed, is the last.
        let (length, before_length) = (next.len() - shape.headers, before.len() - shape.headers);
        if length > size || before_length < size {
            return false;
        }
        let (Some((network, rest)), Some((before_network, before_rest))) = (
            next.split_at_checked(shape.transport),
            before.split_at_checked(shape.transport),
        ) else {
            return false;
        };
        let same_path = if shape.v6 {
            // Class and flow label; next header, hop limit, addresses.
            network.get(..4) == before_network.get(..4) && network.get(6..) == before_network.get(6..)
        } else {
            // Everything but total length, identification and checksum.
            let id = |octets: &[u8]| get(octets, 4).unwrap_or(0);
            let fixed = network.get(6).is_some_and(|flags| flags & DF != 0);
            network.get(..2) == before_network.get(..2)
                && network.get(6..10) == before_network.get(6..10)
                && network.get(12..) == before_network.get(12..)
                // RFC 6864 4.1: with DF the identification means nothing. Without, segmentation counts it up.
                && (fixed || id(network) == id(before_network).wrapping_add(1))
        };
        same_path
            && match shape.protocol {
                Protocol::Tcp => follows(shape, before_length, before_rest, rest),
                Protocol::Udp => before_rest.get(..4) == rest.get(..4),
            }
    }

    /// Makes the first packet's headers those of the whole, and gives what goes before it.
    ///
    /// `last` is the last packet of the run.
    pub(super) fn head(&self, first: &mut [u8], last_flags: Option<u8>) -> Option<VnetHeader> {
        let Shape {
            v6,
            transport: start,
            protocol,
            ..
        } = self.shape;
        let size = first.len().checked_sub(self.headers)?;
        let (network, transport) = first.split_at_mut_checked(start)?;
        let addresses = if v6 {
            set(network, 4, u16::try_from(self.total - IPV6_HEADER).ok()?)?;
            network.get(8..40)?
        } else {
            set(network, 2, u16::try_from(self.total).ok()?)?;
            set(network, 10, 0)?;
            let sum = checksum::finish(checksum::add(0, network));
            set(network, 10, sum)?;
            network.get(12..20)?
        };
        let length = u32::try_from(self.total - start).ok()?;
        let (number, gso_type, at) = match (protocol, v6) {
            (Protocol::Tcp, false) => (TCP, vnet::GSO_TCPV4, TCP_CHECKSUM),
            (Protocol::Tcp, true) => (TCP, vnet::GSO_TCPV6, TCP_CHECKSUM),
            (Protocol::Udp, _) => (UDP, vnet::GSO_UDP_L4, UDP_CHECKSUM),
        };
        match protocol {
            Protocol::Tcp => *transport.get_mut(13)? |= last_flags? & PSH,
            Protocol::Udp => set(transport, 4, u16::try_from(length).ok()?)?,
        }
        // The pseudo-header's sum alone, not inverted: whoever segments it completes it.
        let pseudo = checksum::add(u32::from(number) + length, addresses);
        set(transport, at, !checksum::finish(pseudo))?;
        Some(VnetHeader {
            flags: vnet::F_NEEDS_CSUM,
            gso_type,
            header_len: u16::try_from(self.headers).ok()?,
            gso_size: u16::try_from(size).ok()?,
            checksum_start: u16::try_from(start).ok()?,
            checksum_offset: u16::try_from(at).ok()?,
        })
    }

    /// Whether it is of UDP.
    pub(super) fn is_udp(&self) -> bool {
        self.shape.protocol == Protocol::Udp
    }

    /// The flags of a segment of this run, if its protocol has any.
    pub(super) fn flags(&self, segment: &[u8]) -> Option<u8> {
        segment.get(self.shape.transport + 13).copied()
    }
}

impl Shape {
    /// A segment of TCP without anything but an acknowledgement and payload, or a UDP datagram with a checksum.
    fn of(octets: &[u8]) -> Option<Self> {
        let (v6, transport, protocol) = match octets.first()? {
            // Options are not joined; fragments cannot be.
            0x45 if usize::from(get(octets, 2)?) == octets.len() && get(octets, 6)? & FRAGMENT == 0 => {
                (false, 20, *octets.get(9)?)
            }
            0x60..=0x6f if usize::from(get(octets, 4)?) + IPV6_HEADER == octets.len() => {
                (true, IPV6_HEADER, *octets.get(6)?)
            }
            _ => return None,
        };
        let rest = octets.get(transport..)?;
        let (protocol, headers) = match protocol {
            TCP => {
                let offset = usize::from(*rest.get(12)? >> 4) * 4;
                let plain = rest.get(13)? & !PSH == ACK && offset >= 20;
                (Protocol::Tcp, plain.then_some(transport + offset)?)
            }
            UDP => {
                let right = usize::from(get(rest, 4)?) == rest.len() && get(rest, UDP_CHECKSUM)? != 0;
                (Protocol::Udp, right.then_some(transport + 8)?)
            }
            _ => return None,
        };
        (octets.len() > headers).then_some(Self {
            v6,
            transport,
            headers,
            protocol,
        })
    }

    /// Whether header and transport checksum are right.
    fn is_intact(&self, octets: &[u8]) -> bool {
        let Some((network, transport)) = octets.split_at_checked(self.transport) else {
            return false;
        };
        let addresses = if self.v6 {
            network.get(8..40)
        } else if checksum::finish(checksum::add(0, network)) == 0 {
            network.get(12..20)
        } else {
            None
        };
        let number = match self.protocol {
            Protocol::Tcp => TCP,
            Protocol::Udp => UDP,
        };
        let length = u32::try_from(transport.len()).unwrap_or(u32::MAX);
        addresses.is_some_and(|addresses| {
            let pseudo = checksum::add(u32::from(number) + length, addresses);
            checksum::finish(checksum::add(pseudo, transport)) == 0
        })
    }
}

/// Whether one TCP segment continues another: ports, the next sequence number, the same acknowledgement, window and options.
fn follows(shape: &Shape, before_length: usize, before: &[u8], next: &[u8]) -> bool {
    let sequence = |octets: &[u8]| {
        octets
            .get(4..8)
            .and_then(<[u8]>::first_chunk)
            .map(|word| u32::from_be_bytes(*word))
    };
    let expected = u32::try_from(before_length)
        .ok()
        .zip(sequence(before))
        .map(|(length, start)| start.wrapping_add(length));
    let pushed = before.get(13).is_none_or(|flags| flags & PSH != 0);
    let end = shape.headers - shape.transport;
    !pushed
        && expected == sequence(next)
        && before.get(..4) == next.get(..4)
        && before.get(8..13) == next.get(8..13)
        && before.get(14..16) == next.get(14..16)
        && before.get(18..end) == next.get(18..end)
}

/// Packets in one write: what one datagram of the largest kind brings, and well below IOV_MAX.
pub(super) const MOST: usize = 128;
/// Datagrams of UDP in one write: UDP_MAX_SEGMENTS of the kernels that refuse more (Linux 6.7) and did not yet take 128 (6.10).
const MOST_UDP: usize = 64;
/// Octets in one write.
const LONGEST: usize = 65_535;
const IPV6_HEADER: usize = 40;
/// MF and offset.
const FRAGMENT: u16 = 0x3fff;
/// In the octet of the flags.
const DF: u8 = 0x40;
const TCP: u8 = 6;
const UDP: u8 = 17;
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
