//! The ICMP errors a tunnel owes to senders: too big (RFC 1191, RFC 8201; RFC 4301 8.2) and prohibited (RFC 4301 5.1).
//!
//! The source of an error is the destination of the packet it is about: the tunnel has no address of its own, and that
//! address is routed into the tunnel, so the host's reverse path filter takes it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::header::{ICMP, ICMPV6};
use super::{Header, checksum};
use crate::buffer::Packet;

/// What the sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Longer than `mtu`: fragmentation needed, or packet too big.
    TooBig {
        /// The longest packet that would pass.
        mtu: u16,
    },
    /// Not allowed, or not possible now, through this tunnel.
    Prohibited,
}

/// Writes the error about `offending` into `out`. `None` if there must be none.
pub fn emit(problem: Problem, header: &Header, offending: &[u8], out: &mut Packet) -> Option<()> {
    if !may_answer(header, offending) {
        return None;
    }
    match (header.source, header.destination) {
        (IpAddr::V4(to), IpAddr::V4(from)) => {
            let (kind, code, mtu) = match problem {
                Problem::TooBig { mtu } => (3, 4, mtu),
                Problem::Prohibited => (3, 13, 0),
            };
            emit_v4(
                [kind, code, 0, 0, 0, 0, high(mtu), low(mtu)],
                from.octets(),
                to.octets(),
                offending,
                out,
            )
        }
        (IpAddr::V6(to), IpAddr::V6(from)) => {
            let (kind, code, mtu) = match problem {
                Problem::TooBig { mtu } => (2, 0, mtu),
                Problem::Prohibited => (1, 1, 0),
            };
            emit_v6(
                [kind, code, 0, 0, 0, 0, high(mtu), low(mtu)],
                from.octets(),
                to.octets(),
                offending,
                out,
            )
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

/// RFC 1122 3.2.2, RFC 4443 2.4 (e): never about an ICMP error, a later fragment, or what went to or came from many.
fn may_answer(header: &Header, packet: &[u8]) -> bool {
    let one = |address| match address {
        IpAddr::V4(v4) => {
            !(v4.is_multicast() || v4.is_broadcast() || v4.is_unspecified() || v4.is_loopback())
        }
        IpAddr::V6(v6) => !(v6.is_multicast() || v6.is_unspecified() || v6.is_loopback()),
    };
    let kind = packet.get(header.payload).copied();
    let error = match header.protocol {
        // Echo and the other queries may be answered; what is unknown may not.
        ICMP => !matches!(kind, Some(0 | 8 | 13..=18)),
        ICMPV6 => kind.is_none_or(|kind| kind < 128),
        _ => false,
    };
    !error && !header.later_fragment && one(header.source) && one(header.destination)
}

fn emit_v4(message: [u8; 8], from: [u8; 4], to: [u8; 4], offending: &[u8], out: &mut Packet) -> Option<()> {
    // RFC 1812 4.3.2.3: as much as fits in 576 octets.
    let quote = offending.get(..offending.len().min(MAX_V4 - 28))?;
    let total = u16::try_from(28 + quote.len()).ok()?;
    out.commit(usize::from(total));
    let (ip, icmp) = out.octets_mut().split_first_chunk_mut::<20>()?;
    // Network control precedence (RFC 1812 4.3.2.5), DF: it is short enough for every path.
    *ip = [
        0x45,
        0xc0,
        high(total),
        low(total),
        0,
        0,
        0x40,
        0,
        64,
        ICMP,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    ];
    ip[12..16].copy_from_slice(&from);
    ip[16..].copy_from_slice(&to);
    let sum = checksum::finish(checksum::add(0, ip));
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    emit_message(message, quote, 0, icmp)
}

fn emit_v6(message: [u8; 8], from: [u8; 16], to: [u8; 16], offending: &[u8], out: &mut Packet) -> Option<()> {
    // RFC 4443 2.4 (c): as much as fits in the minimum IPv6 MTU.
    let quote = offending.get(..offending.len().min(MIN_IPV6_MTU - 48))?;
    let len = u16::try_from(8 + quote.len()).ok()?;
    out.commit(40 + usize::from(len));
    let (ip, icmp) = out.octets_mut().split_first_chunk_mut::<40>()?;
    ip[..8].copy_from_slice(&[0x60, 0, 0, 0, high(len), low(len), ICMPV6, 64]);
    ip[8..24].copy_from_slice(&from);
    ip[24..].copy_from_slice(&to);
    // RFC 8200 8.1: the pseudo-header.
    let pseudo = checksum::add(u32::from(len) + u32::from(ICMPV6), &ip[8..]);
    emit_message(message, quote, pseudo, icmp)
}

fn emit_message(message: [u8; 8], quote: &[u8], pseudo: u32, out: &mut [u8]) -> Option<()> {
    let (front, back) = out.split_first_chunk_mut::<8>()?;
    *front = message;
    back.copy_from_slice(quote);
    let sum = checksum::finish(checksum::add(checksum::add(pseudo, front), back));
    front[2..4].copy_from_slice(&sum.to_be_bytes());
    Some(())
}

/// How many ICMP errors a queue may still send (RFC 1812 4.3.2.8, RFC 4443 2.4 (f)): a token bucket.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    left: u32,
    filled: Instant,
}

impl Allowance {
    /// A full bucket.
    pub fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            filled: now,
        }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let periods = now.saturating_duration_since(self.filled).as_micros() / PERIOD.as_micros();
        if periods > 0 {
            self.left = self
                .left
                .saturating_add(u32::try_from(periods).unwrap_or(BURST))
                .min(BURST);
            self.filled = now;
        }
        let granted = self.left > 0;
        self.left = self.left.saturating_sub(1);
        granted
    }
}

