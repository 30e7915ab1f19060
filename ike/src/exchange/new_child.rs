//! What the two uses of CREATE_CHILD_SA that make a CHILD SA have in common (RFC 7296 1.3.1, 1.3.3, 2.9, 2.17).

use std::time::Instant;

use super::Cx;
use super::init::{NONCE_LEN, key_pair};
use super::lane;
use super::narrowed::Narrowed;
use crate::api::{Role, Spi};
use crate::config::{Aggfrag, ChildId};
use crate::crypto::kex::{self, KeyPair};
use crate::error::{Cause, Exchange, Failure, Side};
use crate::message::{ChildOffer, NewChild};
use crate::negotiate::proposal::EspProposal;
use crate::negotiate::select::{ChildExchange, accept_esp};
use crate::negotiate::selector::{TrafficSelector, check_answer, from_payload, to_payload};
use crate::negotiate::transform::{AdditionalMethods, KeyExchangeMethod};
use crate::negotiate::{aggfrag, offer};
use crate::sa::child::{ChildAgreement, ChildSa, Origin, Stage};
use crate::sa::keymat::{ChildKeys, SharedSecrets};
use crate::sa::lifetime::Limits;
use crate::state::Established;
use crate::wire::payload::{KeyExchange, Nonce, Notify, NotifyType};

/// What a CHILD SA that we ask for shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Which of the connection's CHILD SAs.
    pub(crate) id: ChildId,
    /// The queue or CPU that it is for; `None`: any (RFC 9611).
    pub(crate) resource: Option<u32>,
    /// The networks behind us.
    pub(crate) local: Vec<TrafficSelector>,
    /// The networks behind the peer.
    pub(crate) remote: Vec<TrafficSelector>,
}

/// What we offered in a request.
#[derive(Debug)]
pub(crate) struct Begun {
    /// Our SPI of the new one.
    pub(crate) spi: Spi,
    /// What it shall be.
    pub(crate) wish: Wish,
    proposals: Vec<EspProposal>,
    aggfrag: Option<Aggfrag>,
    nonce: Vec<u8>,
    key: Option<KeyPair>,
}

impl Begun {
    /// Makes an offer. `method`: the group the peer asked for.
    pub(crate) fn offer(
        cx: &mut Cx<'_>,
        established: &Established,
        replaced: Option<Spi>,
        proposals: Vec<EspProposal>,
        wish: Wish,
        method: Option<KeyExchangeMethod>,
    ) -> Result<(Self, NewChild), Failure> {
        let first = proposals
            .iter()
            .flat_map(|proposal| &proposal.key_exchange)
            .next();
        let key = match method.or(first.copied()) {
            Some(method) => Some(key_pair(cx, method)?),
            None => None,
        };
        let spi = cx
            .spis
            .allocate_esp(cx.random, lane::spi_like(established, wish.resource, replaced));
        let aggfrag = aggfrag_like(established, wish.id, replaced);
        let nonce = cx.random_octets(NONCE_LEN);
        let message = NewChild {
            offer: ChildOffer {
                sa: offer::esp_offer(&proposals, spi),
                tsi: to_payload(&wish.local),
                tsr: to_payload(&wish.remote),
                transport_mode: false,
                no_tfc_padding: false,
                aggfrag: aggfrag.map(Aggfrag::notify),
            },
            nonce: Nonce(nonce.clone()),
            ke: key.as_ref().map(public),
            other: lane::notify(cx.spis, established, wish.resource, spi)
                .into_iter()
                .collect(),
        };
        let begun = Self {
            spi,
            wish,
            proposals,
            aggfrag,
            nonce,
            key,
        };
        Ok((begun, message))
    }

