//! The daemon: the one loop, and every change to the host.

pub mod bridge;
pub mod connection;
mod cost;
pub mod crash;
pub mod crls;
pub mod demand;
mod events;
pub mod export;
pub mod fetch;
mod hints;
pub mod host;
pub mod lasting;
pub mod ledger;
pub mod mobility;
pub mod netlink;
mod offload;
pub mod plan;
pub mod privilege;
mod redirect;
mod requests;
pub mod route;
pub mod search;
pub mod sources;
mod start;
pub mod status;
pub mod supervisor;
pub mod systemd;
pub mod tcp;
pub mod tickets;
mod totals;
pub mod wireshark;
pub mod words;

pub use start::{DaemonError, run};
