//! The registry: every algorithm we speak, one row each (IANA "IKEv2 Parameters", RFC 7296 3.3.2).
//!
//! A leaf: it imports nothing, so that `crypto` may name an algorithm without knowing how it was negotiated.
//! To add an algorithm add its variant, its place in `ALL` and its row.

use std::fmt;
use std::str::FromStr;

/// The transform types of an SA payload (RFC 7296 3.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransformType {
    /// ENCR.
    Encryption,
    /// PRF.
    Prf,
    /// INTEG.
    Integrity,
    /// KE, called D-H before RFC 9370.
    KeyExchange,
    /// ESN.
    ExtendedSequenceNumbers,
}

impl TransformType {
    /// The number on the wire.
    pub const fn id(self) -> u8 {
        match self {
            Self::Encryption => 1,
            Self::Prf => 2,
            Self::Integrity => 3,
            Self::KeyExchange => 4,
            Self::ExtendedSequenceNumbers => 5,
        }
    }

    /// The type of that number, if we know it.
    pub const fn from_wire(id: u8) -> Option<Self> {
        match id {
            1 => Some(Self::Encryption),
            2 => Some(Self::Prf),
            3 => Some(Self::Integrity),
            4 => Some(Self::KeyExchange),
            5 => Some(Self::ExtendedSequenceNumbers),
            _ => None,
        }
    }

    /// What an operator calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Encryption => "encryption",
            Self::Prf => "PRF",
            Self::Integrity => "integrity",
            Self::KeyExchange => "DH",
            Self::ExtendedSequenceNumbers => "ESN",
        }
    }
}

/// A transform of any kind as the wire has it: what we speak and what we do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransformId {
    /// Transform Type.
    pub kind: u8,
    /// Transform ID.
    pub id: u16,
    /// The Key Length attribute, in bits.
    pub key_length: Option<u16>,
}

impl TransformId {
    /// A transform without attributes.
    pub const fn new(kind: TransformType, id: u16) -> Self {
        Self {
            kind: kind.id(),
            id,
            key_length: None,
        }
    }
}

/// The word is not the name of an algorithm of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of an algorithm we know")]
pub struct UnknownName;

/// Encryption algorithms (transform type 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Encryption {
    /// ENCR_AES_CBC, 128 bits (RFC 3602).
    AesCbc128,
    /// ENCR_AES_CBC, 256 bits (RFC 3602).
    AesCbc256,
    /// ENCR_AES_GCM_16, 128 bits (RFC 4106, RFC 5282).
    AesGcm16_128,
    /// ENCR_AES_GCM_16, 256 bits (RFC 4106, RFC 5282).
    AesGcm16_256,
    /// ENCR_CHACHA20_POLY1305 (RFC 7634).
    ChaCha20Poly1305,
}

struct EncryptionRow {
    id: u16,
    key_length: Option<u16>,
    /// Octets of key in KEYMAT, the salt included.
    key_len: usize,
    salt_len: usize,
    iv_len: usize,
    block_len: usize,
    /// Octets of the cipher's own ICV; 0 if it needs an integrity algorithm.
    icv_len: usize,
    names: &'static [&'static str],
}

impl Encryption {
    /// Every row of the registry.
    pub const ALL: [Self; 5] = [
        Self::AesGcm16_256,
        Self::AesGcm16_128,
        Self::ChaCha20Poly1305,
        Self::AesCbc256,
        Self::AesCbc128,
    ];

    const fn row(self) -> EncryptionRow {
        const CBC: EncryptionRow = EncryptionRow {
            id: 12,
            key_length: None,
            key_len: 0,
            salt_len: 0,
            iv_len: 16,
            block_len: 16,
            icv_len: 0,
            names: &[],
        };
        const AEAD: EncryptionRow = EncryptionRow {
            id: 20,
            key_length: None,
            key_len: 0,
            salt_len: 4,
            iv_len: 8,
            block_len: 1,
            icv_len: 16,
            names: &[],
        };
        match self {
            Self::AesCbc128 => EncryptionRow {
                key_length: Some(128),
                key_len: 16,
                names: &[
                    "aes128",
                    "aes",
                    "aescbc128",
                    "aes_cbc_128",
                    "aes_cbc128",
                    "aes_128",
                ],
                ..CBC
            },
            Self::AesCbc256 => EncryptionRow {
                key_length: Some(256),
                key_len: 32,
                names: &["aes256", "aescbc256", "aes_cbc_256", "aes_cbc256", "aes_256"],
                ..CBC
            },
            Self::AesGcm16_128 => EncryptionRow {
                key_length: Some(128),
                key_len: 20,
                names: &[
                    "aes128gcm16",
                    "aes128gcm",
                    "aes128gcm128",
                    "aes_gcm_16_128",
                    "aes_gcm128",
                    "aes_gcm_128",
                ],
                ..AEAD
            },
            Self::AesGcm16_256 => EncryptionRow {
                key_length: Some(256),
                key_len: 36,
                names: &[
                    "aes256gcm16",
                    "aes256gcm",
                    "aes256gcm128",
                    "aes_gcm_16_256",
                    "aes_gcm256",
                    "aes_gcm_256",
                ],
                ..AEAD
            },
            Self::ChaCha20Poly1305 => EncryptionRow {
                id: 28,
                key_len: 36,
                names: &["chacha20poly1305", "chacha20_poly1305"],
                ..AEAD
            },
        }
    }

