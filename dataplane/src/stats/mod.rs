//! Counters: one set per queue, read and summed when asked for.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::discard::Discard;

mod counts;
mod stage;

pub use counts::{Counter, Counts, QueueCounts};
use stage::StageCounters;
pub use stage::{Load, SAMPLE, Stage, StageCounts, Stopwatch};

/// The counters of one queue.
///
/// Concurrency: written by one queue thread, read by control; relaxed, each counter for itself. Aligned so that two
/// queues never share a cache line.
#[derive(Debug)]
#[repr(align(128))]
pub struct QueueStats {
    discards: [AtomicU64; Discard::COUNT],
    stages: [StageCounters; Stage::ALL.len()],
    waits_in_vain: AtomicU64,
}

impl QueueStats {
    /// All zero.
    pub fn new() -> Self {
        Self {
            discards: [const { AtomicU64::new(0) }; Discard::COUNT],
            stages: Default::default(),
            waits_in_vain: AtomicU64::new(0),
        }
    }

    /// Counts one discarded packet.
    pub fn discard(&self, reason: Discard) {
        self.discard_many(reason, 1);
    }

    /// Counts several.
    pub fn discard_many(&self, reason: Discard, count: u64) {
        self.discards[reason as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// How many went this way.
    pub fn discarded(&self, reason: Discard) -> u64 {
        self.discards[reason as usize].load(Ordering::Relaxed)
    }

    /// Counts a batch that went through a stage in so many system calls, and how long it took if that was measured.
    pub fn pass(&self, stage: Stage, load: Load, system_calls: u64, nanoseconds: Option<u64>) {
        self.stages[stage as usize].count(load, system_calls, nanoseconds);
    }

    /// Counts a batch that left although another queue still held lower numbers of its SA: that one was waited for in vain
    /// ([`Departure::wait`](crate::sa::Departure::wait)), and what it holds may come too late for the peer's replay window.
    pub fn wait_in_vain(&self) {
        self.waits_in_vain.fetch_add(1, Ordering::Relaxed);
    }

    /// How many such batches there were.
    pub fn waits_in_vain(&self) -> u64 {
        self.waits_in_vain.load(Ordering::Relaxed)
    }

    /// What went through a stage.
    pub fn passed(&self, stage: Stage) -> StageCounts {
        self.stages[stage as usize].counts()
    }
}

impl Default for QueueStats {
    fn default() -> Self {
        Self::new()
    }
}
