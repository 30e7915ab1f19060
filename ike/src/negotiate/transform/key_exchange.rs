//! The key exchange methods we speak, one row each.

use super::{TransformId, TransformType};

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
    /// ML-KEM-512 (FIPS 203, draft-ietf-ipsecme-ikev2-mlkem). Only as an additional key exchange, as all three.
    MlKem512,
    /// ML-KEM-768.
    MlKem768,
    /// ML-KEM-1024.
    MlKem1024,
}

struct KeyExchangeRow {
    id: u16,
    public_len: usize,
    answer_len: usize,
    names: &'static [&'static str],
}

impl KeyExchangeMethod {
    /// Every row of the registry.
    pub const ALL: [Self; 11] = [
        Self::Curve25519,
        Self::Ecp256,
        Self::Ecp384,
        Self::Ecp521,
        Self::Modp2048,
        Self::Modp3072,
        Self::Modp4096,
        Self::Modp1024,
        Self::MlKem768,
        Self::MlKem1024,
        Self::MlKem512,
    ];

    const fn row(self) -> KeyExchangeRow {
        match self {
            Self::Modp1024 => KeyExchangeRow {
                id: 2,
                public_len: 128,
                answer_len: 128,
                names: &["modp1024", "dh2"],
            },
            Self::Modp2048 => KeyExchangeRow {
                id: 14,
                public_len: 256,
                answer_len: 256,
                names: &["modp2048", "dh14"],
            },
            Self::Modp3072 => KeyExchangeRow {
                id: 15,
                public_len: 384,
                answer_len: 384,
                names: &["modp3072", "dh15"],
            },
            Self::Modp4096 => KeyExchangeRow {
                id: 16,
                public_len: 512,
                answer_len: 512,
                names: &["modp4096", "dh16"],
            },
            Self::Ecp256 => KeyExchangeRow {
                id: 19,
                public_len: 64,
                answer_len: 64,
                names: &["ecp256", "dh19"],
            },
            Self::Ecp384 => KeyExchangeRow {
                id: 20,
                public_len: 96,
                answer_len: 96,
                names: &["ecp384", "dh20"],
            },
            Self::Ecp521 => KeyExchangeRow {
                id: 21,
                public_len: 132,
                answer_len: 132,
                names: &["ecp521", "dh21"],
            },
            Self::Curve25519 => KeyExchangeRow {
                id: 31,
                public_len: 32,
                answer_len: 32,
                names: &["x25519", "curve25519", "dh31"],
            },
            Self::MlKem512 => KeyExchangeRow {
                id: 35,
                public_len: 800,
                answer_len: 768,
                names: &["mlkem512"],
            },
            Self::MlKem768 => KeyExchangeRow {
                id: 36,
                public_len: 1184,
                answer_len: 1088,
                names: &["mlkem768"],
            },
            Self::MlKem1024 => KeyExchangeRow {
                id: 37,
                public_len: 1568,
                answer_len: 1568,
                names: &["mlkem1024"],
            },
        }
    }

    /// The transform ID and the number in a KE payload.
    pub const fn id(self) -> u16 {
        self.row().id
    }

    /// Octets of the initiator's Key Exchange Data: a public value.
    pub const fn public_len(self) -> usize {
        self.row().public_len
    }

    /// Octets of the responder's Key Exchange Data: as many, or those of a ciphertext.
    pub const fn answer_len(self) -> usize {
        self.row().answer_len
    }

    /// It withstands a quantum computer. Its public values are too large for IKE_SA_INIT, so it only ever comes in
    /// addition to another (RFC 9370).
    pub const fn is_post_quantum(self) -> bool {
        match self {
            Self::MlKem512 | Self::MlKem768 | Self::MlKem1024 => true,
            Self::Modp1024
            | Self::Modp2048
            | Self::Modp3072
            | Self::Modp4096
            | Self::Ecp256
            | Self::Ecp384
            | Self::Ecp521
            | Self::Curve25519 => false,
        }
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
            | Self::Curve25519
            | Self::MlKem512
            | Self::MlKem768
            | Self::MlKem1024 => false,
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
