//! The xvpn program: every side effect on the host is in this crate.

pub mod admin;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod log;
pub mod testbed;
