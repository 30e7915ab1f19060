//! TUN interfaces with several queues.

pub mod device;
pub mod vnet;

pub use device::{OpenTun, TunError, TunQueue};
