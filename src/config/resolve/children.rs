//! The CHILD SAs of a tunnel: the one of `local.networks` and `remote.networks`, and those of `[[tunnel.child]]`.

use ipnet::IpNet;
use xvpn_ike::config::Lifetime;
use xvpn_ike::negotiate::proposal::EspProposal;

use super::super::diagnostic::Diagnostic;
use super::super::raw::{RawChild, RawTunnel};
use super::super::rules::{Facts, Network, listed_twice};
use super::super::source::At;
use super::super::{ChildConfig, Iptfs};
use super::super::{defaults, proposals};
use super::{Resolver, has};

impl Resolver<'_> {
    /// All of them; `local` and `remote` are the networks of the tunnel's own. Their networks become facts.
    pub(super) fn children(
        &mut self,
        raw: &RawTunnel,
        (local, remote): (Vec<Network>, Vec<Network>),
        facts: &mut Facts,
    ) -> Vec<ChildConfig> {
        let lifetime = self.child_lifetime(raw);
        let esp_proposals = self.esp_proposals(raw, raw.esp_proposals.as_ref());
        let resources = raw
            .per_resource
            .as_ref()
            .map_or(defaults::PER_RESOURCE, |at| at.value);
        let iptfs = self.iptfs(raw, &raw.iptfs, resources);
        self.iptfs_holds_ipv6(raw, &raw.iptfs, iptfs, has_ipv6(&remote));
        let mut children = Vec::new();
        if !local.is_empty() || !remote.is_empty() || raw.children.is_empty() {
            children.push(ChildConfig {
                name: raw.name.as_ref().map(|at| at.value.clone()).unwrap_or_default(),
                local_networks: local.iter().map(|n| n.net).collect(),
                remote_networks: remote.iter().map(|n| n.net).collect(),
                esp_proposals: esp_proposals.clone(),
                lifetime,
                resources,
                iptfs,
            });
        }
        listed_twice(&local, "local.networks", self.out);
        listed_twice(&remote, "remote.networks", self.out);
        (facts.local, facts.remote) = (local, remote);
        for child in &raw.children {
            let shared = (esp_proposals.as_slice(), lifetime, iptfs);
            if let Some(resolved) = self.child(raw, child, shared, facts) {
                let own = raw.name.as_ref().map(|at| &at.value);
                self.unlike(child, &resolved, &children, own);
                children.push(resolved);
            }
        }
        if let Some(child) = raw.children.get(MOST_CHILDREN) {
            let title = format!("more than {MOST_CHILDREN} [[tunnel.child]]");
            let remedy = "put several networks into one of them, or make a second tunnel";
            self.out
                .push(Diagnostic::error("too-many", title, remedy).at(&child.span, "one too many"));
        }
        children
    }

    fn child(
        &mut self,
        raw: &RawTunnel,
        child: &RawChild,
        (esp_proposals, lifetime, iptfs): (&[EspProposal], Lifetime, Option<Iptfs>),
        facts: &mut Facts,
    ) -> Option<ChildConfig> {
        let name = self.child_key(
            child,
            "name",
            child.name.as_ref(),
            "add name = \"voice\" or the like",
        );
        let networks = "name at least one network, such as [\"10.1.0.0/16\"]";
        let local = self.child_key(child, "local", child.local.as_ref(), networks);
        let remote = self.child_key(child, "remote", child.remote.as_ref(), networks);
        let local = local.map(|list| self.network_list(list, "child.local"));
        let remote = remote.map(|list| self.network_list(list, "child.remote"));
        let esp_proposals = match &child.esp_proposals {
            Some(written) => self.esp_proposals(raw, Some(written)),
            None => esp_proposals.to_vec(),
        };
        let time = child.lifetime.as_ref().and_then(|at| at.value);
        let resources = child.per_resource.as_ref().or(raw.per_resource.as_ref());
        let resources = resources.map_or(defaults::PER_RESOURCE, |at| at.value);
        let own = |key: &String| key.starts_with("iptfs") || key == "per_resource";
        let iptfs = match child.keys.iter().any(own) {
            true => self.iptfs(raw, &child.iptfs, resources),
            false => iptfs,
        };
        let (local, remote) = (local?, remote?);
        let ipv6 = has_ipv6(&remote);
        // Of what several have of the tunnel one warning is enough.
        if child.keys.iter().any(own) || !has_ipv6(&facts.remote) {
            self.iptfs_holds_ipv6(raw, &child.iptfs, iptfs, ipv6);
        }
        listed_twice(&local, "local", self.out);
        listed_twice(&remote, "remote", self.out);
        let config = ChildConfig {
            name: name?.value.clone(),
            local_networks: local.iter().map(|n| n.net).collect(),
            remote_networks: remote.iter().map(|n| n.net).collect(),
            esp_proposals,
            lifetime: Lifetime {
                time: time.unwrap_or(lifetime.time),
                ..lifetime
            },
            resources,
            iptfs,
        };
        for (all, own) in [(&mut facts.local, local), (&mut facts.remote, remote)] {
            // Two of them may well share a network on one side.
            for network in own {
                if !all.iter().any(|known| known.net == network.net) {
                    all.push(network);
                }
            }
        }
        Some(config)
    }

    /// Two CHILD SAs must be told apart, by us and by the peer, and each must have something to carry. `own` is the name of the one
    /// of `local.networks`.
    fn unlike(&mut self, raw: &RawChild, child: &ChildConfig, earlier: &[ChildConfig], own: Option<&String>) {
        let span = raw.name.as_ref().map_or(&raw.span, |at| &at.span);
        if earlier.iter().any(|other| other.name == child.name) {
            let title = format!("two CHILD SAs of the tunnel are called `{}`", child.name);
            let remedy = "give each a name of its own; the one of `local.networks` has the tunnel's name";
            self.out
                .push(Diagnostic::error("duplicate-name", title, remedy).at(span, "again"));
        }
        let same = |other: &&ChildConfig| {
            other.local_networks == child.local_networks && other.remote_networks == child.remote_networks
        };
        if let Some(other) = earlier.iter().find(same) {
            let title = format!("`{}` and `{}` carry the same", other.name, child.name);
            let remedy =
                "give them different networks, or remove one; for one SA per queue there is `per_resource`";
            self.out
                .push(Diagnostic::error("overlap", title, remedy).at(span, "the same networks again"));
        } else if let Some(other) = earlier.iter().find(|other| covers(other, child)) {
            let title = format!(
                "`{}` stands before `{}` and has all its networks",
                other.name, child.name
            );
            let remedy = if Some(&other.name) == own {
                "leave out local.networks and remote.networks, and make a [[tunnel.child]] of them, behind this one"
            } else {
                "put the one with the smaller networks first"
            };
            let cause = "of several CHILD SAs that may carry a packet the first of the configuration does (RFC 4301 4.4.1)";
            self.out.push(
                Diagnostic::warning("overlap", title, remedy)
                    .at(span, "nothing is left to be sent with it")
                    .because(cause),
            );
        }
    }

    fn child_key<'r, T>(
        &mut self,
        child: &RawChild,
        key: &str,
        value: Option<&'r At<T>>,
        remedy: &str,
    ) -> Option<&'r At<T>> {
        if value.is_none() && !has(&child.keys, key) {
            let title = format!("`{key}` is missing");
            let label = format!("has no `{key}`");
            self.out
                .push(Diagnostic::error("missing-key", title, remedy).at(&child.span, label));
        }
        value
    }

    fn esp_proposals(&mut self, raw: &RawTunnel, written: Option<&At<Vec<At<String>>>>) -> Vec<EspProposal> {
        let legacy = raw.legacy.as_ref().is_some_and(|at| at.value);
        let esn = raw.esn.as_ref().map_or(defaults::ESN, |at| at.value);
        proposals::esp(written, legacy, esn, self.out)
    }
}

fn has_ipv6(networks: &[Network]) -> bool {
    networks.iter().any(|network| network.net.addr().is_ipv6())
}

/// Whatever the later one could carry, the earlier one carries.
fn covers(earlier: &ChildConfig, later: &ChildConfig) -> bool {
    let within = |inner: &[IpNet], outer: &[IpNet]| {
        inner
            .iter()
            .all(|net| outer.iter().any(|wide| wide.contains(net)))
    };
    within(&later.local_networks, &earlier.local_networks)
        && within(&later.remote_networks, &earlier.remote_networks)
}

/// `xvpn-ike` keeps a bounded number of CHILD SAs for each IKE SA.
const MOST_CHILDREN: usize = 31;
