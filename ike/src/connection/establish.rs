//! A peer is authenticated: install its CHILD SA, and decide which IKE SA is kept if there was one already.
//!
//! Three reasons why there can be two:
//! - INITIAL_CONTACT: the peer has lost the old one, which is removed without a word to it (RFC 7296 2.4).
//! - Both sides initiated at the same time. As in the collision of two rekeyings (RFC 7296 2.8.1), the SA with the
//!   lowest of the four nonces loses; the side that initiated it deletes it. Both sides see the same nonces, so both
//!   keep the same one, and neither ever has none.
//! - Otherwise the peer wanted a new one, and the older one is deleted.
//!
//! Two rules keep traffic flowing meanwhile: an SA that loses at birth is installed for receiving only, so that the
//! last outbound SA installed is always that of the one that is kept; and an attempt that has not sent its IKE_AUTH
//! request gives way to any SA of the peer (the peer cannot know of it).

use std::time::{Duration, Instant};

use super::{Connection, Intent};
use crate::api::{CloseReason, Event, Path, Reason, Role};
use crate::error::Failure;
use crate::exchange::auth::Authenticated;
use crate::exchange::{Cx, add_child, delete};
use crate::sa::child::{ChildSa, Stage};
use crate::sa::datagrams::Datagrams;
use crate::state::{Established, State};
use crate::wire::IkeSpi;

/// What becomes of an IKE SA when the connection gets another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The peer does not know it any more.
    Replaced,
    /// We delete it.
    Deleted,
    /// The peer deletes it.
    Awaited,
    /// The peer has begun anew, or authenticates itself anew: it carries traffic until the peer shows that it has the new one.
    Succeeded,
    /// It is kept, and the new one is not.
    Kept,
}

impl Connection {
    /// `answer` is the responder's IKE_AUTH response, which leaves between the two halves of the CHILD SA.
    pub(crate) fn establish(
        &mut self,
        cx: &mut Cx<'_>,
        authenticated: Authenticated,
        answer: Option<(Path, Datagrams)>,
    ) {
        let mut authenticated = authenticated;
        if let Some(to) = authenticated.redirect.take() {
            return self.sent_away(cx, authenticated, answer, to);
        }
        // RFC 5723 4.3.4: who resumes has lost the old one, which goes without a word.
        let contact = authenticated.initial_contact || authenticated.is_resumed();
        // What was kept was used, or is of no use any more.
        self.session = None;
        let unusable = authenticated.unusable;
        let (mut new, refused) = Established::new(cx, authenticated);
        let spi = new.ike.local_spi();
        cx.spis.adopt(spi, self.id());
        self.shed(cx);
        // Who began without a CHILD SA makes it, whatever made it begin.
        let makes_child = new.begun_childless && new.ike.role == Role::Initiator;
        new.wanted = self.intent == Intent::Up || makes_child;
        let refused = match refused {
            Some(failure) if !new.outlives_children() => {
                return self.without_child(cx, new, answer, failure);
            }
            refused => refused,
        };
        if self.intent == Intent::Down {
            return self.close_unwanted(cx, new);
        }

        let fates: Vec<(IkeSpi, Fate)> = self
            .established()
            // What is to replace another, or was replaced, goes the way of that other.
            .filter(|(_, old)| old.is_current())
            .map(|(spi, old)| (spi, fate(old, &new, contact)))
            .collect();
        let fates = self.in_order(fates);
        let loses = fates.iter().any(|(_, fate)| *fate == Fate::Kept);
        if fates.iter().any(|(_, fate)| *fate == Fate::Succeeded) {
            new.await_proof(cx.now);
        }
        install(cx, &mut new, answer, loses);
        for (spi, fate) in fates {
            self.meet_fate(cx, &mut new, spi, fate);
        }
        self.give_way(cx);
        if loses {
            self.lose(cx, new);
        } else {
            announce(cx, &mut new);
            self.stood_since.get_or_insert(cx.now);
            if let Some(spi) = unusable {
                // RFC 7296 2.21.2: the IKE SA stands, and the peer does not know that the CHILD SA does not.
                add_child::delete_unusable(cx, &mut new, spi);
            }
            if let Some(failure) = refused {
                new.first_refused(cx, failure);
            }
            let ending = new.tend(cx);
            self.after_step(cx, spi, Box::new(new), ending);
        }
    }

