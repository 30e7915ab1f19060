//! The doors of the room: what goes into an endpoint and what comes out.
//!
//! Everything here is plain data. The order of outputs is meaningful (RFC 7296 2.8): a shell performs them
//! first to last and skips none.

mod keys;
mod transport;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use crate::auth::identity::Identity;
use crate::auth::verified::Means;
use crate::auth::x509::crl::Crl;
use crate::auth::x509::revocation::RevocationError;
use crate::config::{Aggfrag, ChildId, ConnectionConfig, ConnectionId, Secret};
use crate::error::{Failure, Side};
use crate::negotiate::selector::TrafficSelector;
use crate::negotiate::transform::{Encryption, Integrity, KeyExchangeMethod};
pub use crate::wire::payload::GatewayIdentity;

pub use keys::{ChildSaKeys, ExportedKeys, IkeSaKeys};
pub use transport::{PORT_TCP, Transport};

/// The port of IKE without encapsulation (RFC 7296 2).
pub const PORT_IKE: u16 = 500;
/// The port that IKE and UDP-encapsulated ESP share (RFC 3948, RFC 7296 2.23).
pub const PORT_NAT_T: u16 = 4500;

/// The two ends of the outer path, as this host sees them.
///
/// On port 4500 the shell puts the four zero octets of the non-ESP marker (RFC 3948 2.2) before an IKE
/// message it sends and takes them off one it received; `xvpn-ike` never sees the marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    /// Our address and port.
    pub local: SocketAddr,
    /// The peer's address and port, behind its NAT if there is one.
    pub remote: SocketAddr,
}

/// A source of unpredictable octets, lent by the shell (or by a seeded simulation).
pub trait Random {
    /// Fills `out` with unpredictable octets.
    fn fill(&mut self, out: &mut [u8]);
}

/// One thing that happened outside.
#[derive(Debug)]
pub enum Input<'a> {
    /// An IKE message arrived (without the non-ESP marker). Lent for the call.
    Datagram {
        /// The path it came by; `local` is the address it was sent to.
        path: Path,
        /// The message.
        bytes: &'a [u8],
    },
    /// The operator, by way of the program, wants something.
    Command(Command),
    /// What the dataplane has seen since the last report.
    Usage(Usage),
    /// What the wall clock shows now: the time since the beginning of 1970. Certificates are judged by it, and by what
    /// passed since; without it none is accepted. To be told anew every few seconds, for a clock may be set.
    WallClock(Duration),
    /// What came of an `Output::Fetch`.
    Fetched {
        /// Its name.
        id: FetchId,
        /// The octets, or why there are none, in words. Lent for the call.
        result: Result<&'a [u8], &'a str>,
    },
    /// The TCP connection of a path is open, for the first time or again (RFC 9329 6.1). Only for the side that opens it.
    Connected(Path),
    /// A deadline given by `poll_timeout` may have passed.
    Timeout,
}

