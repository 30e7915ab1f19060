//! Tunnels that are made when a packet wants them, and closed when none does any more.

use std::time::{Duration, Instant};

use xvpn_ike::api::{Command, Input, Usage};
use xvpn_ike::config::ConnectionId;

use super::bridge::Effect;
use super::supervisor::Supervisor;

/// What is known of the wish for a tunnel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Demand {
    /// A packet was there, and `ike` was not told yet.
    pub waits: bool,
    /// The last time that `ike` was told.
    asked: Option<Instant>,
    /// Packets carried both ways, and since when there were no more.
    carried: Option<(u64, Instant)>,
}

impl Supervisor {
    /// A packet found no SA in a tunnel that is made on demand.
    pub(super) fn on_wanted(&mut self, id: ConnectionId) {
        let now = Instant::now();
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        let fresh = |at: Instant| now.saturating_duration_since(at) < BETWEEN_ATTEMPTS;
        let wanted = tunnel.on_demand() && tunnel.wanted && !tunnel.barred && !tunnel.established();
        if !wanted || self.ending.is_some() || tunnel.demand.asked.is_some_and(fresh) {
            return;
        }
        tunnel.demand = Demand {
            waits: true,
            asked: Some(now),
            carried: None,
        };
        self.search(id);
    }

    /// The trap is set while the operator wants the tunnel.
    pub(super) fn set_trap(&mut self, id: ConnectionId) {
        let Some(tunnel) = self.tunnels.get(&id).filter(|tunnel| tunnel.on_demand()) else {
            return;
        };
        let armed = (tunnel.wanted && !tunnel.barred).then(|| {
            let all = |networks: &[ipnet::IpNet]| networks.iter().copied().map(Into::into).collect();
            (
                all(&tunnel.config.local_networks),
                all(&tunnel.config.remote_networks),
            )
        });
        self.effect(Effect::Trap(id, armed));
    }

    /// Notes whether a CHILD SA carries anything.
    pub(super) fn note_traffic(&mut self, usage: &Usage) {
        let Some(tunnel) = self.tunnels.get_mut(&usage.connection) else {
            return;
        };
        if tunnel.config.idle_timeout.is_none() {
            return;
        }
        // While one CHILD SA replaces another the counts of both alternate, which is traffic enough.
        let packets = usage.inbound_packets.saturating_add(usage.outbound_packets);
        match tunnel.demand.carried {
            Some((before, _)) if before == packets => {}
            Some(_) | None => tunnel.demand.carried = Some((packets, Instant::now())),
        }
    }

    /// Closes what has carried nothing for the time that the operator has set.
    pub(super) fn rest_idle(&mut self) {
        let now = Instant::now();
        let idle: Vec<_> = self
            .tunnels
            .iter_mut()
            .filter_map(|(id, tunnel)| {
                let (timeout, (_, since)) = (tunnel.config.idle_timeout?, tunnel.demand.carried?);
                let over = tunnel.established() && now.saturating_duration_since(since) >= timeout;
                over.then(|| {
                    tunnel.demand = Demand::default();
                    *id
                })
            })
            .collect();
        for id in idle {
            self.handle(Input::Command(Command::Rest(id)));
        }
    }
}

/// However many packets wait, a peer that refuses is not asked more often.
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(3);
