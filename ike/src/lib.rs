//! IKEv2 (RFC 7296) as a pure state machine.
//!
//! [`Endpoint`] takes one [`api::Input`] at a time together with the current time, and answers with one ordered
//! list of [`api::Output`]s. It owns no clock, no socket, no thread and no source of randomness: the caller lends
//! all of them, so that a whole negotiation can be replayed from a seed.
#![forbid(unsafe_code)]

mod admission;
pub mod api;
pub mod auth;
pub mod config;
mod connection;
pub mod crypto;
pub mod endpoint;
pub mod error;
mod exchange;
pub mod message;
pub mod negotiate;
pub mod sa;
mod state;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod timers;
pub mod wire;

pub use endpoint::Endpoint;
