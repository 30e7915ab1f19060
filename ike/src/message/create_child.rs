//! CREATE_CHILD_SA (RFC 7296 1.3).
//!
//! ```text
//! a new CHILD SA:   HDR, SK {[N+], SA, Ni, [KEi], TSi, TSr}                 -->  <--  HDR, SK {[N+], SA, Nr, [KEr], TSi, TSr}
//! rekey a CHILD SA: HDR, SK {N(REKEY_SA), [N+], SA, Ni, [KEi], TSi, TSr}    -->  <--  the same
//! rekey the IKE SA: HDR, SK {SA, Ni, KEi}                                   -->  <--  HDR, SK {SA, Nr, KEr}
//! ```

use super::auth::{ChildOffer, ChildSlots, Statuses};
use super::collect::{need, once, push_notifies};
use super::only_notify;
use crate::wire::payload::{KeyExchange, Nonce, Notify, NotifyType, ProtocolId, SecurityAssociation};
use crate::wire::{Chain, Fault, Malformed, PayloadType, Payloads};

/// A request for a new SA, or for one in the place of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateChildRequest {
    /// RFC 7296 1.3.1 and, with `rekeyed`, 1.3.3.
    Child {
        /// The SPI of the CHILD SA that is to be replaced, as the requester received on it (N(REKEY_SA)).
        rekeyed: Option<u32>,
        /// What it shall be.
        child: NewChild,
    },
    /// RFC 7296 1.3.2.
    RekeyIke(NewIke),
}

/// The answer to a [`CreateChildRequest`]. Which of the first two it may be is known by what was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateChildResponse {
    /// The CHILD SA.
    Child(NewChild),
    /// The IKE SA.
    RekeyIke(NewIke),
    /// An error notify: NO_ADDITIONAL_SAS, TEMPORARY_FAILURE, CHILD_SA_NOT_FOUND, INVALID_KE_PAYLOAD, ...
    Refused(Notify),
}

/// One side's part of a new CHILD SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewChild {
    /// SA and traffic selectors.
    pub offer: ChildOffer,
    /// Ni or Nr.
    pub nonce: Nonce,
    /// KEi or KEr, for perfect forward secrecy.
    pub ke: Option<KeyExchange>,
    /// Other notifies that are no errors.
    pub other: Vec<Notify>,
}

/// One side's part of a new IKE SA. Its SPI is in the proposal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewIke {
    /// SA.
    pub sa: SecurityAssociation,
    /// Ni or Nr.
    pub nonce: Nonce,
    /// KEi or KEr: not optional here (RFC 7296 1.3.2).
    pub ke: KeyExchange,
    /// Other notifies that are no errors.
    pub other: Vec<Notify>,
}

impl CreateChildRequest {
    /// Reads the payloads of a request. Errors in a request mean nothing (RFC 7296 3.10.1).
    pub fn parse(chain: &Chain<'_>) -> Result<Self, Malformed> {
        let (slots, mut statuses) = (Slots::fill(chain)?, Statuses::collect(chain)?);
        let rekeyed = take_rekeyed(&mut statuses)?;
        match slots.into_new(statuses)? {
            New::Child(child) => Ok(Self::Child { rekeyed, child }),
            New::Ike(ike) => Ok(Self::RekeyIke(ike)),
        }
    }

    /// The payloads in the order of the RFC.
    pub fn emit(&self) -> Payloads {
        let mut payloads = Payloads::new();
        match self {
            Self::Child { rekeyed, child } => {
                if let Some(spi) = rekeyed {
                    payloads.push(PayloadType::NOTIFY, &Notify::of_esp(NotifyType::REKEY_SA, *spi));
                }
                child.emit(&mut payloads);
            }
            Self::RekeyIke(ike) => ike.emit(&mut payloads),
        }
        payloads
    }
}

