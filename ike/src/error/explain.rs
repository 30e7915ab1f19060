//! Failures taken apart: who said no, what both sides have, what keeps them apart, and which setting of either side
//! would change it.

use super::words::{List, group, method_name};
use super::{Cause, Failure, Negotiated, Side};
use crate::negotiate::selector::TrafficSelector;

/// What there is to say about a failure besides its words. `None`: unknown, or there is no such thing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// Who said no.
    pub refused_by: Option<Side>,
    /// What we have: proposals, networks, identities.
    pub ours: Option<String>,
    /// What the peer has of the same, as far as it said.
    pub theirs: Option<String>,
    /// The first that keeps the two most similar proposals apart.
    pub difference: Option<String>,
    /// The settings here that may have to change.
    pub here: Option<&'static str>,
    /// The settings at the peer, for its administrator: what it is about, and what it is called there.
    pub there: Option<&'static str>,
}

impl Failure {
    /// What there is to say about it besides its words.
    pub fn explain(&self) -> Explanation {
        let (here, there) = self.cause.settings().unzip();
        let (ours, theirs) = self.cause.both();
        Explanation {
            refused_by: self.cause.refused_by(),
            ours,
            theirs,
            difference: self.cause.difference(),
            here,
            there,
        }
    }
}

impl Cause {
    /// Who said no, if somebody did.
    pub fn refused_by(&self) -> Option<Side> {
        match self {
            Self::NoProposal { refused_by, .. }
            | Self::RekeyRefused { refused_by, .. }
            | Self::AuthenticationFailed { refused_by, .. }
            | Self::SelectorMismatch { refused_by, .. }
            | Self::InvalidSyntax { refused_by, .. }
            | Self::UnsupportedCritical { refused_by, .. } => Some(*refused_by),
            Self::OtherVersion { .. }
            | Self::BadPublicValue
            | Self::PuzzleTooHard { .. }
            | Self::IdentityMismatch { .. }
            | Self::UnsupportedIdentity { .. }
            | Self::UnsupportedAuthMethod { .. }
            | Self::Certificate { .. }
            | Self::UnknownKey { .. }
            | Self::BadSignature { .. }
            | Self::NoCommonSignature { .. }
            | Self::WrongResponder { .. }
            | Self::Revocation { .. }
            | Self::NoPpk
            | Self::UnknownPpk { .. }
            | Self::NotChildless
            | Self::AggfragDemand { .. }
            | Self::ChildInAuth
            | Self::TooOften
            | Self::Redirected { .. }
            | Self::NoPolicy => Some(Side::Us),
            Self::InvalidKeyExchange { .. }
            | Self::CookieLoop
            | Self::CredentialRefused { .. }
            | Self::PeerNotify { .. }
            | Self::Deleted
            | Self::ForbiddenNat => Some(Side::Peer),
            Self::NoResponse { .. }
            | Self::Abandoned
            | Self::NotReachable
            | Self::Crashed
            | Self::NoChild
            | Self::Expired
            | Self::NoAddress
            | Self::Internal { .. } => None,
        }
    }

    fn difference(&self) -> Option<String> {
        if let Self::NoProposal { difference, .. } | Self::RekeyRefused { difference, .. } = self {
            difference.clone()
        } else {
            None
        }
    }

    /// What we have, and what the peer has.
    fn both(&self) -> (Option<String>, Option<String>) {
        match self {
            Self::NoProposal { ours, theirs, .. } | Self::RekeyRefused { ours, theirs, .. } => {
                (Some(ours.clone()), theirs.clone())
            }
            Self::SelectorMismatch { ours, theirs, .. } => {
                (Some(networks(ours)), theirs.as_ref().map(networks))
            }
            Self::IdentityMismatch { expected, got } => {
                (Some(List(expected).to_string()), Some(got.to_string()))
            }
            Self::WrongResponder { ours, wanted } => (Some(List(ours).to_string()), Some(wanted.to_string())),
            Self::AuthenticationFailed {
                refused_by: Side::Us,
                identity,
            }
            | Self::Certificate { identity, .. }
            | Self::UnknownKey { identity }
            | Self::BadSignature { identity, .. } => (None, Some(identity.to_string())),
            Self::AuthenticationFailed {
                refused_by: Side::Peer,
                identity,
            }
            | Self::CredentialRefused { identity } => (Some(identity.to_string()), None),
            Self::InvalidKeyExchange { wanted, ours } => (Some(ours.clone()), Some(group(*wanted))),
            Self::OtherVersion { major } => (Some("IKEv2".into()), Some(format!("IKEv{major}"))),
            Self::UnsupportedAuthMethod { method, wanted } => {
                (Some((*wanted).to_owned()), Some(method_name(*method)))
            }
            Self::UnknownPpk { id } => (None, Some(id.clone())),
            Self::NoCommonSignature { ours } => (Some(ours.clone()), None),
            Self::NoResponse { .. }
            | Self::BadPublicValue
            | Self::PuzzleTooHard { .. }
            | Self::CookieLoop
            | Self::UnsupportedIdentity { .. }
            | Self::NoPolicy
            | Self::InvalidSyntax { .. }
            | Self::UnsupportedCritical { .. }
            | Self::PeerNotify { .. }
            | Self::NoPpk
            | Self::NotChildless
            | Self::AggfragDemand { .. }
            | Self::ChildInAuth
            | Self::Revocation { .. }
            | Self::TooOften
            | Self::Deleted
            | Self::Abandoned
            | Self::NotReachable
            | Self::ForbiddenNat
            | Self::Crashed
            | Self::Redirected { .. }
            | Self::NoChild
            | Self::Expired
            | Self::NoAddress
            | Self::Internal { .. } => (None, None),
        }
    }

