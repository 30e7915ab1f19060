//! Vendor ID payload (RFC 7296 3.12).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                        Vendor ID (VID)                        ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use super::Body;
use crate::wire::malformed::Malformed;
use crate::wire::writer::Writer;

/// What an implementation says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VendorId(pub Vec<u8>);

impl Body for VendorId {
    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        Ok(Self(body.to_vec()))
    }

    fn emit(&self, out: &mut Writer) {
        out.bytes(&self.0);
    }
}
