//! The CHILD SAs that an IKE SA shall have, and the attempts to have them (RFC 7296 1.3.1, 2.9, RFC 9611).
//!
//! A CHILD SA that cannot be made takes nothing from the others: it is tried for again, ever more seldom.

use std::time::{Duration, Instant};

use super::{Ending, Established, Succession};
use crate::api::{Event, Reason, Role, Spi};
use crate::config::ChildId;
use crate::error::{Cause, Exchange, Failure};
use crate::exchange::Cx;
use crate::exchange::add_child::MOST_LIVING;
use crate::exchange::new_child::Wish;
use crate::negotiate::selector::TrafficSelector;
use crate::sa::child::{ChildSa, Stage};
use crate::timers::{after, back_off};
use crate::wire::payload::NotifyType;

/// A CHILD SA that shall be.
#[derive(Clone, Debug)]
pub(crate) struct Want {
    wish: Wish,
    not_before: Option<Instant>,
    failures: u32,
    given_up: bool,
}

impl Want {
    fn new(wish: Wish, not_before: Option<Instant>) -> Self {
        Self {
            wish,
            not_before,
            failures: 0,
            given_up: false,
        }
    }
}

impl Established {
    /// Makes the list, when the peer was authenticated and has said how it wants the first one.
    pub(super) fn wish(&mut self, cx: &mut Cx<'_>, (single_pair, additional_ts): (bool, bool)) {
        // Both ends have the same wishes, perhaps: the one that came first gets to it first.
        let not_before = match self.ike.role {
            Role::Initiator => None,
            Role::Responder => Some(after(cx.now, RESPONDER_WAIT)),
        };
        let config = std::sync::Arc::clone(&self.config);
        for policy in config.children() {
            for resource in std::iter::once(None).chain((0..policy.resources).map(Some)) {
                let wish = Wish {
                    id: policy.id,
                    resource,
                    local: policy.local_selectors.to_vec(),
                    remote: policy.remote_selectors.to_vec(),
                };
                self.add_want(Want::new(wish, not_before));
            }
        }
        let Some(first) = self.wants.first().map(|want| want.wish.clone()) else {
            return;
        };
        if single_pair {
            self.wish_for_pairs(&first);
        }
        let made = self.children.values().next().map(|child| {
            let (local, remote) = child.selectors();
            (local.to_vec(), remote.to_vec())
        });
        if let Some((local, remote)) = made.filter(|_| additional_ts) {
            self.wish_for_rest(&first, (&local, &remote));
        }
    }

    /// It stands though it may have no CHILD SA for a while: there is more than one thing it is for.
    pub(crate) fn outlives_children(&self) -> bool {
        self.begun_childless
            || !self.config.more_children.is_empty()
            || self.wants.iter().filter(|want| want.base()).count() > 1
    }

    /// The next CHILD SA to ask for.
    pub(super) fn next_wish(&self, now: Instant) -> Option<Wish> {
        if !self.wanted || self.losing || !self.announced {
            return None;
        }
        let due = |want: &&Want| {
            want.not_before.is_none_or(|at| at <= now) && self.lacks(want) && self.has_base(&want.wish)
        };
        let mut wish = self.wants.iter().find(due)?.wish.clone();
        if wish.resource.is_some() {
            // RFC 9611 4: the same selectors as the SA that is for any resource.
            let base = self.children.values().find(|child| is_base(child, &wish))?;
            let (local, remote) = base.selectors();
            (wish.local, wish.remote) = (local.to_vec(), remote.to_vec());
        }
        Some(wish)
    }

    /// When what is missing may be tried for.
    pub(super) fn next_attempts(&self) -> impl Iterator<Item = Instant> {
        let wanted = self.wanted && !self.losing;
        let missing = self.wants.iter().filter(move |want| wanted && self.lacks(want));
        missing.filter_map(|want| want.not_before)
    }

    /// Without a CHILD SA and without the wish to make one it is for the peer to make one, for a while.
    pub(super) fn await_children(&mut self, now: Instant) {
        if self.losing || self.succession != Succession::Current || !self.outlives_children() {
            return;
        }
        if self.wanted || self.children.values().any(ChildSa::lives) {
            self.timers.clear(Reason::Expire);
        } else if !self.timers.is_set(Reason::Expire) {
            self.timers.set(Reason::Expire, after(now, CHILDLESS_WAIT));
        }
    }

