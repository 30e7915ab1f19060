//! Certificate and Certificate Request payloads (RFC 7296 3.6, 3.7).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Cert Encoding |                                               |
//! +-+-+-+-+-+-+-+-+                                               |
//! ~        Certificate Data, or Certification Authority           ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! Only the frame is read here; what is in it is for the rooms that know X.509.

use super::Body;
use crate::wire::malformed::Malformed;
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// How a certificate is encoded. Unknown ones are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateEncoding(pub u8);

impl CertificateEncoding {
    /// One X.509 certificate in DER.
    pub const X509_SIGNATURE: Self = Self(4);
    /// A certificate revocation list.
    pub const CRL: Self = Self(7);
    /// The hash and URL of an X.509 certificate.
    pub const HASH_AND_URL: Self = Self(12);
    /// The hash and URL of an X.509 bundle.
    pub const HASH_AND_URL_BUNDLE: Self = Self(13);
    /// An OCSP response; in a request: that one is wanted (RFC 4806).
    pub const OCSP_CONTENT: Self = Self(14);
    /// A raw public key (RFC 7670).
    pub const RAW_PUBLIC_KEY: Self = Self(15);
}

/// A certificate, not interpreted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its encoding.
    pub encoding: CertificateEncoding,
    /// Its octets.
    pub data: Vec<u8>,
}

/// A request for a certificate, not interpreted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateRequest {
    /// The encoding wanted.
    pub encoding: CertificateEncoding,
    /// SHA-1 hashes of the public keys of trusted authorities, one behind the other.
    pub authorities: Vec<u8>,
}

impl Body for Certificate {
    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let (encoding, data) = parse_encoded(body)?;
        Ok(Self { encoding, data })
    }

    fn emit(&self, out: &mut Writer) {
        out.u8(self.encoding.0);
        out.bytes(&self.data);
    }
}

impl Body for CertificateRequest {
    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let (encoding, authorities) = parse_encoded(body)?;
        Ok(Self {
            encoding,
            authorities,
        })
    }

    fn emit(&self, out: &mut Writer) {
        out.u8(self.encoding.0);
        out.bytes(&self.authorities);
    }
}

fn parse_encoded(body: &[u8]) -> Result<(CertificateEncoding, Vec<u8>), Malformed> {
    let mut reader = Reader::new(body);
    let encoding = CertificateEncoding(reader.u8("the certificate encoding")?);
    Ok((encoding, reader.rest().to_vec()))
}
