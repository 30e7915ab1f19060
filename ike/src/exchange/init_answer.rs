//! IKE_SA_INIT, the responder's part (RFC 7296 1.2, 2.6, 2.7). The initiator's part and the picture: `init`.
//!
//! Nothing is kept for who is refused: such an answer has a responder's SPI of zero.

use std::sync::Arc;

use super::init::{NONCE_LEN, internal, joined};
use super::traversal::{detected, encapsulation, nat_detection};
use super::{Cx, extensions, proof};
use crate::api::{Path, Role};
use crate::config::ConnectionConfig;
use crate::crypto::kex;
use crate::error::{Cause, Exchange, Failure, Negotiated, Side};
use crate::message::{InitAccepted, InitNotifies, InitRequest, InitResponse, build_plain};
use crate::negotiate::proposal::{IkeSuite, suitable};
use crate::negotiate::select::{ChosenIke, select_ike};
use crate::negotiate::transform::Prf;
use crate::negotiate::{describe, offer};
use crate::sa::ike_sa::{IkeSa, InitAgreement, Nonces};
use crate::sa::spis::{FirstMessage, Owner};
use crate::wire::payload::{CertificateEncoding, KeyExchange, Nonce, NotifyType};
use crate::wire::{Flags, Header};

/// The responder's answer, good or bad.
pub(crate) enum Answered {
    /// Go on.
    Accepted(Box<Half>),
    /// Refused, without keeping anything.
    Refused(InitResponse, Box<Failure>),
}

/// The responder, after the key exchange.
pub(crate) struct Half {
    /// The IKE SA; nobody is authenticated yet.
    pub(crate) ike: IkeSa,
    /// RealMessage2 (RFC 7296 2.15).
    pub(crate) response: Vec<u8>,
}

/// The responder's part. `candidates` are the connections that fit the addresses, most specific first, never none:
/// the first that has a proposal in common decides on the suite. `received` is the length of the request.
pub(crate) fn answer(
    cx: &mut Cx<'_>,
    header: &Header,
    request: &InitRequest,
    path: Path,
    candidates: &[Arc<ConnectionConfig>],
    (first, received): (FirstMessage, usize),
) -> Answered {
    let chosen = candidates.iter().find_map(|config| {
        let suitable = suitable(&config.ike_proposals, request.notifies.intermediate_supported);
        let chosen = select_ike(&suitable, &request.sa).ok()?;
        Some((config, chosen))
    });
    let Some((config, chosen)) = chosen else {
        return Answered::Refused(
            InitResponse::NoProposalChosen,
            Box::new(no_proposal(candidates, request)),
        );
    };
    let method = chosen.suite.key_exchange;
    if request.ke.method != method.id() {
        // RFC 7296 1.2: not a failure, the initiator guessed another group and is told ours.
        let cause = Cause::InvalidKeyExchange {
            wanted: method.id(),
            ours: chosen.suite.to_string(),
        };
        return Answered::Refused(
            InitResponse::InvalidKe(method.id()),
            Box::new(Failure::new(Exchange::IkeSaInit, cause)),
        );
    }
    match exchange_keys(cx, header, request, path, (config, candidates), &chosen, received) {
        Ok(mut half) => {
            half.ike.first = Some(first);
            cx.spis.remember(first, half.ike.spi_r);
            Answered::Accepted(Box::new(half))
        }
        Err(failure) => {
            let refusal = failure.cause.notify().unwrap_or(NotifyType::INVALID_SYNTAX);
            Answered::Refused(InitResponse::OtherError(refusal), Box::new(failure))
        }
    }
}

fn exchange_keys(
    cx: &mut Cx<'_>,
    header: &Header,
    request: &InitRequest,
    path: Path,
    (config, candidates): (&ConnectionConfig, &[Arc<ConnectionConfig>]),
    chosen: &ChosenIke,
    received: usize,
) -> Result<Half, Failure> {
    let answer = kex::respond(chosen.suite.key_exchange, &request.ke.data, cx.random)
        .map_err(|_| Failure::new(Exchange::IkeSaInit, Cause::BadPublicValue))?;
    let certificate_requests =
        proof::certificate_requests(candidates.iter().map(AsRef::as_ref), MOST_AUTHORITIES);
    let crowded = !certificate_requests.is_empty();
    let nonce = cx.random_octets(nonce_len(chosen.suite.prf, &request.nonce, crowded));
    let traversal = detected((header.initiator_spi.0, 0), path, &request.notifies);
    let spi_r = cx.spis.allocate_ike(Owner::HalfOpen, cx.random);
    let spis = (header.initiator_spi.0, spi_r.0);
    let notifies = match traversal {
        Some(_) => nat_detection(spis, path, config.encapsulation),
        None => InitNotifies::default(),
    };
    let mut accepted = InitAccepted {
        sa: offer::ike_answer(chosen, None),
        ke: KeyExchange {
            method: chosen.suite.key_exchange.id(),
            data: answer.public,
        },
        nonce: Nonce(nonce.clone()),
        notifies,
        vendor_ids: Vec::new(),
        certificate_requests,
    };
    let features = extensions::answer(request, &mut accepted, candidates);
    let remotes = || candidates.iter().map(|config| &config.remote_auth);
    accepted.notifies.other.extend(proof::announcement(remotes()));
    let agreed = InitAgreement {
        role: Role::Responder,
        spi_i: header.initiator_spi,
        spi_r,
        path,
        suite: chosen.suite,
        nonces: Nonces {
            initiator: request.nonce.0.clone(),
            responder: nonce,
        },
        nat: traversal.unwrap_or_default(),
        encapsulation: encapsulation(path, traversal, config.encapsulation),
        features,
    };
    let Some(ike) = IkeSa::new(agreed, &answer.shared, config) else {
        cx.spis.release_ike(spi_r, None);
        return Err(internal("keys do not fit the algorithms"));
    };
    cx.new_keys(&ike);
    let header = Header {
        responder_spi: spi_r,
        ..response_header(header)
    };
    let response = fitting(&header, accepted, received);
    Ok(Half { ike, response })
}

