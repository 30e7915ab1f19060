//! A CHILD SA in the place of another (RFC 7296 1.3.3, 2.8, 2.9.2, 2.17).
//!
//! ```text
//! initiator                                                     responder
//!   request: SK {N(REKEY_SA), SA, Ni, [KEi], TSi, TSr}  -->
//!                                                               install inbound
//!                                                       <--     answer: SK {SA, Nr, [KEr], TSi, TSr}
//!   finish: install inbound, install outbound
//!   request: SK {D(old)}                                -->
//!                                                               install outbound: that was the proof
//!                                                       <--     answer: SK {D(old)}
//!   the old one still receives what is on the way               the old one still receives what is on the way
//! ```

use super::Cx;
use super::collision;
use super::follow_up::{self, Series, Wanted};
use super::narrowed::Narrowed;
use super::new_child::{
    Begun, MOST_DETOURS, Unfinished, Wish, agree, carries_aggfrag, failure, invalid, refusal,
};
use super::rekey_refused;
use crate::api::Spi;
use crate::config::ChildId;
use crate::error::{Cause, Failure, Negotiated};
use crate::message::{self, CreateChildRequest, CreateChildResponse, Informational, NewChild};
use crate::negotiate::select::ChildExchange;
use crate::negotiate::transform::KeyExchangeMethod;
use crate::sa::child::ChildSa;
use crate::sa::keymat::SharedSecrets;
use crate::state::{Ending, Established, Request};
use crate::wire::payload::{Notify, NotifyType};
use crate::wire::{ExchangeType, Opened, Payloads};

/// Our request, which awaits its answer.
#[derive(Debug)]
pub(crate) struct Sent {
    /// Our SPI of the one to be replaced.
    pub(crate) old: Spi,
    /// What we offered.
    pub(crate) begun: Begun,
    /// The lower nonces of those that the peer has made in the place of the same one meanwhile. They are kept here
    /// because the peer may have replaced those again before our answer comes.
    pub(crate) rivals: Vec<Vec<u8>>,
    detours: u8,
}

/// Asks for a new CHILD SA in the place of `old`. `method`: the group the peer asked for.
pub(crate) fn request(
    cx: &mut Cx<'_>,
    established: &mut Established,
    old: Spi,
    method: Option<KeyExchangeMethod>,
    detours: u8,
) -> Result<(), Failure> {
    let Some(child) = established.children.get(&old) else {
        return Ok(());
    };
    let (local, remote) = child.selectors();
    let wish = Wish {
        id: child.id(),
        resource: child.resource(),
        local: local.to_vec(),
        remote: remote.to_vec(),
    };
    let proposals = established.config.child(wish.id).esp_proposals.to_vec();
    let (begun, child) = Begun::offer(cx, established, Some(old), proposals, wish, method)?;
    let message = CreateChildRequest::Child {
        // RFC 7296 1.3.3: the SPI that the sender of the request receives on.
        rekeyed: Some(old.0),
        child,
    };
    let sent = Sent {
        old,
        begun,
        rivals: Vec::new(),
        detours,
    };
    established.ask(
        cx,
        ExchangeType::CREATE_CHILD_SA,
        &message.emit(),
        Request::RekeyChild(Box::new(sent)),
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
        let (old, spi, rivals) = (self.old, self.begun.spi, self.rivals.clone());
        let made = match opened
            .chain()
            .and_then(|chain| CreateChildResponse::parse(&chain))
        {
            Ok(CreateChildResponse::Child(answer)) => self
                .begun
                .agree(established, &answer, Some(old))
                .map(|agreed| (agreed, message::link(&answer.other))),
            Ok(CreateChildResponse::Refused(notify)) => {
                cx.spis.release_esp(spi);
                return self.refused(cx, established, &notify);
            }
            Ok(CreateChildResponse::RekeyIke(_)) => Err(invalid("the answer is for an IKE SA")),
            Err(malformed) => {
                // RFC 7296 2.21.3: INVALID_SYNTAX is the end of the IKE SA.
                cx.spis.release_esp(spi);
                return Some(Ending::Expired(failure(Cause::from_malformed(&malformed))));
            }
        };
        match made {
            Ok(((unfinished, secrets), link)) => {
                established.refusals.over(Negotiated::Child);
                Replacement {
                    unfinished,
                    old,
                    rivals,
                }
                .go_on(cx, established, secrets, link)
            }
            Err(cause) => {
                cx.spis.release_esp(spi);
                unusable(cx, established, old, spi, cause);
                None
            }
        }
    }

    fn refused(self, cx: &mut Cx<'_>, established: &mut Established, notify: &Notify) -> Option<Ending> {
        let old = self.old;
        if notify.kind == NotifyType::INVALID_KE_PAYLOAD
            && self.detours < MOST_DETOURS
            && let Some(method) = self.begun.other_group(notify)
        {
            let again = request(cx, established, old, Some(method), self.detours + 1);
            return again.err().map(Ending::Expired);
        }
        if notify.kind == NotifyType::CHILD_SA_NOT_FOUND {
            return collision::not_found(cx, established, old);
        }
        let policy = established.config.child(self.begun.wish.id);
        let cause = rekey_refused::child_by_peer(&policy, notify);
        match established.refused(cx, Negotiated::Child, notify.kind, cause) {
            Ok(at) => {
                if let Some(child) = established.children.get_mut(&old) {
                    child.worn = Some(at);
                }
                None
            }
            Err(ending) => Some(ending),
        }
    }
}

