//! The punt ring: what the queues hand up to control, bounded in number and octets.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::api::Punted;
use crate::io::poll::Waker;

/// The queues' end of the ring.
///
/// Concurrency: one clone per queue thread; pushing never waits.
#[derive(Clone)]
pub struct PuntSender {
    ring: SyncSender<Punted>,
    shared: Arc<Shared>,
    hints: HintBudget,
    wishes: HintBudget,
}

/// Control's end of the ring. Its descriptor is readable while something may be in it.
///
/// Concurrency: for one thread; implements [`AsFd`] and [`AsRawFd`] so that tokio's `AsyncFd` can wait for it.
pub struct PuntReceiver {
    ring: Receiver<Punted>,
    shared: Arc<Shared>,
}

struct Shared {
    waker: Waker,
    octets: AtomicUsize,
    dropped: AtomicU64,
}

/// A ring of [`CAPACITY`] entries and [`MAX_OCTETS`] octets.
pub fn ring() -> io::Result<(PuntSender, PuntReceiver)> {
    let (sender, receiver) = sync_channel(CAPACITY);
    let shared = Arc::new(Shared {
        waker: Waker::new()?,
        octets: AtomicUsize::new(0),
        dropped: AtomicU64::new(0),
    });
    let sender = PuntSender {
        ring: sender,
        shared: Arc::clone(&shared),
        hints: HintBudget::new(HINTS_PER_SECOND, Instant::now()),
        wishes: HintBudget::new(WISHES_PER_SECOND, Instant::now()),
    };
    Ok((
        sender,
        PuntReceiver {
            ring: receiver,
            shared,
        },
    ))
}

impl PuntSender {
    /// Hands something up. False if the ring is full and it was dropped, or if it is a hint too many.
    pub fn push(&mut self, punted: Punted) -> bool {
        let granted = match &punted {
            Punted::Ike { .. } | Punted::Refused(_) => true,
            Punted::UnknownSpi { .. } => self.hints.take(Instant::now()),
            Punted::Wanted { .. } => self.wishes.take(Instant::now()),
        };
        if !granted {
            return false;
        }
        let octets = weight(&punted);
        let before = self.shared.octets.fetch_add(octets, Ordering::Relaxed);
        if before + octets > MAX_OCTETS || self.ring.try_send(punted).is_err() {
            self.shared.octets.fetch_sub(octets, Ordering::Relaxed);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.shared.waker.wake();
        true
    }
}

impl PuntReceiver {
    /// Takes the oldest entry. `None` means empty, and that the descriptor is unreadable until there is more.
    pub fn pop(&self) -> Option<Punted> {
        let punted = self.ring.try_recv().ok().or_else(|| {
            // Unreadable first, then a last look: an entry pushed in between is found here or wakes again.
            self.shared.waker.drain();
            self.ring.try_recv().ok()
        })?;
        self.shared.octets.fetch_sub(weight(&punted), Ordering::Relaxed);
        Some(punted)
    }

    /// Entries dropped because the ring was full.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

impl AsFd for PuntReceiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.waker.as_fd()
    }
}

impl AsRawFd for PuntReceiver {
    fn as_raw_fd(&self) -> RawFd {
        self.shared.waker.as_raw_fd()
    }
}

/// How many unknown-SPI hints, or packets without a tunnel, a queue may still hand up: they come at line rate.
#[derive(Clone)]
struct HintBudget {
    most: u32,
    left: u32,
    since: Instant,
}

impl HintBudget {
    fn new(most: u32, now: Instant) -> Self {
        Self {
            most,
            left: most,
            since: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            *self = Self::new(self.most, now);
        }
        let granted = self.left > 0;
        self.left = self.left.saturating_sub(1);
        granted
    }
}

fn weight(punted: &Punted) -> usize {
    size_of::<Punted>()
        + match punted {
            Punted::Ike { bytes, .. } => bytes.len(),
            Punted::UnknownSpi { .. } | Punted::Wanted { .. } | Punted::Refused(_) => 0,
        }
}

/// Entries at most.
pub const CAPACITY: usize = 512;
/// Octets at most, entries included: some dozens of the longest datagrams, thousands of usual ones.
pub const MAX_OCTETS: usize = 2 << 20;
const HINTS_PER_SECOND: u32 = 10;
const WISHES_PER_SECOND: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Spi;
    use crate::io::poll::{Events, Poll};

    fn message(len: usize) -> Punted {
        let address = "192.0.2.1:4500".parse().unwrap();
        Punted::Ike {
            local: address,
            remote: address,
            bytes: vec![1; len],
        }
    }

    fn hint() -> Punted {
        Punted::UnknownSpi {
            spi: Spi(7),
            remote: "192.0.2.1:0".parse().unwrap(),
        }
    }

    #[test]
    fn entries_come_out_in_order_and_the_descriptor_says_when() {
        let (mut sender, receiver) = ring().unwrap();
        let poll = Poll::new().unwrap();
        poll.add(receiver.as_fd(), 1).unwrap();
        let mut events = Events::with_capacity(1);
        let mut readable = || {
            poll.wait(&mut events, Some(Duration::ZERO)).unwrap();
            events.iter().count() == 1
        };
        assert!(!readable());
        assert!(sender.push(message(3)));
        assert!(sender.push(message(4)));
        assert!(readable());
        assert_eq!(receiver.pop(), Some(message(3)));
        assert_eq!(receiver.pop(), Some(message(4)));
        assert_eq!(receiver.pop(), None);
        assert!(!readable());
    }

    #[test]
    fn a_full_ring_drops_counts_and_recovers() {
        let (mut sender, receiver) = ring().unwrap();
        for _ in 0..CAPACITY {
            assert!(sender.push(message(1)));
        }
        assert!(!sender.push(message(1)));
        assert_eq!(receiver.dropped(), 1);
        while receiver.pop().is_some() {}
        assert!(sender.push(message(1)));
    }

    #[test]
    fn octets_are_bounded_too_and_given_back() {
        let (mut sender, receiver) = ring().unwrap();
        let fits = MAX_OCTETS / (65_507 + size_of::<Punted>());
        for _ in 0..fits {
            assert!(sender.push(message(65_507)));
        }
        assert!(!sender.push(message(65_507)));
        while receiver.pop().is_some() {}
        for _ in 0..fits {
            assert!(sender.push(message(65_507)));
        }
    }

    #[test]
    fn hints_are_rate_limited_and_messages_are_not() {
        let (mut sender, receiver) = ring().unwrap();
        let given = (0..100).filter(|_| sender.push(hint())).count();
        assert_eq!(given, HINTS_PER_SECOND as usize);
        assert!(sender.push(message(1)));
        // A hint too many is not a loss.
        assert_eq!(receiver.dropped(), 0);
        let later = Instant::now() + Duration::from_secs(2);
        assert!(sender.hints.take(later));
    }

    #[test]
    fn a_ring_whose_receiver_is_gone_only_drops() {
        let (mut sender, receiver) = ring().unwrap();
        drop(receiver);
        assert!(!sender.push(message(1)));
    }
}
