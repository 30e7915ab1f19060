//! The one loop: drain outputs, wait, take exactly one input. No other loop decides anything.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;
use tokio::signal::unix::Signal;
use tokio::sync::{broadcast, mpsc};
use xvpn_ike::Endpoint;
use xvpn_ike::api::{Command, Datagram, Direction, Input, Output, Path, Transmit};
use xvpn_ike::config::ConnectionId;

use super::bridge::{Bridge, Effect};
use super::crls::CrlFiles;
use super::export::Export;
use super::fetch::{self, Fetched};
use super::hints::Hints;
use super::host::Host;
use super::netlink::Netlink;
use super::offload::RefusedOffloads;
use super::search::{Found, Search};
use super::sources::{Arrived, Kind, Sources};
use super::status::Tunnel;
use super::systemd;
use super::tcp::Ends;
use super::tickets::TicketKeys;
use crate::admin::api::Progress;
use crate::admin::server::Ask;
use crate::config::GatewayConfig;

/// Everything that the loop owns.
pub struct Supervisor {
    /// The protocol.
    pub endpoint: Endpoint,
    /// The dataplane.
    pub bridge: Bridge,
    /// Sockets.
    pub sources: Sources,
    /// Changes of the host.
    pub host: Host<Netlink>,
    /// Interfaces' MTUs.
    pub netlink: Netlink,
    /// What concerns all tunnels.
    pub gateway: GatewayConfig,
    /// Tunnels, by the number that both cores know them by.
    pub tunnels: BTreeMap<ConnectionId, Tunnel>,
    /// Peers' addresses with a route of their own.
    pub pinned: Vec<IpAddr>,
    /// News for subscribers.
    pub progress: broadcast::Sender<Progress>,
    /// For the status: when it started, by which file, with how many queues.
    pub about: About,
    /// What the search for a tunnel's ends found.
    pub found: (mpsc::Sender<Found>, mpsc::Receiver<Found>),
    /// What came of fetches.
    pub fetched: (mpsc::Sender<Fetched>, mpsc::Receiver<Fetched>),
    /// The keys of the tickets that we give, if a tunnel wants tickets (RFC 5723).
    pub ticket_keys: Option<TicketKeys>,
    /// CRL files as they were.
    pub crls: CrlFiles,
    /// The search that is to be repeated, by tunnel.
    pub searches: BTreeMap<ConnectionId, Search>,
    /// The host's addresses.
    pub addresses: Vec<IpNet>,
    /// Datagrams that changed nothing.
    pub ignored: BTreeMap<&'static str, u64>,
    /// Offloads that the kernel refused.
    pub refused: RefusedOffloads,
    /// What ICMP says about peers that do not answer.
    pub hints: Hints,
    /// Who is given the keys of all SAs, if anybody is.
    pub export: Option<Export>,
    /// The end, if it has begun: the latest time to wait for.
    pub ending: Option<Instant>,
    /// It ends because it cannot go on.
    pub failed: bool,
}

/// Facts for the status.
#[derive(Clone, Debug)]
pub struct About {
    /// The daemon's start.
    pub started: Instant,
    /// The configuration's file.
    pub config: std::path::PathBuf,
    /// Threads of the dataplane.
    pub queues: usize,
}

/// Where inputs come from besides the sockets.
pub struct Inputs {
    /// Requests of operators.
    pub asks: mpsc::Receiver<Ask>,
    /// The host's addresses, whenever they or its routes have changed.
    pub network: mpsc::Receiver<Vec<IpNet>>,
    /// SIGTERM.
    pub terminate: Signal,
    /// SIGINT.
    pub interrupt: Signal,
    /// SIGHUP.
    pub hangup: Signal,
}

/// One input.
enum Wake {
    Arrived(Arrived),
    Deadline,
    Ask(Ask),
    Found(Found),
    Network(Vec<IpNet>),
    Fetched(Fetched),
    Tick,
    End(&'static str),
    Reload,
}

impl Supervisor {
    /// Runs until it is told to end and every peer knows it, or a second has passed.
    pub async fn run(&mut self, mut inputs: Inputs) {
        self.begin();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.drain().await;
            if self.is_over() {
                return;
            }
            let wake = self.wait(&mut inputs, &mut tick).await;
            self.take(wake);
            // Each is an input of its own; only the deadlines are not asked for in between.
            while let Some(arrived) = self.sources.next_read() {
                self.drain().await;
                self.take(Wake::Arrived(arrived));
            }
        }
    }

    fn begin(&mut self) {
        self.tell_time();
        self.begin_with_ticket_keys();
        let ids: Vec<_> = self.tunnels.keys().copied().collect();
        for id in ids {
            self.searches.insert(id, Search::default());
            self.set_trap(id);
            self.search(id);
        }
    }