    /// The CHILD SA that the answer agrees to, in the place of `replaced` if it was made by rekeying, and SK(0).
    pub(crate) fn agree(
        self,
        established: &Established,
        answer: &NewChild,
        replaced: Option<Spi>,
    ) -> Result<(Unfinished, SharedSecrets), Cause> {
        let chosen = accept_esp(&self.proposals, &answer.offer.sa, ChildExchange::CreateChildSa)
            .map_err(|bad| invalid(&bad.to_string()))?;
        let secrets = match (chosen.suite.key_exchange, self.key, &answer.ke) {
            (None, _, _) => SharedSecrets::none(),
            (Some(method), Some(key), Some(ke)) if key.method() == method && ke.method == method.id() => {
                SharedSecrets::only(key.shared(&ke.data).map_err(|_| Cause::BadPublicValue)?)
            }
            (Some(_), _, _) => return Err(invalid("the answer has no key exchange of the group we offered")),
        };
        let (local, remote) = (from_payload(&answer.offer.tsi), from_payload(&answer.offer.tsr));
        check_answer(&self.wish.local, &local)
            .and_then(|()| check_answer(&self.wish.remote, &remote))
            .map_err(|error| invalid(&error.to_string()))?;
        let aggfrag = aggfrag::accept(self.aggfrag, answer.offer.aggfrag.as_ref())
            .map_err(aggfrag::BadAnswer::cause)?;
        if uses(established, chosen.spi) {
            return Err(invalid("the answer has an SPI that is in use"));
        }
        let [apart, any_port] = lane::apart(established, &answer.other);
        let agreement = ChildAgreement {
            id: self.wish.id,
            resource: self.wish.resource,
            inbound_spi: self.spi,
            outbound_spi: chosen.spi,
            suite: chosen.suite,
            local,
            remote,
            encapsulation: established.ike.encapsulation,
            xvpn: established.ike.features.xvpn,
            apart,
            any_port,
            aggfrag,
        };
        let unfinished = Unfinished {
            agreement,
            nonces: (self.nonce, answer.nonce.0.clone()),
            replaced,
            role: Role::Initiator,
        };
        Ok((unfinished, secrets))
    }

    /// The group that INVALID_KE_PAYLOAD wants, if it is one of ours (RFC 7296 1.3).
    pub(crate) fn other_group(&self, notify: &Notify) -> Option<KeyExchangeMethod> {
        wanted_group(notify).filter(|method| {
            self.proposals
                .iter()
                .any(|proposal| proposal.key_exchange.contains(method))
        })
    }
}

/// The CHILD SA that the peer asked for, SK(0), and our answer.
pub(crate) fn agree(
    cx: &mut Cx<'_>,
    established: &Established,
    narrowed: Narrowed,
    wanted: &NewChild,
    replaced: Option<Spi>,
) -> Result<(Unfinished, SharedSecrets, NewChild), Notify> {
    if uses(established, narrowed.chosen.spi) {
        return Err(Notify::new(NotifyType::INVALID_SYNTAX));
    }
    let suite = narrowed.chosen.suite;
    let (ke, secrets) = match (suite.key_exchange, &wanted.ke) {
        (None, _) => (None, SharedSecrets::none()),
        (Some(method), Some(ke)) if ke.method == method.id() => {
            let answer =
                kex::respond(method, &ke.data, cx.random).map_err(|_| refusal(&Cause::BadPublicValue))?;
            let ke = KeyExchange {
                method: method.id(),
                data: answer.public,
            };
            (Some(ke), SharedSecrets::only(answer.shared))
        }
        // RFC 7296 1.3: the group that we would take.
        (Some(method), _) => return Err(invalid_ke(method)),
    };
    let nonce = cx.random_octets(NONCE_LEN);
    let like = lane::spi_like(established, narrowed.resource, replaced);
    let spi = cx.spis.allocate_esp(cx.random, like);
    let offer = ChildOffer {
        sa: offer::esp_answer(&narrowed.chosen, spi),
        tsi: to_payload(&narrowed.remote),
        tsr: to_payload(&narrowed.local),
        transport_mode: false,
        no_tfc_padding: false,
        aggfrag: narrowed.aggfrag_notify(),
    };
    let other = narrowed
        .notifies()
        .into_iter()
        .chain(lane::notify(cx.spis, established, narrowed.resource, spi))
        .collect();
    let [apart, any_port] = lane::apart(established, &wanted.other);
    let agreement = ChildAgreement {
        apart,
        any_port,
        ..narrowed.agreement(spi, &established.ike)
    };
    let unfinished = Unfinished {
        agreement,
        nonces: (wanted.nonce.0.clone(), nonce.clone()),
        replaced,
        role: Role::Responder,
    };
    let answer = NewChild {
        offer,
        nonce: Nonce(nonce),
        ke,
        other,
    };
    Ok((unfinished, secrets, answer))
}

