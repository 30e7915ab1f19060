//! IKE_SA_INIT (RFC 7296 1.2, 2.6, 2.7, 2.14, 2.23).
//!
//! ```text
//! initiator                                            responder
//!   request: SAi1, KEi, Ni, N(NAT_DETECTION_*)  -->
//!                                               <--    (N(COOKIE) | N(COOKIE), N(PUZZLE) | N(INVALID_KE_PAYLOAD):
//!                                                        once more, a few times at most)
//!                                               <--    answer: SAr1, KEr, Nr, N(NAT_DETECTION_*)
//!   finish: IKE_AUTH request                    -->
//! ```
//!
//! This file is the initiator's part; the responder's is in `init_answer`.
//!
//! Nothing here is authenticated. What an attacker may have written is therefore only ever a reason to send once
//! more, or a suspicion: an error notify is remembered, a genuine answer may still come for [`SUSPICION_WAIT`], and
//! only then the attempt (never the connection) fails with that cause (RFC 7296 2.21.1).

mod puzzle;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use puzzle::Held;
use puzzle::Work;
use zeroize::Zeroizing;

use super::resume::Past;
use super::traversal::{detected, encapsulation, float, nat_detection};
use super::{Cx, extensions, ppk, resume};
use crate::api::{Encapsulation, Path, Role, Transport};
use crate::auth::psk::Generation;
use crate::config::{Childless, ConnectionConfig};
use crate::crypto::kex::KeyPair;
use crate::crypto::puzzle::Puzzle;
use crate::error::{Cause, Exchange, Failure, Ignore, Negotiated, Side};
use crate::message::{InitAccepted, InitRequest, InitResponse, build_plain};
use crate::negotiate::offer;
use crate::negotiate::select::{ChosenIke, accept_ike};
use crate::negotiate::transform::KeyExchangeMethod;
use crate::sa::ike_sa::{IkeSa, InitAgreement, Nonces};
use crate::sa::spis::Owner;
use crate::sa::window::{Overdue, Requests};
use crate::wire::payload::{GatewayIdentity, KeyExchange, Nonce, PuzzleSolution};
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
    /// What is special about it.
    pub(crate) attempt: Attempt,
    /// Ni.
    pub(super) nonce: Vec<u8>,
    key: KeyPair,
    cookie: Option<Vec<u8>>,
    message: Vec<u8>,
    requests: Requests,
    /// The puzzle that is being worked on, and its solution (RFC 8019 7.1.2).
    puzzle: Option<Work>,
    solution: Option<PuzzleSolution>,
    /// The same for IKE_AUTH (RFC 8019 7.2.2).
    auth_solution: Option<PuzzleSolution>,
    /// The answer that came with it, to be acted on now.
    solved: Option<Held>,
    detours: u8,
    suspicion: Option<Suspicion>,
}

/// What is special about an attempt.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attempt {
    /// The pre-shared key that we prove ourselves by.
    pub(crate) key: Generation,
    /// Another IKE SA stands, which it is to replace.
    pub(crate) reauthenticates: bool,
    /// What carries it; `None`: as the configuration says.
    pub(crate) transport: Option<Transport>,
    /// Another gateway is asked, because the one that we know sent us there (RFC 5685).
    pub(crate) elsewhere: Option<Elsewhere>,
    /// What became of the ticket, if there is one (RFC 5723).
    pub(crate) ticket: TicketUse,
}

/// Whether an attempt shows a ticket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TicketUse {
    /// If there is one.
    #[default]
    Possible,
    /// It does.
    Shown,
    /// It did, and the peer did not take it.
    Refused,
    /// It did, and the peer did not answer. The ticket may be good.
    Unanswered,
}

/// The path to another gateway.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elsewhere {
    /// Our address towards it.
    pub(crate) local: IpAddr,
    /// Its address and port.
    pub(crate) remote: SocketAddr,
    /// The gateway that sent us there.
    pub(crate) from: IpAddr,
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
    /// Once more, with this cookie and the solution of this puzzle.
    Puzzle(Vec<u8>, Puzzle),
    /// Go on with this answer, once this puzzle is solved.
    AuthPuzzle(Vec<u8>, Puzzle),
    /// Once more, with this group.
    Group(KeyExchangeMethod),
    /// Another gateway is to be asked (RFC 5685 3).
    Redirect(GatewayIdentity),
    /// Perhaps the reason why this will fail.
    Suspect(Cause),
    /// Go on.
    Accepted(Box<InitAccepted>, ChosenIke),
}

