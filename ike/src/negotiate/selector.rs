//! Traffic selectors and their narrowing (RFC 7296 2.9, 3.13.1).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::wire::payload::{Range, Selector, TrafficSelectors};

/// A rectangle of traffic: a range of addresses, a protocol (0: any) and a range of ports.
///
/// For ICMP the "ports" are type and code (RFC 7296 3.13.1). `start_port` 65535 with `end_port` 0 is OPAQUE
/// (RFC 4301 4.4.1.2): packets whose ports cannot be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrafficSelector {
    /// The first address.
    pub start: IpAddr,
    /// The last address, of the same family.
    pub end: IpAddr,
    /// IP protocol; 0 is any.
    pub protocol: u8,
    /// The first port.
    pub start_port: u16,
    /// The last port.
    pub end_port: u16,
}

/// The number of selectors in a TS payload is one octet.
const MOST: usize = 255;

const ANY_PORT: (u16, u16) = (0, u16::MAX);
const OPAQUE: (u16, u16) = (u16::MAX, 0);

/// The two sides' selectors have nothing in common.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("they offer {}, we have {}", list(.offered), list(.ours))]
pub struct NoOverlap {
    /// What we would carry.
    pub ours: Vec<TrafficSelector>,
    /// What the peer offered.
    pub offered: Vec<TrafficSelector>,
}

/// The answer to our offer contains traffic that we did not offer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("they answered {}, which is not within our offer {}", list(.answered), list(.offered))]
pub struct NotOffered {
    /// What we sent.
    pub offered: Vec<TrafficSelector>,
    /// What came back.
    pub answered: Vec<TrafficSelector>,
}

impl TrafficSelector {
    /// All traffic of one address family.
    pub const ANY_IPV4: Self = Self {
        start: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        end: IpAddr::V4(Ipv4Addr::BROADCAST),
        protocol: 0,
        start_port: 0,
        end_port: u16::MAX,
    };

    /// All traffic of one address family.
    pub const ANY_IPV6: Self = Self {
        start: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        end: IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)),
        protocol: 0,
        start_port: 0,
        end_port: u16::MAX,
    };

    /// Any protocol and port between two addresses; `None` if they are of two families or out of order.
    pub fn range(start: IpAddr, end: IpAddr) -> Option<Self> {
        let range = Self {
            start,
            end,
            protocol: 0,
            start_port: 0,
            end_port: u16::MAX,
        };
        range.is_valid().then_some(range)
    }

    /// One family, and neither range out of order.
    pub fn is_valid(&self) -> bool {
        self.start.is_ipv4() == self.end.is_ipv4()
            && self.start <= self.end
            && (self.is_opaque() || self.start_port <= self.end_port)
    }

    /// From a TS payload. `None` for a TS Type we do not know and for a range out of order: neither ever matches
    /// anything (RFC 7296 2.9).
    pub fn from_wire(selector: &Selector) -> Option<Self> {
        let read = match selector {
            Selector::Ipv4(range) => Self {
                start: range.start.into(),
                end: range.end.into(),
                protocol: range.protocol,
                start_port: range.start_port,
                end_port: range.end_port,
            },
            Selector::Ipv6(range) => Self {
                start: range.start.into(),
                end: range.end.into(),
                protocol: range.protocol,
                start_port: range.start_port,
                end_port: range.end_port,
            },
            Selector::Unknown { .. } => return None,
        };
        read.is_valid().then_some(read)
    }

    /// For a TS payload. `None` if the two addresses are of different families.
    pub fn to_wire(&self) -> Option<Selector> {
        let Self {
            protocol,
            start_port,
            end_port,
            ..
        } = *self;
        match (self.start, self.end) {
            (IpAddr::V4(start), IpAddr::V4(end)) => Some(Selector::Ipv4(Range {
                protocol,
                start_port,
                end_port,
                start,
                end,
            })),
            (IpAddr::V6(start), IpAddr::V6(end)) => Some(Selector::Ipv6(Range {
                protocol,
                start_port,
                end_port,
                start,
                end,
            })),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
        }
    }

    /// Is all of `other` within this?
    pub fn contains(&self, other: &Self) -> bool {
        self.intersection(other) == Some(*other)
    }

    /// Is the address within this?
    pub fn contains_address(&self, address: IpAddr) -> bool {
        self.start.is_ipv4() == address.is_ipv4() && self.start <= address && address <= self.end
    }

    /// What both have in common.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        if !self.is_valid() || !other.is_valid() || self.start.is_ipv4() != other.start.is_ipv4() {
            return None;
        }
        let (start, end) = (self.start.max(other.start), self.end.min(other.end));
        let protocol = match (self.protocol, other.protocol) {
            (a, b) if a == b => a,
            (0, b) => b,
            (a, 0) => a,
            _ => return None,
        };
        let (start_port, end_port) = common_ports(self.ports(), other.ports())?;
        (start <= end).then_some(Self {
            start,
            end,
            protocol,
            start_port,
            end_port,
        })
    }

    /// The prefix it is, if it is one.
    pub fn network(&self) -> Option<IpNet> {
        let prefix = match (self.start, self.end) {
            (IpAddr::V4(a), IpAddr::V4(b)) => prefix_len(a.to_bits().into(), b.to_bits().into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => prefix_len(a.to_bits(), b.to_bits(), 128),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
        }?;
        IpNet::new(self.start, prefix).ok()
    }

    fn ports(&self) -> (u16, u16) {
        (self.start_port, self.end_port)
    }

    fn is_opaque(&self) -> bool {
        self.ports() == OPAQUE
    }
}

