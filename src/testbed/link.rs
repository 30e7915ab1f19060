//! Links, addresses and routes of the calling thread's network namespace (linux/rtnetlink.h).

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

use ipnet::IpNet;

use super::namespace::Namespace;
use super::netlink::{Message, Netlink, attributes, word};
use super::{sys, wait_until};

/// Joins two namespaces by a veth pair of the given MTU and brings both ends up.
pub fn join(one: (&Namespace, &str), other: (&Namespace, &str), mtu: u32) -> io::Result<()> {
    let end = |message: &mut Message, (namespace, name): (&Namespace, &str)| {
        message
            .text(IFLA_IFNAME, name)
            .attribute(IFLA_MTU, &mtu.to_ne_bytes());
        message.attribute(IFLA_NET_NS_FD, &namespace.descriptor().as_raw_fd().to_ne_bytes());
    };
    let mut message = Message::new(
        libc::RTM_NEWLINK,
        libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL,
    );
    message.put(&[0; INTERFACE_HEADER]);
    end(&mut message, one);
    message.nest(IFLA_LINKINFO, |message| {
        message
            .text(IFLA_INFO_KIND, "veth")
            .nest(IFLA_INFO_DATA, |message| {
                message.nest(VETH_INFO_PEER, |message| {
                    message.put(&[0; INTERFACE_HEADER]);
                    end(message, other);
                });
            });
    });
    Netlink::route()?.request(message)?;
    for (namespace, name) in [one, other] {
        namespace.run(|| {
            // The first packets of a new veth may get lost: do not wait a second to ask for a neighbour again.
            for family in ["ipv4", "ipv6"] {
                set_sysctl(&format!("net/{family}/neigh/{name}/retrans_time_ms"), "50")?;
            }
            set_up(name)
        })??;
    }
    Ok(())
}

/// Brings an interface up.
pub(super) fn set_up(name: &str) -> io::Result<()> {
    let mut message = Message::new(libc::RTM_NEWLINK, libc::NLM_F_ACK);
    let up = libc::IFF_UP.cast_unsigned().to_ne_bytes();
    message
        .put(&[0; 4])
        .put(&sys::interface_index(name)?.to_ne_bytes())
        .put(&up)
        .put(&up);
    Netlink::route()?.request(message)
}

/// Gives an interface another MTU.
pub fn set_mtu(name: &str, mtu: u32) -> io::Result<()> {
    let mut message = Message::new(libc::RTM_NEWLINK, libc::NLM_F_ACK);
    message
        .put(&[0; 4])
        .put(&sys::interface_index(name)?.to_ne_bytes())
        .put(&[0; 8]);
    message.attribute(IFLA_MTU, &mtu.to_ne_bytes());
    Netlink::route()?.request(message)
}

/// Waits until every interface that is up can send.
pub fn wait_for_carriers() -> io::Result<()> {
    let mut netlink = Netlink::route()?;
    let patience = Duration::from_secs(5);
    let mut failure = None;
    let ready = wait_until(patience, || {
        let mut message = Message::new(libc::RTM_GETLINK, libc::NLM_F_DUMP);
        message.put(&[0; INTERFACE_HEADER]);
        match netlink.dump(message) {
            Ok(links) => links.iter().all(|(_, body)| {
                let attributes = attributes(body.get(INTERFACE_HEADER..).unwrap_or_default());
                let state = attributes.iter().find(|(kind, _)| *kind == libc::IFLA_OPERSTATE);
                state.is_none_or(|(_, state)| [[IF_OPER_UNKNOWN], [IF_OPER_UP]].iter().any(|s| s == state))
            }),
            Err(error) => {
                failure = Some(error);
                true
            }
        }
    });
    match failure {
        Some(error) => Err(error),
        None if ready => Ok(()),
        None => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "a veth pair does not get its carrier",
        )),
    }
}

/// Gives an interface an address with its network.
pub fn add_address(name: &str, address: IpNet) -> io::Result<()> {
    let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let mut message = Message::new(libc::RTM_NEWADDR, flags);
    message.put(&[family(address.addr()), address.prefix_len(), 0, 0]);
    message.put(&sys::interface_index(name)?.to_ne_bytes());
    message.attribute(libc::IFA_LOCAL, &octets(address.addr()));
    message.attribute(libc::IFA_ADDRESS, &octets(address.addr()));
    // No duplicate address detection: an IPv6 address would be unusable for its first second.
    message.attribute(libc::IFA_FLAGS, &libc::IFA_F_NODAD.to_ne_bytes());
    Netlink::route()?.request(message)
}

