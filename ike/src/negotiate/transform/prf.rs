//! The PRFs we speak, one row each.

use super::{TransformId, TransformType};

/// Pseudorandom functions (transform type 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Prf {
    /// PRF_HMAC_SHA1 (RFC 2104).
    HmacSha1,
    /// PRF_HMAC_SHA2_256 (RFC 4868).
    HmacSha2_256,
    /// PRF_HMAC_SHA2_384 (RFC 4868).
    HmacSha2_384,
    /// PRF_HMAC_SHA2_512 (RFC 4868).
    HmacSha2_512,
}

struct PrfRow {
    id: u16,
    output_len: usize,
    names: &'static [&'static str],
}

impl Prf {
    /// Every row of the registry.
    pub const ALL: [Self; 4] = [
        Self::HmacSha2_256,
        Self::HmacSha2_384,
        Self::HmacSha2_512,
        Self::HmacSha1,
    ];

    const fn row(self) -> PrfRow {
        match self {
            Self::HmacSha1 => PrfRow {
                id: 2,
                output_len: 20,
                names: &["prfsha1", "prfsha", "prf_hmac_sha1"],
            },
            Self::HmacSha2_256 => PrfRow {
                id: 5,
                output_len: 32,
                names: &["prfsha256", "prfsha2_256", "prf_hmac_sha2_256"],
            },
            Self::HmacSha2_384 => PrfRow {
                id: 6,
                output_len: 48,
                names: &["prfsha384", "prfsha2_384", "prf_hmac_sha2_384"],
            },
            Self::HmacSha2_512 => PrfRow {
                id: 7,
                output_len: 64,
                names: &["prfsha512", "prfsha2_512", "prf_hmac_sha2_512"],
            },
        }
    }

    /// The transform ID.
    pub const fn id(self) -> u16 {
        self.row().id
    }

    /// Octets of output, which is also the preferred key length (RFC 7296 2.13).
    pub const fn output_len(self) -> usize {
        self.row().output_len
    }

    /// Only for old peers: an operator must ask for it (RFC 8247 2.2).
    pub const fn is_legacy(self) -> bool {
        match self {
            Self::HmacSha1 => true,
            Self::HmacSha2_256 | Self::HmacSha2_384 | Self::HmacSha2_512 => false,
        }
    }

    /// The algorithm of a transform ID.
    pub fn from_wire(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.id() == id)
    }

    /// The whole transform.
    pub const fn transform(self) -> TransformId {
        TransformId::new(TransformType::Prf, self.id())
    }

    /// Its keyword, then its other spellings.
    pub const fn names(self) -> &'static [&'static str] {
        self.row().names
    }
}
