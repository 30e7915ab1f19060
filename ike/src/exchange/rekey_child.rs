//! A CHILD SA in the place of another (RFC 7296 1.3.3, 2.8, 2.9.2, 2.17).
//!
//! ```text
//! initiator                                                     responder
//!   request: SK {N(REKEY_SA), SA, Ni, [KEi], TSi, TSr}  -->
//!                                                               install inbound
//!                                                       <--     answer: SK {SA, Nr, [KEr], TSi, TSr}
//!   finish: install inbound, install outbound
//!   request: SK {D(old)}                                -->
//!                                                               install outbound: that was the proof
//!                                                       <--     answer: SK {D(old)}
//!   the old one still receives what is on the way               the old one still receives what is on the way
//! ```

use super::Cx;
use super::auth_answer::Narrowed;
use super::collision;
use super::init::{NONCE_LEN, key_pair};
use crate::api::{Role, Spi};
use crate::crypto::kex::KeyPair;
use crate::error::{Cause, Exchange, Failure, Side};
use crate::message::{ChildOffer, CreateChildRequest, CreateChildResponse, NewChild};
use crate::negotiate::offer;
use crate::negotiate::select::{ChildExchange, accept_esp};
use crate::negotiate::selector::{check_answer, from_payload, to_payload};
use crate::negotiate::transform::KeyExchangeMethod;
use crate::sa::child::{ChildAgreement, ChildSa, Origin, Stage};
use crate::sa::keymat::ChildKeys;
use crate::sa::lifetime::Limits;
use crate::state::{Ending, Established, Request};
use crate::wire::payload::{KeyExchange, Nonce, Notify, NotifyType};
use crate::wire::{ExchangeType, Opened, Payloads};

/// Our request, which awaits its answer.
#[derive(Debug)]
pub(crate) struct Sent {
    /// Our SPI of the one to be replaced.
    pub(crate) old: Spi,
    /// Our SPI of the new one.
    pub(crate) spi: Spi,
    /// The lower nonces of those that the peer has made in the place of the same one meanwhile. They are kept here
    /// because the peer may have replaced those again before our answer comes.
    pub(crate) rivals: Vec<Vec<u8>>,
    nonce: Vec<u8>,
    key: Option<KeyPair>,
    offered: Offered,
    detours: u8,
}

#[derive(Debug)]
struct Offered {
    local: Vec<crate::negotiate::selector::TrafficSelector>,
    remote: Vec<crate::negotiate::selector::TrafficSelector>,
}

/// Asks for a new CHILD SA in the place of `old`. `method`: the group the peer asked for.
pub(crate) fn request(
    cx: &mut Cx<'_>,
    established: &mut Established,
    old: Spi,
    method: Option<KeyExchangeMethod>,
    detours: u8,
) -> Result<(), Failure> {
    let Some(child) = established.children.get(&old) else {
        return Ok(());
    };
    let (local, remote) = child.selectors();
    let offered = Offered {
        local: local.to_vec(),
        remote: remote.to_vec(),
    };
    let config = std::sync::Arc::clone(&established.config);
    let first = config
        .esp_proposals
        .iter()
        .flat_map(|proposal| proposal.key_exchange.iter());
    let key = match method.or(first.copied().next()) {
        Some(method) => Some(key_pair(cx, method)?),
        None => None,
    };
    let spi = cx.spis.allocate_esp(cx.random);
    let nonce = cx.random_octets(NONCE_LEN);
    let rivals = Vec::new();
    let message = CreateChildRequest::Child {
        // RFC 7296 1.3.3: the SPI that the sender of the request receives on.
        rekeyed: Some(old.0),
        child: NewChild {
            offer: ChildOffer {
                sa: offer::esp_offer(&config.esp_proposals, spi),
                tsi: to_payload(&offered.local),
                tsr: to_payload(&offered.remote),
                transport_mode: false,
                no_tfc_padding: false,
            },
            nonce: Nonce(nonce.clone()),
            ke: key.as_ref().map(public),
            other: Vec::new(),
        },
    };
    let sent = Sent {
        old,
        spi,
        rivals,
        nonce,
        key,
        offered,
        detours,
    };
    established.ask(
        cx,
        ExchangeType::CREATE_CHILD_SA,
        &message.emit(),
        Request::RekeyChild(Box::new(sent)),
    );
    Ok(())
}

