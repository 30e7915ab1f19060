//! Message IDs, windows of one in each direction, retransmission (RFC 7296 2.1 to 2.3).
//!
//! Each side numbers its own requests from 0. With a window of one there is at most one request of ours without
//! an answer, and of the peer's requests only the next one is fresh and only the last one may be repeated.

use std::time::{Duration, Instant};

use crate::config::Retransmission;
use crate::sa::datagrams::Datagrams;
use crate::timers::after;
use crate::wire::Plain;

/// Our requests.
#[derive(Debug)]
pub(crate) struct Requests {
    next_id: u32,
    in_flight: Option<InFlight>,
    policy: Retransmission,
}

/// A request that awaits its answer.
#[derive(Debug)]
struct InFlight {
    id: u32,
    message: Datagrams,
    /// What is in it, if it may have to be cut into smaller pieces (RFC 7383 2.5.2).
    plain: Option<Plain>,
    sent: u32,
    tries: u32,
    wait: Duration,
    due: Instant,
}

/// What a passed retransmission deadline means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// Nothing: no request is due.
    No,
    /// Send this again; it was now sent so many times.
    Resend {
        /// The identical message (RFC 7296 2.1), all of its fragments.
        message: Datagrams,
        /// How often, this time included.
        sent: u32,
    },
    /// The peer had its chances.
    GiveUp {
        /// How often it was sent.
        tries: u32,
    },
}

impl Requests {
    /// No request sent yet; the next one has this ID.
    pub(crate) fn starting_at(next_id: u32, policy: Retransmission) -> Self {
        Self {
            next_id,
            in_flight: None,
            policy,
        }
    }

    /// The ID of the next request.
    pub(crate) fn next_id(&self) -> u32 {
        self.next_id
    }

