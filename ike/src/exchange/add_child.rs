//! A CHILD SA beside the others (RFC 7296 1.3.1, 2.9, RFC 9611).
//!
//! ```text
//! initiator                                                     responder
//!   request: SK {[N(SA_RESOURCE_INFO)], SA, Ni, [KEi], TSi, TSr}  -->
//!                                                               install inbound
//!                                                       <--     answer: SK {SA, Nr, [KEr], TSi, TSr, [N+]}
//!   finish: install inbound, install outbound                   install outbound
//! ```
//!
//! With additional key exchanges (RFC 9370 2.2.4) IKE_FOLLOWUP_KE comes in between, and the SA is made with the last of them.

use super::Cx;
use super::collision;
use super::follow_up::{self, Place, Series, Wanted};
use super::narrowed::{Narrowed, same};
use super::new_child::{Begun, MOST_DETOURS, Unfinished, Wish, agree, failure, invalid, refusal};
use crate::api::Spi;
use crate::config::ConnectionConfig;
use crate::error::{Cause, Failure, Negotiated, Side};
use crate::message::{self, CreateChildRequest, CreateChildResponse, Informational, NewChild};
use crate::negotiate::select::ChildExchange;
use crate::negotiate::transform::{AdditionalMethods, KeyExchangeMethod};
use crate::sa::keymat::SharedSecrets;
use crate::state::{Ending, Established, Request};
use crate::wire::payload::{Notify, NotifyType};
use crate::wire::{ExchangeType, Opened, Payloads};

/// Our request, which awaits its answer.
#[derive(Debug)]
pub(crate) struct Sent {
    /// What we offered.
    pub(crate) begun: Begun,
    /// The lower nonces of those that the peer has made for the same meanwhile.
    pub(crate) rivals: Vec<Vec<u8>>,
    detours: u8,
}

/// Asks for another CHILD SA. `method`: the group the peer asked for.
pub(crate) fn request(
    cx: &mut Cx<'_>,
    established: &mut Established,
    wish: Wish,
    method: Option<KeyExchangeMethod>,
    detours: u8,
) -> Result<(), Failure> {
    let proposals = established.config.child(wish.id).esp_proposals.to_vec();
    let (begun, child) = Begun::offer(cx, established, None, proposals, wish, method)?;
    let message = CreateChildRequest::Child { rekeyed: None, child };
    let sent = Sent {
        begun,
        rivals: Vec::new(),
        detours,
    };
    established.ask(
        cx,
        ExchangeType::CREATE_CHILD_SA,
        &message.emit(),
        Request::AddChild(Box::new(sent)),
    );
    Ok(())
}

impl Sent {
    /// Judges the answer.
    pub(crate) fn finish(
        self,
        cx: &mut Cx<'_>,
        established: &mut Established,
        opened: &Opened,
    ) -> Option<Ending> {
        let (spi, wish, rivals) = (self.begun.spi, self.begun.wish.clone(), self.rivals.clone());
        let answer = opened
            .chain()
            .and_then(|chain| CreateChildResponse::parse(&chain));
        let made = match answer {
            Ok(CreateChildResponse::Child(answer)) => {
                let more = answer
                    .other
                    .iter()
                    .any(|notify| notify.kind == NotifyType::ADDITIONAL_TS_POSSIBLE);
                let agreed = self.begun.agree(established, &answer, None);
                agreed.map(|agreed| (agreed, more, message::link(&answer.other)))
            }
            Ok(CreateChildResponse::Refused(notify)) => {
                cx.spis.release_esp(spi);
                return self.refused(cx, established, &notify);
            }
            Ok(CreateChildResponse::RekeyIke(_)) => Err(invalid("the answer is for an IKE SA")),
            Err(malformed) => Err(Cause::from_malformed(&malformed)),
        };
        match made {
            Ok(((unfinished, secrets), more, link)) => {
                let addition = Addition {
                    unfinished,
                    wish,
                    rivals,
                    more,
                };
                addition.go_on(cx, established, secrets, link)
            }
            Err(cause) => {
                cx.spis.release_esp(spi);
                unusable(cx, established, &wish, spi, cause);
                None
            }
        }
    }

