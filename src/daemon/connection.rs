//! From a tunnel of the configuration to a connection of `ike`: addresses are found, names resolved.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::time::timeout;
use xvpn_ike::api::{GatewayIdentity, Random};
use xvpn_ike::config::{Aggfrag, ChildConfig, ConnectionConfig, ConnectionId, Lifetime};

use super::{plan, sources};
use crate::config::{self, RemoteAddress, TunnelConfig};

/// The two ends of a tunnel's outer path, as far as they are known before anything is negotiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Our address; `None`: any that is listened on.
    pub local: Option<IpAddr>,
    /// The peer's address and IKE port; `None`: it may be anywhere.
    pub remote: Option<SocketAddr>,
}

/// Why the ends of a tunnel are not known, with the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlocated {
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

/// Finds the ends of a tunnel: resolves a name and, to `initiate`, asks the kernel which address of ours leads to the
/// peer. It may have to wait for a name server: to be run as a task beside the loop.
pub async fn locate(tunnel: &TunnelConfig, listen: &[IpAddr], initiate: bool) -> Result<Ends, Unlocated> {
    locate_at(tunnel, &tunnel.remote_address, listen, initiate).await
}

/// Finds the ends of the path to another gateway, to which the peer has sent us (RFC 5685).
pub async fn locate_gateway(
    tunnel: &TunnelConfig,
    to: GatewayIdentity,
    listen: &[IpAddr],
) -> Result<Ends, Unlocated> {
    let at = match to {
        GatewayIdentity::Ip(address) => RemoteAddress::Ip(address),
        GatewayIdentity::Fqdn(name) => RemoteAddress::Name(name.as_str().to_owned()),
    };
    locate_at(tunnel, &at, listen, true).await
}

async fn locate_at(
    tunnel: &TunnelConfig,
    at: &RemoteAddress,
    listen: &[IpAddr],
    initiate: bool,
) -> Result<Ends, Unlocated> {
    let usable = |address: &IpAddr| listen.iter().any(|own| own.is_ipv4() == address.is_ipv4());
    let remote = match at {
        RemoteAddress::Any => {
            return Ok(Ends {
                local: tunnel.local_address,
                remote: None,
            });
        }
        RemoteAddress::Ip(address) => *address,
        RemoteAddress::Name(name) => resolve(name, usable, tunnel.local_address).await?,
    };
    let local = match tunnel.local_address {
        Some(local) => Some(local),
        // Whoever only answers does so from the address that was asked.
        None if !initiate => None,
        None => Some(sources::local_address_for(remote).map_err(|error| Unlocated {
            message: format!("this host has no way to the peer {remote}: {error}"),
            remedy: format!(
                "look at `ip route get {remote}`: bring the network up, or correct `remote.address`"
            ),
        })?),
    };
    Ok(Ends {
        local,
        remote: Some(SocketAddr::new(remote, tunnel.remote_port)),
    })
}

/// The peer's address lies in the tunnel's own remote networks, and no route was pinned for it when the daemon
/// started, because its name led elsewhere then.
pub fn check_pinned(tunnel: &TunnelConfig, ends: &Ends, pinned: &[IpAddr]) -> Result<(), Unlocated> {
    match ends.remote.map(|remote| remote.ip()) {
        Some(peer) if plan::swallows(tunnel, peer) && !pinned.contains(&peer) => Err(Unlocated {
            message: format!("the peer's address {peer} now lies within `remote.networks`, so it would be routed into the tunnel"),
            remedy: "restart the daemon, which then sets a route to the peer, or write the address into `remote.address`".into(),
        }),
        Some(_) | None => Ok(()),
    }
}

