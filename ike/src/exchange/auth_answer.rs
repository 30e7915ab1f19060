//! IKE_AUTH, the responder's part (RFC 7296 1.2, 2.15, 2.21.2). The initiator's part and the picture: `auth`.

mod authorization;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use self::authorization::Claim;
use super::auth::{Authenticated, failure, first_child_sa, further, identification, mobility};
use super::init_answer::Half;
use super::narrowed::Narrowed;
use super::proof::Proof;
use super::resume_answer::Presented;
use super::status::{Deferred, Halt, Proven};
use super::ticket::{self, Granted};
use super::{Cx, crash, lane, mobike, ppk, proof, redirect, resume, status};
use crate::api::{Encapsulation, PORT_IKE, Path};
use crate::auth::psk::Generation;
use crate::auth::signed::SignedOctets;
use crate::config::{ConnectionConfig, ConnectionId};
use crate::error::{Cause, Failure, Ignore, Side};
use crate::message::{AuthAccepted, AuthRequest, AuthResponse, ChildAnswer, ChildOffer};
use crate::negotiate::offer;
use crate::negotiate::selector::to_payload;
use crate::negotiate::transform::KeyExchangeMethod;
use crate::sa::child::ChildSa;
use crate::sa::datagrams::Datagrams;
use crate::sa::ike_sa::IkeSa;
use crate::sa::transmission::Seen;
use crate::sa::window::Standing;
use crate::wire::payload::{Body, GatewayIdentity, Notify, NotifyType};
use crate::wire::{ExchangeType, Fault, Header, Malformed, Opened, PayloadType, Payloads};

/// The responder, after its IKE_SA_INIT answer, awaiting the IKE_INTERMEDIATE requests that were agreed on and then the
/// IKE_AUTH request: a half-open SA (RFC 7296 2.6).
pub(crate) struct Awaited {
    /// The IKE SA; the peer is not authenticated yet.
    pub(crate) ike: IkeSa,
    /// When it is forgotten.
    pub(crate) expires: Instant,
    /// When it began.
    pub(crate) begun: Instant,
    /// The connection it is probably for, for error reports.
    pub(crate) likely: Option<ConnectionId>,
    /// Our answer to IKE_SA_INIT (RealMessage2), for who asks again.
    pub(crate) response: Vec<u8>,
    /// The request was refused; what is left is here to repeat the refusal.
    pub(crate) refused: bool,
    /// The additional key exchanges that are still to come (RFC 9370 2.2.2).
    pub(crate) left: VecDeque<KeyExchangeMethod>,
    /// The IKE_AUTH request came; whether the peer's certificate is still good is not known yet.
    pub(crate) deferred: Option<Deferred>,
    /// The ticket that made it, which is to be used up (RFC 5723).
    pub(crate) presented: Option<Presented>,
    /// Since when the network was asked for that.
    asking_since: Option<Instant>,
    request: Vec<u8>,
    int_auth: Vec<u8>,
}

/// What the responder made of the request.
pub(crate) enum Answered {
    /// The peer has proven who it is. The answer is still to be sent, between the two halves of the CHILD SA.
    Authenticated(Box<Authenticated>, Datagrams),
    /// It has not, or cannot be served. The refusal is to be sent; the half-open SA stays to repeat it.
    Refused(Box<Awaited>, Failure, Datagrams, Option<ConnectionId>),
    /// Whether the peer's certificate is still good is being asked: the request is kept with the half-open SA.
    Deferred(Box<Awaited>),
}

impl Awaited {
    /// After `response` answered `request`.
    pub(crate) fn new(
        ike: IkeSa,
        request: &[u8],
        response: Vec<u8>,
        begun: Instant,
        expires: Instant,
    ) -> Self {
        Self {
            left: ike.suite.additional.methods().collect(),
            int_auth: Vec::new(),
            ike,
            expires,
            begun,
            likely: None,
            response,
            refused: false,
            deferred: None,
            presented: None,
            asking_since: None,
            request: request.to_vec(),
        }
    }

    /// After IKE_SESSION_RESUME: the additional key exchanges are in the keys already.
    pub(crate) fn resuming(
        half: Half,
        request: &[u8],
        presented: Presented,
        begun: Instant,
        expires: Instant,
    ) -> Self {
        Self {
            left: VecDeque::new(),
            presented: Some(presented),
            ..Self::new(half.ike, request, half.response, begun, expires)
        }
    }

    /// Looks at a message for our SPI. Changes nothing, but fragments are stored.
    pub(crate) fn read(&mut self, cx: &mut Cx<'_>, header: &Header, bytes: &[u8]) -> Result<Seen, Ignore> {
        if header.flags.response {
            return Err(Ignore::Unasked);
        }
        if self.ike.responses.judge(header.message_id) == Standing::Fresh {
            // What was refused is only refused again.
            if self.refused {
                return Err(Ignore::OutOfWindow);
            }
            if self.deferred.is_some() {
                return Err(Ignore::AwaitingStatus);
            }
            if header.exchange != self.awaited() {
                return Err(Ignore::UnexpectedState);
            }
        }
        self.ike.receive(cx.now, cx.random, header, bytes)
    }

