//! How an SA that carries AGGFRAG payloads (RFC 9347) fills and sends them.

use std::time::Duration;

/// What leaves on an SA with AGGFRAG payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aggregation {
    /// The peer puts inner packets together again that were cut (RFC 9347 6.1.4, the D flag is clear).
    pub fragments: bool,
    /// The longest outer packet, in octets; `None`: what the path takes.
    pub size: Option<u16>,
    /// When a payload leaves.
    pub pace: Pace,
}

/// When a payload leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// With what is at hand. It is as long as what is in it.
    AtHand {
        /// How long a packet may wait for company; zero: not at all.
        delay: Duration,
    },
    /// So many in a second, whether there is something to carry or not, and all of one length: nobody sees when there is
    /// traffic, nor how much (RFC 9347 2.4.1).
    Constant {
        /// Payloads in a second; at least 1.
        per_second: u32,
    },
}
