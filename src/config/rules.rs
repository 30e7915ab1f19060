//! What must hold between the parts of a tunnel, and between tunnels.

use ipnet::IpNet;
use xvpn_ike::auth::identity::Identity;

use super::RemoteAddress;
use super::diagnostic::{Diagnostic, Report};
use super::source::{At, Span};

/// What could be read of a tunnel, even if something else in it is wrong.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) name: Option<At<String>>,
    pub(super) interface: Option<At<String>>,
    pub(super) local: Vec<Network>,
    pub(super) remote: Vec<Network>,
    pub(super) metric: Option<u32>,
    pub(super) local_identity: Option<Identity>,
    pub(super) remote_identity: Option<Identity>,
    pub(super) remote_address: Option<At<RemoteAddress>>,
}

/// A network and where it stands.
pub(super) struct Network {
    pub(super) net: IpNet,
    pub(super) span: Span,
}

impl Facts {
    fn called(&self) -> String {
        self.name
            .as_ref()
            .map_or_else(|| "another tunnel".to_owned(), |name| format!("`{}`", name.value))
    }
}

/// Reports every contradiction.
pub(super) fn check(tunnels: &[Facts], out: &mut Report) {
    for (n, tunnel) in tunnels.iter().enumerate() {
        within(tunnel, out);
        for earlier in tunnels.iter().take(n) {
            names(tunnel, earlier, out);
            peers(tunnel, earlier, out);
            networks(tunnel, earlier, out);
        }
    }
}

fn within(tunnel: &Facts, out: &mut Report) {
    for local in &tunnel.local {
        for remote in &tunnel.remote {
            both_sides(local, remote, out);
        }
    }
    let family =
        |networks: &[Network], v4: bool| networks.iter().any(|n| matches!(n.net, IpNet::V4(_)) == v4);
    let common = [true, false]
        .iter()
        .any(|&v4| family(&tunnel.local, v4) && family(&tunnel.remote, v4));
    if let (false, Some(local), Some(remote)) = (common, tunnel.local.first(), tunnel.remote.first()) {
        let title = "no packet can pass: the two sides have networks of different address families";
        let remedy = "give both sides IPv4 networks, or both sides IPv6 networks";
        out.push(
            Diagnostic::error("address-family", title, remedy)
                .at(&remote.span, "here one")
                .and(&local.span, "here the other"),
        );
    }
    if let Some(At {
        value: RemoteAddress::Ip(peer),
        span,
    }) = &tunnel.remote_address
        && let Some(network) = tunnel
            .remote
            .iter()
            .find(|n| n.net.prefix_len() != 0 && n.net.contains(peer))
    {
        let title = format!("the peer's own address {peer} is within the networks behind it");
        let remedy = "leave it out of the networks, unless nobody behind us needs the tunnel to reach that very address";
        out.push(
            Diagnostic::warning("peer-inside", title, remedy)
                .at(&network.span, "contains the peer")
                .and(span, "the peer")
                .because(
                    "xvpn gives the peer's address a route beside the tunnel, so all that is sent to it goes in the clear",
                ),
        );
    }
}

/// Within one list; the lists of two CHILD SAs may well overlap.
pub(super) fn listed_twice(networks: &[Network], key: &str, out: &mut Report) {
    for (n, network) in networks.iter().enumerate() {
        if let Some(first) = networks
            .iter()
            .take(n)
            .find(|first| first.net.contains(&network.net) || network.net.contains(&first.net))
        {
            let title = format!("`{key}` names the same addresses twice");
            let (remedy, span) = if first.net.contains(&network.net) {
                (
                    format!("remove {}: it is within {}", network.net, first.net),
                    &network.span,
                )
            } else {
                (
                    format!("remove {}: it is within {}", first.net, network.net),
                    &network.span,
                )
            };
            out.push(
                Diagnostic::warning("listed-twice", title, remedy)
                    .at(span, "again")
                    .and(&first.span, "first here"),
            );
        }
    }
}

/// The same network on both sides of one tunnel. A default route overlaps everything and is meant to; and a remote network
/// around a local one works, because the more specific route wins.
fn both_sides(local: &Network, remote: &Network, out: &mut Report) {
    if local.net.prefix_len() == 0 || remote.net.prefix_len() == 0 {
        return;
    }
    if local.net.contains(&remote.net) {
        let title = format!("{} is on both sides of the tunnel", remote.net);
        let remedy = "name on each side only what is there; if both clouds use the same addresses, one of them must be renumbered";
        out.push(
            Diagnostic::error("overlap", title, remedy)
                .at(&remote.span, "behind the peer")
                .and(&local.span, "behind us too")
                .because("a packet to these addresses cannot be in two places"),
        );
    } else if remote.net.contains(&local.net) {
        let title = format!("our {} is within the peer's {}", local.net, remote.net);
        let remedy =
            "name only what is behind the peer, unless the more specific route on this host is meant to win";
        out.push(
            Diagnostic::warning("overlap", title, remedy)
                .at(&remote.span, "behind the peer")
                .and(&local.span, "behind us"),
        );
    }
}