    /// The exchange that comes next.
    pub(crate) fn awaited(&self) -> ExchangeType {
        if self.left.is_empty() {
            ExchangeType::IKE_AUTH
        } else {
            ExchangeType::IKE_INTERMEDIATE
        }
    }

    /// Answers the request. `candidates` are the connections that fit the addresses and the suite. `may_wait`: there is
    /// room to keep the request while the network is asked.
    pub(crate) fn answer(
        mut self,
        cx: &mut Cx<'_>,
        path: Path,
        opened: Opened,
        candidates: &[Arc<ConnectionConfig>],
        may_wait: bool,
    ) -> Answered {
        let id = opened.header().message_id;
        self.int_auth = self.ike.int_auth.octets(id);
        let claim = match opened.chain().and_then(|chain| AuthRequest::parse(&chain)) {
            Ok(message) => Claim::read(message),
            Err(malformed) => Err(from_malformed(&malformed)),
        };
        let chosen = claim.and_then(|claim| {
            let (config, verified, narrowed) = self.choose(cx, &claim, candidates)?;
            if config.is_mobile_on(path) && mobike::finds_forbidden_nat(&claim.message.other, path) {
                return Err(Cause::ForbiddenNat);
            }
            Ok((claim, (config, verified, narrowed)))
        });
        let (claim, (config, (believed, ppk), narrowed)) = match chosen {
            Ok(chosen) => chosen,
            Err(cause) => return self.refuse(cx, id, cause, candidates),
        };
        let proven = Proven {
            path: &believed.path,
            certificates: &claim.message.certificates,
            asking_since: self.asking_since,
            may_wait,
        };
        match status::check(cx, &config, proven) {
            Ok(()) => {}
            Err(Halt::Refused(cause)) => return self.refuse(cx, id, cause, candidates),
            Err(Halt::Deferred(waits)) => {
                let since = *self.asking_since.get_or_insert(cx.now);
                self.deferred = Some(Deferred {
                    path,
                    opened,
                    waits,
                    since,
                });
                return Answered::Deferred(Box::new(self));
            }
        }
        if !self.spend_ticket(cx) {
            let refused_by = Side::Us;
            let identity = claim.idi;
            let cause = Cause::AuthenticationFailed { refused_by, identity };
            return self.refuse(cx, id, cause, candidates);
        }
        let uses_ppk = ppk.is_some();
        if let Some(keys) = ppk {
            self.ike.mix(keys);
        }
        let mut ours = match self.prove(&config, &claim, believed.means.generation()) {
            Ok(ours) => ours,
            Err(cause) => return self.refuse(cx, id, cause, candidates),
        };
        if proof::wants_ocsp(&claim.message.certificate_requests) {
            ours.certificates.extend(status::own_response(cx, &config));
        }
        // Only now is it known whom we talk to: the path is the one the proof came by (RFC 7296 2.23).
        self.ike.path = path;
        if path.local.port() == PORT_IKE {
            // The peer saw no reason to float (RFC 7296 2.23), and ESP in UDP exists on port 4500 only (RFC 3948 2.1).
            self.ike.encapsulation = Encapsulation::None;
        } else if path.is_tcp() {
            self.ike.encapsulation = Encapsulation::Tcp;
        } else if self.ike.encapsulation == Encapsulation::Tcp {
            self.ike.encapsulation = Encapsulation::Udp;
        }
        self.ike.features.mobike = config.is_mobile_on(path) && claim.message.mobike_supported;
        let mobility = mobility(&self.ike, &config, &claim.message.other);
        let mut other = match &narrowed {
            Ok(Some(narrowed)) => narrowed.notifies(),
            Ok(None) | Err(_) => Vec::new(),
        };
        other.extend(uses_ppk.then(ppk::confirmation));
        other.extend(further(cx, &self.ike, &config, self.ike.features.mobike));
        let credentials = match &self.presented {
            Some(presented) => presented.past.credentials,
            None => ticket::credentials(cx.now, &believed.path),
        };
        let of = (&claim.idi, &credentials);
        let (granted, issued) = ticket::grant(cx, &self.ike, &config, of, &claim.message.other);
        other.extend(granted);
        let redirect = redirect::of_peer(&self.ike, &config);
        let (child, answer) = match &redirect {
            // RFC 5685 6: only now, for both sides have proven who they are.
            Some(to) => sent_away(to),
            None => self.first_child(cx, &config, narrowed),
        };
        self.ike.remote_means = Some(believed.means);
        self.ike.local_means = Some(ours.means);
        let message = AuthResponse::Accepted(Box::new(AuthAccepted {
            idr: identification(&config.local_identity),
            auth: ours.auth,
            certificates: ours.certificates,
            mobike_supported: self.ike.features.mobike,
            child: answer,
            other,
        }));
        let bytes = self
            .ike
            .respond(ExchangeType::IKE_AUTH, id, &message.emit(), cx.random);
        let authenticated = Authenticated {
            config,
            ike: self.ike,
            remote_identity: claim.idi,
            child,
            unusable: None,
            single_pair: false,
            additional_ts: false,
            auth_lifetime: None,
            initial_contact: claim.message.initial_contact,
            redirect,
            mobility,
            token: crash::learn(&claim.message.other),
            begun: self.begun,
            proof: believed.proof,
            credentials,
            reauthentication: None,
            ticket: Granted::Nothing,
            issued,
        };
        Answered::Authenticated(Box::new(authenticated), bytes)
    }

