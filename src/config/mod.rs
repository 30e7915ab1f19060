//! The configuration: what the operator wrote, made complete.
//!
//! TOML files -> raw (what is written, with its place) -> [`Config`] (every default filled in, every
//! contradiction refused). Whatever is wrong comes back as a list of diagnostics with file, line, column, cause
//! and remedy: all of them, not only the first.

mod credential;
pub(crate) mod crls;
pub mod defaults;
pub mod diagnostic;
mod network;
pub mod preset;
mod proposals;
mod psk;
mod raw;
mod read;
mod resolve;
mod rules;
mod secret;
pub mod source;
pub(crate) mod suggest;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeTable;
use xvpn_ike::api::GatewayIdentity;
use xvpn_ike::auth::identity::Identity;
use xvpn_ike::auth::method::{LocalAuth, RemoteAuth};
use xvpn_ike::auth::ppk::Ppk;
use xvpn_ike::auth::x509::revocation::Rules;
use xvpn_ike::config::{Childless, EncapsulationPolicy, Lifetime, Retransmission, TransportPolicy};
use xvpn_ike::negotiate::proposal::{EspProposal, IkeProposal};
use zeroize::Zeroizing;

use diagnostic::{Diagnostic, Report};
use raw::Raw;
use read::Section;
use source::{Source, Span};

/// Everything `xvpn run` needs to know. Complete, and free of contradictions.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file it was read from.
    pub path: PathBuf,
    /// What concerns all tunnels.
    pub gateway: GatewayConfig,
    /// The tunnels, in the order they were written. Names and interfaces are unique.
    pub tunnels: Vec<TunnelConfig>,
}

/// What concerns all tunnels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayConfig {
    /// Addresses to listen on, never empty.
    pub listen: Vec<IpAddr>,
    /// The port of IKE, usually 500.
    pub port: u16,
    /// The port that IKE and UDP-encapsulated ESP share, usually 4500.
    pub nat_port: u16,
    /// The port on which peers may open TCP connections, usually 4500. `None`: none.
    pub tcp_port: Option<u16>,
    /// Worker threads; 0 is one per core.
    pub queues: usize,
    /// What the kernel may do for many packets at once. `None`: all that this kernel is known to do right.
    pub offload: Option<Offload>,
    /// Directory of the control socket and of the ledger of host changes.
    pub state_dir: PathBuf,
    /// Set the sysctls that forwarding needs (and undo them on exit).
    pub manage_sysctls: bool,
    /// A log filter such as `info` or `info,xvpn_ike=debug`.
    pub log: String,
    /// Where metrics are served. `None`: nowhere.
    pub metrics: Option<SocketAddr>,
}

/// What the kernel may do for many packets at once; where it cannot, the gateway works without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offload {
    /// Super-packets from and to the interfaces.
    pub tun: bool,
    /// Several ESP packets in one call, cut by the kernel (UDP_SEGMENT).
    pub gso: bool,
    /// Several ESP packets from one call (UDP_GRO).
    pub gro: bool,
}

