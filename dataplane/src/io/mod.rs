//! Where packets enter and leave: TUN queues, UDP and raw sockets, and how a thread waits for them.
//!
//! The only place of the crate with `unsafe`; each block says why it is sound. Nothing here knows SAs or tables.

pub mod esp_raw;
pub mod fault;
pub mod poll;
pub(crate) mod sys;
pub mod tun;
pub mod udp;
