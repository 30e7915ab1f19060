//! IKE_SA_INIT (RFC 7296 1.2, 2.6, 2.7, 2.14, 2.23).
//!
//! ```text
//! initiator                                            responder
//!   request: SAi1, KEi, Ni, N(NAT_DETECTION_*)  -->
//!                                               <--    (N(COOKIE) | N(INVALID_KE_PAYLOAD): once more, a few times at most)
//!                                               <--    answer: SAr1, KEr, Nr, N(NAT_DETECTION_*)
//!   finish: IKE_AUTH request                    -->
//! ```
//!
//! Nothing here is authenticated. What an attacker may have written is therefore only ever a reason to send once
//! more, or a suspicion: an error notify is remembered, a genuine answer may still come for [`SUSPICION_WAIT`], and
//! only then the attempt (never the connection) fails with that cause (RFC 7296 2.21.1).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Cx;
use crate::api::{Encapsulation, PORT_IKE, PORT_NAT_T, Path, Role};
use crate::config::{ConnectionConfig, EncapsulationPolicy};
use crate::crypto::kex::KeyPair;
use crate::error::{Cause, Exchange, Failure, Ignore, Negotiated, Side};
use crate::message::{InitAccepted, InitNotifies, InitRequest, InitResponse, build_plain};
use crate::negotiate::nat::{NatStatus, detect, detection_hash};
use crate::negotiate::proposal::IkeSuite;
use crate::negotiate::select::{ChosenIke, accept_ike, select_ike};
use crate::negotiate::transform::KeyExchangeMethod;
use crate::negotiate::{describe, offer};
use crate::sa::ike_sa::{IkeSa, InitAgreement, Nonces};
use crate::sa::spis::{FirstMessage, Owner};
use crate::sa::window::{Overdue, Requests};
use crate::wire::payload::{KeyExchange, Nonce};
use crate::wire::{Chain, ExchangeType, Flags, Header, IkeSpi};

/// The initiator, after its request, awaiting the answer.
pub(crate) struct Sent {
    /// The configuration the attempt began with.
    pub(crate) config: Arc<ConnectionConfig>,
    /// Where the request went.
    pub(crate) path: Path,
    /// Our SPI.
    pub(crate) spi_i: IkeSpi,
    /// When the attempt began.
    pub(crate) begun: Instant,
    nonce: Vec<u8>,
    key: KeyPair,
    cookie: Option<Vec<u8>>,
    message: Vec<u8>,
    requests: Requests,
    detours: u8,
    suspicion: Option<Suspicion>,
}

/// Why an attempt will probably fail, and when it does unless something better comes.
struct Suspicion {
    cause: Cause,
    until: Instant,
}

/// What an answer to our request means.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Once more, with this cookie.
    Cookie(Vec<u8>),
    /// Once more, with this group.
    Group(KeyExchangeMethod),
    /// Perhaps the reason why this will fail.
    Suspect(Cause),
    /// Go on.
    Accepted(Box<InitAccepted>, ChosenIke),
}

/// The initiator's request, sent. An `Err` is a defect of ours.
pub(crate) fn request(cx: &mut Cx<'_>, config: &Arc<ConnectionConfig>, path: Path) -> Result<Sent, Failure> {
    let groups = config.ike_proposals.iter().flat_map(|proposal| proposal.key_exchange.iter().copied());
    let method = groups.clone().next().ok_or_else(|| internal("no key exchange is configured"))?;
    let key = key_pair(cx, method)?;
    let spi_i = cx.spis.allocate_ike(Owner::Connection(config.id), cx.random);
    let nonce = cx.random_octets(NONCE_LEN);
    let requests = Requests::starting_at(0, config.retransmission);
    let mut sent = Sent {
        config: Arc::clone(config),
        path,
        spi_i,
        begun: cx.now,
        nonce,
        key,
        cookie: None,
        message: Vec::new(),
        requests,
        detours: 0,
        suspicion: None,
    };
    sent.send(cx);
    Ok(sent)
}

