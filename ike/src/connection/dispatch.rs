//! Messages and deadlines of a connection's IKE SAs: each state looks, and takes its step.

use std::sync::Arc;

use super::{Connection, Intent};
use crate::api::{Event, FetchId, Path, Reason, Step};
use crate::auth::psk::Generation;
use crate::error::{Cause, Exchange, Failure, Ignore, Side};
use crate::exchange::init::{self, Answer, Attempt, Held};
use crate::exchange::intermediate::{self, Next};
use crate::exchange::status::Deferred;
use crate::exchange::{Cx, auth};
use crate::sa::transmission::Seen;
use crate::state::{Closing, Ending, State};
use crate::wire::{Header, IkeSpi};

impl Connection {
    /// A message for one of its IKE SAs. `sole`: no connection with the same identities has an IKE SA.
    pub(crate) fn on_message(
        &mut self,
        cx: &mut Cx<'_>,
        spi: IkeSpi,
        header: &Header,
        path: Path,
        bytes: &[u8],
        sole: bool,
    ) {
        match self.sas.remove(&spi) {
            None => cx.ignored(Ignore::UnknownSpi),
            Some(State::InitSent(sent)) => self.on_init_answer(cx, sent, header, path, bytes, sole),
            Some(State::ResumeSent(sent)) => self.on_resume_answer(cx, sent, (header, bytes), path, sole),
            Some(State::IntermediateSent(mut sent)) => match sent.read(cx, header, bytes) {
                Ok(Seen::Fresh(opened)) => {
                    let path = sent.path();
                    let next = sent.finish(cx, &opened, sole);
                    self.proceed(cx, spi, path, next);
                }
                // Of a peer that is not authenticated no request was answered yet, so none is repeated.
                Ok(Seen::Part | Seen::Repeated(_)) => self.put(spi, State::IntermediateSent(sent)),
                Err(ignore) => self.keep(cx, spi, State::IntermediateSent(sent), ignore),
            },
            Some(State::AuthSent(mut sent)) => match sent.read(cx, header, bytes) {
                Ok(Seen::Fresh(opened)) => {
                    let attempt = sent.attempt;
                    let finished = sent.finish(cx, path, opened);
                    self.on_auth_answer(cx, (spi, path), attempt, finished);
                }
                Ok(Seen::Part | Seen::Repeated(_)) => self.put(spi, State::AuthSent(sent)),
                Err(ignore) => self.keep(cx, spi, State::AuthSent(sent), ignore),
            },
            Some(State::Established(mut established)) => match established.read(cx, header, bytes) {
                Ok(Seen::Fresh(opened)) => {
                    self.inherit_if_used(cx, &mut established, &opened);
                    let ending = established.on_fresh(cx, path, &opened);
                    self.after_step(cx, spi, established, ending);
                }
                Ok(Seen::Repeated(answer)) => {
                    cx.transmit(path, answer);
                    self.put(spi, State::Established(established));
                }
                Ok(Seen::Part) => self.put(spi, State::Established(established)),
                Err(_) if established.is_lost_by_peer(header, bytes) => {
                    self.ended(cx, spi, *established, Ending::Lost);
                }
                Err(ignore) => self.keep(cx, spi, State::Established(established), ignore),
            },
            Some(State::Closing(mut closing)) => match closing.read(cx, header, bytes) {
                Ok(Seen::Fresh(opened)) => match closing.on_fresh(cx, path, &opened) {
                    Some(_) => self.closed(cx, spi, *closing),
                    None => self.put(spi, State::Closing(closing)),
                },
                Ok(Seen::Repeated(answer)) => {
                    cx.transmit(path, answer);
                    self.put(spi, State::Closing(closing));
                }
                Ok(Seen::Part) => self.put(spi, State::Closing(closing)),
                Err(ignore) => self.keep(cx, spi, State::Closing(closing), ignore),
            },
        }
    }

