//! All connections of one host: takes inputs, finds whom they concern, and keeps the one list of outputs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls_pki_types::UnixTime;
use sha2::{Digest, Sha256};

use crate::admission::{Admission, Applicant, Verdict};
use crate::api::{Command, Event, Input, Output, Path, Random, Reason};
use crate::config::{ConnectionConfig, ConnectionId, EndpointConfig};
use crate::connection::Connection;
use crate::error::{Cause, Exchange, Failure, Ignore};
use crate::exchange::auth_answer::{self, Awaited};
use crate::exchange::{Cx, init_answer, intermediate};
use crate::message::{InitRequest, InitResponse};
use crate::sa::spis::{FirstMessage, Owner, Spis};
use crate::sa::transmission::Seen;
use crate::timers::after;
use crate::wire::payload::NotifyType;
use crate::wire::{Chain, ExchangeType, Fault, Header, IkeSpi, Malformed, Opened};

/// All connections of one host, as a pure state machine.
///
/// Concurrency: one owner, one thread at a time; `Send`, so that it may move.
pub struct Endpoint {
    config: EndpointConfig,
    wall_clock: Option<(Instant, Duration)>,
    random: Box<dyn Random + Send>,
    outputs: VecDeque<Output>,
    connections: BTreeMap<ConnectionId, Connection>,
    admission: Admission,
    spis: Spis,
}

impl Endpoint {
    /// An endpoint without connections. `random` must be unpredictable outside of tests.
    pub fn new(config: EndpointConfig, random: Box<dyn Random + Send>) -> Self {
        Self {
            config,
            wall_clock: None,
            random,
            outputs: VecDeque::new(),
            connections: BTreeMap::new(),
            admission: Admission::default(),
            spis: Spis::default(),
        }
    }

