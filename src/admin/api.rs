//! The contract spoken over the control socket (`STATE_DIR/xvpn.sock`, mode 0600).
//!
//! Newline-delimited JSON. The client sends [`Envelope`]s of [`Request`]s, the daemon answers each with exactly one
//! [`Response`], in order. After [`Response::Subscribed`] the connection belongs to the subscription: the daemon
//! sends [`Response::Progress`] lines until the client closes, and reads nothing more. Whatever cannot be read is
//! answered with [`Response::Error`] and the connection is closed.
//!
//! Fields may be added within a version, never removed or given another meaning. Readers ignore fields they do not know.
//! No secret is in here, but the rows of [`Response::Key`], which nobody gets without having asked for them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::keys::KeyRow;

mod queue;
mod totals;

pub use queue::{CipherReport, CipherSpeed, QueueReport, StageReport};
pub use totals::{ChildTotals, TunnelTotals};

/// The version of this contract.
pub const VERSION: u32 = 1;
/// The longest request line the daemon reads, newline included.
pub const MAX_REQUEST: usize = 64 * 1024;
/// The longest response line the client reads, newline included: the status of some thousand tunnels.
pub const MAX_RESPONSE: usize = 16 * 1024 * 1024;
/// The socket's name in the state directory.
pub const SOCKET_NAME: &str = "xvpn.sock";

/// Where the control socket of a daemon with this state directory is.
pub fn socket_path(state_dir: &Path) -> PathBuf {
    state_dir.join(SOCKET_NAME)
}

/// One request with the version its sender speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// [`VERSION`] of the sender.
    pub version: u32,
    /// What it wants.
    pub request: Request,
}

/// What a client may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// The state of everything. Answered by [`Response::Status`].
    Status,
    /// These tunnels (none named: all of them) shall be up. Answered by [`Response::Accepted`] at once, before anything happened.
    Up {
        /// Names of tunnels.
        #[serde(default)]
        names: Vec<String>,
    },
    /// These tunnels (none named: all of them) shall be down. Answered by [`Response::Accepted`] at once.
    Down {
        /// Names of tunnels.
        #[serde(default)]
        names: Vec<String>,
    },
    /// Replace the keys of these tunnels (none named: all of them) now, without loss. Answered by [`Response::Accepted`] at once.
    Rekey {
        /// Names of tunnels.
        #[serde(default)]
        names: Vec<String>,
        /// The IKE SA instead of the CHILD SA.
        #[serde(default)]
        ike: bool,
    },
    /// Send the peers of these tunnels (none named: all of them) to another gateway (RFC 5685), or serve them here again.
    /// Answered by [`Response::Accepted`] at once.
    Redirect {
        /// Names of tunnels.
        #[serde(default)]
        names: Vec<String>,
        /// The other gateway, an address or a DNS name; `None`: serve them here.
        #[serde(default)]
        to: Option<String>,
    },
    /// Tell me what happens from now on. Answered by [`Response::Subscribed`], then [`Response::Progress`] without end.
    Subscribe,
    /// Give me the keys of all SAs that stand and that are made from now on. Answered by [`Response::ExportingKeys`], then
    /// [`Response::Key`] until the time is over or the client closes. The daemon warns of it in its log.
    ExportKeys {
        /// For so long; the daemon has a limit of its own.
        seconds: u32,
    },
    /// Delete all SAs, undo the changes to the host and end. Answered by [`Response::Accepted`].
    Shutdown,
}

/// What the daemon says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// The state of everything.
    Status(Box<StatusReport>),
    /// It will be done, for these tunnels.
    Accepted {
        /// Names of the tunnels meant.
        names: Vec<String>,
    },
    /// Progress follows.
    Subscribed,
    /// Something happened to a tunnel.
    Progress(Progress),
    /// Keys follow.
    ExportingKeys {
        /// For so long at most.
        seconds: u32,
    },
    /// The keys of one SA.
    Key(KeyRow),
    /// It will not be done.
    Error(ErrorReport),
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReport {
    /// For programs.
    pub kind: ErrorKind,
    /// For people: what is wrong.
    pub message: String,
    /// For people: what to do.
    pub remedy: String,
    /// With [`ErrorKind::UnknownTunnel`]: the names that are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known: Vec<String>,
    /// With [`ErrorKind::UnknownTunnel`]: the names that were not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}

/// What kind of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Not a request: no JSON, an unknown verb, too long.
    BadRequest,
    /// A version of the contract that this daemon does not speak.
    BadVersion,
    /// A name that the configuration has not.
    UnknownTunnel,
    /// It is being done for somebody else.
    Busy,
    /// The daemon is ending.
    ShuttingDown,
    /// The daemon's own trouble.
    Internal,
}