    /// The peer wants SAs for single pairs of selectors (RFC 7296 2.9). Whether there is more than one pair.
    pub(crate) fn wish_for_pairs(&mut self, wish: &Wish) -> bool {
        let pairs: Vec<Wish> = wish
            .local
            .iter()
            .flat_map(|local| wish.remote.iter().map(move |remote| (*local, *remote)))
            .filter(|(local, remote)| local.start.is_ipv4() == remote.start.is_ipv4())
            .map(|(local, remote)| Wish {
                local: vec![local],
                remote: vec![remote],
                ..wish.clone()
            })
            .collect();
        if pairs.len() < 2 && wish.local.len() * wish.remote.len() < 2 {
            return false;
        }
        self.wants.retain(|want| want.wish != *wish);
        pairs
            .into_iter()
            .for_each(|pair| self.add_want(Want::new(pair, None)));
        true
    }

    /// The peer has narrowed what we asked for, and says that the rest may be had in another SA (RFC 7296 2.9).
    pub(crate) fn wish_for_rest(&mut self, wish: &Wish, made: (&[TrafficSelector], &[TrafficSelector])) {
        let local = outside(&wish.local, made.0);
        let remote = outside(&wish.remote, made.1);
        let (local, remote) = match (local.is_empty(), remote.is_empty()) {
            (false, _) => (local, wish.remote.clone()),
            (true, false) => (wish.local.clone(), remote),
            (true, true) => return,
        };
        self.add_want(Want::new(
            Wish {
                local,
                remote,
                ..wish.clone()
            },
            None,
        ));
    }

    /// An attempt was refused, or came to nothing. When it is tried again.
    pub(crate) fn wish_failed(
        &mut self,
        cx: &mut Cx<'_>,
        wish: &Wish,
        kind: Option<NotifyType>,
        failure: Failure,
    ) {
        // RFC 9611 5.2: the peer has as many as it can use.
        if kind == Some(NotifyType::TS_MAX_QUEUE) && wish.resource.is_some() {
            let of = |want: &&mut Want| want.wish.id == wish.id && want.wish.resource.is_some();
            self.wants
                .iter_mut()
                .filter(of)
                .for_each(|want| want.given_up = true);
            return;
        }
        let (first, longest) = self.config.retry;
        let otherwise = self.decline_aggfrag(wish.id, &failure.cause);
        let Some(want) = self.wants.iter_mut().find(|want| want.is_for(wish)) else {
            return;
        };
        // RFC 9370 2.2.4: what was begun and came too late is begun anew.
        let again = [NotifyType::TEMPORARY_FAILURE, NotifyType::STATE_NOT_FOUND];
        let temporary = kind.is_some_and(|kind| again.contains(&kind));
        let wait = match kind {
            // RFC 9347 5.1: it is another request, without what the peer made a demand of.
            None if otherwise => Duration::ZERO,
            Some(_) if temporary => back_off(TEMPORARY_WAIT, TEMPORARY_WAIT, 0, cx.random),
            Some(NotifyType::NO_ADDITIONAL_SAS) => back_off(longest, longest, 0, cx.random),
            Some(_) | None => back_off(first, longest, want.failures, cx.random),
        };
        want.not_before = Some(after(cx.now, wait));
        if temporary {
            // RFC 7296 2.25: "not now", and nothing that an operator could do about.
            return;
        }
        want.failures = want.failures.saturating_add(1);
        cx.event(Event::ChildFailed {
            connection: self.config.id,
            child: self.config.child(wish.id).name.to_owned(),
            failure,
            retry_in: self.wanted.then_some(wait),
        });
    }

    /// The CHILD SA of IKE_AUTH was refused, and the IKE SA stands (RFC 7296 1.2).
    pub(crate) fn first_refused(&mut self, cx: &mut Cx<'_>, failure: Failure) {
        let policy = self.config.child(ChildId(0));
        let whole = |want: &&Want| {
            let wish = &want.wish;
            let all = wish.local == policy.local_selectors && wish.remote == policy.remote_selectors;
            wish.id == policy.id && want.base() && all
        };
        // Otherwise the peer wants it in pairs, and gets them.
        if let Some(wish) = self.wants.iter().find(whole).map(|want| want.wish.clone()) {
            self.wish_failed(cx, &wish, None, failure);
        }
    }