impl Sent {
    /// Judges the answer.
    pub(crate) fn finish(
        self,
        cx: &mut Cx<'_>,
        established: &mut Established,
        opened: &Opened,
    ) -> Option<Ending> {
        let (old, spi, rivals) = (self.old, self.spi, self.rivals.clone());
        let made = match opened
            .chain()
            .and_then(|chain| CreateChildResponse::parse(&chain))
        {
            Ok(CreateChildResponse::Child(answer)) => self.accept(cx, established, &answer),
            Ok(CreateChildResponse::Refused(notify)) => {
                cx.spis.release_esp(spi);
                return self.refused(cx, established, &notify);
            }
            Ok(CreateChildResponse::RekeyIke(_)) => Err(invalid("the answer is for an IKE SA")),
            Err(malformed) => Err(Cause::from_malformed(&malformed)),
        };
        match made {
            Ok(child) => {
                established.refusals = None;
                collision::made_by_us(cx, established, old, child, &rivals);
                None
            }
            // The peer has an SA now that we cannot use: the two do not understand each other.
            Err(cause) => {
                cx.spis.release_esp(spi);
                Some(Ending::Expired(failure(cause)))
            }
        }
    }

    fn accept(self, cx: &mut Cx<'_>, established: &Established, answer: &NewChild) -> Result<ChildSa, Cause> {
        let (config, ike) = (&established.config, &established.ike);
        let chosen = accept_esp(
            &config.esp_proposals,
            &answer.offer.sa,
            ChildExchange::CreateChildSa,
        )
        .map_err(|bad| invalid(&bad.to_string()))?;
        let shared = match (chosen.suite.key_exchange, self.key, &answer.ke) {
            (None, _, _) => None,
            (Some(method), Some(key), Some(ke)) if key.method() == method && ke.method == method.id() => {
                Some(key.shared(&ke.data).map_err(|_| Cause::BadPublicValue)?)
            }
            (Some(_), _, _) => return Err(invalid("the answer has no key exchange of the group we offered")),
        };
        let (local, remote) = (from_payload(&answer.offer.tsi), from_payload(&answer.offer.tsr));
        check_answer(&self.offered.local, &local)
            .and_then(|()| check_answer(&self.offered.remote, &remote))
            .map_err(|error| invalid(&error.to_string()))?;
        if uses(established, chosen.spi) {
            return Err(invalid("the answer has an SPI that is in use"));
        }
        let agreement = ChildAgreement {
            inbound_spi: self.spi,
            outbound_spi: chosen.spi,
            suite: chosen.suite,
            local,
            remote,
            encapsulation: ike.encapsulation,
        };
        let nonces = (self.nonce.as_slice(), answer.nonce.0.as_slice());
        child_sa(
            cx,
            established,
            agreement,
            shared.as_ref().map(|s| s.as_slice()),
            nonces,
            (self.old, Role::Initiator),
        )
    }

    fn refused(self, cx: &mut Cx<'_>, established: &mut Established, notify: &Notify) -> Option<Ending> {
        let old = self.old;
        if notify.kind == NotifyType::INVALID_KE_PAYLOAD && self.detours < MOST_DETOURS {
            let config = std::sync::Arc::clone(&established.config);
            let ours = |method: &KeyExchangeMethod| {
                config
                    .esp_proposals
                    .iter()
                    .any(|proposal| proposal.key_exchange.contains(method))
            };
            if let Some(method) = wanted_group(notify).filter(ours) {
                let again = request(cx, established, old, Some(method), self.detours + 1);
                return again.err().map(Ending::Expired);
            }
        }
        if notify.kind == NotifyType::CHILD_SA_NOT_FOUND {
            return collision::not_found(cx, established, old);
        }
        let failure = failure(Cause::PeerNotify { notify: notify.kind });
        match established.refused(cx, notify.kind, failure) {
            Ok(at) => {
                if let Some(child) = established.children.get_mut(&old) {
                    child.worn = Some(at);
                }
                None
            }
            Err(ending) => Some(ending),
        }
    }
}

/// Answers the peer's request to replace the CHILD SA that it receives on by `rekeyed`.
pub(crate) fn answer(
    cx: &mut Cx<'_>,
    established: &mut Established,
    rekeyed: u32,
    wanted: &NewChild,
) -> Payloads {
    let response = match made_for_peer(cx, established, rekeyed, wanted) {
        Ok(accepted) => CreateChildResponse::Child(accepted),
        Err(notify) => CreateChildResponse::Refused(notify),
    };
    response.emit()
}

