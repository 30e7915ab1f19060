//! The operator's words for what `ike` says.

use xvpn_ike::api::{ChildFacts, CloseReason, Encapsulation, GatewayIdentity, IkeFacts, Path, Role, Step};
use xvpn_ike::auth::verified::Means;
use xvpn_ike::auth::x509::revocation::RevocationError;
use xvpn_ike::error::{Blame, Cause, Failure, Side};
use xvpn_ike::negotiate::selector::list;

use crate::admin::api::{Actor, FailureDetails, FailureReport, RefusedBy, TunnelState};
use crate::config::Iptfs;
use crate::config::defaults::ROOM_FOR_IPV6;

/// What is awaited now.
pub fn step(step: Step, path: &Path) -> String {
    let peer = path.remote;
    match step {
        Step::InitResponse => format!("asked {peer} for an IKE SA (IKE_SA_INIT)"),
        Step::ResumeResponse => format!("asked {peer} to resume the session (IKE_SESSION_RESUME)"),
        Step::TicketRefused => format!("{peer} does not resume the session; beginning anew"),
        Step::IntermediateResponse => {
            format!("agreed on first keys with {peer}, adding another key exchange (IKE_INTERMEDIATE)")
        }
        Step::AuthResponse => format!("agreed on keys with {peer}, proving identities (IKE_AUTH)"),
        Step::AuthRequest => {
            format!("{peer} asked for an IKE SA; waiting for it to prove its identity (IKE_AUTH)")
        }
        Step::PreviousKey => format!("{peer} refused our `psk`; trying `previous_psk`"),
        Step::DeleteResponse => format!("told {peer} that the SAs are deleted"),
        Step::Retransmission { sent } => {
            format!("no answer from {peer} yet, sent the request again ({sent} times so far)")
        }
    }
}

/// The peer is authenticated.
pub fn ike_established(ike: &IkeFacts) -> String {
    let nat = match (ike.nat_local, ike.nat_remote) {
        (false, false) => "",
        (true, false) => ", NAT before us",
        // A peer that forces UDP encapsulation pretends a NAT (RFC 7296 2.23), and so do we.
        (false, true) => ", NAT before the peer or UDP forced by it",
        (true, true) => ", NAT or forced UDP on both sides",
    };
    let old = [ike.local_auth, ike.remote_auth].contains(&Some(Means::PreviousPsk));
    let rotation = if old {
        "; it still uses `previous_psk`: give it the new key"
    } else {
        ""
    };
    let how = if ike.remote_auth == Some(Means::Ticket) {
        "resumed: "
    } else {
        ""
    };
    format!(
        "{how}the peer at {} proved to be {} ({}{nat}){rotation}",
        ike.path.remote, ike.remote_identity, ike.suite
    )
}

/// It carries traffic. `refused`: the peer does not want AGGFRAG payloads, and we did.
pub fn child_established(child: &ChildFacts, refused: bool) -> String {
    let way = match child.encapsulation {
        Encapsulation::Udp => "in UDP",
        Encapsulation::None => "without UDP",
        Encapsulation::Tcp => "over TCP",
    };
    let aggfrag = match child.aggfrag {
        Some(_) => ", in AGGFRAG payloads",
        None if refused => ", packets alone: the peer refuses `iptfs`",
        None => "",
    };
    format!(
        "established: {} <-> {} ({}, ESP {way}{aggfrag})",
        list(&child.local),
        list(&child.remote),
        child.suite
    )
}

