//! One connection: what the operator wants of it, the IKE SAs it has, and the attempts to have one.
//!
//! A connection may own several IKE SAs at a time: one that is kept, others that are being negotiated, replaced or
//! deleted. `dispatch` brings messages and deadlines to
//! them, `establish` says which of two is kept, `end` what follows the loss of one.

#[cfg(any(test, feature = "testing"))]
pub(crate) mod audit;
mod dispatch;
mod end;
mod establish;
mod inherit;
mod reauth;
mod redirect;
mod resume;
mod tcp;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::{CloseReason, Event, ExportedKeys, PORT_IKE, PORT_NAT_T, Path, Reason, Step, Transport};
use crate::auth::identity::Identity;
use crate::auth::x509::crl::Crl;
use crate::config::{ConnectionConfig, ConnectionId, TransportPolicy};
use crate::error::{Cause, Exchange, Failure, Ignore};
use crate::exchange::init::{self, Attempt};
use crate::exchange::resume::Session;
use crate::exchange::{Cx, delete};
use crate::state::{Established, State};
use crate::timers::{Timers, after, back_off};
use crate::wire::IkeSpi;

use redirect::Detour;

/// One connection.
pub(crate) struct Connection {
    config: Arc<ConnectionConfig>,
    intent: Intent,
    sas: BTreeMap<IkeSpi, State>,
    timers: Timers,
    failures: u32,
    stood_since: Option<Instant>,
    detour: Detour,
    /// What is kept of an IKE SA whose peer was lost, to go on from there (RFC 5723).
    session: Option<Session>,
    forgotten: bool,
}

/// What the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intent {
    /// Nothing was said: the peer may connect.
    Idle,
    /// Connect, and again after every loss.
    Up,
    /// Nobody connects.
    Down,
}

impl Connection {
    /// A connection without SAs.
    pub(crate) fn new(config: ConnectionConfig) -> Self {
        Self {
            config: Arc::new(config),
            intent: Intent::Idle,
            sas: BTreeMap::new(),
            timers: Timers::default(),
            failures: 0,
            stood_since: None,
            detour: Detour::default(),
            session: None,
            forgotten: false,
        }
    }

    /// Takes another configuration for what is negotiated from now on.
    pub(crate) fn configure(&mut self, config: ConnectionConfig) {
        self.config = Arc::new(config);
        if self.forgotten {
            self.forgotten = false;
            self.intent = Intent::Idle;
        }
    }

    /// Takes other CRLs for what is negotiated from now on.
    pub(crate) fn on_crls(&mut self, crls: Vec<Arc<Crl>>) {
        let mut config = (*self.config).clone();
        config.revocation.crls = crls;
        self.config = Arc::new(config);
    }

    /// The configuration, if a peer may connect that is reached by this path.
    pub(crate) fn candidate(&self, path: Path) -> Option<Arc<ConnectionConfig>> {
        self.expects(path).then(|| Arc::clone(&self.config))
    }

    /// Whether a peer may connect that is reached by this path.
    pub(crate) fn expects(&self, path: Path) -> bool {
        let fits = self.config.local.is_none_or(|local| local == path.local.ip())
            && self
                .config
                .remote
                .is_none_or(|remote| remote.ip() == path.remote.ip());
        let admitted = self.config.transport.admits(path.transport());
        fits && admitted && self.intent != Intent::Down && !self.forgotten
    }

    /// Someone answered our first request in a way that bodes ill.
    pub(crate) fn suspect(&mut self, now: Instant, spi: IkeSpi, path: Path, cause: Cause) {
        if let Some(State::InitSent(sent)) = self.sas.get_mut(&spi)
            && sent.path == path
        {
            sent.suspect(now, cause);
        }
    }

    /// The identities of both sides.
    pub(crate) fn identities(&self) -> (&Identity, &Identity) {
        (&self.config.local_identity, &self.config.remote_identity)
    }

    /// It has an IKE SA with an authenticated peer and a CHILD SA.
    pub(crate) fn stands(&self) -> bool {
        self.established().any(|(_, established)| established.announced)
    }

    /// Only the peer's attempts can tell what is wrong: there is no SA, and we make no attempts of our own. Otherwise the
    /// failure of a stranger who claims the peer's address would look like ours.
    pub(crate) fn waits_for_peer(&self) -> bool {
        let passive = self.intent != Intent::Up || self.config.remote.is_none();
        passive && !self.stands()
    }

    /// A peer with the same identities has lost everything that stood before `begun` (RFC 7296 2.4).
    pub(crate) fn contact_lost(&mut self, cx: &mut Cx<'_>, begun: Instant) {
        let lost: Vec<IkeSpi> = self
            .established()
            .filter(|(_, old)| old.since < begun)
            .map(|(spi, _)| spi)
            .collect();
        for spi in lost {
            if let Some(State::Established(old)) = self.sas.remove(&spi) {
                self.remove_now(cx, *old, CloseReason::Replaced);
            }
        }
        self.retry_soon(cx);
    }

