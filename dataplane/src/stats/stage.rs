//! What each stage of the packet path costs: how much went through it, in how many batches and system calls, and on a sample of
//! its batches how long it took.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The stages of a queue, in the order of an outbound packet, then of an inbound one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Reading a TUN and splitting super-packets.
    TunRead,
    /// Selectors, SA, MTU, and sealing in place.
    Seal,
    /// Handing ESP to the kernel.
    WireSend,
    /// Receiving datagrams and taking joined ones apart.
    WireReceive,
    /// SA, window, opening in place, and selectors.
    Open,
    /// Joining segments and writing them to a TUN.
    TunWrite,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 6] = [
        Self::TunRead,
        Self::Seal,
        Self::WireSend,
        Self::WireReceive,
        Self::Open,
        Self::TunWrite,
    ];

    /// Its name, in snake case.
    pub fn name(self) -> &'static str {
        match self {
            Self::TunRead => "tun_read",
            Self::Seal => "seal",
            Self::WireSend => "wire_send",
            Self::WireReceive => "wire_receive",
            Self::Open => "open",
            Self::TunWrite => "tun_write",
        }
    }
}

/// What went through one stage of one queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageCounts {
    /// Batches with at least one packet.
    pub batches: u64,
    /// Packets, each segment of a super-packet for itself.
    pub packets: u64,
    /// Octets of these packets, as they came into the stage (of reading and receiving: as they left it).
    pub octets: u64,
    /// System calls, those that found nothing included. 0 in a stage that makes none.
    pub system_calls: u64,
    /// Packets of the batches whose time was taken.
    pub timed_packets: u64,
    /// Octets of these.
    pub timed_octets: u64,
    /// Nanoseconds for these.
    pub timed_ns: u64,
}

/// The counters behind [`StageCounts`].
///
/// Concurrency: written by the queue's thread alone, which is why an addition is a load and a store; read by control.
#[derive(Debug, Default)]
pub(super) struct StageCounters([AtomicU64; 7]);

impl StageCounters {
    fn add(&self, counts: [u64; 7]) {
        for (counter, count) in self.0.iter().zip(counts).filter(|(_, count)| *count > 0) {
            let sum = counter.load(Ordering::Relaxed).wrapping_add(count);
            counter.store(sum, Ordering::Relaxed);
        }
    }

    pub(super) fn counts(&self) -> StageCounts {
        let [
            batches,
            packets,
            octets,
            system_calls,
            timed_packets,
            timed_octets,
            timed_ns,
        ] = self.0.each_ref().map(|counter| counter.load(Ordering::Relaxed));
        StageCounts {
            batches,
            packets,
            octets,
            system_calls,
            timed_packets,
            timed_octets,
            timed_ns,
        }
    }

    /// One batch went through.
    pub(super) fn count(&self, load: Load, system_calls: u64, time: Option<u64>) {
        let timed = u64::from(time.is_some());
        self.add([
            u64::from(load.packets > 0),
            load.packets,
            load.octets,
            system_calls,
            load.packets * timed,
            load.octets * timed,
            time.unwrap_or(0),
        ]);
    }
}

/// How much a batch is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Packets.
    pub packets: u64,
    /// Octets of all of them.
    pub octets: u64,
}

impl Load {
    /// What is gone when this is left.
    pub fn less(self, left: Self) -> Self {
        Self {
            packets: self.packets.saturating_sub(left.packets),
            octets: self.octets.saturating_sub(left.octets),
        }
    }
}

/// Takes the time of one turn in so many of those that find something: two looks at the clock per stage cost more than a stage of one packet may.
///
/// Concurrency: owned by one queue thread.
#[derive(Debug, Default)]
pub struct Stopwatch {
    /// Turns that found something since the last one that was timed.
    full: u32,
    lap: Option<Instant>,
}

impl Stopwatch {
    /// A turn begins.
    pub fn begin(&mut self) {
        self.lap = (self.full >= SAMPLE - 1).then(Instant::now);
    }

    /// The first stage of the turn ends: as [`lap`](Self::lap). A turn that found nothing (`!found`) does not count: full and empty
    /// ones often alternate, and one turn in so many of all would be an empty one each time.
    pub fn first_lap(&mut self, found: bool) -> Option<u64> {
        if !found {
            self.lap = None;
            return None;
        }
        self.full = if self.lap.is_some() { 0 } else { self.full + 1 };
        self.lap()
    }

    /// A stage of the turn ends, the next begins: nanoseconds since the last end, if this turn is one of the sample.
    pub fn lap(&mut self) -> Option<u64> {
        let now = self.lap.map(|_| Instant::now())?;
        let before = self.lap.replace(now)?;
        u64::try_from(now.duration_since(before).as_nanos()).ok()
    }
}

/// Turns for one whose time is taken.
pub const SAMPLE: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_every_batch_and_times_the_sample() {
        let counters = StageCounters::default();
        let load = Load {
            packets: 3,
            octets: 300,
        };
        counters.count(load, 2, None);
        counters.count(load, 1, Some(500));
        counters.count(Load::default(), 1, None);
        assert_eq!(
            counters.counts(),
            StageCounts {
                batches: 2,
                packets: 6,
                octets: 600,
                system_calls: 4,
                timed_packets: 3,
                timed_octets: 300,
                timed_ns: 500,
            }
        );
    }

    #[test]
    fn one_turn_in_so_many_that_found_something_is_timed() {
        let mut watch = Stopwatch::default();
        let mut turn = |found| {
            watch.begin();
            let first = watch.first_lap(found);
            assert_eq!(first.is_some(), watch.lap().is_some());
            first.is_some()
        };
        // As where a queue is emptied by each read.
        let timed = (0..SAMPLE * 3).filter(|_| turn(true) || turn(false));
        assert_eq!(timed.count(), 3);
    }
}
