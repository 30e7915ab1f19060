//! The counters as they were read, one after the other.

use std::sync::Arc;

use super::{QueueStats, Stage, StageCounts};
use crate::discard::Discard;

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

/// The counters of all queues and of control.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Of each queue.
    pub queues: Vec<QueueCounts>,
    /// What control itself refused, one entry per reason.
    pub control: Vec<Counter>,
}

/// The counters of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueCounts {
    /// What it discarded, one entry per reason, in their order.
    pub discards: Vec<Counter>,
    /// What went through its stages.
    pub stages: [(Stage, StageCounts); Stage::ALL.len()],
    /// Batches that left although another queue, waited for in vain, held lower numbers of their SA. Nothing was discarded, but what
    /// that queue holds may come too late for the peer's replay window.
    pub waits_in_vain: u64,
}

impl Counts {
    /// Reads one set per queue, and a last one of control.
    pub fn read(sets: &[Arc<QueueStats>]) -> Self {
        let Some((control, queues)) = sets.split_last() else {
            return Self::default();
        };
        let queue = |stats: &Arc<QueueStats>| QueueCounts {
            discards: discards(stats),
            stages: Stage::ALL.map(|stage| (stage, stats.passed(stage))),
            waits_in_vain: stats.waits_in_vain(),
        };
        Self {
            queues: queues.iter().map(queue).collect(),
            control: discards(control),
        }
    }

    /// The sum over queues and control, one entry per reason.
    pub fn discards(&self) -> Vec<Counter> {
        let mut all = self.control.clone();
        for queue in &self.queues {
            for (sum, own) in all.iter_mut().zip(&queue.discards) {
                sum.value = sum.value.saturating_add(own.value);
            }
        }
        all
    }
}

fn discards(stats: &QueueStats) -> Vec<Counter> {
    let counter = |reason: &Discard| Counter {
        name: reason.name(),
        doc: reason.doc(),
        value: stats.discarded(*reason),
    };
    Discard::ALL.iter().map(counter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(counters: &[Counter]) -> Vec<(&'static str, u64)> {
        let seen = counters.iter().filter(|counter| counter.value > 0);
        seen.map(|counter| (counter.name, counter.value)).collect()
    }

    #[test]
    fn every_queue_and_control_have_their_own_discards_and_a_sum() {
        let sets: Vec<_> = (0..3).map(|_| Arc::new(QueueStats::new())).collect();
        sets[0].discard(Discard::BadIcv);
        sets[1].discard_many(Discard::BadIcv, 2);
        sets[1].discard(Discard::NoOutboundSa);
        sets[2].discard(Discard::UnusableSa);
        let counts = Counts::read(&sets);
        let queues: Vec<_> = counts.queues.iter().map(|queue| seen(&queue.discards)).collect();
        assert_eq!(
            queues,
            [vec![("bad_icv", 1)], vec![("no_outbound_sa", 1), ("bad_icv", 2)]]
        );
        assert_eq!(seen(&counts.control), [("unusable_sa", 1)]);
        assert_eq!(
            seen(&counts.discards()),
            [("no_outbound_sa", 1), ("bad_icv", 3), ("unusable_sa", 1)]
        );
        assert_eq!(counts.discards().len(), Discard::COUNT);
    }
}
