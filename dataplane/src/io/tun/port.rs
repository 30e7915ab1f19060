//! The TUN side of a queue: its queue of every tunnel's interface.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::coalesce::Run;
use super::split::Splitter;
use super::{Spread, Steering, TunQueue};
use crate::api::{Offload, TunnelId};
use crate::buffer::{Batch, Packet, Pool};
use crate::io::fault::Fault;
use crate::io::{Port, Sent};

/// One queue of each tunnel's TUN, as one port.
///
/// [`mark_ready`](Self::mark_ready) says which has something to read; each that is marked is read once per mark, so that a
/// busy tunnel cannot starve a quiet one.
///
/// Concurrency: owned by one queue thread.
pub struct TunPort {
    interfaces: HashMap<TunnelId, TunQueue>,
    ready: Vec<TunnelId>,
    /// The last read.
    splitter: Splitter,
    /// How often the kernel has refused several packets as one and then taken the first alone.
    refusals: u32,
    /// System calls made to read and to write.
    calls: [u64; 2],
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

    /// Has the kernel spread the packets of a tunnel so. Unknown: no effect. An error leaves it as it was.
    pub fn steer(&self, tunnel: TunnelId, steering: &Steering, spread: Spread) -> io::Result<()> {
        match self.interfaces.get(&tunnel) {
            Some(queue) => queue.steer(steering, spread),
            None => Ok(()),
        }
    }

    /// Something can be read from this tunnel's interface.
    pub fn mark_ready(&mut self, tunnel: TunnelId) {
        self.ready.push(tunnel);
    }

    /// Reads one interface until it is empty or the batch is full. The last super-packet is taken whole.
    fn read_all(&mut self, tunnel: TunnelId, batch: &mut Batch, pool: &mut Pool) -> usize {
        let before = batch.len();
        let Some(queue) = self.interfaces.get(&tunnel) else {
            return 0;
        };
        let mut refused = 0;
        while batch.vacancy() > 0 {
            self.calls[0] += 1;
            let read = queue.read(self.splitter.room()).and_then(|(header, len)| {
                let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
                self.splitter.begin(&header, len).map_err(invalid)
            });
            match read {
                Ok(()) => {
                    while let Some(mut packet) = self.splitter.next(pool) {
                        packet.meta.tunnel = tunnel;
                        batch.push(packet);
                    }
                }
                Err(error) => match Fault::of(&error) {
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
                },
            }
        }
        batch.len() - before
    }
}

/// Writes the first packets of a batch, as one if they are a run. Returns how many they were, and whether they were taken.
fn write_first(queue: &TunQueue, packets: &mut [Packet], refusals: &mut u32) -> (usize, bool) {
    let join = *refusals < REFUSALS && queue.takes_segments();
    if let Some(run) = join
        .then(|| Run::of(packets, queue.takes_udp_segments()))
        .flatten()
        && let Some(packets) = packets.get_mut(..run.count)
    {
        match write_run(queue, packets, &run) {
            Ok(()) => return (run.count, true),
            Err(error) if Fault::of(&error) == Fault::Rejected => {
                // An interface that is down refuses single packets, too.
                let alone = packets
                    .first()
                    .is_some_and(|packet| queue.write(packet.octets()).is_ok());
                *refusals += u32::from(alone);
                return (1, alone);
            }
            Err(_) => return (run.count, false),
        }
    }
    (
        1,
        packets
            .first()
            .is_some_and(|packet| queue.write(packet.octets()).is_ok()),
    )
}

fn write_run(queue: &TunQueue, packets: &mut [Packet], run: &Run) -> io::Result<()> {
    let flags = packets.last().and_then(|last| run.flags(last.octets()));
    let (first, rest) = packets.split_first_mut().ok_or(io::ErrorKind::InvalidInput)?;
    let mut before = [0; LONGEST_HEADERS];
    let (kept, _) = before
        .split_at_mut_checked(run.headers)
        .ok_or(io::ErrorKind::InvalidInput)?;
    let octets = first.octets_mut();
    kept.copy_from_slice(octets.get(..run.headers).ok_or(io::ErrorKind::InvalidInput)?);
    let header = run.head(octets, flags).ok_or(io::ErrorKind::InvalidInput)?;
    let payloads = rest
        .iter()
        .filter_map(|packet| packet.octets().get(run.headers..));
    let result = queue.write_parts(&header, std::iter::once(first.octets()).chain(payloads));
    if result.is_err()
        && let Some(headers) = first.octets_mut().get_mut(..run.headers)
    {
        headers.copy_from_slice(kept);
    }
    result
}

impl Default for TunPort {
    fn default() -> Self {
        Self {
            interfaces: HashMap::new(),
            ready: Vec::new(),
            splitter: Splitter::new(),
            refusals: 0,
            calls: [0; 2],
        }
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
        let mut packets = batch.packets_mut();
        while let Some(first) = packets.first() {
            self.calls[1] += 1;
            let (count, written) = match self.interfaces.get(&first.meta.tunnel) {
                Some(queue) => write_first(queue, packets, &mut self.refusals),
                None => (1, false),
            };
            sent.packets += if written { count } else { 0 };
            sent.lost += if written { 0 } else { count };
            packets = packets.get_mut(count..).unwrap_or_default();
        }
        batch.recycle(pool);
        sent
    }

    fn system_calls(&self) -> [u64; 2] {
        self.calls
    }

    fn take_refused(&mut self) -> Option<Offload> {
        let refused = self.refusals == REFUSALS;
        // One more, so that it is said once.
        self.refusals += u32::from(refused);
        refused.then_some(Offload::Tun)
    }
}

const REFUSED_IN_A_ROW: usize = 8;
/// Refused super-packets after which no more are made: a kernel that takes some takes all.
const REFUSALS: u32 = 8;
/// IPv6 and TCP with all its options.
const LONGEST_HEADERS: usize = 100;
