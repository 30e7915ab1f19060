//! The test bed: two hosts, each behind its gateway, and a link between the gateways.

use std::io;
use std::net::Ipv4Addr;

use clap::ValueEnum;
use ipnet::{IpNet, Ipv4Net};
use serde::Serialize;
use xvpn::testbed::{
    Namespace, add_address, add_route, join, set_feature, set_segmentation, set_sysctl, wait_for_carriers,
};

/// How large packets may be on the links. A veth pair hands super-packets (TCP and UDP before segmentation) across
/// uncut unless it is told otherwise, which no real wire does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Profile {
    /// Super-packets cross every link, that between the gateways too: flatters who uses segmentation offload.
    Super,
    /// Nothing larger than the MTU crosses the link between the gateways; what arrives there goes through GRO, as
    /// with a real NIC. The hosts' links carry super-packets.
    Wire,
    /// Nothing larger than the MTU anywhere, and no GRO.
    Plain,
}

impl Profile {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Super => "super",
            Self::Wire => "wire",
            Self::Plain => "plain",
        }
    }

    pub(crate) fn offloads(self) -> Offloads {
        let (public_segmentation, inner_segmentation, public_gro) = match self {
            Self::Super => (true, true, false),
            Self::Wire => (false, true, true),
            Self::Plain => (false, false, false),
        };
        Offloads {
            public_segmentation,
            public_gro,
            inner_segmentation,
        }
    }
}

/// What a profile is.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Offloads {
    /// Whether super-packets may leave by the link between the gateways.
    pub(crate) public_segmentation: bool,
    /// Whether GRO works where they arrive.
    pub(crate) public_gro: bool,
    /// Whether super-packets may leave by the hosts' links; GRO never works there.
    pub(crate) inner_segmentation: bool,
}

/// One gateway and the host behind it.
pub(crate) struct Side {
    /// 1 or 2: the second octet of its network, the last of its gateway's public address.
    pub(crate) number: u8,
    pub(crate) host: Namespace,
    pub(crate) gateway: Namespace,
}

impl Side {
    /// What programs and identities call the gateway.
    pub(crate) fn name(&self) -> &str {
        self.gateway.name()
    }

    pub(crate) fn network(&self) -> Ipv4Net {
        Ipv4Net::new_assert(Ipv4Addr::new(10, self.number, 0, 0), 24)
    }

    pub(crate) fn host_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number, 0, 2)
    }

    /// The gateway's address in its own network.
    pub(crate) fn inner_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number, 0, 1)
    }

    /// The gateway's address on the link between the gateways.
    pub(crate) fn public_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, self.number)
    }
}

/// ```text
/// host-a ------ lan gw-a wan ====== wan gw-b lan ------ host-b
/// 10.1.0.2 eth0     192.0.2.1       192.0.2.2     eth0 10.2.0.2
/// ```
pub(crate) struct Bed {
    pub(crate) a: Side,
    pub(crate) b: Side,
}

impl Bed {
    pub(crate) fn build(profile: Profile) -> io::Result<Self> {
        let side = |number, name: &str| {
            Ok::<_, io::Error>(Side {
                number,
                host: Namespace::new(&format!("host-{name}"))?,
                gateway: Namespace::new(&format!("gw-{name}"))?,
            })
        };
        let bed = Self {
            a: side(1, "a")?,
            b: side(2, "b")?,
        };
        let offloads = profile.offloads();
        let inner = offloads.inner_segmentation;
        join((&bed.a.gateway, "wan"), (&bed.b.gateway, "wan"), MTU)?;
        for side in [&bed.a, &bed.b] {
            join((&side.host, "eth0"), (&side.gateway, "lan"), MTU)?;
            side.gateway.run(|| {
                set_sysctl("net/ipv4/ip_forward", "1")?;
                let (segmentation, gro) = (offloads.public_segmentation, offloads.public_gro);
                link("wan", side.public_address(), segmentation, gro)?;
                link("lan", side.inner_address(), inner, false)
            })??;
            side.host.run(|| {
                // What one run learns about the path would change the next.
                set_sysctl("net/ipv4/tcp_no_metrics_save", "1")?;
                link("eth0", side.host_address(), inner, false)?;
                let everywhere = IpNet::new_assert(Ipv4Addr::UNSPECIFIED.into(), 0);
                add_route(everywhere, side.inner_address().into())
            })??;
        }
        for namespace in [&bed.a.gateway, &bed.b.gateway, &bed.a.host, &bed.b.host] {
            namespace.run(wait_for_carriers)??;
        }
        Ok(bed)
    }

    /// Each side with the one opposite.
    pub(crate) fn sides(&self) -> [(&Side, &Side); 2] {
        [(&self.a, &self.b), (&self.b, &self.a)]
    }

    /// Routes without any tunnel: what the machine can do at best.
    pub(crate) fn route_directly(&self) -> io::Result<()> {
        self.sides().into_iter().try_for_each(|(side, other)| {
            let gateway = other.public_address().into();
            side.gateway.run(|| add_route(other.network().into(), gateway))?
        })
    }
}

/// Gives an interface its address, and says whether super-packets may leave by it and whether GRO works on it.
fn link(name: &str, address: Ipv4Addr, segmentation: bool, gro: bool) -> io::Result<()> {
    set_segmentation(name, segmentation)?;
    set_feature(name, "rx-gro", gro)?;
    add_address(name, IpNet::new_assert(address.into(), 24))
}

const MTU: u32 = 1500;