    /// The peer is authenticated but there is no CHILD SA: as an initiator we delete the IKE SA, which is of no use; as
    /// a responder we leave that to the peer for a while.
    fn without_child(
        &mut self,
        cx: &mut Cx<'_>,
        mut new: Established,
        answer: Option<(Path, Datagrams)>,
        failure: Failure,
    ) {
        let (spi, path) = (new.ike.local_spi(), new.ike.path);
        match answer {
            Some((to, message)) => {
                cx.transmit(to, message);
                new.timers.set(Reason::Expire, cx.now + PATIENCE);
                self.put(spi, State::Established(Box::new(new)));
                cx.event(Event::Failed {
                    connection: Some(self.id()),
                    path,
                    failure,
                    retry_in: None,
                });
            }
            None => {
                let closing = new.close(cx, CloseReason::Error);
                self.put(spi, State::Closing(Box::new(closing)));
                self.failed(cx, path, failure);
            }
        }
    }

    /// The operator changed their mind while IKE_AUTH was under way.
    fn close_unwanted(&mut self, cx: &mut Cx<'_>, mut new: Established) {
        let spi = new.ike.local_spi();
        let children = std::mem::take(&mut new.children);
        delete::remove(cx, new.config.id, children.into_values());
        let mut closing = new.close(cx, CloseReason::Operator);
        closing.announce_end = true;
        self.put(spi, State::Closing(Box::new(closing)));
    }

    /// A peer that begins anew before it has shown that it has what it began before does not do so in good order: there is
    /// nothing to wait for.
    fn in_order(&self, mut fates: Vec<(IkeSpi, Fate)>) -> Vec<(IkeSpi, Fate)> {
        let is_young = |child: &ChildSa| child.stage == Stage::Young && child.origin.is_none();
        let unproven = self
            .established()
            .any(|(_, old)| !old.losing && old.children.values().any(is_young));
        for (_, fate) in fates.iter_mut().filter(|_| unproven) {
            if *fate == Fate::Succeeded {
                *fate = Fate::Deleted;
            }
        }
        fates
    }

    fn meet_fate(&mut self, cx: &mut Cx<'_>, new: &mut Established, spi: IkeSpi, fate: Fate) {
        let Some(State::Established(mut old)) = self.sas.remove(&spi) else {
            return;
        };
        match fate {
            Fate::Kept => self.put(spi, State::Established(old)),
            Fate::Awaited => {
                old.losing = true;
                old.timers.set(Reason::Expire, cx.now + PATIENCE);
                self.put(spi, State::Established(old));
            }
            Fate::Succeeded => {
                new.predecessors.push(spi);
                old.losing = true;
                old.timers.set(Reason::Expire, cx.now + HANDOVER);
                self.put(spi, State::Established(old));
            }
            // What the new one does not have yet is carried by the old one.
            Fate::Deleted if still_carries(&old, new) => {
                new.predecessors.push(spi);
                old.losing = true;
                old.timers.set(Reason::Expire, cx.now + PATIENCE);
                self.put(spi, State::Established(old));
            }
            Fate::Deleted => {
                new.adopt(cx, &mut old);
                for heir in self.take_heirs(&mut old) {
                    let spi = heir.ike.local_spi();
                    let closing = heir.close(cx, CloseReason::Replaced);
                    self.put(spi, State::Closing(Box::new(closing)));
                }
                let closing = old.close(cx, CloseReason::Replaced);
                self.put(spi, State::Closing(Box::new(closing)));
            }
            Fate::Replaced => {
                self.drop_heirs(cx, &mut old);
                self.remove_now(cx, *old, CloseReason::Replaced);
            }
        }
    }

    /// A peer that begins anew all the time must not pile up deletes that it never answers, nor IKE SAs without a CHILD
    /// SA that it never deletes.
    pub(super) fn shed(&mut self, cx: &mut Cx<'_>) {
        let is_useless = |state: &State| match state {
            State::Closing(_) => true,
            State::Established(established) => established.children.is_empty(),
            State::InitSent(_) | State::ResumeSent(_) | State::IntermediateSent(_) | State::AuthSent(_) => {
                false
            }
        };
        while self.sas.len() >= MOST_SAS {
            let oldest = self
                .sas
                .iter()
                .find(|(_, state)| is_useless(state))
                .map(|(spi, _)| *spi);
            let Some(spi) = oldest else { return };
            match self.sas.remove(&spi) {
                Some(State::Closing(closing)) => self.closed(cx, spi, *closing),
                Some(State::Established(established)) => {
                    self.remove_now(cx, *established, CloseReason::Replaced);
                }
                Some(
                    State::InitSent(_)
                    | State::ResumeSent(_)
                    | State::IntermediateSent(_)
                    | State::AuthSent(_),
                )
                | None => {}
            }
        }
    }

    /// Our own attempts that the peer does not depend on are over.
    fn give_way(&mut self, cx: &mut Cx<'_>) {
        self.timers.clear(Reason::Retry);
        self.sas.retain(|spi, state| match state {
            State::InitSent(_) | State::ResumeSent(_) | State::IntermediateSent(_) => {
                cx.spis.release_ike(*spi, None);
                false
            }
            State::AuthSent(_) | State::Established(_) | State::Closing(_) => true,
        });
    }

