//! Errors on the wire (RFC 7296 2.21, 3.10.1): the notify that tells the peer of a cause, and what its notifies mean.

use super::{Cause, Side};
use crate::wire::payload::NotifyType;
use crate::wire::{Fault, Malformed};

impl Cause {
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
            // It is told by deleting the CHILD SA.
            | Self::AggfragDemand { .. }
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
