//! The NIST curves (RFC 5903). Public values are x | y, each of fixed width and without the point format octet
//! of SEC 1; the shared secret is the x coordinate alone.

use aws_lc_rs::agreement::{self, Algorithm, ECDH_P256, ECDH_P384, ECDH_P521, PrivateKey, UnparsedPublicKey};
use zeroize::Zeroizing;

use crate::api::Random;

#[derive(Clone, Copy)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

pub(super) struct Private(PrivateKey);

impl Curve {
    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::P256 => &ECDH_P256,
            Self::P384 => &ECDH_P384,
            Self::P521 => &ECDH_P521,
        }
    }

    /// Octets of a scalar.
    fn scalar_len(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// The bits of the first octet that a scalar may have.
    fn first_octet_mask(self) -> u8 {
        match self {
            Self::P256 | Self::P384 => 0xff,
            Self::P521 => 0x01,
        }
    }
}

pub(super) fn generate(curve: Curve, random: &mut dyn Random) -> Option<(Private, Vec<u8>)> {
    (0..MOST_CANDIDATES).find_map(|_| {
        let mut scalar = Zeroizing::new(vec![0; curve.scalar_len()]);
        random.fill(&mut scalar);
        if let Some(first) = scalar.first_mut() {
            *first &= curve.first_octet_mask();
        }
        // Candidates beyond the order are refused, not reduced: reducing would make some scalars likelier.
        pair(curve, &scalar)
    })
}

pub(super) fn shared(private: &Private, peer_public: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut point = vec![UNCOMPRESSED];
    point.extend_from_slice(peer_public);
    // The library refuses a point that is not on the curve (RFC 6989 2.3).
    let peer = UnparsedPublicKey::new(private.0.algorithm(), point);
    agreement::agree(&private.0, &peer, (), |shared| {
        Ok(Zeroizing::new(shared.to_vec()))
    })
    .ok()
}

fn pair(curve: Curve, scalar: &[u8]) -> Option<(Private, Vec<u8>)> {
    let private = PrivateKey::from_private_key(curve.algorithm(), scalar).ok()?;
    let public = private.compute_public_key().ok()?;
    let coordinates = public.as_ref().strip_prefix(&[UNCOMPRESSED])?.to_vec();
    Some((Private(private), coordinates))
}

/// SEC 1 2.3.3: the point is not compressed.
const UNCOMPRESSED: u8 = 4;
/// The worst of the three orders refuses one candidate in 2^32.
const MOST_CANDIDATES: usize = 16;
