//! The integrity algorithms we speak, one row each.

use super::{Prf, TransformId, TransformType};

/// Integrity algorithms (transform type 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Integrity {
    /// AUTH_HMAC_SHA1_96 (RFC 2404).
    HmacSha1_96,
    /// AUTH_HMAC_SHA2_256_128 (RFC 4868).
    HmacSha2_256_128,
    /// AUTH_HMAC_SHA2_384_192 (RFC 4868).
    HmacSha2_384_192,
    /// AUTH_HMAC_SHA2_512_256 (RFC 4868).
    HmacSha2_512_256,
}

struct IntegrityRow {
    id: u16,
    key_len: usize,
    icv_len: usize,
    /// The PRF built from the same hash.
    prf: Prf,
    names: &'static [&'static str],
}

impl Integrity {
    /// Every row of the registry.
    pub const ALL: [Self; 4] = [
        Self::HmacSha2_256_128,
        Self::HmacSha2_384_192,
        Self::HmacSha2_512_256,
        Self::HmacSha1_96,
    ];

    const fn row(self) -> IntegrityRow {
        match self {
            Self::HmacSha1_96 => IntegrityRow {
                id: 2,
                key_len: 20,
                icv_len: 12,
                prf: Prf::HmacSha1,
                names: &["sha1", "sha", "sha1_96", "hmac_sha1_96"],
            },
            Self::HmacSha2_256_128 => IntegrityRow {
                id: 12,
                key_len: 32,
                icv_len: 16,
                prf: Prf::HmacSha2_256,
                names: &["sha256", "sha2_256", "sha2", "sha2_256_128", "hmac_sha2_256_128"],
            },
            Self::HmacSha2_384_192 => IntegrityRow {
                id: 13,
                key_len: 48,
                icv_len: 24,
                prf: Prf::HmacSha2_384,
                names: &["sha384", "sha2_384", "sha2_384_192", "hmac_sha2_384_192"],
            },
            Self::HmacSha2_512_256 => IntegrityRow {
                id: 14,
                key_len: 64,
                icv_len: 32,
                prf: Prf::HmacSha2_512,
                names: &["sha512", "sha2_512", "sha2_512_256", "hmac_sha2_512_256"],
            },
        }
    }

    /// The transform ID.
    pub const fn id(self) -> u16 {
        self.row().id
    }

    /// Octets of key.
    pub const fn key_len(self) -> usize {
        self.row().key_len
    }

    /// Octets of ICV, after truncation.
    pub const fn icv_len(self) -> usize {
        self.row().icv_len
    }

    /// The PRF of the same hash: what a proposal without an explicit PRF means.
    pub const fn prf(self) -> Prf {
        self.row().prf
    }

    /// Only for old peers: an operator must ask for it (RFC 8247 2.3).
    pub const fn is_legacy(self) -> bool {
        match self {
            Self::HmacSha1_96 => true,
            Self::HmacSha2_256_128 | Self::HmacSha2_384_192 | Self::HmacSha2_512_256 => false,
        }
    }

    /// The algorithm of a transform ID.
    pub fn from_wire(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|i| i.id() == id)
    }

    /// The whole transform.
    pub const fn transform(self) -> TransformId {
        TransformId::new(TransformType::Integrity, self.id())
    }

    /// Its keyword, then its other spellings.
    pub const fn names(self) -> &'static [&'static str] {
        self.row().names
    }
}