impl Sent {
    /// Looks at a message for our SPI. Changes nothing.
    pub(crate) fn read(&self, header: &Header, bytes: &[u8]) -> Result<Answer, Ignore> {
        if header.exchange != ExchangeType::IKE_SA_INIT {
            return Err(Ignore::UnexpectedState);
        }
        if !header.flags.response || !self.requests.awaits(header.message_id) {
            return Err(Ignore::Unasked);
        }
        let (_, chain) = Chain::parse_message(bytes).map_err(|_| Ignore::Malformed)?;
        match InitResponse::parse(&chain).map_err(|_| Ignore::Malformed)? {
            InitResponse::Cookie(cookie) => self.read_cookie(cookie),
            InitResponse::InvalidKe(method) => self.read_invalid_ke(method),
            InitResponse::NoProposalChosen => Ok(Answer::Suspect(Cause::NoProposal {
                of: Negotiated::Ike,
                refused_by: Side::Peer,
                ours: joined(&self.config.ike_proposals),
                theirs: None,
                difference: None,
            })),
            InitResponse::OtherError(kind) => Ok(Answer::Suspect(Cause::from_notify(kind))),
            InitResponse::Accepted(accepted) => self.read_accepted(header, accepted),
        }
    }

    fn read_cookie(&self, cookie: Vec<u8>) -> Result<Answer, Ignore> {
        if self.cookie.as_ref() == Some(&cookie) {
            // A second copy of what was obeyed already.
            return Err(Ignore::Unasked);
        }
        Ok(if self.detours < MOST_DETOURS { Answer::Cookie(cookie) } else { Answer::Suspect(Cause::CookieLoop) })
    }

    fn read_invalid_ke(&self, wanted: u16) -> Result<Answer, Ignore> {
        let method = KeyExchangeMethod::from_wire(wanted);
        if method == Some(self.key.method()) {
            return Err(Ignore::Unasked);
        }
        let ours = |method: &KeyExchangeMethod| self.config.ike_proposals.iter().any(|p| p.key_exchange.contains(method));
        match method.filter(ours) {
            Some(method) if self.detours < MOST_DETOURS => Ok(Answer::Group(method)),
            Some(_) | None => Ok(Answer::Suspect(Cause::InvalidKeyExchange { wanted })),
        }
    }

    fn read_accepted(&self, header: &Header, accepted: Box<InitAccepted>) -> Result<Answer, Ignore> {
        let chosen = accept_ike(&self.config.ike_proposals, &accepted.sa).map_err(|_| Ignore::Malformed)?;
        let method = chosen.suite.key_exchange;
        // An answer to an earlier copy of our request, with another group, is of no use any more.
        let fits = method == self.key.method() && accepted.ke.method == method.id();
        if !fits || accepted.ke.data.len() != method.public_len() || header.responder_spi.is_zero() {
            return Err(Ignore::Malformed);
        }
        Ok(Answer::Accepted(accepted, chosen))
    }

    /// RFC 7296 2.6: the same request again, with the cookie in front.
    pub(crate) fn retry_with_cookie(mut self, cx: &mut Cx<'_>, cookie: Vec<u8>) -> Self {
        self.cookie = Some(cookie);
        self.detours += 1;
        self.send(cx);
        self
    }

    /// RFC 7296 1.2: the same request again, with a public value of another group. All proposals are sent again, so
    /// that nobody can talk us down to a weaker one.
    pub(crate) fn retry_with_group(mut self, cx: &mut Cx<'_>, method: KeyExchangeMethod) -> Result<Self, Failure> {
        self.key = key_pair(cx, method)?;
        self.detours += 1;
        self.send(cx);
        Ok(self)
    }

    /// Remembers why this will probably fail. A genuine answer has [`SUSPICION_WAIT`] to come all the same.
    pub(crate) fn suspect(&mut self, now: Instant, cause: Cause) {
        self.suspicion.get_or_insert(Suspicion { cause, until: now + SUSPICION_WAIT });
    }

