//! SUPPORTED_AUTH_METHODS (RFC 9593): by which methods we would like the peer to authenticate.
//!
//! ```text
//! | Length (2)  | Auth Method |                                            methods without parameters
//! | Length (3)  | Auth Method | Cert Link |                                signatures before RFC 7427
//! | Length (>3) | Auth Method | Cert Link | AlgorithmIdentifier            signatures that name their algorithm
//! ```

use crate::crypto::sign::{Curve, Hash, SignatureAlgorithm, from_identifier, identifier};
use crate::wire::payload::AuthMethod;

/// What one side announces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Announced {
    /// Methods without an algorithm of their own.
    methods: Vec<AuthMethod>,
    /// Algorithms of method 14.
    algorithms: Vec<SignatureAlgorithm>,
}

impl Announced {
    /// A pre-shared key.
    pub fn psk() -> Self {
        Self {
            methods: vec![AuthMethod::PSK],
            algorithms: Vec::new(),
        }
    }

    /// Signatures, by any key that we accept.
    pub fn signatures() -> Self {
        let hashes = [Hash::Sha256, Hash::Sha384, Hash::Sha512];
        let mut algorithms = vec![SignatureAlgorithm::Ed25519];
        algorithms.extend(hashes.map(SignatureAlgorithm::Ecdsa));
        // Every RSA key can do SHA-256, and a longer list would not fit into the answer to IKE_SA_INIT.
        algorithms.push(SignatureAlgorithm::rsa_pss(Hash::Sha256));
        algorithms.push(SignatureAlgorithm::RsaPkcs1(Hash::Sha256));
        Self {
            methods: Vec::new(),
            algorithms,
        }
    }

    /// Both together.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        for method in other.methods {
            if !self.methods.contains(&method) {
                self.methods.push(method);
            }
        }
        for algorithm in other.algorithms {
            if !self.algorithms.contains(&algorithm) {
                self.algorithms.push(algorithm);
            }
        }
        self
    }

    /// A signature of this algorithm is welcome.
    pub fn has_algorithm(&self, algorithm: SignatureAlgorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// The notify's data.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for method in &self.methods {
            out.extend_from_slice(&[2, method.0]);
        }
        for der in self
            .algorithms
            .iter()
            .filter_map(|algorithm| identifier(*algorithm))
        {
            let Ok(length) = u8::try_from(der.len().saturating_add(3)) else {
                continue;
            };
            out.extend_from_slice(&[length, AuthMethod::DIGITAL_SIGNATURE.0, ANY_AUTHORITY]);
            out.extend_from_slice(&der);
        }
        out
    }

    /// Reads the notify's data. What is not understood is left out, and reading ends where the lengths make no sense:
    /// nothing depends on it but a preference. Nor is a list read to its end that is longer than any that makes sense: it
    /// comes of a stranger, and is kept.
    pub fn from_bytes(data: &[u8]) -> Self {
        let mut announced = Self::default();
        let mut rest = data;
        for _ in 0..MOST_ITEMS {
            let Some((&length, _)) = rest.split_first() else {
                break;
            };
            let Some((item, behind)) = rest.split_at_checked(usize::from(length)).filter(|_| length >= 2)
            else {
                break;
            };
            rest = behind;
            match item {
                [_, method] | [_, method, _] => announced.methods.push(AuthMethod(*method)),
                [_, method, _, der @ ..] if AuthMethod(*method) == AuthMethod::DIGITAL_SIGNATURE => {
                    announced.algorithms.extend(from_identifier(der));
                }
                [..] => {}
            }
        }
        let fixed = |method: &AuthMethod| match *method {
            AuthMethod::ECDSA_256 => Some(SignatureAlgorithm::EcdsaFixed(Curve::P256)),
            AuthMethod::ECDSA_384 => Some(SignatureAlgorithm::EcdsaFixed(Curve::P384)),
            AuthMethod::ECDSA_521 => Some(SignatureAlgorithm::EcdsaFixed(Curve::P521)),
            AuthMethod(_) => None,
        };
        announced
            .algorithms
            .extend(announced.methods.iter().filter_map(fixed));
        announced
    }
}

/// Methods of a list that are read. There are about a dozen.
const MOST_ITEMS: usize = 64;
/// Not linked to one of the authorities in CERTREQ.
const ANY_AUTHORITY: u8 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_writes() {
        let announced = Announced::psk().and(Announced::signatures());
        let bytes = announced.to_bytes();
        assert_eq!(bytes.get(..2), Some([2, 2].as_slice()));
        // Ed25519: length, method 14, no authority, RFC 8420 appendix A.
        let ed25519 = [10, 14, 0, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
        assert_eq!(bytes.get(2..12), Some(ed25519.as_slice()));
        assert_eq!(Announced::from_bytes(&bytes), announced);
    }

    #[test]
    fn reads_no_more_of_a_list_than_makes_sense() {
        let mut bytes = [2, 9].repeat(MOST_ITEMS);
        assert_eq!(Announced::from_bytes(&bytes).methods.len(), MOST_ITEMS);
        bytes.extend([2, 9].repeat(30_000));
        let announced = Announced::from_bytes(&bytes);
        assert_eq!(
            (announced.methods.len(), announced.algorithms.len()),
            (MOST_ITEMS, MOST_ITEMS)
        );
    }

    #[test]
    fn leaves_out_what_it_does_not_understand_and_ends_where_lengths_make_no_sense() {
        let mut bytes = vec![2, 2, 3, 9, 1, 7, 14, 0, 1, 2, 3, 4];
        bytes.extend_from_slice(&[10, 14, 0, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70]);
        let announced = Announced::from_bytes(&bytes);
        assert!(announced.has_algorithm(SignatureAlgorithm::Ed25519));
        assert!(announced.has_algorithm(SignatureAlgorithm::EcdsaFixed(Curve::P256)));
        for broken in [&[0, 0][..], &[1], &[200, 1], &[2]] {
            assert_eq!(Announced::from_bytes(broken), Announced::default());
        }
    }
}
