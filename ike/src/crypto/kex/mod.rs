//! Key exchange: ephemeral key pairs and the secrets they share (RFC 7296 2.12, 3.4).
//!
//! A key pair is used for one SA. [`KeyPair::shared`] lends it all the same: an initiator must be able to look at a forged
//! answer and still have its key for the genuine one.

mod ecp;
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
    /// Makes a key pair. The same octets from `random` make the same key pair.
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

    /// The shared secret g^ir, of the fixed width of the method (RFC 7296 2.14).
    pub fn shared(&self, peer_public: &[u8]) -> Result<Zeroizing<Vec<u8>>, KexError> {
        let method = self.method;
        let expected = method.public_len();
        if peer_public.len() != expected {
            return Err(KexError::Length {
                method,
                expected,
                got: peer_public.len(),
            });
        }
        match &self.private {
            Private::Curve25519(private) => x25519::shared(private, peer_public),
            Private::Ecp(private) => ecp::shared(private, peer_public),
            Private::Modp(private) => modp::shared(private, peer_public),
        }
        .ok_or(KexError::InvalidPublic { method })
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
