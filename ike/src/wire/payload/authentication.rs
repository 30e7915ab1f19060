//! Authentication payload (RFC 7296 3.8).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Auth Method   |                RESERVED                       |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                      Authentication Data                      ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use super::Body;
use crate::wire::malformed::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// The proof of an identity, not yet verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    /// How it was made.
    pub method: AuthMethod,
    /// The proof.
    pub data: Vec<u8>,
}

/// How an identity is proven. Unknown ones are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthMethod(pub u8);

impl AuthMethod {
    /// RSASSA-PKCS1-v1_5.
    pub const RSA: Self = Self(1);
    /// Shared key message integrity code: a pre-shared key.
    pub const PSK: Self = Self(2);
    /// ECDSA with SHA-256 on P-256 (RFC 4754).
    pub const ECDSA_256: Self = Self(9);
    /// ECDSA with SHA-384 on P-384 (RFC 4754).
    pub const ECDSA_384: Self = Self(10);
    /// ECDSA with SHA-512 on P-521 (RFC 4754).
    pub const ECDSA_521: Self = Self(11);
    /// None (RFC 7619).
    pub const NULL: Self = Self(13);
    /// A signature that names its algorithm (RFC 7427).
    pub const DIGITAL_SIGNATURE: Self = Self(14);
}

impl Body for Authentication {
    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let method = AuthMethod(reader.u8("the auth method")?);
        reader.array::<3>("RESERVED")?;
        Ok(Self {
            method,
            data: reader.rest().to_vec(),
        })
    }

    fn emit(&self, out: &mut Writer) {
        out.u8(self.method.0);
        out.reserved(3);
        out.bytes(&self.data);
    }
}