/// A CHILD SA that both sides agree on, without the keys.
#[derive(Debug)]
pub(crate) struct Unfinished {
    agreement: ChildAgreement,
    /// Ni and Nr.
    nonces: (Vec<u8>, Vec<u8>),
    replaced: Option<Spi>,
    role: Role,
}

impl Unfinished {
    /// The key exchanges that it lacks besides the first.
    pub(crate) fn additional(&self) -> AdditionalMethods {
        self.agreement.suite.additional
    }

    /// What it is for.
    pub(crate) fn as_wish(&self) -> Wish {
        Wish {
            id: self.agreement.id,
            resource: self.agreement.resource,
            local: self.agreement.local.clone(),
            remote: self.agreement.remote.clone(),
        }
    }

    /// The lower of the two nonces.
    pub(crate) fn lowest(&self) -> Vec<u8> {
        self.nonces.0.as_slice().min(self.nonces.1.as_slice()).to_vec()
    }

    /// How it came to be.
    pub(crate) fn origin(&self, at: Instant) -> Origin {
        Origin {
            replaced: self.replaced,
            role: self.role,
            at,
            lowest: self.lowest(),
        }
    }

    /// Our SPI of it.
    pub(crate) fn spi(&self) -> Spi {
        self.agreement.inbound_spi
    }

    /// It will not be made.
    pub(crate) fn discard(self, cx: &mut Cx<'_>) {
        cx.spis.release_esp(self.agreement.inbound_spi);
    }

    /// Keys of the new CHILD SA (RFC 7296 2.17, RFC 9370 2.2.4), with the nonces and perhaps the key exchanges of its own.
    pub(crate) fn complete(
        self,
        cx: &mut Cx<'_>,
        established: &Established,
        secrets: &SharedSecrets,
    ) -> Result<ChildSa, Cause> {
        let (ike, origin) = (&established.ike, self.origin(cx.now));
        let nonces = (self.nonces.0.as_slice(), self.nonces.1.as_slice());
        let suite = &self.agreement.suite;
        // The peer may have made another while this one waited for its key exchanges.
        let keys = if uses(established, self.agreement.outbound_spi) {
            Err(invalid("the SPI is in use"))
        } else {
            ChildKeys::derive(ike.suite.prf, &ike.keys.sk_d, suite, secrets, nonces).map_err(|_| {
                Cause::Internal {
                    detail: "KEYMAT is too long",
                }
            })
        };
        let keys = match keys {
            Ok(keys) => keys,
            Err(cause) => {
                self.discard(cx);
                return Err(cause);
            }
        };
        let lifetime = established.config.child(self.agreement.id).lifetime;
        let limits = Limits::of_child(cx.now, lifetime, suite.esn, cx.random);
        let mut child = ChildSa::new(self.agreement, keys, self.role, limits);
        child.stage = Stage::Young;
        child.origin = Some(origin);
        Ok(child)
    }
}

/// What we say of AGGFRAG payloads in an offer: what replaces another carries what that carried.
fn aggfrag_like(established: &Established, id: ChildId, replaced: Option<Spi>) -> Option<Aggfrag> {
    let declined = established.aggfrag_declined.contains(&id);
    let ours = established.config.child(id).aggfrag.filter(|_| !declined);
    match replaced {
        None => ours,
        Some(old) => ours.filter(|_| carries_aggfrag(established, old)),
    }
}

/// Whether a CHILD SA of ours carries AGGFRAG payloads.
pub(super) fn carries_aggfrag(established: &Established, spi: Spi) -> bool {
    let child = established.children.get(&spi);
    child.is_some_and(|child| child.aggfrag().is_some())
}

/// Two CHILD SAs to one SPI of the peer could not be told apart.
fn uses(established: &Established, outbound_spi: Spi) -> bool {
    established
        .children
        .values()
        .any(|child| child.outbound_spi() == outbound_spi)
}

/// The notify that tells the peer of a cause.
pub(super) fn refusal(cause: &Cause) -> Notify {
    Notify::new(cause.notify().unwrap_or(NotifyType::NO_PROPOSAL_CHOSEN))
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