fn made_for_peer(
    cx: &mut Cx<'_>,
    established: &mut Established,
    rekeyed: u32,
    wanted: &NewChild,
) -> Result<NewChild, Notify> {
    let old = collision::rekeyable(cx, established, rekeyed)?;
    let config = std::sync::Arc::clone(&established.config);
    let refuse = |cause: Cause| Notify::new(cause.notify().unwrap_or(NotifyType::NO_PROPOSAL_CHOSEN));
    let narrowed = Narrowed::agree(&config, &wanted.offer, ChildExchange::CreateChildSa).map_err(refuse)?;
    if uses(established, narrowed.chosen.spi) {
        return Err(Notify::new(NotifyType::INVALID_SYNTAX));
    }
    let suite = narrowed.chosen.suite;
    let (ke, shared) = match (suite.key_exchange, &wanted.ke) {
        (None, _) => (None, None),
        (Some(method), Some(ke)) if ke.method == method.id() => {
            let internal = |_| Notify::new(NotifyType::TEMPORARY_FAILURE);
            let key = key_pair(cx, method).map_err(internal)?;
            let answer = public(&key);
            let shared = key.shared(&ke.data).map_err(|_| refuse(Cause::BadPublicValue))?;
            (Some(answer), Some(shared))
        }
        // RFC 7296 1.3: the group that we would take.
        (Some(method), _) => return Err(invalid_ke(method)),
    };
    let nonce = cx.random_octets(NONCE_LEN);
    let spi = cx.spis.allocate_esp(cx.random);
    let offer = ChildOffer {
        sa: offer::esp_answer(&narrowed.chosen, spi),
        tsi: to_payload(&narrowed.remote),
        tsr: to_payload(&narrowed.local),
        transport_mode: false,
        no_tfc_padding: false,
    };
    let agreement = narrowed.agreement(spi, &established.ike);
    let nonces = (wanted.nonce.0.as_slice(), nonce.as_slice());
    let shared = shared.as_ref().map(|s| s.as_slice());
    match child_sa(cx, established, agreement, shared, nonces, (old, Role::Responder)) {
        Ok(child) => collision::made_by_peer(cx, established, child),
        Err(cause) => {
            cx.spis.release_esp(spi);
            return Err(refuse(cause));
        }
    }
    Ok(NewChild {
        offer,
        nonce: Nonce(nonce),
        ke,
        other: Vec::new(),
    })
}

/// Keys of the new CHILD SA (RFC 7296 2.17), with the nonces and perhaps the key exchange of this very exchange.
fn child_sa(
    cx: &mut Cx<'_>,
    established: &Established,
    agreement: ChildAgreement,
    shared: Option<&[u8]>,
    (nonce_i, nonce_r): (&[u8], &[u8]),
    (replaced, role): (Spi, Role),
) -> Result<ChildSa, Cause> {
    let ike = &established.ike;
    let keys = ChildKeys::derive(
        ike.suite.prf,
        &ike.keys.sk_d,
        &agreement.suite,
        shared,
        (nonce_i, nonce_r),
    )
    .map_err(|_| Cause::Internal {
        detail: "KEYMAT is too long",
    })?;
    let limits = Limits::of_child(
        cx.now,
        established.config.child_lifetime,
        agreement.suite.esn,
        cx.random,
    );
    let mut child = ChildSa::new(agreement, keys, role, limits);
    child.stage = Stage::Young;
    child.origin = Some(Origin {
        replaced,
        lowest: nonce_i.min(nonce_r).to_vec(),
    });
    Ok(child)
}

/// Two CHILD SAs to one SPI of the peer could not be told apart.
fn uses(established: &Established, outbound_spi: Spi) -> bool {
    established
        .children
        .values()
        .any(|child| child.outbound_spi() == outbound_spi)
}

/// Our public value as a payload.
pub(super) fn public(key: &KeyPair) -> KeyExchange {
    KeyExchange {
        method: key.method().id(),
        data: key.public().to_vec(),
    }
}

/// INVALID_KE_PAYLOAD with the group that is wanted (RFC 7296 1.3).
pub(super) fn invalid_ke(method: KeyExchangeMethod) -> Notify {
    Notify::with_data(NotifyType::INVALID_KE_PAYLOAD, method.id().to_be_bytes().to_vec())
}

/// The group that INVALID_KE_PAYLOAD names, if we know it.
pub(super) fn wanted_group(notify: &Notify) -> Option<KeyExchangeMethod> {
    let octets = <[u8; 2]>::try_from(notify.data.as_slice()).ok()?;
    KeyExchangeMethod::from_wire(u16::from_be_bytes(octets))
}

/// An answer that cannot be one to our request.
pub(super) fn invalid(detail: &str) -> Cause {
    Cause::InvalidSyntax {
        refused_by: Side::Us,
        detail: detail.to_owned(),
    }
}

/// A failure of this exchange.
pub(super) fn failure(cause: Cause) -> Failure {
    Failure::new(Exchange::CreateChildSa, cause)
}

/// Other groups obeyed in a row.
pub(super) const MOST_DETOURS: u8 = 2;
