//! What an Ethernet frame on the public wire is, to somebody who trusts nothing but its octets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a frame is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Address resolution: ARP, and ICMPv6 neighbour and multicast-listener messages.
    Resolution,
    /// An IKE message, on UDP 500 or behind the non-ESP marker on UDP 4500 (RFC 3948 2.2).
    Ike,
    /// A NAT-keepalive (RFC 3948 2.3).
    Keepalive,
    /// ESP in UDP (RFC 3948 2.1).
    EspInUdp,
    /// ESP as IP protocol 50.
    Esp,
    /// TCP from or to port 4500 (RFC 9329).
    Tcp,
    /// A later fragment of an IP packet.
    Fragment,
    /// An ICMP error of the path: "fragmentation needed", "packet too big", "time exceeded", "unreachable".
    PathError,
    /// Anything else, in words. Nothing of this kind belongs on the wire of a tunnel.
    Other(String),
}

/// A frame, understood as far as the public may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    /// The DSCP and ECN field of the outer header.
    pub(super) traffic_class: u8,
    /// The outer "don't fragment" bit (always true for IPv6).
    pub(super) dont_fragment: bool,
    /// The SPI, if it is ESP.
    pub(super) spi: Option<u32>,
    /// Octets of the IP packet.
    pub(super) length: usize,
}

/// Classifies an Ethernet frame.
pub(super) fn classify(frame: &[u8]) -> Frame {
    let plain = |kind| Frame {
        kind,
        traffic_class: 0,
        dont_fragment: false,
        spi: None,
        length: frame.len(),
    };
    match frame.get(12..14) {
        Some([0x08, 0x06]) => plain(Kind::Resolution),
        Some([0x08, 0x00]) => {
            ipv4(&frame[14..]).unwrap_or_else(|| plain(Kind::Other("a broken IPv4 packet".into())))
        }
        Some([0x86, 0xdd]) => {
            ipv6(&frame[14..]).unwrap_or_else(|| plain(Kind::Other("a broken IPv6 packet".into())))
        }
        _ => plain(Kind::Other(format!("a frame of type {:02x?}", frame.get(12..14)))),
    }
}

fn ipv4(packet: &[u8]) -> Option<Frame> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]);
    let ends = || {
        let address = |at: usize| {
            packet
                .get(at..)?
                .first_chunk::<4>()
                .map(|a| IpAddr::from(Ipv4Addr::from(*a)))
        };
        Some(format!("{} -> {}", address(12)?, address(16)?))
    };
    let (kind, spi) = if fragment & 0x1fff != 0 {
        (Kind::Fragment, None)
    } else {
        transport(*packet.get(9)?, packet.get(header..)?, &ends()?)
    };
    Some(Frame {
        kind,
        traffic_class: packet[1],
        dont_fragment: fragment & 0x4000 != 0,
        spi,
        length: packet.len(),
    })
}

fn ipv6(packet: &[u8]) -> Option<Frame> {
    let address = |at: usize| {
        packet
            .get(at..)?
            .first_chunk::<16>()
            .map(|a| IpAddr::from(Ipv6Addr::from(*a)))
    };
    let ends = format!("{} -> {}", address(8)?, address(24)?);
    let traffic_class = packet[0] << 4 | packet[1] >> 4;
    let (mut next, mut at) = (*packet.get(6)?, 40);
    let (kind, spi) = loop {
        match next {
            // Hop-by-hop options stand before multicast-listener reports (RFC 3810).
            0 => {
                next = *packet.get(at)?;
                at += (usize::from(*packet.get(at + 1)?) + 1) * 8;
            }
            44 => break (Kind::Fragment, None),
            next => break transport(next, packet.get(at..)?, &ends),
        }
    };
    Some(Frame {
        kind,
        traffic_class,
        dont_fragment: true,
        spi,
        length: packet.len(),
    })
}

