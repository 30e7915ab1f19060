//! One endpoint with what a dataplane would know of it.

use std::collections::BTreeMap;
use std::time::Instant;

use super::random::SeededRandom;
use crate::Endpoint;
use crate::api::{Direction, Event, Input, InstallInbound, InstallOutbound, Output, Path, Spi};
use crate::config::EndpointConfig;
use crate::error::{Failure, Ignore};

/// One host: an endpoint and what a dataplane would know.
pub struct Host {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// All outputs so far.
    pub outputs: Vec<Output>,
    /// Inbound SAs that are installed.
    pub inbound: BTreeMap<Spi, InstallInbound>,
    /// Outbound SAs that are installed.
    pub outbound: BTreeMap<Spi, InstallOutbound>,
    order: Vec<Spi>,
}

impl Host {
    /// A host without connections.
    pub fn new(config: EndpointConfig, seed: u64) -> Self {
        Self {
            endpoint: Endpoint::new(config, Box::new(SeededRandom::new(seed))),
            outputs: Vec::new(),
            inbound: BTreeMap::new(),
            outbound: BTreeMap::new(),
            order: Vec::new(),
        }
    }

    /// Gives an input to the endpoint and performs its outputs but for transmissions, which are returned with all
    /// the others.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) -> Vec<Output> {
        self.endpoint.handle(now, input);
        let mut fresh = Vec::new();
        while let Some(output) = self.endpoint.poll_output() {
            self.perform(&output);
            fresh.push(output);
        }
        self.outputs.extend(fresh.iter().map(copy));
        fresh
    }

    fn perform(&mut self, output: &Output) {
        match output {
            Output::InstallInbound(sa) => {
                assert!(
                    self.inbound.insert(sa.spi, sa.clone()).is_none(),
                    "inbound {} installed twice",
                    sa.spi
                );
            }
            Output::InstallOutbound(sa) => {
                assert!(
                    self.inbound.contains_key(&sa.inbound_spi),
                    "outbound {} without its inbound",
                    sa.spi
                );
                assert!(
                    self.outbound.insert(sa.spi, sa.clone()).is_none(),
                    "outbound {} installed twice",
                    sa.spi
                );
                self.order.push(sa.spi);
            }
            Output::Remove(remove) => {
                let known = match remove.direction {
                    Direction::Inbound => self.inbound.remove(&remove.spi).is_some(),
                    Direction::Outbound => self.outbound.remove(&remove.spi).is_some(),
                };
                assert!(
                    known,
                    "{:?} {} removed but not installed",
                    remove.direction, remove.spi
                );
                if remove.direction == Direction::Outbound {
                    self.order.retain(|spi| *spi != remove.spi);
                }
            }
            Output::SetPath {
                path, encapsulation, ..
            } => {
                for sa in self.outbound.values_mut() {
                    (sa.path, sa.encapsulation) = (*path, *encapsulation);
                }
                for sa in self.inbound.values_mut() {
                    sa.encapsulation = *encapsulation;
                }
            }
            Output::Transmit(_) | Output::Fetch(_) | Output::Keys(_) | Output::Event(_) => {}
        }
    }

    /// The outbound SA that is used: the one installed last of those that are left.
    pub fn sending(&self) -> Option<Spi> {
        self.order.last().copied()
    }

    /// The outbound SAs that are used: of those for the same networks the one installed last; and where they send to.
    pub fn sending_each(&self) -> Vec<(Spi, Path)> {
        let mut newest: Vec<&InstallOutbound> = Vec::new();
        for sa in self.order.iter().filter_map(|spi| self.outbound.get(spi)) {
            newest.retain(|other| (&other.local, &other.remote) != (&sa.local, &sa.remote));
            newest.push(sa);
        }
        newest.into_iter().map(|sa| (sa.spi, sa.path)).collect()
    }

    /// All events so far.
    pub fn events(&self) -> impl Iterator<Item = &Event> {
        self.outputs.iter().filter_map(|output| match output {
            Output::Event(event) => Some(event),
            Output::InstallInbound(_)
            | Output::Transmit(_)
            | Output::InstallOutbound(_)
            | Output::Remove(_)
            | Output::Fetch(_)
            | Output::Keys(_)
            | Output::SetPath { .. } => None,
        })
    }

    /// All failures so far.
    pub fn failures(&self) -> Vec<Failure> {
        self.events().filter_map(failure).collect()
    }

    /// How often a datagram was ignored for this reason.
    pub fn ignored(&self, reason: Ignore) -> usize {
        self.events()
            .filter(|event| **event == Event::Ignored { reason })
            .count()
    }

    /// Forgets the outputs so far, not what is installed.
    pub fn clear(&mut self) {
        self.outputs.clear();
    }

    /// Nothing is installed.
    pub fn is_bare(&self) -> bool {
        self.inbound.is_empty() && self.outbound.is_empty()
    }
}

fn failure(event: &Event) -> Option<Failure> {
    match event {
        Event::Failed { failure, .. } => Some(failure.clone()),
        Event::Progress { .. }
        | Event::IkeEstablished { .. }
        | Event::ChildEstablished { .. }
        | Event::Moved { .. }
        | Event::Redirected { .. }
        | Event::ChildClosed { .. }
        | Event::ChildFailed { .. }
        | Event::ReauthFailed { .. }
        | Event::IkeClosed { .. }
        | Event::StatusUnknown { .. }
        | Event::Ignored { .. } => None,
    }
}

fn copy(output: &Output) -> Output {
    match output {
        Output::InstallInbound(sa) => Output::InstallInbound(sa.clone()),
        Output::Transmit(transmit) => Output::Transmit(transmit.clone()),
        Output::InstallOutbound(sa) => Output::InstallOutbound(sa.clone()),
        Output::Remove(remove) => Output::Remove(*remove),
        Output::SetPath {
            connection,
            path,
            encapsulation,
        } => Output::SetPath {
            connection: *connection,
            path: *path,
            encapsulation: *encapsulation,
        },
        Output::Fetch(fetch) => Output::Fetch(fetch.clone()),
        Output::Keys(keys) => Output::Keys(keys.clone()),
        Output::Event(event) => Output::Event(event.clone()),
    }
}
