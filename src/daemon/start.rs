//! From a configuration to a running daemon, and back to the host as it was.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{broadcast, mpsc};
use xvpn_ike::Endpoint;
use xvpn_ike::config::{ConnectionId, EndpointConfig, TransportPolicy};

use super::bridge::{self, Bridge, Steering};
use super::connection::{self, OsRandom};
use super::crls::CrlFiles;
use super::hints::Hints;
use super::host::{Host, HostError};
use super::netlink::{Netlink, NetlinkError};
use super::offload::RefusedOffloads;
use super::plan::{self, PlanError};
use super::sources::{Ports, Sources};
use super::status::Tunnel;
use super::supervisor::{self, About, Inputs, Supervisor};
use super::tcp::{self, Streams};
use super::tickets::TicketKeys;
use super::{crash, lasting, offload, privilege, systemd};
use crate::admin::metrics::http::Door;
use crate::admin::server::Server;
use crate::admin::socket::SocketError;
use crate::config::{Config, RemoteAddress, TunnelConfig};

/// Why the daemon did not start. The message carries the remedy.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// A capability is missing.
    #[error(transparent)]
    Privilege(#[from] privilege::Missing),
    /// A change of the host could not be made, or another daemon runs.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The configuration does not fit the host.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// An interface could not be set up.
    #[error(
        "{0}; run the daemon as root or with CAP_NET_ADMIN in this network namespace, and if it was, see what the kernel says: \
         `dmesg | tail`"
    )]
    Netlink(#[from] NetlinkError),
    /// An address could not be bound.
    #[error("{0}")]
    Bind(io::Error),
    /// The interface of a tunnel could not be opened.
    #[error("tunnel `{tunnel}`: {source}")]
    Interface {
        /// The tunnel.
        tunnel: String,
        /// The error, with its remedy.
        source: io::Error,
    },
    /// The door for metrics could not be opened.
    #[error(
        "cannot serve metrics on {address}: {source}; give `gateway.metrics` an address of this host and a port that is free, or remove it"
    )]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// The error.
        source: io::Error,
    },
    /// The control socket could not be made.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// A thread of the dataplane failed while it ran.
    #[error(
        "a queue of the dataplane failed, so the gateway ended; its log says why. Start it again, and please report it"
    )]
    Queue,
    /// The operating system refused something that it always gives.
    #[error("the operating system refused {what}: {source}")]
    System {
        /// What.
        what: &'static str,
        /// The error.
        source: io::Error,
    },
}

/// Runs the daemon until it is told to end. The process must be single-threaded so far.
pub fn run(config: Config) -> Result<(), DaemonError> {
    privilege::check(config.gateway.port < 1024 || config.gateway.nat_port < 1024)?;
    privilege::harden()
        .iter()
        .for_each(|weakness| tracing::warn!("{weakness}"));
    // While there may still be the right to.
    let steering = steering(queues(&config));
    if let Err(error) = privilege::drop_others() {
        tracing::warn!("cannot give up capabilities that are not needed: {error}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| DaemonError::System {
        what: "an event loop",
        source,
    })?;
    let result = runtime.block_on(live(config, steering));
    // A name server that does not answer must not hold up the end.
    runtime.shutdown_timeout(Duration::ZERO);
    result
}

async fn live(config: Config, steering: Option<Steering>) -> Result<(), DaemonError> {
    let netlink = Netlink::open().map_err(|source| DaemonError::System {
        what: "a netlink socket",
        source,
    })?;
    let mut host = Host::open(&config.gateway.state_dir, netlink.clone())?;
    let stand = match stand_up(&config, &mut host, &netlink, steering).await {
        Ok(stand) => stand,
        Err(error) => {
            give_back(&mut host).await;
            return Err(error);
        }
    };
    let Stand {
        endpoint,
        bridge,
        sources,
        pinned,
        mut server,
        inputs,
        asks,
        mtus,
        metrics,
    } = stand;
    let (progress, _) = broadcast::channel(PROGRESS_KEPT);
    if let Some((address, door)) = metrics {
        door.serve(asks.clone())
            .map_err(|source| DaemonError::Metrics { address, source })?;
        tracing::info!("metrics are at http://{address}/metrics");
    }
    server.serve(asks, progress.clone());
    let resumes = config.tunnels.iter().any(|tunnel| tunnel.resumption);
    let ticket_keys = resumes.then(|| TicketKeys::open(lasting::directory(&config.gateway.state_dir)));
    let (path, gateway) = (config.path.clone(), config.gateway.clone());
    let mut supervisor = Supervisor {
        endpoint,
        bridge,
        sources,
        host,
        netlink,
        about: About {
            started: Instant::now(),
            config: path,
            queues: queues(&config),
        },
        gateway,
        tunnels: tunnels(config, &mtus),
        pinned,
        progress,
        found: mpsc::channel(FOUND_KEPT),
        fetched: mpsc::channel(FOUND_KEPT),
        ticket_keys,
        crls: CrlFiles::default(),
        searches: BTreeMap::new(),
        addresses: Vec::new(),
        ignored: BTreeMap::new(),
        refused: RefusedOffloads::default(),
        hints: Hints::default(),
        export: None,
        ending: None,
        failed: false,
    };
    let listening = supervisor.sources.bound();
    tracing::info!(
        "ready: {} tunnels, listening on {}{}",
        supervisor.tunnels.len(),
        words(&listening),
        words_of_tcp(supervisor.sources.streams.listening())
    );
    systemd::ready(&format!("0 of {} tunnels established", supervisor.tunnels.len()));
    supervisor.run(inputs).await;
    let Supervisor {
        bridge,
        mut host,
        failed,
        ..
    } = supervisor;
    give_back(&mut host).await;
    bridge.stop();
    drop(server);
    tracing::info!("ended");
    if failed { Err(DaemonError::Queue) } else { Ok(()) }
}