impl From<IpNet> for TrafficSelector {
    fn from(net: IpNet) -> Self {
        Self {
            start: net.network(),
            end: net.broadcast(),
            protocol: 0,
            start_port: 0,
            end_port: u16::MAX,
        }
    }
}

impl fmt::Display for TrafficSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.network() {
            Some(net) => write!(f, "{net}")?,
            None => write!(f, "{}-{}", self.start, self.end)?,
        }
        let ports = self.ports();
        if self.protocol == 0 && ports == ANY_PORT {
            return Ok(());
        }
        match self.protocol {
            0 => f.write_str("[any")?,
            1 => f.write_str("[icmp")?,
            6 => f.write_str("[tcp")?,
            17 => f.write_str("[udp")?,
            58 => f.write_str("[icmp6")?,
            other => write!(f, "[{other}")?,
        }
        match ports {
            ANY_PORT => f.write_str("]"),
            OPAQUE => f.write_str("/opaque]"),
            (start, end) if start == end => write!(f, "/{start}]"),
            (start, end) => write!(f, "/{start}-{end}]"),
        }
    }
}

/// The responder's part: the traffic that both sides want, in the order of our preference (RFC 7296 2.9).
///
/// The answer is a subset of both lists, without a selector that lies within another.
pub fn narrow(
    ours: &[TrafficSelector],
    offered: &[TrafficSelector],
) -> Result<Vec<TrafficSelector>, NoOverlap> {
    let mut narrowed: Vec<TrafficSelector> = Vec::new();
    for common in ours
        .iter()
        .flat_map(|own| offered.iter().filter_map(|theirs| own.intersection(theirs)))
    {
        if narrowed.iter().any(|kept| kept.contains(&common)) {
            continue;
        }
        narrowed.retain(|kept| !common.contains(kept));
        if narrowed.len() < MOST {
            narrowed.push(common);
        }
    }
    if narrowed.is_empty() {
        return Err(NoOverlap {
            ours: ours.to_vec(),
            offered: offered.to_vec(),
        });
    }
    Ok(narrowed)
}

/// The initiator's part: every selector of the answer lies within one that was offered, and there is one.
pub fn check_answer(offered: &[TrafficSelector], answered: &[TrafficSelector]) -> Result<(), NotOffered> {
    let within = |answer: &TrafficSelector| offered.iter().any(|offer| offer.contains(answer));
    if answered.is_empty() || !answered.iter().all(within) {
        return Err(NotOffered {
            offered: offered.to_vec(),
            answered: answered.to_vec(),
        });
    }
    Ok(())
}

/// The selectors of a TS payload that can match anything.
pub fn from_payload(payload: &TrafficSelectors) -> Vec<TrafficSelector> {
    payload.0.iter().filter_map(TrafficSelector::from_wire).collect()
}

/// The TS payload of these selectors.
pub fn to_payload(selectors: &[TrafficSelector]) -> TrafficSelectors {
    TrafficSelectors(
        selectors
            .iter()
            .filter_map(TrafficSelector::to_wire)
            .take(MOST)
            .collect(),
    )
}

