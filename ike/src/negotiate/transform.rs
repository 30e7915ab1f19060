//! The registry: every algorithm we speak, one row each (IANA "IKEv2 Parameters", RFC 7296 3.3.2).
//!
//! A leaf: it imports nothing, so that `crypto` may name an algorithm without knowing how it was negotiated.
//! To add an algorithm add its variant, its place in `ALL` and its row, in the file of its type.

mod additional;
mod encryption;
mod integrity;
mod key_exchange;
mod legacy;
mod prf;

use std::fmt;
use std::str::FromStr;

pub use additional::{Additional, AdditionalMethods};
pub use encryption::{AesKey, Encryption};
pub use integrity::Integrity;
pub use key_exchange::KeyExchangeMethod;
pub use legacy::{Legacy, LegacyReason};
pub use prf::Prf;

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
    /// ADDKE1 to ADDKE7 (RFC 9370).
    AdditionalKeyExchange(Additional),
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
            Self::AdditionalKeyExchange(which) => 5 + which.number(),
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
            6..=12 => match Additional::from_number(id - 5) {
                Some(which) => Some(Self::AdditionalKeyExchange(which)),
                None => None,
            },
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
            Self::AdditionalKeyExchange(which) => which.name(),
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
    fn refuses_a_short_icv_of_an_impossible_key_length() {
        for id in [14, 15, 16, 18, 19, 29] {
            assert_eq!(Encryption::from_wire(id, None), None);
            assert_eq!(Encryption::from_wire(id, Some(512)), None);
            assert!(Encryption::from_wire(id, Some(192)).is_some_and(Encryption::is_legacy));
        }
    }

    #[test]
    fn only_ccm_short_icvs_sha1_and_modp1024_are_legacy() {
        let (ccm_or_short, others): (Vec<Encryption>, Vec<Encryption>) = Encryption::ALL
            .into_iter()
            .partition(|e| e.name().contains("ccm") || (e.is_aead() && e.icv_len() < 16));
        assert_eq!(ccm_or_short.len(), 18);
        assert!(ccm_or_short.iter().all(|e| e.is_legacy()));
        assert!(!others.iter().any(|e| e.is_legacy()));
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