/// The response, without the hints that would make it larger than the request: nobody has a victim sent more octets
/// than it wrote.
fn fitting(header: &Header, mut accepted: InitAccepted, received: usize) -> Vec<u8> {
    let build = |accepted: &InitAccepted| {
        build_plain(header, &InitResponse::Accepted(Box::new(accepted.clone())).emit())
    };
    let mut response = build(&accepted);
    let hints: [fn(&mut InitAccepted); 5] = [
        |accepted| {
            accepted
                .notifies
                .other
                .retain(|notify| notify.kind != NotifyType::SUPPORTED_AUTH_METHODS);
        },
        |accepted| {
            accepted
                .notifies
                .other
                .retain(|notify| notify.kind != NotifyType::CHILDLESS_IKEV2_SUPPORTED);
        },
        // RFC 7296 3.7: without authorities it asks for a certificate of any.
        |accepted| {
            accepted
                .certificate_requests
                .iter_mut()
                .for_each(|request| request.authorities.clear());
        },
        |accepted| {
            accepted
                .certificate_requests
                .retain(|request| request.encoding != CertificateEncoding::OCSP_CONTENT);
        },
        // Many peers show no certificate then.
        |accepted| accepted.certificate_requests.clear(),
    ];
    for drop in hints {
        if response.len() <= received {
            break;
        }
        drop(&mut accepted);
        response = build(&accepted);
    }
    response
}

/// As long as the initiator's, so that nobody has a victim sent more octets than it wrote, within RFC 7296 2.10: at least 16,
/// and half the key size of the PRF; not longer than that if it is `crowded` beside it, for a peer that is not asked for
/// its certificate may keep it.
pub(super) fn nonce_len(prf: Prf, initiator: &Nonce, crowded: bool) -> usize {
    let least = (prf.output_len() / 2).clamp(Nonce::MIN, NONCE_LEN);
    if crowded {
        return least;
    }
    initiator.0.len().clamp(least, NONCE_LEN)
}

/// A response that keeps nothing: the responder's SPI stays zero (RFC 7296 2.6).
pub(crate) fn stateless(request: &Header, response: &InitResponse) -> Vec<u8> {
    build_plain(&response_header(request), &response.emit())
}

/// The header of a response that keeps nothing.
pub(crate) fn response_header(request: &Header) -> Header {
    Header {
        flags: Flags {
            initiator: false,
            version: false,
            response: true,
        },
        ..*request
    }
}

/// Whether a connection would accept this suite: the one that was chosen for another candidate may not suit it.
pub(crate) fn admits(config: &ConnectionConfig, suite: &IkeSuite) -> bool {
    config.ike_proposals.iter().any(|proposal| {
        proposal.encryption.contains(&suite.encryption)
            && suite
                .integrity
                .is_none_or(|integrity| proposal.integrity.contains(&integrity))
            && proposal.prf.contains(&suite.prf)
            && proposal.key_exchange.contains(&suite.key_exchange)
            && proposal.additional.admits(&suite.additional)
    })
}

/// Authorities named in CERTREQ at most.
const MOST_AUTHORITIES: usize = 16;

fn no_proposal(candidates: &[Arc<ConnectionConfig>], request: &InitRequest) -> Failure {
    let ours = candidates.first().map(|config| config.ike_proposals.as_slice());
    let difference = match select_ike(ours.unwrap_or_default(), &request.sa) {
        Err(mismatch) => mismatch.difference.to_string(),
        // RFC 9370 2.2.1: it must, or it cannot mean it.
        Ok(_) => "they offer additional key exchanges and do not announce IKE_INTERMEDIATE".to_owned(),
    };
    let cause = Cause::NoProposal {
        of: Negotiated::Ike,
        refused_by: Side::Us,
        ours: joined(ours.unwrap_or_default()),
        theirs: Some(describe::proposals(&request.sa.proposals)),
        difference: Some(difference),
    };
    Failure::new(Exchange::IkeSaInit, cause)
}