/// Everything that stands when the daemon is ready.
struct Stand {
    endpoint: Endpoint,
    bridge: Bridge,
    sources: Sources,
    pinned: Vec<IpAddr>,
    server: Server,
    inputs: Inputs,
    asks: mpsc::Sender<crate::admin::server::Ask>,
    mtus: Vec<u16>,
    metrics: Option<(SocketAddr, Door)>,
}

async fn stand_up(
    config: &Config,
    host: &mut Host<Netlink>,
    netlink: &Netlink,
    steering: Option<Steering>,
) -> Result<Stand, DaemonError> {
    let mut random = OsRandom::open().map_err(|source| DaemonError::System {
        what: "randomness",
        source,
    })?;
    let lasting = lasting::directory(&config.gateway.state_dir);
    let crash_secret = crash::secret(&lasting, &mut random)
        .inspect_err(|error| {
            tracing::warn!(
                "cannot keep a secret in {} ({error}): after a crash peers will notice late; let this user write there",
                lasting.display()
            );
        })
        .ok();
    let endpoint_config = EndpointConfig {
        crash_secret,
        ..EndpointConfig::default()
    };
    let mut endpoint = Endpoint::new(endpoint_config, Box::new(random));
    endpoint.set_queues(u32::try_from(queues(config)).unwrap_or(u32::MAX));
    let (ask_sender, asks) = mpsc::channel(ASKS_KEPT);
    let (network_sender, network) = mpsc::channel(1);
    netlink
        .watch(network_sender)
        .map_err(|source| DaemonError::System {
            what: "news of the network",
            source,
        })?;
    let inputs = inputs(asks, network).map_err(|source| DaemonError::System {
        what: "its signals",
        source,
    })?;
    let (mut bridge, sources) = open_sockets(config, steering)?;
    let door = |address| match Door::open(address) {
        Ok(door) => Ok((address, door)),
        Err(source) => Err(DaemonError::Metrics { address, source }),
    };
    let metrics = config.gateway.metrics.map(door).transpose()?;
    let mut mtus = Vec::new();
    for (id, tunnel) in (0..).map(ConnectionId).zip(&config.tunnels) {
        bridge
            .open_tunnel(id, tunnel)
            .map_err(|source| DaemonError::Interface {
                tunnel: tunnel.name.clone(),
                source,
            })?;
        let worst = bridge::worst_inner_mtu(tunnel, maybe_ipv6(tunnel, &config.gateway.listen))
            .unwrap_or(MTU_UNKNOWN);
        let mtu = supervisor::mtu(tunnel, worst);
        plan::silence(&tunnel.interface);
        netlink.set_up(&tunnel.interface, u32::from(mtu)).await?;
        tracing::info!(
            "interface {} is up (MTU {mtu}) for tunnel {}",
            tunnel.interface,
            tunnel.name
        );
        mtus.push(mtu);
    }
    let pinned = peers(config).await;
    let wanted = plan::changes(config, &pinned, netlink, |change| host.owns(change)).await?;
    host.settle(wanted).await?;
    // Last: whoever finds the socket finds a daemon that is ready.
    let server = Server::bind(&config.gateway.state_dir)?;
    Ok(Stand {
        endpoint,
        bridge,
        sources,
        pinned,
        server,
        inputs,
        asks: ask_sender,
        mtus,
        metrics,
    })
}