    /// As if so many had been sent and answered.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn skip(&mut self, many: u32) {
        self.next_id = self.next_id.saturating_add(many);
    }

    /// Whether a request may be sent: none awaits its answer, and IDs are left.
    pub(crate) fn is_free(&self) -> bool {
        // RFC 7296 2.2: IDs must never wrap; an SA that old is closed instead.
        self.in_flight.is_none() && self.next_id < u32::MAX
    }

    /// How often a request is sent.
    pub(crate) fn tries(&self) -> u32 {
        self.policy.tries
    }

    /// Notes that a request with `next_id` leaves now.
    pub(crate) fn sent(&mut self, message: impl Into<Datagrams>, now: Instant) {
        self.sent_with_tries(message.into(), None, self.policy.tries, now);
    }

    /// The same with another patience, and with what is in it.
    pub(crate) fn sent_with_tries(
        &mut self,
        message: Datagrams,
        plain: Option<Plain>,
        tries: u32,
        now: Instant,
    ) {
        let wait = self.policy.initial.min(self.policy.cap);
        self.in_flight = Some(InFlight {
            id: self.next_id,
            message,
            plain,
            sent: 1,
            tries,
            wait,
            due: after(now, wait),
        });
        self.next_id = self.next_id.saturating_add(1);
    }

    /// Replaces the request in flight under the same ID, with fresh patience: only IKE_SA_INIT is ever replaced, when
    /// the responder asks for a cookie or another group (RFC 7296 2.6, 1.2: the message ID stays 0).
    pub(crate) fn replace(&mut self, message: impl Into<Datagrams>, now: Instant) {
        let id = self.in_flight.as_ref().map_or(0, |in_flight| in_flight.id);
        self.next_id = id;
        self.sent(message, now);
    }

    /// The request in flight, if it may be cut into smaller pieces.
    pub(crate) fn in_flight(&self) -> Option<(Plain, &Datagrams)> {
        let in_flight = self.in_flight.as_ref()?;
        Some((in_flight.plain.clone()?, &in_flight.message))
    }

    /// The request in flight was cut into smaller pieces, which leave now. RFC 7383 2.5.2: the waits start over, and so
    /// does the patience, or a slow peer would be given up earlier than without.
    pub(crate) fn refragmented(&mut self, message: Datagrams, now: Instant) {
        let wait = self.policy.initial.min(self.policy.cap);
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.message = message;
            in_flight.plain = None;
            in_flight.tries = in_flight.tries.saturating_add(in_flight.sent.saturating_sub(1));
            in_flight.wait = wait;
            in_flight.due = after(now, wait);
        }
    }

    /// The request in flight, to be sent once more out of turn.
    pub(crate) fn again(&self) -> Option<Datagrams> {
        self.in_flight.as_ref().map(|in_flight| in_flight.message.clone())
    }

    /// Whether a response with this ID is the one awaited.
    pub(crate) fn awaits(&self, id: u32) -> bool {
        self.in_flight
            .as_ref()
            .is_some_and(|in_flight| in_flight.id == id)
    }

    /// There is reason to believe that another path works: the request in flight is sent again at once, with fresh
    /// patience.
    pub(crate) fn hasten(&mut self, now: Instant) {
        let wait = self.policy.initial.min(self.policy.cap);
        if let Some(in_flight) = &mut self.in_flight {
            (in_flight.sent, in_flight.wait, in_flight.due) = (0, wait, now);
        }
    }

    /// The awaited response came.
    pub(crate) fn answered(&mut self) {
        self.in_flight = None;
    }

    /// When the request in flight is to be sent again.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.in_flight.as_ref().map(|in_flight| in_flight.due)
    }

    /// Looks whether the request in flight must be sent again or given up.
    pub(crate) fn on_timeout(&mut self, now: Instant) -> Overdue {
        let policy = self.policy;
        let Some(in_flight) = self.in_flight.as_mut().filter(|in_flight| in_flight.due <= now) else {
            return Overdue::No;
        };
        if in_flight.sent >= in_flight.tries {
            let tries = in_flight.sent;
            self.in_flight = None;
            return Overdue::GiveUp { tries };
        }
        in_flight.sent += 1;
        in_flight.wait =
            (in_flight.wait.saturating_mul(policy.factor_percent.max(100)) / 100).min(policy.cap);
        in_flight.due = after(now, in_flight.wait);
        Overdue::Resend {
            message: in_flight.message.clone(),
            sent: in_flight.sent,
        }
    }
}

/// The peer's requests.
#[derive(Debug)]
pub(crate) struct Responses {
    expected_id: u32,
    last: Option<Kept>,
}

/// The response to the last request.
#[derive(Debug)]
struct Kept {
    message: Datagrams,
    /// What is in it, if it may have to be cut into smaller pieces (RFC 7383 2.4).
    plain: Option<Plain>,
    repeats: u32,
}

/// How a request of the peer stands to the window.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The next one.
    Fresh,
    /// The last one again: the answer is at hand and is sent again, octet for octet.
    Repeated(Datagrams),
    /// Neither: to be ignored (RFC 7296 2.3).
    Outside,
}

impl Responses {
    /// No request seen yet; the next one has this ID.
    pub(crate) fn starting_at(expected_id: u32) -> Self {
        Self {
            expected_id,
            last: None,
        }
    }

    /// The ID of the peer's next request.
    pub(crate) fn expected_id(&self) -> u32 {
        self.expected_id
    }