    /// Takes one input. Never fails: bad input becomes an event.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Datagram { path, bytes } => {
                if let Err(ignore) = self.on_datagram(now, path, bytes) {
                    self.outputs
                        .push_back(Output::Event(Event::Ignored { reason: ignore }));
                }
            }
            Input::Command(command) => self.on_command(now, command),
            Input::Usage(usage) => {
                let (mut cx, connections, _) = self.split(now);
                if let Some(connection) = connections.get_mut(&usage.connection) {
                    connection.on_usage(&mut cx, &usage);
                }
            }
            Input::WallClock(since_1970) => self.wall_clock = Some((now, since_1970)),
            Input::Timeout => self.on_timeout(now),
        }
        self.connections.retain(|_, connection| !connection.is_over());
    }

    /// The next effect, in order. To be drained to `None` after every `handle`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When `Input::Timeout` is wanted next, and for what.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        self.connections
            .values()
            .filter_map(Connection::next_deadline)
            .chain(self.admission.next_deadline())
            .min()
    }

    /// How many SPIs of IKE SAs and of CHILD SAs are in use: nothing but what stands may have one.
    #[cfg(any(test, feature = "testing"))]
    pub fn spis_in_use(&self) -> (usize, usize) {
        self.spis.in_use()
    }

    fn on_command(&mut self, now: Instant, command: Command) {
        let (mut cx, connections, admission) = self.split(now);
        match command {
            Command::Configure(config) => match connections.get_mut(&config.id) {
                Some(connection) => connection.configure(*config),
                None => {
                    connections.insert(config.id, Connection::new(*config));
                }
            },
            Command::Forget(id) => {
                connections
                    .get_mut(&id)
                    .into_iter()
                    .for_each(|connection| connection.forget(&mut cx));
            }
            Command::Up(id) => connections
                .get_mut(&id)
                .into_iter()
                .for_each(|connection| connection.up(&mut cx)),
            Command::Down(id) => {
                connections
                    .get_mut(&id)
                    .into_iter()
                    .for_each(|connection| connection.down(&mut cx));
            }
            Command::Rekey { connection, what } => {
                connections
                    .get_mut(&connection)
                    .into_iter()
                    .for_each(|connection| connection.rekey(&mut cx, what));
            }
            Command::Addresses {
                connection,
                local,
                others,
            } => {
                if let Some(connection) = connections.get_mut(&connection) {
                    connection.on_addresses(&mut cx, local, &others);
                }
            }
            Command::Shutdown => {
                connections
                    .values_mut()
                    .for_each(|connection| connection.down(&mut cx));
                while let Some(awaited) = admission.take_any() {
                    cx.spis.release_ike(awaited.ike.local_spi(), awaited.ike.first);
                }
            }
        }
    }

    fn on_timeout(&mut self, now: Instant) {
        let (mut cx, connections, admission) = self.split(now);
        connections
            .values_mut()
            .for_each(|connection| connection.on_timeout(&mut cx));
        while let Some(awaited) = admission.take_expired(now) {
            cx.spis.release_ike(awaited.ike.local_spi(), awaited.ike.first);
            // Worth a word only if it was probably one of ours, and nothing better came of it meanwhile.
            let likely = awaited.likely.filter(|_| !awaited.refused);
            if likely
                .and_then(|id| connections.get(&id))
                .is_some_and(|connection| !connection.stands())
            {
                let failure = Failure::new(Exchange::IkeAuth, Cause::Abandoned);
                let path = awaited.ike.path;
                cx.event(Event::Failed {
                    connection: likely,
                    path,
                    failure,
                    retry_in: None,
                });
            }
        }
    }

    fn on_datagram(&mut self, now: Instant, path: Path, bytes: &[u8]) -> Result<(), Ignore> {
        let (header, _) = Header::parse(bytes).map_err(|malformed| no_header(&malformed))?;
        // RFC 7296 3.1: the I flag says which of the two SPIs is the sender's; the other one is ours.
        let (ours, theirs) = match header.flags.initiator {
            true => (header.responder_spi, header.initiator_spi),
            false => (header.initiator_spi, header.responder_spi),
        };
        if self.spis.owner(theirs).is_some() && self.spis.owner(ours).is_none() {
            return Err(Ignore::Reflected);
        }
        if ours.is_zero() {
            return self.on_first(now, path, &header, bytes);
        }
        match self.spis.owner(ours) {
            None => Err(Ignore::UnknownSpi),
            Some(Owner::HalfOpen) => self.on_half_open(now, path, ours, &header, bytes),
            Some(Owner::Connection(id)) => {
                let sole = self.is_sole(id);
                let (mut cx, connections, _) = self.split(now);
                let connection = connections.get_mut(&id).ok_or(Ignore::UnknownSpi)?;
                connection.on_message(&mut cx, ours, &header, path, bytes, sole);
                Ok(())
            }
        }
    }

    /// A message that names no SPI of ours: it can only be an IKE_SA_INIT request.
    fn on_first(&mut self, now: Instant, path: Path, header: &Header, bytes: &[u8]) -> Result<(), Ignore> {
        let is_first = header.flags.initiator && !header.is_response() && header.message_id == 0;
        if !is_first || header.exchange != ExchangeType::IKE_SA_INIT {
            return Err(Ignore::UnknownSpi);
        }
        let first = first_message(path, bytes);
        if let Some(spi) = self.spis.made_by(first) {
            return self.on_first_again(now, path, spi);
        }
        let candidates = self.candidates(path);
        if candidates.is_empty() {
            return Err(Ignore::NoConnection);
        }
        let parsed = Chain::parse_message(bytes).and_then(|(_, chain)| InitRequest::parse(&chain));
        let request = match parsed {
            Ok(request) => request,
            Err(malformed) => return self.on_malformed_first(now, path, header, bytes.len(), &malformed),
        };
        let config = self.config.clone();
        let (mut cx, connections, admission) = self.split(now);
        let applicant = Applicant {
            nonce: &request.nonce.0,
            from: path.remote,
            spi_i: header.initiator_spi,
            cookie: request.cookie.as_deref(),
        };
        match admission.judge(&config, now, cx.random, applicant) {
            Verdict::Full => return Err(Ignore::HalfOpenFull),
            Verdict::CookieWanted(cookie) => {
                cx.transmit(
                    path,
                    init_answer::stateless(header, &InitResponse::Cookie(cookie)),
                );
                return Ok(());
            }
            Verdict::Admitted => {}
        }
        match init_answer::answer(&mut cx, header, &request, path, &candidates, (first, bytes.len())) {
            init_answer::Answered::Accepted(half) => {
                cx.transmit(path, half.response.clone());
                let mut awaited = Awaited::new(
                    half.ike,
                    bytes,
                    half.response,
                    now,
                    after(now, config.half_open_timeout),
                );
                awaited.likely = likely(&candidates);
                admission.put(awaited);
            }
            init_answer::Answered::Refused(response, failure) => {
                cx.transmit(path, init_answer::stateless(header, &response));
                if failure.cause == Cause::BadPublicValue {
                    admission.note_wasted(now, path.remote.ip());
                }
                // Another group is a detour, not a failure.
                let detour = failure.cause.notify() == Some(NotifyType::INVALID_KE_PAYLOAD);
                if !detour && admission.may_report(now) {
                    let waits =
                        |id: &ConnectionId| connections.get(id).is_some_and(Connection::waits_for_peer);
                    let connection = likely(&candidates).filter(waits);
                    cx.event(Event::Failed {
                        connection,
                        path,
                        failure: *failure,
                        retry_in: None,
                    });
                }
            }
        }
        Ok(())
    }

    /// RFC 7296 2.1: a repeated request is answered by the same response, while the SA is not used otherwise yet.
    fn on_first_again(&mut self, now: Instant, path: Path, spi: IkeSpi) -> Result<(), Ignore> {
        let (mut cx, _, admission) = self.split(now);
        let awaited = admission.get(spi).ok_or(Ignore::OutOfWindow)?;
        cx.transmit(path, awaited.response.clone());
        Ok(())
    }

    /// RFC 7296 2.5: an unknown critical payload must be named to the sender. All else is just rubbish.
    fn on_malformed_first(
        &mut self,
        now: Instant,
        path: Path,
        header: &Header,
        received: usize,
        malformed: &Malformed,
    ) -> Result<(), Ignore> {
        if Cause::from_malformed(malformed).unsupported_critical().is_none() {
            return Err(Ignore::Malformed);
        }
        let (mut cx, _, _) = self.split(now);
        let answer = crate::message::build_plain(
            &init_answer::response_header(header),
            &crate::message::only_notify(&malformed.answer()),
        );
        // Nobody gets more octets than it sent before it has shown its address.
        if answer.len() > received {
            return Err(Ignore::Malformed);
        }
        cx.transmit(path, answer);
        Ok(())
    }

    fn on_half_open(
        &mut self,
        now: Instant,
        path: Path,
        spi: IkeSpi,
        header: &Header,
        bytes: &[u8],
    ) -> Result<(), Ignore> {
        let (mut cx, _, admission) = self.split(now);
        let awaited = admission.get_mut(spi).ok_or(Ignore::UnknownSpi)?;
        let opened = match awaited.read(&mut cx, header, bytes)? {
            Seen::Fresh(opened) => opened,
            Seen::Repeated(answer) => {
                cx.transmit(path, answer);
                return Ok(());
            }
            Seen::Part => return Ok(()),
        };
        if awaited.awaited() == ExchangeType::IKE_INTERMEDIATE {
            self.on_intermediate(now, path, spi, &opened);
            return Ok(());
        }
        let suite = awaited.ike.suite;
        let mut candidates = self.candidates(path);
        candidates.retain(|config| init_answer::admits(config, &suite));
        let (mut cx, connections, admission) = self.split(now);
        let awaited = admission.take(spi).ok_or(Ignore::UnknownSpi)?;
        match awaited.answer(&mut cx, path, &opened, &candidates) {
            auth_answer::Answered::Authenticated(authenticated, answer) => {
                let (id, begun) = (authenticated.config.id, authenticated.begun);
                let contact = authenticated.initial_contact;
                let connection = connections.get_mut(&id).ok_or(Ignore::UnexpectedState)?;
                connection.establish(&mut cx, *authenticated, Some((path, answer)));
                if contact {
                    self.on_initial_contact(now, id, begun);
                }
            }
            auth_answer::Answered::Refused(awaited, failure, answer, connection) => {
                cx.transmit(path, answer);
                admission.put(*awaited);
                let stands = |id: &ConnectionId| connections.get(id).is_some_and(Connection::stands);
                let connection = connection.filter(|id| !stands(id));
                cx.event(Event::Failed {
                    connection,
                    path,
                    failure,
                    retry_in: None,
                });
            }
        }
        Ok(())
    }

    /// An additional key exchange before anybody is authenticated (RFC 9370 2.2.2).
    fn on_intermediate(&mut self, now: Instant, path: Path, spi: IkeSpi, opened: &Opened) {
        let (mut cx, connections, admission) = self.split(now);
        let Some(awaited) = admission.take(spi) else {
            return;
        };
        match intermediate::answer(awaited, &mut cx, opened) {
            intermediate::Answered::Accepted(awaited, answer) => {
                cx.transmit(path, answer);
                admission.put(*awaited);
            }
            intermediate::Answered::Refused(awaited, failure, answer, likely) => {
                cx.transmit(path, answer);
                admission.put(*awaited);
                let waits = |id: &ConnectionId| connections.get(id).is_some_and(Connection::waits_for_peer);
                let connection = likely.filter(waits);
                if admission.may_report(now) {
                    cx.event(Event::Failed {
                        connection,
                        path,
                        failure,
                        retry_in: None,
                    });
                }
            }
        }
    }

    /// RFC 7296 2.4: the peer of this connection has no other IKE SA between the two identities, so neither have we.
    fn on_initial_contact(&mut self, now: Instant, id: ConnectionId, begun: Instant) {
        let Some((local, remote)) = self.connections.get(&id).map(Connection::identities) else {
            return;
        };
        let (local, remote) = (local.clone(), remote.clone());
        let (mut cx, connections, _) = self.split(now);
        for (other, connection) in connections {
            if *other != id && connection.identities() == (&local, &remote) {
                connection.contact_lost(&mut cx, begun);
            }
        }
    }

    /// The connections that a peer may have meant, the ones with its address first.
    fn candidates(&self, path: Path) -> Vec<Arc<ConnectionConfig>> {
        let mut candidates: Vec<_> = self
            .connections
            .values()
            .filter_map(|connection| connection.candidate(path))
            .collect();
        candidates.sort_by_key(|config| config.remote.is_none());
        candidates
    }

    /// No IKE SA stands between the identities of this connection.
    fn is_sole(&self, id: ConnectionId) -> bool {
        let Some(own) = self.connections.get(&id).map(Connection::identities) else {
            return false;
        };
        !self
            .connections
            .values()
            .any(|other| other.identities() == own && other.stands())
    }

    fn split(&mut self, now: Instant) -> (Cx<'_>, &mut BTreeMap<ConnectionId, Connection>, &mut Admission) {
        let wall_clock = self.wall_clock.map(|(then, shown)| {
            UnixTime::since_unix_epoch(shown.saturating_add(now.saturating_duration_since(then)))
        });
        let cx = Cx {
            now,
            wall_clock,
            random: &mut *self.random,
            outputs: &mut self.outputs,
            spis: &mut self.spis,
        };
        (cx, &mut self.connections, &mut self.admission)
    }
}