/// The peer has an SA now, perhaps, that we cannot use: it is deleted there. The old one goes on, and what was to take its
/// place is tried for again.
pub(crate) fn unusable(cx: &mut Cx<'_>, established: &mut Established, old: Spi, new: Spi, cause: Cause) {
    let delete = Informational::delete_esp(vec![new.0]);
    established.request(cx, Request::DeleteChild(vec![new]), &delete);
    if let Some(id) = established.children.get(&old).map(ChildSa::id) {
        // The next try is without what the peer made a demand of.
        established.decline_aggfrag(id, &cause);
    }
    let at = established.unusable(cx, Negotiated::Child, cause);
    if let Some(child) = established.children.get_mut(&old) {
        child.worn = Some(at);
    }
}

/// Answers the peer's request to replace the CHILD SA that it receives on by `rekeyed`.
pub(crate) fn answer(
    cx: &mut Cx<'_>,
    established: &mut Established,
    rekeyed: u32,
    wanted: &NewChild,
) -> Payloads {
    let response = match made_for_peer(cx, established, rekeyed, wanted) {
        Ok(accepted) => CreateChildResponse::Child(accepted),
        Err(notify) => CreateChildResponse::Refused(notify),
    };
    response.emit()
}

fn made_for_peer(
    cx: &mut Cx<'_>,
    established: &mut Established,
    rekeyed: u32,
    wanted: &NewChild,
) -> Result<NewChild, Notify> {
    let old = collision::rekeyable(cx, established, rekeyed)?;
    let config = std::sync::Arc::clone(&established.config);
    let child = established.children.get(&old);
    let id = child.map_or(ChildId(0), ChildSa::id);
    let resource = child.and_then(ChildSa::resource);
    let policy = config.child(id);
    let narrowed = match Narrowed::agree(policy, &wanted.offer, ChildExchange::CreateChildSa) {
        Ok(narrowed) => Narrowed {
            resource,
            // It carries what the old one carried.
            aggfrag: narrowed.aggfrag.filter(|_| carries_aggfrag(established, old)),
            ..narrowed
        },
        Err(cause) => {
            let notify = refusal(&cause);
            let cause = rekey_refused::child_by_us(&policy, notify.kind, cause);
            established.refused_by_us(cx, Negotiated::Child, cause);
            return Err(notify);
        }
    };
    let (unfinished, secrets, mut answer) = agree(cx, established, narrowed, wanted, Some(old))?;
    established.refusals.over(Negotiated::Child);
    // Whatever the peer had begun in the same place, it has begun anew.
    follow_up::forget(cx, established, |series| series.replaces() == Some(old));
    let additional = unfinished.additional();
    let replacement = Replacement {
        unfinished,
        old,
        rivals: Vec::new(),
    };
    if additional.is_empty() {
        let made = replacement.make_for_peer(cx, established, &secrets);
        made.map_err(Notify::new)?;
    } else {
        established.note_rival(&replacement.unfinished.origin(cx.now));
        let series = Series::new(Wanted::Child(replacement), secrets, additional);
        let link = follow_up::keep(cx, established, series);
        answer.other.push(message::link_notify(link));
    }
    Ok(answer)
}

/// A CHILD SA in the place of another that both sides agree on, without the keys.
#[derive(Debug)]
pub(crate) struct Replacement {
    unfinished: Unfinished,
    /// Our SPI of the one to be replaced.
    old: Spi,
    rivals: Vec<Vec<u8>>,
}

impl Replacement {
    /// Our SPI of the one to be replaced.
    pub(crate) fn replaced(&self) -> Spi {
        self.old
    }

    /// Our SPI of it.
    pub(crate) fn spi(&self) -> Spi {
        self.unfinished.spi()
    }

    /// It will not be made.
    pub(crate) fn discard(self, cx: &mut Cx<'_>) {
        self.unfinished.discard(cx);
    }

    /// Our CREATE_CHILD_SA was answered: the SA is made, or its additional key exchanges follow.
    fn go_on(
        self,
        cx: &mut Cx<'_>,
        established: &mut Established,
        secrets: SharedSecrets,
        link: Option<Vec<u8>>,
    ) -> Option<Ending> {
        let (additional, old) = (self.unfinished.additional(), self.old);
        let lowest = self.unfinished.lowest();
        let loses = self.rivals.iter().any(|theirs| lowest < *theirs);
        if loses && !additional.is_empty() {
            // RFC 9370 2.2.4: there is nothing to delete yet; we just do not go on.
            self.discard(cx);
            return None;
        }
        if !loses {
            // And neither does the peer, if it has begun the same.
            follow_up::forget(cx, established, |series| series.replaces() == Some(old));
        }
        let series = Series::new(Wanted::Child(self), secrets, additional);
        follow_up::proceed(cx, established, series, link)
    }

    /// All key exchanges are done, and we asked for it.
    pub(crate) fn finish(self, cx: &mut Cx<'_>, established: &mut Established, secrets: &SharedSecrets) {
        let spi = self.unfinished.spi();
        match self.unfinished.complete(cx, established, secrets) {
            Ok(child) => collision::made_by_us(cx, established, self.old, child, &self.rivals),
            Err(cause) => unusable(cx, established, self.old, spi, cause),
        }
    }

    /// All key exchanges are done, and the peer asked for it.
    pub(crate) fn make_for_peer(
        self,
        cx: &mut Cx<'_>,
        established: &mut Established,
        secrets: &SharedSecrets,
    ) -> Result<(), NotifyType> {
        let made = self.unfinished.complete(cx, established, secrets);
        let child = made.map_err(|cause| refusal(&cause).kind)?;
        collision::made_by_peer(cx, established, child);
        Ok(())
    }
}
