//! IKE_SESSION_RESUME (RFC 5723 4.3.2).
//!
//! ```text
//! HDR(SPIi, 0), [N(COOKIE)], Ni, N(TICKET_OPAQUE), [N+], [V+]   -->
//!                                <--  HDR(SPIi, SPIr), Nr, [N+], [V+]
//!                         or     <--  HDR(SPIi, 0), N(COOKIE)
//!                         or     <--  HDR(SPIi, 0), N(TICKET_NACK)
//! ```

use super::collect::{need, notifies, once};
use super::init::checked_cookie;
use super::{InitNotifies, only_notify};
use crate::wire::payload::{Nonce, Notify, NotifyType, VendorId};
use crate::wire::{Chain, Fault, Malformed, PayloadType, Payloads};

/// The first message of an IKE SA that goes on from an older one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumeRequest {
    /// The responder's cookie, given back (RFC 7296 2.6).
    pub cookie: Option<Vec<u8>>,
    /// Ni.
    pub nonce: Nonce,
    /// TICKET_OPAQUE: what the responder gave once.
    pub ticket: Vec<u8>,
    /// What else the initiator says.
    pub notifies: InitNotifies,
    /// Who made the initiator.
    pub vendor_ids: Vec<VendorId>,
}

/// The answer to a [`ResumeRequest`]. Nothing vouches for it yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResumeResponse {
    /// The responder goes on.
    Accepted(Box<ResumeAccepted>),
    /// The request shall be repeated with this cookie in front.
    Cookie(Vec<u8>),
    /// The ticket is of no use (TICKET_NACK).
    Refused,
    /// Any error notify.
    OtherError(NotifyType),
}

/// A responder that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumeAccepted {
    /// Nr.
    pub nonce: Nonce,
    /// What else the responder says.
    pub notifies: InitNotifies,
    /// Who made the responder.
    pub vendor_ids: Vec<VendorId>,
}

impl ResumeRequest {
    /// Reads the payloads of a request.
    pub fn parse(chain: &Chain<'_>) -> Result<Self, Malformed> {
        let (nonce, vendor_ids) = slots(chain)?;
        let (mut cookie, mut ticket) = (None, None);
        let mut statuses = InitNotifies::default();
        for item in notifies(chain) {
            let (payload, notify) = item?;
            let slot = match notify.kind {
                NotifyType::COOKIE => Some((&mut cookie, checked_cookie(notify, payload)?)),
                NotifyType::TICKET_OPAQUE => Some((&mut ticket, notify.data)),
                NotifyType(_) => {
                    // RFC 7296 3.10.1: an error type in a request is ignored.
                    statuses.take(notify, payload)?;
                    None
                }
            };
            if let Some((slot, data)) = slot
                && slot.replace(data).is_some()
            {
                return Err(payload.fault(Fault::Duplicate(PayloadType::NOTIFY)));
            }
        }
        Ok(Self {
            cookie,
            nonce: need(nonce, PayloadType::NONCE)?,
            ticket: need(ticket, PayloadType::NOTIFY)?,
            notifies: statuses,
            vendor_ids,
        })
    }

    /// The payloads in the order of the RFC.
    pub fn emit(&self) -> Payloads {
        let mut payloads = Payloads::new();
        if let Some(cookie) = &self.cookie {
            payloads.push(
                PayloadType::NOTIFY,
                &Notify::with_data(NotifyType::COOKIE, cookie.clone()),
            );
        }
        payloads.push(PayloadType::NONCE, &self.nonce);
        payloads.push(
            PayloadType::NOTIFY,
            &Notify::with_data(NotifyType::TICKET_OPAQUE, self.ticket.clone()),
        );
        self.notifies.emit(&mut payloads);
        payloads.push_all(PayloadType::VENDOR_ID, &self.vendor_ids);
        payloads
    }
}

impl ResumeResponse {
    /// Reads the payloads of a response.
    pub fn parse(chain: &Chain<'_>) -> Result<Self, Malformed> {
        let mut statuses = InitNotifies::default();
        let mut cookie = None;
        for item in notifies(chain) {
            let (payload, notify) = item?;
            match notify.kind {
                NotifyType::TICKET_NACK => return Ok(Self::Refused),
                // IKE_SA_INIT will say so again, with a nonce to check it by (RFC 5685 3).
                NotifyType::REDIRECT => return Ok(Self::Refused),
                kind if kind.is_error() => return Ok(Self::OtherError(kind)),
                NotifyType::COOKIE => cookie = Some(checked_cookie(notify, payload)?),
                NotifyType(_) => statuses.take(notify, payload)?,
            }
        }
        let (nonce, vendor_ids) = slots(chain)?;
        match (cookie, nonce) {
            (Some(cookie), None) => Ok(Self::Cookie(cookie)),
            (_, nonce) => Ok(Self::Accepted(Box::new(ResumeAccepted {
                nonce: need(nonce, PayloadType::NONCE)?,
                notifies: statuses,
                vendor_ids,
            }))),
        }
    }

    /// The payloads in the order of the RFC.
    pub fn emit(&self) -> Payloads {
        match self {
            Self::Accepted(accepted) => {
                let mut payloads = Payloads::new();
                payloads.push(PayloadType::NONCE, &accepted.nonce);
                accepted.notifies.emit(&mut payloads);
                payloads.push_all(PayloadType::VENDOR_ID, &accepted.vendor_ids);
                payloads
            }
            Self::Cookie(cookie) => only_notify(&Notify::with_data(NotifyType::COOKIE, cookie.clone())),
            Self::Refused => only_notify(&Notify::new(NotifyType::TICKET_NACK)),
            Self::OtherError(kind) => only_notify(&Notify::new(*kind)),
        }
    }
}

fn slots(chain: &Chain<'_>) -> Result<(Option<Nonce>, Vec<VendorId>), Malformed> {
    let (mut nonce, mut vendor_ids) = (None, Vec::new());
    for payload in chain {
        match payload.kind {
            PayloadType::NONCE => once(&mut nonce, payload)?,
            PayloadType::VENDOR_ID => vendor_ids.push(payload.read()?),
            PayloadType(_) => {}
        }
    }
    Ok((nonce, vendor_ids))
}