impl ErrorReport {
    /// A refusal without names.
    pub fn new(kind: ErrorKind, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            remedy: remedy.into(),
            known: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// The refusal of names that the configuration has not.
    pub fn unknown_tunnels(unknown: Vec<String>, known: Vec<String>) -> Self {
        let message = match unknown.as_slice() {
            [one] => format!("there is no tunnel `{one}`"),
            several => format!("there are no tunnels {}", quoted(several)),
        };
        let remedy = if known.is_empty() {
            "the running daemon has no tunnel at all; add a [[tunnel]] to its configuration and restart it"
                .to_owned()
        } else {
            format!("the running daemon knows {}", quoted(&known))
        };
        Self {
            kind: ErrorKind::UnknownTunnel,
            message,
            remedy,
            known,
            unknown,
        }
    }
}

impl fmt::Display for ErrorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.message, self.remedy)
    }
}

fn quoted(names: &[String]) -> String {
    names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Something that happened to a tunnel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Its name.
    pub tunnel: String,
    /// Its state after it.
    pub state: TunnelState,
    /// What happened, in an operator's words, such as `asked 198.51.100.7:500 for an IKE SA (3rd time)`.
    pub message: String,
    /// With [`TunnelState::Failed`], or [`TunnelState::Connecting`] after a failed attempt: what went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureReport>,
}

/// How a tunnel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TunnelState {
    /// Nobody wants it up; its routes stay, packets into it are refused.
    Down,
    /// It shall be up and only the peer may begin: waiting for it.
    Listening,
    /// It shall be up and is being negotiated.
    Connecting,
    /// It carries traffic.
    Established,
    /// It shall be up, the last attempt failed; `failure` says why and when the next one is.
    Failed,
    /// Its SAs are being deleted with the peer's knowledge.
    Closing,
}

impl TunnelState {
    /// The word for it, as in the JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Listening => "listening",
            Self::Connecting => "connecting",
            Self::Established => "established",
            Self::Failed => "failed",
            Self::Closing => "closing",
        }
    }
}

/// Who can do something about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// The operator of this gateway: its configuration.
    Here,
    /// The operator of the peer.
    Peer,
    /// The two together: what both configured does not fit.
    Both,
    /// Whoever runs what is between: firewalls, security groups, routes.
    Network,
    /// The authors of xvpn: it is a bug.
    Authors,
}

/// Why an attempt failed or a tunnel was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureReport {
    /// The step at which it failed, such as `IKE_AUTH`, or `start`.
    pub step: String,
    /// Who can do something about it.
    pub actor: Actor,
    /// What went wrong, in an operator's words.
    pub message: String,
    /// What to change.
    pub remedy: String,
    /// Trying again without a change somewhere will fail again (a wrong PSK, no common proposal): `xvpn up` need not wait.
    pub permanent: bool,
    /// Unix time in milliseconds at which it happened.
    pub at_ms: u64,
    /// Milliseconds from now until the next attempt, if there is one.
    pub retry_in_ms: Option<u64>,
    /// The same taken apart.
    #[serde(default, skip_serializing_if = "FailureDetails::is_empty")]
    pub details: FailureDetails,
}

/// A failure taken apart. What is left out is unknown, or there is no such thing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailureDetails {
    /// Who said no.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_by: Option<RefusedBy>,
    /// What we have: proposals, networks, identities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ours: Option<String>,
    /// What the peer has of the same, as far as it said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub theirs: Option<String>,
    /// The first that keeps the two most similar proposals apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<String>,
    /// The settings here that may have to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub here: Option<String>,
    /// The settings at the peer, for its administrator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub there: Option<String>,
}

impl FailureDetails {
    /// There are none.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Which settings of either side to look at, in a line.
    pub fn settings(&self) -> Option<String> {
        let (here, there) = (self.here.as_ref()?, self.there.as_ref()?);
        Some(format!("here {here}; at the peer {there}"))
    }
}

/// Which of the two ends said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusedBy {
    /// This gateway.
    Us,
    /// The peer.
    Peer,
}

/// Everything the daemon knows, without secrets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The contract's version.
    pub api: u32,
    /// The program's version.
    pub version: String,
    /// The daemon's process.
    pub pid: u32,
    /// Since it started.
    pub uptime_ms: u64,
    /// The configuration it runs with.
    pub config: PathBuf,
    /// UDP addresses it listens on.
    pub listen: Vec<SocketAddr>,
    /// Queues of every interface, one thread each.
    pub queues: u32,
    /// Every tunnel of the configuration, in its order.
    pub tunnels: Vec<TunnelStatus>,
    /// Packets refused by the dataplane, by reason; reasons never seen may be left out.
    pub discards: Vec<Counter>,
    /// IKE datagrams that changed nothing, by reason; reasons never seen may be left out.
    pub ignored: Vec<Counter>,
    /// Changes made to the host that will be undone, in words.
    pub host_changes: Vec<String>,
    /// What the packet path of each queue costs.
    #[serde(default)]
    pub queue_stages: Vec<QueueReport>,
    /// Which library does which cipher of ESP; those not named here have one only.
    #[serde(default)]
    pub ciphers: Vec<CipherReport>,
    /// Who is being given the keys of all SAs at the moment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_exports: Vec<KeyExport>,
}

