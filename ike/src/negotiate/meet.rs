//! Does one of our proposals meet one of the peer's, and if not, what keeps them apart (RFC 7296 3.3.6)?

use std::fmt;

use crate::api::Spi;
use crate::wire::payload::{Proposal, ProtocolId};

use super::additional::AdditionalChoices;
use super::describe;
use super::proposal::{EspProposal, EspSuite, IkeProposal, IkeSuite};
use super::select::{ChildExchange, ChosenEsp, ChosenIke};
use super::transform::{
    Additional, AdditionalMethods, Encryption, Integrity, KeyExchangeMethod, Prf, TransformType, esn_name,
};

/// The first thing two proposals do not have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// No algorithm of this type is in both.
    Transform {
        /// The type.
        kind: TransformType,
        /// What we accept.
        ours: String,
        /// What they offer.
        theirs: String,
    },
    /// They demand a transform type that does not belong here or that we do not know (RFC 7296 3.3.6).
    UnknownType(u8),
    /// The proposal is for another protocol.
    Protocol(u8),
    /// The proposal has no proper SPI.
    Spi,
}

/// Does one of our proposals meet one of theirs, and in which suite?
pub(super) fn meet_ike(ours: &IkeProposal, theirs: &Proposal) -> Result<ChosenIke, Difference> {
    use TransformType as T;
    let offer = Offer::read(theirs, ProtocolId::IKE, |kind| match kind {
        T::Encryption | T::Prf | T::Integrity | T::KeyExchange | T::AdditionalKeyExchange(_) => true,
        T::ExtendedSequenceNumbers => false,
    })?;
    let spi = match <[u8; 8]>::try_from(theirs.spi.as_slice()) {
        Ok(octets) => Some(u64::from_be_bytes(octets)),
        Err(_) if theirs.spi.is_empty() => None,
        Err(_) => return Err(Difference::Spi),
    };
    let (encryption, integrity) = offer.cipher(&ours.encryption, &ours.integrity)?;
    let prf = offer.first(T::Prf, &ours.prf, Prf::id, Prf::name)?;
    let key_exchange = offer.first(
        T::KeyExchange,
        &ours.key_exchange,
        KeyExchangeMethod::id,
        KeyExchangeMethod::name,
    )?;
    let (additional, answer) = offer.additional(&ours.additional, key_exchange)?;
    Ok(ChosenIke {
        number: theirs.number,
        suite: IkeSuite {
            encryption,
            integrity,
            prf,
            key_exchange,
            additional,
        },
        additional: answer,
        spi,
    })
}

pub(super) fn meet_esp(
    ours: &EspProposal,
    theirs: &Proposal,
    exchange: ChildExchange,
) -> Result<ChosenEsp, Difference> {
    use TransformType as T;
    let offer = Offer::read(theirs, ProtocolId::ESP, |kind| match kind {
        T::Encryption
        | T::Integrity
        | T::KeyExchange
        | T::AdditionalKeyExchange(_)
        | T::ExtendedSequenceNumbers => true,
        T::Prf => false,
    })?;
    let spi = <[u8; 4]>::try_from(theirs.spi.as_slice())
        .map(u32::from_be_bytes)
        .unwrap_or_default();
    if spi <= HIGHEST_RESERVED_SPI {
        return Err(Difference::Spi);
    }
    let (encryption, integrity) = offer.cipher(&ours.encryption, &ours.integrity)?;
    let key_exchange = match exchange {
        ChildExchange::IkeAuth => None,
        // RFC 7296 3.3.6: NONE, or nothing of that type, is a choice like any other.
        ChildExchange::CreateChildSa if ours.key_exchange.is_empty() && offer.allows_none(T::KeyExchange) => {
            None
        }
        ChildExchange::CreateChildSa => {
            let (id, name) = (KeyExchangeMethod::id, KeyExchangeMethod::name);
            Some(offer.first(T::KeyExchange, &ours.key_exchange, id, name)?)
        }
    };
    let (additional, answer) = match (exchange, key_exchange) {
        // As with the first: there is none in IKE_AUTH, whatever was offered (RFC 9370 2.2.4).
        (ChildExchange::IkeAuth, _) => (AdditionalMethods::NONE, AdditionalChoices::none()),
        (ChildExchange::CreateChildSa, Some(first)) => offer.additional(&ours.additional, first)?,
        (ChildExchange::CreateChildSa, None) => offer.no_additional()?,
    };
    let esn = offer.esn(&ours.esn)?;
    let suite = EspSuite {
        encryption,
        integrity,
        esn,
        key_exchange,
        additional,
    };
    Ok(ChosenEsp {
        number: theirs.number,
        suite,
        additional: answer,
        spi: Spi(spi),
    })
}

