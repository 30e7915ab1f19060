//! IKEv2 (RFC 7296) as a pure state machine.
//!
//! [`Endpoint`] takes one [`Input`] at a time together with the current time, and answers with one ordered
//! list of [`Output`]s. It owns no clock, no socket, no thread and no source of randomness: the caller lends
//! all of them, so that a whole negotiation can be replayed from a seed.
#![forbid(unsafe_code)]

pub mod api;
pub mod auth;
pub mod config;
pub mod crypto;
pub mod endpoint;
pub mod error;
pub mod message;
pub mod negotiate;
pub mod sa;
pub mod wire;

pub use endpoint::Endpoint;
