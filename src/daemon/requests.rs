//! What operators ask of the loop.

use std::time::Instant;

use xvpn_ike::api::{Command, Input, Rekey};
use xvpn_ike::config::ConnectionId;

use super::cost;
use super::search::Search;
use super::sources::Ports;
use super::status;
use super::supervisor::Supervisor;
use crate::admin::api::{Counter, ErrorReport, Request, Response, StatusReport, TunnelStatus, VERSION};
use crate::admin::server::{KeySink, shutting_down};

impl Supervisor {
    /// Does what an operator asks, or begins to.
    pub(super) fn answer(&mut self, request: Request, keys: Option<KeySink>) -> Response {
        if self.ending.is_some() && request != Request::Status {
            return Response::Error(shutting_down());
        }
        match request {
            Request::Status => Response::Status(Box::new(self.report())),
            Request::Up { names } => self
                .meant(names)
                .map_or_else(Response::Error, |ids| self.up(&ids)),
            Request::Down { names } => self
                .meant(names)
                .map_or_else(Response::Error, |ids| self.down(&ids)),
            Request::Rekey { names, ike } => self
                .meant(names)
                .map_or_else(Response::Error, |ids| self.rekey(&ids, ike)),
            Request::ExportKeys { seconds } => self.export_keys(seconds, keys),
            Request::Redirect { names, to } => self
                .meant(names)
                .map_or_else(Response::Error, |ids| self.redirect(&ids, to.as_deref())),
            Request::Shutdown => {
                tracing::info!("ending (an operator asked)");
                self.end();
                Response::Accepted {
                    names: self
                        .tunnels
                        .values()
                        .map(|tunnel| tunnel.config.name.clone())
                        .collect(),
                }
            }
            // The server answers this itself.
            Request::Subscribe => Response::Subscribed,
        }
    }

    fn up(&mut self, ids: &[ConnectionId]) -> Response {
        for id in ids {
            let Some(tunnel) = self.tunnels.get_mut(id) else {
                continue;
            };
            let news = tunnel.want(true, Instant::now());
            let idle = !tunnel.has_sa();
            // Whoever asks for it by name does not wait for a packet.
            tunnel.demand.waits = tunnel.on_demand();
            news.into_iter().for_each(|progress| self.publish(progress, true));
            self.set_trap(*id);
            if let Some(search) = self.searches.get_mut(id).filter(|_| idle) {
                // Tried at once, even in the middle of a wait for the next attempt.
                (search.up, search.again) = (false, None);
                self.search(*id);
            }
        }
        self.accepted(ids)
    }

    fn down(&mut self, ids: &[ConnectionId]) -> Response {
        for id in ids {
            let Some(tunnel) = self.tunnels.get_mut(id) else {
                continue;
            };
            let news = tunnel.want(false, Instant::now());
            news.into_iter().for_each(|progress| self.publish(progress, true));
            if let Some(search) = self.searches.get_mut(id) {
                (search.up, search.again) = (false, None);
            }
            self.set_trap(*id);
            self.handle(Input::Command(Command::Down(*id)));
            self.bar(*id);
        }
        self.tell_systemd();
        self.accepted(ids)
    }

    /// After `xvpn down` the peer is not answered any more, once it knows.
    pub(super) fn bar(&mut self, id: ConnectionId) {
        let barred = self
            .tunnels
            .get(&id)
            .is_some_and(|tunnel| tunnel.barred && !tunnel.has_sa());
        if let Some(search) = self
            .searches
            .get_mut(&id)
            .filter(|search| barred && search.told.is_some())
        {
            *search = Search::default();
            self.handle(Input::Command(Command::Forget(id)));
        }
    }

    fn rekey(&mut self, ids: &[ConnectionId], ike: bool) -> Response {
        let what = if ike { Rekey::Ike } else { Rekey::Child };
        for &connection in ids {
            self.handle(Input::Command(Command::Rekey { connection, what }));
        }
        self.accepted(ids)
    }

    pub(super) fn accepted(&self, ids: &[ConnectionId]) -> Response {
        let names = ids
            .iter()
            .filter_map(|id| self.tunnels.get(id))
            .map(|tunnel| tunnel.config.name.clone());
        Response::Accepted {
            names: names.collect(),
        }
    }

    /// The tunnels of these names; none named: all.
    fn meant(&self, names: Vec<String>) -> Result<Vec<ConnectionId>, ErrorReport> {
        if names.is_empty() {
            return Ok(self.tunnels.keys().copied().collect());
        }
        let find = |name: &String| {
            self.tunnels
                .iter()
                .find(|(_, tunnel)| tunnel.config.name == *name)
                .map(|(id, _)| *id)
        };
        let unknown: Vec<_> = names
            .iter()
            .filter(|name| find(name).is_none())
            .cloned()
            .collect();
        if !unknown.is_empty() {
            let known = self
                .tunnels
                .values()
                .map(|tunnel| tunnel.config.name.clone())
                .collect();
            return Err(ErrorReport::unknown_tunnels(unknown, known));
        }
        Ok(names.iter().filter_map(find).collect())
    }

    /// `ike` knows our ports by the numbers of the RFCs; an operator looks for the ones that are bound.
    fn with_real_port(&self, mut status: TunnelStatus) -> TunnelStatus {
        let ports = Ports {
            ike: self.gateway.port,
            nat_t: self.gateway.nat_port,
            tcp: self.gateway.tcp_port.unwrap_or_default(),
        };
        if let Some(ike) = &mut status.ike {
            ike.local.set_port(ports.bound(ike.local.port()));
        }
        status
    }

    /// Takes the counts of every CHILD SA.
    pub(super) fn count_usage(&mut self) {
        for usage in self.bridge.usage() {
            self.tunnels
                .entry(usage.connection)
                .and_modify(|tunnel| tunnel.on_usage(&usage));
        }
    }

    fn report(&mut self) -> StatusReport {
        let now = Instant::now();
        self.count_usage();
        let counts = self.bridge.counts();
        let counter = |name: &str, count: u64| Counter {
            name: name.to_owned(),
            count,
        };
        StatusReport {
            api: VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_ms: status::ms(now.saturating_duration_since(self.about.started)),
            config: self.about.config.clone(),
            listen: self.sources.bound(),
            queues: u32::try_from(self.about.queues).unwrap_or(u32::MAX),
            tunnels: self
                .tunnels
                .values()
                .map(|tunnel| self.with_real_port(tunnel.report(now)))
                .collect(),
            discards: cost::seen(&counts.discards()),
            control_discards: cost::seen(&counts.control),
            ignored: self
                .ignored
                .iter()
                .map(|(name, count)| counter(name, *count))
                .chain(
                    self.sources
                        .streams
                        .counts()
                        .into_iter()
                        .map(|(name, count)| counter(name, count)),
                )
                .collect(),
            host_changes: self.host.changes(),
            queue_stages: cost::queues(&counts),
            ciphers: cost::ciphers(),
            key_exports: self.export.iter().map(|export| export.report(now)).collect(),
        }
    }
}