    /// The transform ID.
    pub const fn id(self) -> u16 {
        self.row().id
    }

    /// The Key Length attribute, in bits; `None` where the RFC fixes the length (RFC 7296 3.3.5).
    pub const fn key_length(self) -> Option<u16> {
        self.row().key_length
    }

    /// Octets of key material, the salt of an AEAD included (RFC 5282 7.1, RFC 7634 2).
    pub const fn key_len(self) -> usize {
        self.row().key_len
    }

    /// Octets of salt at the end of the key material.
    pub const fn salt_len(self) -> usize {
        self.row().salt_len
    }

    /// Octets of explicit IV in front of the ciphertext.
    pub const fn iv_len(self) -> usize {
        self.row().iv_len
    }

    /// What the plaintext's length must be a multiple of.
    pub const fn block_len(self) -> usize {
        self.row().block_len
    }

    /// Octets of an AEAD's ICV; 0 for a cipher that needs an integrity algorithm.
    pub const fn icv_len(self) -> usize {
        self.row().icv_len
    }

    /// It protects integrity by itself; no integrity algorithm goes with it (RFC 5282 8).
    pub const fn is_aead(self) -> bool {
        self.row().icv_len != 0
    }

    /// Only for old peers: an operator must ask for it.
    pub const fn is_legacy(self) -> bool {
        match self {
            Self::AesCbc128
            | Self::AesCbc256
            | Self::AesGcm16_128
            | Self::AesGcm16_256
            | Self::ChaCha20Poly1305 => false,
        }
    }

    /// The algorithm of a transform. AES without a Key Length is none (RFC 7296 3.3.5).
    pub fn from_wire(id: u16, key_length: Option<u16>) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|e| e.id() == id && e.key_length() == key_length)
    }

    /// The whole transform.
    pub const fn transform(self) -> TransformId {
        TransformId {
            kind: TransformType::Encryption.id(),
            id: self.id(),
            key_length: self.key_length(),
        }
    }

    /// Its keyword, then its other spellings.
    pub const fn names(self) -> &'static [&'static str] {
        self.row().names
    }
}

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

/// Key exchange methods (transform type 4, also the number in a KE payload, RFC 7296 3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyExchangeMethod {
    /// Group 2 (RFC 7296 B.2). Within reach of a state: legacy.
    Modp1024,
    /// Group 14 (RFC 3526).
    Modp2048,
    /// Group 15 (RFC 3526).
    Modp3072,
    /// Group 16 (RFC 3526).
    Modp4096,
    /// Group 19, NIST P-256 (RFC 5903).
    Ecp256,
    /// Group 20, NIST P-384 (RFC 5903).
    Ecp384,
    /// Group 21, NIST P-521 (RFC 5903).
    Ecp521,
    /// Group 31 (RFC 8031).
    Curve25519,
}

struct KeyExchangeRow {
    id: u16,
    public_len: usize,
    names: &'static [&'static str],
}

impl KeyExchangeMethod {
    /// Every row of the registry.
    pub const ALL: [Self; 8] = [
        Self::Curve25519,
        Self::Ecp256,
        Self::Ecp384,
        Self::Ecp521,
        Self::Modp2048,
        Self::Modp3072,
        Self::Modp4096,
        Self::Modp1024,
    ];

