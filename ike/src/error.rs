//! Two kinds of trouble, never mixed: [`Ignore`] leaves everything as it was (unauthenticated rubbish must never
//! end a connection), [`Failure`] ends a negotiation and says who must act.

mod explain;
mod ignore;
mod notify;
mod words;

use crate::auth::identity::Identity;
use crate::auth::signature::SignatureError;
use crate::auth::x509::CertificateError;
use crate::auth::x509::revocation::RevocationError;
use crate::negotiate::selector::TrafficSelector;
use crate::wire::payload::{GatewayIdentity, NotifyType};

pub use explain::Explanation;
pub use ignore::Ignore;

/// The step of the protocol at which something failed (RFC 7296 1.2 to 1.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// Key exchange, in the clear.
    IkeSaInit,
    /// Additional key exchanges.
    IkeIntermediate,
    /// Authentication and the first CHILD SA.
    IkeAuth,
    /// Further CHILD SAs and rekeying.
    CreateChildSa,
    /// Deletes, notifications, liveness checks.
    Informational,
}

/// Which of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// This host.
    Us,
    /// The other one.
    Peer,
}

/// Who must act to make it go away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Nobody: octets that no honest peer sends.
    Bytes,
    /// The software or the state of the peer.
    Peer,
    /// The operators: the two configurations, or the network between them, do not fit.
    Operator,
    /// This software.
    Us,
}

/// Why a redirect is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    /// The operator does not want it.
    NotWanted,
    /// There were too many of late: probably gateways that send us to each other (RFC 5685 7).
    TooMany,
    /// No gateway can be there.
    Nonsense,
}

/// Which SA was being negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Negotiated {
    /// The IKE SA.
    Ike,
    /// The CHILD SA.
    Child,
}

/// A negotiation ended, or an established connection was lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{exchange}: {cause}")]
pub struct Failure {
    /// At which step.
    pub exchange: Exchange,
    /// What went wrong.
    pub cause: Cause,
    /// Who must act.
    pub blame: Blame,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The peer did not answer a request, however often it was sent.
    NoResponse {
        /// How often.
        tries: u32,
    },
    /// No proposal suits both sides (NO_PROPOSAL_CHOSEN).
    NoProposal {
        /// For which SA.
        of: Negotiated,
        /// Who said no.
        refused_by: Side,
        /// What we offer or accept.
        ours: String,
        /// What the peer offered, if it was the one to offer.
        theirs: Option<String>,
        /// What keeps the two most similar proposals apart, if both are known.
        difference: Option<String>,
    },
    /// The peer insists on a key exchange we do not offer, or changes its mind again and again (INVALID_KE_PAYLOAD).
    InvalidKeyExchange {
        /// The Transform ID it wants.
        wanted: u16,
        /// What we offer.
        ours: String,
    },
    /// A new SA in the place of another was refused (RFC 7296 1.3.2, 1.3.3). The old one is used as long as it may be.
    RekeyRefused {
        /// Which SA was to be replaced.
        of: Negotiated,
        /// Who said no.
        refused_by: Side,
        /// In which words.
        notify: NotifyType,
        /// What we offer or accept.
        ours: String,
        /// What the peer offered, or which group it wants, if it said so.
        theirs: Option<String>,
        /// What keeps the two most similar proposals apart, if both are known.
        difference: Option<String>,
        /// Ours name a group for the key exchange (for a CHILD SA: perfect forward secrecy).
        group: bool,
    },
    /// The peer speaks another major version of IKE (RFC 7296 2.5).
    OtherVersion {
        /// Which.
        major: u8,
    },
    /// The peer's public value is not one (RFC 6989).
    BadPublicValue,
    /// The peer demanded a cookie again and again (RFC 7296 2.6).
    CookieLoop,
    /// The peer wants more work for its answer than we are ready to do (RFC 8019 7.2.2).
    PuzzleTooHard {
        /// Zero bits that it asks for.
        difficulty: u8,
    },
    /// The shared secrets differ (AUTHENTICATION_FAILED), or the peer does not accept who we are.
    AuthenticationFailed {
        /// Who said no.
        refused_by: Side,
        /// Whose proof it was: the peer's identity if we refused, ours if the peer did.
        identity: Identity,
    },
    /// The peer proved or claims to be someone else than configured.
    IdentityMismatch {
        /// `remote.id` of the connections that were in question.
        expected: Vec<Identity>,
        /// Who the peer says it is.
        got: Identity,
    },
    /// The peer shows an identity of a kind that no configuration can name (RFC 7296 3.5).
    UnsupportedIdentity {
        /// Its ID Type.
        id_type: u8,
    },
    /// The peer wants an authentication method we do not have.
    UnsupportedAuthMethod {
        /// Its number (RFC 7296 3.8); 0 for EAP.
        method: u8,
        /// What we have.
        wanted: &'static str,
    },
    /// The peer's certificate is not accepted.
    Certificate {
        /// Who the peer says it is.
        identity: Identity,
        /// Why not.
        error: CertificateError,
    },
    /// The peer shows a public key that is not one of those configured for it.
    UnknownKey {
        /// Who the peer says it is.
        identity: Identity,
    },
    /// The peer's signature is not accepted: it does not have the key it shows.
    BadSignature {
        /// Who the peer says it is.
        identity: Identity,
        /// Why not.
        error: SignatureError,
    },
    /// The peer accepts no signature that our key can make.
    NoCommonSignature {
        /// What our key is.
        ours: String,
    },
    /// The peer does not use a post-quantum pre-shared key, and one is required here (RFC 8784).
    NoPpk,
    /// The peer uses a post-quantum pre-shared key that is not known here, and one of the two sides does not do without
    /// (RFC 8784).
    UnknownPpk {
        /// Its name.
        id: String,
    },
    /// The peer makes no IKE SA without a CHILD SA (RFC 6023).
    NotChildless,
    /// The peer took up AGGFRAG payloads and demands of them what we do not do (RFC 9347 5.1).
    AggfragDemand {
        /// The flags of its USE_AGGFRAG.
        flags: u8,
    },
    /// The peer asks for a CHILD SA in IKE_AUTH, and none is made there (RFC 6023).
    ChildInAuth,
    /// The peer does not accept our signature or our certificate (AUTHENTICATION_FAILED).
    CredentialRefused {
        /// Who we are.
        identity: Identity,
    },
    /// The networks do not overlap (TS_UNACCEPTABLE).
    SelectorMismatch {
        /// Who said no.
        refused_by: Side,
        /// `local.networks` and `remote.networks` here.
        ours: (Vec<TrafficSelector>, Vec<TrafficSelector>),
        /// What the peer proposed for us and for itself, if it said.
        theirs: Option<(Vec<TrafficSelector>, Vec<TrafficSelector>)>,
    },
    /// The peer wants to talk to someone else than us (its IDr).
    WrongResponder {
        /// `local.id` of the connections that were in question.
        ours: Vec<Identity>,
        /// Whom the peer wants.
        wanted: Identity,
    },
    /// No connection is configured for this peer.
    NoPolicy,
    /// A message without a payload it must have, or with one that does not parse (INVALID_SYNTAX).
    InvalidSyntax {
        /// Who said so.
        refused_by: Side,
        /// What was wrong with it.
        detail: String,
    },
    /// A critical payload of an unknown type (UNSUPPORTED_CRITICAL_PAYLOAD, RFC 7296 2.5).
    UnsupportedCritical {
        /// Who said no.
        refused_by: Side,
        /// The payload's type.
        payload: u8,
    },
    /// Another error notification from the peer.
    PeerNotify {
        /// Its type (RFC 7296 3.10.1).
        notify: NotifyType,
    },
    /// A certificate of the peer was revoked, or nobody can tell whether it was and the policy wants to know.
    Revocation {
        /// Which certificate, and what is known of it.
        error: RevocationError,
    },
    /// The peer deleted the IKE SA before it was of use.
    Deleted,
    /// The peer began a negotiation and never finished it.
    Abandoned,
    /// The peer answers, and does not receive at the address that it gives (RFC 4555 3.7).
    NotReachable,
    /// A NAT changes the addresses of our messages, and the peer forbids NATs (RFC 4555 3.9).
    ForbiddenNat,
    /// The peer has crashed and come back, and has proven it (RFC 6290).
    Crashed,
    /// The peer wants us to go to another gateway, and we do not (RFC 5685).
    Redirected {
        /// Where to.
        to: GatewayIdentity,
        /// Why we do not.
        why: Stay,
    },
    /// The CHILD SA went away and nothing carries traffic any more.
    NoChild,
    /// The peer has new SAs made all the time.
    TooOften,
    /// The lifetime of an SA is over, and the peer did not agree to a new one.
    Expired,
    /// A connection that is to be initiated has no local or no remote address.
    NoAddress,
    /// Something only this software can be blamed for.
    Internal {
        /// What.
        detail: &'static str,
    },
}

