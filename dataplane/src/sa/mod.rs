//! Security associations (RFC 4301 4.1): what is constant for one direction of one CHILD SA, and its counters.

mod aead;
pub mod backend;
mod departure;
mod gcm;
mod inbound;
mod legacy;
mod outbound;
mod replay;
mod sequence;

use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

use crate::api::Selector;

pub use departure::Departure;
pub use inbound::{InboundSa, Opened};
pub use outbound::OutboundSa;
pub use replay::{Refusal, ReplayWindow};
pub use sequence::{Sequence, SequenceBlock};

/// The key material of a spec does not have the length its suite needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the keys do not fit the algorithms")]
pub struct BadKeys;

/// The traffic selectors of an SA: ours and the peer's side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selectors {
    /// The networks behind us.
    pub local: Vec<Selector>,
    /// The networks behind the peer.
    pub remote: Vec<Selector>,
}

/// Octets and packets of one SA since installation.
///
/// Concurrency: relaxed atomics, written by all queues, read by control about once a second. Aligned to keep the
/// writes away from the SA's constant data; to two cache lines, because processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct UsageCounter {
    bytes: AtomicU64,
    packets: AtomicU64,
}

impl UsageCounter {
    /// Counts packets with the sum of their inner octets.
    pub fn add(&self, packets: u64, bytes: u64) {
        self.packets.fetch_add(packets, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Octets and packets.
    pub fn read(&self) -> (u64, u64) {
        (
            self.bytes.load(Ordering::Relaxed),
            self.packets.load(Ordering::Relaxed),
        )
    }
}
