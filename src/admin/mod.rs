//! The control socket: the contract, the CLI's side of it and the daemon's.

pub mod api;
pub mod client;
pub mod keys;
pub mod metrics;
pub mod server;
pub mod socket;