/// What the operator can ask for.
#[derive(Debug)]
pub enum Command {
    /// Makes a connection known, or replaces its configuration from the next negotiation on.
    Configure(Box<ConnectionConfig>),
    /// Deletes its SAs and forgets the connection.
    Forget(ConnectionId),
    /// The connection shall be up: initiate now (if it may) and again after every loss. The intent stands until `Down`.
    Up(ConnectionId),
    /// Traffic waits for the connection: initiate now if nothing stands and nothing is under way. It is tried once; what fails
    /// or is lost waits for the next demand. No effect after `Down`.
    Demand(ConnectionId),
    /// There was no traffic for long: delete the SAs. Whoever wants the connection again may begin it, the peer too.
    Rest(ConnectionId),
    /// The connection shall be down: delete its SAs, stop trying.
    Down(ConnectionId),
    /// Replaces an SA by a new one now, without loss (RFC 7296 2.8). No effect if there is none.
    Rekey {
        /// The connection.
        connection: ConnectionId,
        /// Which SA of it.
        what: Rekey,
    },
    /// Addresses or routes of this host have changed (RFC 4555 3.5): what stands follows if the peer speaks MOBIKE.
    Addresses {
        /// The connection.
        connection: ConnectionId,
        /// The address from which the peer is reached now; `None` if it is not.
        local: Option<IpAddr>,
        /// The other addresses at which the peer could reach us.
        others: Vec<IpAddr>,
    },
    /// From now on the keys of every SA, those that stand included, are told by `Output::Keys`; or no longer. Whoever has
    /// them reads the traffic and can forge it: nothing but an operator's explicit wish may lead here.
    ExportKeys(bool),
    /// CRLs from files, in the place of those that were configured; for what is negotiated from now on.
    Crls {
        /// The connection.
        connection: ConnectionId,
        /// The CRLs.
        crls: Vec<Arc<Crl>>,
    },
    /// The gateway that the peer has sent us to (`Event::Redirected`) is there: try it, from this address of ours. No effect
    /// if nobody waits for that any more.
    Follow {
        /// The connection.
        connection: ConnectionId,
        /// Our address towards it.
        local: IpAddr,
        /// Its address and port.
        remote: SocketAddr,
    },
    /// Sends the peer to another gateway (RFC 5685): now if it has begun an IKE SA and can be redirected, and whenever it
    /// asks for another. With `None` it is served here again.
    Redirect {
        /// The connection.
        connection: ConnectionId,
        /// Where to.
        to: Option<GatewayIdentity>,
    },
    /// Other keys for the tickets of session resumption (RFC 5723 6.1): the first seals, all of them open.
    TicketKeys(Vec<Secret>),
    /// Deletes all SAs of all connections with the peers' knowledge, for a shutdown. Intents are dropped.
    Shutdown,
}

/// What is to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rekey {
    /// The CHILD SA.
    Child,
    /// The IKE SA; its CHILD SAs stay and move to the new one.
    Ike,
}

/// Traffic seen by the dataplane on one CHILD SA.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// The connection it belongs to.
    pub connection: ConnectionId,
    /// Our SPI of the CHILD SA (the inbound one).
    pub inbound_spi: Spi,
    /// Inner octets received since installation.
    pub inbound_bytes: u64,
    /// Packets received (ICV and window passed) since installation: the proof of life for liveness checks.
    pub inbound_packets: u64,
    /// Inner octets sent since installation.
    pub outbound_bytes: u64,
    /// Packets sent since installation.
    pub outbound_packets: u64,
}

/// One effect, to be performed in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Be ready to receive on this SA. Comes before the datagram that tells the peer of it wherever the peer may answer with traffic.
    InstallInbound(InstallInbound),
    /// Send this datagram.
    Transmit(Transmit),
    /// Send with this SA from now on, before any installed earlier for the same connection and selectors; when it is
    /// removed, the one installed before it sends again if it is still there.
    InstallOutbound(InstallOutbound),
    /// Forget one SA.
    Remove(Remove),
    /// The peer is now to be reached by another path: all outbound SAs of the connection follow.
    SetPath {
        /// The connection.
        connection: ConnectionId,
        /// The new path.
        path: Path,
        /// In UDP or not, from now on.
        encapsulation: Encapsulation,
    },
    /// Fetch this, and tell what came of it by `Input::Fetched`. Nobody waits for it.
    Fetch(Fetch),
    /// Keys, while `Command::ExportKeys` is in force. Those of a CHILD SA come before it is installed.
    Keys(ExportedKeys),
    /// Something the operator or the program wants to know.
    Event(Event),
}

/// The name of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(pub u64);

/// Something that only HTTP can tell: a CRL (RFC 5280 4.2.1.13) or an OCSP response (RFC 6960 A.1). The URL comes from a
/// certificate that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Its name, for the answer.
    pub id: FetchId,
    /// The URL; its scheme is `http`.
    pub url: String,
    /// The OCSP request to POST; `None`: GET.
    pub post: Option<Vec<u8>>,
    /// No more octets are wanted.
    pub limit: usize,
    /// No longer is waited.
    pub timeout: Duration,
}

