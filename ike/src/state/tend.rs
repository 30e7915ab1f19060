//! What an established IKE SA does of itself: one request at a time, lifetimes, and the inheritance when it is replaced.

use std::time::{Duration, Instant};

use super::{Ending, Established, Request, Succession};
use crate::api::{CloseReason, Event, Reason, Usage};
use crate::error::{Cause, Exchange, Failure};
use crate::exchange::follow_up::Place;
use crate::exchange::new_child::Wish;
use crate::exchange::{
    Cx, add_child, collision, crash, follow_up, liveness, mobike, redirect, rekey_child, rekey_ike, ticket,
};
use crate::sa::child::{Origin, Stage};
use crate::sa::ike_sa::IkeSa;
use crate::sa::lifetime::{Limits, Wear};
use crate::sa::mobility::Mobility;
use crate::timers::{Timers, after};
use crate::wire::{ExchangeType, Payloads};

/// A new IKE SA made on an old one.
pub(crate) enum Born {
    /// The peer asked for it: it waits for the CHILD SAs.
    Heir(Box<Established>),
    /// We asked for it, and it lost against the peer's: to be deleted.
    Lost(Box<Established>),
}

impl Established {
    /// It is the one that the CHILD SAs belong to.
    pub(crate) fn is_current(&self) -> bool {
        self.succession == Succession::Current
    }

    /// Its CHILD SAs have moved to another.
    pub(crate) fn is_retired(&self) -> bool {
        self.succession == Succession::Retired
    }

    /// RFC 7296 2.25.2: it is being replaced, by either side.
    pub(crate) fn rekeys_ike(&self) -> bool {
        let ours = match &self.in_flight {
            Some(Request::RekeyIke(_)) => true,
            Some(Request::FollowUp(sent)) => sent.series.is_ike(),
            Some(
                Request::RekeyChild(_)
                | Request::AddChild(_)
                | Request::DeleteChild(_)
                | Request::Liveness
                | Request::Ticket
                | Request::Mobike(_),
            )
            | None => false,
        };
        let theirs = self.pending.iter().any(|pending| pending.series.is_ike());
        ours || theirs || !self.heirs.is_empty() || !self.is_current()
    }

    /// We are replacing a CHILD SA.
    pub(crate) fn rekeys_child(&self) -> bool {
        match &self.in_flight {
            Some(Request::RekeyChild(_)) => true,
            Some(Request::FollowUp(sent)) => sent.series.replaces().is_some(),
            Some(
                Request::RekeyIke(_)
                | Request::AddChild(_)
                | Request::DeleteChild(_)
                | Request::Liveness
                | Request::Ticket
                | Request::Mobike(_),
            )
            | None => false,
        }
    }

    /// RFC 9370 2.2.4: CREATE_CHILD_SA is done, and our additional key exchanges for an SA in this place are under way.
    pub(crate) fn follows_up(&self, place: Place) -> bool {
        match &self.in_flight {
            Some(Request::FollowUp(sent)) => sent.series.place() == place,
            Some(
                Request::RekeyChild(_)
                | Request::AddChild(_)
                | Request::RekeyIke(_)
                | Request::DeleteChild(_)
                | Request::Liveness
                | Request::Ticket
                | Request::Mobike(_),
            )
            | None => false,
        }
    }

    /// The peer has made a CHILD SA in the place of another. If we are about to do the same, the nonces will tell.
    pub(crate) fn note_rival(&mut self, origin: &Origin) {
        if let Some(Request::RekeyChild(sent)) = &mut self.in_flight
            && Some(sent.old) == origin.replaced
            && sent.rivals.len() < MOST_RIVALS
        {
            sent.rivals.push(origin.lowest.clone());
        }
    }

    /// The peer makes a CHILD SA for this. Whether we are about to make the same, so that the nonces will tell.
    pub(crate) fn note_addition(&mut self, made: &Wish, lowest: &[u8]) -> bool {
        let Some(Request::AddChild(sent)) = &mut self.in_flight else {
            return false;
        };
        let rivals = made.serves(&sent.begun.wish) && sent.rivals.len() < MOST_RIVALS;
        if rivals {
            sent.rivals.push(lowest.to_vec());
        }
        rivals
    }

