//! Refusals to replace an SA: when to ask again, what the operator hears of it, and when it is enough (RFC 7296 2.25).

use std::time::{Duration, Instant};

use super::{Ending, Established};
use crate::api::Event;
use crate::error::{Cause, Exchange, Failure, Negotiated, Side};
use crate::exchange::Cx;
use crate::sa::child::Stage;
use crate::timers::{after, back_off};
use crate::wire::payload::NotifyType;

/// What was refused lately. It is handed down from IKE SA to IKE SA.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusals {
    /// Since when the peer has answered nothing but TEMPORARY_FAILURE.
    temporary_since: Option<Instant>,
    last: Option<Failure>,
    /// When the operator was told last, for each kind of SA and each side.
    told: [Option<Instant>; 4],
}

impl Refusals {
    /// One of this kind was replaced.
    pub(crate) fn over(&mut self, of: Negotiated) {
        (self.temporary_since, self.last) = (None, None);
        for side in [Side::Us, Side::Peer] {
            self.told[slot(of, side)] = None;
        }
    }

    /// Why the peer did not replace an SA that is at its end now.
    pub(crate) fn take_last(&mut self) -> Option<Failure> {
        self.last.take()
    }

    /// Whether the operator is to be told: at once, and as long as it goes on once in a while.
    fn is_news(&mut self, now: Instant, of: Negotiated, refused_by: Side) -> bool {
        let told = &mut self.told[slot(of, refused_by)];
        let news = told.is_none_or(|at| now.saturating_duration_since(at) >= REMIND);
        if news {
            *told = Some(now);
        }
        news
    }
}

impl Established {
    /// RFC 7296 1.2, 1.3.3: IKE_AUTH has no key exchange for the CHILD SA, so whether the two sides agree on one shows
    /// only when it is replaced. If the operator wants to know soon, that is tried soon.
    pub(crate) fn probe(&mut self, cx: &mut Cx<'_>) {
        if !self.config.rekey_probe {
            return;
        }
        let at = after(cx.now, back_off(PROBE_WAIT, PROBE_WAIT, 0, cx.random));
        for child in self
            .children
            .values_mut()
            .filter(|child| child.stage == Stage::Current)
        {
            child.worn.get_or_insert(at);
        }
        self.arm(cx.now);
    }

    /// The peer refused to replace an SA. When to try again, or the end if it has refused "for now" for minutes
    /// (RFC 7296 2.25).
    pub(crate) fn refused(
        &mut self,
        cx: &mut Cx<'_>,
        of: Negotiated,
        notify: NotifyType,
        cause: Cause,
    ) -> Result<Instant, Ending> {
        let failure = Failure::new(Exchange::CreateChildSa, cause);
        // RFC 9370 2.2.4: what was begun and came too late is begun anew, several times.
        if notify == NotifyType::TEMPORARY_FAILURE || notify == NotifyType::STATE_NOT_FOUND {
            let since = *self.refusals.temporary_since.get_or_insert(cx.now);
            if cx.now.saturating_duration_since(since) > TEMPORARY_AT_MOST {
                return Err(Ending::Expired(failure));
            }
            self.refusals.last = Some(failure);
            return Ok(after(
                cx.now,
                back_off(TEMPORARY_WAIT, TEMPORARY_WAIT, 0, cx.random),
            ));
        }
        let wait = back_off(REFUSED_WAIT, REFUSED_WAIT, 0, cx.random);
        self.refusals.temporary_since = None;
        self.refusals.last = Some(failure.clone());
        self.tell(cx, (of, Side::Peer), failure, Some(wait));
        Ok(after(cx.now, wait))
    }

    /// The peer has answered what cannot be an answer to our request to replace an SA. When to try again.
    pub(crate) fn unusable(&mut self, cx: &mut Cx<'_>, of: Negotiated, cause: Cause) -> Instant {
        let failure = Failure::new(Exchange::CreateChildSa, cause);
        let wait = back_off(REFUSED_WAIT, REFUSED_WAIT, 0, cx.random);
        self.refusals.last = Some(failure.clone());
        self.tell(cx, (of, Side::Peer), failure, Some(wait));
        after(cx.now, wait)
    }

    /// We refused the peer's wish to replace an SA: it is the operator of this side who may have to change something.
    pub(crate) fn refused_by_us(&mut self, cx: &mut Cx<'_>, of: Negotiated, cause: Cause) {
        let failure = Failure::new(Exchange::CreateChildSa, cause);
        self.tell(cx, (of, Side::Us), failure, None);
    }

    fn tell(
        &mut self,
        cx: &mut Cx<'_>,
        (of, refused_by): (Negotiated, Side),
        failure: Failure,
        retry_in: Option<Duration>,
    ) {
        if self.announced && self.refusals.is_news(cx.now, of, refused_by) {
            cx.event(Event::Failed {
                connection: Some(self.config.id),
                path: self.ike.path,
                failure,
                retry_in,
            });
        }
    }
}

const fn slot(of: Negotiated, refused_by: Side) -> usize {
    match (of, refused_by) {
        (Negotiated::Ike, Side::Us) => 0,
        (Negotiated::Ike, Side::Peer) => 1,
        (Negotiated::Child, Side::Us) => 2,
        (Negotiated::Child, Side::Peer) => 3,
    }
}

/// The wait before the first CHILD SA is replaced as a probe, scattered by a quarter either way.
const PROBE_WAIT: Duration = Duration::from_secs(10);
/// The wait after TEMPORARY_FAILURE, scattered likewise.
const TEMPORARY_WAIT: Duration = Duration::from_secs(2);
/// The same after another refusal.
const REFUSED_WAIT: Duration = Duration::from_secs(60);
/// RFC 7296 2.25: after "several minutes" of TEMPORARY_FAILURE the two sides are out of step.
const TEMPORARY_AT_MOST: Duration = Duration::from_secs(180);
/// A refusal that goes on is reported again after this time.
const REMIND: Duration = Duration::from_secs(3600);
