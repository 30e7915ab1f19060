//! What the program may tell the operator: events, and what is known of SAs for the status. No secrets.

use std::time::{Duration, Instant};

use super::{Encapsulation, Path, Role, Spi};
use crate::auth::identity::Identity;
use crate::auth::verified::Means;
use crate::auth::x509::revocation::RevocationError;
use crate::config::{Aggfrag, ConnectionId};
use crate::error::{Failure, Side};
use crate::negotiate::selector::TrafficSelector;
use crate::negotiate::transform::KeyExchangeMethod;
use crate::wire::payload::GatewayIdentity;

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
