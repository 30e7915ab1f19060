//! Narrowing of traffic selectors (RFC 7296 2.9).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use xvpn_ike::negotiate::selector::{TrafficSelector, check_answer, from_payload, narrow, to_payload};
use xvpn_ike::wire::payload::{Body, Range, Selector, TrafficSelectors};

/// Few values, so that selectors meet often.
fn selector() -> impl Strategy<Value = TrafficSelector> {
    let protocol = prop_oneof![Just(0), Just(6), Just(17)];
    let ports = prop_oneof![
        Just((0, u16::MAX)),
        Just((u16::MAX, 0)),
        (0u16..8, 0u16..8).prop_map(|(a, b)| (a.min(b), a.max(b)))
    ];
    let range = (any::<bool>(), 0u32..16, 0u32..16);
    (range, protocol, ports).prop_map(|((v6, a, b), protocol, (start_port, end_port))| {
        let address = |low: u32| -> IpAddr {
            if v6 {
                std::net::Ipv6Addr::from_bits(low.into()).into()
            } else {
                Ipv4Addr::from_bits(low).into()
            }
        };
        TrafficSelector {
            start: address(a.min(b)),
            end: address(a.max(b)),
            protocol,
            start_port,
            end_port,
        }
    })
}

fn selectors() -> impl Strategy<Value = Vec<TrafficSelector>> {
    prop::collection::vec(selector(), 1..6)
}

/// One packet; `None` for ports that cannot be seen.
type Packet = (IpAddr, u8, Option<u16>);

fn carries(list: &[TrafficSelector], (address, protocol, port): Packet) -> bool {
    list.iter().any(|ts| {
        let ports = match port {
            Some(port) => ts.start_port <= port && port <= ts.end_port,
            None => {
                (ts.start_port, ts.end_port) == (u16::MAX, 0) || (ts.start_port, ts.end_port) == (0, u16::MAX)
            }
        };
        ts.start.is_ipv4() == address.is_ipv4()
            && ts.start <= address
            && address <= ts.end
            && (ts.protocol == 0 || ts.protocol == protocol)
            && ports
    })
}

fn packet() -> impl Strategy<Value = Packet> {
    let port = prop_oneof![Just(None), (0u16..9).prop_map(Some), Just(Some(u16::MAX))];
    (
        any::<bool>(),
        0u32..16,
        prop_oneof![Just(6u8), Just(17), Just(1)],
        port,
    )
        .prop_map(|(v6, low, protocol, port)| {
            let address: IpAddr = if v6 {
                std::net::Ipv6Addr::from_bits(low.into()).into()
            } else {
                Ipv4Addr::from_bits(low).into()
            };
            (address, protocol, port)
        })
}

proptest! {
    #[test]
    fn the_narrowed_list_carries_exactly_the_packets_that_both_lists_carry(
        ours in selectors(),
        offered in selectors(),
        packets in prop::collection::vec(packet(), 64),
    ) {
        let narrowed = narrow(&ours, &offered).unwrap_or_default();
        for packet in packets {
            prop_assert_eq!(carries(&narrowed, packet), carries(&ours, packet) && carries(&offered, packet));
        }
    }

    #[test]
    fn the_narrowed_list_is_a_subset_of_both_and_is_empty_only_if_nothing_overlaps(
        ours in selectors(),
        offered in selectors(),
    ) {
        let overlap = ours.iter().any(|own| offered.iter().any(|theirs| own.intersection(theirs).is_some()));
        match narrow(&ours, &offered) {
            Ok(narrowed) => {
                prop_assert!(overlap && !narrowed.is_empty());
                prop_assert_eq!(check_answer(&offered, &narrowed), Ok(()));
                prop_assert_eq!(check_answer(&ours, &narrowed), Ok(()));
                for (n, one) in narrowed.iter().enumerate() {
                    let others = narrowed.iter().enumerate().filter(|(m, _)| *m != n);
                    prop_assert!(!others.map(|(_, other)| other).any(|other| other.contains(one)));
                }
            }
            Err(_) => prop_assert!(!overlap),
        }
    }

    #[test]
    fn both_sides_narrow_to_the_same_traffic(ours in selectors(), offered in selectors()) {
        let mut here = narrow(&ours, &offered).unwrap_or_default();
        let mut there = narrow(&offered, &ours).unwrap_or_default();
        here.sort_unstable();
        there.sort_unstable();
        prop_assert_eq!(here, there);
    }

    #[test]
    fn selectors_survive_the_wire(list in selectors()) {
        let payload = TrafficSelectors::parse(&to_payload(&list).to_bytes()).unwrap();
        prop_assert_eq!(from_payload(&payload), list);
    }

    #[test]
    fn a_shown_prefix_is_the_whole_range(start: u32, end: u32) {
        let (start, end) = (start.min(end), start.max(end));
        let ts = TrafficSelector::range(Ipv4Addr::from_bits(start).into(), Ipv4Addr::from_bits(end).into()).unwrap();
        if let Some(net) = ts.network() {
            prop_assert_eq!(TrafficSelector::from(net), ts);
        }
    }

    #[test]
    fn every_prefix_is_shown_as_one(address: u128, len in 0u8..=128) {
        let net = ipnet::IpNet::new(std::net::Ipv6Addr::from_bits(address).into(), len).unwrap().trunc();
        prop_assert_eq!(TrafficSelector::from(net).to_string(), net.to_string());
    }
}

#[test]
fn selectors_of_unknown_type_and_backward_ranges_never_match() {
    let backward = Range::addresses(Ipv4Addr::BROADCAST, Ipv4Addr::UNSPECIFIED);
    let ports = Range {
        start_port: 80,
        end_port: 79,
        ..Range::addresses(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST)
    };
    let label = Selector::Unknown {
        kind: 10,
        second: 0,
        data: vec![1, 2, 3],
    };
    let payload = TrafficSelectors(vec![Selector::Ipv4(backward), Selector::Ipv4(ports), label]);
    assert_eq!(from_payload(&payload), []);
    assert!(narrow(&[TrafficSelector::ANY_IPV4], &from_payload(&payload)).is_err());
}

#[test]
fn the_answer_to_a_hostile_list_fits_a_payload() {
    let host = |n: u32| {
        TrafficSelector::range(Ipv4Addr::from_bits(n).into(), Ipv4Addr::from_bits(n).into()).unwrap()
    };
    let offered: Vec<_> = (0..1000).map(|n| host(2 * n)).collect();
    assert_eq!(narrow(&[TrafficSelector::ANY_IPV4], &offered).unwrap().len(), 255);
}
