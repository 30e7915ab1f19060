//! One thread per queue, and what it hands up to control.

pub mod affinity;
pub mod punt;