/// Somebody who asked for the keys of all SAs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyExport {
    /// Who, in words: a process and a user.
    pub to: String,
    /// Milliseconds until it ends by itself.
    pub left_ms: u64,
    /// Rows given so far.
    pub rows: u64,
}

/// A named count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// What is counted.
    pub name: String,
    /// How often.
    pub count: u64,
}

/// One tunnel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TunnelStatus {
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: TunnelState,
    /// Milliseconds since it came into this state.
    pub since_ms: u64,
    /// The operator wants it up.
    pub wanted: bool,
    /// The last failure since it was last established, if any.
    pub failure: Option<FailureReport>,
    /// Its interface.
    pub interface: String,
    /// The interface's MTU, 0 while there is none.
    pub mtu: u32,
    /// Who we are.
    pub local_id: String,
    /// Who the peer must be.
    pub remote_id: String,
    /// The peer as configured: an address, a name, or `any`.
    pub remote: String,
    /// Networks behind us, as configured.
    pub local_networks: Vec<String>,
    /// Networks behind the peer, as configured.
    pub remote_networks: Vec<String>,
    /// The IKE SA, if there is one.
    pub ike: Option<IkeStatus>,
    /// Its CHILD SAs.
    pub children: Vec<ChildStatus>,
    /// CHILD SAs of the configuration that an IKE SA has not got, or not yet.
    #[serde(default)]
    pub missing: Vec<MissingChild>,
    /// What it has carried and been through since the daemon started.
    #[serde(default)]
    pub totals: TunnelTotals,
}

/// A CHILD SA that is not there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MissingChild {
    /// Its name in the configuration.
    pub name: String,
    /// Why the last attempt came to nothing, if there was one.
    pub failure: Option<FailureReport>,
}

/// An IKE SA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IkeStatus {
    /// `initiator` or `responder`.
    pub role: String,
    /// The initiator's SPI, 16 hexadecimal digits.
    pub spi_i: String,
    /// The responder's SPI.
    pub spi_r: String,
    /// Such as `aes256gcm16-prfsha256-x25519`.
    pub suite: String,
    /// Our end of the outer path.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
    /// There is a NAT before us.
    pub nat_local: bool,
    /// There is a NAT before the peer.
    pub nat_remote: bool,
    /// The peer can be sent to another gateway.
    #[serde(default)]
    pub redirectable: bool,
    /// By what we proved who we are: `psk`, `certificate ecdsa-sha256`, `public-key ed25519`.
    #[serde(default)]
    pub local_auth: String,
    /// By what the peer did.
    #[serde(default)]
    pub remote_auth: String,
    /// Milliseconds since it was established.
    pub age_ms: u64,
}

/// A CHILD SA: a pair of ESP SAs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildStatus {
    /// Its name in the configuration.
    #[serde(default)]
    pub name: String,
    /// The queue or CPU that it is for; `None`: any (RFC 9611).
    #[serde(default)]
    pub resource: Option<u32>,
    /// Our SPI, 8 hexadecimal digits.
    pub spi_in: String,
    /// The peer's SPI.
    pub spi_out: String,
    /// Such as `aes256gcm16-esn`.
    pub suite: String,
    /// `udp` or `esp`.
    pub encapsulation: String,
    /// Networks behind us, as negotiated.
    pub local: Vec<String>,
    /// Networks behind the peer, as negotiated.
    pub remote: Vec<String>,
    /// Packets from the peer.
    pub packets_in: u64,
    /// Inner octets of them.
    pub bytes_in: u64,
    /// Packets to the peer.
    pub packets_out: u64,
    /// Inner octets of them.
    pub bytes_out: u64,
    /// Milliseconds since it was established.
    pub age_ms: u64,
    /// Milliseconds until it is replaced; 0 when that is under way.
    #[serde(default)]
    pub rekey_in_ms: u64,
    /// Inner octets in one direction until it is replaced, if they are limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rekey_in_bytes: Option<u64>,
    /// Packets in one direction until it is replaced, if they are limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rekey_in_packets: Option<u64>,
    /// Packets travel in AGGFRAG payloads (RFC 9347): when they leave, such as `aggregate` or `constant, 500/s`. Packets and octets are
    /// then those of the payloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iptfs: Option<String>,
}

impl TunnelStatus {
    /// The peer's address, if there is an IKE SA.
    pub fn peer(&self) -> Option<IpAddr> {
        self.ike.as_ref().map(|ike| ike.remote.ip())
    }
}
