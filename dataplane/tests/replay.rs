//! The replay window against a plain set of numbers, alone and with many threads.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test or bench fails by panicking"
)]

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use xvpn_dataplane::sa::{Refusal, ReplayWindow};

/// What RFC 4303 3.4.3 says, slowly.
struct Naive {
    highest: u64,
    size: u64,
    seen: HashSet<u64>,
}

impl Naive {
    fn verdict(&self, seq: u64) -> Result<(), Refusal> {
        if seq == 0 || self.seen.contains(&seq) && seq + self.size > self.highest {
            Err(Refusal::Replayed)
        } else if self.highest >= self.size && seq <= self.highest - self.size {
            Err(Refusal::OutsideWindow)
        } else {
            Ok(())
        }
    }

    fn accept(&mut self, seq: u64) -> Result<(), Refusal> {
        self.verdict(seq)?;
        self.seen.insert(seq);
        self.highest = self.highest.max(seq);
        Ok(())
    }
}

/// Steps back and forth around the right edge, mostly small, some beyond the window.
fn step(size: i64) -> impl Strategy<Value = i64> {
    prop_oneof![4 => -70..70_i64, 2 => -size - 40..size + 40, 1 => size * 2..size * 5, 1 => -size - 2..-size + 2]
}

fn run(start: u64, size: u32, steps: &[i64]) -> Result<(), TestCaseError> {
    let window = ReplayWindow::after(start, size);
    let mut naive = Naive {
        highest: start,
        size: u64::from(size),
        seen: HashSet::new(),
    };
    for step in steps {
        let seq = naive.highest.saturating_add_signed(*step);
        prop_assert_eq!(
            window.check(seq),
            naive.verdict(seq),
            "check {} at {}",
            seq,
            naive.highest
        );
        prop_assert_eq!(
            window.accept(seq),
            naive.accept(seq),
            "accept {} at {}",
            seq,
            naive.highest
        );
        prop_assert_eq!(window.highest(), naive.highest);
    }
    Ok(())
}

proptest! {
    #[test]
    fn agrees_with_a_set_from_the_start(steps in proptest::collection::vec(step(64), 1..600)) {
        run(0, 64, &steps)?;
    }

    #[test]
    fn agrees_with_a_set_near_32_bits(steps in proptest::collection::vec(step(1024), 1..600)) {
        run((1 << 32) - 700, 1024, &steps)?;
    }

    #[test]
    fn agrees_with_a_set_for_odd_and_large_windows(
        size in prop_oneof![Just(128_u32), Just(192), Just(65536), Just(4160)],
        start in 0..u64::MAX / 2,
        steps in proptest::collection::vec(-5000..5000_i64, 1..300),
    ) {
        run(start, size, &steps)?;
    }

    /// RFC 4303 A2.2: whatever lies within the window, or less than 2^32 less a window ahead, is named right by its low half.
    #[test]
    fn the_low_half_names_the_whole_number(
        highest in prop_oneof![0..1_u64 << 40, (1 << 32) - 2000..(1_u64 << 32) + 2000, (1 << 63)..(1_u64 << 63) + 9000],
        offset in prop_oneof![-1023..=0_i64, 0..(1_i64 << 32) - 1024],
    ) {
        let window = ReplayWindow::after(highest, 1024);
        if let Some(seq) = highest.checked_add_signed(offset) {
            let low = u32::try_from(seq & 0xffff_ffff).unwrap();
            prop_assert_eq!(window.extend(low), Some(seq));
        }
    }
}

#[test]
fn zero_is_never_accepted() {
    assert_eq!(ReplayWindow::new(64).accept(0), Err(Refusal::Replayed));
}

#[test]
fn sizes_are_kept_within_bounds_and_exact() {
    for (asked, size) in [
        (0, 64),
        (64, 64),
        (65, 128),
        (1024, 1024),
        (65536, 65536),
        (u32::MAX, 65536),
    ] {
        let window = ReplayWindow::new(asked);
        window.accept(1_000_000).unwrap();
        assert_eq!(
            window.check(1_000_000 - size),
            Err(Refusal::OutsideWindow),
            "{asked}"
        );
        assert_eq!(window.check(1_000_000 - size + 1), Ok(()), "{asked}");
    }
}

#[test]
fn nothing_is_before_the_first_or_after_the_last_number() {
    assert_eq!(ReplayWindow::after(10, 1024).extend(u32::MAX), None);
    assert_eq!(ReplayWindow::after(u64::MAX, 64).extend(5), None);
    assert_eq!(
        ReplayWindow::after(u64::MAX - 1, 64).extend(u32::MAX),
        Some(u64::MAX)
    );
}

#[test]
fn many_threads_accept_each_number_once() {
    const LAST: u64 = 60_000;
    let window = ReplayWindow::new(65536);
    let accepted = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (window, accepted) = (&window, &accepted);
            scope.spawn(move || {
                // Every thread offers every number, each in its own order.
                for at in 0..LAST {
                    let seq = (at * 7919 + thread * 13) % LAST + 1;
                    if window.check(seq).is_ok() && window.accept(seq).is_ok() {
                        accepted.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(accepted.load(Ordering::Relaxed), LAST);
}

#[test]
fn many_threads_on_a_small_window_never_accept_twice() {
    const LAST: u64 = 100_000;
    let window = ReplayWindow::new(64);
    let times: Vec<AtomicU64> = (0..=LAST).map(|_| AtomicU64::new(0)).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for seq in 1..=LAST {
                    if window.accept(seq).is_ok() {
                        times[usize::try_from(seq).unwrap()].fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!(times.iter().all(|count| count.load(Ordering::Relaxed) <= 1));
    assert_eq!(window.highest(), LAST);
}
