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
use super::follow_up::{self, Place, Series, Wanted};
use super::init::{NONCE_LEN, key_pair};
use super::new_child::{MOST_DETOURS, failure, invalid, invalid_ke, public, wanted_group};
use super::rekey_refused;
use crate::api::Role;
use crate::crypto::kex::{self, KeyPair};
use crate::error::{Cause, Failure, Negotiated};
use crate::message::{self, CreateChildRequest, CreateChildResponse, NewIke};
use crate::negotiate::offer;
use crate::negotiate::proposal::{IkeProposal, IkeSuite, suitable};
use crate::negotiate::select::{ChosenIke, accept_ike, select_ike};
use crate::negotiate::transform::KeyExchangeMethod;
use crate::sa::ike_sa::{IkeSa, InitAgreement, Nonces};
use crate::sa::keymat::SharedSecrets;
use crate::sa::spis::Owner;
use crate::state::{Born, Ending, Established, Heir, Request};
use crate::wire::payload::{KeyExchange, Nonce, Notify, NotifyType};
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
        sa: offer::ike_offer(&of_same_prf(established), Some(spi.0)),
        nonce: Nonce(nonce.clone()),
        ke: public(&key),
        other: Vec::new(),
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
            Ok(CreateChildResponse::RekeyIke(answer)) => self
                .accept(established, &answer)
                .map(|agreed| (agreed, message::link(&answer.other))),
            Ok(CreateChildResponse::Refused(notify)) => {
                cx.spis.release_ike(spi, None);
                return self.refused(cx, established, &notify);
            }
            Ok(CreateChildResponse::Child(_)) => Err(invalid("the answer is for a CHILD SA")),
            Err(malformed) => {
                // RFC 7296 2.21.3: INVALID_SYNTAX is the end of the IKE SA.
                cx.spis.release_ike(spi, None);
                return Some(Ending::Expired(failure(Cause::from_malformed(&malformed))));
            }
        };
        match made {
            Ok(((unfinished, secrets), link)) => {
                established.refusals.over(Negotiated::Ike);
                unfinished.go_on(cx, established, secrets, link)
            }
            Err(cause) => {
                cx.spis.release_ike(spi, None);
                unusable(cx, established, cause);
                None
            }
        }
    }

    fn accept(
        self,
        established: &Established,
        answer: &NewIke,
    ) -> Result<(Unfinished, SharedSecrets), Cause> {
        let chosen =
            accept_ike(&of_same_prf(established), &answer.sa).map_err(|bad| invalid(&bad.to_string()))?;
        let method = chosen.suite.key_exchange;
        let theirs = peer_spi(&chosen).ok_or_else(|| invalid("the answer has no SPI"))?;
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
        let unfinished = Unfinished {
            role: Role::Initiator,
            ours: self.spi,
            theirs,
            suite: chosen.suite,
            nonces,
        };
        Ok((unfinished, SharedSecrets::only(shared)))
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

/// The peer has an heir now, perhaps, that we cannot use and it will never hear of. The old one goes on, and what was to
/// take its place is tried for again.
pub(crate) fn unusable(cx: &mut Cx<'_>, established: &mut Established, cause: Cause) {
    let at = established.unusable(cx, Negotiated::Ike, cause);
    established.worn = Some(at);
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
    // RFC 7296 2.25.1, 2.25.2: not while a CHILD SA changes, and not while we are about to close this one. RFC 9370 2.2.4:
    // nor while our additional key exchanges for the same are under way.
    let busy = established.changes_children() || established.follows_up(Place::OfIke);
    if busy || established.is_retired() || established.heirs.len() >= MOST_HEIRS {
        return Err(Notify::new(NotifyType::TEMPORARY_FAILURE));
    }
    let config = Arc::clone(&established.config);
    let chosen = select_ike(&of_same_prf(established), &wanted.sa)
        .or_else(|_| select_ike(&proposals(established), &wanted.sa));
    let chosen = match chosen {
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
    let answer = kex::respond(method, &wanted.ke.data, cx.random).map_err(|_| syntax())?;
    let ke = KeyExchange {
        method: method.id(),
        data: answer.public,
    };
    let nonce = cx.random_octets(NONCE_LEN);
    let spi = cx.spis.allocate_ike(Owner::Connection(config.id), cx.random);
    let unfinished = Unfinished {
        role: Role::Responder,
        ours: spi,
        theirs: peer_spi,
        suite: chosen.suite,
        nonces: Nonces {
            initiator: wanted.nonce.0.clone(),
            responder: nonce.clone(),
        },
    };
    let secrets = SharedSecrets::only(answer.shared);
    // Whatever the peer had begun, it has begun anew.
    follow_up::forget(cx, established, Series::is_ike);
    let other = if chosen.suite.additional.is_empty() {
        unfinished
            .make_for_peer(cx, established, &secrets)
            .map_err(Notify::new)?;
        Vec::new()
    } else {
        let series = Series::new(Wanted::Ike(unfinished), secrets, chosen.suite.additional);
        vec![message::link_notify(follow_up::keep(cx, established, series))]
    };
    Ok(NewIke {
        sa: offer::ike_answer(&chosen, Some(spi.0)),
        nonce: Nonce(nonce),
        ke,
        other,
    })
}

/// An IKE SA that both sides agree on, without the keys.
#[derive(Debug)]
pub(crate) struct Unfinished {
    role: Role,
    ours: IkeSpi,
    theirs: IkeSpi,
    suite: IkeSuite,
    nonces: Nonces,
}

impl Unfinished {
    /// The lower of the two nonces.
    pub(crate) fn lowest(&self) -> Vec<u8> {
        self.nonces.lowest().to_vec()
    }

    /// Our SPI of it.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn spi(&self) -> IkeSpi {
        self.ours
    }

    /// It will not be made.
    pub(crate) fn discard(self, cx: &mut Cx<'_>) {
        cx.spis.release_ike(self.ours, None);
    }

    /// Our CREATE_CHILD_SA was answered: the SA is made, or its additional key exchanges follow.
    fn go_on(
        self,
        cx: &mut Cx<'_>,
        established: &mut Established,
        secrets: SharedSecrets,
        link: Option<Vec<u8>>,
    ) -> Option<Ending> {
        let additional = self.suite.additional;
        let loses = self.loses(established);
        if loses && !additional.is_empty() {
            // RFC 9370 2.2.4: there is nothing to delete yet; we just do not go on.
            self.discard(cx);
            return None;
        }
        if !loses {
            // And neither does the peer, if it has begun the same.
            follow_up::forget(cx, established, Series::is_ike);
        }
        let series = Series::new(Wanted::Ike(self), secrets, additional);
        follow_up::proceed(cx, established, series, link)
    }

    /// RFC 7296 2.8.2: the new SA with the lowest nonce is deleted by who asked for it. An SA whose CHILD SAs have moved
    /// already can have no other heir.
    fn loses(&self, established: &Established) -> bool {
        let lowest = self.lowest();
        let begun = established
            .pending
            .iter()
            .filter_map(|pending| pending.series.lowest_of_ike());
        let made = established.heirs.iter().map(|rival| rival.lowest.clone());
        established.is_retired() || made.chain(begun).any(|rival| lowest < rival)
    }

    /// All key exchanges are done, and we asked for it.
    pub(crate) fn finish(
        self,
        cx: &mut Cx<'_>,
        established: &mut Established,
        secrets: &SharedSecrets,
    ) -> Option<Ending> {
        let (spi, loses) = (self.ours, self.loses(established));
        match self.complete(established, secrets) {
            Ok(ike) => {
                let heir = Box::new(established.heir(cx, ike));
                if loses {
                    established.born.push(Born::Lost(heir));
                    return None;
                }
                Some(Ending::Replaced(heir))
            }
            Err(cause) => {
                cx.spis.release_ike(spi, None);
                unusable(cx, established, cause);
                None
            }
        }
    }

    /// All key exchanges are done, and the peer asked for it: the heir waits until the peer uses it or deletes the old one.
    pub(crate) fn make_for_peer(
        self,
        cx: &mut Cx<'_>,
        established: &mut Established,
        secrets: &SharedSecrets,
    ) -> Result<(), NotifyType> {
        let (spi, lowest) = (self.ours, self.lowest());
        let Ok(ike) = self.complete(established, secrets) else {
            cx.spis.release_ike(spi, None);
            return Err(NotifyType::TEMPORARY_FAILURE);
        };
        established.refusals.over(Negotiated::Ike);
        let heir = established.heir(cx, ike);
        established.heirs.push(Heir { spi, lowest });
        established.born.push(Born::Heir(Box::new(heir)));
        Ok(())
    }

    /// Path, NAT and encapsulation stay as they are; keys, SPIs, windows and perhaps the role are new.
    fn complete(self, established: &Established, secrets: &SharedSecrets) -> Result<IkeSa, Cause> {
        let old = &established.ike;
        let (spi_i, spi_r) = match self.role {
            Role::Initiator => (self.ours, self.theirs),
            Role::Responder => (self.theirs, self.ours),
        };
        let agreed = InitAgreement {
            role: self.role,
            spi_i,
            spi_r,
            path: old.path,
            suite: self.suite,
            nonces: self.nonces,
            nat: old.nat,
            encapsulation: old.encapsulation,
            features: old.features.clone(),
        };
        IkeSa::rekeyed(old, agreed, secrets, established.config.retransmission).ok_or(Cause::Internal {
            detail: "keys do not fit the algorithms",
        })
    }
}

/// What may be negotiated with this peer.
fn proposals(established: &Established) -> Vec<IkeProposal> {
    suitable(
        &established.config.ike_proposals,
        established.ike.features.intermediate,
    )
}

/// Those of them that keep the PRF, or all if none does. RFC 7296 2.18 expands the new keys with the new IKE SA's PRF, strongSwan with
/// the old one's, so that with another PRF the two would not understand each other on the new IKE SA.
fn of_same_prf(established: &Established) -> Vec<IkeProposal> {
    let (all, prf) = (proposals(established), established.ike.suite.prf);
    let same: Vec<IkeProposal> = all
        .iter()
        .filter(|proposal| proposal.prf.contains(&prf))
        .map(|proposal| IkeProposal {
            prf: vec![prf],
            ..proposal.clone()
        })
        .collect();
    if same.is_empty() { all } else { same }
}

fn peer_spi(chosen: &ChosenIke) -> Option<IkeSpi> {
    chosen.spi.map(IkeSpi).filter(|spi| !spi.is_zero())
}

/// Heirs of one IKE SA at most.
const MOST_HEIRS: usize = 2;
