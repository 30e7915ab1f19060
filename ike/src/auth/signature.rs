//! AUTH by signature: RSA (method 1, RFC 7296 2.15), ECDSA (methods 9 to 11, RFC 4754), and signatures that name their
//! algorithm (method 14, RFC 7427), among them Ed25519 (RFC 8420).
//!
//! SHA-1 is made and accepted with method 1 only, and only for a peer that the operator calls old: RFC 8247 3.2 forbids
//! it, but a peer of before 2015 knows nothing else. Everything else is SHA-2 with 2048 bits of RSA or more.

use super::announcement::Announced;
use super::verified::AuthVerified;
use crate::crypto::sign::{
    Curve, Hash, KeyKind, PublicKey, SignatureAlgorithm, SigningKey, from_identifier, identifier,
};
use crate::wire::payload::{AuthMethod, Authentication};

/// RFC 7427 7, RFC 8420 4: the numbers in SIGNATURE_HASH_ALGORITHMS of what we verify.
pub const HASHES: [u16; 4] = [SHA2_256, SHA2_384, SHA2_512, IDENTITY];

/// The padding of an RSA signature that names its algorithm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RsaPadding {
    /// PSS if the peer announced it (RFC 9593) or is an xvpn, or else PKCS#1 v1.5, which every peer knows.
    #[default]
    Auto,
    /// RSASSA-PKCS1-v1_5.
    Pkcs1,
    /// RSASSA-PSS.
    Pss,
}

/// What is known of what the peer verifies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerVerifies {
    /// Its SIGNATURE_HASH_ALGORITHMS; empty if it does not speak RFC 7427.
    pub hashes: Vec<u16>,
    /// Its SUPPORTED_AUTH_METHODS (RFC 9593), if it sent them.
    pub announced: Option<Announced>,
    /// It is known to verify PSS, whatever it announced.
    pub pss: bool,
    /// It is old: SHA-1 will do where nothing else does.
    pub legacy: bool,
}

/// Nothing that our key can do is accepted by the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer accepts no signature that our key can make")]
pub struct NoCommonAlgorithm;

/// Why a signature is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The method is none of signatures.
    #[error("method {} is not a signature", .0.0)]
    Method(AuthMethod),
    /// An algorithm that is unknown, or weak, or does not fit the key.
    #[error("its algorithm is not accepted")]
    Algorithm,
    /// It is wrong.
    #[error("the signature is wrong")]
    Wrong,
}

/// Signs with the best algorithm that key and peer have in common.
pub fn sign(
    key: &SigningKey,
    padding: RsaPadding,
    peer: &PeerVerifies,
    octets: &[u8],
) -> Result<(Authentication, SignatureAlgorithm), NoCommonAlgorithm> {
    let (method, algorithm) = choose(key.public().kind(), padding, peer).ok_or(NoCommonAlgorithm)?;
    let signature = key.sign(algorithm, octets).ok_or(NoCommonAlgorithm)?;
    let data = if method == AuthMethod::DIGITAL_SIGNATURE {
        named(algorithm, &signature).ok_or(NoCommonAlgorithm)?
    } else {
        signature
    };
    Ok((Authentication { method, data }, algorithm))
}

/// Verifies the peer's signature with a key that is known to be the peer's.
pub fn verify(
    key: &PublicKey,
    legacy: bool,
    octets: &[u8],
    received: &Authentication,
) -> Result<(AuthVerified, SignatureAlgorithm), SignatureError> {
    let (candidates, signature) = read(received, legacy)?;
    let fitting: Vec<_> = candidates
        .into_iter()
        .filter(|algorithm| fits(key.kind(), *algorithm))
        .collect();
    if fitting.is_empty() {
        return Err(SignatureError::Algorithm);
    }
    let found = fitting
        .into_iter()
        .find(|algorithm| key.verify(*algorithm, octets, signature).is_ok());
    found
        .map(|algorithm| (AuthVerified::new(), algorithm))
        .ok_or(SignatureError::Wrong)
}

/// Method and algorithm for a key of ours.
fn choose(
    kind: KeyKind,
    padding: RsaPadding,
    peer: &PeerVerifies,
) -> Option<(AuthMethod, SignatureAlgorithm)> {
    let named = preferred(kind, padding, peer);
    let speaks = |algorithm: &SignatureAlgorithm| peer.hashes.contains(&hash_number(*algorithm));
    // What the peer announced is a wish; SIGNATURE_HASH_ALGORITHMS is what it can.
    let wished = |algorithm: &SignatureAlgorithm| {
        let announced = peer.announced.as_ref();
        announced.is_none_or(|announced| announced.has_algorithm(*algorithm))
    };
    let mut common = named.iter().copied().filter(speaks);
    let best = common.clone().find(wished).or_else(|| common.next());
    if let Some(algorithm) = best {
        return Some((AuthMethod::DIGITAL_SIGNATURE, algorithm));
    }
    // Before RFC 7427.
    match kind {
        KeyKind::Rsa(_) => {
            // RFC 7296 3.8: SHA-1 is what such a peer expects, though it may know others.
            let hash = if peer.legacy && peer.hashes.is_empty() {
                Hash::Sha1
            } else {
                Hash::Sha256
            };
            Some((AuthMethod::RSA, SignatureAlgorithm::RsaPkcs1(hash)))
        }
        KeyKind::Ecdsa(curve) => Some((ecdsa_method(curve), SignatureAlgorithm::EcdsaFixed(curve))),
        KeyKind::Ed25519 => None,
    }
}

