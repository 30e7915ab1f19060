//! An IKE SA in the place of another (RFC 7296 1.3.2, 2.8, 2.8.2, 2.18).
//!
//! ```text
//! initiator                                    responder
//!   request: SK {SA, Ni, KEi}     -->
//!                                 <--          answer: SK {SA, Nr, KEr}; an heir waits
//!   finish: the CHILD SAs move
//!   old SA: SK {D}                -->          the CHILD SAs move (or with the first message on the new SA)
//!                                 <--          old SA: SK {}
//! ```

use std::sync::Arc;

use super::Cx;
use super::init::{NONCE_LEN, key_pair};
use super::new_child::{MOST_DETOURS, failure, invalid, invalid_ke, public, wanted_group};
use super::rekey_refused;
use crate::api::Role;
use crate::config::ConnectionConfig;
use crate::crypto::kex::KeyPair;
use crate::error::{Cause, Failure, Negotiated};
use crate::message::{CreateChildRequest, CreateChildResponse, NewIke};
use crate::negotiate::additional::AdditionalChoices;
use crate::negotiate::offer;
use crate::negotiate::proposal::IkeProposal;
use crate::negotiate::select::{ChosenIke, accept_ike, select_ike};
use crate::negotiate::transform::KeyExchangeMethod;
use crate::sa::ike_sa::{IkeSa, InitAgreement, Nonces};
use crate::sa::spis::Owner;
use crate::state::{Born, Ending, Established, Heir, Request};
use crate::wire::payload::{Nonce, Notify, NotifyType};
use crate::wire::{ExchangeType, IkeSpi, Opened, Payloads};

/// Our request, which awaits its answer.
#[derive(Debug)]
pub(crate) struct Sent {
    /// Our SPI of the new IKE SA.
    pub(crate) spi: IkeSpi,
    nonce: Vec<u8>,
    key: KeyPair,
    detours: u8,
}

/// Asks for a new IKE SA. `method`: the group the peer asked for; else the one of the old SA.
pub(crate) fn request(
    cx: &mut Cx<'_>,
    established: &mut Established,
    method: Option<KeyExchangeMethod>,
    detours: u8,
) -> Result<(), Failure> {
    let config = Arc::clone(&established.config);
    let key = key_pair(cx, method.unwrap_or(established.ike.suite.key_exchange))?;
    let spi = cx.spis.allocate_ike(Owner::Connection(config.id), cx.random);
    let nonce = cx.random_octets(NONCE_LEN);
    let message = CreateChildRequest::RekeyIke(NewIke {
        sa: offer::ike_offer(&first_only(&config), Some(spi.0)),
        nonce: Nonce(nonce.clone()),
        ke: public(&key),
    });
    let sent = Sent {
        spi,
        nonce,
        key,
        detours,
    };
    established.ask(
        cx,
        ExchangeType::CREATE_CHILD_SA,
        &message.emit(),
        Request::RekeyIke(Box::new(sent)),
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
        let spi = self.spi;
        let made = match opened
            .chain()
            .and_then(|chain| CreateChildResponse::parse(&chain))
        {
            Ok(CreateChildResponse::RekeyIke(answer)) => self.accept(established, &answer),
            Ok(CreateChildResponse::Refused(notify)) => {
                cx.spis.release_ike(spi, None);
                return self.refused(cx, established, &notify);
            }
            Ok(CreateChildResponse::Child(_)) => Err(invalid("the answer is for a CHILD SA")),
            Err(malformed) => Err(Cause::from_malformed(&malformed)),
        };
        let ike = match made {
            Ok(ike) => ike,
            Err(cause) => {
                cx.spis.release_ike(spi, None);
                return Some(Ending::Expired(failure(cause)));
            }
        };
        established.refusals.over(Negotiated::Ike);
        let lowest = ike.nonces.lowest().to_vec();
        let heir = Box::new(established.heir(cx, ike));
        // RFC 7296 2.8.2: the new SA with the lowest nonce is deleted by who asked for it. An SA whose CHILD SAs have
        // moved already can have no other heir.
        let loses = established.is_retired() || established.heirs.iter().any(|rival| lowest < rival.lowest);
        if loses {
            established.born.push(Born::Lost(heir));
            return None;
        }
        Some(Ending::Replaced(heir))
    }

    fn accept(self, established: &Established, answer: &NewIke) -> Result<IkeSa, Cause> {
        let chosen = accept_ike(&first_only(&established.config), &answer.sa)
            .map_err(|bad| invalid(&bad.to_string()))?;
        let method = chosen.suite.key_exchange;
        let peer_spi = peer_spi(&chosen).ok_or_else(|| invalid("the answer has no SPI"))?;
        if method != self.key.method() || answer.ke.method != method.id() {
            return Err(invalid("the answer is of another group than the request"));
        }
        let shared = self
            .key
            .shared(&answer.ke.data)
            .map_err(|_| Cause::BadPublicValue)?;
        let nonces = Nonces {
            initiator: self.nonce,
            responder: answer.nonce.0.clone(),
        };
        successor(
            established,
            &chosen,
            (Role::Initiator, self.spi, peer_spi),
            nonces,
            &shared,
        )
    }

    fn refused(self, cx: &mut Cx<'_>, established: &mut Established, notify: &Notify) -> Option<Ending> {
        if notify.kind == NotifyType::INVALID_KE_PAYLOAD && self.detours < MOST_DETOURS {
            let config = Arc::clone(&established.config);
            let ours = |method: &KeyExchangeMethod| {
                config
                    .ike_proposals
                    .iter()
                    .any(|proposal| proposal.key_exchange.contains(method))
            };
            if let Some(method) = wanted_group(notify).filter(ours) {
                let again = request(cx, established, Some(method), self.detours + 1);
                return again.err().map(Ending::Expired);
            }
        }
        let cause = rekey_refused::ike_by_peer(&established.config, notify);
        match established.refused(cx, Negotiated::Ike, notify.kind, cause) {
            Ok(at) => {
                established.worn = Some(at);
                None
            }
            Err(ending) => Some(ending),
        }
    }
}

