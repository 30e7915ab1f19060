//! ESP (RFC 4303) between a multi-queue TUN and the network, in user space.
//!
//! One worker thread per queue runs every packet to completion: read, look up, seal or open in place, send.
//! Control publishes immutable tables; a packet never waits for control and control never waits for a packet.

pub mod api;
pub mod io;
pub mod queue;