/// Selectors as an operator reads them: `10.0.0.0/8, 192.0.2.1/32[tcp/22]`.
pub fn list(selectors: &[TrafficSelector]) -> String {
    if selectors.is_empty() {
        return "nothing".to_owned();
    }
    selectors
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn common_ports(a: (u16, u16), b: (u16, u16)) -> Option<(u16, u16)> {
    // RFC 4301 4.4.1.1: ANY includes OPAQUE, no other range does.
    if a == OPAQUE || b == OPAQUE {
        let opaque_or_any = |ports| ports == OPAQUE || ports == ANY_PORT;
        return (opaque_or_any(a) && opaque_or_any(b)).then_some(OPAQUE);
    }
    let (start, end) = (a.0.max(b.0), a.1.min(b.1));
    (start <= end).then_some((start, end))
}

/// The length of the prefix that covers exactly `start..=end`, if there is one.
fn prefix_len(start: u128, end: u128, bits: u32) -> Option<u8> {
    let host = start ^ end;
    let host_bits = 128 - host.leading_zeros();
    let exact = start & host == 0 && (host == 0 || host.trailing_ones() == host_bits);
    if exact {
        u8::try_from(bits.checked_sub(host_bits)?).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> TrafficSelector {
        text.parse::<IpNet>().unwrap().into()
    }

    #[test]
    fn shows_a_prefix_where_there_is_one() {
        assert_eq!(net("10.0.0.0/8").to_string(), "10.0.0.0/8");
        assert_eq!(TrafficSelector::ANY_IPV4.to_string(), "0.0.0.0/0");
        assert_eq!(TrafficSelector::ANY_IPV6.to_string(), "::/0");
        assert_eq!(net("192.0.2.7/32").to_string(), "192.0.2.7/32");
        let range = TrafficSelector::range("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()).unwrap();
        assert_eq!(range.to_string(), "10.0.0.1-10.0.0.2");
        let ssh = TrafficSelector {
            protocol: 6,
            start_port: 22,
            end_port: 22,
            ..net("10.0.0.0/24")
        };
        assert_eq!(ssh.to_string(), "10.0.0.0/24[tcp/22]");
        let opaque = TrafficSelector {
            start_port: 65535,
            end_port: 0,
            ..net("10.0.0.0/24")
        };
        assert_eq!(opaque.to_string(), "10.0.0.0/24[any/opaque]");
    }

    #[test]
    fn narrows_to_the_smaller_of_two_networks_whoever_has_it() {
        assert_eq!(
            narrow(&[net("10.1.0.0/16")], &[net("10.0.0.0/8")]),
            Ok(vec![net("10.1.0.0/16")])
        );
        assert_eq!(
            narrow(&[net("10.0.0.0/8")], &[net("10.1.0.0/16")]),
            Ok(vec![net("10.1.0.0/16")])
        );
        assert_eq!(
            narrow(&[net("10.0.0.0/8")], &[TrafficSelector::ANY_IPV4]),
            Ok(vec![net("10.0.0.0/8")])
        );
    }

    #[test]
    fn drops_the_triggering_packet_selector_when_a_wider_one_covers_it() {
        // RFC 7296 2.9: the first selector may be the very packet that wants the SA.
        let packet = TrafficSelector {
            protocol: 17,
            start_port: 53,
            end_port: 53,
            ..net("10.1.2.3/32")
        };
        assert_eq!(
            narrow(&[net("10.1.0.0/16")], &[packet, net("10.1.2.0/24")]),
            Ok(vec![net("10.1.2.0/24")])
        );
    }

    #[test]
    fn says_what_both_sides_wanted_when_nothing_is_common() {
        let error = narrow(
            &[net("10.1.0.0/16")],
            &[net("172.16.0.0/12"), TrafficSelector::ANY_IPV6],
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "they offer 172.16.0.0/12, ::/0, we have 10.1.0.0/16"
        );
    }

    #[test]
    fn opaque_ports_meet_only_opaque_and_any() {
        let opaque = TrafficSelector {
            start_port: 65535,
            end_port: 0,
            ..net("10.0.0.0/24")
        };
        let port = TrafficSelector {
            start_port: 65535,
            end_port: 65535,
            ..net("10.0.0.0/24")
        };
        assert_eq!(opaque.intersection(&net("10.0.0.0/8")), Some(opaque));
        assert_eq!(opaque.intersection(&port), None);
        assert!(opaque.contains(&opaque));
    }

    #[test]
    fn refuses_an_answer_beyond_the_offer() {
        assert_eq!(check_answer(&[net("10.0.0.0/8")], &[net("10.1.0.0/16")]), Ok(()));
        assert!(check_answer(&[net("10.0.0.0/8")], &[TrafficSelector::ANY_IPV4]).is_err());
        assert!(check_answer(&[net("10.0.0.0/8")], &[]).is_err());
    }
}
