//! What an endpoint is told about its connections. Complete and free of contradictions: the program's
//! configuration room resolves defaults and refuses nonsense before it gets here.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::auth::identity::Identity;
use crate::auth::method::{LocalAuth, RemoteAuth};
use crate::negotiate::proposal::{EspProposal, IkeProposal};
use crate::negotiate::selector::TrafficSelector;

/// The caller's name for a connection; never on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u32);

/// A pre-shared key (RFC 7296 2.15). Zeroized on drop, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the octets of a pre-shared key.
    pub fn new(octets: Vec<u8>) -> Self {
        Self(Zeroizing::new(octets))
    }

    /// The octets, for the PRF only.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// When ESP is put into UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncapsulationPolicy {
    /// Only if a NAT was found (RFC 7296 2.23).
    Auto,
    /// Always: we let the peer find a NAT before us. If the peer has no NAT traversal, ESP goes without.
    Force,
}

/// When a request is sent again and when the peer is given up (RFC 7296 2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retransmission {
    /// Wait before the second copy.
    pub initial: Duration,
    /// Each wait is this many percent of the one before (180: times 1.8).
    pub factor_percent: u32,
    /// No wait is longer.
    pub cap: Duration,
    /// Copies sent in all before the peer is given up.
    pub tries: u32,
}

impl Default for Retransmission {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(500),
            factor_percent: 180,
            cap: Duration::from_secs(10),
            tries: 8,
        }
    }
}

/// How long a CHILD SA may be used: the hard limits. It is replaced at a random point of the fifth before (RFC 7296 2.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Since it was made.
    pub time: Duration,
    /// Inner octets in one direction.
    pub bytes: Option<u64>,
    /// Packets in one direction. Without extended sequence numbers there is a limit in any case (RFC 4303 3.3.3).
    pub packets: Option<u64>,
}

impl Default for Lifetime {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(3600),
            bytes: None,
            packets: None,
        }
    }
}

/// How long an IKE SA is used unless told otherwise.
pub const IKE_LIFETIME: Duration = Duration::from_secs(8 * 3600);

/// What the endpoint is told about all of its connections together.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// From this many half-open SAs on, an initiator must show a cookie (RFC 7296 2.6).
    pub cookie_threshold: usize,
    /// Half-open SAs kept at most; further requests are dropped.
    pub max_half_open: usize,
    /// A half-open SA that was not authenticated by then is forgotten.
    pub half_open_timeout: Duration,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            cookie_threshold: 32,
            max_half_open: 1024,
            half_open_timeout: Duration::from_secs(30),
        }
    }
}

/// One connection: an IKE SA with one peer and the CHILD SA it is there for.
#[derive(Clone, Debug)]
pub struct ConnectionConfig {
    /// The caller's name for it.
    pub id: ConnectionId,
    /// The operator's name for it, for logs.
    pub name: String,
    /// The address it is bound to. `None`: as a responder any; as an initiator the caller must give one with `Some`
    /// before `Up` works (it finds it by a route look-up).
    pub local: Option<IpAddr>,
    /// The peer's address, port 500 unless told otherwise. `None`: any (responder only).
    pub remote: Option<SocketAddr>,
    /// Who we say we are.
    pub local_identity: Identity,
    /// Who the peer must prove to be.
    pub remote_identity: Identity,
    /// How we prove that.
    pub local_auth: LocalAuth,
    /// How the peer must prove that.
    pub remote_auth: RemoteAuth,
    /// What may protect the IKE SA, most wanted first. Never empty.
    pub ike_proposals: Vec<IkeProposal>,
    /// What may protect the CHILD SA, most wanted first. Never empty.
    pub esp_proposals: Vec<EspProposal>,
    /// The networks behind us. Never empty.
    pub local_selectors: Vec<TrafficSelector>,
    /// The networks behind the peer. Never empty.
    pub remote_selectors: Vec<TrafficSelector>,
    /// When ESP is put into UDP.
    pub encapsulation: EncapsulationPolicy,
    /// A peer that was silent (no IKE, no ESP) this long is probed (RFC 7296 2.4). `None`: never.
    pub liveness: Option<Duration>,
    /// Between NAT-keepalives, while a NAT is before us or encapsulation is forced (RFC 3948 4).
    pub nat_keepalive: Duration,
    /// Patience with the peer.
    pub retransmission: Retransmission,
    /// First and longest wait between attempts while the connection shall be up but is not.
    pub retry: (Duration, Duration),
    /// Send INITIAL_CONTACT when first connecting (RFC 7296 2.4).
    pub initial_contact: bool,
    /// How long a CHILD SA is used.
    pub child_lifetime: Lifetime,
    /// How long an IKE SA is used; it is replaced at a random point of the fifth before.
    pub ike_lifetime: Duration,
}