    /// When something must happen.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.suspicion.as_ref().map(|suspicion| suspicion.until).or(self.requests.due())
    }

    /// Sends again or gives up.
    pub(crate) fn on_timeout(&mut self, cx: &mut Cx<'_>) -> Result<Option<u32>, Failure> {
        if let Some(suspicion) = &self.suspicion {
            // The request is not sent again meanwhile: a peer that did refuse would only refuse again.
            let over = suspicion.until <= cx.now;
            return if over { Err(Failure::new(Exchange::IkeSaInit, suspicion.cause.clone())) } else { Ok(None) };
        }
        match self.requests.on_timeout(cx.now) {
            Overdue::No => Ok(None),
            Overdue::Resend { bytes, sent } => {
                cx.transmit(self.path, bytes);
                Ok(Some(sent))
            }
            Overdue::GiveUp { tries } => Err(Failure::new(Exchange::IkeSaInit, Cause::NoResponse { tries })),
        }
    }

    /// The key exchange is complete: what IKE_AUTH starts from.
    pub(crate) fn finish(self, header: &Header, accepted: &InitAccepted, chosen: &ChosenIke) -> Result<Exchanged, Failure> {
        let fail = |cause| Failure::new(Exchange::IkeSaInit, cause);
        let shared = self.key.shared(&accepted.ke.data).map_err(|_| fail(Cause::BadPublicValue))?;
        let spis = (self.spi_i.0, header.responder_spi.0);
        let traversal = detected(spis, self.path, &accepted.notifies);
        let encapsulation = encapsulation(traversal, self.config.encapsulation);
        let agreed = InitAgreement {
            role: Role::Initiator,
            spi_i: self.spi_i,
            spi_r: header.responder_spi,
            path: match encapsulation {
                Encapsulation::Udp => float(self.path),
                Encapsulation::None => self.path,
            },
            suite: chosen.suite,
            nonces: Nonces { initiator: self.nonce, responder: accepted.nonce.0.clone() },
            nat: traversal.unwrap_or_default(),
            encapsulation,
        };
        let ike = IkeSa::new(agreed, &shared, self.config.retransmission)
            .ok_or_else(|| fail(Cause::Internal { detail: "keys do not fit the algorithms" }))?;
        Ok(Exchanged { config: self.config, ike, request: self.message, begun: self.begun })
    }

    fn send(&mut self, cx: &mut Cx<'_>) {
        let request = InitRequest {
            cookie: self.cookie.clone(),
            sa: offer::ike_offer(&self.config.ike_proposals, None),
            ke: KeyExchange { method: self.key.method().id(), data: self.key.public().to_vec() },
            nonce: Nonce(self.nonce.clone()),
            notifies: nat_detection((self.spi_i.0, 0), self.path, self.config.encapsulation),
            vendor_ids: Vec::new(),
        };
        let header = Header {
            initiator_spi: self.spi_i,
            responder_spi: IkeSpi::ZERO,
            exchange: ExchangeType::IKE_SA_INIT,
            flags: Flags { initiator: true, version: false, response: false },
            message_id: 0,
        };
        self.message = build_plain(&header, &request.emit());
        self.requests.replace(self.message.clone(), cx.now);
        cx.transmit(self.path, self.message.clone());
    }
}

