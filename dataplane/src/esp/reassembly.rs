//! Inner packets out of the AGGFRAG payloads of one SA, in the order of their sequence numbers (RFC 9347 2.2.3, 2.5).
//!
//! A payload that comes early is held until those before it are there, at most [`WINDOW`] of them and at most [`PATIENCE`]: what is missing
//! then is lost. The next payload says itself, by its block offset, where one can go on.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::aggfrag::{Block, Preamble};
use crate::buffer::{MAX_LEN, Packet, Pool};
use crate::discard::Discard;
use crate::ip::ecn;

/// What is on the way from the payloads of an SA to inner packets.
///
/// Concurrency: behind a lock of its SA. One queue has the SA to itself (`io/udp/steer.rs`), so nobody waits for it where the kernel steers.
#[derive(Debug)]
pub struct Reassembly {
    /// The sequence number that comes next.
    next: u64,
    /// What came early: the first place is that of the next, which is empty, or nothing is early.
    early: VecDeque<Option<Early>>,
    /// The beginning of an inner packet whose rest is in the next payload.
    begun: Option<Begun>,
    /// When what is missing is given up.
    deadline: Option<Instant>,
}

#[derive(Debug)]
struct Early {
    payload: Packet,
    came: Instant,
}

#[derive(Debug)]
struct Begun {
    packet: Packet,
    /// Its length; too little of it is there to tell, if `None`.
    total: Option<usize>,
}

/// Where inner packets go, and what became of the others.
pub trait Sink {
    /// An inner packet, as it is: nothing in it was looked at but its length.
    fn packet(&mut self, packet: Packet, pool: &mut Pool);
    /// One that is none.
    fn lost(&mut self, reason: Discard);
}

impl Reassembly {
    /// Of an SA that has received nothing: its first packet has the number 1.
    pub fn new() -> Self {
        Self {
            next: 1,
            early: VecDeque::new(),
            begun: None,
            deadline: None,
        }
    }

    /// When [`expire`](Self::expire) is to be called, if nothing comes before.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Takes the payload of an ESP packet that was authentic and new.
    pub fn push(
        &mut self,
        now: Instant,
        sequence: u64,
        payload: Packet,
        pool: &mut Pool,
        sink: &mut impl Sink,
    ) {
        if sequence == self.next && self.early.is_empty() {
            self.next = self.next.saturating_add(1);
            return self.unpack(payload, pool, sink);
        }
        let payload = keep(payload, pool);
        let before = self.next;
        self.advance(sequence.saturating_sub(WINDOW - 1), pool, sink);
        let Some(at) = sequence.checked_sub(self.next) else {
            sink.lost(Discard::AggfragLate);
            return pool.give(payload);
        };
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        if self.early.len() <= at {
            // Fewer than the window, after the step above.
            self.early.resize_with(at + 1, || None);
        }
        if let Some(place) = self.early.get_mut(at) {
            let twice = place.replace(Early { payload, came: now });
            twice.into_iter().for_each(|twice| pool.give(twice.payload));
        }
        self.deliver(pool, sink);
        if self.deadline.is_none() || self.next != before {
            self.wait();
        }
    }

    /// Gives up what is missing, if its time has come.
    pub fn expire(&mut self, now: Instant, pool: &mut Pool, sink: &mut impl Sink) {
        // Each step gives up one gap, and delivers something; what has waited long enough may lie behind several.
        while self.deadline.is_some_and(|deadline| deadline <= now) {
            let missing = self.early.iter().take_while(|place| place.is_none()).count();
            let missing = u64::try_from(missing).unwrap_or(u64::MAX);
            self.advance(self.next.saturating_add(missing), pool, sink);
            self.wait();
        }
    }

    /// The wait ends with that of what has waited longest: were each gap waited for anew, many losses would add up.
    fn wait(&mut self) {
        let first = self.early.iter().flatten().map(|early| early.came).min();
        self.deadline = first.map(|came| came + PATIENCE);
    }

    /// No number below `to` is waited for any more.
    fn advance(&mut self, to: u64, pool: &mut Pool, sink: &mut impl Sink) {
        if self.next >= to {
            return;
        }
        while self.next < to {
            match self.early.pop_front() {
                None => {
                    self.lose_begun(Discard::AggfragIncomplete, pool, sink);
                    self.next = to;
                }
                Some(None) => {
                    self.lose_begun(Discard::AggfragIncomplete, pool, sink);
                    self.next = self.next.saturating_add(1);
                }
                Some(Some(early)) => {
                    self.next = self.next.saturating_add(1);
                    self.unpack(early.payload, pool, sink);
                }
            }
        }
        self.deliver(pool, sink);
    }

    /// Unpacks what is there without a gap.
    fn deliver(&mut self, pool: &mut Pool, sink: &mut impl Sink) {
        while let Some(early) = self.early.front_mut().and_then(Option::take) {
            self.early.pop_front();
            self.next = self.next.saturating_add(1);
            self.unpack(early.payload, pool, sink);
        }
    }

