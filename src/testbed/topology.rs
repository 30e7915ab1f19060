//! The two clouds and the internet between them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::namespace::Namespace;
use super::{link, nat};

/// One cloud: a workload host behind a gateway.
#[derive(Debug)]
pub struct Cloud {
    /// The machine behind the gateway.
    pub host: Namespace,
    /// The machine on the edge: interfaces `lan` and `wan`.
    pub gateway: Namespace,
    /// The network behind the gateway, IPv4.
    pub network4: Ipv4Net,
    /// The network behind the gateway, IPv6.
    pub network6: Ipv6Net,
    /// The host's address, IPv4.
    pub host4: Ipv4Addr,
    /// The host's address, IPv6.
    pub host6: Ipv6Addr,
    /// The address the gateway has itself; private where NAT is before it.
    pub own4: Ipv4Addr,
    /// The address under which the internet knows the gateway.
    pub public4: Ipv4Addr,
    /// The gateway's address, IPv6 (never translated).
    pub public6: Ipv6Addr,
}

/// ```text
/// aws-host ---- aws-gw ---- internet ---- azure-gw ---- azure-host
/// 10.1.0.10     172.31.0.10 (EIP 203.0.113.10)   198.51.100.20     10.2.0.10
/// fd00:1::10    2001:db8:a::10                   2001:db8:b::20    fd00:2::10
/// ```
///
/// Without NAT the aws gateway itself has 203.0.113.10. The sites know each other only through their gateways'
/// default routes: what is not put into a tunnel shows up in the clear in `internet`.
#[derive(Debug)]
pub struct TwoClouds {
    /// The side with the NAT before its gateway.
    pub aws: Cloud,
    /// The other side.
    pub azure: Cloud,
    /// The public network: a router with the interfaces `aws` and `azure`.
    pub internet: Namespace,
    /// Whether there is a NAT before the aws gateway.
    pub nat: bool,
}

impl TwoClouds {
    /// Builds both clouds, with or without an Elastic IP (1:1 NAT) before the aws gateway.
    pub fn build(nat: bool) -> io::Result<Self> {
        let public = Ipv4Addr::new(203, 0, 113, 10);
        let private = if nat {
            Ipv4Addr::new(172, 31, 0, 10)
        } else {
            public
        };
        let azure_public = Ipv4Addr::new(198, 51, 100, 20);
        let clouds = Self {
            aws: Cloud::new(
                "aws",
                1,
                private,
                public,
                Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x10),
            )?,
            azure: Cloud::new(
                "azure",
                2,
                azure_public,
                azure_public,
                Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 0x20),
            )?,
            internet: Namespace::new("internet")?,
            nat,
        };
        clouds.internet.run(forward)??;
        clouds.connect(&clouds.aws, "aws")?;
        clouds.connect(&clouds.azure, "azure")?;
        if nat {
            clouds
                .internet
                .run(|| nat::one_to_one(private, public))?
                .map_err(explain_nat)?;
        }
        // The kernel takes a moment to believe in a carrier, and drops what is sent before.
        for machine in clouds.machines() {
            machine.run(link::wait_for_carriers)??;
        }
        Ok(clouds)
    }

    fn connect(&self, cloud: &Cloud, wire: &str) -> io::Result<()> {
        link::join((&cloud.gateway, "wan"), (&self.internet, wire), 1500)?;
        let routers = [
            first_of(IpAddr::from(cloud.own4)),
            first_of(IpAddr::from(cloud.public6)),
        ];
        cloud.gateway.run(|| {
            link::behave_as_wire("wan")?;
            link::add_address("wan", within(cloud.own4.into()))?;
            link::add_address("wan", within(cloud.public6.into()))?;
            default_routes(routers)
        })??;
        self.internet.run(|| {
            link::behave_as_wire(wire)?;
            routers
                .into_iter()
                .try_for_each(|router| link::add_address(wire, within(router)))
        })?
    }

    /// Both clouds.
    pub fn clouds(&self) -> [&Cloud; 2] {
        [&self.aws, &self.azure]
    }

    /// All machines.
    pub fn machines(&self) -> [&Namespace; 5] {
        [
            &self.aws.host,
            &self.aws.gateway,
            &self.internet,
            &self.azure.gateway,
            &self.azure.host,
        ]
    }
}

