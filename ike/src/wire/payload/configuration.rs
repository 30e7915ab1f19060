//! Configuration payload (RFC 7296 3.15).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |   CFG Type    |                    RESERVED                   |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                   Configuration Attributes                    ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! Only the frame is read: a gateway between sites assigns no addresses and asks for none.

use super::Body;
use crate::wire::malformed::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// What a configuration payload is. Unknown ones are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigurationType(pub u8);

impl ConfigurationType {
    /// CFG_REQUEST.
    pub const REQUEST: Self = Self(1);
    /// CFG_REPLY.
    pub const REPLY: Self = Self(2);
    /// CFG_SET.
    pub const SET: Self = Self(3);
    /// CFG_ACK.
    pub const ACK: Self = Self(4);
}

/// Configuration, not interpreted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// A question, an answer, an order.
    pub kind: ConfigurationType,
    /// The attributes as octets.
    pub attributes: Vec<u8>,
}

impl Body for Configuration {
    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let kind = ConfigurationType(reader.u8("the configuration type")?);
        reader.array::<3>("RESERVED")?;
        Ok(Self {
            kind,
            attributes: reader.rest().to_vec(),
        })
    }

    fn emit(&self, out: &mut Writer) {
        out.u8(self.kind.0);
        out.reserved(3);
        out.bytes(&self.attributes);
    }
}
