//! `local` and `remote`: addresses, identities, networks.

use std::net::IpAddr;

use ipnet::IpNet;
use xvpn_ike::auth::identity::Identity;

use super::super::RemoteAddress;
use super::super::diagnostic::Diagnostic;
use super::super::network;
use super::super::raw::{RawEnd, RawTunnel};
use super::super::rules::{Facts, Network};
use super::super::source::At;
use super::{Resolver, has};

impl Resolver<'_> {
    pub(super) fn local(
        &mut self,
        raw: &RawTunnel,
        certified: Option<Identity>,
        facts: &mut Facts,
    ) -> (Option<IpAddr>, Option<Identity>, Vec<Network>) {
        let end = raw.local.as_ref();
        let address_at = end.and_then(|end| end.address.as_ref());
        let address = address_at.and_then(|at| self.address(at, "local.address"));
        if let (Some(address), Some(at)) = (address, address_at) {
            self.require_on_host(
                address,
                at,
                "remove `address` to let the route to the peer decide, or use one that `ip address` shows",
            );
            self.require_listening(address, at);
        }
        let identity = match end.and_then(|end| end.id.as_ref()) {
            Some(id) => self.identity(id),
            None => certified
                .or_else(|| self.default_id.clone())
                .or(address.map(Identity::from)),
        };
        let unread = end.map_or_else(|| has(&raw.keys, "local"), |end| has(&end.keys, "id"));
        if identity.is_none() && !unread {
            let span = end.map_or(&raw.span, |end| &end.span);
            let remedy = "add id = \"aws.example\" to `local`, or to [gateway] for all tunnels; it must be what the peer expects";
            self.out.push(
                Diagnostic::error("missing-key", "nothing says who we are towards the peer", remedy)
                    .at(span, "has no `id`"),
            );
        }
        facts.local_identity = identity.clone();
        let networks = self.networks(end, "local", raw);
        (address, identity, networks)
    }

    pub(super) fn require_listening(&mut self, address: IpAddr, at: &At<String>) {
        let covered = |l: &IpAddr| *l == address || (l.is_unspecified() && l.is_ipv4() == address.is_ipv4());
        if !self.listen.iter().any(covered) {
            let remedy = format!("add \"{address}\" to `listen` in [gateway], or remove `listen` there");
            let title = format!("nobody listens on {address}");
            self.out
                .push(Diagnostic::error("not-listening", title, remedy).at(&at.span, "not among `listen`"));
        }
    }

    pub(super) fn remote_address(
        &mut self,
        raw: &RawTunnel,
        local: Option<IpAddr>,
        facts: &mut Facts,
    ) -> Option<RemoteAddress> {
        let Some(at) = raw.remote.as_ref().and_then(|end| end.address.as_ref()) else {
            self.missing(
                raw,
                "remote",
                "address",
                "write the peer's public address or DNS name, or \"any\" to wait for it to come",
            );
            return None;
        };
        let address = match network::remote(&at.value) {
            Ok(address) => address,
            Err(why) => {
                let remedy = "write an address, a DNS name, or \"any\" for a peer that comes from anywhere";
                self.out.push(
                    Diagnostic::error("bad-address", "not an address or name of a peer", remedy)
                        .at(&at.span, why),
                );
                return None;
            }
        };
        facts.remote_address = Some(At {
            value: address.clone(),
            span: at.span.clone(),
        });
        if let RemoteAddress::Ip(remote) = address {
            if !self.listen.is_empty() && !self.listen.iter().any(|l| l.is_ipv4() == remote.is_ipv4()) {
                let remedy = "add \"0.0.0.0\" or \"::\" to `listen` in [gateway]";
                let title = "no `listen` address is of the peer's address family";
                self.out.push(
                    Diagnostic::error("address-family", title, remedy).at(&at.span, "cannot be reached"),
                );
            }
            if let Some(local) = local.filter(|local| local.is_ipv4() != remote.is_ipv4()) {
                let title = format!("{remote} cannot be reached from {local}");
                let remedy = "give both addresses in the same family, or remove local.address";
                self.out.push(
                    Diagnostic::error("address-family", title, remedy).at(&at.span, "another address family"),
                );
            }
        }
        Some(address)
    }

    pub(super) fn remote_identity(
        &mut self,
        raw: &RawTunnel,
        address: Option<&RemoteAddress>,
        facts: &mut Facts,
    ) -> Option<Identity> {
        let identity = match raw.remote.as_ref().and_then(|end| end.id.as_ref()) {
            Some(id) => self.identity(id),
            None => {
                match address? {
                    RemoteAddress::Ip(address) => Some(Identity::from(*address)),
                    RemoteAddress::Name(name) => Some(Identity::Fqdn(name.clone())),
                    RemoteAddress::Any => {
                        self.missing(raw, "remote", "id", "a peer that comes from anywhere is known only by its id; add id = \"azure.example\"");
                        None
                    }
                }
            }
        };
        facts.remote_identity = identity.clone();
        identity
    }

    pub(super) fn networks(&mut self, end: Option<&RawEnd>, which: &str, raw: &RawTunnel) -> Vec<Network> {
        let written = |end: &Option<RawEnd>| end.as_ref().is_some_and(|end| has(&end.keys, "networks"));
        if !raw.children.is_empty() && !written(&raw.local) && !written(&raw.remote) {
            // [[tunnel.child]] names them.
            return Vec::new();
        }
        let Some(list) = end.and_then(|end| end.networks.as_ref()) else {
            let side = if which == "local" { "us" } else { "the peer" };
            self.missing(
                raw,
                which,
                "networks",
                &format!("add networks = [\"10.1.0.0/16\"]: what is behind {side}"),
            );
            return Vec::new();
        };
        self.network_list(list, &format!("{which}.networks"))
    }

    pub(super) fn network_list(&mut self, list: &At<Vec<At<String>>>, key: &str) -> Vec<Network> {
        if list.value.is_empty() {
            let title = format!("`{key}` is empty");
            let remedy = "name at least one network, such as \"10.1.0.0/16\", or \"0.0.0.0/0\" for all";
            self.out
                .push(Diagnostic::error("empty-list", title, remedy).at(&list.span, "no network"));
        }
        list.value
            .iter()
            .filter_map(|at| network::network(at, self.out))
            .collect()
    }

    pub(super) fn inner_addresses(&mut self, raw: &RawTunnel) -> Vec<IpNet> {
        let list = raw
            .address
            .as_ref()
            .map(|list| list.value.as_slice())
            .unwrap_or_default();
        list.iter()
            .filter_map(|at| network::inner_address(at, self.out))
            .collect()
    }
}
