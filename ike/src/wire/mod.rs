//! Octets to payloads and back (RFC 7296 3).
//!
//! The lowest of the three levels of a message: octets, typed payloads (here), typed messages (`crate::message`).
//! Every parser in this room is total: it never panics, its loops and its memory are bounded by constants, and
//! what it refuses it names ([`Malformed`]). Nothing here decides policy: unknown transforms, selectors,
//! identities and notifies are kept as they came, so that the rooms above can.

pub mod chain;
pub mod fragment;
pub mod header;
pub mod malformed;
pub mod payload;
pub mod reader;
pub mod sealed;
pub mod writer;

pub use chain::{Chain, Payload, PayloadType, Payloads};
pub use header::{ExchangeType, Flags, Header, IkeSpi, MessageId};
pub use malformed::{Fault, Malformed};
pub use payload::Body;
pub use reader::Reader;
pub use sealed::{NotAuthentic, OpenError, Opened, Plain, Protect};
pub use writer::Writer;
