//! The extensions of IKEv2: what IKE_SA_INIT announces, and what both sides speak in consequence.
//!
//! The responder announces only what the initiator did: it says nothing to strangers, and its answer does not outgrow
//! the request.

use std::sync::Arc;

use super::{ppk, proof, redirect};
use crate::api::Role;
use crate::auth::signature::HASHES;
use crate::config::ConnectionConfig;
use crate::message::{InitAccepted, InitNotifies, InitRequest, ResumeAccepted, ResumeRequest};
use crate::negotiate::transform::TransformType;
use crate::sa::features::Features;
use crate::wire::payload::{Notify, NotifyType, ProtocolId, VendorId};

/// Octets that only an xvpn sends (RFC 7296 3.12).
pub(crate) const VENDOR_ID: &[u8] = b"xvpn-ikev2-1";

/// Adds what the initiator speaks to its request.
pub(crate) fn announce(request: &mut InitRequest, config: &ConnectionConfig) {
    request.notifies.fragmentation_supported = true;
    if signs(config) {
        request.notifies.signature_hash_algorithms = HASHES.to_vec();
    }
    request.notifies.other.extend(ppk::announcement(config));
    // RFC 6023 asks for it of the responder only, whose answer has the room for it then.
    request
        .notifies
        .other
        .extend(config.childless.wants().then(childless));
    request.vendor_ids.push(VendorId(VENDOR_ID.to_vec()));
    if config.follow_redirect {
        let supported = Notify::new(NotifyType::REDIRECT_SUPPORTED);
        request.notifies.other.push(supported);
    }
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

/// Adds what the initiator speaks to its request to go on from a lost IKE SA (RFC 5723 5: "from new exchange"). What is about
/// key exchanges and credentials has no place there; additional key exchanges may come when the IKE SA is replaced.
pub(crate) fn announce_resumption(request: &mut ResumeRequest, config: &ConnectionConfig) {
    let notifies = &mut request.notifies;
    notifies.fragmentation_supported = true;
    notifies.intermediate_supported = config
        .ike_proposals
        .iter()
        .any(|proposal| !proposal.additional.is_empty());
    notifies.other.extend(config.childless.wants().then(childless));
    if config.follow_redirect {
        notifies.other.push(Notify::new(NotifyType::REDIRECT_SUPPORTED));
    }
    request.vendor_ids.push(VendorId(VENDOR_ID.to_vec()));
}

/// The same for the responder.
pub(crate) fn answer_resumption(
    request: &ResumeRequest,
    accepted: &mut ResumeAccepted,
    config: &ConnectionConfig,
) -> Features {
    let mut features = without_credentials(common(&request.notifies, &request.vendor_ids));
    features.childless = config.childless.accepts();
    if features.childless {
        accepted.notifies.other.push(childless());
    }
    features.redirect = redirect::is_supported(&request.notifies).then_some(Role::Responder);
    accepted.notifies.fragmentation_supported = features.fragmentation;
    accepted.notifies.intermediate_supported = features.intermediate;
    if features.xvpn {
        accepted.vendor_ids.push(VendorId(VENDOR_ID.to_vec()));
    }
    features
}

/// The same for the initiator.
pub(crate) fn accepted_resumption(accepted: &ResumeAccepted, config: &ConnectionConfig) -> Features {
    Features {
        redirect: config.follow_redirect.then_some(Role::Initiator),
        ..without_credentials(common(&accepted.notifies, &accepted.vendor_ids))
    }
}

/// RFC 5723 4.3.3: nobody signs, and a post-quantum pre-shared key is in the keys already or never will be.
fn without_credentials(features: Features) -> Features {
    Features {
        signature_hashes: Vec::new(),
        auth_methods: None,
        ppk: false,
        ..features
    }
}

/// What both sides speak, for the responder, which adds it to its answer.
pub(crate) fn answer(
    request: &InitRequest,
    accepted: &mut InitAccepted,
    candidates: &[Arc<ConnectionConfig>],
) -> Features {
    let mut features = common(&request.notifies, &request.vendor_ids);
    features.ppk &= candidates.iter().any(|config| config.ppk.is_some());
    if features.ppk {
        accepted.notifies.other.push(Notify::new(NotifyType::USE_PPK));
    }
    features.childless = candidates.iter().any(|config| config.childless.accepts());
    if features.childless {
        accepted.notifies.other.push(childless());
    }
    features.redirect = redirect::is_supported(&request.notifies).then_some(Role::Responder);
    accepted.notifies.fragmentation_supported = features.fragmentation;
    accepted.notifies.intermediate_supported = features.intermediate;
    if !features.signature_hashes.is_empty() && candidates.iter().any(|config| signs(config)) {
        accepted.notifies.signature_hash_algorithms = HASHES.to_vec();
    }
    if features.xvpn {
        accepted.vendor_ids.push(VendorId(VENDOR_ID.to_vec()));
    }
    features
}

/// What both sides speak, for the initiator, which announced everything it speaks.
pub(crate) fn accepted(accepted: &InitAccepted, config: &ConnectionConfig) -> Features {
    Features {
        // RFC 5685 3: the responder does not announce it.
        redirect: config.follow_redirect.then_some(Role::Initiator),
        wants_ocsp: proof::wants_ocsp(&accepted.certificate_requests),
        ..common(&accepted.notifies, &accepted.vendor_ids)
    }
}

fn common(notifies: &InitNotifies, vendor_ids: &[VendorId]) -> Features {
    Features {
        nat_traversal: !notifies.nat_detection_source.is_empty()
            && !notifies.nat_detection_destination.is_empty(),
        mobike: false,
        xvpn: vendor_ids.iter().any(|id| id.0 == VENDOR_ID),
        fragmentation: notifies.fragmentation_supported,
        intermediate: notifies.intermediate_supported,
        signature_hashes: understood(&notifies.signature_hash_algorithms),
        ppk: ppk::announced(&notifies.other),
        childless: is_childless(notifies),
        auth_methods: proof::announced(&notifies.other),
        wants_ocsp: false,
        redirect: None,
    }
}

/// The responder makes IKE SAs without a CHILD SA.
pub(crate) fn is_childless(notifies: &InitNotifies) -> bool {
    notifies
        .other
        .iter()
        .any(|notify| notify.kind == NotifyType::CHILDLESS_IKEV2_SUPPORTED)
}

/// RFC 6023 4: the responder says it unasked, for the initiator has no word for it; of the protocol IKE.
fn childless() -> Notify {
    Notify {
        protocol: ProtocolId::IKE,
        ..Notify::new(NotifyType::CHILDLESS_IKEV2_SUPPORTED)
    }
}

/// RFC 7427 4: the hashes that the peer verifies, as far as we can make them; a list of others is worth no place.
fn understood(hashes: &[u16]) -> Vec<u16> {
    let known = HASHES.into_iter().filter(|hash| hashes.contains(hash));
    known.collect()
}

/// A side of the connection signs: the one who signs wants to know what the other verifies, which it only says to who
/// asks.
fn signs(config: &ConnectionConfig) -> bool {
    config.local_auth.signs() || config.remote_auth.signs()
}