    fn refused(self, cx: &mut Cx<'_>, established: &mut Established, notify: &Notify) -> Option<Ending> {
        let wish = self.begun.wish.clone();
        if notify.kind == NotifyType::INVALID_KE_PAYLOAD
            && self.detours < MOST_DETOURS
            && let Some(method) = self.begun.other_group(notify)
        {
            let again = request(cx, established, wish, Some(method), self.detours + 1);
            return again.err().map(Ending::Expired);
        }
        // RFC 7296 2.9: whoever wants single pairs gets them.
        if notify.kind == NotifyType::SINGLE_PAIR_REQUIRED && established.wish_for_pairs(&wish) {
            return None;
        }
        refused(cx, established, &wish, notify);
        None
    }
}

/// The peer refused it.
pub(crate) fn refused(cx: &mut Cx<'_>, established: &mut Established, wish: &Wish, notify: &Notify) {
    let cause = meaning(&established.config, wish, notify);
    established.wish_failed(cx, wish, Some(notify.kind), failure(cause));
}

/// The peer has an SA now, perhaps, that we cannot use. The others are not to suffer for it.
pub(crate) fn unusable(cx: &mut Cx<'_>, established: &mut Established, wish: &Wish, spi: Spi, cause: Cause) {
    delete_unusable(cx, established, spi);
    established.wish_failed(cx, wish, None, failure(cause));
}

/// The peer has a CHILD SA that is none here: it is deleted there. `spi`: that we would have received on.
pub(crate) fn delete_unusable(cx: &mut Cx<'_>, established: &mut Established, spi: Spi) {
    let delete = Informational::delete_esp(vec![spi.0]);
    established.request(cx, Request::DeleteChild(vec![spi]), &delete);
}

/// A CHILD SA beside the others that both sides agree on, without the keys.
#[derive(Debug)]
pub(crate) struct Addition {
    unfinished: Unfinished,
    wish: Wish,
    rivals: Vec<Vec<u8>>,
    /// The peer would give the rest of what was asked for in another one.
    more: bool,
}

impl Addition {
    /// Our SPI of it.
    pub(crate) fn spi(&self) -> Spi {
        self.unfinished.spi()
    }

    /// What it is for.
    pub(crate) fn wish(&self) -> &Wish {
        &self.wish
    }

    /// It will not be made.
    pub(crate) fn discard(self, cx: &mut Cx<'_>) {
        self.unfinished.discard(cx);
    }

    fn additional(&self) -> AdditionalMethods {
        self.unfinished.additional()
    }

    /// Our CREATE_CHILD_SA was answered: the SA is made, or its additional key exchanges follow.
    fn go_on(
        self,
        cx: &mut Cx<'_>,
        established: &mut Established,
        secrets: SharedSecrets,
        link: Option<Vec<u8>>,
    ) -> Option<Ending> {
        let additional = self.additional();
        let lowest = self.unfinished.lowest();
        if !additional.is_empty() {
            if self.rivals.iter().any(|theirs| lowest < *theirs) {
                // As when both replace one (RFC 9370 2.2.4): there is nothing to delete yet.
                self.discard(cx);
                return None;
            }
            follow_up::forget(cx, established, Series::is_addition);
        }
        let series = Series::new(Wanted::Added(self), secrets, additional);
        follow_up::proceed(cx, established, series, link)
    }

    /// All key exchanges are done, and we asked for it.
    pub(crate) fn finish(self, cx: &mut Cx<'_>, established: &mut Established, secrets: &SharedSecrets) {
        let spi = self.spi();
        match self.unfinished.complete(cx, established, secrets) {
            Ok(child) => {
                if self.more {
                    established.wish_for_rest(&self.wish, child.selectors());
                }
                collision::added_by_us(cx, established, child, &self.rivals);
            }
            Err(cause) => unusable(cx, established, &self.wish, spi, cause),
        }
    }

    /// All key exchanges are done, and the peer asked for it. What is to send once the answer has left.
    pub(crate) fn make_for_peer(
        self,
        cx: &mut Cx<'_>,
        established: &mut Established,
        secrets: &SharedSecrets,
    ) -> Result<Option<Spi>, NotifyType> {
        let made = self.unfinished.complete(cx, established, secrets);
        let child = made.map_err(|cause| refusal(&cause).kind)?;
        Ok(collision::added_by_peer(cx, established, child))
    }
}

