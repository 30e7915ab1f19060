//! Where packets wait between journeys.

use super::Packet;

/// A queue's spare packets.
///
/// Empty, it allocates; full, it frees: the number of packets in flight is bounded by the batches, so both happen at
/// start and after bursts of fragments only.
///
/// Concurrency: owned by one queue thread.
#[derive(Debug)]
pub struct Pool {
    spare: Vec<Packet>,
    keep: usize,
}

impl Pool {
    /// A pool that keeps up to `keep` spare packets. None is allocated yet.
    pub fn new(keep: usize) -> Self {
        Self {
            spare: Vec::with_capacity(keep),
            keep,
        }
    }

    /// An empty packet.
    pub fn take(&mut self) -> Packet {
        match self.spare.pop() {
            Some(mut packet) => {
                packet.reset();
                packet
            }
            None => Packet::new(),
        }
    }

    /// Back from its journey. One that only lay in a place where it landed frees it.
    pub fn give(&mut self, packet: Packet) {
        if self.spare.len() < self.keep && packet.owns_storage() {
            self.spare.push(packet);
        }
    }

    /// How many wait.
    pub fn spare(&self) -> usize {
        self.spare.len()
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self::new(4 * super::Batch::LIMIT)
    }
}
