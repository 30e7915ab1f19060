//! Which protocol an SA, an SPI or a notify is of (RFC 7296 3.3.1).

use std::fmt;

/// A Security Protocol Identifier. Unknown ones are kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProtocolId(pub u8);

impl ProtocolId {
    /// No protocol: in a notify without an SPI.
    pub const NONE: Self = Self(0);
    /// The IKE SA.
    pub const IKE: Self = Self(1);
    /// Authentication Header; never negotiated here.
    pub const AH: Self = Self(2);
    /// Encapsulating Security Payload.
    pub const ESP: Self = Self(3);
}

impl fmt::Debug for ProtocolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ProtocolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NONE => f.write_str("no protocol"),
            Self::IKE => f.write_str("IKE"),
            Self::AH => f.write_str("AH"),
            Self::ESP => f.write_str("ESP"),
            Self(other) => write!(f, "protocol {other}"),
        }
    }
}
