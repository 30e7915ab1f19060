//! Session resumption (RFC 5723 4.3): when a ticket is shown, and what follows from the answer.
//!
//! The ticket of an IKE SA whose peer was lost is kept until another IKE SA stands, or it expires. As long as it is there each
//! attempt begins with it: a peer that does not take it or does not answer is asked by IKE_SA_INIT in the same attempt.

use super::Connection;
use crate::api::{Event, Path, Step};
use crate::error::Ignore;
use crate::exchange::init::{Attempt, TicketUse};
use crate::exchange::intermediate::Next;
use crate::exchange::resume::{self, Answer, Due, Session};
use crate::exchange::{Cx, auth};
use crate::state::{Established, State};
use crate::wire::{Header, IkeSpi};

impl Connection {
    /// The peer of this IKE SA is lost: what it needs to go on from there is kept.
    pub(super) fn keep_session(&mut self, established: &mut Established) {
        if established.announced && !established.losing {
            self.session = Session::of(established);
        }
    }

    /// Shows the ticket, if there is a good one for this attempt. Whether it did.
    pub(super) fn resume(&mut self, cx: &mut Cx<'_>, path: Path, attempt: Attempt) -> bool {
        // RFC 5723 6.2: whoever is to be authenticated anew shows its credentials.
        if attempt.reauthenticates || attempt.ticket != TicketUse::Possible {
            return false;
        }
        let Some(session) = self.session.as_ref() else {
            return false;
        };
        if !session.is_good(cx.now, &self.config, path) {
            return false;
        }
        let attempt = Attempt {
            ticket: TicketUse::Shown,
            ..attempt
        };
        let sent = resume::request(cx, &self.config, path, attempt, session.clone());
        self.put(sent.spi_i, State::ResumeSent(Box::new(sent)));
        cx.event(Event::Progress {
            connection: self.id(),
            step: Step::ResumeResponse,
            path,
        });
        true
    }

    pub(super) fn on_resume_answer(
        &mut self,
        cx: &mut Cx<'_>,
        mut sent: Box<resume::Sent>,
        (header, bytes): (&Header, &[u8]),
        path: Path,
        sole: bool,
    ) {
        let spi = sent.spi_i;
        // Nothing is authenticated yet: the answer comes from where the request went, or it is none.
        let answer = if path == sent.path {
            sent.read(header, bytes)
        } else {
            Err(Ignore::WrongPath)
        };
        match answer {
            Err(ignore) => self.keep(cx, spi, State::ResumeSent(sent), ignore),
            Ok(Answer::Cookie(cookie)) => {
                sent.retry_with_cookie(cx, cookie);
                self.put(spi, State::ResumeSent(sent));
            }
            Ok(Answer::Refused) => self.begin_in_full(cx, spi, sent.path, sent.attempt, TicketUse::Refused),
            Ok(Answer::Accepted(accepted)) => {
                let attempt = sent.attempt;
                let Some(exchanged) = sent.finish(header, &accepted) else {
                    return self.begin_in_full(cx, spi, path, attempt, TicketUse::Refused);
                };
                cx.new_keys(&exchanged.ike);
                let next = auth::request(cx, exchanged, bytes, sole);
                self.proceed(cx, spi, path, next.map(|sent| Next::Auth(Box::new(sent))));
            }
        }
    }

    pub(super) fn on_resume_timeout(&mut self, cx: &mut Cx<'_>, mut sent: Box<resume::Sent>) {
        match sent.on_timeout(cx) {
            Due::Wait(again) => {
                self.report_retransmission(cx, sent.path, again);
                self.put(sent.spi_i, State::ResumeSent(sent));
            }
            Due::Unanswered => {
                self.begin_in_full(cx, sent.spi_i, sent.path, sent.attempt, TicketUse::Unanswered);
            }
        }
    }

    /// The peer, which has the keys of the session, does not go on all the same: whatever is wrong with the ticket, credentials
    /// help. Whether it was a session.
    pub(super) fn resumption_refused(&mut self, cx: &mut Cx<'_>, path: Path, attempt: Attempt) -> bool {
        if attempt.ticket != TicketUse::Shown {
            return false;
        }
        self.session = None;
        if self.wants_attempt() {
            self.tell_refused(cx, path);
            self.initiate(
                cx,
                Attempt {
                    ticket: TicketUse::Refused,
                    ..attempt
                },
            );
        }
        true
    }

    /// The same attempt goes on with a key exchange (RFC 5723 4.3.2).
    fn begin_in_full(
        &mut self,
        cx: &mut Cx<'_>,
        spi: IkeSpi,
        path: Path,
        attempt: Attempt,
        ticket: TicketUse,
    ) {
        cx.spis.release_ike(spi, None);
        if ticket == TicketUse::Refused {
            self.tell_refused(cx, path);
        }
        self.initiate(cx, Attempt { ticket, ..attempt });
    }

    fn tell_refused(&self, cx: &mut Cx<'_>, path: Path) {
        cx.event(Event::Progress {
            connection: self.id(),
            step: Step::TicketRefused,
            path,
        });
    }
}