/// What a datagram is, so that the shell knows whether a non-ESP marker belongs before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// An IKE message: marked if `path.local` is not port 500.
    Ike,
    /// A NAT-keepalive (RFC 3948 4): the one octet 0xFF, never marked.
    Keepalive,
}

/// A datagram to send.
#[derive(Clone, PartialEq, Eq)]
pub struct Transmit {
    /// From where to where.
    pub path: Path,
    /// With or without marker.
    pub kind: Datagram,
    /// The octets, without the marker.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Transmit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Transmit({:?}, {} octets, {} -> {})",
            self.kind,
            self.bytes.len(),
            self.path.local,
            self.path.remote
        )
    }
}

/// A Security Parameter Index of ESP (RFC 4303 2.1); never 0..=255.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spi(pub u32);

impl fmt::Debug for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Display for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// Key material of one direction of a CHILD SA (RFC 7296 2.17). Zeroized on drop, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SaKeys {
    /// The cipher's key; for AEADs followed by the salt (4 octets), as KEYMAT has it.
    pub encryption: Zeroizing<Vec<u8>>,
    /// The integrity key; empty with an AEAD.
    pub integrity: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for SaKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SaKeys(..)")
    }
}

/// What both directions of a CHILD SA have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildSuite {
    /// The cipher, with its key length.
    pub encryption: Encryption,
    /// The integrity algorithm; `None` with an AEAD.
    pub integrity: Option<Integrity>,
    /// Extended (64-bit) sequence numbers (RFC 4303 2.2.1).
    pub esn: bool,
}

/// How ESP travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// In UDP, between the ports of the path (RFC 3948).
    Udp,
    /// As IP protocol 50; the ports of the path mean nothing.
    None,
    /// In the TCP connection of the path, beside IKE (RFC 9329).
    Tcp,
}

/// The inbound half of a new CHILD SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallInbound {
    /// The connection it belongs to.
    pub connection: ConnectionId,
    /// Our SPI, chosen by us.
    pub spi: Spi,
    /// Algorithms.
    pub suite: ChildSuite,
    /// Keys of this direction.
    pub keys: SaKeys,
    /// The networks behind us: the destinations of what arrives.
    pub local: Vec<TrafficSelector>,
    /// The networks behind the peer: the sources of what arrives.
    pub remote: Vec<TrafficSelector>,
    /// In UDP or not.
    pub encapsulation: Encapsulation,
    /// The outer path.
    pub path: Path,
    /// The queue or CPU that it is for; `None`: any (RFC 9611).
    pub resource: Option<u32>,
    /// It carries AGGFRAG payloads (RFC 9347). What is here is what the peer does with them.
    pub aggfrag: Option<Aggfrag>,
}

/// The outbound half of a new CHILD SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallOutbound {
    /// The connection it belongs to.
    pub connection: ConnectionId,
    /// The peer's SPI.
    pub spi: Spi,
    /// Our SPI of the same CHILD SA.
    pub inbound_spi: Spi,
    /// Algorithms.
    pub suite: ChildSuite,
    /// Keys of this direction.
    pub keys: SaKeys,
    /// The networks behind us: the sources of what leaves.
    pub local: Vec<TrafficSelector>,
    /// The networks behind the peer: the destinations of what leaves.
    pub remote: Vec<TrafficSelector>,
    /// In UDP or not.
    pub encapsulation: Encapsulation,
    /// The outer path.
    pub path: Path,
    /// The queue or CPU that it is for; `None`: any (RFC 9611).
    pub resource: Option<u32>,
    /// Its entry of the SPD: of several SAs that take a packet the one of the lowest carries it, and of one entry's the newest
    /// (RFC 4301 4.4.1).
    pub child: ChildId,
    /// The peer is an xvpn, too.
    pub xvpn: bool,
    /// ESP may come to the peer from any UDP port of ours: it said so, and there is no NAT before either side.
    pub any_port: bool,
    /// It carries AGGFRAG payloads (RFC 9347). What is here is what the peer does with them.
    pub aggfrag: Option<Aggfrag>,
}

