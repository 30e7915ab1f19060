//! All connections of one host: takes inputs, finds whom they concern, and keeps the one list of outputs.
//!
//! What belongs to no IKE SA yet is in `first`, what is no IKEv2 in `version`.

mod fetched;
mod first;
mod resume;
mod version;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use rustls_pki_types::UnixTime;

use crate::admission::Admission;
use crate::api::{Command, Event, Input, Output, Path, Random, Reason};
use crate::auth::x509::revocation::{Checker, Policy};
use crate::config::{ConnectionId, EndpointConfig};
use crate::connection::Connection;
use crate::error::{Cause, Exchange, Failure, Ignore};
use crate::exchange::auth_answer;
use crate::exchange::crash::TokenMaker;
use crate::exchange::{Cx, init_answer, intermediate, status};
use crate::sa::spis::{Owner, Spis};
use crate::sa::ticket::Tickets;
use crate::sa::transmission::Seen;
use crate::wire::{ExchangeType, Header, IkeSpi, Opened};

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
    checker: Checker,
    tokens: TokenMaker,
    tickets: Tickets,
    export_keys: bool,
}

impl Endpoint {
    /// An endpoint without connections. `random` must be unpredictable outside of tests.
    pub fn new(config: EndpointConfig, random: Box<dyn Random + Send>) -> Self {
        let tokens = TokenMaker::new(config.crash_secret.clone());
        let tickets = Tickets::new(config.ticket_keys.clone());
        Self {
            tokens,
            tickets,
            config,
            wall_clock: None,
            random,
            outputs: VecDeque::new(),
            connections: BTreeMap::new(),
            admission: Admission::default(),
            spis: Spis::default(),
            checker: Checker::default(),
            export_keys: false,
        }
    }

    /// The dataplane has so many queues, and queue `SPI % queues` receives ESP: SPIs are chosen with that in mind.
    pub fn set_queues(&mut self, queues: u32) {
        self.spis.set_queues(queues);
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
            Input::Command(Command::ExportKeys(wanted)) => self.export_keys(wanted),
            Input::Command(command) => self.on_command(now, command),
            Input::Usage(usage) => {
                let (mut cx, connections, _) = self.split(now);
                if let Some(connection) = connections.get_mut(&usage.connection) {
                    connection.on_usage(&mut cx, &usage);
                }
            }
            Input::WallClock(since_1970) => self.wall_clock = Some((now, since_1970)),
            Input::Fetched { id, result } => self.on_fetched(now, id, result),
            Input::Connected(path) => {
                let (mut cx, connections, _) = self.split(now);
                connections
                    .values_mut()
                    .for_each(|connection| connection.on_connected(&mut cx, path));
            }
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
            .chain(self.checker.next_deadline().map(|at| (at, Reason::Fetch)))
            .min()
    }

    /// As if both sides of every IKE SA had sent so many requests, and got their answers.
    #[cfg(any(test, feature = "testing"))]
    pub fn use_up_message_ids(&mut self, many: u32) {
        self.connections
            .values_mut()
            .for_each(|connection| connection.use_up_message_ids(many));
    }

    /// How many SPIs of IKE SAs and of CHILD SAs are in use: nothing but what stands may have one.
    #[cfg(any(test, feature = "testing"))]
    pub fn spis_in_use(&self) -> (usize, usize) {
        self.spis.in_use()
    }

    /// Compares the SPIs in use with those that something holds and will release: what is wrong, if anything is. How many
    /// things else there are that wait for something.
    #[cfg(any(test, feature = "testing"))]
    pub fn audit(&self) -> Result<usize, String> {
        let mut held = crate::connection::audit::Holdings::default();
        self.connections
            .values()
            .for_each(|connection| connection.holdings(&mut held));
        let (ike, esp) = self.spis.of_connections();
        let (held_ike, held_esp) = (
            held.ike.iter().copied().collect(),
            held.esp.iter().copied().collect(),
        );
        if ike != held_ike || held.ike.len() != held_ike.len() {
            return Err(format!("IKE SPIs in use: {ike:?}, held: {:?}", held.ike));
        }
        if *esp != held_esp || held.esp.len() != held_esp.len() {
            return Err(format!("ESP SPIs in use: {esp:?}, held: {:?}", held.esp));
        }
        Ok(held.notes + self.outputs.len())
    }

    /// Opens a message of one of its IKE SAs, whichever side sent it, unless it is in fragments. Changes nothing.
    #[cfg(any(test, feature = "testing"))]
    pub fn unseal(&self, bytes: &[u8]) -> Option<Opened> {
        let (header, _) = Header::parse(bytes).ok()?;
        let mut connections = self.connections.values();
        connections.find_map(|connection| connection.unseal(&header, bytes))
    }

