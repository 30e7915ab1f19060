//! Two kinds of trouble, never mixed: [`Ignore`] leaves everything as it was (unauthenticated rubbish must never
//! end a connection), [`Failure`] ends a negotiation and says who must act.

mod explain;
mod words;

use crate::auth::identity::Identity;
use crate::auth::signature::SignatureError;
use crate::auth::x509::CertificateError;
use crate::auth::x509::revocation::RevocationError;
use crate::negotiate::selector::TrafficSelector;
use crate::wire::payload::{GatewayIdentity, NotifyType};
use crate::wire::{Fault, Malformed};

pub use explain::Explanation;

/// Why a datagram changed nothing. One variant is one counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ignore {
    /// Shorter than it claims to be, or than an IKE header (RFC 7296 3.1).
    Truncated,
    /// Not an IKE message at all: the length field does not agree with the datagram.
    NotIke,
    /// Another major version than 2 (RFC 7296 2.5).
    WrongVersion,
    /// An exchange type that RFC 7296 does not know, or one that does not fit the message.
    WrongExchange,
    /// No IKE SA has these SPIs (RFC 7296 2.21.4).
    UnknownSpi,
    /// The integrity check failed, or the message is not protected though it should be.
    BadIcv,
    /// The payloads do not parse, in a message that proves nothing about its sender.
    Malformed,
    /// A message ID outside the window of one (RFC 7296 2.3).
    OutOfWindow,
    /// A fragment with impossible numbers, one that is there already, or one too many (RFC 7383 2.6).
    Fragment,
    /// Our own message came back.
    Reflected,
    /// A response to no request of ours.
    Unasked,
    /// The message came from a place this SA does not know, and does not prove that the peer moved.
    WrongPath,
    /// Too many half-open SAs: not even a cookie is given out (RFC 7296 2.6).
    HalfOpenFull,
    /// No configured connection fits the addresses.
    NoConnection,
    /// Not expected in this state.
    UnexpectedState,
    /// Refused, as something like it was a moment ago: counted, not told again.
    RefusedAgain,
    /// An unauthenticated error notification: remembered as the probable cause, not obeyed (RFC 7296 2.21.1).
    UnprotectedError,
    /// The peer asks again while we ask the network whether its certificate is still good.
    AwaitingStatus,
}

impl Ignore {
    /// All of them, for tables of counters.
    pub const ALL: [Self; 18] = [
        Self::Truncated,
        Self::NotIke,
        Self::WrongVersion,
        Self::WrongExchange,
        Self::UnknownSpi,
        Self::BadIcv,
        Self::Malformed,
        Self::OutOfWindow,
        Self::Fragment,
        Self::Reflected,
        Self::Unasked,
        Self::WrongPath,
        Self::HalfOpenFull,
        Self::NoConnection,
        Self::UnexpectedState,
        Self::RefusedAgain,
        Self::UnprotectedError,
        Self::AwaitingStatus,
    ];

    /// The name of the counter.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::NotIke => "not_ike",
            Self::WrongVersion => "wrong_version",
            Self::WrongExchange => "wrong_exchange",
            Self::UnknownSpi => "unknown_spi",
            Self::BadIcv => "bad_icv",
            Self::Malformed => "malformed",
            Self::OutOfWindow => "out_of_window",
            Self::Fragment => "fragment",
            Self::Reflected => "reflected",
            Self::Unasked => "unasked",
            Self::WrongPath => "wrong_path",
            Self::HalfOpenFull => "half_open_full",
            Self::NoConnection => "no_connection",
            Self::UnexpectedState => "unexpected_state",
            Self::RefusedAgain => "refused_again",
            Self::UnprotectedError => "unprotected_error",
            Self::AwaitingStatus => "awaiting_status",
        }
    }
}

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

    /// The notify that tells the peer, if it is to be told.
    pub fn notify(&self) -> Option<NotifyType> {
        match self {
            Self::NoProposal { .. } => Some(NotifyType::NO_PROPOSAL_CHOSEN),
            Self::InvalidKeyExchange { .. } => Some(NotifyType::INVALID_KE_PAYLOAD),
            Self::BadPublicValue | Self::InvalidSyntax { .. } => Some(NotifyType::INVALID_SYNTAX),
            Self::UnsupportedCritical { .. } => Some(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD),
            // RFC 7296 2.21.2: whoever is not who it should be learns no more than that.
            Self::AuthenticationFailed { .. }
            | Self::IdentityMismatch { .. }
            | Self::UnsupportedIdentity { .. }
            | Self::Revocation { .. }
            | Self::WrongResponder { .. }
            | Self::UnsupportedAuthMethod { .. }
            | Self::Certificate { .. }
            | Self::UnknownKey { .. }
            | Self::BadSignature { .. }
            | Self::NoCommonSignature { .. }
            | Self::CredentialRefused { .. }
            | Self::NoPpk
            | Self::UnknownPpk { .. }
            | Self::NotChildless
            | Self::NoPolicy => Some(NotifyType::AUTHENTICATION_FAILED),
            // "A CHILD SA in this exchange is not acceptable", and the IKE SA stands (RFC 7296 1.3).
            Self::ChildInAuth => Some(NotifyType::NO_ADDITIONAL_SAS),
            Self::OtherVersion { .. } => Some(NotifyType::INVALID_MAJOR_VERSION),
            Self::SelectorMismatch { .. } => Some(NotifyType::TS_UNACCEPTABLE),
            Self::ForbiddenNat => Some(NotifyType::UNEXPECTED_NAT_DETECTED),
            Self::Internal { .. } => Some(NotifyType::TEMPORARY_FAILURE),
            Self::NoResponse { .. }
            | Self::RekeyRefused { .. }
            | Self::CookieLoop
            | Self::PuzzleTooHard { .. }
            | Self::PeerNotify { .. }
            | Self::Deleted
            | Self::Abandoned
            | Self::NotReachable
            | Self::Crashed
            | Self::Redirected { .. }
            | Self::NoChild
            | Self::Expired
            | Self::TooOften
            | Self::NoAddress => None,
        }
    }

    /// The payload type that goes with UNSUPPORTED_CRITICAL_PAYLOAD (RFC 7296 2.5).
    pub(crate) fn unsupported_critical(&self) -> Option<u8> {
        if let Self::UnsupportedCritical {
            refused_by: Side::Us,
            payload,
        } = self
        {
            Some(*payload)
        } else {
            None
        }
    }

    /// What an error notify of the peer means where it has no more to say.
    pub(crate) fn from_notify(notify: NotifyType) -> Self {
        match notify {
            NotifyType::INVALID_SYNTAX => Self::InvalidSyntax {
                refused_by: Side::Peer,
                detail: "it does not say where".into(),
            },
            other => Self::PeerNotify { notify: other },
        }
    }

    /// What a message of the peer that does not parse means.
    pub(crate) fn from_malformed(malformed: &Malformed) -> Self {
        match malformed.fault {
            Fault::UnsupportedCritical(payload) => Self::UnsupportedCritical {
                refused_by: Side::Us,
                payload: payload.0,
            },
            Fault::Truncated { .. }
            | Fault::Trailing { .. }
            | Fault::Length { .. }
            | Fault::Value { .. }
            | Fault::TooMany { .. }
            | Fault::MajorVersion(_)
            | Fault::Missing(_)
            | Fault::Duplicate(_) => Self::InvalidSyntax {
                refused_by: Side::Us,
                detail: malformed.to_string(),
            },
        }
    }
}