/// The initiator's request, sent. An `Err` is a defect of ours.
pub(crate) fn request(
    cx: &mut Cx<'_>,
    config: &Arc<ConnectionConfig>,
    path: Path,
    attempt: Attempt,
) -> Result<Sent, Failure> {
    let groups = config
        .ike_proposals
        .iter()
        .flat_map(|proposal| proposal.key_exchange.iter().copied());
    let method = groups
        .clone()
        .next()
        .ok_or_else(|| internal("no key exchange is configured"))?;
    let key = key_pair(cx, method)?;
    let spi_i = cx.spis.allocate_ike(Owner::Connection(config.id), cx.random);
    let nonce = cx.random_octets(NONCE_LEN);
    let policy = match attempt.ticket {
        TicketUse::Possible | TicketUse::Shown | TicketUse::Refused => config.retransmission,
        // Probably nobody is there, and the ticket is to be shown again before long.
        TicketUse::Unanswered => resume::brief(config.retransmission),
    };
    let requests = Requests::starting_at(0, policy);
    let mut sent = Sent {
        config: Arc::clone(config),
        path,
        spi_i,
        begun: cx.now,
        attempt,
        nonce,
        key,
        cookie: None,
        message: Vec::new(),
        requests,
        puzzle: None,
        solution: None,
        auth_solution: None,
        solved: None,
        detours: 0,
        suspicion: None,
    };
    sent.send(cx);
    Ok(sent)
}

/// Whether this is the header of the answer to the first request of an IKE SA, which `exchange` was. It is in the clear: anyone
/// can have written it.
pub(crate) fn awaited(
    header: &Header,
    exchange: ExchangeType,
    spi_i: IkeSpi,
    requests: &Requests,
) -> Result<(), Ignore> {
    if header.exchange != exchange {
        return Err(Ignore::UnexpectedState);
    }
    if header.flags.initiator || header.initiator_spi != spi_i {
        return Err(Ignore::UnknownSpi);
    }
    if !header.flags.response || !requests.awaits(header.message_id) {
        return Err(Ignore::Unasked);
    }
    Ok(())
}