/// Routes `network` by way of `gateway`.
pub fn add_route(network: IpNet, gateway: IpAddr) -> io::Result<()> {
    let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    let mut message = Message::new(libc::RTM_NEWROUTE, flags);
    let protocol = libc::RTPROT_STATIC;
    message.put(&[
        family(gateway),
        network.prefix_len(),
        0,
        0,
        libc::RT_TABLE_MAIN,
        protocol,
    ]);
    message.put(&[libc::RT_SCOPE_UNIVERSE, libc::RTN_UNICAST, 0, 0, 0, 0]);
    message.attribute(libc::RTA_DST, &octets(network.network()));
    message.attribute(libc::RTA_GATEWAY, &octets(gateway));
    Netlink::route()?.request(message)
}

/// Gives an interface's queue room for so many packets.
pub fn set_queue_length(name: &str, packets: u32) -> io::Result<()> {
    let mut message = Message::new(libc::RTM_NEWLINK, libc::NLM_F_ACK);
    message
        .put(&[0; 4])
        .put(&sys::interface_index(name)?.to_ne_bytes())
        .put(&[0; 8]);
    message.attribute(libc::IFLA_TXQLEN, &packets.to_ne_bytes());
    Netlink::route()?.request(message)
}

/// Gives a socket room for so many octets of datagrams, whatever the host's limit.
pub fn receive_buffer(socket: &UdpSocket, octets: i32) -> io::Result<()> {
    sys::set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, octets)
        .or_else(|_| sys::set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, octets))
}

/// Makes every address of `network` one of this machine's own: sockets may be bound to any of them.
pub fn own_network(network: IpNet) -> io::Result<()> {
    let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    let mut message = Message::new(libc::RTM_NEWROUTE, flags);
    message.put(&[
        family(network.addr()),
        network.prefix_len(),
        0,
        0,
        libc::RT_TABLE_LOCAL,
        libc::RTPROT_STATIC,
    ]);
    message.put(&[libc::RT_SCOPE_HOST, libc::RTN_LOCAL, 0, 0, 0, 0]);
    message.attribute(libc::RTA_DST, &octets(network.network()));
    message.attribute(libc::RTA_OIF, &sys::interface_index("lo")?.to_ne_bytes());
    Netlink::route()?.request(message)
}

/// Makes a veth behave as a wire does: what leaves it is cut to the MTU, and GRO works on what it receives. By
/// itself a veth hands 64 KiB super-packets across uncut.
pub(super) fn behave_as_wire(name: &str) -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    sys::set_offload(&socket, name, ETHTOOL_STSO, false)?;
    sys::set_offload(&socket, name, ETHTOOL_SGSO, false)?;
    sys::set_offload(&socket, name, ETHTOOL_SGRO, true)?;
    cut_before(name)
}

/// No super-packets at all: nothing that leaves or arrives is larger than the MTU.
pub fn plain_wire(name: &str) -> io::Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    [ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO]
        .into_iter()
        .try_for_each(|offload| sys::set_offload(&socket, name, offload, false))?;
    cut_before(name)
}

/// Has the kernel cut what is to be cut before it gives it to the interface. The switches above say nothing of datagrams
/// sent with UDP_SEGMENT, which would arrive at a raw socket behind the wire, a guest's or a sniffer's, as one.
fn cut_before(name: &str) -> io::Result<()> {
    let mut message = Message::new(libc::RTM_NEWLINK, libc::NLM_F_ACK);
    message
        .put(&[0; 4])
        .put(&sys::interface_index(name)?.to_ne_bytes())
        .put(&[0; 8]);
    message.attribute(IFLA_GSO_MAX_SEGS, &1_u32.to_ne_bytes());
    Netlink::route()?.request(message)
}

/// Gives an interface this IPv4 address with its network in the place of the one it has, and the default route of
/// that network's first address: what a DHCP server that changes its mind does.
pub fn change_address(name: &str, address: IpNet, router: IpAddr) -> io::Result<()> {
    let index = sys::interface_index(name)?;
    let mut question = Message::new(libc::RTM_GETADDR, libc::NLM_F_DUMP);
    question.put(&[0; ADDRESS_HEADER]);
    for (_, body) in Netlink::route()?.dump(question)? {
        if word(&body, 4) == index && body.first() == Some(&family(address.addr())) {
            let mut message = Message::new(libc::RTM_DELADDR, libc::NLM_F_ACK);
            message.put(&body);
            Netlink::route()?.request(message)?;
        }
    }
    add_address(name, address)?;
    add_route(
        IpNet::new_assert(std::net::Ipv4Addr::UNSPECIFIED.into(), 0),
        router,
    )
}

