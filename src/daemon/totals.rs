//! The sums of a tunnel: what its SAs of now and of before have carried, and how often it was made.

use std::collections::BTreeMap;

use xvpn_ike::api::{ChildFacts, Spi, Usage};

use crate::admin::api::{ChildTotals, Counter, TunnelTotals};

/// What a tunnel has carried and been through. An SA's own counts end with it; these go on.
#[derive(Debug, Default)]
pub(super) struct Totals {
    ike_established: u64,
    ike_rekeys: u64,
    /// By step. As many as there are exchanges.
    failures: BTreeMap<String, u64>,
    children: BTreeMap<String, ChildTotals>,
    /// What was counted of the SAs that the dataplane has.
    last: BTreeMap<Spi, (String, Usage)>,
}

impl Totals {
    /// An IKE SA stands, in the place of another or not.
    pub(super) fn on_ike(&mut self, rekeyed: bool) {
        self.ike_established += 1;
        self.ike_rekeys += u64::from(rekeyed);
    }

    /// A CHILD SA stands, in the place of another or not.
    pub(super) fn on_child(&mut self, child: &ChildFacts, rekeyed: bool) {
        let sums = self.children.entry(child.name.clone()).or_default();
        sums.established += 1;
        sums.rekeys += u64::from(rekeyed);
    }

    /// An attempt failed at a step.
    pub(super) fn on_failure(&mut self, step: &str) {
        *self.failures.entry(step.to_owned()).or_default() += 1;
    }

    /// The dataplane receives on this SA from now on.
    pub(super) fn begin(&mut self, child: &ChildFacts, connection: xvpn_ike::config::ConnectionId) {
        let nothing = Usage {
            connection,
            inbound_spi: child.inbound_spi,
            inbound_bytes: 0,
            inbound_packets: 0,
            outbound_bytes: 0,
            outbound_packets: 0,
        };
        self.last.insert(child.inbound_spi, (child.name.clone(), nothing));
    }

    /// The counts of an SA as they are now.
    pub(super) fn on_usage(&mut self, usage: &Usage) {
        let Some((name, last)) = self.last.get_mut(&usage.inbound_spi) else {
            return;
        };
        let sums = self.children.entry(name.clone()).or_default();
        sums.packets_in += usage.inbound_packets.saturating_sub(last.inbound_packets);
        sums.bytes_in += usage.inbound_bytes.saturating_sub(last.inbound_bytes);
        sums.packets_out += usage.outbound_packets.saturating_sub(last.outbound_packets);
        sums.bytes_out += usage.outbound_bytes.saturating_sub(last.outbound_bytes);
        *last = *usage;
    }

    /// The dataplane has forgotten an SA.
    pub(super) fn end(&mut self, inbound: Spi) {
        self.last.remove(&inbound);
    }

    /// For the control socket: the CHILD SAs of these names, in this order.
    pub(super) fn report<'a>(&self, names: impl Iterator<Item = &'a str>) -> TunnelTotals {
        let failure = |(step, count): (&String, &u64)| Counter {
            name: step.clone(),
            count: *count,
        };
        TunnelTotals {
            ike_established: self.ike_established,
            ike_rekeys: self.ike_rekeys,
            failures: self.failures.iter().map(failure).collect(),
            children: names
                .map(|name| ChildTotals {
                    name: name.to_owned(),
                    ..self.children.get(name).cloned().unwrap_or_default()
                })
                .collect(),
        }
    }
}
