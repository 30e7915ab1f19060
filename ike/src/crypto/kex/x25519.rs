//! Curve25519 (RFC 7748, RFC 8031).

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::api::Random;

pub(super) type Private = StaticSecret;

pub(super) fn generate(random: &mut dyn Random) -> (Private, Vec<u8>) {
    let mut scalar = Zeroizing::new([0; 32]);
    random.fill(scalar.as_mut_slice());
    let private = StaticSecret::from(*scalar);
    let public = PublicKey::from(&private).to_bytes().to_vec();
    (private, public)
}

pub(super) fn shared(private: &Private, peer_public: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let peer = <[u8; 32]>::try_from(peer_public).ok()?;
    let shared = private.diffie_hellman(&PublicKey::from(peer));
    // RFC 8031 3.1: all zeros come of a point of small order.
    shared
        .was_contributory()
        .then(|| Zeroizing::new(shared.as_bytes().to_vec()))
}
