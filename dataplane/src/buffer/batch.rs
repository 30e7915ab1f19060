//! Packets that travel together.

use std::collections::vec_deque::{self, VecDeque};

use super::{Packet, Pool};

/// An ordered run of packets, one turn of a queue long.
///
/// The limit is what a port fills it to. A stage that makes several packets of one (fragments) may exceed it.
///
/// Concurrency: owned by one queue thread.
#[derive(Debug)]
pub struct Batch {
    packets: VecDeque<Packet>,
    limit: usize,
}

impl Batch {
    /// The usual limit: enough to amortise a system call, little enough to stay in the cache.
    pub const LIMIT: usize = 64;

    /// An empty batch that ports fill to `limit`.
    pub fn new(limit: usize) -> Self {
        // Twice the limit: fragments of one batch without growing.
        Self {
            packets: VecDeque::with_capacity(2 * limit),
            limit,
        }
    }

    /// How many more packets a port may add.
    pub fn vacancy(&self) -> usize {
        self.limit.saturating_sub(self.packets.len())
    }

    /// Adds one at the end.
    pub fn push(&mut self, packet: Packet) {
        self.packets.push_back(packet);
    }

    /// Takes the first.
    pub fn pop(&mut self) -> Option<Packet> {
        self.packets.pop_front()
    }

    /// Puts one back before the first.
    pub fn put_back(&mut self, packet: Packet) {
        self.packets.push_front(packet);
    }

    /// Takes all, first to last.
    pub fn drain(&mut self) -> vec_deque::Drain<'_, Packet> {
        self.packets.drain(..)
    }

    /// Looks at all, first to last.
    pub fn iter(&self) -> vec_deque::Iter<'_, Packet> {
        self.packets.iter()
    }

    /// Looks at all, first to last, to change them.
    pub fn iter_mut(&mut self) -> vec_deque::IterMut<'_, Packet> {
        self.packets.iter_mut()
    }

    /// All at once, first to last, to change them and to look at several together.
    pub fn packets_mut(&mut self) -> &mut [Packet] {
        self.packets.make_contiguous()
    }

    /// Gives all back to the pool.
    pub fn recycle(&mut self, pool: &mut Pool) {
        for packet in self.packets.drain(..) {
            pool.give(packet);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    /// Octets of all of them.
    pub fn octets(&self) -> usize {
        self.packets.iter().map(Packet::len).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new(Self::LIMIT)
    }
}