/// What a key can do with method 14, best first.
fn preferred(kind: KeyKind, padding: RsaPadding, peer: &PeerVerifies) -> Vec<SignatureAlgorithm> {
    match kind {
        KeyKind::Rsa(bits) => {
            let hashes = if bits < 3072 {
                [Hash::Sha256, Hash::Sha384, Hash::Sha512]
            } else {
                [Hash::Sha384, Hash::Sha512, Hash::Sha256]
            };
            let pss = hashes.map(SignatureAlgorithm::rsa_pss);
            let announced = peer.announced.as_ref();
            let knows_pss = peer.pss
                || announced.is_some_and(|known| pss.iter().any(|algorithm| known.has_algorithm(*algorithm)));
            match padding {
                RsaPadding::Auto if knows_pss => pss.to_vec(),
                RsaPadding::Auto | RsaPadding::Pkcs1 => hashes.map(SignatureAlgorithm::RsaPkcs1).to_vec(),
                RsaPadding::Pss => pss.to_vec(),
            }
        }
        KeyKind::Ecdsa(curve) => vec![SignatureAlgorithm::Ecdsa(curve.hash())],
        KeyKind::Ed25519 => vec![SignatureAlgorithm::Ed25519],
    }
}

/// The algorithms that the data may be of, and the signature.
fn read(received: &Authentication, legacy: bool) -> Result<(Vec<SignatureAlgorithm>, &[u8]), SignatureError> {
    let signature = received.data.as_slice();
    Ok(match received.method {
        AuthMethod::RSA => {
            let hashes = [Hash::Sha256, Hash::Sha384, Hash::Sha512];
            let old = legacy.then_some(Hash::Sha1);
            let hashes = hashes.into_iter().chain(old);
            (hashes.map(SignatureAlgorithm::RsaPkcs1).collect(), signature)
        }
        AuthMethod::ECDSA_256 => (vec![SignatureAlgorithm::EcdsaFixed(Curve::P256)], signature),
        AuthMethod::ECDSA_384 => (vec![SignatureAlgorithm::EcdsaFixed(Curve::P384)], signature),
        AuthMethod::ECDSA_521 => (vec![SignatureAlgorithm::EcdsaFixed(Curve::P521)], signature),
        AuthMethod::DIGITAL_SIGNATURE => {
            // RFC 7427 3: a length, an AlgorithmIdentifier, the signature.
            let (length, rest) = signature.split_first().ok_or(SignatureError::Algorithm)?;
            let (der, signature) = rest
                .split_at_checked(usize::from(*length))
                .ok_or(SignatureError::Algorithm)?;
            let algorithm = from_identifier(der).ok_or(SignatureError::Algorithm)?;
            if algorithm.hash() == Some(Hash::Sha1) {
                return Err(SignatureError::Algorithm);
            }
            (vec![algorithm], signature)
        }
        other @ AuthMethod(_) => return Err(SignatureError::Method(other)),
    })
}

/// Whether a key can have made it: what cannot be is not worth a computation.
fn fits(kind: KeyKind, algorithm: SignatureAlgorithm) -> bool {
    match (kind, algorithm) {
        (KeyKind::Rsa(_), SignatureAlgorithm::RsaPkcs1(_) | SignatureAlgorithm::RsaPss(..))
        | (KeyKind::Ecdsa(_), SignatureAlgorithm::Ecdsa(_))
        | (KeyKind::Ed25519, SignatureAlgorithm::Ed25519) => true,
        (KeyKind::Ecdsa(curve), SignatureAlgorithm::EcdsaFixed(wanted)) => curve == wanted,
        (KeyKind::Rsa(_) | KeyKind::Ecdsa(_) | KeyKind::Ed25519, _) => false,
    }
}

/// RFC 7427 3.
fn named(algorithm: SignatureAlgorithm, signature: &[u8]) -> Option<Vec<u8>> {
    let der = identifier(algorithm)?;
    let mut data = vec![u8::try_from(der.len()).ok()?];
    data.extend_from_slice(&der);
    data.extend_from_slice(signature);
    Some(data)
}

const fn ecdsa_method(curve: Curve) -> AuthMethod {
    match curve {
        Curve::P256 => AuthMethod::ECDSA_256,
        Curve::P384 => AuthMethod::ECDSA_384,
        Curve::P521 => AuthMethod::ECDSA_521,
    }
}

/// RFC 7427 7, RFC 8420 2.
const fn hash_number(algorithm: SignatureAlgorithm) -> u16 {
    match algorithm.hash() {
        Some(Hash::Sha1) => SHA1,
        Some(Hash::Sha256) => SHA2_256,
        Some(Hash::Sha384) => SHA2_384,
        Some(Hash::Sha512) => SHA2_512,
        None => IDENTITY,
    }
}

const SHA1: u16 = 1;
const SHA2_256: u16 = 2;
const SHA2_384: u16 = 3;
const SHA2_512: u16 = 4;
const IDENTITY: u16 = 5;
