//! Packets that wait for their turn.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::Packet;

/// What waits to leave at a constant rate, first come, first served.
///
/// Concurrency: a lock. Every packet of a tunnel that is paced comes to its home queue, which empties it, so that nobody waits; where the
/// kernel does not steer, the others put theirs in, too.
#[derive(Debug, Default)]
pub struct Backlog(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    packets: VecDeque<Packet>,
    octets: usize,
}

impl Backlog {
    /// So many packets wait at most.
    pub const LIMIT: usize = 256;

    /// Adds one at the end; gives it back if there are [`LIMIT`](Self::LIMIT), or `octets` with it. One alone always may wait.
    pub fn push(&self, packet: Packet, octets: usize) -> Option<Packet> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = waiting.octets.saturating_add(packet.len());
        if waiting.packets.len() >= Self::LIMIT || (sum > octets && !waiting.packets.is_empty()) {
            return Some(packet);
        }
        waiting.octets = sum;
        waiting.packets.push_back(packet);
        None
    }

    /// Takes the first, unless it is longer than `most`.
    pub fn pop(&self, most: usize) -> Option<Packet> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.packets.front().filter(|packet| packet.len() <= most)?;
        let packet = waiting.packets.pop_front()?;
        waiting.octets = waiting.octets.saturating_sub(packet.len());
        Some(packet)
    }
}
