//! Packets, batches of them, and the pool they come from.
//!
//! A packet that leaves is one owned allocation with room before and after its octets, so that ESP is written around an inner
//! packet where it lies; one that was received is a part of the place where it landed. Packets travel from a queue's [`Pool`]
//! through [`Batch`]es and back; after warm-up nothing on the way of ordinary packets allocates.

mod backlog;
mod batch;
mod packet;
mod pool;

pub use backlog::Backlog;
pub use batch::Batch;
pub use packet::{HEADROOM, MAX_LEN, Meta, Packet, TAILROOM};
pub use pool::Pool;
