//! The states of an IKE SA. Each is named for what it awaits, and owns only what is legal then.

mod closing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::{CloseReason, Encapsulation, Event, Output, Path, Reason, Spi, Step};
use crate::auth::identity::Identity;
use crate::auth::psk::AuthVerified;
use crate::config::{ConnectionConfig, EncapsulationPolicy};
use crate::error::{Cause, Exchange, Failure, Ignore};
use crate::exchange::{Cx, auth, create_child, delete, informational, init, liveness};
use crate::message::{Informational, only_notify};
use crate::sa::child::ChildSa;
use crate::sa::ike_sa::IkeSa;
use crate::sa::window::{Overdue, Standing};
use crate::timers::{Timers, after};
use crate::wire::{ExchangeType, Header, Malformed, Opened, Payloads};

pub(crate) use closing::Closing;

/// An IKE SA of a connection. (A half-open SA of a responder belongs to no connection yet: `admission`.)
pub(crate) enum State {
    /// Our IKE_SA_INIT request awaits its answer.
    InitSent(Box<init::Sent>),
    /// Our IKE_AUTH request awaits its answer.
    AuthSent(Box<auth::Sent>),
    /// The peer is authenticated.
    Established(Box<Established>),
    /// Our delete awaits its answer.
    Closing(Box<Closing>),
}

impl State {
    /// When it wants to be woken.
    pub(crate) fn next_deadline(&self) -> Option<(Instant, Reason)> {
        let retransmit = |due: Option<Instant>| due.map(|due| (due, Reason::Retransmit));
        match self {
            Self::InitSent(sent) => retransmit(sent.due()),
            Self::AuthSent(sent) => retransmit(sent.due()),
            Self::Established(sa) => [retransmit(sa.ike.due()), sa.timers.next()]
                .into_iter()
                .flatten()
                .min(),
            Self::Closing(closing) => retransmit(closing.ike.due()),
        }
    }
}

/// An IKE SA with an authenticated peer.
pub(crate) struct Established {
    /// The connection's configuration when it was negotiated.
    pub(crate) config: Arc<ConnectionConfig>,
    /// Keys, windows, path.
    pub(crate) ike: IkeSa,
    /// Who the peer is.
    pub(crate) remote_identity: Identity,
    /// Its CHILD SAs by our SPI. One, or two while one replaces the other.
    pub(crate) children: BTreeMap<Spi, ChildSa>,
    /// When its negotiation began.
    pub(crate) begun: Instant,
    /// When it was authenticated.
    pub(crate) since: Instant,
    /// The last sign of life.
    pub(crate) last_heard: Instant,
    /// Liveness, keepalive, expiry.
    pub(crate) timers: Timers,
    /// The operator was told of it.
    pub(crate) announced: bool,
    /// Another IKE SA of the connection is kept, and the peer is expected to delete this one.
    pub(crate) losing: bool,
    in_flight: Option<Request>,
    _proof: AuthVerified,
}

/// A request of ours on an established IKE SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Are you there?
    Liveness,
}

/// How an established or closing IKE SA ends.
#[derive(Debug)]
pub(crate) enum Ending {
    /// The peer deleted it.
    PeerDeleted,
    /// An error ended it.
    Failed(Failure),
    /// Its last CHILD SA is gone: it is of no use any more.
    NoChild,
    /// The peer does not answer.
    Unreachable {
        /// How often it was asked.
        tries: u32,
    },
    /// Our delete was answered.
    Closed,
}

impl Established {
    /// From the outcome of IKE_AUTH.
    pub(crate) fn new(now: Instant, authenticated: auth::Authenticated) -> (Self, Option<Failure>) {
        let (child, failure) = match authenticated.child {
            Ok(child) => (Some(child), None),
            Err(failure) => (None, Some(failure)),
        };
        let mut established = Self {
            config: authenticated.config,
            ike: authenticated.ike,
            remote_identity: authenticated.remote_identity,
            children: child
                .into_iter()
                .map(|child| (child.inbound_spi(), child))
                .collect(),
            begun: authenticated.begun,
            since: now,
            last_heard: now,
            timers: Timers::default(),
            announced: false,
            losing: false,
            in_flight: None,
            _proof: authenticated.proof,
        };
        liveness::arm(&mut established);
        established.arm_keepalive(now);
        (established, failure)
    }

    /// Sends a request. The caller has seen that none is in flight.
    pub(crate) fn request(&mut self, cx: &mut Cx<'_>, request: Request, message: &Informational) {
        let bytes = self
            .ike
            .seal_request(ExchangeType::INFORMATIONAL, &message.emit(), cx.random);
        self.ike.requests.sent(bytes.clone(), cx.now);
        self.in_flight = Some(request);
        cx.transmit(self.ike.path, bytes);
    }

    /// Looks at a message for our SPI. Changes nothing.
    pub(crate) fn read(&self, header: &Header, bytes: &[u8]) -> Result<Seen, Ignore> {
        read(&self.ike, header, bytes)
    }

    /// The peer's fresh request or the awaited response: both are proof of life, and of where the peer is.
    pub(crate) fn on_fresh(&mut self, cx: &mut Cx<'_>, path: Path, opened: &Opened) -> Option<Ending> {
        liveness::heard(self, cx.now);
        if self.ike.follow(path) {
            cx.output(Output::SetPath {
                connection: self.config.id,
                path,
            });
        }
        if !opened.header().is_response() {
            return self.on_request(cx, path, opened);
        }
        self.ike.requests.answered();
        match self.in_flight.take() {
            // What is in the answer to a liveness check does not matter.
            Some(Request::Liveness) | None => None,
        }
    }

