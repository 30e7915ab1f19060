//! Agreeing on a suite: the responder picks one, the initiator checks the pick (RFC 7296 2.7, 3.3.6).

use std::fmt;

use crate::api::Spi;
use crate::wire::payload::{Proposal, SecurityAssociation};

use super::additional::AdditionalChoices;
use super::describe;
use super::meet::{aead_with_integrity, listed, meet_esp, meet_ike};
use super::proposal::{EspProposal, EspSuite, IkeProposal, IkeSuite};
use super::transform::{Additional, TransformType};

pub use super::meet::Difference;

/// A suite for an IKE SA that both sides can live with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenIke {
    /// The number of the initiator's proposal it is from.
    pub number: u8,
    /// The algorithms.
    pub suite: IkeSuite,
    /// The additional key exchanges as they are answered: of each type that was offered the method, or NONE.
    pub additional: AdditionalChoices,
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
    /// The additional key exchanges as they are answered: of each type that was offered the method, or NONE.
    pub additional: AdditionalChoices,
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
    let additional = Additional::ALL.map(TransformType::AdditionalKeyExchange);
    if let Some(kind) = kinds.iter().chain(&additional).find(twice) {
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
