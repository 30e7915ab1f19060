//! Counters: one set per queue, summed when asked for.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::discard::Discard;

mod stage;

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
}

/// One counter with its documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// A name in snake case.
    pub name: &'static str,
    /// One sentence.
    pub doc: &'static str,
    /// The count.
    pub value: u64,
}

impl QueueStats {
    /// All zero.
    pub fn new() -> Self {
        Self {
            discards: [const { AtomicU64::new(0) }; Discard::COUNT],
            stages: Default::default(),
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

/// The sum over queues, one entry per reason.
pub fn sum<'a>(queues: impl Iterator<Item = &'a QueueStats> + Clone) -> Vec<Counter> {
    let count = |reason: Discard| queues.clone().map(|stats| stats.discarded(reason)).sum();
    Discard::ALL
        .iter()
        .map(|reason| Counter {
            name: reason.name(),
            doc: reason.doc(),
            value: count(*reason),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_over_queues() {
        let queues = [QueueStats::new(), QueueStats::new()];
        queues[0].discard(Discard::BadIcv);
        queues[1].discard_many(Discard::BadIcv, 2);
        let counters = sum(queues.iter());
        assert_eq!(counters.len(), Discard::COUNT);
        assert_eq!(
            counters
                .iter()
                .find(|counter| counter.name == "bad_icv")
                .map(|counter| counter.value),
            Some(3)
        );
        assert_eq!(counters.iter().map(|counter| counter.value).sum::<u64>(), 3);
    }
}
