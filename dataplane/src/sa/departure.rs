//! How far the packets of one SA may leave out of their order when several queues send on it.
//!
//! A queue reserves numbers for a batch, seals, sends. Another queue that reserves the next may be ready first, and if the thread
//! of the first has to wait for a CPU, by thousands of packets. The peer drops what comes later than its replay window looks back
//! (RFC 4303 3.4.3). So who is about to send waits for a queue that still holds numbers too far below its own:
//!
//! ```text
//!   queue 0    reserves 1..64   seals .................. sends
//!   queue 1        reserves 65..128   seals   sends at once if 128 - 1 is below the bound, else after queue 0
//! ```
//!
//! The bound is half the peer's window: the other half is for what the network does. With a window shorter than two batches the
//! queues send strictly in turn, and only sealing is done side by side.
//!
//! Who waits holds higher numbers than whom it waits for, and nobody holds numbers of two SAs, so there is no circle. A thread
//! that does not come back is not waited for longer than [`PATIENCE`], once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Sequence, SequenceBlock};
use crate::discard::Discard;

/// What the queues hold of the numbers of one SA.
///
/// Concurrency: shared by all queues; each writes its own place and reads the others'.
#[derive(Debug)]
pub(super) struct Departures {
    /// A packet leaves less than so many numbers behind one that left before.
    bound: u64,
    /// For each queue the lowest number that it has reserved and not yet sent. Empty if there is one queue.
    places: Box<[Place]>,
    patience: Duration,
}

/// Alone in its cache line: it is written for each batch.
#[derive(Debug)]
#[repr(align(128))]
struct Place(AtomicU64);

/// Numbers that a queue has reserved and not yet sent. Dropped when they have left, or will not.
///
/// Concurrency: owned by the thread of one queue.
#[derive(Debug)]
#[must_use = "dropped at once nobody waits for these packets"]
pub struct Departure<'a> {
    all: &'a Departures,
    queue: usize,
    first: u64,
    last: u64,
}

impl Departures {
    /// For so many queues, and a peer whose replay window has `window` packets.
    pub(super) fn new(window: u32, queues: usize) -> Self {
        let places = if queues > 1 { queues } else { 0 };
        Self {
            bound: u64::from(window / 2).max(1),
            places: (0..places).map(|_| Place(AtomicU64::new(NOTHING))).collect(),
            patience: PATIENCE,
        }
    }

    /// Reserves for a queue.
    pub(super) fn reserve(
        &self,
        sequence: &Sequence,
        queue: usize,
        count: u64,
    ) -> Result<(SequenceBlock, Departure<'_>), Discard> {
        let mut departure = Departure {
            all: self,
            queue,
            first: sequence.last().saturating_add(1),
            last: u64::MAX,
        };
        // Before the numbers are taken, so that who takes later ones sees it. It may be too low: then it is waited for in vain
        // until the next line but one.
        departure.hold();
        let block = sequence.reserve(count)?;
        departure.first = block.first;
        departure.last = block.first.saturating_add(block.count.saturating_sub(1));
        departure.hold();
        Ok((block, departure))
    }
}

impl Departure<'_> {
    /// Waits until these numbers may leave. False if a queue was waited for in vain, and is no longer.
    pub fn wait(&self) -> bool {
        let others = self.all.places.iter().enumerate();
        let others = others.filter(|(queue, _)| *queue != self.queue);
        others.fold(true, |all, (_, place)| self.wait_for(place) && all)
    }

    fn wait_for(&self, place: &Place) -> bool {
        let too_low = |low: u64| low < self.first && self.last.saturating_sub(low) >= self.all.bound;
        let mut low = place.0.load(Ordering::Acquire);
        let begin = too_low(low).then(Instant::now);
        let mut rounds = 0;
        while let Some(begin) = begin.filter(|_| too_low(low)) {
            if begin.elapsed() > self.all.patience {
                // Its thread is gone or stuck. If it comes back, what it holds leaves late.
                let _ = place
                    .0
                    .compare_exchange(low, NOTHING, Ordering::AcqRel, Ordering::Acquire);
                return false;
            }
            rounds += 1;
            if rounds < SPINS {
                std::hint::spin_loop();
            } else {
                // It may be waiting for this very CPU.
                thread::yield_now();
            }
            low = place.0.load(Ordering::Acquire);
        }
        true
    }

    fn hold(&self) {
        self.put(self.first);
    }

    fn put(&self, lowest: u64) {
        if let Some(place) = self.all.places.get(self.queue) {
            place.0.store(lowest, Ordering::Release);
        }
    }
}