/// The initiator, after the key exchange.
pub(crate) struct Exchanged {
    /// The configuration the attempt began with.
    pub(crate) config: Arc<ConnectionConfig>,
    /// The IKE SA; nobody is authenticated yet.
    pub(crate) ike: IkeSa,
    /// RealMessage1 (RFC 7296 2.15).
    pub(crate) request: Vec<u8>,
    /// When the attempt began.
    pub(crate) begun: Instant,
}

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
/// the first that has a proposal in common decides on the suite.
pub(crate) fn answer(
    cx: &mut Cx<'_>,
    header: &Header,
    request: &InitRequest,
    path: Path,
    candidates: &[Arc<ConnectionConfig>],
    first: FirstMessage,
) -> Answered {
    let chosen = candidates.iter().find_map(|config| {
        let chosen = select_ike(&config.ike_proposals, &request.sa).ok()?;
        Some((config, chosen))
    });
    let Some((config, chosen)) = chosen else {
        return Answered::Refused(InitResponse::NoProposalChosen, Box::new(no_proposal(candidates, request)));
    };
    let method = chosen.suite.key_exchange;
    if request.ke.method != method.id() {
        // RFC 7296 1.2: not a failure, the initiator guessed another group and is told ours.
        let cause = Cause::InvalidKeyExchange { wanted: method.id() };
        return Answered::Refused(
            InitResponse::InvalidKe(method.id()),
            Box::new(Failure::new(Exchange::IkeSaInit, cause)),
        );
    }
    match exchange_keys(cx, header, request, path, config, &chosen) {
        Ok(mut half) => {
            half.ike.first = Some(first);
            cx.spis.remember(first, half.ike.spi_r);
            Answered::Accepted(Box::new(half))
        }
        Err(failure) => {
            let refusal = failure.cause.notify().unwrap_or(crate::wire::payload::NotifyType::INVALID_SYNTAX);
            Answered::Refused(InitResponse::OtherError(refusal), Box::new(failure))
        }
    }
}

fn exchange_keys(
    cx: &mut Cx<'_>,
    header: &Header,
    request: &InitRequest,
    path: Path,
    config: &ConnectionConfig,
    chosen: &ChosenIke,
) -> Result<Half, Failure> {
    let key = key_pair(cx, chosen.suite.key_exchange)?;
    let public = key.public().to_vec();
    let shared = key
        .shared(&request.ke.data)
        .map_err(|_| Failure::new(Exchange::IkeSaInit, Cause::BadPublicValue))?;
    let nonce = cx.random_octets(NONCE_LEN);
    let traversal = detected((header.initiator_spi.0, 0), path, &request.notifies);
    let spi_r = cx.spis.allocate_ike(Owner::HalfOpen, cx.random);
    let agreed = InitAgreement {
        role: Role::Responder,
        spi_i: header.initiator_spi,
        spi_r,
        path,
        suite: chosen.suite,
        nonces: Nonces { initiator: request.nonce.0.clone(), responder: nonce.clone() },
        nat: traversal.unwrap_or_default(),
        encapsulation: encapsulation(traversal, config.encapsulation),
    };
    let Some(ike) = IkeSa::new(agreed, &shared, config.retransmission) else {
        cx.spis.release_ike(spi_r, None);
        return Err(internal("keys do not fit the algorithms"));
    };
    let spis = (header.initiator_spi.0, spi_r.0);
    let notifies = match traversal {
        Some(_) => nat_detection(spis, path, config.encapsulation),
        None => InitNotifies::default(),
    };
    let accepted = InitAccepted {
        sa: offer::ike_answer(chosen.number, &chosen.suite, None),
        ke: KeyExchange { method: chosen.suite.key_exchange.id(), data: public },
        nonce: Nonce(nonce),
        notifies,
        vendor_ids: Vec::new(),
    };
    let header = Header { responder_spi: spi_r, ..response_header(header) };
    let response = build_plain(&header, &InitResponse::Accepted(Box::new(accepted)).emit());
    Ok(Half { ike, response })
}

/// A response that keeps nothing: the responder's SPI stays zero (RFC 7296 2.6).
pub(crate) fn stateless(request: &Header, response: &InitResponse) -> Vec<u8> {
    build_plain(&response_header(request), &response.emit())
}

pub(crate) fn response_header(request: &Header) -> Header {
    Header { flags: Flags { initiator: false, version: false, response: true }, ..*request }
}

