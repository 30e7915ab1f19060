//! Outbound sequence numbers (RFC 4303 2.2, 3.3.3).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::discard::Discard;

/// The sequence numbers of an outbound SA, given out in blocks.
///
/// Concurrency: any queue reserves; a number is given out once. Aligned, because what lies beside it in an SA is read for every
/// packet by queues that would lose the cache line each time another one reserves.
#[derive(Debug)]
#[repr(align(128))]
pub struct Sequence {
    /// The last one given out; 0 before the first.
    last: AtomicU64,
    limit: u64,
}

/// A run of sequence numbers that belongs to the caller. What is not used is a gap, which the peer's window forgives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceBlock {
    /// The first.
    pub first: u64,
    /// How many; may be fewer than asked for at the end of the numbers.
    pub count: u64,
}

impl Sequence {
    /// Starts before 1; the first packet carries 1 (RFC 4303 3.3.3).
    pub fn new(esn: bool) -> Self {
        Self::after(0, esn)
    }

    /// Goes on after `last`.
    pub fn after(last: u64, esn: bool) -> Self {
        Self {
            last: AtomicU64::new(last),
            limit: if esn { u64::MAX } else { u64::from(u32::MAX) },
        }
    }

    /// Reserves `count` numbers, or those that are left.
    ///
    /// RFC 4303 3.3.3: the counter must not cycle. At the end nothing is sent any more; rekeying comes long before.
    pub fn reserve(&self, count: u64) -> Result<SequenceBlock, Discard> {
        let mut last = self.last.load(Ordering::Relaxed);
        loop {
            let granted = count.min(self.limit.saturating_sub(last));
            if granted == 0 && count > 0 {
                return Err(Discard::SequenceExhausted);
            }
            match self
                .last
                // Who takes later numbers sees what the takers of earlier ones wrote before (`departure.rs`).
                .compare_exchange_weak(last, last + granted, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => {
                    return Ok(SequenceBlock {
                        first: last.saturating_add(1),
                        count: granted,
                    });
                }
                Err(now) => last = now,
            }
        }
    }

    /// The last number given out.
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }
}

impl SequenceBlock {
    /// The numbers.
    pub fn iter(&self) -> impl Iterator<Item = u64> + use<> {
        let first = self.first;
        (0..self.count).map(move |offset| first.wrapping_add(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_packet_carries_one() {
        let sequence = Sequence::new(false);
        assert_eq!(sequence.reserve(3), Ok(SequenceBlock { first: 1, count: 3 }));
        assert_eq!(
            sequence.reserve(1).map(|block| block.iter().collect::<Vec<_>>()),
            Ok(vec![4])
        );
    }

    #[test]
    fn refuses_to_wrap_at_32_bits_without_esn() {
        let sequence = Sequence::after(u64::from(u32::MAX) - 2, false);
        assert_eq!(
            sequence.reserve(64),
            Ok(SequenceBlock {
                first: u64::from(u32::MAX) - 1,
                count: 2
            })
        );
        assert_eq!(sequence.reserve(1), Err(Discard::SequenceExhausted));
        assert_eq!(sequence.last(), u64::from(u32::MAX));
    }

    #[test]
    fn passes_32_bits_with_esn() {
        let sequence = Sequence::after(u64::from(u32::MAX), true);
        assert_eq!(
            sequence.reserve(1),
            Ok(SequenceBlock {
                first: 1 << 32,
                count: 1
            })
        );
    }

    #[test]
    fn refuses_to_wrap_at_64_bits_with_esn() {
        let sequence = Sequence::after(u64::MAX - 1, true);
        assert_eq!(
            sequence.reserve(2).map(|block| block.iter().collect::<Vec<_>>()),
            Ok(vec![u64::MAX])
        );
        assert_eq!(sequence.reserve(1), Err(Discard::SequenceExhausted));
    }

    #[test]
    fn gives_every_number_once_to_many_threads() {
        let sequence = Sequence::new(true);
        let reserve = || {
            (0..1000)
                .flat_map(|n| sequence.reserve(n % 7).unwrap().iter())
                .collect::<Vec<_>>()
        };
        let mut all: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(reserve)).collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        all.sort_unstable();
        assert!(all.iter().zip(1..).all(|(got, expected)| *got == expected));
        assert_eq!(all.len() as u64, sequence.last());
    }
}
