//! What an endpoint is told about its connections. Complete and free of contradictions: the program's
//! configuration room resolves defaults and refuses nonsense before it gets here.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::api::{Path, Transport};
use crate::auth::identity::Identity;
use crate::auth::method::{LocalAuth, RemoteAuth};
use crate::auth::ppk::Ppk;
use crate::auth::x509::revocation::{Policy, Rules};
pub use crate::negotiate::aggfrag::Aggfrag;
use crate::negotiate::proposal::{EspProposal, IkeProposal};
use crate::negotiate::selector::TrafficSelector;
use crate::wire::payload::GatewayIdentity;

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

/// Whether IKE_AUTH may make an IKE SA without a CHILD SA (RFC 6023), which CREATE_CHILD_SA then makes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Childless {
    /// Neither asked for nor accepted.
    Never,
    /// Accepted from a peer that wants it.
    #[default]
    Allow,
    /// Asked for where the peer knows it.
    Prefer,
    /// Nothing else: no peer that does not know it, and no CHILD SA in IKE_AUTH.
    Force,
}

impl Childless {
    /// A peer may do without.
    pub(crate) fn accepts(self) -> bool {
        match self {
            Self::Never => false,
            Self::Allow | Self::Prefer | Self::Force => true,
        }
    }

    /// We do without if the peer can.
    pub(crate) fn wants(self) -> bool {
        match self {
            Self::Never | Self::Allow => false,
            Self::Prefer | Self::Force => true,
        }
    }
}

/// What carries a connection (RFC 9329 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportPolicy {
    /// UDP only; whoever comes by TCP is not heard.
    Udp,
    /// UDP, and TCP where UDP does not pass: a peer may come by either.
    Auto {
        /// So many copies of an IKE_SA_INIT request go unanswered by UDP before TCP is tried (RFC 9329 5.1).
        udp_tries: u32,
    },
    /// TCP only.
    Tcp,
}

impl TransportPolicy {
    /// Whether a peer may come this way.
    pub fn admits(self, transport: Transport) -> bool {
        match (self, transport) {
            (Self::Udp | Self::Auto { .. }, Transport::Udp)
            | (Self::Auto { .. } | Self::Tcp, Transport::Tcp) => true,
            (Self::Udp, Transport::Tcp) | (Self::Tcp, Transport::Udp) => false,
        }
    }
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

/// The largest IP packet of an IKE message unless told otherwise: what every IPv6 path carries (RFC 7383 2.5.1).
pub const FRAGMENT_SIZE: usize = 1280;

/// What the endpoint is told about all of its connections together.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// From this many half-open SAs on, an initiator must show a cookie (RFC 7296 2.6).
    pub cookie_threshold: usize,
    /// Half-open SAs kept at most; further requests are dropped.
    pub max_half_open: usize,
    /// A half-open SA that was not authenticated by then is forgotten.
    pub half_open_timeout: Duration,
    /// The easiest and the hardest puzzle given under load, in zero bits (RFC 8019 7.1.1.1). `None`: no puzzles.
    pub puzzles: Option<(u8, u8)>,
    /// A secret that outlives a crash of this host, for the tokens of Quick Crash Detection (RFC 6290 5.1). `None`: none are
    /// made.
    pub crash_secret: Option<Secret>,
    /// What seals the tickets of session resumption (RFC 5723 6): the first seals, all of them open. None: no tickets.
    pub ticket_keys: Vec<Secret>,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            cookie_threshold: 32,
            max_half_open: 1024,
            half_open_timeout: Duration::from_secs(30),
            // Four keys: about a tenth of a second to some seconds of an initiator's time.
            puzzles: Some((14, 18)),
            crash_secret: None,
            ticket_keys: Vec::new(),
        }
    }
}