/// Which half of a CHILD SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the peer.
    Inbound,
    /// To the peer.
    Outbound,
}

/// The half of a CHILD SA to forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remove {
    /// The connection it belonged to.
    pub connection: ConnectionId,
    /// Inbound or outbound.
    pub direction: Direction,
    /// Our SPI if inbound, the peer's if outbound.
    pub spi: Spi,
}

/// Which side of the IKE SA this endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It sent the first IKE_SA_INIT request.
    Initiator,
    /// It answered it.
    Responder,
}

/// What the program may tell the operator. Every event of a connection carries its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A negotiation began or took a step; `step` is what is awaited now.
    Progress {
        /// The connection.
        connection: ConnectionId,
        /// What is awaited.
        step: Step,
        /// Where the peer is.
        path: Path,
    },
    /// The IKE SA stands and the peer is authenticated.
    IkeEstablished {
        /// The connection.
        connection: ConnectionId,
        /// Facts for the status.
        ike: IkeFacts,
    },
    /// A CHILD SA carries traffic both ways.
    ChildEstablished {
        /// The connection.
        connection: ConnectionId,
        /// Facts for the status.
        child: ChildFacts,
    },
    /// The SAs have moved to another path (RFC 4555, or a NAT that changed its mind).
    Moved {
        /// The connection.
        connection: ConnectionId,
        /// Facts for the status.
        ike: IkeFacts,
        /// In UDP or not, from now on.
        encapsulation: Encapsulation,
    },
    /// A CHILD SA is gone.
    ChildClosed {
        /// The connection.
        connection: ConnectionId,
        /// Our SPI of it.
        inbound_spi: Spi,
    },
    /// The peer was to be authenticated anew and was not. What stands is used until the authentication is too old.
    ReauthFailed {
        /// The connection.
        connection: ConnectionId,
        /// Where the peer is.
        path: Path,
        /// What went wrong and who must act.
        failure: Failure,
        /// When the next attempt is made.
        retry_in: Duration,
    },
    /// A CHILD SA could not be made, or reached its end. The IKE SA and its other CHILD SAs stand.
    ChildFailed {
        /// The connection.
        connection: ConnectionId,
        /// The operator's name for the CHILD SA.
        child: String,
        /// What went wrong and who must act.
        failure: Failure,
        /// When the next attempt is made, if one is.
        retry_in: Option<Duration>,
    },
    /// The IKE SA, and with it every CHILD SA, is gone.
    IkeClosed {
        /// The connection.
        connection: ConnectionId,
        /// Why.
        reason: CloseReason,
    },
    /// A negotiation failed, or an established connection was lost.
    Failed {
        /// The connection, if it could be told.
        connection: Option<ConnectionId>,
        /// The peer.
        path: Path,
        /// What went wrong and who must act.
        failure: Failure,
        /// When the next attempt is made, if one is.
        retry_in: Option<Duration>,
    },
    /// One side sends the other to another gateway (RFC 5685). If it is the peer that sends us, the program is to find the
    /// gateway's address and ours towards it, and to give both in `Command::Follow`.
    Redirected {
        /// The connection.
        connection: ConnectionId,
        /// Where the peer is now.
        path: Path,
        /// Where the initiator is to go.
        to: GatewayIdentity,
        /// Who says so.
        by: Side,
    },
    /// A peer is accepted, although nobody can tell whether its certificate was revoked.
    StatusUnknown {
        /// The connection.
        connection: ConnectionId,
        /// Which certificate, and why.
        doubt: RevocationError,
    },
    /// A datagram changed nothing. Only a counter.
    Ignored {
        /// Why.
        reason: crate::error::Ignore,
    },
}

