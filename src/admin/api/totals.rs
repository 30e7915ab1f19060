//! What a tunnel has carried and been through since the daemon started, whichever SAs did it.

use serde::{Deserialize, Serialize};

use super::Counter;

/// The sums of a tunnel. They only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TunnelTotals {
    /// IKE SAs that came to stand.
    pub ike_established: u64,
    /// Of those, the ones that took the place of one that stood.
    pub ike_rekeys: u64,
    /// Attempts that failed, by the step at which.
    pub failures: Vec<Counter>,
    /// By CHILD SA of the configuration, in its order.
    pub children: Vec<ChildTotals>,
}

/// The sums of a CHILD SA of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChildTotals {
    /// Its name.
    pub name: String,
    /// SAs that came to stand.
    pub established: u64,
    /// Of those, the ones that took the place of one that stood.
    pub rekeys: u64,
    /// Packets received.
    pub packets_in: u64,
    /// Inner octets received.
    pub bytes_in: u64,
    /// Packets sent.
    pub packets_out: u64,
    /// Inner octets sent.
    pub bytes_out: u64,
}