impl Cloud {
    fn new(name: &str, site: u8, own4: Ipv4Addr, public4: Ipv4Addr, public6: Ipv6Addr) -> io::Result<Self> {
        let network6 = Ipv6Addr::new(0xfd00, site.into(), 0, 0, 0, 0, 0, 0);
        let cloud = Self {
            host: Namespace::new(&format!("{name}-host"))?,
            gateway: Namespace::new(&format!("{name}-gw"))?,
            network4: Ipv4Net::new_assert(Ipv4Addr::new(10, site, 0, 0), 24),
            network6: Ipv6Net::new_assert(network6, 64),
            host4: Ipv4Addr::new(10, site, 0, 10),
            host6: Ipv6Addr::new(0xfd00, site.into(), 0, 0, 0, 0, 0, 0x10),
            own4,
            public4,
            public6,
        };
        link::join((&cloud.host, "eth0"), (&cloud.gateway, "lan"), 1500)?;
        let addresses = [IpAddr::from(cloud.host4), IpAddr::from(cloud.host6)];
        let gateways = addresses.map(first_of);
        cloud.host.run(|| {
            addresses
                .into_iter()
                .try_for_each(|address| link::add_address("eth0", within(address)))?;
            default_routes(gateways)
        })??;
        cloud.gateway.run(|| {
            forward()?;
            gateways
                .into_iter()
                .try_for_each(|gateway| link::add_address("lan", within(gateway)))
        })??;
        Ok(cloud)
    }

    /// The host's address of one family.
    pub fn host_address(&self, v6: bool) -> IpAddr {
        if v6 { self.host6.into() } else { self.host4.into() }
    }

    /// The network behind the gateway of one family.
    pub fn network(&self, v6: bool) -> IpNet {
        if v6 {
            self.network6.into()
        } else {
            self.network4.into()
        }
    }

    /// The gateway's own address of one family.
    pub fn own_address(&self, v6: bool) -> IpAddr {
        if v6 { self.public6.into() } else { self.own4.into() }
    }

    /// The gateway's public address of one family.
    pub fn public_address(&self, v6: bool) -> IpAddr {
        if v6 {
            self.public6.into()
        } else {
            self.public4.into()
        }
    }
}

fn forward() -> io::Result<()> {
    link::set_sysctl("net/ipv4/ip_forward", "1")?;
    link::set_sysctl("net/ipv6/conf/all/forwarding", "1")
}

fn default_routes(routers: [IpAddr; 2]) -> io::Result<()> {
    for router in routers {
        let everywhere = if router.is_ipv4() {
            IpNet::new_assert(ANY4, 0)
        } else {
            IpNet::new_assert(ANY6, 0)
        };
        link::add_route(everywhere, router)?;
    }
    Ok(())
}

/// An address with its network: /24 or /64 everywhere here.
fn within(address: IpAddr) -> IpNet {
    IpNet::new_assert(address, if address.is_ipv4() { 24 } else { 64 })
}

/// The router of an address: the first of its network.
fn first_of(address: IpAddr) -> IpAddr {
    match within(address).network() {
        IpAddr::V4(network) => Ipv4Addr::from_bits(network.to_bits() | 1).into(),
        IpAddr::V6(network) => Ipv6Addr::from_bits(network.to_bits() | 1).into(),
    }
}

fn explain_nat(error: io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!(
            "this kernel gives us no NAT for the Elastic IP ({error}). Load the modules: \
             sudo modprobe -a nf_tables nft_chain_nat nft_nat"
        ),
    )
}

const ANY4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ANY6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