    /// The settings that may have to change: here, and at the peer.
    fn settings(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Redirected { .. } => {
                Some(("`follow_redirect`", "where it redirects to (xvpn `redirect_to`)"))
            }
            Self::NoProposal { of, .. } | Self::RekeyRefused { of, .. } => Some(match of {
                Negotiated::Ike => ("`ike_proposals`", IKE_THERE),
                Negotiated::Child => ("`esp_proposals`", ESP_THERE),
            }),
            Self::InvalidKeyExchange { .. } => Some(("the group in `ike_proposals`", IKE_THERE)),
            Self::AuthenticationFailed { refused_by, .. } => Some(match refused_by {
                Side::Us => ("`psk`", "the pre-shared key for us"),
                Side::Peer => (
                    "`psk`, `local.id`, `remote.id`",
                    "the pre-shared key for us, and the names of both sides",
                ),
            }),
            Self::IdentityMismatch { .. } | Self::UnsupportedIdentity { .. } => Some((
                "`remote.id`",
                "its own identity (xvpn `local.id`, strongSwan `local { id }`, libreswan `leftid`)",
            )),
            Self::WrongResponder { .. } => Some((
                "`local.id`",
                "the identity it expects of us (xvpn `remote.id`, strongSwan `remote { id }`, libreswan `rightid`)",
            )),
            Self::UnsupportedAuthMethod { .. } => Some((
                "`psk`, `remote.ca` or `remote.public_key`",
                "how it proves itself (strongSwan `local { auth }`, libreswan `authby`)",
            )),
            Self::Certificate { .. } | Self::BadSignature { .. } | Self::Revocation { .. } => Some((
                "`remote.ca`, `remote.id`",
                "its certificate and the key to it (xvpn `local.certificate`, `local.key`, strongSwan `local { certs }`)",
            )),
            Self::UnknownKey { .. } => Some((
                "`remote.public_key`",
                "its key (xvpn `local.key`, strongSwan `local { pubkeys }`)",
            )),
            Self::NoCommonSignature { .. } => Some(("`local.key`", "which signatures it accepts")),
            Self::CredentialRefused { .. } => Some((
                "`local.certificate`, `local.key`, `local.id`",
                "the authority or the key that it accepts of us (xvpn `remote.ca`, `remote.public_key`, strongSwan `remote { cacerts }`)",
            )),
            Self::SelectorMismatch { .. } => Some((
                "`local.networks`, `remote.networks`",
                "the same networks the other way round (strongSwan `remote_ts`, `local_ts`, libreswan `rightsubnet`, `leftsubnet`)",
            )),
            Self::NoPolicy => Some((
                "a tunnel with its `remote.address` and `remote.id`; `xvpn up`, if there is one that is down",
                "the address it connects to, if it means somebody else",
            )),
            Self::NoResponse { .. } | Self::Abandoned => Some((
                "`remote.address`",
                "whether its service runs, and its address for us",
            )),
            Self::OtherVersion { .. } => Some((
                "nothing: IKEv2 is all that is spoken here",
                "its version of IKE (strongSwan `version = 2`, libreswan and Openswan `ikev2=insist`)",
            )),
            Self::NoAddress => Some(("`remote.address`, `local.address`", "nothing")),
            Self::NotReachable => Some(("`mobike`", "the NATs before it")),
            Self::ForbiddenNat => Some(("the NAT on the path, or `mobike`", "that it forbids NATs")),
            Self::NoPpk | Self::UnknownPpk { .. } => Some((
                "`ppk`, `ppk_id`, `ppk_required`",
                "its post-quantum pre-shared key (xvpn `ppk`, strongSwan `ppk_id`, `ppk_required`, `secrets { ppk }`)",
            )),
            Self::NotChildless | Self::ChildInAuth => Some((
                "`childless`",
                "whether it begins without a CHILD SA (xvpn and strongSwan `childless`)",
            )),
            Self::AggfragDemand { .. } => Some((
                "`iptfs`",
                "that it does without congestion control for AGGFRAG payloads (IP-TFS)",
            )),
            Self::TooOften => Some((
                "nothing: the limits are the peer's",
                "its lifetimes, and its limits by octets and packets (strongSwan `rekey_time`, `rekey_bytes`, `rekey_packets`)",
            )),
            Self::Expired => Some(("`child_lifetime`, `ike_lifetime`", "that it lets SAs be replaced")),
            Self::BadPublicValue
            | Self::PuzzleTooHard { .. }
            | Self::CookieLoop
            | Self::InvalidSyntax { .. }
            | Self::UnsupportedCritical { .. }
            | Self::PeerNotify { .. }
            | Self::Deleted
            | Self::Crashed
            | Self::NoChild
            | Self::Internal { .. } => None,
        }
    }
}

fn networks((local, remote): &(Vec<TrafficSelector>, Vec<TrafficSelector>)) -> String {
    format!("{} to {}", List(local), List(remote))
}

const IKE_THERE: &str = "its IKE proposals (xvpn `ike_proposals`, strongSwan `proposals`, libreswan `ike`, AWS \"Phase 1\", Azure \"IKE Phase 1\")";
const ESP_THERE: &str = "its ESP proposals (xvpn `esp_proposals`, strongSwan `esp_proposals`, libreswan `esp`, AWS \"Phase 2\", Azure \"IKE Phase 2 (IPsec)\")";
