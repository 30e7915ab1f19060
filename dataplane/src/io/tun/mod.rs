//! TUN interfaces with several queues.

mod coalesce;
pub mod device;
#[doc(hidden)]
pub mod door;
pub mod port;
mod room;
mod split;
mod steer;
pub mod vnet;

pub use device::{OpenTun, TunError, TunQueue};
pub use port::TunPort;
pub use room::Room;
pub use steer::{Spread, Steering};

#[cfg(test)]
mod tests;