    /// RFC 5723 4.3.1: an IKE SA is about to be made by the ticket, if there is one. Whether it was good until now.
    fn spend_ticket(&self, cx: &mut Cx<'_>) -> bool {
        let presented = self.presented.as_ref();
        presented.is_none_or(|presented| presented.spend(cx))
    }

    fn refuse(
        mut self,
        cx: &mut Cx<'_>,
        id: u32,
        cause: Cause,
        candidates: &[Arc<ConnectionConfig>],
    ) -> Answered {
        let candidate = match candidates {
            [only] => Some(only.id),
            [] | [..] => self.likely,
        };
        let bytes = self
            .ike
            .respond(ExchangeType::IKE_AUTH, id, &refusal(&cause), cx.random);
        self.refused = true;
        Answered::Refused(Box::new(self), failure(cause), bytes, candidate)
    }

    /// AUTH of ours, by the key that the peer has proven to have.
    fn prove(
        &self,
        config: &ConnectionConfig,
        claim: &Claim,
        generation: Generation,
    ) -> Result<Proof, Cause> {
        let signed = SignedOctets {
            message: &self.response,
            nonce: &self.ike.nonces.initiator,
            sk_p: &self.ike.keys.sk_pr,
            rest_of_id: &identification(&config.local_identity).to_bytes(),
            int_auth: &self.int_auth,
        };
        if self.presented.is_some() {
            return Ok(resume::prove(&self.ike, signed));
        }
        let announced = proof::announced(&claim.message.other);
        proof::prove(&self.ike, config, signed, announced, generation)
    }

    fn first_child(
        &self,
        cx: &mut Cx<'_>,
        config: &ConnectionConfig,
        narrowed: Result<Option<Narrowed>, Cause>,
    ) -> (Result<Option<ChildSa>, Failure>, ChildAnswer) {
        let refuse = |cause: Cause| {
            let notify = Notify::new(cause.notify().unwrap_or(NotifyType::NO_PROPOSAL_CHOSEN));
            (Err(failure(cause)), ChildAnswer::Refused(notify))
        };
        let narrowed = match narrowed {
            Ok(Some(narrowed)) => narrowed,
            Ok(None) => return (Ok(None), ChildAnswer::Absent),
            Err(cause) => return refuse(cause),
        };
        let inbound_spi = cx.spis.allocate_esp(cx.random, lane::first(config.id));
        let answer = ChildOffer {
            sa: offer::esp_answer(&narrowed.chosen, inbound_spi),
            tsi: to_payload(&narrowed.remote),
            tsr: to_payload(&narrowed.local),
            transport_mode: false,
            no_tfc_padding: false,
            aggfrag: narrowed.aggfrag_notify(),
        };
        match first_child_sa(cx, &self.ike, config, narrowed.agreement(inbound_spi, &self.ike)) {
            Ok(child) => (Ok(Some(child)), ChildAnswer::Accepted(answer)),
            Err(cause) => {
                cx.spis.release_esp(inbound_spi);
                refuse(cause)
            }
        }
    }
}

/// No CHILD SA, because the peer is to have it of another gateway.
fn sent_away(to: &GatewayIdentity) -> (Result<Option<ChildSa>, Failure>, ChildAnswer) {
    let answer = ChildAnswer::Refused(redirect::notify(to));
    (Err(failure(Cause::NoChild)), answer)
}

/// A request without AUTH wants EAP (RFC 7296 2.16).
fn from_malformed(malformed: &Malformed) -> Cause {
    match malformed.fault {
        Fault::Missing(PayloadType::AUTH) => Cause::UnsupportedAuthMethod {
            method: 0,
            wanted: "a pre-shared key or a signature",
        },
        Fault::Missing(_)
        | Fault::UnsupportedCritical(_)
        | Fault::Truncated { .. }
        | Fault::Trailing { .. }
        | Fault::Length { .. }
        | Fault::Value { .. }
        | Fault::TooMany { .. }
        | Fault::MajorVersion(_)
        | Fault::Duplicate(_) => Cause::from_malformed(malformed),
    }
}

/// The error notify, alone (RFC 7296 2.21.2).
fn refusal(cause: &Cause) -> Payloads {
    let kind = cause.notify().unwrap_or(NotifyType::AUTHENTICATION_FAILED);
    let notify = match cause.unsupported_critical() {
        Some(payload) => Notify::with_data(kind, vec![payload]),
        None => Notify::new(kind),
    };
    AuthResponse::Refused(notify).emit()
}
