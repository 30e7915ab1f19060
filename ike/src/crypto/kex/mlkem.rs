//! ML-KEM (FIPS 203) as an additional key exchange (draft-ietf-ipsecme-ikev2-mlkem): the initiator sends an encapsulation
//! key, the responder the ciphertext that carries the secret.
//!
//! The library draws its own randomness: its interface takes none. Nothing here depends on what it draws, so that a
//! conversation takes the same course whenever it is replayed.

use aws_lc_rs::kem::{
    Algorithm, Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_512, ML_KEM_768, ML_KEM_1024,
};
use zeroize::Zeroizing;

/// The parameter sets of FIPS 203 8.
#[derive(Clone, Copy)]
pub(super) enum Set {
    MlKem512,
    MlKem768,
    MlKem1024,
}

pub(super) struct Private(DecapsulationKey);

impl Set {
    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::MlKem512 => &ML_KEM_512,
            Self::MlKem768 => &ML_KEM_768,
            Self::MlKem1024 => &ML_KEM_1024,
        }
    }
}

/// The initiator's key pair, and its encapsulation key as octets.
pub(super) fn generate(set: Set) -> Option<(Private, Vec<u8>)> {
    let private = DecapsulationKey::generate(set.algorithm()).ok()?;
    let public = private
        .encapsulation_key()
        .ok()?
        .key_bytes()
        .ok()?
        .as_ref()
        .to_vec();
    Some((Private(private), public))
}

/// A ciphertext for who has the key pair, and the secret in it. `None`: this is no encapsulation key (FIPS 203 7.2, the
/// modulus check).
pub(super) fn encapsulate(set: Set, public: &[u8]) -> Option<(Vec<u8>, Zeroizing<Vec<u8>>)> {
    let key = EncapsulationKey::new(set.algorithm(), public).ok()?;
    let (ciphertext, shared) = key.encapsulate().ok()?;
    Some((
        ciphertext.as_ref().to_vec(),
        Zeroizing::new(shared.as_ref().to_vec()),
    ))
}

/// The secret in a ciphertext. A forged one of the right length gives some secret that nobody else has (FIPS 203 6.3, the
/// implicit rejection), so it shows when the next message cannot be opened.
pub(super) fn decapsulate(private: &Private, ciphertext: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let shared = private.0.decapsulate(Ciphertext::from(ciphertext)).ok()?;
    Some(Zeroizing::new(shared.as_ref().to_vec()))
}

/// The key pair of a test vector.
#[cfg(any(test, feature = "testing"))]
pub(super) fn of_decapsulation_key(set: Set, octets: &[u8]) -> Option<Private> {
    DecapsulationKey::new(set.algorithm(), octets).ok().map(Private)
}