impl Drop for Departure<'_> {
    fn drop(&mut self) {
        self.put(NOTHING);
    }
}

/// No queue holds anything below it.
const NOTHING: u64 = u64::MAX;
/// A batch is sealed and sent in a tenth of a millisecond; a thread that has to share its CPU comes back after some.
const PATIENCE: Duration = Duration::from_millis(50);
/// About a microsecond.
const SPINS: u32 = 64;

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// What several queues put on a wire, in the order it got there, one of them now and then kept from its CPU.
    fn sent(window: u32, queues: usize) -> Vec<u64> {
        let (sequence, mut departures) = (Sequence::new(true), Departures::new(window, queues));
        // A busy machine may keep a thread away for longer than it would be waited for.
        departures.patience = Duration::from_secs(60);
        let wire = Mutex::new(Vec::new());
        let work = |queue: usize| {
            for round in 0..ROUNDS {
                let count = 1 + (round * 7 + queue as u64) % 64;
                let (block, departure) = departures.reserve(&sequence, queue, count).unwrap();
                if queue == 0 && round % 16 == 0 {
                    thread::sleep(Duration::from_micros(300));
                }
                assert!(departure.wait());
                for number in block.iter() {
                    wire.lock().unwrap().push(number);
                }
                drop(departure);
            }
        };
        let work = &work;
        thread::scope(|scope| (0..queues).for_each(|queue| drop(scope.spawn(move || work(queue)))));
        wire.into_inner().unwrap()
    }

    /// By how many numbers a packet came behind one that was there before.
    fn latest(sent: &[u64]) -> u64 {
        let mut highest = 0;
        let late = sent.iter().map(|number| {
            highest = highest.max(*number);
            highest - number
        });
        late.max().unwrap()
    }

    #[test]
    fn no_packet_leaves_later_than_half_the_window() {
        for window in [0, 32, 64, 256, 1024] {
            let sent = sent(window, 4);
            assert!(latest(&sent) < u64::from(window / 2).max(1), "window {window}");
            let mut all = sent;
            all.sort_unstable();
            assert!(all.iter().copied().eq(1..=all.len() as u64));
        }
    }

    #[test]
    fn a_wide_window_is_used() {
        // One queue holds 1; the others go on, up to the bound.
        let (sequence, departures) = (Sequence::new(true), Departures::new(1024, 2));
        let (_, slow) = departures.reserve(&sequence, 0, 1).unwrap();
        for _ in 0..7 {
            let (_, departure) = departures.reserve(&sequence, 1, 64).unwrap();
            assert!(departure.wait());
        }
        assert_eq!(sequence.last(), 449);
        let (_, departure) = departures.reserve(&sequence, 1, 64).unwrap();
        let begin = Instant::now();
        assert!(!departure.wait(), "513 - 1 is the bound");
        assert!(begin.elapsed() >= PATIENCE);
        assert!(departure.wait(), "nobody is waited for in vain twice");
        drop(slow);
    }

    #[test]
    fn who_holds_the_lowest_numbers_waits_for_nobody() {
        let (sequence, departures) = (Sequence::new(false), Departures::new(0, 3));
        let (_, first) = departures.reserve(&sequence, 2, 64).unwrap();
        let (_, second) = departures.reserve(&sequence, 0, 64).unwrap();
        assert!(first.wait());
        drop(first);
        assert!(second.wait());
    }

    #[test]
    fn what_could_not_be_reserved_is_waited_for_by_nobody() {
        let (sequence, departures) = (
            Sequence::after(u64::from(u32::MAX) - 1, false),
            Departures::new(0, 2),
        );
        let (_, last) = departures.reserve(&sequence, 0, 8).unwrap();
        assert_eq!(
            departures.reserve(&sequence, 1, 8).err(),
            Some(Discard::SequenceExhausted)
        );
        assert!(last.wait());
    }

    const ROUNDS: u64 = 200;
}
