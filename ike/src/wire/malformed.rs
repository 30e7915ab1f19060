//! What is wrong with the octets of a peer.

use std::fmt;

use super::chain::PayloadType;
use super::payload::notify::{Notify, NotifyType};

/// Octets that are no IKE message, with the place where they stop being one.
///
/// `Display` is meant for an operator: what was read, where, and what was wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong.
    pub fault: Fault,
    /// The payload it is wrong in; `None` for the header, the chain or the message as a whole.
    pub payload: Option<PayloadType>,
    /// Octets from the start of the message (for what was encrypted: of the plaintext) to the fault.
    pub offset: usize,
}

/// The kinds of wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A field needs more octets than are left.
    Truncated {
        /// The field.
        what: &'static str,
        /// Octets it needs.
        need: usize,
        /// Octets that are left.
        have: usize,
    },
    /// Octets are left where everything was read.
    Trailing {
        /// What they follow.
        what: &'static str,
        /// How many are left.
        octets: usize,
    },
    /// A length or count field contradicts what it measures.
    Length {
        /// The field.
        what: &'static str,
        /// Its value.
        length: usize,
    },
    /// A field has a value it must not have.
    Value {
        /// The field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// More of something than this implementation is willing to read.
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The major version is not 2 (RFC 7296 2.5).
    MajorVersion(u8),
    /// A payload of unknown type has the critical bit set (RFC 7296 2.5).
    UnsupportedCritical(PayloadType),
    /// A payload that the exchange requires is not there.
    Missing(PayloadType),
    /// A payload that may come once came twice.
    Duplicate(PayloadType),
}

impl Malformed {
    /// A fault at an offset, outside any payload.
    pub fn new(fault: Fault, offset: usize) -> Self {
        Self {
            fault,
            payload: None,
            offset,
        }
    }

    /// A payload that the exchange requires is not there.
    pub fn missing(payload: PayloadType) -> Self {
        Self::new(Fault::Missing(payload), 0)
    }

    /// The same fault, now known to be in a payload whose body starts at `start`.
    #[must_use]
    pub fn within(self, payload: PayloadType, start: usize) -> Self {
        Self {
            fault: self.fault,
            payload: Some(payload),
            offset: self.offset.saturating_add(start),
        }
    }

    /// The error notify that answers a request with this fault, where answering is allowed at all (RFC 7296 2.21).
    pub fn answer(&self) -> Notify {
        match self.fault {
            // RFC 7296 2.5: the data is the one-octet payload type.
            Fault::UnsupportedCritical(kind) => {
                Notify::with_data(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, vec![kind.0])
            }
            // RFC 7296 2.5: the data may be empty; the header of the answer tells our version.
            Fault::MajorVersion(_) => Notify::new(NotifyType::INVALID_MAJOR_VERSION),
            Fault::Truncated { .. }
            | Fault::Trailing { .. }
            | Fault::Length { .. }
            | Fault::Value { .. }
            | Fault::TooMany { .. }
            | Fault::Missing(_)
            | Fault::Duplicate(_) => Notify::new(NotifyType::INVALID_SYNTAX),
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.fault)?;
        match (&self.fault, self.payload) {
            (Fault::Missing(_), _) => Ok(()),
            (_, Some(payload)) => write!(f, " (in the {payload} payload, octet {})", self.offset),
            (_, None) => write!(f, " (octet {})", self.offset),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { what, need, have } => {
                write!(f, "{what} is cut off: needs {need} octets, {have} are left")
            }
            Self::Trailing { what, octets } => write!(f, "{octets} octets follow the end of the {what}"),
            Self::Length { what, length } => write!(f, "{what} {length} does not fit"),
            Self::Value { what, value } => write!(f, "{what} must not be {value}"),
            Self::TooMany { what, limit } => write!(f, "more than {limit} {what}"),
            Self::MajorVersion(1) => f.write_str("the peer speaks IKE version 1, not IKEv2"),
            Self::MajorVersion(major) => write!(f, "the peer speaks IKE version {major}, not IKEv2"),
            Self::UnsupportedCritical(kind) => write!(f, "payload type {} is critical but unknown", kind.0),
            Self::Missing(kind) => write!(f, "the {kind} payload is missing"),
            Self::Duplicate(kind) => write!(f, "there is more than one {kind} payload"),
        }
    }
}

impl std::error::Error for Malformed {}
