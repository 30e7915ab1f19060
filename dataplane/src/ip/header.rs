//! The header of an inner packet: IPv4 (RFC 791), IPv6 and its extension headers (RFC 8200 4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::discard::Discard;

/// What a gateway needs to know of an IP packet. Every offset in it was checked against the packet's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// From.
    pub source: IpAddr,
    /// To; the same family.
    pub destination: IpAddr,
    /// TOS or traffic class: DSCP and ECN.
    pub tos: u8,
    /// The protocol after all extension headers; 44 for an IPv6 fragment that is not the first.
    pub protocol: u8,
    /// Source and destination port where the protocol has them and they can be read; ICMP type and code, twice.
    pub ports: Option<(u16, u16)>,
    /// Octets of the packet by its own header; what follows is padding.
    pub total_len: usize,
    /// Where the payload of [`protocol`](Self::protocol) starts.
    pub payload: usize,
    /// May not be fragmented on the way: DF, or IPv6.
    pub dont_fragment: bool,
    /// A fragment that is not the first.
    pub later_fragment: bool,
}

impl Header {
    /// Reads the header. Total: any octets give a header or a reason.
    pub fn parse(packet: &[u8]) -> Result<Self, Discard> {
        match version(packet) {
            Some(4) => parse_v4(packet),
            Some(6) => parse_v6(packet),
            Some(_) | None => None,
        }
        .ok_or(Discard::MalformedInner)
    }

    /// Whether it is IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.source.is_ipv6()
    }
}

/// The version nibble.
pub fn version(packet: &[u8]) -> Option<u8> {
    packet.first().map(|octet| octet >> 4)
}

fn parse_v4(packet: &[u8]) -> Option<Header> {
    let fixed = packet.first_chunk::<20>()?;
    let header_len = usize::from(fixed[0] & 0x0f) * 4;
    let total_len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    if header_len < fixed.len() || total_len < header_len || total_len > packet.len() {
        return None;
    }
    let flags = u16::from_be_bytes([fixed[6], fixed[7]]);
    let later_fragment = flags & V4_OFFSET != 0;
    let protocol = fixed[9];
    let source: [u8; 4] = *fixed.get(12..)?.first_chunk()?;
    let destination: [u8; 4] = *fixed.get(16..)?.first_chunk()?;
    Some(Header {
        source: IpAddr::V4(Ipv4Addr::from(source)),
        destination: IpAddr::V4(Ipv4Addr::from(destination)),
        tos: fixed[1],
        protocol,
        ports: if later_fragment {
            None
        } else {
            ports(protocol, packet.get(header_len..total_len)?)
        },
        total_len,
        payload: header_len,
        dont_fragment: flags & V4_DF != 0,
        later_fragment,
    })
}

fn parse_v6(packet: &[u8]) -> Option<Header> {
    let fixed = packet.first_chunk::<40>()?;
    let total_len = fixed.len() + usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
    let packet = packet.get(..total_len)?;
    let (protocol, payload, later_fragment) = walk(packet, fixed[6])?;
    let source: [u8; 16] = *fixed.get(8..)?.first_chunk()?;
    let destination: [u8; 16] = *fixed.get(24..)?.first_chunk()?;
    Some(Header {
        source: IpAddr::V6(Ipv6Addr::from(source)),
        destination: IpAddr::V6(Ipv6Addr::from(destination)),
        tos: fixed[0] << 4 | fixed[1] >> 4,
        protocol,
        ports: if later_fragment {
            None
        } else {
            ports(protocol, packet.get(payload..)?)
        },
        total_len,
        payload,
        dont_fragment: true,
        later_fragment,
    })
}

/// Walks the extension headers (RFC 8200 4) to the upper-layer protocol: its number, where it starts, whether it is not there.
fn walk(packet: &[u8], first: u8) -> Option<(u8, usize, bool)> {
    let (mut next, mut at) = (first, 40);
    loop {
        let len = match next {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => 8 + 8 * usize::from(*packet.get(at + 1)?),
            AUTHENTICATION => 8 + 4 * usize::from(*packet.get(at + 1)?),
            FRAGMENT => {
                let [high, low] = *packet.get(at + 2..)?.first_chunk()?;
                if u16::from_be_bytes([high, low]) & !7 != 0 {
                    // RFC 8200 4.5: what follows is a piece of what the first fragment began. Its protocol is only a claim.
                    return (packet.len() >= at + 8).then_some((FRAGMENT, at, true));
                }
                8
            }
            _ => return (at <= packet.len()).then_some((next, at, false)),
        };
        next = *packet.get(at)?;
        at += len;
    }
}

/// RFC 4301 4.4.1.1: ports, or for ICMP type and code as one number (RFC 7296 3.13.1).
fn ports(protocol: u8, payload: &[u8]) -> Option<(u16, u16)> {
    let &[a, b, c, d] = payload.first_chunk::<4>()?;
    match protocol {
        TCP | UDP | DCCP | SCTP | UDP_LITE => Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))),
        ICMP | ICMPV6 => Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([a, b]))),
        _ => None,
    }
}