/// A proposal of the peer that is for the right protocol and has no transform type that does not belong.
struct Offer<'a>(&'a Proposal);

impl<'a> Offer<'a> {
    fn read(
        proposal: &'a Proposal,
        protocol: ProtocolId,
        belongs: impl Fn(TransformType) -> bool,
    ) -> Result<Self, Difference> {
        if proposal.protocol != protocol {
            return Err(Difference::Protocol(proposal.protocol.0));
        }
        // RFC 7296 3.3.6: a proposal with a transform type that is not understood is not acceptable.
        match proposal
            .transforms
            .iter()
            .find(|t| !TransformType::from_wire(t.kind.0).is_some_and(&belongs))
        {
            Some(foreign) => Err(Difference::UnknownType(foreign.kind.0)),
            None => Ok(Self(proposal)),
        }
    }

    /// ID and key length of each acceptable transform of a type.
    fn of(&self, kind: TransformType) -> impl Iterator<Item = (u16, Option<u16>)> {
        // RFC 7296 3.3.6: a transform with an attribute that is not understood is not acceptable.
        let acceptable = self
            .0
            .transforms
            .iter()
            .filter(move |t| t.kind.0 == kind.id() && !t.has_unknown_attribute());
        acceptable.map(|t| (t.id, t.key_length()))
    }

    /// Our first cipher that they offer, with our first integrity algorithm that they offer if it needs one.
    fn cipher(
        &self,
        encryption: &[Encryption],
        integrity: &[Integrity],
    ) -> Result<(Encryption, Option<Integrity>), Difference> {
        let offered = |e: &&Encryption| {
            self.of(TransformType::Encryption)
                .any(|t| t == (e.id(), e.key_length()))
        };
        let mut common = encryption.iter().filter(offered).peekable();
        if common.peek().is_none() {
            return Err(self.difference(TransformType::Encryption, encryption, Encryption::name));
        }
        let suitable = integrity
            .iter()
            .find(|i| self.of(TransformType::Integrity).any(|t| t == (i.id(), None)));
        common
            .find_map(|e| match suitable {
                // Some peers put AEADs and integrity algorithms into one proposal, against RFC 5282 8. An AEAD
                // picked from it stands alone, as everybody answers them.
                _ if e.is_aead() => Some((*e, None)),
                Some(i) => Some((*e, Some(*i))),
                None => None,
            })
            .ok_or_else(|| self.difference(TransformType::Integrity, integrity, Integrity::name))
    }

    /// Our first algorithm of a type without key lengths that they offer.
    fn first<T: Copy>(
        &self,
        kind: TransformType,
        ours: &[T],
        id: fn(T) -> u16,
        name: fn(T) -> &'static str,
    ) -> Result<T, Difference> {
        let offered = |own: &&T| self.of(kind).any(|t| t == (id(**own), None));
        ours.iter()
            .find(offered)
            .copied()
            .ok_or_else(|| self.difference(kind, ours, name))
    }

    /// Of each additional key exchange our first choice that they offer (RFC 9370 2.2.1). What one side does not mention it
    /// does not want; what the other side offers must be answered, be it with NONE.
    fn additional(
        &self,
        ours: &AdditionalChoices,
        first: KeyExchangeMethod,
    ) -> Result<(AdditionalMethods, AdditionalChoices), Difference> {
        let (mut methods, mut answer) = (AdditionalMethods::NONE, AdditionalChoices::none());
        for which in Additional::ALL {
            let kind = TransformType::AdditionalKeyExchange(which);
            let offered: Vec<u16> = self.of(kind).map(|(id, _)| id).collect();
            let choice = ours.of(which).iter().copied().find(|choice| match choice {
                None => offered.is_empty() || offered.contains(&0),
                // RFC 9370 2.2.1: no method is chosen twice.
                Some(method) => {
                    offered.contains(&method.id())
                        && *method != first
                        && methods.methods().all(|other| other != *method)
                }
            });
            let name = |choice: Option<KeyExchangeMethod>| choice.map_or("none", KeyExchangeMethod::name);
            let choice = choice.ok_or_else(|| self.difference(kind, ours.of(which), name))?;
            if let Some(method) = choice {
                methods = methods.with(which, method);
            }
            if !offered.is_empty() {
                answer = answer.with(which, choice);
            }
        }
        Ok((methods, answer))
    }

