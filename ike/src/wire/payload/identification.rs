//! Identification payloads, IDi and IDr (RFC 7296 3.5).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |   ID Type     |                 RESERVED                      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                   Identification Data                         ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! AUTH covers the body, RESERVED included (RFC 7296 2.15: RestOfIDPayload), so the three octets are kept here
//! although they mean nothing: a peer that does not send zeros is still understood.

use super::Body;
use crate::wire::malformed::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// Who somebody says to be, not yet interpreted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identification {
    /// What kind of name it is.
    pub kind: IdType,
    /// As received; zero when we send.
    pub reserved: [u8; 3],
    /// The name.
    pub data: Vec<u8>,
}

/// What kind of name an identity is. Unknown ones are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdType(pub u8);

impl IdType {
    /// Four octets.
    pub const IPV4_ADDR: Self = Self(1);
    /// A domain name, not terminated.
    pub const FQDN: Self = Self(2);
    /// A mail address, not terminated.
    pub const RFC822_ADDR: Self = Self(3);
    /// Sixteen octets.
    pub const IPV6_ADDR: Self = Self(5);
    /// A distinguished name in DER.
    pub const DER_ASN1_DN: Self = Self(9);
    /// A general name in DER.
    pub const DER_ASN1_GN: Self = Self(10);
    /// Octets that mean something to the peers only.
    pub const KEY_ID: Self = Self(11);
    /// No identity (RFC 7619).
    pub const NULL: Self = Self(13);
}

impl Identification {
    /// An identity of ours.
    pub fn new(kind: IdType, data: Vec<u8>) -> Self {
        Self {
            kind,
            reserved: [0; 3],
            data,
        }
    }
}

impl Body for Identification {
    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let kind = IdType(reader.u8("the ID type")?);
        let reserved = reader.array("RESERVED")?;
        Ok(Self {
            kind,
            reserved,
            data: reader.rest().to_vec(),
        })
    }

    fn emit(&self, out: &mut Writer) {
        out.u8(self.kind.0);
        out.bytes(&self.reserved);
        out.bytes(&self.data);
    }
}