/// What one CHILD SA of a connection is for: an entry of the SPD (RFC 4301 4.4.1).
#[derive(Clone, Debug)]
pub struct ChildConfig {
    /// The operator's name for it, unique within its connection.
    pub name: String,
    /// What may protect it, most wanted first. Never empty.
    pub esp_proposals: Vec<EspProposal>,
    /// The networks behind us. Never empty.
    pub local_selectors: Vec<TrafficSelector>,
    /// The networks behind the peer. Never empty.
    pub remote_selectors: Vec<TrafficSelector>,
    /// How long an SA for it is used.
    pub lifetime: Lifetime,
    /// How many SAs there are for single resources, such as CPUs or queues, beside the first, which is for any
    /// (RFC 9611).
    pub resources: u32,
    /// Ask for AGGFRAG payloads and take them from a peer that asks (RFC 9347), and what we do with them. `None`: neither.
    pub aggfrag: Option<Aggfrag>,
}

/// Which of a connection's CHILD SAs: 0 is the first, which IKE_AUTH makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildId(pub usize);

/// The settings of one CHILD SA, as [`ConnectionConfig`] has them.
#[derive(Clone, Copy, Debug)]
pub struct ChildPolicy<'a> {
    /// Which one.
    pub id: ChildId,
    /// The operator's name for it.
    pub name: &'a str,
    /// What may protect it.
    pub esp_proposals: &'a [EspProposal],
    /// The networks behind us.
    pub local_selectors: &'a [TrafficSelector],
    /// The networks behind the peer.
    pub remote_selectors: &'a [TrafficSelector],
    /// How long an SA for it is used.
    pub lifetime: Lifetime,
    /// How many SAs there are for single resources, such as CPUs or queues, beside the first, which is for any
    /// (RFC 9611).
    pub resources: u32,
    /// Ask for AGGFRAG payloads and take them from a peer that asks (RFC 9347), and what we do with them. `None`: neither.
    pub aggfrag: Option<Aggfrag>,
}

/// One connection: an IKE SA with one peer and the CHILD SAs it is there for.
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
    /// A post-quantum pre-shared key besides (RFC 8784).
    pub ppk: Option<Ppk>,
    /// When the IKE SA is made without a CHILD SA (RFC 6023).
    pub childless: Childless,
    /// The peer is old: signatures with SHA-1 will do where it knows nothing else (RFC 7296 3.8).
    pub legacy_signatures: bool,
    /// Whether the peer's certificates must be known to be good.
    pub revocation: Rules,
    /// What may protect the IKE SA, most wanted first. Never empty.
    pub ike_proposals: Vec<IkeProposal>,
    /// The operator's name for the first CHILD SA.
    pub child_name: String,
    /// What may protect the first CHILD SA, most wanted first. Never empty.
    pub esp_proposals: Vec<EspProposal>,
    /// The networks behind us, for the first CHILD SA. Never empty.
    pub local_selectors: Vec<TrafficSelector>,
    /// The networks behind the peer, for the first CHILD SA. Never empty.
    pub remote_selectors: Vec<TrafficSelector>,
    /// When ESP is put into UDP.
    pub encapsulation: EncapsulationPolicy,
    /// What carries it.
    pub transport: TransportPolicy,
    /// The port at which the peer waits for TCP connections, usually 4500 (RFC 9329 2).
    pub tcp_port: u16,
    /// A peer that was silent (no IKE, no ESP) this long is probed (RFC 7296 2.4). `None`: never.
    pub liveness: Option<Duration>,
    /// Between NAT-keepalives, while a NAT is before us or encapsulation is forced (RFC 3948 4).
    pub nat_keepalive: Duration,
    /// Patience with the peer.
    pub retransmission: Retransmission,
    /// The largest IP packet that an IKE message makes: what is larger travels in fragments, if the peer knows them
    /// (RFC 7383 2.5.1). At least 576.
    pub fragment_size: usize,
    /// First and longest wait between attempts while the connection shall be up but is not.
    pub retry: (Duration, Duration),
    /// Speak MOBIKE (RFC 4555): the SAs survive a change of addresses.
    pub mobike: bool,
    /// Our other addresses, by which the peer may reach us (RFC 4555 3.4).
    pub other_addresses: Vec<IpAddr>,
    /// The NAT before us, if there is one, maps our address one to one (RFC 2663 4.1.1, static): it keeps ports, and lets in
    /// whatever comes to our public address. With it per-resource SAs have UDP ports of their own all the same.
    pub static_nat: bool,
    /// Go where the peer sends us (RFC 5685): to another gateway, which must prove to be the same peer.
    pub follow_redirect: bool,
    /// Send the peer to this other gateway instead of serving it, if it can be redirected (RFC 5685). Nothing is initiated.
    pub redirect_to: Option<GatewayIdentity>,
    /// Send INITIAL_CONTACT when first connecting (RFC 7296 2.4).
    pub initial_contact: bool,
    /// How long the first CHILD SA is used.
    pub child_lifetime: Lifetime,
    /// How many SAs for single resources the first CHILD SA has beside it (RFC 9611).
    pub child_resources: u32,
    /// AGGFRAG payloads on the first CHILD SA (RFC 9347), as [`ChildConfig::aggfrag`].
    pub child_aggfrag: Option<Aggfrag>,
    /// The CHILD SAs beside the first, which CREATE_CHILD_SA makes (RFC 7296 1.3.1).
    pub more_children: Vec<ChildConfig>,
    /// Replace the first CHILD SA soon after it was made, to see whether the peer agrees to that.
    pub rekey_probe: bool,
    /// How long an authentication counts: before that the IKE SA is made anew from the beginning, and only then the old one goes
    /// (RFC 7296 2.8.3). `None`: for ever.
    pub reauthentication: Option<Duration>,
    /// Resume a lost session by a ticket, without a key exchange (RFC 5723), and give tickets to who began. The keys that
    /// follow are only as secret as those of the tickets: it costs forward secrecy.
    pub resumption: bool,
    /// How long an IKE SA is used; it is replaced at a random point of the fifth before.
    pub ike_lifetime: Duration,
}

