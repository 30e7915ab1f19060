//! Traffic selectors against packets (RFC 4301 4.4.1.1, 5.1, 5.2).

use std::net::IpAddr;

use super::Header;
use crate::api::Selector;

/// Whether a packet leaving through a tunnel is among what its SA carries: local source, remote destination.
pub fn permits_outbound(local: &[Selector], remote: &[Selector], header: &Header) -> bool {
    permits(
        local,
        header.source,
        header.protocol,
        header.ports.map(|ports| ports.0),
    ) && permits(
        remote,
        header.destination,
        header.protocol,
        header.ports.map(|ports| ports.1),
    )
}

/// Whether a packet that came out of a tunnel is among what its SA carries: remote source, local destination.
pub fn permits_inbound(local: &[Selector], remote: &[Selector], header: &Header) -> bool {
    permits(
        remote,
        header.source,
        header.protocol,
        header.ports.map(|ports| ports.0),
    ) && permits(
        local,
        header.destination,
        header.protocol,
        header.ports.map(|ports| ports.1),
    )
}

fn permits(selectors: &[Selector], address: IpAddr, protocol: u8, port: Option<u16>) -> bool {
    selectors
        .iter()
        .any(|selector| matches(selector, address, protocol, port))
}

fn matches(selector: &Selector, address: IpAddr, protocol: u8, port: Option<u16>) -> bool {
    // `first` and `last` are of one family, and every IPv4 address sorts before every IPv6 address.
    let address = selector.first <= address && address <= selector.last;
    let protocol = selector.protocol == ANY_PROTOCOL || selector.protocol == protocol;
    let port = match (selector.first_port, selector.last_port, port) {
        (0, u16::MAX, _) => true,
        (first, last, Some(port)) => first <= port && port <= last,
        // RFC 4301 7.1: a port that cannot be read matches only ANY.
        (_, _, None) => false,
    };
    address && protocol && port
}

const ANY_PROTOCOL: u8 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(first: &str, last: &str, protocol: u8, first_port: u16, last_port: u16) -> Selector {
        Selector {
            first: first.parse().unwrap(),
            last: last.parse().unwrap(),
            protocol,
            first_port,
            last_port,
        }
    }

    fn matches_v4(selector: &Selector, address: &str, protocol: u8, port: Option<u16>) -> bool {
        matches(selector, address.parse().unwrap(), protocol, port)
    }

    #[test]
    fn matches_ranges_with_both_ends() {
        let any = selector("10.1.0.0", "10.1.255.255", 0, 0, 65535);
        assert!(matches_v4(&any, "10.1.0.0", 6, None));
        assert!(matches_v4(&any, "10.1.255.255", 17, Some(9)));
        assert!(!matches_v4(&any, "10.0.255.255", 6, None));
        assert!(!matches_v4(&any, "10.2.0.0", 6, None));
    }

    #[test]
    fn matches_protocol_and_ports() {
        let web = selector("10.1.0.0", "10.1.0.9", 6, 80, 81);
        assert!(matches_v4(&web, "10.1.0.5", 6, Some(80)));
        assert!(matches_v4(&web, "10.1.0.5", 6, Some(81)));
        assert!(!matches_v4(&web, "10.1.0.5", 6, Some(82)));
        assert!(!matches_v4(&web, "10.1.0.5", 17, Some(80)));
        assert!(!matches_v4(&web, "10.1.0.5", 6, None), "a fragment");
    }

    #[test]
    fn never_matches_across_families() {
        let v4 = selector("0.0.0.0", "255.255.255.255", 0, 0, 65535);
        let v6 = selector("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 0, 0, 65535);
        assert!(!matches_v4(&v4, "::1", 6, None));
        assert!(!matches_v4(&v6, "1.2.3.4", 6, None));
        assert!(matches_v4(&v6, "fe80::1", 6, None));
    }
}
