//! The ciphers we speak, one row each.

use super::legacy::LegacyReason;
use super::{TransformId, TransformType};

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
    /// ENCR_AES_GCM_16_IIV, 128 bits (RFC 8750). ESP only.
    AesGcm16Iiv128,
    /// ENCR_AES_GCM_16_IIV, 256 bits (RFC 8750). ESP only.
    AesGcm16Iiv256,
    /// ENCR_CHACHA20_POLY1305_IIV (RFC 8750). ESP only.
    ChaCha20Poly1305Iiv,
    /// ENCR_AES_CCM_8 (RFC 4309, RFC 5282). Legacy.
    AesCcm8(AesKey),
    /// ENCR_AES_CCM_12 (RFC 4309, RFC 5282). Legacy.
    AesCcm12(AesKey),
    /// ENCR_AES_CCM_16 (RFC 4309, RFC 5282). Legacy.
    AesCcm16(AesKey),
    /// ENCR_AES_GCM_8 (RFC 4106, RFC 5282). Legacy.
    AesGcm8(AesKey),
    /// ENCR_AES_GCM_12 (RFC 4106, RFC 5282). Legacy.
    AesGcm12(AesKey),
    /// ENCR_AES_CCM_8_IIV (RFC 8750). ESP only, legacy.
    AesCcm8Iiv(AesKey),
}

/// The length of an AES key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AesKey {
    /// 128 bits.
    Bits128,
    /// 192 bits.
    Bits192,
    /// 256 bits.
    Bits256,
}

impl AesKey {
    /// In bits, as the Key Length attribute has it.
    pub const fn bits(self) -> u16 {
        match self {
            Self::Bits128 => 128,
            Self::Bits192 => 192,
            Self::Bits256 => 256,
        }
    }

    const fn octets(self) -> usize {
        match self {
            Self::Bits128 => 16,
            Self::Bits192 => 24,
            Self::Bits256 => 32,
        }
    }
}

struct EncryptionRow {
    id: u16,
    key_length: Option<u16>,
    /// Octets of key in KEYMAT, the salt included.
    key_len: usize,
    salt_len: usize,
    /// Octets of IV on the wire; 0 if it is implicit.
    iv_len: usize,
    block_len: usize,
    /// Octets of the cipher's own ICV; 0 if it needs an integrity algorithm.
    icv_len: usize,
    names: &'static [&'static str],
}

impl EncryptionRow {
    /// The same for a cipher that is only for old peers.
    const fn legacy(self, id: u16, icv_len: usize, key: AesKey, names: &'static [&'static str]) -> Self {
        Self {
            id,
            key_length: Some(key.bits()),
            key_len: key.octets() + self.salt_len,
            icv_len,
            names,
            ..self
        }
    }
}

/// `aes128ccm8`, with the ICV in octets, the same with it in bits, and `aes_ccm_8_128`.
macro_rules! names {
    ($key:expr, $octets:literal, $bits:literal, $iana:literal) => {
        match $key {
            AesKey::Bits128 => &[
                concat!("aes128", $octets),
                concat!("aes128", $bits),
                concat!("aes_", $iana, "_128"),
            ],
            AesKey::Bits192 => &[
                concat!("aes192", $octets),
                concat!("aes192", $bits),
                concat!("aes_", $iana, "_192"),
            ],
            AesKey::Bits256 => &[
                concat!("aes256", $octets),
                concat!("aes256", $bits),
                concat!("aes_", $iana, "_256"),
            ],
        }
    };
}

