//! Where the packets go.
//!
//! ```text
//! host eth0 ----- lan gateway wan ===== wan peer        three network namespaces joined by veth pairs
//! 10.1.0.2           192.0.2.1      192.0.2.2
//!                    TUNs: xv (as the dataplane has it), xn (IFF_NAPI), xe (for echoes, no virtio-net header)
//! ```
//!
//! Between gateway and peer nothing longer than the MTU passes, and GRO works on what arrives: `wire` of
//! `benches/throughput`. To the host super-packets pass.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use ipnet::{IpNet, Ipv4Net};
use xvpn::testbed::{
    Namespace, add_address, add_route, join, set_feature, set_segmentation, set_sysctl, wait_for_carriers,
};

use crate::sys;

pub(crate) struct Bed {
    pub(crate) gateway: Namespace,
    pub(crate) peer: Namespace,
    pub(crate) tun: OwnedFd,
    pub(crate) napi_tun: OwnedFd,
    pub(crate) echo_tun: OwnedFd,
    /// On the host: what is written to a TUN arrives here.
    pub(crate) host_sink: UdpSocket,
    _host: Namespace,
}

impl Bed {
    pub(crate) fn build() -> io::Result<Self> {
        let [host, gateway, peer] = ["host", "gateway", "peer"].map(Namespace::new);
        let (host, gateway, peer) = (host?, gateway?, peer?);
        for namespace in [&host, &gateway, &peer] {
            // Its router solicitations would be among the packets that are counted.
            let switch = || set_sysctl("net/ipv6/conf/default/disable_ipv6", "1");
            namespace.run(switch)??;
        }
        join((&gateway, "wan"), (&peer, "wan"), MTU)?;
        join((&host, "eth0"), (&gateway, "lan"), MTU)?;
        let tuns = gateway.run(|| -> io::Result<_> {
            set_sysctl("net/ipv4/ip_forward", "1")?;
            wire("wan", GATEWAY)?;
            add_address("lan", network(Ipv4Addr::new(10, 1, 0, 1)))?;
            let offloaded = sys::IFF_VNET_HDR;
            let tuns = [
                tun("xv", offloaded, TUN_NETWORK, 8)?,
                tun("xn", offloaded | sys::IFF_NAPI, NAPI_NETWORK, 9)?,
                tun("xe", 0, ECHO_NETWORK, 7)?,
            ];
            wait_for_carriers()?;
            Ok(tuns)
        })??;
        peer.run(|| wire("wan", PEER))??;
        let host_sink = host.run(|| -> io::Result<_> {
            add_address("eth0", network(HOST))?;
            add_route(anywhere(), Ipv4Addr::new(10, 1, 0, 1).into())?;
            wait_for_carriers()?;
            bind(SocketAddrV4::new(HOST, PORT))
        })??;
        let [tun, napi_tun, echo_tun] = tuns;
        Ok(Self {
            gateway,
            peer,
            tun,
            napi_tun,
            echo_tun,
            host_sink,
            _host: host,
        })
    }
}

/// A nonblocking UDP socket with room for what is sent before it is read.
pub(crate) fn bind(address: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, BUFFER)?;
    sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, BUFFER)?;
    Ok(socket)
}

fn wire(name: &str, address: Ipv4Addr) -> io::Result<()> {
    // A veth that takes super-packets of TCP hands across what is not, too, without GRO.
    set_segmentation(name, false)?;
    set_feature(name, "rx-gro", true)?;
    add_address(name, network(address))
}

/// A TUN with its network behind it.
fn tun(name: &str, flags: i32, of: Ipv4Addr, number: u8) -> io::Result<OwnedFd> {
    let fd = sys::open_tun(name, flags)?;
    if flags & sys::IFF_VNET_HDR != 0 {
        sys::offload(&fd)?;
    }
    xvpn::testbed::set_queue_length(name, 4000)?;
    add_address(name, network(Ipv4Addr::new(10, number, 0, 1)))?;
    sys::bring_up(name)?;
    add_route(network(of), Ipv4Addr::new(10, number, 0, 2).into())?;
    Ok(fd)
}

fn network(address: Ipv4Addr) -> IpNet {
    Ipv4Net::new_assert(address, 24).into()
}

fn anywhere() -> IpNet {
    Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0).into()
}

pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 2);
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(crate) const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// Who is behind the TUNs.
pub(crate) const TUN_NETWORK: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 2);
pub(crate) const NAPI_NETWORK: Ipv4Addr = Ipv4Addr::new(10, 3, 0, 2);
pub(crate) const ECHO_NETWORK: Ipv4Addr = Ipv4Addr::new(10, 4, 0, 2);
pub(crate) const PORT: u16 = 4500;
const MTU: u32 = 1500;
const BUFFER: i32 = 16 << 20;