    /// The peer deletes it: perhaps it does not want it, so it is not asked at once for another.
    pub(crate) fn child_lost(&mut self, cx: &mut Cx<'_>, spi: Spi) {
        let Some(child) = self.children.get(&spi).filter(|child| child.lives()) else {
            return;
        };
        let (first, longest) = self.config.retry;
        for want in self.wants.iter_mut().filter(|want| serves(child, &want.wish)) {
            let wait = back_off(first, longest, want.failures, cx.random);
            want.not_before = Some(after(cx.now, wait));
        }
    }

    /// A hard limit of a CHILD SA is reached: it is deleted, and made anew; the only one takes the IKE SA with it.
    pub(crate) fn child_expired(&mut self, cx: &mut Cx<'_>, spi: Spi) -> Option<Ending> {
        if !self.outlives_children() {
            return Some(self.expired());
        }
        let connection = self.config.id;
        let child = self.children.get_mut(&spi).filter(|child| child.lives())?;
        child
            .remove_outbound(connection)
            .into_iter()
            .for_each(|output| cx.output(output));
        child.enter(Stage::Doomed, None);
        let name = self.config.child(child.id()).name.to_owned();
        cx.event(Event::ChildFailed {
            connection,
            child: name,
            failure: Failure::new(Exchange::CreateChildSa, Cause::Expired),
            retry_in: None,
        });
        None
    }

    fn add_want(&mut self, want: Want) {
        let known = self.wants.iter().any(|other| other.wish == want.wish);
        if !known && self.wants.len() < MOST_LIVING {
            self.wants.push(want);
        }
    }

    /// A CHILD SA that it shall have is not there.
    pub(crate) fn lacks_any(&self) -> bool {
        self.wants.iter().any(|want| self.lacks(want))
    }

    fn lacks(&self, want: &Want) -> bool {
        let served = |child: &ChildSa| child.lives() && serves(child, &want.wish);
        !want.given_up && !self.children.values().any(served)
    }

    /// RFC 9611 4: the SA for any resource comes first.
    fn has_base(&self, wish: &Wish) -> bool {
        wish.resource.is_none() || self.children.values().any(|child| is_base(child, wish))
    }
}

impl Want {
    fn base(&self) -> bool {
        self.wish.resource.is_none()
    }

    fn is_for(&self, wish: &Wish) -> bool {
        let same = self.wish.id == wish.id && self.wish.resource == wish.resource;
        same && (wish.resource.is_some() || self.wish == *wish)
    }
}

fn is_base(child: &ChildSa, wish: &Wish) -> bool {
    child.lives() && child.id() == wish.id && child.resource().is_none()
}

/// It carries at least part of what is wished for: narrowing is the peer's right (RFC 7296 2.9).
fn serves(child: &ChildSa, wish: &Wish) -> bool {
    child.as_wish().serves(wish)
}

impl Wish {
    /// What was made for this carries at least part of the other.
    pub(super) fn serves(&self, wish: &Self) -> bool {
        self.id == wish.id
            && self.resource == wish.resource
            && overlap(&self.local, &wish.local)
            && overlap(&self.remote, &wish.remote)
    }
}

fn overlap(some: &[TrafficSelector], others: &[TrafficSelector]) -> bool {
    some.iter()
        .any(|one| others.iter().any(|other| one.intersection(other).is_some()))
}

/// What the answer has nothing of.
fn outside(offered: &[TrafficSelector], made: &[TrafficSelector]) -> Vec<TrafficSelector> {
    let untouched = |offer: &&TrafficSelector| !overlap(&[**offer], made);
    offered.iter().filter(untouched).copied().collect()
}

/// How long the side that was asked leaves the making of CHILD SAs to the other.
const RESPONDER_WAIT: Duration = Duration::from_secs(5);
/// The wait after TEMPORARY_FAILURE, scattered by a quarter either way.
const TEMPORARY_WAIT: Duration = Duration::from_secs(2);
/// How long an IKE SA stands without a CHILD SA if we shall not make one.
const CHILDLESS_WAIT: Duration = Duration::from_secs(90);
