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
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::keys::KeyRow;

mod queue;
mod status;
mod totals;

pub use queue::{CipherReport, CipherSpeed, QueueReport, StageReport};
pub use status::{ChildStatus, Counter, IkeStatus, KeyExport, MissingChild, StatusReport, TunnelStatus};
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