impl Sent {
    /// Looks at a message for our SPI. Changes nothing.
    pub(crate) fn read(&self, header: &Header, bytes: &[u8]) -> Result<Answer, Ignore> {
        awaited(header, ExchangeType::IKE_SA_INIT, self.spi_i, &self.requests)?;
        let (_, chain) = Chain::parse_message(bytes).map_err(|_| Ignore::Malformed)?;
        match InitResponse::parse(&chain).map_err(|_| Ignore::Malformed)? {
            InitResponse::Cookie(cookie) => self.read_cookie(cookie, None),
            InitResponse::Puzzle { cookie, puzzle } => self.read_cookie(cookie, Some(puzzle)),
            InitResponse::Redirect(redirect) => self.read_redirect(redirect),
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

    fn read_cookie(&self, cookie: Vec<u8>, puzzle: Option<Puzzle>) -> Result<Answer, Ignore> {
        if self.cookie.as_ref() == Some(&cookie) {
            // A second copy of what was obeyed already.
            return Err(Ignore::Unasked);
        }
        Ok(match puzzle {
            _ if self.detours >= MOST_DETOURS => Answer::Suspect(Cause::CookieLoop),
            Some(puzzle) => Answer::Puzzle(cookie, puzzle),
            None => Answer::Cookie(cookie),
        })
    }

    fn read_invalid_ke(&self, wanted: u16) -> Result<Answer, Ignore> {
        let method = KeyExchangeMethod::from_wire(wanted);
        if method == Some(self.key.method()) {
            return Err(Ignore::Unasked);
        }
        let ours = |method: &KeyExchangeMethod| {
            self.config
                .ike_proposals
                .iter()
                .any(|p| p.key_exchange.contains(method))
        };
        match method.filter(ours) {
            Some(method) if self.detours < MOST_DETOURS => Ok(Answer::Group(method)),
            Some(_) | None => Ok(Answer::Suspect(Cause::InvalidKeyExchange {
                wanted,
                ours: joined(&self.config.ike_proposals),
            })),
        }
    }

    fn read_accepted(&self, header: &Header, accepted: Box<InitAccepted>) -> Result<Answer, Ignore> {
        let chosen = accept_ike(&self.config.ike_proposals, &accepted.sa).map_err(|_| Ignore::Malformed)?;
        let method = chosen.suite.key_exchange;
        // An answer to an earlier copy of our request, with another group, is of no use any more.
        let fits = method == self.key.method() && accepted.ke.method == method.id();
        // RFC 9370 2.2.1: who agrees to additional key exchanges says that it can do IKE_INTERMEDIATE.
        let agreed = chosen.suite.additional.is_empty() || accepted.notifies.intermediate_supported;
        if ppk::lacks_required(&self.config, &accepted.notifies.other) {
            return Ok(Answer::Suspect(Cause::NoPpk));
        }
        if self.config.childless == Childless::Force && !extensions::is_childless(&accepted.notifies) {
            return Ok(Answer::Suspect(Cause::NotChildless));
        }
        let length = accepted.ke.data.len();
        if !fits || !agreed || length != method.answer_len() || header.responder_spi.is_zero() {
            return Err(Ignore::Malformed);
        }
        match accepted.notifies.puzzle {
            // The first one is being worked for.
            _ if self.holds_answer() => Err(Ignore::Unasked),
            Some(puzzle) if self.auth_solution.is_none() => {
                // RFC 8019 7.2.3.
                let s = [&accepted.nonce.0[..], &header.responder_spi.0.to_be_bytes()].concat();
                Ok(Answer::AuthPuzzle(s, puzzle))
            }
            Some(_) | None => Ok(Answer::Accepted(accepted, chosen)),
        }
    }

    /// RFC 7296 2.6: the same request again, with the cookie in front.
    pub(crate) fn retry_with_cookie(mut self, cx: &mut Cx<'_>, cookie: Vec<u8>) -> Self {
        self.cookie = Some(cookie);
        (self.puzzle, self.solution) = (None, None);
        self.detours += 1;
        self.send(cx);
        self
    }

    /// RFC 7296 1.2: the same request again, with a public value of another group. All proposals are sent again, so
    /// that nobody can talk us down to a weaker one.
    pub(crate) fn retry_with_group(
        mut self,
        cx: &mut Cx<'_>,
        method: KeyExchangeMethod,
    ) -> Result<Self, Failure> {
        self.key = key_pair(cx, method)?;
        self.detours += 1;
        self.send(cx);
        Ok(self)
    }

    /// The TCP connection is open: the request goes by it (RFC 9329 6.2).
    pub(crate) fn on_connected(&self, cx: &mut Cx<'_>) {
        if self.puzzle.is_none() && self.suspicion.is_none() {
            cx.transmit(self.path, self.message.clone());
        }
    }

    /// Remembers why this will probably fail. A genuine answer has [`SUSPICION_WAIT`] to come all the same. RFC 9329 6.4: not
    /// over TCP, where nobody else can answer as long as this one can.
    pub(crate) fn suspect(&mut self, now: Instant, cause: Cause) {
        let wait = match self.path.transport() {
            Transport::Udp => SUSPICION_WAIT,
            Transport::Tcp => Duration::ZERO,
        };
        self.suspicion.get_or_insert(Suspicion {
            cause,
            until: now + wait,
        });
    }

    /// When something must happen.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.suspicion
            .as_ref()
            .map(|suspicion| suspicion.until)
            .or(self.puzzle.as_ref().map(Work::due))
            .or(self.requests.due())
    }

    /// Sends again or gives up.
    pub(crate) fn on_timeout(&mut self, cx: &mut Cx<'_>) -> Result<Option<u32>, Failure> {
        if let Some(suspicion) = &self.suspicion {
            // The request is not sent again meanwhile: a peer that did refuse would only refuse again.
            let over = suspicion.until <= cx.now;
            return if over {
                Err(Failure::new(Exchange::IkeSaInit, suspicion.cause.clone()))
            } else {
                Ok(None)
            };
        }
        if self.puzzle.is_some() {
            return self.work(cx).map(|()| None);
        }
        match self.requests.on_timeout(cx.now) {
            Overdue::No => Ok(None),
            Overdue::Resend { message, sent } => {
                cx.retransmit(self.path, message);
                Ok(Some(sent))
            }
            Overdue::GiveUp { tries } => Err(Failure::new(Exchange::IkeSaInit, Cause::NoResponse { tries })),
        }
    }

    /// What the key exchange gives. Anyone can write an answer with an invalid public value: that is a suspicion.
    pub(crate) fn agree(&self, accepted: &InitAccepted) -> Result<Zeroizing<Vec<u8>>, Cause> {
        self.key
            .shared(&accepted.ke.data)
            .map_err(|_| Cause::BadPublicValue)
    }

    /// The key exchange is complete: what IKE_AUTH starts from.
    pub(crate) fn finish(
        self,
        header: &Header,
        accepted: &InitAccepted,
        chosen: &ChosenIke,
        shared: &[u8],
    ) -> Result<Exchanged, Failure> {
        let fail = |cause| Failure::new(Exchange::IkeSaInit, cause);
        let spis = (self.spi_i.0, header.responder_spi.0);
        let traversal = detected(spis, self.path, &accepted.notifies);
        let encapsulation = encapsulation(self.path, traversal, self.config.encapsulation);
        let agreed = InitAgreement {
            role: Role::Initiator,
            spi_i: self.spi_i,
            spi_r: header.responder_spi,
            // RFC 4555 3.3: with MOBIKE even without a NAT, for there may be one on the next path.
            path: if encapsulation == Encapsulation::Udp || (self.config.mobike && traversal.is_some()) {
                float(self.path)
            } else {
                self.path
            },
            suite: chosen.suite,
            nonces: Nonces {
                initiator: self.nonce,
                responder: accepted.nonce.0.clone(),
            },
            nat: traversal.unwrap_or_default(),
            encapsulation,
            features: extensions::accepted(accepted, &self.config),
        };
        let ike = IkeSa::new(agreed, shared, &self.config).ok_or_else(|| {
            fail(Cause::Internal {
                detail: "keys do not fit the algorithms",
            })
        })?;
        Ok(Exchanged {
            config: self.config,
            ike,
            request: self.message,
            begun: self.begun,
            attempt: self.attempt,
            solution: self.auth_solution,
            past: None,
        })
    }

    fn send(&mut self, cx: &mut Cx<'_>) {
        let mut request = InitRequest {
            cookie: self.cookie.clone(),
            puzzle_solution: self.solution.clone(),
            sa: offer::ike_offer(&self.config.ike_proposals, None),
            ke: KeyExchange {
                method: self.key.method().id(),
                data: self.key.public().to_vec(),
            },
            nonce: Nonce(self.nonce.clone()),
            notifies: nat_detection((self.spi_i.0, 0), self.path, self.config.encapsulation),
            vendor_ids: Vec::new(),
        };
        extensions::announce(&mut request, &self.config);
        if let Some(elsewhere) = self.attempt.elsewhere {
            let from = GatewayIdentity::redirected_from(elsewhere.from);
            request.notifies.other.push(from);
        }
        let header = Header {
            initiator_spi: self.spi_i,
            responder_spi: IkeSpi::ZERO,
            exchange: ExchangeType::IKE_SA_INIT,
            flags: Flags {
                initiator: true,
                version: false,
                response: false,
            },
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
    /// What is special about it.
    pub(crate) attempt: Attempt,
    /// The solution of the puzzle for IKE_AUTH.
    pub(crate) solution: Option<PuzzleSolution>,
    /// The IKE SA that it goes on from (RFC 5723).
    pub(crate) past: Option<Past>,
}

/// A fresh key pair.
pub(crate) fn key_pair(cx: &mut Cx<'_>, method: KeyExchangeMethod) -> Result<KeyPair, Failure> {
    KeyPair::generate(method, cx.random).map_err(|_| internal("the source of randomness is broken"))
}

/// A defect of ours.
pub(crate) fn internal(detail: &'static str) -> Failure {
    Failure::new(Exchange::IkeSaInit, Cause::Internal { detail })
}

/// Proposals as an operator writes them.
pub(crate) fn joined<T: ToString>(proposals: &[T]) -> String {
    proposals
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

/// How long a genuine answer may still come after a suspicious one.
pub(crate) const SUSPICION_WAIT: Duration = Duration::from_secs(1);
/// Cookies, puzzles and other groups obeyed in one attempt.
const MOST_DETOURS: u8 = 6;
/// RFC 7296 2.10: at least 16 octets, and half the key size of the PRF.
pub(crate) const NONCE_LEN: usize = 32;