fn names(tunnel: &Facts, earlier: &Facts, out: &mut Report) {
    if let (Some(name), Some(first)) = (&tunnel.name, &earlier.name)
        && name.value == first.value
    {
        let title = format!("two tunnels are called `{}`", name.value);
        let remedy = "give each a name of its own: commands and logs tell them apart by it";
        out.push(
            Diagnostic::error("duplicate-name", title, remedy)
                .at(&name.span, "again")
                .and(&first.span, "first here"),
        );
        return;
    }
    if let (Some(interface), Some(first)) = (&tunnel.interface, &earlier.interface)
        && interface.value == first.value
    {
        let title = format!("two tunnels want the interface `{}`", interface.value);
        let remedy = "give each an interface of its own, or remove `interface` from both to have names made";
        out.push(
            Diagnostic::error("duplicate-interface", title, remedy)
                .at(&interface.span, "again")
                .and(&first.span, "first here"),
        );
    }
}

fn peers(tunnel: &Facts, earlier: &Facts, out: &mut Report) {
    let (Some(address), Some(first)) = (&tunnel.remote_address, &earlier.remote_address) else {
        return;
    };
    let same_ids = tunnel.remote_identity.is_some()
        && tunnel.remote_identity == earlier.remote_identity
        && tunnel.local_identity == earlier.local_identity;
    if address.value == first.value && same_ids {
        let title = format!("this tunnel and {} cannot be told apart", earlier.called());
        let remedy = "put all networks of one peer into one tunnel, or give the tunnels different ids";
        out.push(
            Diagnostic::error("same-peer", title, remedy)
                .at(&address.span, "the same peer")
                .and(&first.span, "and here")
                .because(
                    "peer address, local id and remote id are the same: an answer could belong to either",
                ),
        );
    }
}

fn networks(tunnel: &Facts, earlier: &Facts, out: &mut Report) {
    for remote in &tunnel.remote {
        for other in &earlier.remote {
            same_behind_two(tunnel, remote, earlier, other, out);
        }
        transit(remote, tunnel, &earlier.local, earlier, out);
    }
    for remote in &earlier.remote {
        transit(remote, earlier, &tunnel.local, tunnel, out);
    }
}

fn same_behind_two(tunnel: &Facts, remote: &Network, earlier: &Facts, other: &Network, out: &mut Report) {
    if remote.net == other.net && tunnel.metric.unwrap_or(0) == earlier.metric.unwrap_or(0) {
        let title = format!("{} is behind two tunnels", remote.net);
        let remedy =
            "remove it from one of them; if one is to stand in for the other, give them different `metric`s";
        out.push(
            Diagnostic::error("overlap", title, remedy)
                .at(&remote.span, "again")
                .and(&other.span, format!("behind {} already", earlier.called()))
                .because("the host could not tell which tunnel a packet is for"),
        );
    } else if remote.net != other.net
        && remote.net.prefix_len() != 0
        && other.net.prefix_len() != 0
        && (remote.net.contains(&other.net) || other.net.contains(&remote.net))
    {
        let (inner, outer) = if remote.net.contains(&other.net) {
            (other, remote)
        } else {
            (remote, other)
        };
        let title = format!("{} and {} behind two tunnels overlap", inner.net, outer.net);
        let remedy = format!(
            "nothing, if {} is meant to take the tunnel that names it exactly; else make them disjoint",
            inner.net
        );
        out.push(
            Diagnostic::warning("overlap", title, remedy)
                .at(&remote.span, "overlaps")
                .and(&other.span, format!("behind {}", earlier.called())),
        );
    }
}

/// A network behind one peer that another tunnel calls ours: right for a hub, which passes traffic on, a mistake elsewhere.
fn transit(remote: &Network, tunnel: &Facts, locals: &[Network], other: &Facts, out: &mut Report) {
    let found = locals
        .iter()
        .find(|l| l.net.prefix_len() != 0 && remote.net.prefix_len() != 0 && l.net.contains(&remote.net));
    let Some(local) = found else { return };
    let title = format!(
        "{} is behind the peer of {}, and {} calls it ours",
        remote.net,
        tunnel.called(),
        other.called()
    );
    let remedy = "nothing, if this gateway is a hub that passes traffic from one tunnel to the other; else correct one of them";
    out.push(
        Diagnostic::warning("transit", title, remedy)
            .at(&local.span, "ours here")
            .and(&remote.span, "behind a peer here"),
    );
}