/// RFC 7296 2.1: a retransmission is recognised by the whole message, and by where it comes from: a copy that somebody
/// else sends first must not shut its author out.
fn first_message(path: Path, bytes: &[u8]) -> FirstMessage {
    let mut digest = Sha256::new();
    digest.update(path.remote.to_string());
    digest.update([0]);
    digest.update(bytes);
    FirstMessage(digest.finalize().into())
}

fn no_header(malformed: &Malformed) -> Ignore {
    match malformed.fault {
        Fault::Truncated { .. } => Ignore::Truncated,
        Fault::MajorVersion(_) => Ignore::WrongVersion,
        Fault::Length { .. } | Fault::Value { .. } => Ignore::NotIke,
        Fault::Trailing { .. }
        | Fault::TooMany { .. }
        | Fault::UnsupportedCritical(_)
        | Fault::Missing(_)
        | Fault::Duplicate(_) => Ignore::Malformed,
    }
}

/// The one connection that was configured for this very address.
fn likely(candidates: &[Arc<ConnectionConfig>]) -> Option<ConnectionId> {
    let mut specific = candidates.iter().filter(|config| config.remote.is_some());
    match (specific.next(), specific.next()) {
        (Some(only), None) => Some(only.id),
        (Some(_), Some(_)) | (None, _) => None,
    }
}
