//! When the peer is to be authenticated anew (RFC 7296 2.8.3), and how traffic goes over to the IKE SA that this makes.

use std::time::{Duration, Instant};

use super::Established;
use crate::api::Random;
use crate::exchange::collision::MOST_CHILDREN;
use crate::exchange::{Cx, collision, delete};
use crate::sa::child::Stage;
use crate::sa::lifetime::{Limits, Wear};
use crate::timers::{after, back_off};

/// How long an authentication counts. The SAs that replace others by rekeying inherit it.
#[derive(Clone, Debug)]
pub(crate) struct Reauthentication {
    limits: Limits,
    not_before: Option<Instant>,
    failures: u32,
}

impl Reauthentication {
    /// From now on, for the shortest of these times.
    pub(crate) fn new(
        now: Instant,
        lifetimes: [Option<Duration>; 2],
        random: &mut dyn Random,
    ) -> Option<Self> {
        let time = lifetimes.into_iter().flatten().min()?;
        Some(Self {
            limits: Limits::of_ike(now, time, random),
            not_before: None,
            failures: 0,
        })
    }
}

impl Reauthentication {
    /// The one of two that comes first, if there is any.
    pub(crate) fn sooner(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        let over = |of: &Self| of.limits.moments()[1];
        one.into_iter().chain(other).min_by_key(over)
    }

    /// It is time for it.
    pub(crate) fn is_wanted(&self, now: Instant) -> bool {
        self.limits.by_time(now) != Wear::Fresh
    }
}

impl Established {
    /// The peer lets the authentication count so long, from now on (RFC 4478 3).
    pub(crate) fn learn_auth_lifetime(&mut self, cx: &mut Cx<'_>, lifetime: Duration) {
        let theirs = Reauthentication::new(cx.now, [Some(lifetime), None], cx.random);
        let over = |of: &Option<Reauthentication>| of.as_ref().map(|of| of.limits.moments()[1]);
        let sooner = match (over(&theirs), over(&self.reauthentication)) {
            (Some(theirs), Some(ours)) => theirs < ours,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if sooner {
            self.reauthentication = theirs;
        }
    }

    /// It is time for another attempt.
    pub(crate) fn reauthentication_is_due(&self, now: Instant) -> bool {
        let calm = self.announced && self.is_current() && !self.losing && self.predecessors.is_empty();
        self.reauthentication.as_ref().is_some_and(|of| {
            calm && of.limits.by_time(now) != Wear::Fresh && of.not_before.is_none_or(|at| at <= now)
        })
    }

    /// It is wanted, whether an attempt is due or not.
    pub(crate) fn wants_reauthentication(&self, now: Instant) -> bool {
        self.reauthentication
            .as_ref()
            .is_some_and(|of| of.limits.by_time(now) != Wear::Fresh)
    }

    /// An attempt came to nothing. When the next one is made.
    pub(crate) fn reauthentication_failed(&mut self, cx: &mut Cx<'_>) -> Option<Duration> {
        let (first, longest) = self.config.retry;
        let of = self.reauthentication.as_mut()?;
        let wait = back_off(first, longest, of.failures, cx.random);
        of.failures = of.failures.saturating_add(1);
        of.not_before = Some(after(cx.now, wait));
        self.arm(cx.now);
        Some(wait)
    }

    pub(super) fn authentication_is_over(&self, now: Instant) -> bool {
        self.reauthentication
            .as_ref()
            .is_some_and(|of| of.limits.by_time(now) == Wear::Over)
    }

    pub(super) fn reauthentication_moments(&self) -> impl Iterator<Item = Instant> {
        let of = self.reauthentication.iter();
        of.flat_map(|of| of.limits.moments().into_iter().chain(of.not_before))
    }

    /// As the responder of an IKE SA that takes the place of another: it sends with its CHILD SA once the peer has shown that
    /// it has it, or some time later.
    pub(crate) fn await_proof(&mut self, now: Instant) {
        for child in self.children.values_mut() {
            child.enter(Stage::Young, Some(now + PROOF_WAIT));
        }
        self.arm(now);
    }

    /// The CHILD SAs of `old` send no more; what is on its way to them is received for a while, on behalf of this IKE SA. A
    /// peer that begins anew all the time must not pile them up: what finds no room goes at once.
    pub(crate) fn adopt(&mut self, cx: &mut Cx<'_>, old: &mut Self) {
        let connection = self.config.id;
        for (spi, mut child) in std::mem::take(&mut old.children) {
            if self.children.len() >= MOST_CHILDREN {
                delete::remove(cx, connection, [child]);
                continue;
            }
            if child.stage != Stage::Draining {
                collision::drain(cx, connection, &mut child);
            }
            self.children.insert(spi, child);
        }
        self.arm(cx.now);
    }

    /// The peer is done with what this one was made in the place of: it has this one.
    pub(crate) fn take_over(&mut self, cx: &mut Cx<'_>) {
        let young = self.children.values().filter(|child| child.stage == Stage::Young);
        let young: Vec<_> = young.map(|child| child.inbound_spi()).collect();
        for spi in young {
            collision::promote(cx, self, spi);
        }
    }
}

/// A peer that has lost the answer asks again by then; one that has begun anew without a word waits so long for packets.
const PROOF_WAIT: Duration = Duration::from_secs(5);
