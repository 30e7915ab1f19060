//! ESP (RFC 4303) between a multi-queue TUN and the network, in user space.
//!
//! One worker thread per queue runs every packet to completion: read, look up, seal or open in place, send.
//! Control publishes immutable tables; a packet never waits for control and control never waits for a packet.
//!
//! The rooms: [`queue`] runs [`pipeline`] between the [`io`] ports; the pipeline reads [`tables`] and works on the
//! [`buffer`]s with [`sa`], [`esp`] and [`ip`], which know nothing of sockets. [`control`] is the door for the caller.

#![deny(unsafe_code)]

pub mod api;
pub mod buffer;
pub mod control;
pub mod discard;
pub mod esp;
#[allow(unsafe_code, reason = "system calls; nothing else in the crate may")]
pub mod io;
pub mod ip;
pub mod pipeline;
pub mod queue;
pub mod sa;
pub mod stats;
pub mod tables;
pub mod tunnel;

pub use api::{
    AesKey, Aggregation, Command, Config, Encapsulation, InboundSpec, Integrity, Keys, Lane, Offloads,
    OutboundSpec, Pace, Path, Punted, Refused, SaUsage, Selector, Spi, Steering, Suite, Trap, TunnelId,
    TunnelSpec, Usage,
};
pub use control::{Control, Started};
pub use discard::Discard;
pub use stats::{Counter, Counts, QueueCounts, Stage, StageCounts};