/// The warning if IPv6 packets may not fit where the peer wants all of them whole. `ours`: what we put into payloads.
pub fn too_short_for_ipv6(child: &ChildFacts, ours: Option<Iptfs>, path_mtu: u16) -> Option<String> {
    let whole = child.aggfrag.is_some_and(|theirs| !theirs.reassembles);
    let ipv6 = child.remote.iter().any(|selector| selector.start.is_ipv6());
    let size = ours.filter(|_| whole && ipv6)?.may_drop_ipv6(path_mtu)?;
    Some(format!(
        "the peer takes whole packets only (`iptfs_fragments = false`), and outer packets of {size} octets may be too short for IPv6 packets of \
         up to 1280: those that do not fit are dropped (`too_big`); let outer packets have {ROOM_FOR_IPV6} octets (`iptfs_size`, `path_mtu`), \
         let the peer put packets together, or write iptfs = \"aggregate\""
    ))
}

/// Its outer addresses have changed.
pub fn moved(ike: &IkeFacts, encapsulation: Encapsulation) -> String {
    let way = match encapsulation {
        Encapsulation::Udp => "in UDP",
        Encapsulation::None => "without UDP",
        Encapsulation::Tcp => "over TCP",
    };
    let (local, remote) = (ike.path.local.ip(), ike.path.remote);
    format!("moved: now from {local} to the peer at {remote}, ESP {way}")
}

/// One side sends the other to another gateway.
pub fn redirected(path: &Path, to: &GatewayIdentity, by: Side) -> String {
    let peer = path.remote;
    match by {
        Side::Peer => format!("{peer} sends us to the gateway {to}"),
        Side::Us => format!("sent the peer at {peer} to the gateway {to}"),
    }
}

/// The IKE SA is gone.
pub fn closed(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Operator => "closed",
        CloseReason::Peer => "the peer closed it",
        CloseReason::Idle => "closed, for there was no traffic; the next packet brings it back",
        CloseReason::Unreachable => "lost: the peer does not answer any more",
        CloseReason::Replaced => "the peer began anew; the old SAs are gone",
        CloseReason::Error => "closed after an error",
    }
}

/// What the operator's wish leads to.
pub fn wish(state: TunnelState) -> &'static str {
    match state {
        TunnelState::Down => "down",
        TunnelState::Listening => "waiting for the peer to begin",
        TunnelState::Connecting => "connecting",
        TunnelState::Established => "established",
        TunnelState::Failed => "failed",
        TunnelState::Closing => "closing",
    }
}

/// Our side of an IKE SA.
pub fn role(role: Role) -> &'static str {
    match role {
        Role::Initiator => "initiator",
        Role::Responder => "responder",
    }
}

/// What went wrong in a negotiation.
pub fn failure(failure: &Failure, path: &Path, at_ms: u64) -> FailureReport {
    FailureReport {
        step: failure.exchange.to_string(),
        actor: actor(failure),
        message: format!("{} (peer at {})", failure.cause, path.remote),
        remedy: failure.remedy(),
        permanent: permanent(&failure.cause),
        at_ms,
        retry_in_ms: None,
        details: details(failure),
    }
}

/// What went wrong with one CHILD SA of a tunnel that stands.
pub fn child_failure(failure: &Failure, at_ms: u64) -> FailureReport {
    FailureReport {
        step: failure.exchange.to_string(),
        actor: actor(failure),
        message: failure.cause.to_string(),
        remedy: failure.remedy(),
        permanent: permanent(&failure.cause),
        at_ms,
        retry_in_ms: None,
        details: details(failure),
    }
}

/// What kept a negotiation from beginning.
pub fn not_begun(message: String, remedy: String, at_ms: u64) -> FailureReport {
    let step = "start".to_owned();
    FailureReport {
        step,
        actor: Actor::Here,
        message,
        remedy,
        permanent: false,
        at_ms,
        retry_in_ms: None,
        details: FailureDetails::default(),
    }
}

fn details(failure: &Failure) -> FailureDetails {
    let explained = failure.explain();
    FailureDetails {
        refused_by: explained.refused_by.map(|side| match side {
            Side::Us => RefusedBy::Us,
            Side::Peer => RefusedBy::Peer,
        }),
        ours: explained.ours,
        theirs: explained.theirs,
        difference: explained.difference,
        here: explained.here.map(str::to_owned),
        there: explained.there.map(str::to_owned),
    }
}