    fn on_init_answer(
        &mut self,
        cx: &mut Cx<'_>,
        mut sent: Box<init::Sent>,
        header: &Header,
        path: Path,
        bytes: &[u8],
        sole: bool,
    ) {
        let spi = sent.spi_i;
        // Nothing is authenticated yet: the answer comes from where the request went, or it is none.
        let answer = if path == sent.path {
            sent.read(header, bytes)
        } else {
            Err(Ignore::WrongPath)
        };
        let next = match answer {
            Err(ignore) => return self.keep(cx, spi, State::InitSent(sent), ignore),
            Ok(Answer::Suspect(cause)) => {
                sent.suspect(cx.now, cause);
                return self.keep(cx, spi, State::InitSent(sent), Ignore::UnprotectedError);
            }
            Ok(Answer::Cookie(cookie)) => Ok(State::InitSent(Box::new(sent.retry_with_cookie(cx, cookie)))),
            Ok(Answer::Puzzle(cookie, puzzle)) => {
                Ok(State::InitSent(Box::new(sent.work_on_puzzle(cx, cookie, puzzle))))
            }
            Ok(Answer::AuthPuzzle(s, puzzle)) => {
                let (message, difficulty) = (bytes.to_vec(), puzzle.difficulty);
                let held = Held {
                    message,
                    sole,
                    difficulty,
                };
                sent.work_on_auth_puzzle(cx.now, &s, puzzle, held);
                Ok(State::InitSent(sent))
            }
            Ok(Answer::Redirect(to)) => match self.detour.judge(cx.now, &sent.config, &to) {
                Err(why) => {
                    sent.suspect(cx.now, Cause::Redirected { to, why });
                    return self.keep(cx, spi, State::InitSent(sent), Ignore::UnprotectedError);
                }
                Ok(()) => {
                    cx.spis.release_ike(spi, None);
                    return self.redirected(cx, Exchange::IkeSaInit, path, to);
                }
            },
            Ok(Answer::Group(method)) => sent
                .retry_with_group(cx, method)
                .map(|sent| State::InitSent(Box::new(sent))),
            Ok(Answer::Accepted(accepted, chosen)) => match sent.agree(&accepted) {
                Err(cause) => {
                    sent.suspect(cx.now, cause);
                    return self.keep(cx, spi, State::InitSent(sent), Ignore::UnprotectedError);
                }
                Ok(shared) => {
                    let next = sent
                        .finish(header, &accepted, &chosen, &shared)
                        .and_then(|exchanged| intermediate::begin(cx, exchanged, bytes.to_vec(), sole));
                    return self.proceed(cx, spi, path, next);
                }
            },
        };
        match next {
            Ok(state) => self.put(spi, state),
            Err(failure) => {
                cx.spis.release_ike(spi, None);
                self.failed(cx, path, failure);
            }
        }
    }

    /// The puzzle that came with an answer is solved: now the answer counts.
    fn on_solved(&mut self, cx: &mut Cx<'_>, sent: Box<init::Sent>, held: &Held) {
        let path = sent.path;
        match Header::parse(&held.message) {
            Ok((header, _)) => self.on_init_answer(cx, sent, &header, path, &held.message, held.sole),
            // It was read once already.
            Err(_) => self.put(sent.spi_i, State::InitSent(sent)),
        }
    }

    /// A key exchange is complete: the next one or IKE_AUTH is under way, or the attempt failed.
    pub(super) fn proceed(&mut self, cx: &mut Cx<'_>, spi: IkeSpi, path: Path, next: Result<Next, Failure>) {
        let (state, step, path) = match next {
            Ok(Next::Intermediate(sent)) => {
                let path = sent.path();
                (State::IntermediateSent(sent), Step::IntermediateResponse, path)
            }
            Ok(Next::Auth(sent)) => {
                let path = sent.ike.path;
                (State::AuthSent(sent), Step::AuthResponse, path)
            }
            Err(failure) => {
                cx.spis.release_ike(spi, None);
                return self.failed(cx, path, failure);
            }
        };
        cx.event(Event::Progress {
            connection: self.config.id,
            step,
            path,
        });
        self.put(spi, state);
    }

    fn on_auth_answer(
        &mut self,
        cx: &mut Cx<'_>,
        (spi, path): (IkeSpi, Path),
        attempt: Attempt,
        finished: auth::Finished,
    ) {
        match finished {
            auth::Finished::Authenticated(mut authenticated) => {
                authenticated.ike.follow(path);
                self.establish(cx, *authenticated, None);
            }
            auth::Finished::Deferred(sent) => self.put(spi, State::AuthSent(sent)),
            auth::Finished::Refused(failure) => {
                cx.spis.release_ike(spi, None);
                if !self.resumption_refused(cx, path, attempt)
                    && !self.try_previous_key(cx, path, attempt, &failure)
                {
                    self.failed(cx, path, failure);
                }
            }
            auth::Finished::Refuse(failure, ike, farewell) => {
                let config = Arc::clone(&self.config);
                let closing = Closing::refusing(cx, config, *ike, farewell);
                self.put(spi, State::Closing(Box::new(closing)));
                if !self.resumption_refused(cx, path, attempt) {
                    self.failed(cx, path, failure);
                }
            }
        }
    }