    /// If it shall be up and is not: sets the time of the next attempt.
    fn retry_soon(&mut self, cx: &mut Cx<'_>) {
        if !self.timers.is_set(Reason::Retry) {
            self.schedule_retry(cx);
        }
    }

    /// Forgotten by the operator, and nothing is left to be done.
    pub(crate) fn is_over(&self) -> bool {
        self.forgotten && self.sas.is_empty()
    }

    /// The operator wants it up.
    pub(crate) fn up(&mut self, cx: &mut Cx<'_>) {
        if self.forgotten {
            return;
        }
        self.intent = Intent::Up;
        self.failures = 0;
        self.finish_announcements(cx);
        self.make_children(cx);
        if !self.stands() && !self.is_trying() {
            self.initiate(cx, Attempt::default());
        }
    }

    /// Traffic waits for it.
    pub(crate) fn demand(&mut self, cx: &mut Cx<'_>) {
        let may = self.intent == Intent::Idle && !self.forgotten;
        if may && !self.stands() && !self.is_trying() {
            self.finish_announcements(cx);
            self.initiate(cx, Attempt::default());
        }
    }

    /// Nothing was carried for long.
    pub(crate) fn rest(&mut self, cx: &mut Cx<'_>) {
        if self.intent != Intent::Idle {
            return;
        }
        self.session = None;
        for (spi, state) in std::mem::take(&mut self.sas) {
            match state {
                State::Established(established) => {
                    self.close_quietly(cx, spi, *established, CloseReason::Idle)
                }
                other @ (State::InitSent(_)
                | State::ResumeSent(_)
                | State::IntermediateSent(_)
                | State::AuthSent(_)
                | State::Closing(_)) => {
                    self.put(spi, other);
                }
            }
        }
    }

    /// The operator wants it down: what stands is deleted, what is under way is dropped.
    pub(crate) fn down(&mut self, cx: &mut Cx<'_>) {
        self.intent = Intent::Down;
        self.session = None;
        self.timers.clear(Reason::Retry);
        let mut dropped = false;
        for (spi, state) in std::mem::take(&mut self.sas) {
            match state {
                State::InitSent(_) | State::ResumeSent(_) | State::IntermediateSent(_) => {
                    cx.spis.release_ike(spi, None);
                    dropped = true;
                }
                // The peer may have accepted already: it is told as soon as we know.
                State::AuthSent(sent) => {
                    self.sas.insert(spi, State::AuthSent(sent));
                }
                State::Established(established) => {
                    self.close_quietly(cx, spi, *established, CloseReason::Operator)
                }
                State::Closing(closing) => {
                    self.sas.insert(spi, State::Closing(closing));
                }
            }
        }
        if dropped && self.sas.is_empty() {
            cx.event(Event::IkeClosed {
                connection: self.config.id,
                reason: CloseReason::Operator,
            });
        }
    }

    /// The operator wants to hear no more of it.
    pub(crate) fn forget(&mut self, cx: &mut Cx<'_>) {
        self.down(cx);
        self.forgotten = true;
    }

    /// The keys of all its SAs.
    pub(crate) fn exported(&self) -> Vec<ExportedKeys> {
        self.sas.values().flat_map(State::exported).collect()
    }

    /// When it wants to be woken.
    pub(crate) fn next_deadline(&self) -> Option<(Instant, Reason)> {
        self.sas
            .values()
            .filter_map(State::next_deadline)
            .chain(self.timers.next())
            .min()
    }

