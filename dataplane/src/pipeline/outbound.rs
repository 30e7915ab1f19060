//! From the TUN to the wire.

use std::sync::Arc;
use std::time::Instant;

use crate::buffer::{Batch, Pool};
use crate::stats::QueueStats;
use crate::tables::Tables;

/// The outbound pipeline of one queue.
///
/// Concurrency: owned by one queue thread.
pub struct Outbound {
    stats: Arc<QueueStats>,
}

impl Outbound {
    /// A pipeline that counts into `stats`.
    pub fn new(stats: Arc<QueueStats>) -> Self {
        Self { stats }
    }

    /// Takes all of `from_tun` (each packet with `meta.tunnel` set). ESP packets go to `to_wire`, with path, TOS and DF;
    /// ICMP errors for the senders go to `to_tun`; the rest is counted and goes back to the pool.
    pub fn run(
        &mut self,
        _now: Instant,
        _tables: &Tables,
        _from_tun: &mut Batch,
        _to_wire: &mut Batch,
        _to_tun: &mut Batch,
        _pool: &mut Pool,
    ) {
        let _ = &self.stats;
    }
}
