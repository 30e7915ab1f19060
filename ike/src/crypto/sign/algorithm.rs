//! The algorithms by name.

use std::fmt;

/// What is hashed with. RFC 7427 4 numbers them for SIGNATURE_HASH_ALGORITHMS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hash {
    /// SHA-1: for peers that know nothing else, where the operator said so.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// Octets of a digest.
    pub const fn output_len(self) -> u16 {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        })
    }
}

/// A NIST curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Curve {
    /// secp256r1.
    P256,
    /// secp384r1.
    P384,
    /// secp521r1.
    P521,
}

impl Curve {
    /// The hash that is as strong as the curve (RFC 4754).
    pub const fn hash(self) -> Hash {
        match self {
            Self::P256 => Hash::Sha256,
            Self::P384 => Hash::Sha384,
            Self::P521 => Hash::Sha512,
        }
    }
}

/// How a signature is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignatureAlgorithm {
    /// RSASSA-PKCS1-v1_5.
    RsaPkcs1(Hash),
    /// RSASSA-PSS with MGF1 of the same hash, and a salt of this many octets.
    RsaPss(Hash, u16),
    /// ECDSA, as an ASN.1 sequence of two numbers.
    Ecdsa(Hash),
    /// ECDSA with the hash of the curve, as two numbers of fixed length one behind the other (RFC 4754).
    EcdsaFixed(Curve),
    /// Ed25519 (RFC 8420).
    Ed25519,
}

impl SignatureAlgorithm {
    /// RSASSA-PSS with the usual salt, as long as the digest.
    pub const fn rsa_pss(hash: Hash) -> Self {
        Self::RsaPss(hash, hash.output_len())
    }

    /// The hash, if the message is hashed before it is signed.
    pub const fn hash(self) -> Option<Hash> {
        match self {
            Self::RsaPkcs1(hash) | Self::RsaPss(hash, _) | Self::Ecdsa(hash) => Some(hash),
            Self::EcdsaFixed(curve) => Some(curve.hash()),
            Self::Ed25519 => None,
        }
    }
}

impl fmt::Display for SignatureAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RsaPkcs1(hash) => write!(f, "rsa-{hash}"),
            Self::RsaPss(hash, _) => write!(f, "rsa-pss-{hash}"),
            Self::Ecdsa(hash) => write!(f, "ecdsa-{hash}"),
            Self::EcdsaFixed(Curve::P256) => f.write_str("ecdsa-p256"),
            Self::EcdsaFixed(Curve::P384) => f.write_str("ecdsa-p384"),
            Self::EcdsaFixed(Curve::P521) => f.write_str("ecdsa-p521"),
            Self::Ed25519 => f.write_str("ed25519"),
        }
    }
}
