//! The TUN side of a queue: its queue of every tunnel's interface.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::coalesce::Run;
use super::split::Splitter;
use super::vnet::VnetHeader;
use super::{Spread, Steering, TunQueue};
use crate::api::{Refused, TunnelId};
use crate::buffer::{Batch, Packet, Pool};
use crate::discard::Discard;
use crate::io::fault::Fault;
use crate::io::refusals::Refusals;
use crate::io::{Port, Sent};
use crate::stats::QueueStats;

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
    /// Of whose interface.
    reading: TunnelId,
    /// Whose interface refused several packets of TCP or (true) UDP as one, and then took the first alone.
    refusals: Refusals<(TunnelId, bool)>,
    refused: Vec<Refused>,
    /// System calls made to read and to write.
    calls: [u64; 2],
    stats: Arc<QueueStats>,
}

impl TunPort {
    /// A port without interfaces.
    pub fn new(stats: Arc<QueueStats>) -> Self {
        Self {
            interfaces: HashMap::new(),
            ready: Vec::new(),
            splitter: Splitter::new(),
            reading: TunnelId(0),
            refusals: Refusals::default(),
            refused: Vec::new(),
            calls: [0; 2],
            stats,
        }
    }

    /// Adds the interface of a tunnel; replaces the one it had.
    pub fn insert(&mut self, tunnel: TunnelId, queue: TunQueue) {
        self.interfaces.insert(tunnel, queue);
    }