    /// The new SA is the one that is not kept.
    fn lose(&mut self, cx: &mut Cx<'_>, mut new: Established) {
        let spi = new.ike.local_spi();
        match new.ike.role {
            Role::Initiator => {
                let closing = new.close(cx, CloseReason::Replaced);
                self.put(spi, State::Closing(Box::new(closing)));
            }
            Role::Responder => {
                new.losing = true;
                new.timers.set(Reason::Expire, cx.now + PATIENCE);
                self.put(spi, State::Established(Box::new(new)));
            }
        }
    }

    /// If only SAs are left that were to lose, the two sides disagreed: one of them is kept after all.
    pub(super) fn promote(&mut self, cx: &mut Cx<'_>) {
        if self.established().any(|(_, established)| !established.losing) {
            return;
        }
        let losing = self.sas.values_mut().find_map(|state| match state {
            State::Established(established) => Some(established),
            State::InitSent(_)
            | State::ResumeSent(_)
            | State::IntermediateSent(_)
            | State::AuthSent(_)
            | State::Closing(_) => None,
        });
        let Some(established) =
            losing.filter(|established| !established.children.is_empty() || established.outlives_children())
        else {
            return;
        };
        established.losing = false;
        established.timers.clear(Reason::Expire);
        let (id, path) = (established.config.id, established.ike.path);
        for child in established.children.values_mut() {
            child
                .install_outbound(id, path)
                .into_iter()
                .for_each(|output| cx.output(output));
        }
        if !established.announced {
            announce(cx, established);
        }
    }
}

/// What becomes of `old` now that there is `new`.
fn fate(old: &Established, new: &Established, contact: bool) -> Fate {
    let both_at_once = old.ike.role != new.ike.role
        && overlaps(old.since, new.begun)
        && (!old.children.is_empty() || old.outlives_children());
    if both_at_once {
        return match (old.ike.nonces.lowest() < new.ike.nonces.lowest(), old.ike.role) {
            (true, Role::Initiator) => Fate::Deleted,
            (true, Role::Responder) => Fate::Awaited,
            (false, _) => Fate::Kept,
        };
    }
    let carries = !old.losing && old.children.values().any(ChildSa::lives) && !new.children.is_empty();
    match (contact, new.ike.role) {
        (true, _) => Fate::Replaced,
        (false, Role::Responder) if carries => Fate::Succeeded,
        (false, Role::Responder | Role::Initiator) => Fate::Deleted,
    }
}

/// We have begun anew, and some of what the old one carries the new one does not carry yet.
fn still_carries(old: &Established, new: &Established) -> bool {
    new.ike.role == Role::Initiator && new.wanted && new.lacks_any() && !old.children.is_empty()
}

/// The old SA was not yet there when the new one was begun.
fn overlaps(old_since: Instant, new_begun: Instant) -> bool {
    new_begun <= old_since
}

/// RFC 7296 2.8 and 1.2: the responder can receive before the peer learns that it may send; the initiator before it
/// sends itself.
fn install(cx: &mut Cx<'_>, new: &mut Established, answer: Option<(Path, Datagrams)>, inbound_only: bool) {
    let (id, path) = (new.config.id, new.ike.path);
    for child in new.children.values_mut() {
        child
            .install_inbound(id, path)
            .into_iter()
            .for_each(|output| cx.output(output));
    }
    if let Some((to, message)) = answer {
        cx.transmit(to, message);
    }
    let sends = |child: &&mut ChildSa| child.stage == Stage::Current && !inbound_only;
    for child in new.children.values_mut().filter(sends) {
        child
            .install_outbound(id, path)
            .into_iter()
            .for_each(|output| cx.output(output));
    }
}

fn announce(cx: &mut Cx<'_>, established: &mut Established) {
    established.announced = true;
    let connection = established.config.id;
    let ike = established.ike.facts(established.remote_identity.clone());
    cx.event(Event::IkeEstablished { connection, ike });
    let is_there = |child: &&mut ChildSa| child.stage == Stage::Current;
    for child in established.children.values_mut().filter(is_there) {
        child.announced = true;
        cx.event(Event::ChildEstablished {
            connection,
            child: child.facts(&established.config),
        });
    }
    established.probe(cx);
}

/// IKE SAs that a connection has at most, the ones that are being deleted included.
const MOST_SAS: usize = 8;
/// How long a peer that has begun anew in good order may take to delete the old one.
const HANDOVER: Duration = Duration::from_secs(12);
/// How long the peer may take to delete what is for it to delete.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
