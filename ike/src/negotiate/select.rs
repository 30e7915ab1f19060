//! Agreeing on a suite: the responder picks one, the initiator checks the pick (RFC 7296 2.7, 3.3.6).

use std::fmt;

use crate::api::Spi;
use crate::wire::payload::{Proposal, ProtocolId, SecurityAssociation};

use super::describe;
use super::proposal::{EspProposal, EspSuite, IkeProposal, IkeSuite};
use super::transform::{Encryption, Integrity, KeyExchangeMethod, Prf, TransformType, esn_name};

/// A suite for an IKE SA that both sides can live with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenIke {
    /// The number of the initiator's proposal it is from.
    pub number: u8,
    /// The algorithms.
    pub suite: IkeSuite,
    /// The peer's new SPI if an IKE SA is being rekeyed; `None` in IKE_SA_INIT.
    pub spi: Option<u64>,
}

/// A suite for a CHILD SA that both sides can live with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenEsp {
    /// The number of the initiator's proposal it is from.
    pub number: u8,
    /// The algorithms.
    pub suite: EspSuite,
    /// The peer's SPI.
    pub spi: Spi,
}

/// In which exchange a CHILD SA is negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildExchange {
    /// Without a key exchange of its own; if the peer names one all the same, that is ignored (RFC 7296 1.2).
    IkeAuth,
    /// With one if both sides want it (RFC 7296 1.3.1).
    CreateChildSa,
}

/// No proposal suits both sides.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{difference} (we accept {ours}; they offer {offered})")]
pub struct Mismatch {
    /// Our proposals.
    pub ours: String,
    /// The peer's proposals.
    pub offered: String,
    /// What keeps the two most similar of them apart.
    pub difference: Difference,
}

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

/// The peer's answer is not one of the things we offered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// There must be exactly one proposal in it.
    #[error("the answer has {0} proposals instead of one")]
    Count(usize),
    /// We did not send a proposal of that number.
    #[error("the answer is to proposal number {0}, which we did not send")]
    Number(u8),
    /// There must be exactly one transform of each type.
    #[error("the answer `{answer}` has not exactly one algorithm for {}", .kind.name())]
    NotOne {
        /// The type.
        kind: TransformType,
        /// The answer.
        answer: String,
    },
    /// It was not in the proposal.
    #[error("the answer `{answer}` is not from the proposal `{offered}`: {difference}")]
    NotOffered {
        /// What we sent under that number.
        offered: String,
        /// The answer.
        answer: String,
        /// What does not fit.
        difference: Difference,
    },
}

/// The responder's part for an IKE SA: our first proposal that one of theirs meets, and in it our first algorithms.
pub fn select_ike(ours: &[IkeProposal], offered: &SecurityAssociation) -> Result<ChosenIke, Mismatch> {
    select(ours, offered, meet_ike)
}

/// The responder's part for a CHILD SA.
pub fn select_esp(
    ours: &[EspProposal],
    offered: &SecurityAssociation,
    exchange: ChildExchange,
) -> Result<ChosenEsp, Mismatch> {
    select(ours, offered, |ours, theirs| meet_esp(ours, theirs, exchange))
}

/// The initiator's part for an IKE SA. `sent` is what went into the offer, in the same order.
pub fn accept_ike(sent: &[IkeProposal], answer: &SecurityAssociation) -> Result<ChosenIke, BadAnswer> {
    use TransformType as T;
    accept(
        sent,
        answer,
        &[T::Encryption, T::Prf, T::Integrity, T::KeyExchange],
        meet_ike,
    )
}

/// The initiator's part for a CHILD SA. `sent` is what went into the offer, in the same order.
pub fn accept_esp(
    sent: &[EspProposal],
    answer: &SecurityAssociation,
    exchange: ChildExchange,
) -> Result<ChosenEsp, BadAnswer> {
    use TransformType as T;
    let kinds = [
        T::Encryption,
        T::Integrity,
        T::KeyExchange,
        T::ExtendedSequenceNumbers,
    ];
    accept(sent, answer, &kinds, |sent, answer| {
        meet_esp(sent, answer, exchange)
    })
}

fn select<P: fmt::Display, C>(
    ours: &[P],
    offered: &SecurityAssociation,
    meet: impl Fn(&P, &Proposal) -> Result<C, Difference>,
) -> Result<C, Mismatch> {
    let mut nearest: Option<Difference> = None;
    for own in ours {
        for theirs in &offered.proposals {
            match meet(own, theirs) {
                Ok(chosen) => return Ok(chosen),
                // The pair that got furthest says best what is in the way.
                Err(difference)
                    if nearest
                        .as_ref()
                        .is_none_or(|best| best.depth() < difference.depth()) =>
                {
                    nearest = Some(difference);
                }
                Err(_) => {}
            }
        }
    }
    let own: Vec<String> = ours.iter().map(ToString::to_string).collect();
    Err(Mismatch {
        ours: own.join(", "),
        offered: describe::proposals(&offered.proposals),
        difference: nearest.unwrap_or(Difference::Protocol(0)),
    })
}