/// What `ike` is told about a tunnel.
pub fn config(id: ConnectionId, tunnel: &TunnelConfig, ends: Ends) -> ConnectionConfig {
    let mut children = tunnel.children.iter().map(child);
    // There is one: the configuration sees to that.
    let first = children.next().unwrap_or_else(|| ChildConfig {
        name: tunnel.name.clone(),
        esp_proposals: Vec::new(),
        local_selectors: Vec::new(),
        remote_selectors: Vec::new(),
        lifetime: Lifetime::default(),
        resources: 0,
        aggfrag: None,
    });
    ConnectionConfig {
        id,
        name: tunnel.name.clone(),
        local: ends.local,
        remote: ends.remote,
        local_identity: tunnel.local_identity.clone(),
        remote_identity: tunnel.remote_identity.clone(),
        local_auth: tunnel.local_auth.clone(),
        remote_auth: tunnel.remote_auth.clone(),
        ppk: tunnel.ppk.clone(),
        childless: tunnel.childless,
        legacy_signatures: tunnel.legacy,
        revocation: tunnel.revocation.clone(),
        ike_proposals: tunnel.ike_proposals.clone(),
        child_name: first.name,
        esp_proposals: first.esp_proposals,
        local_selectors: first.local_selectors,
        remote_selectors: first.remote_selectors,
        encapsulation: tunnel.encapsulation,
        transport: tunnel.transport,
        tcp_port: tunnel.tcp_port,
        liveness: tunnel.liveness,
        nat_keepalive: tunnel.keepalive,
        retransmission: tunnel.retransmission,
        fragment_size: tunnel.fragment_size,
        retry: tunnel.retry,
        mobike: tunnel.mobike,
        other_addresses: Vec::new(),
        resumption: tunnel.resumption,
        static_nat: tunnel.static_nat,
        follow_redirect: tunnel.follow_redirect,
        redirect_to: tunnel.redirect_to.clone(),
        initial_contact: true,
        child_lifetime: first.lifetime,
        child_resources: first.resources,
        child_aggfrag: first.aggfrag,
        more_children: children.collect(),
        rekey_probe: tunnel.rekey_probe,
        reauthentication: tunnel.reauth_time,
        ike_lifetime: tunnel.ike_lifetime,
    }
}

fn child(of: &config::ChildConfig) -> ChildConfig {
    let selectors = |networks: &[ipnet::IpNet]| networks.iter().copied().map(Into::into).collect();
    ChildConfig {
        name: of.name.clone(),
        esp_proposals: of.esp_proposals.clone(),
        local_selectors: selectors(&of.local_networks),
        remote_selectors: selectors(&of.remote_networks),
        lifetime: of.lifetime,
        resources: of.resources,
        aggfrag: of.iptfs.map(|iptfs| Aggfrag {
            reassembles: iptfs.fragments,
        }),
    }
}

async fn resolve(
    name: &str,
    usable: impl Fn(&IpAddr) -> bool,
    local: Option<IpAddr>,
) -> Result<IpAddr, Unlocated> {
    let remedy = || format!("look at `getent hosts {name}`: correct `remote.address`, or the name server");
    let unresolved = |why: String| Unlocated {
        message: format!("the name {name} cannot be resolved: {why}"),
        remedy: remedy(),
    };
    let found = timeout(PATIENCE_WITH_NAMES, tokio::net::lookup_host((name, 0))).await;
    let found = found
        .map_err(|_elapsed| {
            unresolved(format!(
                "no name server answered within {} s",
                PATIENCE_WITH_NAMES.as_secs()
            ))
        })?
        .map_err(|error| unresolved(error.to_string()))?;
    let same_family = |address: &IpAddr| local.is_none_or(|local| local.is_ipv4() == address.is_ipv4());
    let mut fitting = found
        .map(|address| address.ip())
        .filter(|address| usable(address) && same_family(address));
    fitting.next().ok_or_else(|| Unlocated {
        message: format!("the name {name} has no address of a family that this gateway listens on"),
        remedy: remedy(),
    })
}

/// Whoever waits for `xvpn up` wants to know by then.
const PATIENCE_WITH_NAMES: Duration = Duration::from_secs(5);

/// Randomness of the operating system.
#[derive(Debug)]
pub struct OsRandom(());

impl OsRandom {
    /// Fails where the system has none to give; afterwards it always has.
    pub fn open() -> io::Result<Self> {
        getrandom::fill(&mut [0; 1]).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Self(()))
    }
}

impl Random for OsRandom {
    fn fill(&mut self, out: &mut [u8]) {
        if let Err(error) = getrandom::fill(out) {
            // The kernel does not take randomness back once it gave some. Going on without would be the end of all secrets.
            tracing::error!(%error, "the operating system refuses randomness; ending at once");
            std::process::abort();
        }
    }
}
