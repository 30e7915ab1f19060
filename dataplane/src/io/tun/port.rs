//! The TUN side of a queue: its queue of every tunnel's interface.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::TunQueue;
use crate::api::TunnelId;
use crate::buffer::{Batch, Packet, Pool};
use crate::io::fault::Fault;
use crate::io::{Port, Sent};

/// One queue of each tunnel's TUN, as one port.
///
/// [`mark_ready`](Self::mark_ready) says which has something to read; each that is marked is read once per mark, so that a
/// busy tunnel cannot starve a quiet one.
///
/// Concurrency: owned by one queue thread.
#[derive(Debug, Default)]
pub struct TunPort {
    interfaces: HashMap<TunnelId, TunQueue>,
    ready: Vec<TunnelId>,
    /// A packet taken from the pool for a read that found nothing; used by the next read.
    spare: Option<Packet>,
}

impl TunPort {
    /// A port without interfaces.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the interface of a tunnel; replaces the one it had.
    pub fn insert(&mut self, tunnel: TunnelId, queue: TunQueue) {
        self.interfaces.insert(tunnel, queue);
    }

    /// Closes our queue of a tunnel's interface. Unknown: no effect.
    pub fn remove(&mut self, tunnel: TunnelId) {
        self.interfaces.remove(&tunnel);
        self.ready.retain(|ready| *ready != tunnel);
    }

    /// What to wait for to read from a tunnel's interface.
    pub fn descriptor(&self, tunnel: TunnelId) -> Option<BorrowedFd<'_>> {
        self.interfaces.get(&tunnel).map(AsFd::as_fd)
    }

    /// Something can be read from this tunnel's interface.
    pub fn mark_ready(&mut self, tunnel: TunnelId) {
        self.ready.push(tunnel);
    }

    /// Reads one interface until it is empty or the batch is full.
    fn read_all(&mut self, tunnel: TunnelId, batch: &mut Batch, pool: &mut Pool) -> usize {
        let mut count = 0;
        let Some(queue) = self.interfaces.get(&tunnel) else {
            return 0;
        };
        let mut refused = 0;
        while batch.vacancy() > 0 {
            let mut packet = self.spare.take().unwrap_or_else(|| pool.take());
            match queue.read(packet.room()) {
                Ok(len) => {
                    packet.commit(len);
                    packet.meta.tunnel = tunnel;
                    batch.push(packet);
                    count += 1;
                    continue;
                }
                Err(error) => {
                    self.spare = Some(packet);
                    match Fault::of(&error) {
                        // One packet the kernel or the vnet header made unusable: the next may be good.
                        Fault::Rejected if refused < REFUSED_IN_A_ROW => refused += 1,
                        Fault::Gone => {
                            // Someone deleted the interface. Closing our end keeps epoll from reporting it for ever.
                            self.interfaces.remove(&tunnel);
                            break;
                        }
                        Fault::WouldBlock
                        | Fault::Rejected
                        | Fault::TooBig
                        | Fault::Unreachable
                        | Fault::Refused
                        | Fault::NoBuffers
                        | Fault::Forbidden => break,
                    }
                }
            }
        }
        count
    }
}

impl Port for TunPort {
    fn recv(&mut self, batch: &mut Batch, pool: &mut Pool) -> io::Result<usize> {
        while let Some(tunnel) = self.ready.pop() {
            let count = self.read_all(tunnel, batch, pool);
            if count > 0 {
                return Ok(count);
            }
        }
        Ok(0)
    }

    fn send(&mut self, batch: &mut Batch, pool: &mut Pool) -> Sent {
        let mut sent = Sent::default();
        for packet in batch.drain() {
            let written = self
                .interfaces
                .get(&packet.meta.tunnel)
                .is_some_and(|tun| tun.write(packet.octets()).is_ok());
            sent.packets += usize::from(written);
            sent.lost += usize::from(!written);
            pool.give(packet);
        }
        sent
    }
}

const REFUSED_IN_A_ROW: usize = 8;
