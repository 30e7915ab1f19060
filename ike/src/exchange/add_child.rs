//! A CHILD SA beside the others (RFC 7296 1.3.1, 2.9, RFC 9611).
//!
//! ```text
//! initiator                                                     responder
//!   request: SK {[N(SA_RESOURCE_INFO)], SA, Ni, [KEi], TSi, TSr}  -->
//!                                                               install inbound
//!                                                       <--     answer: SK {SA, Nr, [KEr], TSi, TSr, [N+]}
//!   finish: install inbound, install outbound                   install outbound
//! ```

use super::Cx;
use super::collision;
use super::narrowed::{Narrowed, first_exchange_only, same};
use super::new_child::{Begun, MOST_DETOURS, Wish, agree, failure, invalid, refusal};
use crate::api::Spi;
use crate::config::ConnectionConfig;
use crate::error::{Cause, Failure, Negotiated, Side};
use crate::message::{CreateChildRequest, CreateChildResponse, Informational, NewChild};
use crate::negotiate::select::ChildExchange;
use crate::negotiate::transform::KeyExchangeMethod;
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
    let proposals = first_exchange_only(established.config.child(wish.id).esp_proposals);
    let (begun, child) = Begun::offer(cx, proposals, wish, method)?;
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
                self.begun
                    .agree(established, &answer, None)
                    .and_then(|(unfinished, secrets)| unfinished.complete(cx, established, &secrets))
                    .map(|child| (child, more))
            }
            Ok(CreateChildResponse::Refused(notify)) => {
                cx.spis.release_esp(spi);
                return self.refused(cx, established, &notify);
            }
            Ok(CreateChildResponse::RekeyIke(_)) => Err(invalid("the answer is for an IKE SA")),
            Err(malformed) => Err(Cause::from_malformed(&malformed)),
        };
        match made {
            Ok((child, more)) => {
                if more {
                    established.wish_for_rest(&wish, child.selectors());
                }
                collision::added_by_us(cx, established, child, &rivals);
            }
            // The peer has an SA now that we cannot use. The others are not to suffer for it.
            Err(cause) => {
                cx.spis.release_esp(spi);
                let delete = Informational::delete_esp(vec![spi.0]);
                established.request(cx, Request::DeleteChild(vec![spi]), &delete);
                established.wish_failed(cx, &wish, None, failure(cause));
            }
        }
        None
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
        let cause = meaning(&established.config, &wish, notify);
        established.wish_failed(cx, &wish, Some(notify.kind), failure(cause));
        None
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
    // RFC 7296 2.25.2: not while the IKE SA is being replaced.
    if established.rekeys_ike() {
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
    let mut narrowed = chosen.map_err(|cause| refusal(&cause))?;
    let for_resource = |notify: &Notify| notify.kind == NotifyType::SA_RESOURCE_INFO;
    if wanted.other.iter().any(for_resource) {
        narrowed.resource = Some(free_resource(established, &narrowed)?);
    }
    let (unfinished, secrets, answer) = agree(cx, established, narrowed, wanted, None)?;
    let child = unfinished
        .complete(cx, established, &secrets)
        .map_err(|cause| refusal(&cause))?;
    Ok((answer, collision::added_by_peer(cx, established, child)))
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