fn open_sockets(config: &Config, steering: Option<Steering>) -> Result<(Bridge, Sources), DaemonError> {
    let gateway = &config.gateway;
    let ports = Ports {
        ike: gateway.port,
        nat_t: gateway.nat_port,
        tcp: gateway.tcp_port.unwrap_or_default(),
    };
    let udp: Vec<_> = gateway
        .listen
        .iter()
        .map(|address| SocketAddr::new(*address, ports.nat_t))
        .collect();
    let mut children = config.tunnels.iter().flat_map(|tunnel| &tunnel.children);
    let own_ports = children.any(|child| child.resources > 0);
    let (offload, warning) = offload::for_kernel(gateway.offload, &offload::kernel());
    if let Some(warning) = warning {
        tracing::warn!("{warning}");
    }
    let (bridge, upward) = Bridge::start(queues(config), offload, udp, ports, (own_ports, steering))
        .map_err(DaemonError::Bind)?;
    let listen = gateway.listen.iter();
    let wanted = tcp::Wanted {
        listen: gateway.tcp_port.map_or_else(Vec::new, |port| {
            listen.map(|address| SocketAddr::new(*address, port)).collect()
        }),
        originate: config
            .tunnels
            .iter()
            .any(|tunnel| tunnel.transport != TransportPolicy::Udp),
        dataplane: upward.nat_t.iter().map(|socket| socket.bound()).collect(),
    };
    let streams = Streams::open(wanted).map_err(DaemonError::Bind)?;
    let sources = Sources::open(&gateway.listen, ports, upward, streams).map_err(DaemonError::Bind)?;
    Ok((bridge, sources))
}

fn inputs(
    asks: mpsc::Receiver<crate::admin::server::Ask>,
    network: mpsc::Receiver<Vec<ipnet::IpNet>>,
) -> io::Result<Inputs> {
    Ok(Inputs {
        asks,
        network,
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
        hangup: signal(SignalKind::hangup())?,
    })
}

async fn give_back(host: &mut Host<Netlink>) {
    if let Err(error) = host.undo().await {
        tracing::error!("not every change of the host could be undone: {error}; the next start tries again");
    }
}

/// The peers' addresses as far as they are known. Names are asked for only where a route might be needed for the answer.
async fn peers(config: &Config) -> Vec<IpAddr> {
    let wide = config
        .tunnels
        .iter()
        .flat_map(|tunnel| &tunnel.remote_networks)
        .any(|network| network.prefix_len() < WIDE);
    let mut peers = Vec::new();
    for tunnel in &config.tunnels {
        match &tunnel.remote_address {
            RemoteAddress::Ip(address) => peers.push(*address),
            RemoteAddress::Name(_) if wide => {
                let located = connection::locate(tunnel, &config.gateway.listen, false);
                let located = tokio::time::timeout(PATIENCE_WITH_NAMES, located).await;
                peers.extend(
                    located
                        .ok()
                        .and_then(Result::ok)
                        .and_then(|ends| ends.remote)
                        .map(|remote| remote.ip()),
                );
            }
            RemoteAddress::Name(_) | RemoteAddress::Any => {}
        }
    }
    let mut seen = HashSet::new();
    peers.retain(|peer| seen.insert(*peer));
    peers
}

fn maybe_ipv6(tunnel: &TunnelConfig, listen: &[IpAddr]) -> bool {
    match &tunnel.remote_address {
        RemoteAddress::Ip(address) => address.is_ipv6(),
        RemoteAddress::Name(_) | RemoteAddress::Any => tunnel
            .local_address
            .map_or_else(|| listen.iter().any(IpAddr::is_ipv6), |local| local.is_ipv6()),
    }
}

/// What keeps flows on their queues, where there are several.
fn steering(queues: usize) -> Option<Steering> {
    if queues < 2 {
        return None;
    }
    let refused = |error| {
        tracing::info!(
            "the kernel moves a flow to the queue of its replies, which may put packets out of order (bpf: {error}; CAP_BPF \
             would help)"
        );
    };
    Steering::load(queues).map_err(refused).ok()
}

fn queues(config: &Config) -> usize {
    match config.gateway.queues {
        0 => available_parallelism().map_or(1, usize::from),
        queues => queues,
    }
}

fn tunnels(config: Config, mtus: &[u16]) -> BTreeMap<ConnectionId, Tunnel> {
    let now = Instant::now();
    let tunnels = (0..).map(ConnectionId).zip(config.tunnels).zip(mtus);
    tunnels
        .map(|((id, config), mtu)| (id, Tunnel::new(config, *mtu, now)))
        .collect()
}

fn words(addresses: &[SocketAddr]) -> String {
    addresses
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn words_of_tcp(addresses: &[SocketAddr]) -> String {
    match addresses {
        [] => String::new(),
        _ => format!(" and TCP {}", words(addresses)),
    }
}

/// Progress kept for a slow subscriber.
const PROGRESS_KEPT: usize = 1024;
/// Requests waiting for the loop.
const ASKS_KEPT: usize = 64;
/// Found ends waiting for the loop; further searches wait with them.
const FOUND_KEPT: usize = 64;
/// Networks wider than this may well contain a peer's public address.
const WIDE: u8 = 8;
const PATIENCE_WITH_NAMES: Duration = Duration::from_secs(3);
/// For an interface whose proposals say nothing; every path takes it.
const MTU_UNKNOWN: u16 = 1280;
