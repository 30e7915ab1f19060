//! Key Exchange payload (RFC 7296 3.4).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |   Diffie-Hellman Group Num    |           RESERVED            |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                       Key Exchange Data                       ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use super::Body;
use crate::wire::malformed::{Fault, Malformed};
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// A public value. Whether its length and value suit the method is for the key exchange to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyExchange {
    /// The key exchange method: a transform ID of type 4.
    pub method: u16,
    /// The public value; never empty.
    pub data: Vec<u8>,
}

impl Body for KeyExchange {
    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let method = reader.u16("the key exchange method")?;
        reader.u16("RESERVED")?;
        if reader.is_empty() {
            return Err(reader.fault(Fault::Length {
                what: "key exchange data of length",
                length: 0,
            }));
        }
        Ok(Self {
            method,
            data: reader.rest().to_vec(),
        })
    }

    fn emit(&self, out: &mut Writer) {
        out.u16(self.method);
        out.reserved(2);
        out.bytes(&self.data);
    }
}
