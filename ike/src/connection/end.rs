//! The loss of an IKE SA, and what follows: another is kept, or one is tried for again.

use super::Connection;
use crate::api::{CloseReason, Event, Path, Reason};
use crate::error::{Cause, Exchange, Failure};
use crate::exchange::{Cx, delete, ticket};
use crate::state::{Closing, Ending, Established, State};
use crate::wire::IkeSpi;

impl Connection {
    /// An established SA ended without our asking.
    pub(super) fn ended(
        &mut self,
        cx: &mut Cx<'_>,
        spi: IkeSpi,
        mut established: Established,
        ending: Ending,
    ) {
        if !established.is_current() {
            return self.bury(cx, established);
        }
        // A peer that deletes the old one receives on it until it has our answer, and no longer.
        cx.before_the_answer(|cx| self.hand_over(cx, &mut established));
        let ending = match ending {
            Ending::Replaced(heir) => return self.replaced(cx, spi, established, *heir),
            Ending::PeerDeleted if self.bequeath(cx, &mut established) => return self.bury(cx, established),
            other @ (Ending::PeerDeleted
            | Ending::Failed(_)
            | Ending::NoChild
            | Ending::Expired(_)
            | Ending::Unreachable { .. }
            | Ending::Lost
            | Ending::Closed) => other,
        };
        self.drop_heirs(cx, &mut established);
        let path = established.ike.path;
        let announced = established.announced;
        match ending {
            // Both were dealt with above.
            Ending::Replaced(_) => {}
            Ending::Expired(failure) => {
                let closing = established.close(cx, CloseReason::Error);
                self.put(spi, State::Closing(Box::new(closing)));
                self.announce_closed(cx, announced, CloseReason::Error);
                self.lost(cx, path, announced, failure);
            }
            Ending::PeerDeleted | Ending::Closed => {
                self.remove_now(cx, established, CloseReason::Peer);
                self.lost(
                    cx,
                    path,
                    announced,
                    Failure::new(Exchange::Informational, Cause::Deleted),
                );
            }
            Ending::Failed(failure) => {
                self.remove_now(cx, established, CloseReason::Error);
                self.lost(cx, path, announced, failure);
            }
            Ending::Lost => {
                self.keep_session(&mut established);
                self.remove_now(cx, established, CloseReason::Unreachable);
                let failure = Failure::new(Exchange::Informational, Cause::Crashed);
                self.lost(cx, path, announced, failure);
                // The peer is back already: there is nothing to wait for.
                if self.timers.is_set(Reason::Retry) {
                    self.timers.set(Reason::Retry, cx.now);
                }
            }
            Ending::Unreachable { tries } => {
                self.keep_session(&mut established);
                self.remove_now(cx, established, CloseReason::Unreachable);
                let failure = Failure::new(Exchange::Informational, Cause::NoResponse { tries });
                self.lost(cx, path, announced, failure);
            }
            Ending::NoChild => {
                let closing = established.close(cx, CloseReason::Error);
                self.put(spi, State::Closing(Box::new(closing)));
                self.announce_closed(cx, announced, CloseReason::Error);
                self.lost(
                    cx,
                    path,
                    announced,
                    Failure::new(Exchange::Informational, Cause::NoChild),
                );
            }
        }
    }

    /// Our delete was answered, or will never be.
    pub(super) fn closed(&mut self, cx: &mut Cx<'_>, spi: IkeSpi, mut closing: Closing) {
        let connection = closing.config.id;
        delete::remove(
            cx,
            connection,
            std::mem::take(&mut closing.children).into_values(),
        );
        cx.spis.release_ike(spi, closing.ike.first);
        if closing.announce_end {
            cx.event(Event::IkeClosed {
                connection,
                reason: closing.reason,
            });
        }
    }

    /// Removes an SA with all it has, without a word to the peer.
    pub(super) fn remove_now(&mut self, cx: &mut Cx<'_>, mut established: Established, reason: CloseReason) {
        established.forget_request(cx);
        ticket::revoke(cx, &mut established, reason);
        let children = std::mem::take(&mut established.children);
        delete::remove(cx, self.id(), children.into_values());
        cx.spis
            .release_ike(established.ike.local_spi(), established.ike.first);
        self.announce_closed(cx, established.announced, reason);
    }

    /// The operator is told of the end of what they were told of, unless another SA stands in its place.
    fn announce_closed(&self, cx: &mut Cx<'_>, announced: bool, reason: CloseReason) {
        if announced && !self.established().any(|(_, other)| other.announced) {
            cx.event(Event::IkeClosed {
                connection: self.id(),
                reason,
            });
        }
    }

    /// The operator wants it up again before the peer has answered our delete.
    pub(super) fn finish_announcements(&mut self, cx: &mut Cx<'_>) {
        let connection = self.id();
        for state in self.sas.values_mut() {
            let State::Closing(closing) = state else { continue };
            if std::mem::take(&mut closing.announce_end) {
                cx.event(Event::IkeClosed {
                    connection,
                    reason: closing.reason,
                });
            }
        }
    }

    fn lost(&mut self, cx: &mut Cx<'_>, path: Path, announced: bool, failure: Failure) {
        self.promote(cx);
        if self.stands() || !announced {
            return;
        }
        // What stood for long does not count against the next attempt.
        let long = self.config.retry.1;
        if self
            .stood_since
            .take()
            .is_some_and(|since| cx.now.saturating_duration_since(since) >= long)
        {
            self.failures = 0;
        }
        let retry_in = self.schedule_retry(cx);
        if retry_in.is_some() || failure.cause != Cause::Deleted {
            cx.event(Event::Failed {
                connection: Some(self.id()),
                path,
                failure,
                retry_in,
            });
        }
    }
}
