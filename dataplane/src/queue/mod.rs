//! One thread per queue, and what it hands up to control.

pub mod punt;
mod start;
mod turn;
mod worker;

pub use crate::io::udp::IkeSocket;
pub use punt::{PuntReceiver, PuntSender};
pub use start::{Beside, Workers};
pub use turn::Queue;