    /// Closes our queue of a tunnel's interface. Unknown: no effect.
    pub fn remove(&mut self, tunnel: TunnelId) {
        self.interfaces.remove(&tunnel);
        for udp in [false, true] {
            self.refusals.worked((tunnel, udp));
        }
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

    /// Reads one interface until it is empty or the batch is full. The last super-packet is taken whole, unless it is of very small
    /// segments.
    fn read_all(&mut self, tunnel: TunnelId, batch: &mut Batch, pool: &mut Pool) -> usize {
        let before = batch.len();
        let Some(queue) = self.interfaces.get(&tunnel) else {
            return 0;
        };
        let mut refused = 0;
        while batch.vacancy() > 0 && self.splitter.is_empty() {
            self.calls[0] += 1;
            let read = queue.read(self.splitter.room()).and_then(|(header, len)| {
                let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
                self.splitter.begin(&header, len).map_err(invalid)
            });
            match read {
                Ok(()) => {
                    refused = 0;
                    self.reading = tunnel;
                    split(&mut self.splitter, tunnel, batch, pool);
                }
                Err(error) => match Fault::of(&error) {
                    // One packet the kernel or the vnet header made unusable: the next may be good.
                    Fault::Rejected => {
                        refused += 1;
                        // Ours, and the kernel's EINVAL: a packet was taken. Other errors are about the interface.
                        if matches!(
                            error.kind(),
                            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
                        ) {
                            self.stats.discard(Discard::TunUnusable);
                        }
                        if refused == REFUSED_IN_A_ROW {
                            break;
                        }
                    }
                    Fault::Gone => {
                        // Someone deleted the interface. Closing our end keeps epoll from reporting it for ever.
                        self.interfaces.remove(&tunnel);
                        break;
                    }
                    Fault::WouldBlock
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

/// Makes packets of what was read last from a tunnel's interface.
fn split(splitter: &mut Splitter, tunnel: TunnelId, batch: &mut Batch, pool: &mut Pool) {
    while batch.len() < MOST_OF_ONE_READ
        && let Some(mut packet) = splitter.next(pool)
    {
        packet.meta.tunnel = tunnel;
        batch.push(packet);
    }
}

/// What of an interface writing needs; tests put in one that refuses.
trait Interface {
    /// Whether super-packets may be written: of TCP, of UDP.
    fn joins(&self) -> [bool; 2];

    fn write<'a>(&self, header: &VnetHeader, octets: impl Iterator<Item = &'a [u8]>) -> io::Result<()>;
}

impl Interface for TunQueue {
    fn joins(&self) -> [bool; 2] {
        [self.takes_segments(), self.takes_udp_segments()]
    }

    fn write<'a>(&self, header: &VnetHeader, octets: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
        self.write_parts(header, octets)
    }
}

/// What became of the first packets of a batch.
struct Written {
    count: usize,
    taken: bool,
    refused: Option<Refused>,
}

impl Written {
    /// One, and there is no interface for it.
    const LOST: Self = Self {
        count: 1,
        taken: false,
        refused: None,
    };
}

/// Writes the first packets of a batch, as one if they are a run.
fn write_first(
    queue: &impl Interface,
    packets: &mut [Packet],
    refusals: &mut Refusals<(TunnelId, bool)>,
) -> Written {
    let joins = queue.joins();
    let tunnel = packets.first().map_or(TunnelId(0), |packet| packet.meta.tunnel);
    let joins = if refusals.is_empty() {
        joins
    } else {
        let [tcp, udp] = joins;
        [
            tcp && refusals.allow((tunnel, false)),
            udp && refusals.allow((tunnel, true)),
        ]
    };
    if let Some(run) = Run::of(packets, joins)
        && let Some(packets) = packets.get_mut(..run.count)
    {
        let place = (tunnel, run.is_udp());
        let written = |count, taken| Written {
            count,
            taken,
            refused: None,
        };
        return match write_run(queue, packets, &run) {
            Ok(()) => {
                refusals.worked(place);
                written(run.count, true)
            }
            Err(error) if Fault::of(&error) == Fault::Rejected => {
                // An interface that is down refuses single packets, too.
                let alone = write_alone(queue, packets);
                let refused = (alone && refusals.refused(place)).then_some(Refused::Tun {
                    tunnel,
                    udp: run.is_udp(),
                });
                Written {
                    refused,
                    ..written(1, alone)
                }
            }
            Err(_) => written(run.count, false),
        };
    }
    Written {
        count: 1,
        taken: write_alone(queue, packets),
        refused: None,
    }
}

fn write_alone(queue: &impl Interface, packets: &[Packet]) -> bool {
    let alone = |packet: &Packet| queue.write(&VnetHeader::default(), std::iter::once(packet.octets()));
    packets.first().is_some_and(|packet| alone(packet).is_ok())
}

fn write_run(queue: &impl Interface, packets: &mut [Packet], run: &Run) -> io::Result<()> {
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
    let result = queue.write(&header, std::iter::once(first.octets()).chain(payloads));
    if result.is_err()
        && let Some(headers) = first.octets_mut().get_mut(..run.headers)
    {
        headers.copy_from_slice(kept);
    }
    result
}

impl Port for TunPort {
    fn recv(&mut self, batch: &mut Batch, pool: &mut Pool) -> io::Result<usize> {
        if !self.splitter.is_empty() {
            let before = batch.len();
            split(&mut self.splitter, self.reading, batch, pool);
            return Ok(batch.len() - before);
        }
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
            let Written {
                count,
                taken,
                refused,
            } = match self.interfaces.get(&first.meta.tunnel) {
                Some(queue) => write_first(queue, packets, &mut self.refusals),
                None => Written::LOST,
            };
            sent.packets += if taken { count } else { 0 };
            sent.lost += if taken { 0 } else { count };
            self.refused.extend(refused);
            packets = packets.get_mut(count..).unwrap_or_default();
        }
        batch.recycle(pool);
        sent
    }

    fn system_calls(&self) -> [u64; 2] {
        self.calls
    }

    fn take_refused(&mut self) -> Option<Refused> {
        self.refused.pop()
    }
}

const REFUSED_IN_A_ROW: usize = 8;
/// Packets that a batch has at most when it has taken a super-packet. As many as 64 KiB have with 256 octets of payload; with less,
/// as a peer may want it that asks for a tiny MSS, the rest waits for the next turn.
const MOST_OF_ONE_READ: usize = 4 * Batch::LIMIT;
/// IPv6 and TCP with all its options.
const LONGEST_HEADERS: usize = 100;

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::io::refusals::IN_A_ROW;
    use crate::io::tun::tests::{tcp_super, udp_run};

    /// An interface that takes single packets, and super-packets if told so.
    #[derive(Default)]
    struct Stubborn {
        joins: bool,
        written: RefCell<Vec<usize>>,
    }

    impl Interface for Stubborn {
        fn joins(&self) -> [bool; 2] {
            [true, true]
        }

        fn write<'a>(&self, header: &VnetHeader, octets: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
            if header.gso_type != 0 && !self.joins {
                return Err(io::Error::from_raw_os_error(libc::EINVAL));
            }
            self.written.borrow_mut().push(octets.map(<[u8]>::len).sum());
            Ok(())
        }
    }

    /// Writes a batch, and gives what was said of refusals.
    fn write(
        queue: &Stubborn,
        packets: &mut [Packet],
        refusals: &mut Refusals<(TunnelId, bool)>,
    ) -> Vec<Refused> {
        let mut said = Vec::new();
        let mut rest = packets;
        while !rest.is_empty() {
            let Written {
                count,
                taken,
                refused,
            } = write_first(queue, rest, refusals);
            assert!(taken);
            said.extend(refused);
            rest = &mut rest[count..];
        }
        said
    }

    #[test]
    fn what_is_refused_as_one_is_written_singly_unchanged_and_after_a_while_not_tried() {
        let mut refusals = Refusals::default();
        let queue = Stubborn::default();
        let mut packets = udp_run(20);
        let before: Vec<_> = packets.iter().map(|packet| packet.octets().to_vec()).collect();
        let said = write(&queue, &mut packets, &mut refusals);
        let refused = Refused::Tun {
            tunnel: TunnelId(0),
            udp: true,
        };
        assert_eq!(said, [refused], "said once, after {IN_A_ROW}");
        let lengths: Vec<_> = before.iter().map(Vec::len).collect();
        assert_eq!(*queue.written.borrow(), lengths);
        let after: Vec<_> = packets.iter().map(|packet| packet.octets().to_vec()).collect();
        assert_eq!(before, after);
        assert!(!refusals.allow((TunnelId(0), true)));
        // Another protocol and another interface are as they were.
        assert!(refusals.allow((TunnelId(0), false)) && refusals.allow((TunnelId(1), true)));
    }

    #[test]
    fn a_read_of_very_many_segments_is_taken_in_several_turns() {
        let (header, whole, segments) = tcp_super(60_000, 36);
        let mut port = TunPort::new(Arc::new(QueueStats::new()));
        port.reading = TunnelId(5);
        port.splitter.room().packet_mut()[..whole.len()].copy_from_slice(&whole);
        port.splitter.begin(&header, whole.len()).unwrap();
        let mut pool = Pool::default();
        let mut made = Vec::new();
        loop {
            let mut batch = Batch::default();
            let count = port.recv(&mut batch, &mut pool).unwrap();
            assert!(count <= MOST_OF_ONE_READ && count == batch.len());
            if count == 0 {
                break;
            }
            let packets = batch.drain();
            made.extend(packets.map(|packet| (packet.meta.tunnel, packet.octets().to_vec())));
        }
        assert!(segments.len() > 6 * MOST_OF_ONE_READ);
        let expected: Vec<_> = segments.into_iter().map(|octets| (TunnelId(5), octets)).collect();
        assert!(made == expected);
    }

    #[test]
    fn what_is_taken_as_one_is_one_write() {
        let queue = Stubborn {
            joins: true,
            ..Stubborn::default()
        };
        let mut packets = udp_run(20);
        assert!(write(&queue, &mut packets, &mut Refusals::default()).is_empty());
        assert_eq!(queue.written.borrow().len(), 1);
    }
}
