//! The extensions of IKEv2: what IKE_SA_INIT announces, and what both sides speak in consequence.
//!
//! The responder announces only what the initiator did: it says nothing to strangers, and its answer does not outgrow
//! the request.

use crate::message::{InitAccepted, InitNotifies, InitRequest};
use crate::negotiate::transform::TransformType;
use crate::sa::features::Features;
use crate::wire::payload::VendorId;

/// Octets that only an xvpn sends (RFC 7296 3.12).
pub(crate) const VENDOR_ID: &[u8] = b"xvpn-ikev2-1";

/// Adds what the initiator speaks to its request.
pub(crate) fn announce(request: &mut InitRequest) {
    request.vendor_ids.push(VendorId(VENDOR_ID.to_vec()));
    // RFC 9370 2.2.1: who offers additional key exchanges can do IKE_INTERMEDIATE.
    let mut transforms = request
        .sa
        .proposals
        .iter()
        .flat_map(|proposal| &proposal.transforms);
    request.notifies.intermediate_supported =
        transforms.any(|transform| match TransformType::from_wire(transform.kind.0) {
            Some(TransformType::AdditionalKeyExchange(_)) => true,
            Some(
                TransformType::Encryption
                | TransformType::Prf
                | TransformType::Integrity
                | TransformType::KeyExchange
                | TransformType::ExtendedSequenceNumbers,
            )
            | None => false,
        });
}

/// What both sides speak, for the responder, which adds it to its answer.
pub(crate) fn answer(request: &InitRequest, accepted: &mut InitAccepted) -> Features {
    let features = common(&request.notifies, &request.vendor_ids);
    accepted.notifies.intermediate_supported = features.intermediate;
    if features.xvpn {
        accepted.vendor_ids.push(VendorId(VENDOR_ID.to_vec()));
    }
    features
}

/// What both sides speak, for the initiator, which announced everything it speaks.
pub(crate) fn accepted(accepted: &InitAccepted) -> Features {
    common(&accepted.notifies, &accepted.vendor_ids)
}

fn common(notifies: &InitNotifies, vendor_ids: &[VendorId]) -> Features {
    Features {
        xvpn: vendor_ids.iter().any(|id| id.0 == VENDOR_ID),
        intermediate: notifies.intermediate_supported,
    }
}
