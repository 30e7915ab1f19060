//! What both sides want of a CHILD SA that the peer asks for: which of ours it is, its suite and its traffic selectors
//! (RFC 7296 2.7, 2.9).

use crate::api::Spi;
use crate::config::{Aggfrag, ChildId, ChildPolicy, ConnectionConfig};
use crate::error::{Cause, Negotiated, Side};
use crate::message::ChildOffer;
use crate::negotiate::aggfrag;
use crate::negotiate::proposal::EspProposal;
use crate::negotiate::select::{ChildExchange, ChosenEsp, select_esp};
use crate::negotiate::selector::{TrafficSelector, from_payload, narrow};
use crate::sa::child::ChildAgreement;
use crate::sa::ike_sa::IkeSa;
use crate::wire::payload::{Notify, NotifyType};

/// What both sides want of a CHILD SA.
#[derive(Debug)]
pub(crate) struct Narrowed {
    /// Which of our CHILD SAs it is.
    pub(crate) id: ChildId,
    /// The suite, and the peer's SPI.
    pub(crate) chosen: ChosenEsp,
    /// The networks behind us.
    pub(crate) local: Vec<TrafficSelector>,
    /// The networks behind the peer.
    pub(crate) remote: Vec<TrafficSelector>,
    /// The peer asked for exactly these.
    pub(crate) whole: bool,
    /// Another of our CHILD SAs could carry more of what the peer asked for.
    pub(crate) more: bool,
    /// The queue or CPU that it is for; `None`: any (RFC 9611).
    pub(crate) resource: Option<u32>,
    /// It carries AGGFRAG payloads: what we do with them, and the peer (RFC 9347).
    pub(crate) aggfrag: Option<(Aggfrag, Aggfrag)>,
}

impl Narrowed {
    /// Selects the suite and narrows the traffic selectors to what one of our CHILD SAs may carry.
    pub(crate) fn agree(
        policy: ChildPolicy<'_>,
        wanted: &ChildOffer,
        exchange: ChildExchange,
    ) -> Result<Self, Cause> {
        let first;
        let proposals = match exchange {
            ChildExchange::IkeAuth => {
                first = without_key_exchange(policy.esp_proposals);
                first.as_slice()
            }
            ChildExchange::CreateChildSa => policy.esp_proposals,
        };
        let chosen = select_esp(proposals, &wanted.sa, exchange).map_err(|mismatch| Cause::NoProposal {
            of: Negotiated::Child,
            refused_by: Side::Us,
            ours: mismatch.ours,
            theirs: Some(mismatch.offered),
            difference: Some(mismatch.difference.to_string()),
        })?;
        // TSr is ours: the peer is the initiator.
        let (offered_local, offered_remote) = (from_payload(&wanted.tsr), from_payload(&wanted.tsi));
        match (
            narrow(policy.local_selectors, &offered_local),
            narrow(policy.remote_selectors, &offered_remote),
        ) {
            (Ok(local), Ok(remote)) => Ok(Self {
                id: policy.id,
                chosen,
                whole: same(&local, &offered_local) && same(&remote, &offered_remote),
                local,
                remote,
                more: false,
                resource: None,
                aggfrag: agree_aggfrag(policy, wanted),
            }),
            (Err(_), _) | (_, Err(_)) => Err(Cause::SelectorMismatch {
                refused_by: Side::Us,
                ours: (policy.local_selectors.to_vec(), policy.remote_selectors.to_vec()),
                theirs: Some((offered_local, offered_remote)),
            }),
        }
    }