/// What the peer's refusal means.
fn meaning(config: &ConnectionConfig, wish: &Wish, notify: &Notify) -> Cause {
    match notify.kind {
        NotifyType::NO_PROPOSAL_CHOSEN => Cause::NoProposal {
            of: Negotiated::Child,
            refused_by: Side::Peer,
            ours: super::init::joined(config.child(wish.id).esp_proposals),
            theirs: None,
            difference: None,
        },
        NotifyType::TS_UNACCEPTABLE | NotifyType::SINGLE_PAIR_REQUIRED => Cause::SelectorMismatch {
            refused_by: Side::Peer,
            ours: (wish.local.clone(), wish.remote.clone()),
            theirs: None,
        },
        other => Cause::from_notify(other),
    }
}

/// Answers the peer's request for another CHILD SA. What is given besides is to send once the answer has left.
pub(crate) fn answer(
    cx: &mut Cx<'_>,
    established: &mut Established,
    wanted: &NewChild,
) -> (Payloads, Option<Spi>) {
    match made_for_peer(cx, established, wanted) {
        Ok((accepted, young)) => (CreateChildResponse::Child(accepted).emit(), young),
        Err(notify) => (CreateChildResponse::Refused(notify).emit(), None),
    }
}

fn made_for_peer(
    cx: &mut Cx<'_>,
    established: &mut Established,
    wanted: &NewChild,
) -> Result<(NewChild, Option<Spi>), Notify> {
    // RFC 7296 2.25.2: not while the IKE SA is being replaced. RFC 9370 2.2.4: nor while our additional key exchanges for
    // another one are under way.
    if established.rekeys_ike() || established.follows_up(Place::Beside) {
        return Err(Notify::new(NotifyType::TEMPORARY_FAILURE));
    }
    let living = established.children.values().filter(|child| child.lives());
    if living.count() >= MOST_LIVING || established.children.len() >= 2 * MOST_LIVING {
        return Err(Notify::new(NotifyType::NO_ADDITIONAL_SAS));
    }
    let config = std::sync::Arc::clone(&established.config);
    let stands = |narrowed: &Narrowed| {
        established.children.values().any(|child| {
            let (local, remote) = child.selectors();
            let same = same(local, &narrowed.local) && same(remote, &narrowed.remote);
            child.lives() && child.id() == narrowed.id && same
        })
    };
    let chosen = Narrowed::choose(&config, &wanted.offer, ChildExchange::CreateChildSa, stands);
    let mut narrowed = chosen.map_err(|cause| {
        let notify = refusal(&cause);
        // Who has to change something may be the operator of this side.
        established.refused_by_us(cx, Negotiated::Child, cause);
        notify
    })?;
    let for_resource = |notify: &Notify| notify.kind == NotifyType::SA_RESOURCE_INFO;
    if wanted.other.iter().any(for_resource) {
        narrowed.resource = Some(free_resource(established, &narrowed)?);
    }
    let (unfinished, secrets, mut answer) = agree(cx, established, narrowed, wanted, None)?;
    let (wish, additional) = (unfinished.as_wish(), unfinished.additional());
    let addition = Addition {
        unfinished,
        wish,
        rivals: Vec::new(),
        more: false,
    };
    if additional.is_empty() {
        let made = addition.make_for_peer(cx, established, &secrets);
        return made.map(|young| (answer, young)).map_err(Notify::new);
    }
    established.note_addition(&addition.wish, &addition.unfinished.lowest());
    let series = Series::new(Wanted::Added(addition), secrets, additional);
    let link = follow_up::keep(cx, established, series);
    answer.other.push(message::link_notify(link));
    Ok((answer, None))
}

/// RFC 9611 4: a resource of ours that has no SA yet; there must be an SA for any resource.
fn free_resource(established: &Established, narrowed: &Narrowed) -> Result<u32, Notify> {
    let of = |resource: Option<u32>| {
        let mut children = established.children.values();
        children.any(|child| child.lives() && child.id() == narrowed.id && child.resource() == resource)
    };
    let resources = established.config.child(narrowed.id).resources;
    (0..resources)
        .find(|resource| of(None) && !of(Some(*resource)))
        .ok_or_else(|| Notify::new(NotifyType::TS_MAX_QUEUE))
}

/// CHILD SAs in use of an IKE SA at most; a peer that wants more hears NO_ADDITIONAL_SAS (RFC 7296 1.3).
pub(crate) const MOST_LIVING: usize = 96;
