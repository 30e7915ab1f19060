//! The anti-replay window (RFC 4303 3.4.3) and the high half of extended sequence numbers (RFC 4303 A2.2).

use std::sync::atomic::{AtomicU64, Ordering};

/// Which sequence numbers were accepted.
///
/// A ring of words. Each holds, for one block of 32 consecutive numbers, the block's tag (the high bits of its number,
/// modulo 2^32) in its upper half and one bit per number in its lower half:
///
/// ```text
///   sequence number = | tag  ...  | word index | bit (5) |       word = | tag (32) | seen (32) |
/// ```
///
/// A word is taken over by a later block that falls on it, never by an earlier one. The ring has room for the window
/// and one block more, so a word that is taken over held only numbers that have left the window: the window is exact.
///
/// Concurrency: one queue owns it as a rule, the one that receives `SPI % queues` (`io/udp/steer.rs`, `io/esp_raw.rs`). For what
/// comes to another all the same (datagrams that the kernel joined; a kernel that does not steer) all queues share it, without
/// locks: `accept` decides with one compare-and-swap, so a number is accepted at most once whatever the threads do. `check` is
/// advice.
#[derive(Debug)]
pub struct ReplayWindow {
    highest: AtomicU64,
    size: u64,
    words: Box<[AtomicU64]>,
}

/// Why a sequence number is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Accepted before, or zero.
    Replayed,
    /// Older than the window.
    OutsideWindow,
}

impl ReplayWindow {
    /// A window of `size` numbers: rounded up to a multiple of 64, and kept within 64..=65536.
    pub fn new(size: u32) -> Self {
        Self::after(0, size)
    }

    /// A window whose right edge is at `highest`.
    pub fn after(highest: u64, size: u32) -> Self {
        let size = u64::from(size.clamp(MIN_SIZE, MAX_SIZE).next_multiple_of(64));
        let words = (size / BITS + 1).next_power_of_two();
        // Every word starts in the turn before: later blocks take it over, earlier ones are outside the window anyway.
        let before = (highest / BITS / words).wrapping_sub(1) << 32;
        Self {
            highest: AtomicU64::new(highest),
            size,
            words: (0..words).map(|_| AtomicU64::new(before)).collect(),
        }
    }

    /// The highest number accepted.
    pub fn highest(&self) -> u64 {
        self.highest.load(Ordering::Relaxed)
    }

    /// The whole number of a packet that carries the low half `low`, with ESN (RFC 4303 A2.2).
    ///
    /// `None`: it could only be a number before the first or after the last.
    pub fn extend(&self, low: u32) -> Option<u64> {
        let highest = self.highest();
        let (top, edge) = (highest >> 32, highest & LOW);
        let low = u64::from(low);
        let back = self.size - 1;
        let high = if edge >= back {
            // Case A: the window lies within one subspace.
            if low >= edge - back {
                top
            } else {
                top.checked_add(1).filter(|high| *high <= LOW)?
            }
        } else if low >= (1 << 32) + edge - back {
            // Case B: the window spans two, and this is in the earlier one.
            top.checked_sub(1)?
        } else {
            top
        };
        Some(high << 32 | low)
    }

    /// Whether `seq`, as [`extend`](Self::extend) gave it, is nearer to what was before the window than to what is to come.
    ///
    /// RFC 4303 A2.2 takes a number before the window for one of the next 2^32, and then the ICV is wrong. Such a packet came too
    /// late far more likely than it was forged; with both numbers to verify it by, a forger would have us work twice.
    pub fn is_far_ahead(&self, seq: u64) -> bool {
        seq.saturating_sub(self.highest()) > 1 << 31
    }

    /// Whether `seq` would be accepted now. Changes nothing: the packet is not authentic yet.
    pub fn check(&self, seq: u64) -> Result<(), Refusal> {
        self.place(seq)?;
        let (tag, bit) = (self.tag(seq), bit(seq));
        let word = self.word(seq).load(Ordering::Relaxed);
        verdict(word, tag, bit).map(|_| ())
    }

    /// Accepts `seq`, once. Only for packets whose ICV was verified.
    pub fn accept(&self, seq: u64) -> Result<(), Refusal> {
        self.place(seq)?;
        let (tag, bit) = (self.tag(seq), bit(seq));
        let word = self.word(seq);
        let mut now = word.load(Ordering::Relaxed);
        loop {
            let next = verdict(now, tag, bit)?;
            match word.compare_exchange_weak(now, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break,
                Err(other) => now = other,
            }
        }
        self.highest.fetch_max(seq, Ordering::Relaxed);
        Ok(())
    }

    /// Refuses what lies before the left edge, and zero, which is never sent.
    fn place(&self, seq: u64) -> Result<(), Refusal> {
        if seq == 0 {
            return Err(Refusal::Replayed);
        }
        match self.highest().checked_sub(self.size) {
            Some(edge) if seq <= edge => Err(Refusal::OutsideWindow),
            Some(_) | None => Ok(()),
        }
    }

    /// Which word; the length is a power of two, so the mask keeps it within.
    fn word(&self, seq: u64) -> &AtomicU64 {
        let mask = self.words.len() - 1;
        let index = (seq / BITS) as usize & mask;
        &self.words[index]
    }

    /// Which turn of the ring, modulo 2^32: two turns with the same tag are more than 2^37 packets apart.
    fn tag(&self, seq: u64) -> u64 {
        (seq / BITS / self.words.len() as u64) & LOW
    }
}

/// What a word becomes when the number with `bit` in the block with `tag` is accepted.
fn verdict(word: u64, tag: u64, bit: u64) -> Result<u64, Refusal> {
    let (held, seen) = (word >> 32, word & LOW);
    if held == tag {
        return if seen & bit == 0 {
            Ok(word | bit)
        } else {
            Err(Refusal::Replayed)
        };
    }
    // Later on the circle of 2^32 tags.
    if tag.wrapping_sub(held) & LOW < 1 << 31 {
        Ok(tag << 32 | bit)
    } else {
        Err(Refusal::OutsideWindow)
    }
}

fn bit(seq: u64) -> u64 {
    1 << (seq % BITS)
}

const BITS: u64 = 32;
const LOW: u64 = u32::MAX as u64;
const MIN_SIZE: u32 = 64;
const MAX_SIZE: u32 = 65536;