impl Encryption {
    /// Every row of the registry.
    pub const ALL: [Self; 26] = [
        Self::AesGcm16_256,
        Self::AesGcm16_128,
        Self::ChaCha20Poly1305,
        Self::AesCbc256,
        Self::AesCbc128,
        Self::AesGcm16Iiv256,
        Self::AesGcm16Iiv128,
        Self::ChaCha20Poly1305Iiv,
        Self::AesCcm16(AesKey::Bits256),
        Self::AesCcm16(AesKey::Bits192),
        Self::AesCcm16(AesKey::Bits128),
        Self::AesCcm12(AesKey::Bits256),
        Self::AesCcm12(AesKey::Bits192),
        Self::AesCcm12(AesKey::Bits128),
        Self::AesCcm8(AesKey::Bits256),
        Self::AesCcm8(AesKey::Bits192),
        Self::AesCcm8(AesKey::Bits128),
        Self::AesGcm12(AesKey::Bits256),
        Self::AesGcm12(AesKey::Bits192),
        Self::AesGcm12(AesKey::Bits128),
        Self::AesGcm8(AesKey::Bits256),
        Self::AesGcm8(AesKey::Bits192),
        Self::AesGcm8(AesKey::Bits128),
        Self::AesCcm8Iiv(AesKey::Bits256),
        Self::AesCcm8Iiv(AesKey::Bits192),
        Self::AesCcm8Iiv(AesKey::Bits128),
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
        const IMPLICIT: EncryptionRow = EncryptionRow {
            id: 30,
            iv_len: 0,
            ..AEAD
        };
        // RFC 4309 7.1: three octets of salt.
        const CCM: EncryptionRow = EncryptionRow { salt_len: 3, ..AEAD };
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
            Self::AesGcm16Iiv128 => EncryptionRow {
                key_length: Some(128),
                key_len: 20,
                names: &["aes128gcm16iiv", "aes_gcm_16_iiv_128"],
                ..IMPLICIT
            },
            Self::AesGcm16Iiv256 => EncryptionRow {
                key_length: Some(256),
                key_len: 36,
                names: &["aes256gcm16iiv", "aes_gcm_16_iiv_256"],
                ..IMPLICIT
            },
            Self::ChaCha20Poly1305Iiv => EncryptionRow {
                id: 31,
                key_len: 36,
                names: &["chacha20poly1305iiv", "chacha20_poly1305_iiv"],
                ..IMPLICIT
            },
            Self::AesCcm8(key) => CCM.legacy(14, 8, key, names!(key, "ccm8", "ccm64", "ccm_8")),
            Self::AesCcm12(key) => CCM.legacy(15, 12, key, names!(key, "ccm12", "ccm96", "ccm_12")),
            Self::AesCcm16(key) => CCM.legacy(16, 16, key, names!(key, "ccm16", "ccm128", "ccm_16")),
            Self::AesGcm8(key) => AEAD.legacy(18, 8, key, names!(key, "gcm8", "gcm64", "gcm_8")),
            Self::AesGcm12(key) => AEAD.legacy(19, 12, key, names!(key, "gcm12", "gcm96", "gcm_12")),
            Self::AesCcm8Iiv(key) => EncryptionRow {
                iv_len: 0,
                ..CCM.legacy(29, 8, key, names!(key, "ccm8iiv", "ccm64iiv", "ccm_8_iiv"))
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

    /// Octets of explicit IV in front of the ciphertext; 0 with an implicit one.
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

    /// The IV is the sequence number and is not sent (RFC 8750 4). IKE messages have no number that never repeats, so
    /// such a cipher is for ESP only (RFC 8750 7).
    pub const fn has_implicit_iv(self) -> bool {
        self.row().iv_len == 0
    }

    /// Only for old peers: an operator must ask for it.
    pub const fn is_legacy(self) -> bool {
        self.legacy_reason().is_some()
    }

    /// Why it is only for old peers; `None`: it is for all.
    pub const fn legacy_reason(self) -> Option<LegacyReason> {
        match self {
            Self::AesCbc128
            | Self::AesCbc256
            | Self::AesGcm16_128
            | Self::AesGcm16_256
            | Self::ChaCha20Poly1305
            | Self::AesGcm16Iiv128
            | Self::AesGcm16Iiv256
            | Self::ChaCha20Poly1305Iiv => None,
            Self::AesCcm8(_) | Self::AesCcm12(_) | Self::AesCcm8Iiv(_) => Some(LegacyReason::ShortIcv),
            Self::AesGcm8(_) | Self::AesGcm12(_) => Some(LegacyReason::ShortIcvOfGcm),
            Self::AesCcm16(_) => Some(LegacyReason::Ccm),
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
