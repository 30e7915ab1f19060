//! Addresses and networks as an operator writes them.

use std::io;
use std::net::{IpAddr, UdpSocket};

use ipnet::IpNet;

use super::RemoteAddress;
use super::diagnostic::{Diagnostic, Report};
use super::rules::Network;
use super::source::At;

/// A network without host bits.
pub(super) fn network(at: &At<String>, out: &mut Report) -> Option<Network> {
    if let Ok(address) = at.value.parse::<IpAddr>() {
        let remedy = format!(
            "write \"{}\" for this one host, or the network's length after a `/`",
            IpNet::from(address)
        );
        out.push(
            Diagnostic::error("bad-network", "an address is not a network", remedy)
                .at(&at.span, "has no prefix length"),
        );
        return None;
    }
    let Ok(net) = at.value.parse::<IpNet>() else {
        let remedy = "write address and prefix length, such as \"10.1.0.0/16\" or \"2001:db8:1::/48\"";
        let label = prefix_trouble(&at.value).unwrap_or("not a network");
        out.push(
            Diagnostic::error("bad-network", format!("`{}` is not a network", at.value), remedy)
                .at(&at.span, label),
        );
        return None;
    };
    if net.trunc() != net {
        let title = format!("`{net}` is an address within a network, not a network");
        let remedy = format!(
            "write \"{}\" for the network, or \"{}\" for the one host",
            net.trunc(),
            IpNet::from(net.addr())
        );
        out.push(Diagnostic::error("host-bits", title, remedy).at(
            &at.span,
            format!("has bits behind the first {}", net.prefix_len()),
        ));
        return None;
    }
    Some(Network {
        net,
        span: at.span.clone(),
    })
}

fn prefix_trouble(text: &str) -> Option<&'static str> {
    let (address, length) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    match length.parse::<u8>() {
        Ok(length) if length > longest && address.is_ipv4() => {
            Some("the prefix length of IPv4 is at most 32")
        }
        Ok(length) if length > longest => Some("the prefix length of IPv6 is at most 128"),
        Ok(_) | Err(_) if length.contains('.') => Some("a netmask; the prefix length is needed"),
        Ok(_) | Err(_) => None,
    }
}

/// An address for the interface; without a length it is that of one host.
pub(super) fn inner_address(at: &At<String>, out: &mut Report) -> Option<IpNet> {
    let net = at
        .value
        .parse::<IpNet>()
        .or_else(|_| at.value.parse::<IpAddr>().map(IpNet::from))
        .ok();
    if net.is_none() {
        let remedy = "write the address inside the tunnel and its prefix length, such as \"169.254.21.2/30\"";
        out.push(
            Diagnostic::error("bad-address", "`address` needs an IP address", remedy)
                .at(&at.span, "not an address"),
        );
    }
    net
}

/// Where a peer is, or what is wrong.
pub(super) fn remote(text: &str) -> Result<RemoteAddress, &'static str> {
    if text == "any" || text == "%any" {
        return Ok(RemoteAddress::Any);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return match address {
            address if address.is_unspecified() => Err("nobody's address; for anywhere write \"any\""),
            address if address.is_multicast() => Err("a multicast address"),
            address => Ok(RemoteAddress::Ip(address)),
        };
    }
    if text.contains('/') {
        return Err("a network, or a path");
    }
    if text.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return Err("neither a complete address nor a name");
    }
    if text.contains(':') {
        return Err("not an IPv6 address; a port belongs into `port`");
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.len() > 253 || !name.split('.').all(label) {
        return Err("not a DNS name");
    }
    Ok(RemoteAddress::Name(name.to_owned()))
}

/// Whether a socket could be bound to it: asks the kernel, which knows, instead of listing interfaces.
pub(super) fn is_on_this_host(address: IpAddr) -> bool {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => true,
        // Other trouble (no IPv6 at all, no permission) is not about the address.
        Err(error) => error.kind() != io::ErrorKind::AddrNotAvailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_addresses_names_and_anywhere_apart() {
        assert_eq!(remote("any"), Ok(RemoteAddress::Any));
        assert_eq!(
            remote("198.51.100.7"),
            Ok(RemoteAddress::Ip("198.51.100.7".parse().unwrap()))
        );
        assert_eq!(
            remote("2001:db8::1"),
            Ok(RemoteAddress::Ip("2001:db8::1".parse().unwrap()))
        );
        assert_eq!(
            remote("gw.example.org."),
            Ok(RemoteAddress::Name("gw.example.org".into()))
        );
        for text in [
            "",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "10.0.0.300",
            "10.0.0",
            "gw..example",
            "gw:500",
            "a b",
            "-a",
            "1.2.3.0/24",
        ] {
            assert!(remote(text).is_err(), "{text}");
        }
    }

    #[test]
    fn knows_the_loopback_address_and_not_a_documentation_address() {
        assert!(is_on_this_host("127.0.0.1".parse().unwrap()));
        assert!(!is_on_this_host("203.0.113.77".parse().unwrap()));
    }
}