    /// As if so many had been answered.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn skip(&mut self, many: u32) {
        self.expected_id = self.expected_id.saturating_add(many);
    }

    /// Judges the ID of a request.
    pub(crate) fn judge(&self, id: u32) -> Standing {
        if id == self.expected_id {
            return Standing::Fresh;
        }
        match &self.last {
            Some(kept) if self.expected_id.checked_sub(1) == Some(id) => {
                Standing::Repeated(kept.message.clone())
            }
            Some(_) | None => Standing::Outside,
        }
    }

    /// The fresh request was answered with this message.
    pub(crate) fn answered(&mut self, message: Datagrams, plain: Option<Plain>) {
        self.expected_id = self.expected_id.saturating_add(1);
        self.last = Some(Kept {
            message,
            plain,
            repeats: 0,
        });
    }

    /// The last request came again: how often it has.
    pub(crate) fn repeated(&mut self) -> u32 {
        self.last.as_mut().map_or(0, |kept| {
            kept.repeats = kept.repeats.saturating_add(1);
            kept.repeats
        })
    }

    /// What is in the last response, if it may be cut into smaller pieces.
    pub(crate) fn plain(&self) -> Option<Plain> {
        self.last.as_ref()?.plain.clone()
    }

    /// The last response was cut into smaller pieces.
    pub(crate) fn refragmented(&mut self, message: Datagrams) {
        if let Some(kept) = &mut self.last {
            kept.message = message;
            kept.plain = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Retransmission = Retransmission {
        initial: Duration::from_secs(1),
        factor_percent: 200,
        cap: Duration::from_secs(3),
        tries: 4,
    };

    #[allow(clippy::disallowed_methods)] // Any instant will do.
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn sends_the_same_octets_again_with_growing_waits_and_then_gives_up() {
        let start = start();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut requests = Requests::starting_at(0, POLICY);
        requests.sent(vec![7], start);
        assert!(!requests.is_free());
        assert_eq!(requests.on_timeout(at(0)), Overdue::No);
        assert_eq!(
            requests.on_timeout(at(1)),
            Overdue::Resend {
                message: vec![7].into(),
                sent: 2
            }
        );
        assert_eq!(requests.on_timeout(at(2)), Overdue::No);
        assert_eq!(
            requests.on_timeout(at(3)),
            Overdue::Resend {
                message: vec![7].into(),
                sent: 3
            }
        );
        assert_eq!(
            requests.on_timeout(at(6)),
            Overdue::Resend {
                message: vec![7].into(),
                sent: 4
            }
        );
        assert_eq!(requests.on_timeout(at(9)), Overdue::GiveUp { tries: 4 });
        assert_eq!(requests.due(), None);
    }

    #[test]
    fn awaits_only_the_response_to_the_request_in_flight() {
        let mut requests = Requests::starting_at(5, POLICY);
        assert!(!requests.awaits(5));
        requests.sent(vec![1], start());
        assert!(requests.awaits(5) && !requests.awaits(4) && !requests.awaits(6));
        requests.answered();
        assert!(requests.is_free() && !requests.awaits(5));
        assert_eq!(requests.next_id(), 6);
    }

    #[test]
    fn replaces_the_first_request_under_the_same_id() {
        let mut requests = Requests::starting_at(0, POLICY);
        requests.sent(vec![1], start());
        requests.replace(vec![2], start());
        assert!(requests.awaits(0));
        assert_eq!(requests.next_id(), 1);
        assert_eq!(
            requests.in_flight.as_ref().map(|in_flight| in_flight.sent),
            Some(1)
        );
    }

    #[test]
    fn answers_the_last_request_again_and_ignores_older_and_later_ones() {
        let mut responses = Responses::starting_at(0);
        assert_eq!(responses.judge(0), Standing::Fresh);
        assert_eq!(responses.judge(1), Standing::Outside);
        responses.answered(vec![9].into(), None);
        assert_eq!(responses.judge(0), Standing::Repeated(vec![9].into()));
        assert_eq!(responses.judge(1), Standing::Fresh);
        responses.answered(vec![8].into(), None);
        assert_eq!(responses.judge(0), Standing::Outside);
    }

    #[test]
    fn never_wraps_message_ids() {
        let mut requests = Requests::starting_at(u32::MAX - 1, POLICY);
        requests.sent(vec![1], start());
        requests.answered();
        assert!(!requests.is_free());
        assert_eq!(Responses::starting_at(0).judge(u32::MAX), Standing::Outside);
    }
}