    /// A peer that refuses our key may not have the new one yet: the old one is tried at once. Nothing vouches for the
    /// refusal, and nothing but this attempt follows from it. Whether there is such a key.
    fn try_previous_key(&mut self, cx: &mut Cx<'_>, path: Path, attempt: Attempt, failure: &Failure) -> bool {
        let refused = matches!(
            failure.cause,
            Cause::AuthenticationFailed {
                refused_by: Side::Peer,
                ..
            }
        );
        let needed = attempt.reauthenticates || attempt.elsewhere.is_some() || !self.stands();
        let may = self.intent != Intent::Down && !self.forgotten && needed && !self.is_trying();
        if !refused || !may || attempt.key == Generation::Previous || !self.config.local_auth.has_previous() {
            return false;
        }
        cx.event(Event::Progress {
            connection: self.config.id,
            step: Step::PreviousKey,
            path,
        });
        let attempt = Attempt {
            key: Generation::Previous,
            ..attempt
        };
        if attempt.reauthenticates {
            self.begin_beside(cx, path, attempt);
        } else {
            self.initiate(cx, attempt);
        }
        true
    }

    /// Answers of the network came, or did not come: what waited for them goes on.
    pub(crate) fn on_fetched(&mut self, cx: &mut Cx<'_>, done: &[FetchId]) {
        let ready = |state: &mut State| match state {
            State::AuthSent(sent) => sent
                .deferred
                .as_mut()
                .is_some_and(|deferred| deferred.is_ready(done)),
            State::InitSent(_)
            | State::ResumeSent(_)
            | State::IntermediateSent(_)
            | State::Established(_)
            | State::Closing(_) => false,
        };
        let spis: Vec<IkeSpi> = self
            .sas
            .iter_mut()
            .filter_map(|(spi, state)| ready(state).then_some(*spi))
            .collect();
        for spi in spis {
            match self.sas.remove(&spi) {
                Some(State::AuthSent(sent)) => {
                    let Some((path, opened)) = sent.deferred.as_ref().map(Deferred::message) else {
                        continue;
                    };
                    let attempt = sent.attempt;
                    let finished = sent.finish(cx, path, opened);
                    self.on_auth_answer(cx, (spi, path), attempt, finished);
                }
                Some(other) => self.put(spi, other),
                None => {}
            }
        }
    }

    /// Whatever is due.
    pub(crate) fn on_timeout(&mut self, cx: &mut Cx<'_>) {
        let spis: Vec<IkeSpi> = self.sas.keys().copied().collect();
        for spi in spis {
            self.on_sa_timeout(cx, spi);
        }
        while let Some(reason) = self.timers.take_expired(cx.now) {
            if reason == Reason::Retry && self.intent == Intent::Up && !self.stands() && !self.is_trying() {
                self.initiate(cx, Attempt::default());
            }
        }
        self.reauthenticate(cx);
    }

    fn on_sa_timeout(&mut self, cx: &mut Cx<'_>, spi: IkeSpi) {
        match self.sas.remove(&spi) {
            None => {}
            Some(State::InitSent(mut sent)) => match sent.on_timeout(cx) {
                outcome if self.falls_back(&sent, &outcome) => self.fall_back(cx, spi, sent.attempt),
                Ok(again) => {
                    self.report_retransmission(cx, sent.path, again);
                    match sent.take_solved() {
                        Some(held) => self.on_solved(cx, sent, &held),
                        None => self.put(spi, State::InitSent(sent)),
                    }
                }
                Err(failure) => {
                    cx.spis.release_ike(spi, None);
                    self.failed(cx, sent.path, failure);
                }
            },
            Some(State::ResumeSent(sent)) => self.on_resume_timeout(cx, sent),
            Some(State::IntermediateSent(mut sent)) => match sent.on_timeout(cx) {
                Ok(again) => {
                    self.report_retransmission(cx, sent.path(), again);
                    self.put(spi, State::IntermediateSent(sent));
                }
                Err(failure) => {
                    cx.spis.release_ike(spi, None);
                    self.failed(cx, sent.path(), failure);
                }
            },
            Some(State::AuthSent(mut sent)) => match sent.on_timeout(cx) {
                Ok(again) => {
                    self.report_retransmission(cx, sent.ike.path, again);
                    self.put(spi, State::AuthSent(sent));
                }
                Err(failure) => {
                    let path = sent.ike.path;
                    sent.discard(cx);
                    self.failed(cx, path, failure);
                }
            },
            Some(State::Established(mut established)) => {
                let ending = established.on_timeout(cx);
                self.after_step(cx, spi, established, ending);
            }
            Some(State::Closing(mut closing)) => match closing.on_timeout(cx) {
                Some(_) => self.closed(cx, spi, *closing),
                None => self.put(spi, State::Closing(closing)),
            },
        }
    }
}