    fn on_command(&mut self, now: Instant, command: Command) {
        let (mut cx, connections, admission) = self.split(now);
        match command {
            Command::Configure(config) => {
                if config.revocation.policy != Policy::Off {
                    // RFC 4806 4.2: to have it when a peer wants to see it.
                    let _ = status::own_response(&mut cx, &config);
                }
                match connections.get_mut(&config.id) {
                    Some(connection) => connection.configure(*config),
                    None => {
                        connections.insert(config.id, Connection::new(*config));
                    }
                }
            }
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
            Command::Demand(id) => connections
                .get_mut(&id)
                .into_iter()
                .for_each(|connection| connection.demand(&mut cx)),
            Command::Rest(id) => connections
                .get_mut(&id)
                .into_iter()
                .for_each(|connection| connection.rest(&mut cx)),
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
            // Not for any connection: `handle` takes care of it.
            Command::ExportKeys(_) => {}
            Command::Crls { connection, crls } => {
                if let Some(connection) = connections.get_mut(&connection) {
                    connection.on_crls(crls);
                }
            }
            Command::Follow {
                connection,
                local,
                remote,
            } => {
                if let Some(connection) = connections.get_mut(&connection) {
                    connection.follow(&mut cx, local, remote);
                }
            }
            Command::Redirect { connection, to } => {
                if let Some(connection) = connections.get_mut(&connection) {
                    connection.redirect(&mut cx, to);
                }
            }
            Command::TicketKeys(keys) => cx.tickets.replace_keys(keys),
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

    fn export_keys(&mut self, wanted: bool) {
        self.export_keys = wanted;
        if wanted {
            let half_open = self.admission.half_open().map(|awaited| awaited.ike.exported());
            let standing = self.connections.values().flat_map(Connection::exported);
            self.outputs.extend(half_open.chain(standing).map(Output::Keys));
        }
    }

    fn on_timeout(&mut self, now: Instant) {
        let overdue = self.checker.expire(now);
        self.resume(now, &overdue);
        let (mut cx, connections, admission) = self.split(now);
        connections
            .values_mut()
            .for_each(|connection| connection.on_timeout(&mut cx));
        while let Some(awaited) = admission.take_expired(now) {
            cx.spis.release_ike(awaited.ike.local_spi(), awaited.ike.first);
            // Worth a word only if it was probably one of ours, and nothing better came of it meanwhile.
            let likely = awaited
                .likely
                .filter(|_| !awaited.refused && awaited.deferred.is_none());
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
        let header = match Header::parse(bytes) {
            Ok((header, _)) => header,
            Err(malformed) => return Err(self.on_no_header(now, path, bytes, &malformed)),
        };
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
            None => {
                // RFC 6290 4.5: the peer learns that what it means is gone.
                if let Some(answer) = self.tokens.answer(now, &header, bytes) {
                    self.split(now).0.transmit(path, answer);
                }
                Err(Ignore::UnknownSpi)
            }
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
        self.answer_half_open(now, path, spi, opened)
    }

    /// The IKE_AUTH request of a half-open SA, new or kept.
    fn answer_half_open(
        &mut self,
        now: Instant,
        path: Path,
        spi: IkeSpi,
        opened: Opened,
    ) -> Result<(), Ignore> {
        let awaited = self.admission.get(spi).ok_or(Ignore::UnknownSpi)?;
        let suite = awaited.ike.suite;
        let mut candidates = self.candidates(path);
        candidates.retain(|config| init_answer::admits(config, &suite));
        if let Some(presented) = &awaited.presented {
            candidates.retain(|config| presented.is_for(config));
        }
        let (mut cx, connections, admission) = self.split(now);
        let may_wait = admission.may_defer();
        let awaited = admission.take(spi).ok_or(Ignore::UnknownSpi)?;
        match awaited.answer(&mut cx, path, opened, &candidates, may_wait) {
            auth_answer::Answered::Authenticated(authenticated, answer) => {
                let (id, begun) = (authenticated.config.id, authenticated.begun);
                let contact = authenticated.initial_contact;
                let connection = connections.get_mut(&id).ok_or(Ignore::UnexpectedState)?;
                connection.establish(&mut cx, *authenticated, Some((path, answer)));
                if contact {
                    self.on_initial_contact(now, id, begun);
                }
            }
            auth_answer::Answered::Deferred(awaited) => admission.put(*awaited),
            auth_answer::Answered::Refused(awaited, failure, answer, connection) => {
                cx.transmit(path, answer);
                admission.put(*awaited);
                let stands = |id: &ConnectionId| connections.get(id).is_some_and(Connection::stands);
                let connection = connection.filter(|id| !stands(id));
                // Whoever asks for a key exchange can fail as often as it likes.
                if !admission.disbelief.take(now, connection) {
                    return Err(Ignore::RefusedAgain);
                }
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
            checker: &mut self.checker,
            tokens: &self.tokens,
            tickets: &mut self.tickets,
            export_keys: self.export_keys,
        };
        (cx, &mut self.connections, &mut self.admission)
    }
}
