//! From the wire to the TUN.

use std::sync::Arc;
use std::time::Instant;

use crate::api::Punted;
use crate::buffer::{Batch, Pool};
use crate::stats::QueueStats;
use crate::tables::Tables;

/// The inbound pipeline of one queue.
///
/// Concurrency: owned by one queue thread.
pub struct Inbound {
    stats: Arc<QueueStats>,
}

impl Inbound {
    /// A pipeline that counts into `stats`.
    pub fn new(stats: Arc<QueueStats>) -> Self {
        Self { stats }
    }

    /// Takes all of `from_wire` (each packet with `meta.path` and `meta.tos` as received). Inner packets go to `to_tun`
    /// with `meta.tunnel`; IKE messages and hints go to `punt`; the rest is counted and goes back to the pool.
    pub fn run(
        &mut self,
        _now: Instant,
        _tables: &Tables,
        _from_wire: &mut Batch,
        _to_tun: &mut Batch,
        _punt: &mut dyn FnMut(Punted),
        _pool: &mut Pool,
    ) {
        let _ = &self.stats;
    }
}
