//! TUN interfaces with several queues.

pub mod device;
pub mod port;
pub mod vnet;

pub use device::{OpenTun, TunError, TunQueue};
pub use port::TunPort;
