//! Nonce payload (RFC 7296 3.9).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                            Nonce Data                         ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use super::Body;
use crate::wire::malformed::{Fault, Malformed};
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// Random octets that make an exchange fresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce(pub Vec<u8>);

impl Nonce {
    /// The shortest nonce.
    pub const MIN: usize = 16;
    /// The longest nonce.
    pub const MAX: usize = 256;
}

impl Body for Nonce {
    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        // RFC 7296 3.9: between 16 and 256 octets, inclusive.
        if (Self::MIN..=Self::MAX).contains(&body.len()) {
            Ok(Self(body.to_vec()))
        } else {
            Err(Reader::new(body).fault(Fault::Length {
                what: "a nonce of length",
                length: body.len(),
            }))
        }
    }

    fn emit(&self, out: &mut Writer) {
        out.bytes(&self.0);
    }
}
