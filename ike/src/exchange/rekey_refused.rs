//! What a refusal to replace an SA means (RFC 7296 1.3.2, 1.3.3, 2.7).

use super::init::joined;
use crate::config::{ChildPolicy, ConnectionConfig};
use crate::error::{Cause, Negotiated, Side};
use crate::negotiate::select::Mismatch;
use crate::negotiate::transform::KeyExchangeMethod;
use crate::wire::payload::{Notify, NotifyType};

/// The peer refused to replace a CHILD SA.
pub(super) fn child_by_peer(policy: &ChildPolicy<'_>, notify: &Notify) -> Cause {
    let ours = joined(policy.esp_proposals);
    by_peer(Negotiated::Child, notify, ours, names_group(policy))
}

/// The peer refused to replace the IKE SA.
pub(super) fn ike_by_peer(config: &ConnectionConfig, notify: &Notify) -> Cause {
    by_peer(Negotiated::Ike, notify, joined(&config.ike_proposals), true)
}

/// We refused to let the peer replace a CHILD SA.
pub(super) fn child_by_us(policy: &ChildPolicy<'_>, notify: NotifyType, cause: Cause) -> Cause {
    if let Cause::NoProposal {
        of,
        refused_by,
        ours,
        theirs,
        difference,
    } = cause
    {
        return Cause::RekeyRefused {
            of,
            refused_by,
            notify,
            ours,
            theirs,
            difference,
            group: names_group(policy),
        };
    }
    cause
}

/// We refused to let the peer replace the IKE SA.
pub(super) fn ike_by_us(mismatch: Mismatch) -> Cause {
    Cause::RekeyRefused {
        of: Negotiated::Ike,
        refused_by: Side::Us,
        notify: NotifyType::NO_PROPOSAL_CHOSEN,
        ours: mismatch.ours,
        theirs: Some(mismatch.offered),
        difference: Some(mismatch.difference.to_string()),
        group: true,
    }
}

fn by_peer(of: Negotiated, notify: &Notify, ours: String, group: bool) -> Cause {
    // RFC 7296 1.3: INVALID_KE_PAYLOAD says what the peer would take.
    let theirs = match notify.kind {
        NotifyType::INVALID_KE_PAYLOAD => <[u8; 2]>::try_from(notify.data.as_slice()).ok().map(|id| {
            let id = u16::from_be_bytes(id);
            let known = KeyExchangeMethod::from_wire(id);
            known.map_or_else(|| format!("group {id}"), |method| method.name().to_owned())
        }),
        NotifyType(_) => None,
    };
    Cause::RekeyRefused {
        of,
        refused_by: Side::Peer,
        notify: notify.kind,
        ours,
        theirs,
        difference: None,
        group,
    }
}

/// Some proposal of ours is for perfect forward secrecy.
fn names_group(policy: &ChildPolicy<'_>) -> bool {
    let mut proposals = policy.esp_proposals.iter();
    proposals.any(|proposal| !proposal.key_exchange.is_empty())
}