/// Whether a connection would accept this suite: the one that was chosen for another candidate may not suit it.
pub(crate) fn admits(config: &ConnectionConfig, suite: &IkeSuite) -> bool {
    config.ike_proposals.iter().any(|proposal| {
        proposal.encryption.contains(&suite.encryption)
            && suite.integrity.is_none_or(|integrity| proposal.integrity.contains(&integrity))
            && proposal.prf.contains(&suite.prf)
            && proposal.key_exchange.contains(&suite.key_exchange)
    })
}

/// The contents of both NAT_DETECTION notifies. To force encapsulation, our source is not what the peer will see: it
/// finds a NAT before us that is not there (RFC 7296 2.23 allows for it; every implementation falls for it).
fn nat_detection(spis: (u64, u64), path: Path, policy: EncapsulationPolicy) -> InitNotifies {
    let source = match policy {
        EncapsulationPolicy::Auto => path.local,
        EncapsulationPolicy::Force => SocketAddr::new(path.local.ip(), 0),
    };
    InitNotifies {
        nat_detection_source: vec![detection_hash(spis.0, spis.1, source)],
        nat_detection_destination: vec![detection_hash(spis.0, spis.1, path.remote)],
        ..InitNotifies::default()
    }
}

fn detected(spis: (u64, u64), path: Path, notifies: &InitNotifies) -> Option<NatStatus> {
    let sources = notifies.nat_detection_source.iter().map(<[u8; 20]>::as_slice);
    let destination = notifies.nat_detection_destination.first().map(<[u8; 20]>::as_slice);
    detect(spis, (path.local, path.remote), sources, destination)
}

/// Into UDP if there is a NAT or we want it so, and the peer knows how.
fn encapsulation(traversal: Option<NatStatus>, policy: EncapsulationPolicy) -> Encapsulation {
    match (traversal, policy) {
        (Some(nat), EncapsulationPolicy::Auto) if nat.any() => Encapsulation::Udp,
        (Some(_), EncapsulationPolicy::Force) => Encapsulation::Udp,
        (Some(_) | None, EncapsulationPolicy::Auto) | (None, EncapsulationPolicy::Force) => Encapsulation::None,
    }
}

/// RFC 7296 2.23: with a NAT everything after IKE_SA_INIT goes from port 4500 to port 4500.
fn float(path: Path) -> Path {
    let port = |end: SocketAddr| SocketAddr::new(end.ip(), if end.port() == PORT_IKE { PORT_NAT_T } else { end.port() });
    Path { local: port(path.local), remote: port(path.remote) }
}

fn no_proposal(candidates: &[Arc<ConnectionConfig>], request: &InitRequest) -> Failure {
    let mismatch = candidates.first().and_then(|config| select_ike(&config.ike_proposals, &request.sa).err());
    let cause = Cause::NoProposal {
        of: Negotiated::Ike,
        refused_by: Side::Us,
        ours: mismatch.as_ref().map(|mismatch| mismatch.ours.clone()).unwrap_or_default(),
        theirs: Some(describe::proposals(&request.sa.proposals)),
        difference: mismatch.map(|mismatch| mismatch.difference.to_string()),
    };
    Failure::new(Exchange::IkeSaInit, cause)
}

fn key_pair(cx: &mut Cx<'_>, method: KeyExchangeMethod) -> Result<KeyPair, Failure> {
    KeyPair::generate(method, cx.random).map_err(|_| internal("the source of randomness is broken"))
}

fn internal(detail: &'static str) -> Failure {
    Failure::new(Exchange::IkeSaInit, Cause::Internal { detail })
}

/// Proposals as an operator writes them.
pub(crate) fn joined<T: ToString>(proposals: &[T]) -> String {
    proposals.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// How long a genuine answer may still come after a suspicious one.
pub(crate) const SUSPICION_WAIT: Duration = Duration::from_secs(1);
/// Cookies and other groups obeyed in one attempt.
const MOST_DETOURS: u8 = 6;
/// RFC 7296 2.10: at least 16 octets, and half the key size of the PRF.
const NONCE_LEN: usize = 32;
