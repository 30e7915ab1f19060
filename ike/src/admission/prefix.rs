//! How many places each part of the address space holds (RFC 8019 4.2).
//!
//! Who has one address often has many, so a limit by address alone is none. IPv4 is counted by address, because whole
//! companies stand behind one, and by /24, the least that is routed on its own. IPv6 is counted by /64 (one link), by
//! /48 (one site: providers give their customers between a /64 and a /48) and by /32 (one provider). The wider the
//! part, the larger its share of the room: nobody is shut out by a neighbour who is merely of the same provider.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// The places held, by part of the address space.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    held: BTreeMap<Prefix, usize>,
}

/// A part of the address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Prefix {
    ipv6: bool,
    bits: u32,
    network: u128,
}

impl Prefixes {
    /// This address holds one place more.
    pub(super) fn add(&mut self, address: IpAddr) {
        for (prefix, _) in levels(address) {
            *self.held.entry(prefix).or_default() += 1;
        }
    }

    /// This address holds one place less.
    pub(super) fn sub(&mut self, address: IpAddr) {
        for (prefix, _) in levels(address) {
            if let Some(held) = self.held.get_mut(&prefix) {
                *held = held.saturating_sub(1);
                if *held == 0 {
                    self.held.remove(&prefix);
                }
            }
        }
    }

    /// How much of its share of `room` places the fullest part around this address holds, in thousandths.
    pub(super) fn crowding(&self, address: IpAddr, room: usize, least: usize) -> usize {
        let of_share = |(prefix, parts): (Prefix, usize)| {
            let share = (room / parts).max(least).max(1);
            let held = self.held.get(&prefix).copied().unwrap_or_default();
            held.saturating_mul(1000) / share
        };
        levels(address).map(of_share).max().unwrap_or_default()
    }
}

/// The parts that an address is counted in, and what part of the room each may hold.
fn levels(address: IpAddr) -> impl Iterator<Item = (Prefix, usize)> {
    let (ipv6, value, width, levels): (_, _, _, &[(u32, usize)]) = match address.to_canonical() {
        IpAddr::V4(address) => (false, u128::from(address.to_bits()), 32, &[(32, 8), (24, 4)]),
        IpAddr::V6(address) => (true, address.to_bits(), 128, &[(64, 8), (48, 4), (32, 2)]),
    };
    levels.iter().map(move |&(bits, parts)| {
        let network = value.checked_shr(width - bits).unwrap_or_default();
        (Prefix { ipv6, bits, network }, parts)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ip;

    fn crowding(held: &[&str], asked: &str) -> usize {
        let mut prefixes = Prefixes::default();
        held.iter().for_each(|address| prefixes.add(ip(address)));
        prefixes.crowding(ip(asked), 64, 1)
    }

    #[test]
    fn an_ipv4_address_has_an_eighth_and_its_24_a_quarter() {
        assert_eq!(crowding(&["192.0.2.1"; 8], "192.0.2.1"), 1000);
        assert_eq!(crowding(&["192.0.2.1"; 8], "192.0.2.2"), 500);
        assert_eq!(crowding(&["192.0.2.1"; 8], "192.0.3.1"), 0);
    }

    #[test]
    fn addresses_of_one_ipv6_link_count_as_one() {
        let link = ["2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8:1:2:ffff::"];
        assert_eq!(crowding(&link, "2001:db8:1:2::9"), 375);
        assert_eq!(crowding(&link, "2001:db8:1:3::9"), 3000 / 16);
        assert_eq!(crowding(&link, "2001:db8:2::9"), 3000 / 32);
        assert_eq!(crowding(&link, "2001:db9::1"), 0);
    }

    #[test]
    fn an_ipv4_address_in_ipv6_clothes_is_the_same() {
        assert_eq!(crowding(&["::ffff:192.0.2.1"; 8], "192.0.2.1"), 1000);
    }

    #[test]
    fn nothing_is_kept_of_who_left() {
        let mut prefixes = Prefixes::default();
        prefixes.add(ip("2001:db8::1"));
        prefixes.sub(ip("2001:db8::1"));
        prefixes.sub(ip("2001:db8::1"));
        assert!(prefixes.held.is_empty());
    }
}