    /// Begins an attempt. RFC 9329 5.1: by UDP, unless it is known that UDP does not pass.
    fn initiate(&mut self, cx: &mut Cx<'_>, attempt: Attempt) {
        let configured = match self.config.transport {
            TransportPolicy::Udp | TransportPolicy::Auto { .. } => Transport::Udp,
            TransportPolicy::Tcp => Transport::Tcp,
        };
        let transport = attempt.transport.unwrap_or(configured);
        self.timers.clear(Reason::Retry);
        if attempt.elsewhere.is_none() {
            self.detour.is_over();
        }
        let elsewhere = attempt
            .elsewhere
            .map(|elsewhere| (elsewhere.local, elsewhere.remote));
        // A responder that does not know its peer's address waits for it.
        let Some(remote) = elsewhere.map(|(_, remote)| remote).or(self.config.remote) else {
            return;
        };
        let Some(local) = elsewhere.map(|(local, _)| local).or(self.config.local) else {
            let local = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT_IKE);
            return self.failed(
                cx,
                Path { local, remote },
                Failure::new(Exchange::IkeSaInit, Cause::NoAddress),
            );
        };
        let (port, remote) = match transport {
            Transport::Udp if remote.port() == PORT_IKE => (PORT_IKE, remote),
            // A peer that is not at port 500 expects the non-ESP marker, which only our port 4500 speaks.
            Transport::Udp => (PORT_NAT_T, remote),
            Transport::Tcp => {
                let remote = SocketAddr::new(remote.ip(), self.config.tcp_port);
                (cx.spis.allocate_tcp(cx.random), remote)
            }
        };
        let path = Path {
            local: SocketAddr::new(local, port),
            remote,
        };
        self.begin(cx, path, attempt);
    }

    fn begin(&mut self, cx: &mut Cx<'_>, path: Path, attempt: Attempt) {
        if self.resume(cx, path, attempt) {
            return;
        }
        let config = Arc::clone(&self.config);
        match init::request(cx, &config, path, attempt) {
            Ok(sent) => {
                self.put(sent.spi_i, State::InitSent(Box::new(sent)));
                cx.event(Event::Progress {
                    connection: config.id,
                    step: Step::InitResponse,
                    path,
                });
            }
            Err(failure) => self.failed(cx, path, failure),
        }
    }

    /// An attempt came to nothing.
    fn failed(&mut self, cx: &mut Cx<'_>, path: Path, failure: Failure) {
        let connection = self.config.id;
        match self.intent {
            // The operator has given it up already.
            Intent::Down => {
                if !self.stands() && !self.is_trying() {
                    cx.event(Event::IkeClosed {
                        connection,
                        reason: CloseReason::Operator,
                    });
                }
            }
            // The peer's own attempt succeeded in the meantime.
            Intent::Idle | Intent::Up if self.stands() && self.detour.leads_to(path.remote) => {
                // What was to take its place did not.
                cx.event(Event::Failed {
                    connection: Some(connection),
                    path,
                    failure,
                    retry_in: None,
                });
            }
            Intent::Idle | Intent::Up if self.stands() => self.reauthentication_failed(cx, path, failure),
            Intent::Idle | Intent::Up => {
                let retry_in = self.schedule_retry(cx);
                cx.event(Event::Failed {
                    connection: Some(connection),
                    path,
                    failure,
                    retry_in,
                });
            }
        }
    }

    /// Sets the time of the next attempt if one is wanted and possible.
    fn schedule_retry(&mut self, cx: &mut Cx<'_>) -> Option<Duration> {
        // Who sends its peer elsewhere does not call it.
        let can =
            self.config.remote.is_some() && self.config.local.is_some() && self.config.redirect_to.is_none();
        if self.intent != Intent::Up || !can || self.stands() || self.is_trying() {
            return None;
        }
        let (first, longest) = self.config.retry;
        let wait = back_off(first, longest, self.failures, cx.random);
        self.failures = self.failures.saturating_add(1);
        self.timers.set(Reason::Retry, after(cx.now, wait));
        Some(wait)
    }

    fn report_retransmission(&self, cx: &mut Cx<'_>, path: Path, sent: Option<u32>) {
        if let Some(sent) = sent {
            let step = Step::Retransmission { sent };
            cx.event(Event::Progress {
                connection: self.config.id,
                step,
                path,
            });
        }
    }

    /// Another attempt is of use.
    fn wants_attempt(&self) -> bool {
        self.intent != Intent::Down && !self.forgotten && !self.stands() && !self.is_trying()
    }

    fn is_trying(&self) -> bool {
        self.sas.values().any(|state| match state {
            State::InitSent(_) | State::ResumeSent(_) | State::IntermediateSent(_) | State::AuthSent(_) => {
                true
            }
            State::Established(_) | State::Closing(_) => false,
        })
    }

    fn established(&self) -> impl Iterator<Item = (IkeSpi, &Established)> {
        self.sas.iter().filter_map(|(spi, state)| match state {
            State::Established(established) => Some((*spi, established.as_ref())),
            State::InitSent(_)
            | State::ResumeSent(_)
            | State::IntermediateSent(_)
            | State::AuthSent(_)
            | State::Closing(_) => None,
        })
    }

    fn put(&mut self, spi: IkeSpi, state: State) {
        self.sas.insert(spi, state);
    }

    fn keep(&mut self, cx: &mut Cx<'_>, spi: IkeSpi, state: State, ignore: Ignore) {
        cx.ignored(ignore);
        self.put(spi, state);
    }

    /// The connection's name for the caller.
    pub(crate) fn id(&self) -> ConnectionId {
        self.config.id
    }

    fn close_quietly(
        &mut self,
        cx: &mut Cx<'_>,
        spi: IkeSpi,
        mut established: Established,
        reason: CloseReason,
    ) {
        // Nothing more is to be carried, whether the peer answers or not.
        let children = std::mem::take(&mut established.children);
        delete::remove(cx, self.config.id, children.into_values());
        let (announced, path) = (established.announced, established.ike.path);
        let mut closing = established.close(cx, reason);
        closing.announce_end = announced;
        cx.event(Event::Progress {
            connection: self.config.id,
            step: Step::DeleteResponse,
            path,
        });
        self.put(spi, State::Closing(Box::new(closing)));
    }
}