    async fn wait(&mut self, inputs: &mut Inputs, tick: &mut tokio::time::Interval) -> Wake {
        let deadline = self.deadline().unwrap_or_else(|| Instant::now() + TICK * 60);
        tokio::select! {
            arrived = self.sources.next() => Wake::Arrived(arrived),
            () = tokio::time::sleep_until(deadline.into()) => Wake::Deadline,
            Some(ask) = inputs.asks.recv() => Wake::Ask(ask),
            Some(found) = self.found.1.recv() => Wake::Found(found),
            Some(addresses) = inputs.network.recv() => Wake::Network(addresses),
            Some(fetched) = self.fetched.1.recv() => Wake::Fetched(fetched),
            _ = tick.tick() => Wake::Tick,
            _ = inputs.terminate.recv() => Wake::End("SIGTERM"),
            _ = inputs.interrupt.recv() => Wake::End("SIGINT"),
            _ = inputs.hangup.recv() => Wake::Reload,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let searches = self.searches.values().filter_map(|search| search.again);
        searches
            .chain(self.endpoint.poll_timeout().map(|(at, _reason)| at))
            .chain(self.ending)
            .min()
    }

    fn take(&mut self, wake: Wake) {
        match wake {
            Wake::Arrived(Arrived::Ike { local, remote, bytes }) => {
                self.handle(Input::Datagram {
                    path: Path { local, remote },
                    bytes: &bytes,
                });
            }
            Wake::Arrived(Arrived::Connected(Ends { local, remote })) => {
                self.handle(Input::Connected(Path { local, remote }));
            }
            Wake::Arrived(Arrived::Refused(refused)) => {
                let tunnels = &self.tunnels;
                let name = |id| {
                    tunnels
                        .get(&ConnectionId(id))
                        .map(|tunnel| tunnel.config.name.clone())
                };
                if let Some(words) = self.refused.tell(refused, name) {
                    tracing::warn!("{words}");
                }
            }
            Wake::Arrived(Arrived::Wanted { tunnel }) => self.on_wanted(ConnectionId(tunnel)),
            Wake::Arrived(Arrived::UnknownSpi { spi, remote }) => {
                tracing::debug!("ESP from {remote} with the unknown SPI {spi:08x}");
            }
            Wake::Deadline => self.on_deadline(),
            Wake::Ask(Ask {
                request,
                answer,
                keys,
            }) => {
                // A client that left meanwhile misses its answer.
                drop(answer.send(self.answer(request, keys)));
            }
            Wake::Found(found) => self.on_found(found),
            Wake::Network(addresses) => self.on_network(addresses),
            Wake::Fetched(Fetched { id, result }) => {
                let result = result.as_deref().map_err(String::as_str);
                self.handle(Input::Fetched { id, result });
            }
            Wake::Tick => self.on_tick(),
            Wake::End(signal) => {
                tracing::info!("ending ({signal})");
                self.end();
            }
            Wake::Reload => {
                tracing::warn!(
                    "SIGHUP: reading the configuration again is not supported yet; restart the daemon instead"
                );
            }
        }
    }

    pub(super) fn handle(&mut self, input: Input<'_>) {
        self.endpoint.handle(Instant::now(), input);
    }

    /// Certificates are judged by the wall clock, which may be set at any time.
    fn tell_time(&mut self) {
        // A clock before 1970 is none; then no certificate is accepted.
        if let Ok(since_1970) = SystemTime::now().duration_since(UNIX_EPOCH) {
            self.handle(Input::WallClock(since_1970));
        }
    }

    fn on_deadline(&mut self) {
        let now = Instant::now();
        self.handle(Input::Timeout);
        let due: Vec<_> = self
            .searches
            .iter_mut()
            .filter(|(_, search)| search.again.is_some_and(|at| at <= now))
            .collect();
        let ids: Vec<_> = due
            .into_iter()
            .map(|(id, search)| {
                search.again = None;
                *id
            })
            .collect();
        ids.into_iter().for_each(|id| self.search(id));
    }

    fn on_tick(&mut self) {
        systemd::watchdog();
        self.tell_time();
        self.check_queues();
        self.check_export();
        self.rotate_ticket_keys();
        self.look_for_crls();
        if !self.tunnels.values().any(Tunnel::established) {
            return;
        }
        self.count_usage();
        for usage in self.bridge.usage() {
            self.note_traffic(&usage);
            self.handle(Input::Usage(usage));
        }
        self.rest_idle();
    }

    /// A queue that died takes its share of the packets with it. Ending lets systemd start a whole gateway again.
    fn check_queues(&mut self) {
        if let Some(failure) = self.bridge.failure().filter(|_| self.ending.is_none()) {
            tracing::error!("a queue of the dataplane failed: {failure}; ending, to be started again");
            self.failed = true;
            self.end();
        }
    }

    async fn drain(&mut self) {
        while let Some(output) = self.endpoint.poll_output() {
            self.perform(output).await;
        }
    }

    async fn perform(&mut self, output: Output) {
        match output {
            Output::InstallInbound(sa) => self.effect(Effect::InstallInbound(sa)),
            Output::InstallOutbound(sa) => {
                let id = sa.connection;
                self.claim(id, sa.path);
                self.effect(Effect::InstallOutbound(sa));
                self.fit_mtu(id).await;
            }
            Output::Remove(remove) => {
                // What it has carried is counted while it is there.
                self.count_usage();
                let inbound = (remove.direction == Direction::Inbound).then_some(remove.spi);
                let tunnel = self.tunnels.get_mut(&remove.connection);
                if let (Some(spi), Some(tunnel)) = (inbound, tunnel) {
                    tunnel.on_forgotten(spi);
                }
                self.effect(Effect::Remove(remove));
            }
            Output::SetPath {
                connection,
                path,
                encapsulation,
            } => {
                self.claim(connection, path);
                self.effect(Effect::SetPath(connection, path, encapsulation));
                self.fit_mtu(connection).await;
            }
            Output::Transmit(transmit) => self.transmit(&transmit),
            Output::Fetch(fetch) => fetch::start(fetch, self.fetched.0.clone()),
            Output::Keys(keys) => self.give_keys(&keys),
            Output::Event(event) => self.on_event(&event),
        }
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        if let Err(error) = self.bridge.perform(effect, &self.sources.streams) {
            tracing::error!("{error}");
        }
    }

    /// The SAs of a tunnel are on this path now. A TCP connection that none is on will be closed.
    pub(super) fn claim(&mut self, id: ConnectionId, path: Path) {
        let Path { local, remote } = path;
        let ends = path.is_tcp().then_some(Ends { local, remote });
        self.sources.streams.claim(id.0, ends);
    }

    fn transmit(&mut self, transmit: &Transmit) {
        let kind = match transmit.kind {
            Datagram::Ike => Kind::Ike,
            Datagram::Keepalive => Kind::Keepalive,
        };
        let Path { local, remote } = transmit.path;
        if let Err(error) = self.sources.send(local, remote, kind, &transmit.bytes) {
            // As good as lost on the way: it will be sent again.
            *self.ignored.entry("not_sent").or_default() += 1;
            tracing::debug!("cannot send to {remote} from {local}: {error}");
        }
    }

    /// The interface's MTU follows the SA, so that the kernel's own senders never have to be told.
    async fn fit_mtu(&mut self, id: ConnectionId) {
        let (Some(tunnel), Some(fits)) = (self.tunnels.get_mut(&id), self.bridge.inner_mtu(id)) else {
            return;
        };
        let mtu = mtu(&tunnel.config, fits);
        if mtu == tunnel.mtu {
            return;
        }
        match self
            .netlink
            .set_up(&tunnel.config.interface, u32::from(mtu))
            .await
        {
            Ok(()) => {
                tracing::debug!("MTU of {} is {mtu}", tunnel.config.interface);
                tunnel.mtu = mtu;
            }
            Err(error) => tracing::warn!("tunnel {}: {error}", tunnel.config.name),
        }
    }

    pub(super) fn end(&mut self) {
        if self.ending.is_none() {
            systemd::stopping();
            self.ending = Some(Instant::now() + PATIENCE_AT_THE_END);
            self.searches.values_mut().for_each(|search| search.again = None);
            self.handle(Input::Command(Command::Shutdown));
        }
    }

    fn is_over(&self) -> bool {
        self.ending
            .is_some_and(|latest| Instant::now() >= latest || !self.tunnels.values().any(Tunnel::has_sa))
    }
}

/// The MTU of an interface whose SA takes inner packets of this length.
pub fn mtu(tunnel: &crate::config::TunnelConfig, fits: u16) -> u16 {
    // RFC 8200 5: the kernel takes IPv6 off an interface with less; the dataplane answers "too big" instead.
    let ipv6 = tunnel
        .remote_networks
        .iter()
        .any(|network| matches!(network, IpNet::V6(_)));
    let fits = if ipv6 { fits.max(1280) } else { fits };
    tunnel.mtu.unwrap_or(fits)
}

/// Between readings of the dataplane's counts.
const TICK: Duration = Duration::from_secs(1);
/// For the peers' answers to our deletes.
const PATIENCE_AT_THE_END: Duration = Duration::from_millis(1000);