/// What a negotiation awaits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The answer to our IKE_SA_INIT request.
    InitResponse,
    /// The answer to our IKE_SESSION_RESUME request (RFC 5723).
    ResumeResponse,
    /// The peer does not take the ticket: IKE_SA_INIT follows.
    TicketRefused,
    /// The answer to our IKE_INTERMEDIATE request.
    IntermediateResponse,
    /// The answer to our IKE_AUTH request.
    AuthResponse,
    /// The peer's IKE_AUTH request, after we answered its IKE_SA_INIT.
    AuthRequest,
    /// The peer refused our pre-shared key, and the one that it replaces is tried.
    PreviousKey,
    /// The answer to our delete.
    DeleteResponse,
    /// No answer so far: the request was sent again.
    Retransmission {
        /// How often it was sent, the first time included.
        sent: u32,
    },
}

/// Why an IKE SA ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The operator asked (`Down`, `Forget`, `Shutdown`).
    Operator,
    /// The peer deleted it.
    Peer,
    /// There was no traffic (`Rest`).
    Idle,
    /// The peer did not answer a request any more.
    Unreachable,
    /// The peer began anew with INITIAL_CONTACT.
    Replaced,
    /// An error ended it; a `Failed` event says which.
    Error,
}

/// What is known of an IKE SA. No secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IkeFacts {
    /// Our side of it.
    pub role: Role,
    /// The initiator's SPI.
    pub spi_i: u64,
    /// The responder's SPI.
    pub spi_r: u64,
    /// The names of the algorithms, such as `aes256gcm16-prfsha256-x25519`.
    pub suite: String,
    /// The key exchange.
    pub key_exchange: KeyExchangeMethod,
    /// The peer, as authenticated.
    pub remote_identity: Identity,
    /// The outer path.
    pub path: Path,
    /// There is a NAT before us.
    pub nat_local: bool,
    /// There is a NAT before the peer.
    pub nat_remote: bool,
    /// The peer can be sent to another gateway (RFC 5685): it began, and speaks that.
    pub redirectable: bool,
    /// By what we proved who we are.
    pub local_auth: Option<Means>,
    /// By what the peer did.
    pub remote_auth: Option<Means>,
    /// A post-quantum pre-shared key is in its keys (RFC 8784).
    pub ppk: bool,
}

/// What is known of a CHILD SA. No secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildFacts {
    /// The operator's name for it.
    pub name: String,
    /// The queue or CPU that it is for; `None`: any (RFC 9611).
    pub resource: Option<u32>,
    /// Our SPI.
    pub inbound_spi: Spi,
    /// The peer's SPI.
    pub outbound_spi: Spi,
    /// The names of the algorithms, such as `aes256gcm16-esn`.
    pub suite: String,
    /// The networks behind us.
    pub local: Vec<TrafficSelector>,
    /// The networks behind the peer.
    pub remote: Vec<TrafficSelector>,
    /// In UDP or not.
    pub encapsulation: Encapsulation,
    /// It carries AGGFRAG payloads (RFC 9347). What is here is what the peer does with them.
    pub aggfrag: Option<Aggfrag>,
    /// When and after how much it is to be replaced.
    pub soft: SoftLimit,
}

/// What an SA may carry, and how long, before it is replaced by another (RFC 7296 2.8). It may be used a little longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftLimit {
    /// Until then.
    pub at: Instant,
    /// Inner octets in one direction, if they are limited.
    pub bytes: Option<u64>,
    /// Packets in one direction, if they are limited.
    pub packets: Option<u64>,
}

/// Why `poll_timeout` wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A request may have to be sent again.
    Retransmit,
    /// A liveness check may be due.
    Liveness,
    /// A NAT-keepalive is due.
    Keepalive,
    /// A connection that shall be up may be tried again.
    Retry,
    /// A half-open SA or a kept response expires.
    Expire,
    /// An SA is to be replaced, or one that was replaced is to be removed.
    Rekey,
    /// Something to be fetched did not come.
    Fetch,
}
