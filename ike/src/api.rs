//! The doors of the room: what goes into an endpoint and what comes out.
//!
//! Everything here is plain data. The order of outputs is meaningful (RFC 7296 2.8): a shell performs them
//! first to last and skips none.

mod event;
mod keys;
mod sad;
mod transport;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::auth::x509::crl::Crl;
use crate::config::{ConnectionConfig, ConnectionId, Secret};
pub use crate::wire::payload::GatewayIdentity;

pub use event::{ChildFacts, CloseReason, Event, IkeFacts, SoftLimit, Step};
pub use keys::{ChildSaKeys, ExportedKeys, IkeSaKeys};
pub use sad::{ChildSuite, Direction, Encapsulation, InstallInbound, InstallOutbound, Remove, SaKeys, Spi};
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

/// Which side of the IKE SA this endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It sent the first IKE_SA_INIT request.
    Initiator,
    /// It answered it.
    Responder,
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
