//! The daemon: the one loop, and every change to the host.

pub mod host;
pub mod ledger;
pub mod netlink;
pub mod plan;
pub mod privilege;
pub mod systemd;
