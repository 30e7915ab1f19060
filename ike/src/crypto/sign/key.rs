//! Private keys.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaEncoding};

use super::legacy::{self, Exponent};
use super::{Curve, Hash, KeyKind, PublicKey, PublicKeyError, SignatureAlgorithm};

/// How a private key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFormat {
    /// `BEGIN PRIVATE KEY` (RFC 5958).
    Pkcs8,
    /// `BEGIN RSA PRIVATE KEY` (RFC 8017 A.1.2).
    Pkcs1,
    /// `BEGIN EC PRIVATE KEY` (RFC 5915).
    Sec1,
}

/// Octets are not a private key that we use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a key, or of an algorithm that is not spoken.
    #[error("it is not a private key for RSA, ECDSA on P-256, P-384 or P-521, or Ed25519")]
    Unsupported,
    /// What belongs to it is not used.
    #[error(transparent)]
    Public(#[from] PublicKeyError),
}

/// A private key. The library zeroizes it when it is dropped; it is never printed.
pub struct SigningKey {
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    Rsa(RsaKeyPair, Option<Exponent>),
    /// The same key twice, for the two ways to write a signature.
    Ecdsa(EcdsaKeyPair, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// Reads a private key in DER.
    pub fn from_der(format: KeyFormat, der: &[u8]) -> Result<Self, KeyError> {
        match format {
            KeyFormat::Pkcs1 => Self::rsa(der).ok_or(KeyError::Unsupported)?,
            KeyFormat::Sec1 => Self::ecdsa(der).ok_or(KeyError::Unsupported)?,
            KeyFormat::Pkcs8 => {
                let rsa = legacy::pkcs1_in(der).and_then(Self::rsa);
                rsa.or_else(|| Self::ecdsa(der))
                    .or_else(|| Self::ed25519(der))
                    .ok_or(KeyError::Unsupported)?
            }
        }
    }

    /// What others verify its signatures with.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs. `None` if the key cannot do that.
    pub fn sign(&self, algorithm: SignatureAlgorithm, message: &[u8]) -> Option<Vec<u8>> {
        match (&self.pair, algorithm) {
            (Pair::Rsa(_, exponent), SignatureAlgorithm::RsaPkcs1(Hash::Sha1)) => {
                let signature = exponent.as_ref()?.sign_sha1(message)?;
                // A fault in the computation would give the key away.
                self.public.verify(algorithm, message, &signature).ok()?;
                Some(signature)
            }
            (Pair::Rsa(pair, _), SignatureAlgorithm::RsaPkcs1(hash)) => {
                let encoding: &'static dyn RsaEncoding = match hash {
                    Hash::Sha1 => return None,
                    Hash::Sha256 => &signature::RSA_PKCS1_SHA256,
                    Hash::Sha384 => &signature::RSA_PKCS1_SHA384,
                    Hash::Sha512 => &signature::RSA_PKCS1_SHA512,
                };
                sign_rsa(pair, encoding, message)
            }
            (Pair::Rsa(pair, _), SignatureAlgorithm::RsaPss(hash, salt)) if salt == hash.output_len() => {
                let encoding: &'static dyn RsaEncoding = match hash {
                    Hash::Sha1 => return None,
                    Hash::Sha256 => &signature::RSA_PSS_SHA256,
                    Hash::Sha384 => &signature::RSA_PSS_SHA384,
                    Hash::Sha512 => &signature::RSA_PSS_SHA512,
                };
                sign_rsa(pair, encoding, message)
            }
            (Pair::Ecdsa(asn1, fixed), SignatureAlgorithm::Ecdsa(_) | SignatureAlgorithm::EcdsaFixed(_)) => {
                let KeyKind::Ecdsa(curve) = self.public.kind() else {
                    return None;
                };
                let pair = match algorithm {
                    SignatureAlgorithm::Ecdsa(hash) if hash == curve.hash() => asn1,
                    SignatureAlgorithm::EcdsaFixed(wanted) if wanted == curve => fixed,
                    SignatureAlgorithm::Ecdsa(_)
                    | SignatureAlgorithm::EcdsaFixed(_)
                    | SignatureAlgorithm::RsaPkcs1(_)
                    | SignatureAlgorithm::RsaPss(..)
                    | SignatureAlgorithm::Ed25519 => return None,
                };
                let signature = pair.sign(&SystemRandom::new(), message).ok()?;
                Some(signature.as_ref().to_vec())
            }
            (Pair::Ed25519(pair), SignatureAlgorithm::Ed25519) => {
                Some(pair.try_sign(message).ok()?.as_ref().to_vec())
            }
            (Pair::Rsa(..) | Pair::Ecdsa(..) | Pair::Ed25519(_), _) => None,
        }
    }

    fn rsa(pkcs1: &[u8]) -> Option<Result<Self, KeyError>> {
        let pair = RsaKeyPair::from_der(pkcs1).ok()?;
        let public = spki(pair.public_key())?;
        Some(public.map(|public| Self {
            pair: Pair::Rsa(pair, Exponent::from_pkcs1(pkcs1)),
            public,
        }))
    }

    fn ecdsa(der: &[u8]) -> Option<Result<Self, KeyError>> {
        [Curve::P256, Curve::P384, Curve::P521]
            .into_iter()
            .find_map(|curve| {
                let (asn1, fixed) = schemes(curve);
                let fixed = EcdsaKeyPair::from_private_key_der(fixed, der).ok()?;
                let asn1 = EcdsaKeyPair::from_private_key_der(asn1, der).ok()?;
                let public = spki(asn1.public_key())?;
                Some(public.map(|public| Self {
                    pair: Pair::Ecdsa(asn1, fixed),
                    public,
                }))
            })
    }

    fn ed25519(der: &[u8]) -> Option<Result<Self, KeyError>> {
        // OpenSSL and strongSwan write the private key only (RFC 8410 7); the public one follows from it.
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).ok()?;
        let public = spki(pair.public_key())?;
        Some(public.map(|public| Self {
            pair: Pair::Ed25519(pair),
            public,
        }))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, ..)", self.public.kind())
    }
}

fn spki<K: AsDer<PublicKeyX509Der<'static>>>(key: &K) -> Option<Result<PublicKey, KeyError>> {
    let der = key.as_der().ok()?;
    Some(PublicKey::from_spki(der.as_ref()).map_err(KeyError::from))
}

fn schemes(curve: Curve) -> (&'static EcdsaSigningAlgorithm, &'static EcdsaSigningAlgorithm) {
    match curve {
        Curve::P256 => (
            &signature::ECDSA_P256_SHA256_ASN1_SIGNING,
            &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        ),
        Curve::P384 => (
            &signature::ECDSA_P384_SHA384_ASN1_SIGNING,
            &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
        ),
        Curve::P521 => (
            &signature::ECDSA_P521_SHA512_ASN1_SIGNING,
            &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
        ),
    }
}

fn sign_rsa(pair: &RsaKeyPair, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Option<Vec<u8>> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(encoding, &SystemRandom::new(), message, &mut signature)
        .ok()?;
    Some(signature)
}