    /// Without a first key exchange there is no other.
    fn no_additional(&self) -> Result<(AdditionalMethods, AdditionalChoices), Difference> {
        // What stands for the first is never the same as a method that is not chosen.
        self.additional(&AdditionalChoices::none(), KeyExchangeMethod::Curve25519)
    }

    fn esn(&self, ours: &[bool]) -> Result<bool, Difference> {
        let kind = TransformType::ExtendedSequenceNumbers;
        // Old peers leave the type out when they mean no ESN, though it is mandatory (RFC 7296 3.3.3).
        if ours.contains(&false) && self.of(kind).next().is_none() {
            return Ok(false);
        }
        self.first(kind, ours, u16::from, esn_name)
    }

    fn allows_none(&self, kind: TransformType) -> bool {
        let mut offered = self.of(kind).peekable();
        offered.peek().is_none() || offered.any(|(id, _)| id == 0)
    }

    fn difference<T: Copy>(
        &self,
        kind: TransformType,
        ours: &[T],
        name: impl Fn(T) -> &'static str,
    ) -> Difference {
        let ours: Vec<&str> = ours.iter().map(|own| name(*own)).collect();
        let ours = if ours.is_empty() {
            "none".to_owned()
        } else {
            ours.join(", ")
        };
        Difference::Transform {
            kind,
            ours,
            theirs: listed(self.0, kind),
        }
    }
}

pub(super) fn listed(proposal: &Proposal, kind: TransformType) -> String {
    let names = proposal
        .transforms
        .iter()
        .filter(|t| t.kind.0 == kind.id())
        .take(MOST_LISTED)
        .map(|transform| within(kind, describe::transform(transform)));
    let names: Vec<String> = names.collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// `ke1_mlkem768` is a long word where it is clear that it is about ke1.
fn within(kind: TransformType, name: String) -> String {
    match name
        .strip_prefix(kind.name())
        .and_then(|name| name.strip_prefix('_'))
    {
        Some(short) => short.to_owned(),
        None => name,
    }
}

pub(super) fn aead_with_integrity(proposal: &Proposal) -> bool {
    let of = |kind: TransformType| proposal.transforms.iter().filter(move |t| t.kind.0 == kind.id());
    let is_aead = |e: Encryption| e.is_aead();
    of(TransformType::Encryption).any(|t| Encryption::from_wire(t.id, t.key_length()).is_some_and(is_aead))
        && of(TransformType::Integrity).any(|t| t.id != 0)
}

impl Difference {
    /// How far two proposals got before they differed.
    pub(super) fn depth(&self) -> u8 {
        match self {
            Self::Protocol(_) => 0,
            Self::UnknownType(_) => 1,
            Self::Spi => 2,
            Self::Transform { kind, .. } => match kind {
                TransformType::Encryption => 3,
                TransformType::Integrity => 4,
                TransformType::Prf => 5,
                TransformType::KeyExchange => 6,
                TransformType::AdditionalKeyExchange(which) => 6 + which.number(),
                TransformType::ExtendedSequenceNumbers => 14,
            },
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transform { kind, ours, theirs } => {
                write!(f, "they offer {} {theirs}, we accept {ours}", kind.name())
            }
            Self::UnknownType(kind) => write!(f, "they demand transform type {kind}, which we do not know"),
            Self::Protocol(0) => f.write_str("one side has no proposal"),
            Self::Protocol(id) => write!(f, "they offer {}", ProtocolId(*id)),
            Self::Spi => f.write_str("their proposal has no proper SPI"),
        }
    }
}

/// RFC 4303 2.1.
const HIGHEST_RESERVED_SPI: u32 = 255;
const MOST_LISTED: usize = 16;