pub(crate) const V4_DF: u16 = 0x4000;
pub(crate) const V4_MF: u16 = 0x2000;
pub(crate) const V4_OFFSET: u16 = 0x1fff;

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const ICMPV6: u8 = 58;
const UDP: u8 = 17;
const DCCP: u8 = 33;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn udp_v4() -> Vec<u8> {
        let mut packet = vec![
            0x45, 0x2e, 0, 32, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ];
        packet.extend([0x13, 0x88, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]);
        packet
    }

    fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
        let len = u16::try_from(payload.len()).unwrap().to_be_bytes();
        let mut packet = vec![0x6a, 0xb0, 0, 0, len[0], len[1], next, 64];
        packet.extend(Ipv6Addr::LOCALHOST.octets());
        packet.extend(Ipv6Addr::UNSPECIFIED.octets());
        packet.extend(payload);
        packet
    }

    #[test]
    fn reads_ipv4() {
        let mut packet = udp_v4();
        packet.extend([0; 7]);
        let header = Header::parse(&packet).unwrap();
        assert_eq!((header.total_len, header.payload, header.tos), (32, 20, 0x2e));
        assert_eq!((header.protocol, header.ports), (17, Some((5000, 53))));
        assert_eq!(header.destination.to_string(), "10.0.0.2");
        assert!(header.dont_fragment && !header.later_fragment);
    }

    #[test]
    fn a_later_fragment_has_no_ports() {
        let mut packet = udp_v4();
        packet[7] = 1;
        let header = Header::parse(&packet).unwrap();
        assert!(header.later_fragment);
        assert_eq!(header.ports, None);
    }

    #[test]
    fn refuses_lengths_that_contradict_each_other() {
        for (at, value) in [(0, 0x44), (0, 0x4f), (3, 19), (3, 33), (0, 0x55)] {
            let mut packet = udp_v4();
            packet[at] = value;
            assert_eq!(
                Header::parse(&packet),
                Err(Discard::MalformedInner),
                "{at} {value:#x}"
            );
        }
        for len in 0..32 {
            assert_eq!(Header::parse(&udp_v4()[..len]), Err(Discard::MalformedInner));
        }
    }

    #[test]
    fn walks_ipv6_extension_headers_to_the_ports() {
        let mut payload = vec![DESTINATION_OPTIONS, 0, 1, 4, 0, 0, 0, 0];
        payload.extend([FRAGMENT, 1].iter().chain(&[0; 14]));
        payload.extend([TCP, 0, 0, 1, 0, 0, 0, 9]);
        payload.extend([1, 187, 0, 80]);
        let header = Header::parse(&v6(HOP_BY_HOP, &payload)).unwrap();
        assert_eq!((header.protocol, header.payload, header.tos), (TCP, 72, 0xab));
        assert_eq!(header.ports, Some((443, 80)));
        assert!(!header.later_fragment);
    }

    #[test]
    fn a_later_ipv6_fragment_has_neither_protocol_nor_ports() {
        let header = Header::parse(&v6(FRAGMENT, &[TCP, 0, 0, 8, 0, 0, 0, 9, 1, 187, 0, 80])).unwrap();
        assert_eq!(
            (header.protocol, header.ports, header.later_fragment),
            (FRAGMENT, None, true)
        );
    }

    #[test]
    fn refuses_extension_headers_that_leave_the_packet() {
        assert!(Header::parse(&v6(HOP_BY_HOP, &[TCP, 1, 0, 0, 0, 0, 0, 0])).is_err());
        assert!(Header::parse(&v6(ROUTING, &[])).is_err());
        assert!(Header::parse(&v6(FRAGMENT, &[TCP, 0, 0, 8])).is_err());
    }

    #[test]
    fn type_and_code_stand_for_the_ports_of_icmp() {
        let header = Header::parse(&v6(ICMPV6, &[128, 3, 0, 0])).unwrap();
        assert_eq!(header.ports, Some((0x8003, 0x8003)));
    }

    proptest! {
        #[test]
        fn any_octets_give_a_header_within_the_packet_or_a_reason(
            version in prop_oneof![Just(0x45_u8), Just(0x46), Just(0x60), any::<u8>()],
            mut packet in proptest::collection::vec(prop_oneof![Just(0_u8), Just(44), Just(43), any::<u8>()], 0..120),
        ) {
            if let Some(first) = packet.first_mut() {
                *first = version;
            }
            if let Ok(header) = Header::parse(&packet) {
                prop_assert!(header.total_len <= packet.len());
                prop_assert!(header.payload <= header.total_len);
                prop_assert_eq!(header.source.is_ipv6(), header.destination.is_ipv6());
            }
        }
    }
}