fn actor(failure: &Failure) -> Actor {
    match failure.cause {
        Cause::NoResponse { .. } => return Actor::Network,
        Cause::NoAddress | Cause::NoPolicy => return Actor::Here,
        // It began: whoever looks after it must change it.
        Cause::OtherVersion { .. } => return Actor::Peer,
        Cause::NoProposal { .. }
        | Cause::InvalidKeyExchange { .. }
        | Cause::RekeyRefused { .. }
        | Cause::BadPublicValue
        | Cause::CookieLoop
        | Cause::PuzzleTooHard { .. }
        | Cause::AuthenticationFailed { .. }
        | Cause::IdentityMismatch { .. }
        | Cause::WrongResponder { .. }
        | Cause::UnsupportedIdentity { .. }
        | Cause::Revocation { .. }
        | Cause::UnsupportedAuthMethod { .. }
        | Cause::Certificate { .. }
        | Cause::UnknownKey { .. }
        | Cause::BadSignature { .. }
        | Cause::NoCommonSignature { .. }
        | Cause::CredentialRefused { .. }
        | Cause::NoPpk
        | Cause::UnknownPpk { .. }
        | Cause::NotChildless
        | Cause::AggfragDemand { .. }
        | Cause::ChildInAuth
        | Cause::SelectorMismatch { .. }
        | Cause::InvalidSyntax { .. }
        | Cause::UnsupportedCritical { .. }
        | Cause::PeerNotify { .. }
        | Cause::Deleted
        | Cause::Abandoned
        | Cause::NotReachable
        | Cause::Crashed
        | Cause::ForbiddenNat
        | Cause::Redirected { .. }
        | Cause::NoChild
        | Cause::Expired
        | Cause::TooOften
        | Cause::Internal { .. } => {}
    }
    match failure.blame {
        Blame::Bytes | Blame::Peer => Actor::Peer,
        Blame::Operator => Actor::Both,
        Blame::Us => Actor::Authors,
    }
}

/// Will the next attempt fail in the same way unless someone changes something?
fn permanent(cause: &Cause) -> bool {
    match cause {
        Cause::NoProposal { .. }
        | Cause::InvalidKeyExchange { .. }
        | Cause::RekeyRefused { .. }
        | Cause::OtherVersion { .. }
        | Cause::AuthenticationFailed { .. }
        | Cause::IdentityMismatch { .. }
        | Cause::WrongResponder { .. }
        | Cause::UnsupportedIdentity { .. }
        | Cause::Revocation {
            error: RevocationError::Revoked { .. },
        }
        | Cause::UnsupportedAuthMethod { .. }
        | Cause::Certificate { .. }
        | Cause::UnknownKey { .. }
        | Cause::BadSignature { .. }
        | Cause::NoCommonSignature { .. }
        | Cause::CredentialRefused { .. }
        | Cause::NoPpk
        | Cause::UnknownPpk { .. }
        | Cause::NotChildless
        | Cause::AggfragDemand { .. }
        | Cause::ChildInAuth
        | Cause::SelectorMismatch { .. }
        | Cause::NoPolicy
        | Cause::ForbiddenNat
        | Cause::UnsupportedCritical { .. }
        | Cause::NoAddress => true,
        Cause::NoResponse { .. }
        | Cause::Revocation {
            error: RevocationError::OutOfDate { .. } | RevocationError::Unknown { .. },
        }
        | Cause::BadPublicValue
        | Cause::CookieLoop
        | Cause::PuzzleTooHard { .. }
        | Cause::InvalidSyntax { .. }
        | Cause::PeerNotify { .. }
        | Cause::Deleted
        | Cause::Abandoned
        | Cause::NotReachable
        | Cause::Crashed
        | Cause::Redirected { .. }
        | Cause::NoChild
        | Cause::Expired
        | Cause::TooOften
        | Cause::Internal { .. } => false,
    }
}
