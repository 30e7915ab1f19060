//! What fuzz targets and tests reach of splitting and joining: whole, without a device. No interface for programs.

use super::coalesce::Run;
use super::split::Splitter;
use super::vnet::{self, VnetError, VnetHeader};
use crate::buffer::{Packet, Pool};

/// What a read of a TUN becomes: this header, then these octets.
pub fn split(header: &[u8; vnet::LEN], octets: &[u8]) -> Result<Vec<Packet>, VnetError> {
    let (mut splitter, mut pool) = (Splitter::new(), Pool::default());
    let room = splitter.room().get_mut(..octets.len());
    room.ok_or(VnetError::TooLong)?.copy_from_slice(octets);
    splitter.begin(&VnetHeader::parse(header), octets.len())?;
    Ok(std::iter::from_fn(|| splitter.next(&mut pool)).collect())
}

/// The first packets joined, if they can be: the header, the octets, and how many packets they were.
pub fn join(packets: &mut [Packet], udp: bool) -> Option<([u8; vnet::LEN], Vec<u8>, usize)> {
    let run = Run::of(packets, udp)?;
    let (first, rest) = packets.get_mut(..run.count)?.split_first_mut()?;
    let flags = rest.last().and_then(|last| run.flags(last.octets()));
    let header = run.head(first.octets_mut(), flags)?;
    let mut whole = first.octets().to_vec();
    for packet in rest {
        whole.extend_from_slice(packet.octets().get(run.headers..)?);
    }
    Some((header.emit(), whole, run.count))
}
