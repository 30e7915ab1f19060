//! Where packets enter and leave: TUN queues, UDP and raw sockets, and how a thread waits for them.
//!
//! The only place of the crate with `unsafe`; each block says why it is sound. Nothing here knows SAs or tables.

pub(crate) mod bpf;
pub mod esp_raw;
pub mod fault;
#[doc(hidden)]
pub mod landing;
mod memory;
pub mod poll;
mod refusals;
pub(crate) mod sys;
pub mod timer;
pub mod tun;
pub mod udp;
pub mod wire;

use std::io;

use crate::api::{Refused, TunnelId};
use crate::buffer::{Batch, Pool};

pub use memory::MemoryPort;

/// One side of a queue: a TUN, a UDP socket, a raw ESP socket, memory.
///
/// The TUN side carries IP packets with [`Meta::tunnel`](crate::buffer::Meta::tunnel) set. The wire side carries the
/// payload of UDP, or what follows the IP header without UDP, with `path` and `tos` set as received or to be sent.
pub trait Port {
    /// Adds packets to `batch` until nothing is there to be read or [`Batch::vacancy`] is used up. Never waits.
    ///
    /// Returns how many were added; 0 is "nothing there". An error means the port is lost, not a packet.
    fn recv(&mut self, batch: &mut Batch, pool: &mut Pool) -> io::Result<usize>;

    /// Takes all of `batch` and returns the packets to `pool`. Never waits: what cannot be sent now is lost and counted.
    fn send(&mut self, batch: &mut Batch, pool: &mut Pool) -> Sent;

    /// System calls made so far to receive, and to send.
    fn system_calls(&self) -> [u64; 2] {
        [0; 2]
    }

    /// An offload that the kernel refused so often that the port does without it for a while. Each is said once.
    fn take_refused(&mut self) -> Option<Refused> {
        None
    }
}

/// What became of a batch that was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Packets that left.
    pub packets: usize,
    /// Packets that did not.
    pub lost: usize,
    /// Of those, the ones that were longer than their path takes (EMSGSIZE).
    pub too_long: usize,
    /// What is known now about the path of the first of them.
    pub too_big: Option<TooBig>,
}

/// A path takes less than was thought: to be told to [`Tables::lower_path_mtu`](crate::tables::Tables::lower_path_mtu).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooBig {
    /// Whose path.
    pub tunnel: TunnelId,
    /// The longest outer IP packet it takes.
    pub path_mtu: u16,
}