/// One tunnel: one peer, one interface.
#[derive(Clone, Debug)]
pub struct TunnelConfig {
    /// Its name; unique.
    pub name: String,
    /// What its preset set.
    pub preset: Option<preset::Applied>,
    /// Its interface's name, at most 15 octets; unique.
    pub interface: String,
    /// Our address towards the peer. `None`: the route look-up's choice as initiator, any of `listen` as responder.
    pub local_address: Option<IpAddr>,
    /// Who we say we are.
    pub local_identity: Identity,
    /// The networks behind us, those of all its CHILD SAs, never empty, without host bits.
    pub local_networks: Vec<IpNet>,
    /// Where the peer is.
    pub remote_address: RemoteAddress,
    /// The peer's IKE port, usually 500.
    pub remote_port: u16,
    /// Who the peer must prove to be.
    pub remote_identity: Identity,
    /// The networks behind the peer, those of all its CHILD SAs, never empty, without host bits.
    pub remote_networks: Vec<IpNet>,
    /// How we prove who we are.
    pub local_auth: LocalAuth,
    /// How the peer must prove who it is.
    pub remote_auth: RemoteAuth,
    /// A post-quantum pre-shared key besides.
    pub ppk: Option<Ppk>,
    /// When the IKE SA is made without a CHILD SA.
    pub childless: Childless,
    /// The peer is old: SHA-1 will do where it knows nothing else.
    pub legacy: bool,
    /// Whether the peer's certificates must be known to be good.
    pub revocation: Rules,
    /// Where its CRLs were read from, to be read again when they change.
    pub crl_files: Vec<PathBuf>,
    /// What may protect the IKE SA, most wanted first; never empty.
    pub ike_proposals: Vec<IkeProposal>,
    /// Its CHILD SAs; never empty, names unique. The first is made with the IKE SA.
    pub children: Vec<ChildConfig>,
    /// When ESP is put into UDP.
    pub encapsulation: EncapsulationPolicy,
    /// What carries it.
    pub transport: TransportPolicy,
    /// The port on which the peer takes TCP connections, usually 4500.
    pub tcp_port: u16,
    /// What the daemon does with it when it starts.
    pub start: Start,
    /// With [`Start::OnDemand`]: SAs that carried nothing for this long are closed. `None`: never.
    pub idle_timeout: Option<Duration>,
    /// A peer silent for this long is probed. `None`: never.
    pub liveness: Option<Duration>,
    /// Between NAT-keepalives.
    pub keepalive: Duration,
    /// The first CHILD SA is replaced soon, to see whether the peer agrees to that.
    pub rekey_probe: bool,
    /// An IKE SA is replaced before it is this old.
    pub ike_lifetime: Duration,
    /// How long an authentication counts. `None`: for ever.
    pub reauth_time: Option<Duration>,
    /// Lost sessions go on by a ticket, without a key exchange (RFC 5723).
    pub resumption: bool,
    /// Patience with the peer.
    pub retransmission: Retransmission,
    /// First and longest wait between attempts.
    pub retry: (Duration, Duration),
    /// Anti-replay window in packets, a multiple of 64 from 64 to 65536.
    pub replay_window: u32,
    /// The peer's replay window in packets. `None`: not known, unless the peer is an xvpn.
    pub peer_replay_window: Option<u32>,
    /// Whether its flows are spread over all queues.
    pub spread: Spread,
    /// The MTU of the outer path.
    pub path_mtu: u16,
    /// The largest IP packet that an IKE message makes before it travels in fragments (RFC 7383).
    pub fragment_size: usize,
    /// The interface's MTU. `None`: what `path_mtu` leaves after the encapsulation.
    pub mtu: Option<u16>,
    /// Clamp the MSS of TCP.
    pub clamp_mss: bool,
    /// The tunnel survives a change of addresses (MOBIKE).
    pub mobike: bool,
    /// Go where the peer sends us (RFC 5685).
    pub follow_redirect: bool,
    /// The NAT before this gateway, if there is one, changes neither ports nor lets in only answers.
    pub static_nat: bool,
    /// Send the peer to this gateway instead of serving it.
    pub redirect_to: Option<GatewayIdentity>,
    /// Copy DSCP from the inner to the outer header.
    pub copy_dscp: bool,
    /// Metric of the routes into the tunnel. `None`: the kernel's default.
    pub metric: Option<u32>,
    /// Inner addresses of the interface, with their prefix lengths (host bits allowed).
    pub addresses: Vec<IpNet>,
}

impl TunnelConfig {
    /// The names of its CHILD SAs.
    pub fn child_names(&self) -> impl Iterator<Item = &str> {
        self.children.iter().map(|child| child.name.as_str())
    }
}

/// Whether the flows of a tunnel that share one SA are spread over all queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread {
    /// If the peer's replay window is wide enough.
    Auto,
    /// Always.
    On,
    /// Never: all on one queue.
    Off,
}

/// One CHILD SA of a tunnel.
#[derive(Clone, Debug)]
pub struct ChildConfig {
    /// Its name, unique within the tunnel.
    pub name: String,
    /// The networks behind us, never empty.
    pub local_networks: Vec<IpNet>,
    /// The networks behind the peer, never empty.
    pub remote_networks: Vec<IpNet>,
    /// What may protect it, most wanted first; never empty.
    pub esp_proposals: Vec<EspProposal>,
    /// It is replaced before it is this old.
    pub lifetime: Lifetime,
    /// SAs for single resources beside the one for any (RFC 9611).
    pub resources: u32,
    /// AGGFRAG payloads are asked for, and taken from a peer that asks (RFC 9347).
    pub iptfs: Option<Iptfs>,
}

/// How packets are put into AGGFRAG payloads (RFC 9347).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Iptfs {
    /// When a payload leaves.
    pub pace: Pace,
    /// The longest outer packet, in octets; `None`: what the path takes.
    pub size: Option<u16>,
    /// The peer may cut packets: we put them together.
    pub fragments: bool,
}

/// When a payload leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// With what is at hand, or with what comes within this time.
    AtHand {
        /// Zero: nothing waits.
        delay: Duration,
    },
    /// So many in a second, all of one length, whether there is something to carry or not.
    Constant {
        /// Payloads in a second.
        per_second: u32,
    },
}