fn transport(protocol: u8, segment: &[u8], ends: &str) -> (Kind, Option<u32>) {
    let other = |what: &str| (Kind::Other(format!("{what} {ends}")), None);
    match (protocol, segment) {
        (17, segment) if segment.len() >= 8 => udp(segment, ends),
        (50, _) => (Kind::Esp, spi(segment)),
        (1, [3 | 11 | 12, ..]) | (58, [1..=4, ..]) => (Kind::PathError, None),
        (58, [130..=137 | 143, ..]) => (Kind::Resolution, None),
        (1 | 58, _) => other("ICMP"),
        (6, segment) => match (word(segment, 0), word(segment, 2)) {
            (Some(4500), _) | (_, Some(4500)) => (Kind::Tcp, None),
            _ => other("TCP"),
        },
        (17, _) => other("UDP"),
        (protocol, _) => other(&format!("IP protocol {protocol}")),
    }
}

fn udp(segment: &[u8], ends: &str) -> (Kind, Option<u32>) {
    let port = |at: usize| u16::from_be_bytes([segment[at], segment[at + 1]]);
    let (ports, data) = ([port(0), port(2)], &segment[8..]);
    if ports.contains(&4500) {
        match (data, spi(data)) {
            ([0xff], _) => (Kind::Keepalive, None),
            (_, Some(0)) => (Kind::Ike, None),
            (_, Some(spi)) => (Kind::EspInUdp, Some(spi)),
            (_, None) => (Kind::Other(format!("a short datagram on UDP 4500 {ends}")), None),
        }
    } else if ports.contains(&500) && looks_like_ike(data) {
        (Kind::Ike, None)
    } else {
        (
            Kind::Other(format!("UDP {}->{} {ends}", ports[0], ports[1])),
            None,
        )
    }
}

fn word(data: &[u8], at: usize) -> Option<u16> {
    let octets = data.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*octets))
}

/// RFC 7296 3.1: major version 2, an exchange type of IKEv2.
fn looks_like_ike(data: &[u8]) -> bool {
    data.len() >= 28 && data[17] >> 4 == 2 && (34..=43).contains(&data[18])
}

fn spi(data: &[u8]) -> Option<u32> {
    data.first_chunk().map(|spi| u32::from_be_bytes(*spi))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend_from_slice(&[0x08, 0x00, 0x45, 0xb9, 0, 0, 0, 0, 0x40, 0, 64, protocol, 0, 0]);
        frame.extend_from_slice(&[192, 0, 2, 1, 192, 0, 2, 2]);
        frame.extend_from_slice(payload);
        frame
    }

    fn datagram(port: u16, data: &[u8]) -> Vec<u8> {
        let mut segment = port.to_be_bytes().repeat(2);
        segment.extend_from_slice(&[0; 4]);
        segment.extend_from_slice(data);
        frame(17, &segment)
    }

    #[test]
    fn tells_ike_from_esp_on_port_4500() {
        assert_eq!(classify(&datagram(4500, &[0; 40])).kind, Kind::Ike);
        let esp = classify(&datagram(4500, &[0, 0, 1, 0, 9, 9, 9, 9]));
        assert_eq!(
            (esp.kind, esp.spi, esp.traffic_class),
            (Kind::EspInUdp, Some(256), 0xb9)
        );
        assert_eq!(classify(&datagram(4500, &[0xff])).kind, Kind::Keepalive);
    }

    #[test]
    fn does_not_take_anything_on_port_500_for_ike() {
        assert!(matches!(
            classify(&datagram(500, b"GET / HTTP/1.1 and so on")).kind,
            Kind::Other(_)
        ));
        let mut message = [0; 28];
        message[17] = 0x20;
        message[18] = 34;
        assert_eq!(classify(&datagram(500, &message)).kind, Kind::Ike);
    }

    #[test]
    fn names_what_does_not_belong_there() {
        let Kind::Other(what) = classify(&frame(6, &[0; 20])).kind else {
            panic!("TCP is not ours")
        };
        assert_eq!(what, "TCP 192.0.2.1 -> 192.0.2.2");
    }

    #[test]
    fn survives_every_truncation() {
        let whole = datagram(4500, &[7; 20]);
        for length in 0..whole.len() {
            classify(&whole[..length]);
        }
    }
}