    fn on_request(&mut self, cx: &mut Cx<'_>, path: Path, opened: &Opened) -> Option<Ending> {
        let header = *opened.header();
        let asked = opened.chain().and_then(|chain| match header.exchange {
            ExchangeType::INFORMATIONAL => informational::answer(cx, self, &chain),
            ExchangeType::CREATE_CHILD_SA => {
                let answer = create_child::answer(cx, &chain, false)?;
                Ok(informational::Asked {
                    answer,
                    removed: Vec::new(),
                    ending: None,
                })
            }
            other => Err(unexpected(other)),
        });
        match asked {
            Ok(asked) => {
                self.respond(cx, path, &header, &asked.answer);
                delete::remove(cx, self, asked.removed);
                asked.ending
            }
            Err(malformed) => {
                self.respond(cx, path, &header, &only_notify(&malformed.answer()));
                // RFC 7296 2.21.3: INVALID_SYNTAX ends the IKE SA on both sides; an unknown critical payload does not.
                let cause = Cause::from_malformed(&malformed);
                let failure = Failure::new(exchange_of(header.exchange), cause);
                failure
                    .cause
                    .unsupported_critical()
                    .is_none()
                    .then_some(Ending::Failed(failure))
            }
        }
    }

    /// RFC 7296 2.11: the answer goes where the request came from.
    fn respond(&mut self, cx: &mut Cx<'_>, path: Path, header: &Header, payloads: &Payloads) {
        let bytes = self
            .ike
            .respond(header.exchange, header.message_id, payloads, cx.random);
        cx.transmit(path, bytes);
    }

    /// Whatever is due.
    pub(crate) fn on_timeout(&mut self, cx: &mut Cx<'_>) -> Option<Ending> {
        match self.ike.requests.on_timeout(cx.now) {
            Overdue::No => {}
            Overdue::Resend { bytes, sent } => {
                cx.transmit(self.ike.path, bytes);
                let (connection, path) = (self.config.id, self.ike.path);
                cx.event(Event::Progress {
                    connection,
                    step: Step::Retransmission { sent },
                    path,
                });
            }
            Overdue::GiveUp { tries } => return Some(Ending::Unreachable { tries }),
        }
        while let Some(reason) = self.timers.take_expired(cx.now) {
            match reason {
                Reason::Liveness => liveness::on_timeout(cx, self),
                Reason::Keepalive => {
                    cx.keepalive(self.ike.path);
                    self.arm_keepalive(cx.now);
                }
                Reason::Expire => return Some(Ending::NoChild),
                Reason::Retransmit | Reason::Retry => {}
            }
        }
        None
    }

    /// RFC 3948 4: only who has a NAT before it (or lets the peer believe so) keeps it open.
    fn arm_keepalive(&mut self, now: Instant) {
        let wanted = self.ike.nat.nat_local || self.config.encapsulation == EncapsulationPolicy::Force;
        if wanted && self.ike.encapsulation == Encapsulation::Udp {
            let wait = self.config.nat_keepalive.max(SHORTEST_KEEPALIVE);
            self.timers.set(Reason::Keepalive, after(now, wait));
        }
    }

    /// Turns it into one that is being deleted. What is left of its CHILD SAs goes when the peer has answered.
    pub(crate) fn close(self, cx: &mut Cx<'_>, reason: CloseReason) -> Closing {
        let in_flight = self.in_flight.is_some();
        let mut closing = Closing::new(self.config, self.ike, Informational::delete_ike(), reason);
        closing.children = self.children;
        closing.announced = self.announced;
        // RFC 7296 2.3: with a window of one the delete waits for the answer to what is in flight.
        if !in_flight {
            closing.say_farewell(cx);
        }
        closing
    }
}

/// What a message for an IKE SA is.
#[derive(Debug)]
pub(crate) enum Seen {
    /// The next request of the peer, or the response to ours.
    Fresh(Opened),
    /// The last request of the peer again: this was the answer.
    Repeated(Vec<u8>),
}

/// RFC 7296 2.2, 2.3: the window, then the integrity check; nothing is done for a message that fails either.
fn read(ike: &IkeSa, header: &Header, bytes: &[u8]) -> Result<Seen, Ignore> {
    if header.exchange == ExchangeType::IKE_SA_INIT {
        return Err(Ignore::UnexpectedState);
    }
    if header.is_response() {
        if !ike.requests.awaits(header.message_id) {
            return Err(Ignore::OutOfWindow);
        }
        return Ok(Seen::Fresh(ike.open(header, bytes)?));
    }
    match ike.responses.judge(header.message_id) {
        Standing::Fresh => Ok(Seen::Fresh(ike.open(header, bytes)?)),
        Standing::Repeated(answer) => {
            ike.open(header, bytes)?;
            Ok(Seen::Repeated(answer.to_vec()))
        }
        Standing::Outside => Err(Ignore::OutOfWindow),
    }
}

fn exchange_of(kind: ExchangeType) -> Exchange {
    match kind {
        ExchangeType::IKE_SA_INIT => Exchange::IkeSaInit,
        ExchangeType::IKE_AUTH => Exchange::IkeAuth,
        ExchangeType::CREATE_CHILD_SA => Exchange::CreateChildSa,
        ExchangeType(_) => Exchange::Informational,
    }
}

/// A request of an exchange that has no place here. It counts as fresh and must be answered, or the peer's window
/// would be stuck.
fn unexpected(kind: ExchangeType) -> Malformed {
    Malformed::new(
        crate::wire::Fault::Value {
            what: "the exchange type",
            value: u64::from(kind.0),
        },
        18,
    )
}

/// A NAT is not kept open more eagerly, whatever the configuration says.
const SHORTEST_KEEPALIVE: Duration = Duration::from_secs(1);