impl CreateChildResponse {
    /// Reads the payloads of a response.
    pub fn parse(chain: &Chain<'_>) -> Result<Self, Malformed> {
        let statuses = Statuses::collect(chain)?;
        if let Some(error) = statuses.error {
            return Ok(Self::Refused(error));
        }
        match Slots::fill(chain)?.into_new(statuses)? {
            New::Child(child) => Ok(Self::Child(child)),
            New::Ike(ike) => Ok(Self::RekeyIke(ike)),
        }
    }

    /// The payloads in the order of the RFC.
    pub fn emit(&self) -> Payloads {
        let mut payloads = Payloads::new();
        match self {
            Self::Child(child) => child.emit(&mut payloads),
            Self::RekeyIke(ike) => ike.emit(&mut payloads),
            Self::Refused(notify) => return only_notify(notify),
        }
        payloads
    }
}

impl NewChild {
    fn emit(&self, payloads: &mut Payloads) {
        payloads.push(PayloadType::SA, &self.offer.sa);
        payloads.push(PayloadType::NONCE, &self.nonce);
        payloads.push_some(PayloadType::KE, self.ke.as_ref());
        self.offer.emit_behind_sa(payloads);
        push_notifies(payloads, &self.other);
    }
}

impl NewIke {
    fn emit(&self, payloads: &mut Payloads) {
        payloads.push(PayloadType::SA, &self.sa);
        payloads.push(PayloadType::NONCE, &self.nonce);
        payloads.push(PayloadType::KE, &self.ke);
        push_notifies(payloads, &self.other);
    }
}

enum New {
    Child(NewChild),
    Ike(NewIke),
}

#[derive(Default)]
struct Slots {
    child: ChildSlots,
    nonce: Option<Nonce>,
    ke: Option<KeyExchange>,
}

impl Slots {
    fn fill(chain: &Chain<'_>) -> Result<Self, Malformed> {
        let mut slots = Self::default();
        for payload in chain {
            match payload.kind {
                PayloadType::NONCE => once(&mut slots.nonce, payload)?,
                PayloadType::KE => once(&mut slots.ke, payload)?,
                PayloadType(_) => slots.child.fill(payload)?,
            }
        }
        Ok(slots)
    }

    /// The protocol of the first proposal tells what the SA shall be.
    fn into_new(self, statuses: Statuses) -> Result<New, Malformed> {
        let nonce = need(self.nonce, PayloadType::NONCE)?;
        let is_ike = |sa: &SecurityAssociation| {
            sa.proposals
                .first()
                .is_some_and(|proposal| proposal.protocol == ProtocolId::IKE)
        };
        match self.child.sa {
            Some(sa) if is_ike(&sa) => Ok(New::Ike(NewIke {
                sa,
                nonce,
                ke: need(self.ke, PayloadType::KE)?,
                other: statuses.other,
            })),
            Some(_) | None => {
                let offer = self.child.need(&statuses)?;
                Ok(New::Child(NewChild {
                    offer,
                    nonce,
                    ke: self.ke,
                    other: statuses.other,
                }))
            }
        }
    }
}

/// RFC 7296 1.3.3: N(REKEY_SA) has the protocol and SPI of the SA that is replaced.
fn take_rekeyed(statuses: &mut Statuses) -> Result<Option<u32>, Malformed> {
    let (rekeys, other): (Vec<_>, Vec<_>) = std::mem::take(&mut statuses.other)
        .into_iter()
        .partition(|notify| notify.kind == NotifyType::REKEY_SA);
    statuses.other = other;
    match rekeys.as_slice() {
        [] => Ok(None),
        [rekey] => rekey.esp_spi().map(Some).ok_or_else(|| {
            let value = u64::from(rekey.protocol.0);
            Malformed::new(
                Fault::Value {
                    what: "the protocol or SPI of REKEY_SA",
                    value,
                },
                0,
            )
            .within(PayloadType::NOTIFY, 0)
        }),
        [..] => Err(Malformed::new(Fault::Duplicate(PayloadType::NOTIFY), 0)),
    }
}