    /// The same for whichever of our CHILD SAs fits best: one that need not be narrowed before one that must, one that is for
    /// exactly this before one that is for more, one that does not stand yet before one that does (`stands`), and in the order
    /// of the configuration. Where several overlap, so each SA finds its own entry of the SPD.
    pub(crate) fn choose(
        config: &ConnectionConfig,
        wanted: &ChildOffer,
        exchange: ChildExchange,
        stands: impl Fn(&Self) -> bool,
    ) -> Result<Self, Cause> {
        let mut best: Option<((bool, bool, bool), Self)> = None;
        let mut refusal: Option<Cause> = None;
        let mut all: Vec<(Vec<TrafficSelector>, Vec<TrafficSelector>)> = Vec::new();
        for policy in config.children() {
            match Self::agree(policy, wanted, exchange) {
                Ok(narrowed) => {
                    all.push((narrowed.local.clone(), narrowed.remote.clone()));
                    let exact = same(&narrowed.local, policy.local_selectors)
                        && same(&narrowed.remote, policy.remote_selectors);
                    let rank = (!narrowed.whole, !exact, stands(&narrowed));
                    if best.as_ref().is_none_or(|(have, _)| rank < *have) {
                        best = Some((rank, narrowed));
                    }
                }
                Err(cause) => refusal = Some(nearer(refusal, cause)),
            }
        }
        match (best, refusal) {
            (Some((_, narrowed)), _) => {
                // RFC 7296 2.9: part of it needs another CHILD SA.
                let more = all.iter().any(|(local, remote)| {
                    !within(local, &narrowed.local) || !within(remote, &narrowed.remote)
                });
                Ok(Self { more, ..narrowed })
            }
            (None, Some(cause)) => Err(cause),
            (None, None) => Err(Cause::NoPolicy),
        }
    }

    /// What the answer says besides.
    pub(crate) fn notifies(&self) -> Vec<Notify> {
        let more = self.more.then(|| Notify::new(NotifyType::ADDITIONAL_TS_POSSIBLE));
        more.into_iter().collect()
    }

    /// As an agreement, with our SPI.
    pub(crate) fn agreement(self, inbound_spi: Spi, ike: &IkeSa) -> ChildAgreement {
        ChildAgreement {
            id: self.id,
            resource: self.resource,
            inbound_spi,
            outbound_spi: self.chosen.spi,
            suite: self.chosen.suite,
            local: self.local,
            remote: self.remote,
            encapsulation: ike.encapsulation,
            xvpn: ike.features.xvpn,
            apart: false,
            any_port: false,
            aggfrag: self.aggfrag.map(|(_, theirs)| theirs),
        }
    }

    /// What the answer says of AGGFRAG payloads.
    pub(crate) fn aggfrag_notify(&self) -> Option<Notify> {
        self.aggfrag.map(|(ours, _)| ours.notify())
    }
}

/// RFC 9347 5.1: there are AGGFRAG payloads in tunnel mode only.
fn agree_aggfrag(policy: ChildPolicy<'_>, wanted: &ChildOffer) -> Option<(Aggfrag, Aggfrag)> {
    let ours = policy.aggfrag.filter(|_| !wanted.transport_mode);
    ours.zip(aggfrag::take_up(ours, wanted.aggfrag.as_ref()))
}

/// Proposals as IKE_AUTH offers them: without a key exchange of their own (RFC 7296 1.2), and those that differed in nothing else once.
pub(crate) fn without_key_exchange(proposals: &[EspProposal]) -> Vec<EspProposal> {
    let mut without: Vec<EspProposal> = Vec::with_capacity(proposals.len());
    for proposal in proposals.iter().map(EspProposal::without_key_exchange) {
        if !without.contains(&proposal) {
            without.push(proposal);
        }
    }
    without
}

/// Each list has what the other has, in whatever order.
pub(crate) fn same(one: &[TrafficSelector], other: &[TrafficSelector]) -> bool {
    one.len() == other.len() && one.iter().all(|selector| other.contains(selector))
}

fn within(inner: &[TrafficSelector], outer: &[TrafficSelector]) -> bool {
    inner
        .iter()
        .all(|selector| outer.iter().any(|wide| wide.contains(selector)))
}

/// Of two reasons why none of our CHILD SAs fits: the selectors of all of them, or else the first.
fn nearer(before: Option<Cause>, cause: Cause) -> Cause {
    match (before, cause) {
        (None, cause) => cause,
        (
            Some(Cause::SelectorMismatch {
                refused_by,
                ours: (mut local, mut remote),
                theirs,
            }),
            Cause::SelectorMismatch { ours, .. },
        ) => {
            local.extend(
                ours.0
                    .into_iter()
                    .filter(|own| !local.contains(own))
                    .collect::<Vec<_>>(),
            );
            remote.extend(
                ours.1
                    .into_iter()
                    .filter(|own| !remote.contains(own))
                    .collect::<Vec<_>>(),
            );
            Cause::SelectorMismatch {
                refused_by,
                ours: (local, remote),
                theirs,
            }
        }
        (Some(before), _) => before,
    }
}
