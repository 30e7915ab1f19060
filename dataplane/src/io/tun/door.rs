//! What fuzz targets, tests and benches reach of splitting and joining: without a device. No interface for programs.

use super::coalesce::Run;
use super::split::Splitter;
use super::vnet::{self, VnetError, VnetHeader};
use crate::buffer::{Batch, Packet, Pool};

/// What a read of a TUN becomes: this header, then these octets.
pub fn split(header: &[u8; vnet::LEN], octets: &[u8]) -> Result<Vec<Packet>, VnetError> {
    let (mut splitter, mut pool) = (Splitter::new(), Pool::default());
    let room = splitter.room().packet_mut().get_mut(..octets.len());
    room.ok_or(VnetError::TooLong)?.copy_from_slice(octets);
    splitter.begin(&VnetHeader::parse(header), octets.len())?;
    Ok(std::iter::from_fn(|| splitter.next(&mut pool)).collect())
}

/// The first packets joined, if they can be: the header, the octets, and how many packets they were.
pub fn join(packets: &mut [Packet], udp: bool) -> Option<([u8; vnet::LEN], Vec<u8>, usize)> {
    let run = Run::of(packets, [true, udp])?;
    let (first, rest) = packets.get_mut(..run.count)?.split_first_mut()?;
    let flags = rest.last().and_then(|last| run.flags(last.octets()));
    let header = run.head(first.octets_mut(), flags)?;
    let mut whole = first.octets().to_vec();
    for packet in rest {
        whole.extend_from_slice(packet.octets().get(run.headers..)?);
    }
    Some((header.emit(), whole, run.count))
}

/// A splitter that is kept from read to read, as a queue keeps its own: for benches.
///
/// Concurrency: owned by one thread.
pub struct Split {
    splitter: Splitter,
    len: usize,
}

impl Split {
    /// One that has read these octets.
    pub fn of(octets: &[u8]) -> Result<Self, VnetError> {
        let mut splitter = Splitter::new();
        let room = splitter.room().packet_mut().get_mut(..octets.len());
        room.ok_or(VnetError::TooLong)?.copy_from_slice(octets);
        let len = octets.len();
        Ok(Self { splitter, len })
    }

    /// Adds what the octets become, with this header before them, to `batch`; as often as wanted for a super-packet.
    pub fn run(
        &mut self,
        header: &[u8; vnet::LEN],
        batch: &mut Batch,
        pool: &mut Pool,
    ) -> Result<(), VnetError> {
        self.splitter.begin(&VnetHeader::parse(header), self.len)?;
        while let Some(packet) = self.splitter.next(pool) {
            batch.push(packet);
        }
        Ok(())
    }
}

/// How many of the first packets would be one write: all of the work for it but the system call, for benches. The packets are
/// as before afterwards, as they are after a write that the kernel refused.
pub fn merge(packets: &mut [Packet], udp: bool) -> Option<usize> {
    let run = Run::of(packets, [true, udp])?;
    let (first, rest) = packets.get_mut(..run.count)?.split_first_mut()?;
    let flags = rest.last().and_then(|last| run.flags(last.octets()));
    let mut before = [0; 128];
    let kept = before.get_mut(..run.headers)?;
    kept.copy_from_slice(first.octets().get(..run.headers)?);
    run.head(first.octets_mut(), flags)?;
    first.octets_mut().get_mut(..run.headers)?.copy_from_slice(kept);
    Some(run.count)
}