/// Answers the peer's request for a new IKE SA: the heir waits until the peer uses it or deletes the old one.
pub(crate) fn answer(cx: &mut Cx<'_>, established: &mut Established, wanted: &NewIke) -> Payloads {
    let response = match made_for_peer(cx, established, wanted) {
        Ok(accepted) => CreateChildResponse::RekeyIke(accepted),
        Err(notify) => CreateChildResponse::Refused(notify),
    };
    response.emit()
}

fn made_for_peer(cx: &mut Cx<'_>, established: &mut Established, wanted: &NewIke) -> Result<NewIke, Notify> {
    // RFC 7296 2.25.1, 2.25.2: not while a CHILD SA changes, and not while we are about to close this one.
    if established.changes_children() || established.is_retired() || established.heirs.len() >= MOST_HEIRS {
        return Err(Notify::new(NotifyType::TEMPORARY_FAILURE));
    }
    let config = Arc::clone(&established.config);
    let chosen = match select_ike(&first_only(&config), &wanted.sa) {
        Ok(chosen) => chosen,
        Err(mismatch) => {
            established.refused_by_us(cx, Negotiated::Ike, rekey_refused::ike_by_us(mismatch));
            return Err(Notify::new(NotifyType::NO_PROPOSAL_CHOSEN));
        }
    };
    let syntax = || Notify::new(NotifyType::INVALID_SYNTAX);
    let peer_spi = peer_spi(&chosen).ok_or_else(syntax)?;
    let method = chosen.suite.key_exchange;
    if wanted.ke.method != method.id() {
        return Err(invalid_ke(method));
    }
    let internal = || Notify::new(NotifyType::TEMPORARY_FAILURE);
    let key = key_pair(cx, method).map_err(|_| internal())?;
    let ke = public(&key);
    let shared = key.shared(&wanted.ke.data).map_err(|_| syntax())?;
    let nonce = cx.random_octets(NONCE_LEN);
    let spi = cx.spis.allocate_ike(Owner::Connection(config.id), cx.random);
    let nonces = Nonces {
        initiator: wanted.nonce.0.clone(),
        responder: nonce.clone(),
    };
    let lowest = nonces.lowest().to_vec();
    let Ok(ike) = successor(
        established,
        &chosen,
        (Role::Responder, spi, peer_spi),
        nonces,
        &shared,
    ) else {
        cx.spis.release_ike(spi, None);
        return Err(internal());
    };
    established.refusals.over(Negotiated::Ike);
    let heir = established.heir(cx, ike);
    established.heirs.push(Heir { spi, lowest });
    established.born.push(Born::Heir(Box::new(heir)));
    Ok(NewIke {
        sa: offer::ike_answer(&chosen, Some(spi.0)),
        nonce: Nonce(nonce),
        ke,
    })
}

/// Path, NAT and encapsulation stay as they are; keys, SPIs, windows and perhaps the role are new.
fn successor(
    established: &Established,
    chosen: &ChosenIke,
    (role, ours, theirs): (Role, IkeSpi, IkeSpi),
    nonces: Nonces,
    shared: &[u8],
) -> Result<IkeSa, Cause> {
    let old = &established.ike;
    let (spi_i, spi_r) = match role {
        Role::Initiator => (ours, theirs),
        Role::Responder => (theirs, ours),
    };
    let agreed = InitAgreement {
        role,
        spi_i,
        spi_r,
        path: old.path,
        suite: chosen.suite,
        nonces,
        nat: old.nat,
        encapsulation: old.encapsulation,
        features: old.features.clone(),
    };
    IkeSa::rekeyed(old, agreed, shared, established.config.retransmission).ok_or(Cause::Internal {
        detail: "keys do not fit the algorithms",
    })
}

/// Without additional key exchanges.
fn first_only(config: &ConnectionConfig) -> Vec<IkeProposal> {
    let only = |proposal: &IkeProposal| IkeProposal {
        additional: AdditionalChoices::none(),
        ..proposal.clone()
    };
    config.ike_proposals.iter().map(only).collect()
}

fn peer_spi(chosen: &ChosenIke) -> Option<IkeSpi> {
    chosen.spi.map(IkeSpi).filter(|spi| !spi.is_zero())
}

/// Heirs of one IKE SA at most.
const MOST_HEIRS: usize = 2;