impl ConnectionConfig {
    /// Whether a session may be resumed. A peer that resumes shows no certificate, so that nobody would notice that it was
    /// revoked meanwhile: not where that is looked after.
    pub fn may_resume(&self) -> bool {
        let unlooked = match &self.remote_auth {
            RemoteAuth::Certificate { .. } => self.revocation.policy == Policy::Off,
            RemoteAuth::Psk { .. } | RemoteAuth::RawKey { .. } => true,
        };
        self.resumption && unlooked
    }

    /// The settings of each CHILD SA, the first one first.
    pub fn children(&self) -> impl Iterator<Item = ChildPolicy<'_>> {
        let more = self.more_children.iter().enumerate();
        std::iter::once(self.first_child()).chain(more.map(|(n, child)| ChildPolicy {
            id: ChildId(n + 1),
            name: &child.name,
            esp_proposals: &child.esp_proposals,
            local_selectors: &child.local_selectors,
            remote_selectors: &child.remote_selectors,
            lifetime: child.lifetime,
            resources: child.resources,
            aggfrag: child.aggfrag,
        }))
    }

    /// Whether MOBIKE is spoken on this path. A TCP connection has its own way to come from elsewhere (RFC 9329 6.1), and its
    /// IKE SAs stay with TCP.
    pub(crate) fn is_mobile_on(&self, path: Path) -> bool {
        self.mobike && !path.is_tcp()
    }

    /// The settings of one of them; those of the first if there is none such.
    pub fn child(&self, id: ChildId) -> ChildPolicy<'_> {
        let found = self.children().find(|child| child.id == id);
        found.unwrap_or_else(|| self.first_child())
    }

    fn first_child(&self) -> ChildPolicy<'_> {
        ChildPolicy {
            id: ChildId(0),
            name: &self.child_name,
            esp_proposals: &self.esp_proposals,
            local_selectors: &self.local_selectors,
            remote_selectors: &self.remote_selectors,
            lifetime: self.child_lifetime,
            resources: self.child_resources,
            aggfrag: self.child_aggfrag,
        }
    }
}