impl Failure {
    /// A failure at a step; who must act follows from the cause.
    pub fn new(exchange: Exchange, cause: Cause) -> Self {
        let blame = cause.blame();
        Self {
            exchange,
            cause,
            blame,
        }
    }

    /// What the operator should do, naming the settings by their keys in the configuration.
    pub fn remedy(&self) -> String {
        self.cause.remedy(self.exchange)
    }
}

impl Cause {
    /// Who must act.
    pub fn blame(&self) -> Blame {
        match self {
            Self::NoResponse { .. }
            | Self::NoProposal { .. }
            | Self::InvalidKeyExchange { .. }
            | Self::RekeyRefused { .. }
            | Self::OtherVersion { .. }
            | Self::AuthenticationFailed { .. }
            | Self::IdentityMismatch { .. }
            | Self::UnsupportedIdentity { .. }
            | Self::Revocation { .. }
            | Self::UnsupportedAuthMethod { .. }
            | Self::Certificate { .. }
            | Self::UnknownKey { .. }
            | Self::BadSignature { .. }
            | Self::NoCommonSignature { .. }
            | Self::CredentialRefused { .. }
            | Self::NoPpk
            | Self::UnknownPpk { .. }
            | Self::NotChildless
            | Self::AggfragDemand { .. }
            | Self::ChildInAuth
            | Self::SelectorMismatch { .. }
            | Self::WrongResponder { .. }
            | Self::NoPolicy
            | Self::ForbiddenNat
            | Self::Redirected { .. }
            | Self::NoAddress => Blame::Operator,
            Self::CookieLoop
            | Self::PuzzleTooHard { .. }
            | Self::PeerNotify { .. }
            | Self::Deleted
            | Self::Abandoned
            | Self::NotReachable
            | Self::Crashed
            | Self::NoChild
            | Self::Expired
            | Self::TooOften
            | Self::BadPublicValue => Blame::Peer,
            Self::InvalidSyntax { refused_by, .. } | Self::UnsupportedCritical { refused_by, .. } => {
                match refused_by {
                    Side::Us => Blame::Bytes,
                    Side::Peer => Blame::Us,
                }
            }
            Self::Internal { .. } => Blame::Us,
        }
    }
}
