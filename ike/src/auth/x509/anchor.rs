//! Trust anchors: the authorities that the operator trusts.

use std::fmt;

use rustls_pki_types::{CertificateDer, TrustAnchor};
use webpki::anchor_from_trusted_cert;

use super::error::Moment;
use super::leaf::{Leaf, LeafError};

/// An authority.
#[derive(Clone)]
pub struct Anchor {
    leaf: Leaf,
    trusted: TrustAnchor<'static>,
    fingerprint: [u8; 20],
}

/// Octets are not the certificate of an authority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    /// They do not parse, or the key is of no use.
    #[error(transparent)]
    Certificate(#[from] LeafError),
    /// An extension is in the way.
    #[error("it cannot be trusted: {0}")]
    Unusable(String),
}

impl Anchor {
    /// Takes the certificate of an authority in DER. What is named here is trusted, whoever signed it.
    pub fn from_der(der: &[u8]) -> Result<Self, AnchorError> {
        let leaf = Leaf::from_der(der)?;
        let certificate = CertificateDer::from(der);
        let trusted = anchor_from_trusted_cert(&certificate)
            .map_err(|error| AnchorError::Unusable(error.to_string()))?
            .to_owned();
        Ok(Self {
            fingerprint: leaf.key().fingerprint(),
            leaf,
            trusted,
        })
    }

    /// The SHA-1 hash of its key, by which CERTREQ names it (RFC 7296 3.7).
    pub fn fingerprint(&self) -> [u8; 20] {
        self.fingerprint
    }

    /// What its certificate says.
    pub fn certificate(&self) -> &Leaf {
        &self.leaf
    }

    /// Its last second.
    pub fn not_after(&self) -> Moment {
        self.leaf.validity().1
    }

    pub(super) fn trusted(&self) -> &TrustAnchor<'static> {
        &self.trusted
    }
}

impl fmt::Debug for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Anchor({})", self.leaf.subject())
    }
}
