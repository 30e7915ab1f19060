//! Key exchange: ephemeral key pairs and the secrets they share (RFC 7296 2.12, 3.4).
//!
//! A key pair is used for one SA. [`KeyPair::shared`] lends it all the same: an initiator must be able to look at a forged
//! answer and still have its key for the genuine one.
//!
//! Only the initiator has a key pair. What the responder sends need not be a public value of its own: with a key
//! encapsulation mechanism it is a ciphertext that only the initiator's public value makes possible ([`respond`]).

mod ecp;
mod mlkem;
mod modp;
mod x25519;

use std::fmt;

use zeroize::Zeroizing;

use crate::api::Random;
use crate::negotiate::transform::KeyExchangeMethod;

/// An ephemeral private value and the public value that goes into the KE payload. Never printed.
pub struct KeyPair {
    method: KeyExchangeMethod,
    private: Private,
    public: Vec<u8>,
}

enum Private {
    Curve25519(x25519::Private),
    Ecp(ecp::Private),
    Modp(modp::Private),
    MlKem(mlkem::Private),
}

/// The responder's part of a key exchange.
pub struct Response {
    /// The Key Exchange Data of its KE payload.
    pub public: Vec<u8>,
    /// What both sides have now.
    pub shared: Zeroizing<Vec<u8>>,
}

/// Why there is no key pair or no shared secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KexError {
    /// A public value of another length than the method has (RFC 7296 3.4, RFC 5903 7, RFC 8031 3.1).
    #[error("the peer's public value has {got} octets, {method} has {expected}")]
    Length {
        /// The method.
        method: KeyExchangeMethod,
        /// Octets there should be.
        expected: usize,
        /// Octets there were.
        got: usize,
    },
    /// A public value that would give away something or is no element of the group (RFC 6989 2).
    #[error("the peer's public value is not a valid one of {method}")]
    InvalidPublic {
        /// The method.
        method: KeyExchangeMethod,
    },
    /// The source of randomness gave nothing usable, however often it was asked.
    #[error("the source of randomness is broken")]
    Random,
}

impl KeyPair {
    /// Makes a key pair. The same octets from `random` make the same key pair, except with ML-KEM, whose library takes
    /// its own randomness.
    pub fn generate(method: KeyExchangeMethod, random: &mut dyn Random) -> Result<Self, KexError> {
        let (private, public) = match method {
            KeyExchangeMethod::Curve25519 => {
                let (private, public) = x25519::generate(random);
                (Private::Curve25519(private), public)
            }
            KeyExchangeMethod::Ecp256 => ecp_pair(ecp::Curve::P256, random)?,
            KeyExchangeMethod::Ecp384 => ecp_pair(ecp::Curve::P384, random)?,
            KeyExchangeMethod::Ecp521 => ecp_pair(ecp::Curve::P521, random)?,
            KeyExchangeMethod::Modp1024 => modp_pair(modp::Group::Modp1024, random),
            KeyExchangeMethod::Modp2048 => modp_pair(modp::Group::Modp2048, random),
            KeyExchangeMethod::Modp3072 => modp_pair(modp::Group::Modp3072, random),
            KeyExchangeMethod::Modp4096 => modp_pair(modp::Group::Modp4096, random),
            KeyExchangeMethod::MlKem512 => mlkem_pair(mlkem::Set::MlKem512)?,
            KeyExchangeMethod::MlKem768 => mlkem_pair(mlkem::Set::MlKem768)?,
            KeyExchangeMethod::MlKem1024 => mlkem_pair(mlkem::Set::MlKem1024)?,
        };
        Ok(Self {
            method,
            private,
            public,
        })
    }

    /// The method it is for.
    pub fn method(&self) -> KeyExchangeMethod {
        self.method
    }

    /// The Key Exchange Data of our KE payload.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// The initiator's shared secret, g^ir or what the ciphertext carries, of the fixed width of the method (RFC 7296 2.14).
    /// `answered` is the Key Exchange Data of the responder.
    pub fn shared(&self, answered: &[u8]) -> Result<Zeroizing<Vec<u8>>, KexError> {
        check_length(self.method, self.method.answer_len(), answered)?;
        self.shared_unchecked(answered)
    }

    fn shared_unchecked(&self, peer_public: &[u8]) -> Result<Zeroizing<Vec<u8>>, KexError> {
        let method = self.method;
        match &self.private {
            Private::Curve25519(private) => x25519::shared(private, peer_public),
            Private::Ecp(private) => ecp::shared(private, peer_public),
            Private::Modp(private) => modp::shared(private, peer_public),
            Private::MlKem(private) => mlkem::decapsulate(private, peer_public),
        }
        .ok_or(KexError::InvalidPublic { method })
    }

    /// A key pair of a test vector (FIPS 203 dk); it has no public value.
    #[cfg(any(test, feature = "testing"))]
    pub fn of_decapsulation_key(method: KeyExchangeMethod, dk: &[u8]) -> Option<Self> {
        Some(Self {
            method,
            private: Private::MlKem(mlkem::of_decapsulation_key(mlkem_set(method)?, dk)?),
            public: Vec::new(),
        })
    }
}

/// The responder's part: what it sends, and what both sides have then. `asked` is the Key Exchange Data of the initiator.
pub fn respond(
    method: KeyExchangeMethod,
    asked: &[u8],
    random: &mut dyn Random,
) -> Result<Response, KexError> {
    // Cheap checks before expensive work.
    check_length(method, method.public_len(), asked)?;
    let Some(set) = mlkem_set(method) else {
        let pair = KeyPair::generate(method, random)?;
        let shared = pair.shared_unchecked(asked)?;
        return Ok(Response {
            public: pair.public,
            shared,
        });
    };
    let (public, shared) = mlkem::encapsulate(set, asked).ok_or(KexError::InvalidPublic { method })?;
    Ok(Response { public, shared })
}

fn check_length(method: KeyExchangeMethod, expected: usize, data: &[u8]) -> Result<(), KexError> {
    if data.len() == expected {
        return Ok(());
    }
    Err(KexError::Length {
        method,
        expected,
        got: data.len(),
    })
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Response(..)")
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({}, ..)", self.method)
    }
}

fn ecp_pair(curve: ecp::Curve, random: &mut dyn Random) -> Result<(Private, Vec<u8>), KexError> {
    let (private, public) = ecp::generate(curve, random).ok_or(KexError::Random)?;
    Ok((Private::Ecp(private), public))
}

fn modp_pair(group: modp::Group, random: &mut dyn Random) -> (Private, Vec<u8>) {
    let (private, public) = modp::generate(group, random);
    (Private::Modp(private), public)
}

fn mlkem_pair(set: mlkem::Set) -> Result<(Private, Vec<u8>), KexError> {
    let (private, public) = mlkem::generate(set).ok_or(KexError::Random)?;
    Ok((Private::MlKem(private), public))
}

fn mlkem_set(method: KeyExchangeMethod) -> Option<mlkem::Set> {
    match method {
        KeyExchangeMethod::MlKem512 => Some(mlkem::Set::MlKem512),
        KeyExchangeMethod::MlKem768 => Some(mlkem::Set::MlKem768),
        KeyExchangeMethod::MlKem1024 => Some(mlkem::Set::MlKem1024),
        KeyExchangeMethod::Curve25519
        | KeyExchangeMethod::Ecp256
        | KeyExchangeMethod::Ecp384
        | KeyExchangeMethod::Ecp521
        | KeyExchangeMethod::Modp1024
        | KeyExchangeMethod::Modp2048
        | KeyExchangeMethod::Modp3072
        | KeyExchangeMethod::Modp4096 => None,
    }
}
