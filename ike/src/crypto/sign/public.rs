//! Public keys, and whether a signature is theirs.

use std::fmt;

use aws_lc_rs::signature::{self, RsaPssSaltLength, UnparsedPublicKey, VerificationAlgorithm};
use sha1::{Digest, Sha1};
use x509_cert::der::Decode;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::spki::SubjectPublicKeyInfoRef;

use super::{Curve, Hash, SignatureAlgorithm};

/// What a key can sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA, with a modulus of this many bits.
    Rsa(u32),
    /// ECDSA.
    Ecdsa(Curve),
    /// Ed25519.
    Ed25519,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA-{bits}"),
            Self::Ecdsa(Curve::P256) => f.write_str("ECDSA P-256"),
            Self::Ecdsa(Curve::P384) => f.write_str("ECDSA P-384"),
            Self::Ecdsa(Curve::P521) => f.write_str("ECDSA P-521"),
            Self::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

/// A public key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    spki: Vec<u8>,
    kind: KeyKind,
}

/// Octets are not a public key that we use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// Not a SubjectPublicKeyInfo.
    #[error("it is not a SubjectPublicKeyInfo in DER")]
    Malformed,
    /// Another algorithm or curve.
    #[error("its algorithm is not RSA, ECDSA on P-256, P-384 or P-521, or Ed25519")]
    Unsupported,
    /// RSA below 2048 or above 8192 bits.
    #[error("it is an RSA key of {0} bits; 2048 to 8192 are accepted")]
    Size(u32),
}

/// A signature that is not one by this key over these octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature is wrong")]
pub struct BadSignature;

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo in DER.
    pub fn from_spki(der: &[u8]) -> Result<Self, PublicKeyError> {
        let spki = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| PublicKeyError::Malformed)?;
        let key = spki
            .subject_public_key
            .as_bytes()
            .ok_or(PublicKeyError::Malformed)?;
        let kind = match spki.algorithm.oid {
            RSA => KeyKind::Rsa(rsa_bits(key)?),
            ED25519 => KeyKind::Ed25519,
            EC => {
                let curve = spki.algorithm.parameters_oid().ok();
                KeyKind::Ecdsa(curve.and_then(curve_of).ok_or(PublicKeyError::Unsupported)?)
            }
            _ => return Err(PublicKeyError::Unsupported),
        };
        Ok(Self {
            spki: der.to_vec(),
            kind,
        })
    }

    /// The SubjectPublicKeyInfo in DER.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// What it can verify.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The SHA-1 hash of the SubjectPublicKeyInfo, by which CERTREQ names authorities (RFC 7296 3.7).
    pub fn fingerprint(&self) -> [u8; 20] {
        Sha1::digest(&self.spki).into()
    }

    /// Verifies a signature. An algorithm that does not fit the key is as bad as a wrong signature.
    pub fn verify(
        &self,
        algorithm: SignatureAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        if let SignatureAlgorithm::RsaPss(hash, salt) = algorithm {
            return self.verify_pss(hash, salt, message, signature);
        }
        let scheme = scheme(self.kind, algorithm).ok_or(BadSignature)?;
        UnparsedPublicKey::new(scheme, &self.spki)
            .verify(message, signature)
            .map_err(|_| BadSignature)
    }

    /// The salt's length is the signer's choice, and the parameters that stand here are made for it.
    fn verify_pss(
        &self,
        hash: Hash,
        salt: u16,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), BadSignature> {
        let KeyKind::Rsa(bits) = self.kind else {
            return Err(BadSignature);
        };
        let base = match hash {
            Hash::Sha1 => return Err(BadSignature),
            Hash::Sha256 => signature::RSA_PSS_2048_8192_SHA256,
            Hash::Sha384 => signature::RSA_PSS_2048_8192_SHA384,
            Hash::Sha512 => signature::RSA_PSS_2048_8192_SHA512,
        };
        // RFC 8017 9.1.1: what does not fit into the modulus cannot have been signed.
        if u32::from(salt) + u32::from(hash.output_len()) + 2 > bits / 8 {
            return Err(BadSignature);
        }
        let parameters = base.with_pss_salt_length(RsaPssSaltLength::Custom(salt));
        parameters
            .verify_sig(&self.spki, message, signature)
            .map_err(|_| BadSignature)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.kind)
    }
}

fn scheme(kind: KeyKind, algorithm: SignatureAlgorithm) -> Option<&'static dyn VerificationAlgorithm> {
    let scheme: &'static dyn VerificationAlgorithm = match (kind, algorithm) {
        (KeyKind::Rsa(_), SignatureAlgorithm::RsaPkcs1(hash)) => match hash {
            Hash::Sha1 => &signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Hash::Sha384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Hash::Sha512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        },
        (KeyKind::Ecdsa(curve), SignatureAlgorithm::Ecdsa(hash)) => return ecdsa(curve, hash),
        (KeyKind::Ecdsa(curve), SignatureAlgorithm::EcdsaFixed(wanted)) if curve == wanted => match curve {
            Curve::P256 => &signature::ECDSA_P256_SHA256_FIXED,
            Curve::P384 => &signature::ECDSA_P384_SHA384_FIXED,
            Curve::P521 => &signature::ECDSA_P521_SHA512_FIXED,
        },
        (KeyKind::Ed25519, SignatureAlgorithm::Ed25519) => &signature::ED25519,
        (KeyKind::Rsa(_) | KeyKind::Ecdsa(_) | KeyKind::Ed25519, _) => return None,
    };
    Some(scheme)
}

fn ecdsa(curve: Curve, hash: Hash) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match (curve, hash) {
        (_, Hash::Sha1) => return None,
        (Curve::P256, Hash::Sha256) => &signature::ECDSA_P256_SHA256_ASN1,
        (Curve::P256, Hash::Sha384) => &signature::ECDSA_P256_SHA384_ASN1,
        (Curve::P256, Hash::Sha512) => &signature::ECDSA_P256_SHA512_ASN1,
        (Curve::P384, Hash::Sha256) => &signature::ECDSA_P384_SHA256_ASN1,
        (Curve::P384, Hash::Sha384) => &signature::ECDSA_P384_SHA384_ASN1,
        (Curve::P384, Hash::Sha512) => &signature::ECDSA_P384_SHA512_ASN1,
        (Curve::P521, Hash::Sha256) => &signature::ECDSA_P521_SHA256_ASN1,
        (Curve::P521, Hash::Sha384) => &signature::ECDSA_P521_SHA384_ASN1,
        (Curve::P521, Hash::Sha512) => &signature::ECDSA_P521_SHA512_ASN1,
    })
}

fn curve_of(oid: ObjectIdentifier) -> Option<Curve> {
    match oid {
        P256 => Some(Curve::P256),
        P384 => Some(Curve::P384),
        P521 => Some(Curve::P521),
        _ => None,
    }
}

fn rsa_bits(pkcs1: &[u8]) -> Result<u32, PublicKeyError> {
    let bits = signature::RsaParameters::public_modulus_len(pkcs1).map_err(|_| PublicKeyError::Malformed)?;
    if (2048..=8192).contains(&bits) {
        Ok(bits)
    } else {
        Err(PublicKeyError::Size(bits))
    }
}

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