/// Takes all addresses from an interface, and IPv6 altogether: the kernel shall not answer on it any more.
pub fn drop_addresses(name: &str) -> io::Result<()> {
    set_sysctl(&format!("net/ipv6/conf/{name}/disable_ipv6"), "1")?;
    let index = sys::interface_index(name)?;
    let mut question = Message::new(libc::RTM_GETADDR, libc::NLM_F_DUMP);
    question.put(&[0; ADDRESS_HEADER]);
    for (_, body) in Netlink::route()?.dump(question)? {
        if word(&body, 4) == index {
            let mut message = Message::new(libc::RTM_DELADDR, libc::NLM_F_ACK);
            // What the kernel told us names the address.
            message.put(&body);
            Netlink::route()?.request(message)?;
        }
    }
    Ok(())
}

/// Writes a sysctl of the calling thread's namespace, by its path below /proc/sys.
pub fn set_sysctl(path: &str, value: &str) -> io::Result<()> {
    fs::write(format!("/proc/sys/{path}"), value)
        .map_err(|e| io::Error::new(e.kind(), format!("cannot set {path}: {e}")))
}

/// Every link, address, route and rule of the calling thread's namespace and whether it forwards, one line each:
/// compare two of them to see what a daemon left behind.
pub fn inventory() -> io::Result<BTreeSet<String>> {
    let mut lines = BTreeSet::new();
    for (request, header) in DUMPS {
        let mut message = Message::new(request, libc::NLM_F_DUMP);
        message.put(&[0; INTERFACE_HEADER]);
        for (_, body) in Netlink::route()?.dump(message)? {
            lines.extend(describe(request, &body, header));
        }
    }
    for sysctl in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        let value = fs::read_to_string(format!("/proc/sys/{sysctl}")).unwrap_or_default();
        lines.insert(format!("{sysctl} = {}", value.trim()));
    }
    Ok(lines)
}

fn describe(request: u16, body: &[u8], header: usize) -> Option<String> {
    let fixed = body.get(..header)?;
    // Link-local addresses come when the kernel is done with its duplicate detection.
    if attributes(&body[header..])
        .iter()
        .any(|(kind, value)| *kind == libc::IFA_ADDRESS && value.starts_with(&[0xfe, 0x80]))
    {
        return None;
    }
    let find = |kind| {
        attributes(&body[header..])
            .into_iter()
            .find(|(k, _)| *k == kind)
            .map(|(_, value)| value)
    };
    Some(match request {
        libc::RTM_GETLINK => format!(
            "link {}",
            String::from_utf8_lossy(find(IFLA_IFNAME)?).trim_end_matches('\0')
        ),
        libc::RTM_GETADDR => format!(
            "address {:02x?}/{} on {}",
            find(libc::IFA_ADDRESS)?,
            fixed[1],
            word(fixed, 4)
        ),
        libc::RTM_GETROUTE => {
            // Cloned routes are the kernel's cache, link-local and multicast ones come and go with the links.
            if word(fixed, 8) & libc::RTM_F_CLONED != 0 || fixed[4] == libc::RT_TABLE_LOCAL {
                return None;
            }
            let interface = find(libc::RTA_OIF).map(|v| word(v, 0));
            let to = find(libc::RTA_DST);
            format!(
                "route {to:02x?}/{} table {} type {} on {interface:?}",
                fixed[1], fixed[4], fixed[7]
            )
        }
        _ => format!("rule {fixed:02x?} {:02x?}", attributes(&body[header..])),
    })
}

fn family(address: IpAddr) -> u8 {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    u8::try_from(family).unwrap_or_default()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// What an [`inventory`] asks for, with the size of the answers' fixed part.
const DUMPS: [(u16, usize); 4] = [
    (libc::RTM_GETLINK, 16),
    (libc::RTM_GETADDR, 8),
    (libc::RTM_GETROUTE, 12),
    (libc::RTM_GETRULE, 12),
];
const INTERFACE_HEADER: usize = 16;
const ADDRESS_HEADER: usize = 8;
const IF_OPER_UNKNOWN: u8 = 0;
const IF_OPER_UP: u8 = 6;
const IFLA_IFNAME: u16 = libc::IFLA_IFNAME;
const IFLA_GSO_MAX_SEGS: u16 = 40;
const IFLA_MTU: u16 = libc::IFLA_MTU;
const IFLA_LINKINFO: u16 = libc::IFLA_LINKINFO;
const IFLA_NET_NS_FD: u16 = libc::IFLA_NET_NS_FD;
const IFLA_INFO_KIND: u16 = libc::IFLA_INFO_KIND;
const IFLA_INFO_DATA: u16 = libc::IFLA_INFO_DATA;
const VETH_INFO_PEER: u16 = 1;
const ETHTOOL_STSO: u32 = 0x1f;
const ETHTOOL_SGSO: u32 = 0x24;
const ETHTOOL_SGRO: u32 = 0x2c;
