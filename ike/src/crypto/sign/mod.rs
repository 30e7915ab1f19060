//! Signatures: RSA (PKCS#1 v1.5 and PSS), ECDSA on the NIST curves, Ed25519.
//!
//! The library that signs draws the randomness of a signature itself, so that a broken source of ours cannot give a
//! private key away.

mod algorithm;
mod identifier;
mod key;
mod legacy;
mod public;

pub use algorithm::{Curve, Hash, SignatureAlgorithm};
pub use identifier::{from_identifier, identifier};
pub use key::{KeyError, KeyFormat, SigningKey};
pub use public::{BadSignature, KeyKind, PublicKey, PublicKeyError};
