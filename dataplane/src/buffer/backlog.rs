//! Packets that wait for their turn.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::Packet;

/// What waits to leave at a constant rate, first come, first served.
///
/// Concurrency: a lock. Every packet of a tunnel that is paced comes to its home queue, which empties it, so that nobody waits; where the
/// kernel does not steer, the others put theirs in, too.
#[derive(Debug, Default)]
pub struct Backlog {
    packets: Mutex<VecDeque<Packet>>,
}

impl Backlog {
    /// So many packets wait at most: at a megabit per second three seconds of the longest that are usual.
    pub const LIMIT: usize = 256;

    /// Adds one at the end; gives it back if there are [`LIMIT`](Self::LIMIT).
    pub fn push(&self, packet: Packet) -> Option<Packet> {
        let mut packets = self.packets.lock().unwrap_or_else(PoisonError::into_inner);
        if packets.len() >= Self::LIMIT {
            return Some(packet);
        }
        packets.push_back(packet);
        None
    }

    /// Takes the first, unless it is longer than `most`.
    pub fn pop(&self, most: usize) -> Option<Packet> {
        let mut packets = self.packets.lock().unwrap_or_else(PoisonError::into_inner);
        packets.front().filter(|packet| packet.len() <= most)?;
        packets.pop_front()
    }
}