fn accept<P: fmt::Display, C>(
    sent: &[P],
    answer: &SecurityAssociation,
    kinds: &[TransformType],
    meet: impl Fn(&P, &Proposal) -> Result<C, Difference>,
) -> Result<C, BadAnswer> {
    let [proposal] = answer.proposals.as_slice() else {
        return Err(BadAnswer::Count(answer.proposals.len()));
    };
    let index = usize::from(proposal.number).checked_sub(1);
    let offered = index
        .and_then(|index| sent.get(index))
        .ok_or(BadAnswer::Number(proposal.number))?;
    // What is missing is found below; here: no type may be answered twice.
    let twice = |kind: &&TransformType| {
        proposal
            .transforms
            .iter()
            .filter(|t| t.kind.0 == kind.id())
            .count()
            > 1
    };
    if let Some(kind) = kinds.iter().find(twice) {
        return Err(BadAnswer::NotOne {
            kind: *kind,
            answer: describe::proposal(proposal),
        });
    }
    let not_offered = |difference| BadAnswer::NotOffered {
        offered: offered.to_string(),
        answer: describe::proposal(proposal),
        difference,
    };
    if aead_with_integrity(proposal) {
        let (kind, ours) = (TransformType::Integrity, "none with an AEAD".to_owned());
        let theirs = listed(proposal, kind);
        return Err(not_offered(Difference::Transform { kind, ours, theirs }));
    }
    meet(offered, proposal).map_err(not_offered)
}

/// Does one of our proposals meet one of theirs, and in which suite?
fn meet_ike(ours: &IkeProposal, theirs: &Proposal) -> Result<ChosenIke, Difference> {
    use TransformType as T;
    let offer = Offer::read(
        theirs,
        ProtocolId::IKE,
        &[T::Encryption, T::Prf, T::Integrity, T::KeyExchange],
    )?;
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
    Ok(ChosenIke {
        number: theirs.number,
        suite: IkeSuite {
            encryption,
            integrity,
            prf,
            key_exchange,
        },
        spi,
    })
}

fn meet_esp(ours: &EspProposal, theirs: &Proposal, exchange: ChildExchange) -> Result<ChosenEsp, Difference> {
    use TransformType as T;
    let kinds = [
        T::Encryption,
        T::Integrity,
        T::KeyExchange,
        T::ExtendedSequenceNumbers,
    ];
    let offer = Offer::read(theirs, ProtocolId::ESP, &kinds)?;
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
    let esn = offer.esn(&ours.esn)?;
    let suite = EspSuite {
        encryption,
        integrity,
        esn,
        key_exchange,
    };
    Ok(ChosenEsp {
        number: theirs.number,
        suite,
        spi: Spi(spi),
    })
}

/// A proposal of the peer that is for the right protocol and has no transform type that does not belong.
struct Offer<'a>(&'a Proposal);

impl<'a> Offer<'a> {
    fn read(
        proposal: &'a Proposal,
        protocol: ProtocolId,
        kinds: &[TransformType],
    ) -> Result<Self, Difference> {
        if proposal.protocol != protocol {
            return Err(Difference::Protocol(proposal.protocol.0));
        }
        // RFC 7296 3.3.6: a proposal with a transform type that is not understood is not acceptable.
        match proposal
            .transforms
            .iter()
            .find(|t| !kinds.iter().any(|kind| kind.id() == t.kind.0))
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
        name: fn(T) -> &'static str,
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

fn listed(proposal: &Proposal, kind: TransformType) -> String {
    let names = proposal
        .transforms
        .iter()
        .filter(|t| t.kind.0 == kind.id())
        .take(MOST_LISTED)
        .map(describe::transform);
    let names: Vec<String> = names.collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn aead_with_integrity(proposal: &Proposal) -> bool {
    let of = |kind: TransformType| proposal.transforms.iter().filter(move |t| t.kind.0 == kind.id());
    let is_aead = |e: Encryption| e.is_aead();
    of(TransformType::Encryption).any(|t| Encryption::from_wire(t.id, t.key_length()).is_some_and(is_aead))
        && of(TransformType::Integrity).any(|t| t.id != 0)
}

impl Difference {
    /// How far two proposals got before they differed.
    fn depth(&self) -> u8 {
        match self {
            Self::Protocol(_) => 0,
            Self::UnknownType(_) => 1,
            Self::Spi => 2,
            Self::Transform { kind, .. } => match kind {
                TransformType::Encryption => 3,
                TransformType::Integrity => 4,
                TransformType::Prf => 5,
                TransformType::KeyExchange => 6,
                TransformType::ExtendedSequenceNumbers => 7,
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
