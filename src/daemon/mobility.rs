//! Addresses and routes of this host change: the tunnels that can follow are told (RFC 4555).

use std::net::IpAddr;

use ipnet::IpNet;
use xvpn_ike::api::{Command, Input};

use super::sources;
use super::status::Tunnel;
use super::supervisor::Supervisor;

impl Supervisor {
    /// The host has these addresses now, and perhaps other routes.
    pub(super) fn on_network(&mut self, addresses: Vec<IpNet>) {
        self.addresses = addresses;
        let tunnels: Vec<_> = self
            .tunnels
            .iter()
            .filter(|(_, tunnel)| !tunnel.barred)
            .map(|(id, tunnel)| {
                let local = tunnel.outer().and_then(|outer| leads_to(outer.remote.ip()));
                let others = others(tunnel, &self.addresses, &self.gateway.listen);
                (*id, local, others, tunnel.established())
            })
            .collect();
        for (connection, local, others, established) in tunnels {
            let command = Command::Addresses {
                connection,
                local,
                others,
            };
            self.handle(Input::Command(command));
            if !established {
                // The way that was not there may be there now.
                self.search(connection);
            }
        }
    }
}

/// The addresses besides the one in use that a peer could reach: not those behind this gateway or inside tunnels, and
/// none at all where the operator has fixed one.
pub fn others(tunnel: &Tunnel, addresses: &[IpNet], listen: &[IpAddr]) -> Vec<IpAddr> {
    let config = &tunnel.config;
    if config.local_address.is_some() || !config.mobike {
        return Vec::new();
    }
    let current = tunnel.outer().map(|outer| outer.local.ip());
    let inside = |address: &IpAddr| {
        let of_tunnel = config.addresses.iter().any(|own| own.addr() == *address);
        of_tunnel
            || config
                .local_networks
                .iter()
                .any(|network| network.contains(address))
    };
    let listened = |address: &IpAddr| {
        listen
            .iter()
            .any(|own| own == address || (own.is_unspecified() && own.is_ipv4() == address.is_ipv4()))
    };
    let found = addresses.iter().map(IpNet::addr);
    found
        .filter(|address| listened(address) && (!inside(address) || Some(*address) == current))
        .collect()
}

/// The address from which packets to this peer leave now.
fn leads_to(peer: IpAddr) -> Option<IpAddr> {
    let local = sources::local_address_for(peer).ok()?;
    (!local.is_loopback() && !local.is_unspecified()).then_some(local)
}
