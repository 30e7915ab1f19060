//! IKE_INTERMEDIATE with an additional key exchange (RFC 9242 3.2, RFC 9370 2.2.2).
//!
//! ```text
//! HDR, SK {KEi(n)}   -->   <--   HDR, SK {KEr(n)}
//!                     or   <--   HDR, SK {N(error)}
//! ```

use super::collect::{need, notifies, once};
use super::only_notify;
use crate::wire::payload::{KeyExchange, Notify};
use crate::wire::{Chain, Malformed, PayloadType, Payloads};

/// One additional key exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntermediateRequest {
    /// KEi(n).
    pub ke: KeyExchange,
}

/// The answer to an [`IntermediateRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntermediateResponse {
    /// KEr(n).
    Accepted(KeyExchange),
    /// An error notify.
    Refused(Notify),
}

impl IntermediateRequest {
    /// Reads the payloads of a request. Errors in a request mean nothing (RFC 7296 3.10.1).
    pub fn parse(chain: &Chain<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            ke: key_exchange(chain)?,
        })
    }

    /// The payloads.
    pub fn emit(&self) -> Payloads {
        only_ke(&self.ke)
    }
}

impl IntermediateResponse {
    /// Reads the payloads of a response.
    pub fn parse(chain: &Chain<'_>) -> Result<Self, Malformed> {
        for item in notifies(chain) {
            let (_, notify) = item?;
            if notify.kind.is_error() {
                return Ok(Self::Refused(notify));
            }
        }
        key_exchange(chain).map(Self::Accepted)
    }

    /// The payloads.
    pub fn emit(&self) -> Payloads {
        match self {
            Self::Accepted(ke) => only_ke(ke),
            Self::Refused(notify) => only_notify(notify),
        }
    }
}

fn key_exchange(chain: &Chain<'_>) -> Result<KeyExchange, Malformed> {
    let mut ke = None;
    for payload in chain.iter().filter(|payload| payload.kind == PayloadType::KE) {
        once(&mut ke, payload)?;
    }
    need(ke, PayloadType::KE)
}

fn only_ke(ke: &KeyExchange) -> Payloads {
    let mut payloads = Payloads::new();
    payloads.push(PayloadType::KE, ke);
    payloads
}
