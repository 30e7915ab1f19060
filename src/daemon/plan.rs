//! What the host must be like for a configuration: sysctls, addresses, routes.

use std::net::IpAddr;

use ipnet::IpNet;

use super::ledger::Change;
use super::netlink::{Netlink, NetlinkError};
use super::route::{Route, Via, default_metric};
use crate::config::{Config, RemoteAddress, TunnelConfig};

/// Why a configuration cannot be brought onto this host.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The routes into the tunnel would swallow the packets that make the tunnel.
    #[error(
        "tunnel `{tunnel}`: the peer may be anywhere, but `remote.networks` has {network}, so packets to the peer would be \
         routed into the tunnel itself; give `remote.address`, or narrower `remote.networks`"
    )]
    Swallowed {
        /// The tunnel.
        tunnel: String,
        /// Its network.
        network: IpNet,
    },
    /// The kernel would not say how things are.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// The changes that a configuration wants, in the order they have to be made. `peers` are the peers' outer addresses
/// as far as they are known; `ours` says what a crashed daemon has already changed. The interfaces must exist.
pub async fn changes(
    config: &Config,
    peers: &[IpAddr],
    netlink: &Netlink,
    ours: impl Fn(&Change) -> bool,
) -> Result<Vec<Change>, PlanError> {
    let mut wanted = Vec::new();
    if config.gateway.manage_sysctls {
        wanted.extend(sysctls(config, ours));
    }
    // Before anything leads into a tunnel, the peers' own addresses are pinned to the way they take now.
    for peer in peers {
        if config.tunnels.iter().any(|tunnel| swallows(tunnel, *peer)) {
            let destination = IpNet::from(*peer);
            let via = match netlink.way_to(*peer).await? {
                Via::Interface { name, gateway, .. } => Via::Interface {
                    name,
                    gateway,
                    source: None,
                },
                Via::Unreachable => continue,
            };
            let pin = Change::Route(Route {
                destination,
                metric: default_metric(destination),
                via,
            });
            if !wanted.contains(&pin) {
                wanted.push(pin);
            }
        }
    }
    let own = netlink.addresses().await?;
    for tunnel in &config.tunnels {
        wanted.extend(tunnel_changes(tunnel, &own)?);
    }
    Ok(wanted)
}

/// Would the routes of this tunnel lead to this address?
pub fn swallows(tunnel: &TunnelConfig, address: IpAddr) -> bool {
    tunnel
        .remote_networks
        .iter()
        .any(|network| network.contains(&address))
}

fn tunnel_changes(tunnel: &TunnelConfig, own: &[IpNet]) -> Result<Vec<Change>, PlanError> {
    if let (RemoteAddress::Any, Some(network)) = (
        &tunnel.remote_address,
        tunnel
            .remote_networks
            .iter()
            .find(|network| network.prefix_len() == 0),
    ) {
        return Err(PlanError::Swallowed {
            tunnel: tunnel.name.clone(),
            network: *network,
        });
    }
    let interface = &tunnel.interface;
    let addresses = tunnel.addresses.iter();
    let mut wanted: Vec<Change> = addresses
        .map(|address| Change::Address {
            interface: interface.clone(),
            address: *address,
        })
        .collect();
    for destination in tunnel.remote_networks.iter().flat_map(|network| halves(*network)) {
        let source = source_for(tunnel, destination, own);
        let via = Via::Interface {
            name: interface.clone(),
            gateway: None,
            source,
        };
        let metric = tunnel.metric.unwrap_or(default_metric(destination));
        wanted.push(Change::Route(Route {
            destination,
            metric,
            via,
        }));
        // Should the interface vanish in a crash, its routes vanish too: this one stays, and nothing leaks in the clear.
        wanted.push(Change::Route(Route {
            destination,
            metric: METRIC_UNREACHABLE,
            via: Via::Unreachable,
        }));
    }
    Ok(wanted)
}

/// The source for what this gateway itself sends into the tunnel: an address of ours that the peer expects.
fn source_for(tunnel: &TunnelConfig, destination: IpNet, own: &[IpNet]) -> Option<IpAddr> {
    let candidates = tunnel.addresses.iter().chain(own).map(IpNet::addr);
    let mut fitting = candidates.filter(|address| address.is_ipv4() == destination.addr().is_ipv4());
    fitting.find(|address| {
        tunnel
            .local_networks
            .iter()
            .any(|network| network.contains(address))
    })
}