    const fn row(self) -> KeyExchangeRow {
        match self {
            Self::Modp1024 => KeyExchangeRow {
                id: 2,
                public_len: 128,
                names: &["modp1024", "dh2"],
            },
            Self::Modp2048 => KeyExchangeRow {
                id: 14,
                public_len: 256,
                names: &["modp2048", "dh14"],
            },
            Self::Modp3072 => KeyExchangeRow {
                id: 15,
                public_len: 384,
                names: &["modp3072", "dh15"],
            },
            Self::Modp4096 => KeyExchangeRow {
                id: 16,
                public_len: 512,
                names: &["modp4096", "dh16"],
            },
            Self::Ecp256 => KeyExchangeRow {
                id: 19,
                public_len: 64,
                names: &["ecp256", "dh19"],
            },
            Self::Ecp384 => KeyExchangeRow {
                id: 20,
                public_len: 96,
                names: &["ecp384", "dh20"],
            },
            Self::Ecp521 => KeyExchangeRow {
                id: 21,
                public_len: 132,
                names: &["ecp521", "dh21"],
            },
            Self::Curve25519 => KeyExchangeRow {
                id: 31,
                public_len: 32,
                names: &["x25519", "curve25519", "dh31"],
            },
        }
    }

    /// The transform ID and the number in a KE payload.
    pub const fn id(self) -> u16 {
        self.row().id
    }

    /// Octets of a public value in a KE payload.
    pub const fn public_len(self) -> usize {
        self.row().public_len
    }

    /// Only for old peers: an operator must ask for it (RFC 8247 2.4).
    pub const fn is_legacy(self) -> bool {
        match self {
            Self::Modp1024 => true,
            Self::Modp2048
            | Self::Modp3072
            | Self::Modp4096
            | Self::Ecp256
            | Self::Ecp384
            | Self::Ecp521
            | Self::Curve25519 => false,
        }
    }

    /// The method of a transform ID.
    pub fn from_wire(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.id() == id)
    }

    /// The whole transform.
    pub const fn transform(self) -> TransformId {
        TransformId::new(TransformType::KeyExchange, self.id())
    }

    /// Its keyword, then its other spellings.
    pub const fn names(self) -> &'static [&'static str] {
        self.row().names
    }
}

/// ESN: extended (64-bit) sequence numbers or not (transform type 5).
pub const fn esn_transform(esn: bool) -> TransformId {
    TransformId::new(TransformType::ExtendedSequenceNumbers, esn as u16)
}

/// The keyword of an ESN transform.
pub const fn esn_name(esn: bool) -> &'static str {
    if esn { "esn" } else { "noesn" }
}

macro_rules! keyword {
    ($($kind:ty),*) => {$(
        impl $kind {
            /// Its keyword, as strongSwan spells it.
            pub const fn name(self) -> &'static str {
                match self.names() {
                    [first, ..] => first,
                    [] => "",
                }
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $kind {
            type Err = UnknownName;

            fn from_str(word: &str) -> Result<Self, UnknownName> {
                Self::ALL
                    .into_iter()
                    .find(|row| row.names().iter().any(|name| name.eq_ignore_ascii_case(word)))
                    .ok_or(UnknownName)
            }
        }
    )*};
}

keyword!(Encryption, Integrity, Prf, KeyExchangeMethod);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_again_by_number_and_by_every_name() {
        for e in Encryption::ALL {
            assert_eq!(Encryption::from_wire(e.id(), e.key_length()), Some(e));
            assert!(e.names().iter().all(|n| n.parse() == Ok(e)));
        }
        for i in Integrity::ALL {
            assert_eq!(Integrity::from_wire(i.id()), Some(i));
            assert!(i.names().iter().all(|n| n.parse() == Ok(i)));
        }
        for p in Prf::ALL {
            assert_eq!(Prf::from_wire(p.id()), Some(p));
            assert!(p.names().iter().all(|n| n.parse() == Ok(p)));
        }
        for k in KeyExchangeMethod::ALL {
            assert_eq!(KeyExchangeMethod::from_wire(k.id()), Some(k));
            assert!(k.names().iter().all(|n| n.parse() == Ok(k)));
        }
    }

    #[test]
    fn refuses_aes_without_a_key_length_and_chacha_with_one() {
        assert_eq!(Encryption::from_wire(20, None), None);
        assert_eq!(Encryption::from_wire(12, Some(192)), None);
        assert_eq!(Encryption::from_wire(28, Some(256)), None);
    }

    #[test]
    fn only_sha1_and_modp1024_are_legacy() {
        let legacy: Vec<&str> = (Integrity::ALL.iter().filter(|i| i.is_legacy()).map(|i| i.name()))
            .chain(Prf::ALL.iter().filter(|p| p.is_legacy()).map(|p| p.name()))
            .chain(
                KeyExchangeMethod::ALL
                    .iter()
                    .filter(|k| k.is_legacy())
                    .map(|k| k.name()),
            )
            .collect();
        assert_eq!(legacy, ["sha1", "prfsha1", "modp1024"]);
    }
}