impl fmt::Display for Iptfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pace {
            Pace::AtHand { delay } if delay.is_zero() => f.write_str("aggregate")?,
            Pace::AtHand { delay } => write!(f, "aggregate, within {} ms", delay.as_millis())?,
            Pace::Constant { per_second } => write!(f, "constant, {per_second}/s")?,
        }
        match self.size {
            Some(size) => write!(f, ", outer packets of {size}"),
            None => Ok(()),
        }
    }
}

/// Where a peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteAddress {
    /// At this address.
    Ip(IpAddr),
    /// At whatever this DNS name resolves to whenever a negotiation begins.
    Name(String),
    /// Anywhere: it must begin, and prove its identity.
    Any,
}

impl fmt::Display for RemoteAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
            Self::Any => f.write_str("any"),
        }
    }
}

/// What the daemon does with a tunnel when it starts. In every case it answers the peer, unless the operator said `xvpn down`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Initiates, and again after every loss.
    Up,
    /// Waits for the peer, never initiates.
    Listen,
    /// Initiates when a packet wants to pass, or on `xvpn up`.
    OnDemand,
    /// Nothing, until `xvpn up`.
    Manual,
}

/// What a configuration is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `xvpn check`: an address that this host does not have is an error.
    Check,
    /// `xvpn run`: it is a warning, for it may come later in the boot.
    Run,
}

/// A configuration that can be used, and what is nevertheless worth a word.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Warnings only.
    pub warnings: Report,
}

/// Reads a file, and `conf.d/*.toml` beside it. Fetches the secrets too.
///
/// # Errors
///
/// The report of everything that is wrong, warnings included.
pub fn load(path: &Path, purpose: Purpose) -> Result<Loaded, Report> {
    let mut report = Report::default();
    let raw = read_files(path, &mut report);
    let config = raw.and_then(|raw| resolve::resolve(raw, path.to_owned(), purpose, &mut report));
    report.sort();
    match config {
        Some(config) if report.errors() == 0 => Ok(Loaded {
            config,
            warnings: report,
        }),
        Some(_) | None => Err(report),
    }
}

/// The state directory that a configuration names, for commands that only want to talk to the daemon: no secret is
/// fetched, and whatever else is wrong with the files does not matter.
pub fn state_dir(path: &Path) -> PathBuf {
    let written = read_files(path, &mut Report::default()).and_then(|raw| raw.gateway.state_dir);
    written.map_or_else(|| defaults::STATE_DIR.into(), |at| at.value.into())
}

fn read_files(path: &Path, report: &mut Report) -> Option<Raw> {
    let mut raw = Raw::default();
    read_file(path, &mut raw, report)?;
    let folder = path
        .parent()
        .unwrap_or(Path::new(""))
        .join(defaults::CONFIG_FOLDER);
    let Ok(entries) = std::fs::read_dir(&folder) else {
        return Some(raw);
    };
    let mut further: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    further.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    further.sort();
    for file in further {
        // What is wrong with one does not hide what is wrong with the next.
        let _ = read_file(&file, &mut raw, report);
    }
    Some(raw)
}

fn read_file(path: &Path, raw: &mut Raw, report: &mut Report) -> Option<()> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            report.push(unreadable(path, &error));
            return None;
        }
    };
    let file = report.sources.0.len();
    report.sources.0.push(Source::new(path, text.clone()));
    let text = Zeroizing::new(text);
    let (table, errors) = DeTable::parse_recoverable(&text);
    for error in &errors {
        let span = Span::new(file, error.span().unwrap_or_default());
        let remedy = "correct the line; strings need quotes, lists [brackets], and every key stands once";
        report.push(
            Diagnostic::error("syntax", format!("not TOML: {}", error.message()), remedy).at(&span, "here"),
        );
    }
    if !errors.is_empty() {
        // What could be guessed of a broken file would only bring guesses of errors.
        return Some(());
    }
    let span = Span::new(file, 0..0);
    raw.merge(Section::new(table.get_ref(), span, "the configuration"), report);
    Some(())
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the standard library's enum, which grows"
)]
fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => Diagnostic::error(
            "no-config",
            format!("there is no configuration at {path}"),
            "write one (docs/guide/config.md has an example), or name another with --config FILE",
        ),
        io::ErrorKind::PermissionDenied => Diagnostic::error(
            "no-config",
            format!("this user may not read {path}"),
            "run xvpn as root, for example with sudo",
        ),
        _ => Diagnostic::error(
            "no-config",
            format!("cannot read {path}: {error}"),
            "make it a readable file of UTF-8 text",
        ),
    }
}
