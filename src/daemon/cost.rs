//! What the packet path costs and refuses, in the words of the control socket.

use xvpn_dataplane as dp;
use xvpn_dataplane::sa::backend;

use crate::admin::api::{CipherReport, CipherSpeed, Counter, QueueReport, StageReport};

/// Each queue.
pub(super) fn queues(counts: &dp::Counts) -> Vec<QueueReport> {
    let stage = |(stage, counts): &(dp::Stage, dp::StageCounts)| StageReport {
        name: stage.name().to_owned(),
        batches: counts.batches,
        packets: counts.packets,
        octets: counts.octets,
        system_calls: counts.system_calls,
        timed_packets: counts.timed_packets,
        timed_octets: counts.timed_octets,
        timed_ns: counts.timed_ns,
    };
    let queues = counts.queues.iter();
    queues
        .map(|queue| QueueReport {
            stages: queue.stages.iter().map(stage).collect(),
            discards: seen(&queue.discards),
            waits_in_vain: queue.waits_in_vain,
        })
        .collect()
}

/// The counters that are not 0.
pub(super) fn seen(counters: &[dp::Counter]) -> Vec<Counter> {
    let seen = counters.iter().filter(|counter| counter.value > 0);
    seen.map(|counter| Counter {
        name: counter.name.to_owned(),
        count: counter.value,
    })
    .collect()
}

/// Which library does which cipher of ESP.
pub(super) fn ciphers() -> Vec<CipherReport> {
    let speed = |(library, ns): (backend::Library, u32)| CipherSpeed {
        library: library.name().to_owned(),
        octets: u32::try_from(backend::TRIAL).unwrap_or(u32::MAX),
        ns,
    };
    let choices = backend::choices().iter();
    choices
        .map(|choice| CipherReport {
            name: choice.algorithm.name().to_owned(),
            library: choice.library.name().to_owned(),
            measured: backend::Library::ALL
                .into_iter()
                .zip(choice.nanoseconds)
                .map(speed)
                .collect(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use xvpn_dataplane::stats::QueueStats;

    use super::*;

    #[test]
    fn each_queue_says_what_it_refused_and_for_whom_it_waited_in_vain() {
        let sets: Vec<_> = (0..3).map(|_| Arc::new(QueueStats::new())).collect();
        sets[1].discard_many(dp::Discard::BadIcv, 3);
        sets[1].wait_in_vain();
        sets[2].discard(dp::Discard::UnusableSa);
        let counts = dp::Counts::read(&sets);
        let counter = |name: &str, count| Counter {
            name: name.to_owned(),
            count,
        };
        let said = queues(&counts).into_iter();
        let said: Vec<_> = said.map(|queue| (queue.discards, queue.waits_in_vain)).collect();
        assert_eq!(said, [(vec![], 0), (vec![counter("bad_icv", 3)], 1)]);
        assert_eq!(seen(&counts.control), [counter("unusable_sa", 1)]);
    }
}