fn high(value: u16) -> u8 {
    value.to_be_bytes()[0]
}

fn low(value: u16) -> u8 {
    value.to_be_bytes()[1]
}

/// Every IPv6 link carries this much (RFC 8200 5).
pub const MIN_IPV6_MTU: usize = 1280;
const MAX_V4: usize = 576;
const BURST: u32 = 64;
const PERIOD: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(len: usize, protocol: u8) -> Vec<u8> {
        let total = u16::try_from(len).unwrap();
        let mut packet = vec![
            0x45,
            0,
            high(total),
            low(total),
            0,
            1,
            0x40,
            0,
            64,
            protocol,
            0,
            0,
            10,
            1,
            0,
            5,
            10,
            2,
            0,
            9,
        ];
        packet.resize(len, 8);
        packet
    }

    fn answer(problem: Problem, packet: &[u8]) -> Option<Packet> {
        let mut out = Packet::new();
        emit(problem, &Header::parse(packet).unwrap(), packet, &mut out).map(|()| out)
    }

    #[test]
    fn tells_an_ipv4_sender_what_would_fit() {
        let offending = v4(1500, 17);
        let out = answer(Problem::TooBig { mtu: 1438 }, &offending).unwrap();
        let octets = out.octets();
        let header = Header::parse(octets).unwrap();
        assert_eq!(octets.len(), 576);
        assert_eq!(
            (header.source.to_string(), header.destination.to_string()),
            ("10.2.0.9".into(), "10.1.0.5".into())
        );
        assert_eq!(octets[20..22], [3, 4]);
        assert_eq!(octets[26..28], 1438_u16.to_be_bytes());
        assert_eq!(octets[28..], offending[..548]);
        assert_eq!(checksum::finish(checksum::add(0, &octets[..20])), 0);
        assert_eq!(checksum::finish(checksum::add(0, &octets[20..])), 0);
    }

    #[test]
    fn tells_an_ipv6_sender_what_would_fit() {
        let mut offending = vec![0x60, 0, 0, 0, 0x05, 0xb4, 17, 64];
        offending.extend(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).octets());
        offending.extend(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2).octets());
        offending.resize(1500, 7);
        let out = answer(Problem::TooBig { mtu: 1418 }, &offending).unwrap();
        let octets = out.octets();
        assert_eq!(octets.len(), MIN_IPV6_MTU);
        assert_eq!(octets[40..42], [2, 0]);
        assert_eq!(octets[44..48], 1418_u32.to_be_bytes());
        let pseudo = checksum::add(u32::try_from(octets.len() - 40).unwrap() + 58, &octets[8..40]);
        assert_eq!(checksum::finish(checksum::add(pseudo, &octets[40..])), 0);
    }

    #[test]
    fn refuses_politely() {
        let out = answer(Problem::Prohibited, &v4(60, 6)).unwrap();
        assert_eq!(out.octets()[20..22], [3, 13]);
        assert_eq!(out.len(), 88);
    }

    #[test]
    fn is_silent_about_icmp_errors_later_fragments_and_multicast() {
        let mut error = v4(60, 1);
        error[20] = 3;
        let mut echo = v4(60, 1);
        echo[20] = 8;
        let mut fragment = v4(60, 17);
        fragment[7] = 1;
        let mut multicast = v4(60, 17);
        multicast[16] = 224;
        let mut nobody = v4(60, 17);
        nobody[12..16].fill(0);
        for silent in [error, fragment, multicast, nobody] {
            assert!(answer(Problem::Prohibited, &silent).is_none());
        }
        assert!(answer(Problem::Prohibited, &echo).is_some());
    }

    #[test]
    fn the_allowance_runs_out_and_comes_back() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        assert_eq!(
            (0..1000).filter(|_| allowance.take(start)).count(),
            BURST as usize
        );
        assert!(!allowance.take(start + PERIOD / 2));
        assert!(allowance.take(start + PERIOD));
        assert!(!allowance.take(start + PERIOD));
        let later = start + Duration::from_secs(3600);
        assert_eq!(
            (0..1000).filter(|_| allowance.take(later)).count(),
            BURST as usize
        );
    }
}
