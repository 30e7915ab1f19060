//! A port in memory, for tests and benches.

use std::collections::VecDeque;
use std::io;

use super::{Port, Sent};
use crate::buffer::{Batch, Packet, Pool};

/// A port that receives what a test put in and keeps what was sent.
#[derive(Debug, Default)]
pub struct MemoryPort {
    /// To be received, first to last.
    pub arriving: VecDeque<Packet>,
    /// What was sent, first to last.
    pub sent: Vec<Packet>,
    /// Packets of the longest batch that was sent.
    pub longest: usize,
}

impl Port for MemoryPort {
    fn recv(&mut self, batch: &mut Batch, _pool: &mut Pool) -> io::Result<usize> {
        let count = batch.vacancy().min(self.arriving.len());
        for packet in self.arriving.drain(..count) {
            batch.push(packet);
        }
        Ok(count)
    }

    fn send(&mut self, batch: &mut Batch, _pool: &mut Pool) -> Sent {
        let packets = batch.len();
        self.longest = self.longest.max(packets);
        self.sent.extend(batch.drain());
        Sent {
            packets,
            ..Sent::default()
        }
    }
}