/// A default route is set in two halves: more specific than the host's own, which stays untouched.
fn halves(network: IpNet) -> Vec<IpNet> {
    match network {
        IpNet::V4(net) if net.prefix_len() == 0 => net.subnets(1).map(|both| both.map(IpNet::V4).collect()),
        IpNet::V6(net) if net.prefix_len() == 0 => net.subnets(1).map(|both| both.map(IpNet::V6).collect()),
        IpNet::V4(_) | IpNet::V6(_) => Ok(vec![network.trunc()]),
    }
    .unwrap_or_else(|_| vec![network])
}

fn sysctls(config: &Config, ours: impl Fn(&Change) -> bool) -> Vec<Change> {
    let networks = || {
        config
            .tunnels
            .iter()
            .flat_map(|tunnel| tunnel.local_networks.iter().chain(&tunnel.remote_networks))
    };
    let set = |key: String, value: &str| Change::Sysctl {
        key,
        value: value.to_owned(),
    };
    let mut wanted = Vec::new();
    if networks().any(|network| matches!(network, IpNet::V4(_))) {
        wanted.push(set("net/ipv4/ip_forward".into(), "1"));
        let all = read("net/ipv4/conf/all/rp_filter");
        for interface in config.tunnels.iter().map(|tunnel| &tunnel.interface) {
            // The stricter of `all` and the interface's own rules: loose (2) beats strict (1), and 0 stays.
            let key = format!("net/ipv4/conf/{interface}/rp_filter");
            if all.as_deref() == Some("1") || read(&key).as_deref() == Some("1") {
                wanted.push(set(key, "2"));
            }
        }
    }
    let forwarding = set(FORWARDING_V6.into(), "1");
    // A kernel without IPv6 has no such sysctl.
    let found = read(FORWARDING_V6).filter(|_| networks().any(|network| matches!(network, IpNet::V6(_))));
    if found.is_some_and(|value| value != "1" || ours(&forwarding)) {
        wanted.extend(keep_router_advertisements(config, ours));
        wanted.push(forwarding);
    }
    wanted
}

/// A host that forwards ignores router advertisements, and so would lose the default route a cloud gave it,
/// unless `accept_ra` is 2 (Documentation/networking/ip-sysctl).
fn keep_router_advertisements(config: &Config, ours: impl Fn(&Change) -> bool) -> Vec<Change> {
    let interfaces = std::fs::read_dir("/proc/sys/net/ipv6/conf")
        .into_iter()
        .flatten()
        .flatten();
    let names = interfaces.filter_map(|entry| entry.file_name().into_string().ok());
    let real = names.filter(|name| {
        !matches!(name.as_str(), "all" | "default" | "lo")
            && config.tunnels.iter().all(|tunnel| tunnel.interface != *name)
    });
    let changes = real.map(|name| (format!("net/ipv6/conf/{name}/accept_ra"), "2".to_owned()));
    let changes = changes.map(|(key, value)| (read(&key), Change::Sysctl { key, value }));
    changes
        .filter(|(found, change)| found.as_deref() == Some("1") || ours(change))
        .map(|(_, change)| change)
        .collect()
}

/// The kernel's own chatter on a new interface (router solicitations, multicast reports) has no business in a tunnel:
/// it gets no link-local address. To be called before the interface is up; the setting goes with it.
pub fn silence(interface: &str) {
    // Without IPv6 there is nothing to silence.
    drop(std::fs::write(
        super::host::sysctl_path(&format!("net/ipv6/conf/{interface}/addr_gen_mode")),
        "1",
    ));
}

fn read(key: &str) -> Option<String> {
    Some(
        std::fs::read_to_string(super::host::sysctl_path(key))
            .ok()?
            .trim()
            .to_owned(),
    )
}

/// Behind every route that anyone sets on purpose.
const METRIC_UNREACHABLE: u32 = 4_278_198_272;
const FORWARDING_V6: &str = "net/ipv6/conf/all/forwarding";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_route_is_set_in_two_halves() {
        let words = |network: IpNet| {
            halves(network)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(words("0.0.0.0/0".parse().unwrap()), ["0.0.0.0/1", "128.0.0.0/1"]);
        assert_eq!(words("::/0".parse().unwrap()), ["::/1", "8000::/1"]);
        assert_eq!(words("10.2.0.0/16".parse().unwrap()), ["10.2.0.0/16"]);
    }
}
