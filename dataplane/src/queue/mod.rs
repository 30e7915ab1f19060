//! One thread per queue, and what it hands up to control.

pub mod affinity;
pub mod punt;
pub mod worker;

pub use punt::PuntReceiver;
pub use worker::Workers;