    /// Takes a payload apart; the one before it was the last that was taken apart, or `begun` is empty.
    fn unpack(&mut self, mut payload: Packet, pool: &mut Pool, sink: &mut impl Sink) {
        let preamble = match Preamble::parse(payload.octets()) {
            Ok(preamble) => preamble,
            Err(reason) => {
                self.lose_begun(Discard::AggfragIncomplete, pool, sink);
                sink.lost(reason);
                return pool.give(payload);
            }
        };
        payload.trim_front(preamble.header);
        if self.begun.is_some() {
            self.go_on(&payload, preamble.offset, pool, sink);
        } else if (1..=payload.len()).contains(&preamble.offset) {
            // The end of what began in a payload that was lost.
            sink.lost(Discard::AggfragIncomplete);
        }
        let mut whole: Option<(usize, usize)> = None;
        let mut at = preamble.offset;
        while let Some(data) = payload.octets().get(at..).filter(|data| !data.is_empty()) {
            let total = match Block::at(data) {
                Ok(Block::Pad) => break,
                Ok(Block::Packet(len)) => Some(len),
                Ok(Block::Runt) => None,
                Err(reason) => {
                    sink.lost(reason);
                    break;
                }
            };
            match total.filter(|len| *len <= data.len()) {
                Some(len) => {
                    // All but the last are copied; the last stays where it is.
                    if let Some((at, len)) = whole.replace((at, len)) {
                        copy_out(&payload, at, len, pool, sink);
                    }
                    at += len;
                }
                None => {
                    self.begin(&payload, at, total, pool, sink);
                    break;
                }
            }
        }
        match whole {
            Some((at, len)) => {
                payload.trim_front(at);
                payload.truncate(len);
                sink.packet(payload, pool);
            }
            None => pool.give(payload),
        }
    }

    /// Adds to the inner packet that was begun what the payload has of it.
    fn go_on(&mut self, payload: &Packet, offset: usize, pool: &mut Pool, sink: &mut impl Sink) {
        let data = payload.octets();
        if offset == 0 && matches!(Block::at(data), Ok(Block::Pad)) {
            // RFC 9347 2.2.3: payloads of nothing but padding may stand between the pieces of a packet.
            return;
        }
        let Some(mut begun) = self.begun.take() else {
            return;
        };
        let have = begun.packet.len();
        let left = begun.total.map_or(offset, |total| total - have);
        if offset != left || offset == 0 {
            self.begun = Some(begun);
            return self.lose_begun(Discard::AggfragOffset, pool, sink);
        }
        let piece = data.get(..left).unwrap_or(data);
        let Some(room) = begun.packet.grow_back(piece.len()) else {
            self.begun = Some(begun);
            return self.lose_begun(Discard::ReceivedTooLong, pool, sink);
        };
        room.copy_from_slice(piece);
        begun.packet.meta.tos = both(begun.packet.meta.tos, payload.meta.tos);
        if begun.total.is_none() {
            // What was too little to tell the length is more now; the block offset told it before, and both must say the same.
            begun.total = match Block::at(begun.packet.octets()) {
                Ok(Block::Packet(total)) if total == have + left => Some(total),
                Ok(Block::Runt) if piece.len() < left => None,
                Ok(Block::Packet(_) | Block::Runt | Block::Pad) | Err(_) => {
                    self.begun = Some(begun);
                    return self.lose_begun(Discard::AggfragOffset, pool, sink);
                }
            };
        }
        if begun.total == Some(begun.packet.len()) {
            sink.packet(begun.packet, pool);
        } else {
            self.begun = Some(begun);
        }
    }

    /// Keeps the beginning of an inner packet.
    fn begin(
        &mut self,
        payload: &Packet,
        at: usize,
        total: Option<usize>,
        pool: &mut Pool,
        sink: &mut impl Sink,
    ) {
        if total.is_some_and(|total| total > MAX_LEN) {
            return sink.lost(Discard::ReceivedTooLong);
        }
        let mut packet = pool.take();
        packet.set(payload.octets().get(at..).unwrap_or_default());
        packet.meta = payload.meta;
        self.begun = Some(Begun { packet, total });
    }

    fn lose_begun(&mut self, reason: Discard, pool: &mut Pool, sink: &mut impl Sink) {
        if let Some(begun) = self.begun.take() {
            sink.lost(reason);
            pool.give(begun.packet);
        }
    }
}

impl Default for Reassembly {
    fn default() -> Self {
        Self::new()
    }
}

/// What has to wait is not to keep others from landing where it lies.
fn keep(payload: Packet, pool: &mut Pool) -> Packet {
    if payload.owns_storage() {
        return payload;
    }
    let mut packet = pool.take();
    packet.set(payload.octets());
    packet.meta = payload.meta;
    packet
}

fn copy_out(payload: &Packet, at: usize, len: usize, pool: &mut Pool, sink: &mut impl Sink) {
    let mut packet = pool.take();
    packet.set(payload.octets().get(at..at + len).unwrap_or_default());
    packet.meta = payload.meta;
    sink.packet(packet, pool);
}

/// The outer TOS of an inner packet that came in two payloads: if one of them was marked, it was (RFC 3168 5.3).
fn both(one: u8, other: u8) -> u8 {
    if other & ecn::CE == ecn::CE { other } else { one }
}

/// Payloads from the one that is missing to the last that is held, at most.
pub const WINDOW: u64 = 64;
/// How long a payload is held for one that is missing. What the network delays longer is lost.
pub const PATIENCE: Duration = Duration::from_millis(20);