    /// RFC 7296 2.25.1: we are making, replacing or deleting a CHILD SA.
    pub(crate) fn changes_children(&self) -> bool {
        let ours = match &self.in_flight {
            Some(Request::RekeyChild(_) | Request::AddChild(_) | Request::DeleteChild(_)) => true,
            Some(Request::FollowUp(sent)) => !sent.series.is_ike(),
            Some(Request::RekeyIke(_) | Request::Liveness | Request::Ticket | Request::Mobike(_)) | None => {
                false
            }
        };
        let theirs = self.pending.iter().any(|pending| !pending.series.is_ike());
        ours || theirs || self.children.values().any(|child| child.stage == Stage::Doomed)
    }

    /// The request of ours that awaits its answer.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn in_flight(&self) -> Option<&Request> {
        self.in_flight.as_ref()
    }

    /// No request of ours awaits its answer, and another may be sent.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_none() && self.ike.requests.is_free()
    }

    /// Sends a request. The caller has seen that none is in flight.
    pub(crate) fn ask(
        &mut self,
        cx: &mut Cx<'_>,
        exchange: ExchangeType,
        payloads: &Payloads,
        request: Request,
    ) {
        let message = self.ike.request(cx.now, cx.random, exchange, payloads);
        self.in_flight = Some(request);
        cx.transmit(self.ike.path, message);
    }

    /// The end, if no CHILD SA is left and none is on its way.
    pub(crate) fn childless(&mut self, cause: Cause) -> Option<Ending> {
        let any = self.rekeys_child() || self.children.values().any(|child| child.lives());
        (!any && !self.outlives_children())
            .then(|| Ending::Expired(Failure::new(Exchange::CreateChildSa, cause)))
    }

    /// The end because of a hard limit; what the peer said last is the reason.
    pub(crate) fn expired(&mut self) -> Ending {
        let failure = self.refusals.take_last();
        Ending::Expired(failure.unwrap_or_else(|| Failure::new(Exchange::CreateChildSa, Cause::Expired)))
    }

    /// What the dataplane has seen of one of its CHILD SAs.
    pub(crate) fn on_usage(&mut self, cx: &mut Cx<'_>, usage: &Usage) -> Option<Ending> {
        let child = self.children.get_mut(&usage.inbound_spi)?;
        let wear = child.limits.by_usage(usage);
        let lives = child.lives();
        if wear != Wear::Fresh && lives {
            child.worn.get_or_insert(cx.now);
        }
        if usage.inbound_packets > child.inbound_packets {
            child.inbound_packets = usage.inbound_packets;
            child.drain_on(cx.now);
            liveness::heard(self, cx.now);
            // RFC 7296 2.8: who sends on it receives on it.
            collision::promote(cx, self, usage.inbound_spi);
        }
        // If there is a new one in its place, that takes over at once; the old one only receives what is on the way.
        if wear == Wear::Over
            && lives
            && !collision::succeeded(cx, self, usage.inbound_spi)
            && let Some(ending) = self.child_expired(cx, usage.inbound_spi)
        {
            return Some(ending);
        }
        self.tend(cx)
    }

    /// Does what is due: to be called whenever anything has happened.
    pub(crate) fn tend(&mut self, cx: &mut Cx<'_>) -> Option<Ending> {
        if !self.is_current() {
            return None;
        }
        follow_up::age(cx, self);
        let ending = collision::age(cx, self)
            .or_else(|| self.age(cx))
            .or_else(|| self.proceed(cx));
        self.await_children(cx.now);
        self.arm(cx.now);
        ending
    }

    fn age(&mut self, cx: &mut Cx<'_>) -> Option<Ending> {
        // RFC 7296 2.2: message IDs must not wrap, so the IKE SA is replaced before they can.
        match self.ike.message_ids_left() {
            0..LEAST_IDS => return Some(self.expired()),
            LEAST_IDS..FEW_IDS => {
                self.worn.get_or_insert(cx.now);
            }
            FEW_IDS.. => {}
        }
        if self.authentication_is_over(cx.now) {
            let failure = Failure::new(Exchange::IkeAuth, Cause::Expired);
            return Some(Ending::Expired(failure));
        }
        match self.limits.by_time(cx.now) {
            Wear::Fresh => None,
            Wear::Worn => {
                self.worn.get_or_insert(cx.now);
                None
            }
            Wear::Over => Some(self.expired()),
        }
    }

    /// The next request of ours, if one is wanted and may be sent (RFC 7296 2.3: one at a time).
    fn proceed(&mut self, cx: &mut Cx<'_>) -> Option<Ending> {
        // Whatever else there is to say must find its way. If the peer has replaced this IKE SA already, the same is
        // said on the new one.
        if mobike::request_due(cx, self) {
            return None;
        }
        if self.heirs.is_empty() && crash::tell_token(cx, self) {
            return None;
        }
        if self.heirs.is_empty() && redirect::tell(cx, self) {
            return None;
        }
        if self.heirs.is_empty() && ticket::ask_if_due(cx, self) {
            return None;
        }
        // While the peer replaces the IKE SA nothing is begun on the old one (RFC 7296 2.25.2).
        if !self.is_idle() || !self.heirs.is_empty() {
            return None;
        }
        // Nor while it makes any SA in several exchanges (RFC 9370 2.2.4).
        if !self.pending.is_empty() {
            return None;
        }
        if collision::delete_doomed(cx, self) {
            return None;
        }
        if let Some(old) = collision::due(cx, self) {
            return rekey_child::request(cx, self, old, None, 0)
                .err()
                .map(Ending::Expired);
        }
        if let Some(wish) = self.next_wish(cx.now) {
            return add_child::request(cx, self, wish, None, 0)
                .err()
                .map(Ending::Expired);
        }
        let calm = self.children.values().all(|child| match child.stage {
            Stage::Current | Stage::Draining => true,
            Stage::Young | Stage::Redundant | Stage::Doomed | Stage::Deleting => false,
        });
        if calm && self.worn.is_some_and(|at| at <= cx.now) {
            return rekey_ike::request(cx, self, None, 0).err().map(Ending::Expired);
        }
        None
    }

    /// The next moment at which [`tend`](Self::tend) may have something to do. What is past was done, or waits for an
    /// answer.
    pub(crate) fn arm(&mut self, now: Instant) {
        let children = self.children.values();
        let next = children
            .flat_map(|child| {
                let limits = child
                    .lives()
                    .then(|| child.limits.moments())
                    .into_iter()
                    .flatten();
                limits.chain(child.deadline).chain(child.worn)
            })
            .chain(self.limits.moments())
            .chain(self.reauthentication_moments())
            .chain(self.pending.iter().map(|pending| pending.expires))
            .chain(self.worn)
            .chain(self.next_attempts())
            .filter(|at| *at > now)
            .min();
        match next {
            Some(at) => self.timers.set(Reason::Rekey, at),
            None => self.timers.clear(Reason::Rekey),
        }
    }

    /// An IKE SA that may take the place of this one.
    pub(crate) fn heir(&self, cx: &mut Cx<'_>, ike: IkeSa) -> Self {
        cx.new_keys(&ike);
        let mut timers = Timers::default();
        timers.set(Reason::Expire, after(cx.now, HEIR_WAIT));
        Self {
            config: std::sync::Arc::clone(&self.config),
            remote_identity: self.remote_identity.clone(),
            children: std::collections::BTreeMap::new(),
            begun: self.begun,
            since: self.since,
            last_heard: cx.now,
            timers,
            wants: Vec::new(),
            wanted: self.wanted,
            announced: false,
            losing: false,
            succession: Succession::Heir(self.ike.local_spi()),
            heirs: Vec::new(),
            pending: Vec::new(),
            born: Vec::new(),
            mobility: Mobility {
                update: false,
                announce: false,
                check: false,
                ..self.mobility.clone()
            },
            token: None,
            token_due: false,
            redirect_due: None,
            redirected: None,
            credentials: self.credentials,
            ticket: None,
            asks_for_tickets: self.asks_for_tickets,
            ticket_due: false,
            issued: None,
            limits: Limits::of_ike(cx.now, self.config.ike_lifetime, cx.random),
            worn: None,
            refusals: self.refusals.clone(),
            pace: self.pace.clone(),
            in_flight: None,
            reauthentication: self.reauthentication.clone(),
            predecessors: self.predecessors.clone(),
            begun_childless: self.begun_childless,
            aggfrag_declined: self.aggfrag_declined.clone(),
            _proof: self._proof.inherited(),
            ike,
        }
    }

    /// RFC 7296 2.8: the CHILD SAs of `old` belong to this one from now on.
    pub(crate) fn inherit(&mut self, cx: &mut Cx<'_>, old: &mut Self) {
        self.children = std::mem::take(&mut old.children);
        self.wants = std::mem::take(&mut old.wants);
        self.reauthentication = old.reauthentication.take();
        self.predecessors = std::mem::take(&mut old.predecessors);
        self.wanted = old.wanted;
        self.announced = std::mem::take(&mut old.announced);
        self.losing = old.losing;
        self.pace = old.pace.clone();
        // The peer may have moved since this one was made (RFC 7296 2.23).
        self.ike.path = old.ike.path;
        self.succession = Succession::Current;
        // Both may have moved since the heir was made.
        self.token_due = true;
        // RFC 5723 6.2: a ticket is of one IKE SA.
        self.ticket_due = self.asks_for_tickets && self.config.may_resume();
        old.ticket = None;
        ticket::revoke(cx, old, CloseReason::Replaced);
        self.redirect_due = old.redirect_due.take();
        self.mobility = std::mem::take(&mut old.mobility);
        if let Some(Request::Mobike(sent)) = &old.in_flight {
            sent.renew(&mut self.mobility);
        }
        (self.ike.path, self.ike.nat, self.ike.encapsulation) =
            (old.ike.path, old.ike.nat, old.ike.encapsulation);
        self.last_heard = cx.now;
        self.timers = Timers::default();
        liveness::arm(self);
        self.arm_keepalive(cx.now);
        self.arm(cx.now);
        follow_up::forget(cx, old, |_| true);
        old.succession = Succession::Retired;
        old.timers = Timers::default();
        old.timers.set(Reason::Expire, after(cx.now, HEIR_WAIT));
        // A wish of the operator or a limit of an SA that is replaced now.
        old.worn = None;
        if self.losing {
            // The peer is to delete this one, whose predecessor it was to delete.
            self.timers.set(Reason::Expire, after(cx.now, HEIR_WAIT));
        }
        if self.announced {
            let ike = self.ike.facts(self.remote_identity.clone());
            cx.event(Event::IkeEstablished {
                connection: self.config.id,
                ike,
            });
        }
    }

    /// Whatever was asked is not of interest any more.
    pub(crate) fn forget_request(&mut self, cx: &mut Cx<'_>) -> bool {
        follow_up::forget(cx, self, |_| true);
        let request = self.in_flight.take();
        let any = request.is_some();
        match request {
            Some(Request::AddChild(sent)) => cx.spis.release_esp(sent.begun.spi),
            Some(Request::RekeyChild(sent)) => cx.spis.release_esp(sent.begun.spi),
            Some(Request::RekeyIke(sent)) => cx.spis.release_ike(sent.spi, None),
            Some(Request::FollowUp(sent)) => sent.series.discard(cx),
            Some(Request::Liveness | Request::Ticket | Request::DeleteChild(_) | Request::Mobike(_))
            | None => {}
        }
        any
    }
}

/// Message IDs that must be left: to say good-bye, and whatever must be said before.
const LEAST_IDS: u32 = 16;
/// When so few are left the IKE SA is replaced: hours of requests, one after the other.
const FEW_IDS: u32 = 1 << 20;
/// How long an heir waits, and an SA that was replaced stays: longer than the peer goes on asking.
const HEIR_WAIT: Duration = Duration::from_secs(90);
/// A peer that makes one after the other in the place of the same CHILD SA is not right in its mind.
const MOST_RIVALS: usize = 8;
