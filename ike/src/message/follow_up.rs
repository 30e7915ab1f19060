//! IKE_FOLLOWUP_KE (RFC 9370 2.2.4).
//!
//! ```text
//! HDR, SK {KEi(n), N(ADDITIONAL_KEY_EXCHANGE)(link)}   -->   <--   HDR, SK {KEr(n), [N(ADDITIONAL_KEY_EXCHANGE)(link)]}
//!                                                       or   <--   HDR, SK {N(error)}
//! ```

use super::collect::{need, notifies, once};
use super::only_notify;
use crate::wire::payload::{KeyExchange, Notify, NotifyType};
use crate::wire::{Chain, Malformed, PayloadType, Payloads};

/// One more key exchange for an SA that is being made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowUpRequest {
    /// KEi(n).
    pub ke: KeyExchange,
    /// What the responder last gave, as it was.
    pub link: Vec<u8>,
}

/// The answer to a [`FollowUpRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FollowUpResponse {
    /// KEr(n), and what the next request is to give back if there is to be one.
    Accepted {
        /// KEr(n).
        ke: KeyExchange,
        /// For the next one.
        link: Option<Vec<u8>>,
    },
    /// An error notify: STATE_NOT_FOUND and others.
    Refused(Notify),
}

/// The link among the notifies of a CREATE_CHILD_SA response.
pub fn link(notifies: &[Notify]) -> Option<Vec<u8>> {
    let found = notifies.iter().find(|notify| is_link(notify));
    found.map(|notify| notify.data.clone())
}

/// A link as a notify.
pub fn link_notify(link: Vec<u8>) -> Notify {
    Notify::with_data(NotifyType::ADDITIONAL_KEY_EXCHANGE, link)
}

impl FollowUpRequest {
    /// Reads the payloads of a request. Errors in a request mean nothing (RFC 7296 3.10.1).
    pub fn parse(chain: &Chain<'_>) -> Result<Self, Malformed> {
        let read = Parts::read(chain)?;
        Ok(Self {
            ke: need(read.ke, PayloadType::KE)?,
            link: read.link.ok_or_else(|| Malformed::missing(PayloadType::NOTIFY))?,
        })
    }

    /// The payloads.
    pub fn emit(&self) -> Payloads {
        emit(&self.ke, Some(&self.link))
    }
}

impl FollowUpResponse {
    /// Reads the payloads of a response.
    pub fn parse(chain: &Chain<'_>) -> Result<Self, Malformed> {
        let read = Parts::read(chain)?;
        if let Some(error) = read.error {
            return Ok(Self::Refused(error));
        }
        Ok(Self::Accepted {
            ke: need(read.ke, PayloadType::KE)?,
            link: read.link,
        })
    }

    /// The payloads.
    pub fn emit(&self) -> Payloads {
        match self {
            Self::Accepted { ke, link } => emit(ke, link.as_ref()),
            Self::Refused(notify) => only_notify(notify),
        }
    }
}

#[derive(Default)]
struct Parts {
    ke: Option<KeyExchange>,
    link: Option<Vec<u8>>,
    error: Option<Notify>,
}

impl Parts {
    fn read(chain: &Chain<'_>) -> Result<Self, Malformed> {
        let mut parts = Self::default();
        for payload in chain.iter().filter(|payload| payload.kind == PayloadType::KE) {
            once(&mut parts.ke, payload)?;
        }
        for item in notifies(chain) {
            let (_, notify) = item?;
            if is_link(&notify) {
                parts.link.get_or_insert(notify.data);
            } else if notify.kind.is_error() {
                parts.error.get_or_insert(notify);
            }
        }
        Ok(parts)
    }
}

fn is_link(notify: &Notify) -> bool {
    notify.kind == NotifyType::ADDITIONAL_KEY_EXCHANGE
}

fn emit(ke: &KeyExchange, link: Option<&Vec<u8>>) -> Payloads {
    let mut payloads = Payloads::new();
    payloads.push(PayloadType::KE, ke);
    if let Some(link) = link {
        payloads.push(PayloadType::NOTIFY, &link_notify(link.clone()));
    }
    payloads
}
