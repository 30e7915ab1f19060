//! IKE_SESSION_RESUME (RFC 5723 4.3), the initiator's part. The responder's: `resume_answer`.
//!
//! ```text
//! initiator                                                responder
//!   IKE_SESSION_RESUME:  Ni, N(TICKET_OPAQUE)        -->
//!                                                    <--   (N(COOKIE): once more, with it)
//!                                                    <--   Nr
//!                                                    or    N(TICKET_NACK): IKE_SA_INIT follows
//!   IKE_AUTH:  SK {IDi, IDr, AUTH, SAi2, TSi, TSr}   -->
//!                                                    <--   SK {IDr, AUTH, SAr2, TSi, TSr}
//! ```
//!
//! There is no key exchange: the new keys follow from SK_d of the lost IKE SA and two nonces (5.1). Nothing in the first two
//! messages is authenticated, and nothing but a key exchange with credentials, which is never wrong, follows from a refusal.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use zeroize::Zeroizing;

use super::init::{Attempt, Exchanged, NONCE_LEN, awaited};
use super::proof::{Believed, Proof};
use super::traversal::{detected, encapsulation, float, nat_detection};
use super::{Cx, extensions};
use crate::api::{Encapsulation, Path, Role};
use crate::auth::identity::Identity;
use crate::auth::resumption;
use crate::auth::signed::SignedOctets;
use crate::auth::verified::{Credentials, Means};
use crate::config::{Childless, ConnectionConfig, Retransmission};
use crate::error::{Cause, Ignore, Side};
use crate::message::{ResumeAccepted, ResumeRequest, ResumeResponse, build_plain};
use crate::negotiate::proposal::IkeSuite;
use crate::sa::ike_sa::{IkeSa, InitAgreement, Nonces};
use crate::sa::spis::Owner;
use crate::sa::window::{Overdue, Requests};
use crate::state::{Established, Reauthentication};
use crate::wire::payload::{AuthMethod, Authentication, Nonce};
use crate::wire::{Chain, ExchangeType, Flags, Header, IkeSpi};

/// A session that was lost, and the ticket for it (RFC 5723 4.2: what is "from the ticket"). Never printed.
#[derive(Clone)]
pub(crate) struct Session {
    ticket: Vec<u8>,
    expires: Instant,
    /// Where the gateway was that gave it.
    gateway: IpAddr,
    policy: [u8; 32],
    sk_d: Zeroizing<Vec<u8>>,
    suite: IkeSuite,
    ppk: bool,
    past: Past,
}

/// What the IKE SA that goes on knows of the one that was lost.
#[derive(Clone, Debug)]
pub(crate) struct Past {
    /// Who the peer had proven to be.
    pub(crate) remote: Identity,
    /// When it had.
    pub(crate) credentials: Credentials,
    /// When it has to again: that is not put off (RFC 5723 5).
    pub(crate) reauthentication: Option<Reauthentication>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(..)")
    }
}

impl Session {
    /// Of an IKE SA whose peer is lost, if it had a ticket.
    pub(crate) fn of(established: &mut Established) -> Option<Self> {
        let ticket = established.ticket.take()?;
        let ike = &established.ike;
        Some(Self {
            ticket: ticket.octets,
            expires: ticket.expires,
            gateway: ike.path.remote.ip(),
            policy: resumption::policy(&established.config),
            sk_d: ike.keys.sk_d.clone(),
            suite: ike.suite,
            ppk: ike.ppk,
            past: Past {
                remote: established.remote_identity.clone(),
                credentials: established.credentials,
                reauthentication: established.reauthentication.clone(),
            },
        })
    }

    /// RFC 5723 4.3.1, 6.2: the ticket has not expired, nothing that it stands for has changed, the peer need not be
    /// authenticated anew, and this is the gateway that gave it.
    pub(crate) fn is_good(&self, now: Instant, config: &ConnectionConfig, path: Path) -> bool {
        let stale = |of: &Reauthentication| of.is_wanted(now);
        config.may_resume()
            && self.expires > now
            && self.gateway == path.remote.ip()
            && !self.past.reauthentication.as_ref().is_some_and(stale)
            && self.policy == resumption::policy(config)
    }
}

/// The initiator, after its request, awaiting the answer.
pub(crate) struct Sent {
    /// The configuration the attempt began with.
    pub(crate) config: Arc<ConnectionConfig>,
    /// Where the request went.
    pub(crate) path: Path,
    /// Our SPI.
    pub(crate) spi_i: IkeSpi,
    /// When the attempt began.
    begun: Instant,
    /// What is special about it.
    pub(crate) attempt: Attempt,
    session: Session,
    nonce: Vec<u8>,
    cookie: Option<Vec<u8>>,
    detours: u8,
    message: Vec<u8>,
    requests: Requests,
}

/// What an answer to our request means.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Once more, with this cookie.
    Cookie(Vec<u8>),
    /// The peer does not take the ticket.
    Refused,
    /// Go on.
    Accepted(Box<ResumeAccepted>),
}

/// What is due.
pub(crate) enum Due {
    /// Nothing, or the request was sent again, so many times by now.
    Wait(Option<u32>),
    /// The peer is not there, or does not know what to say.
    Unanswered,
}

/// The initiator's request, sent.
pub(crate) fn request(
    cx: &mut Cx<'_>,
    config: &Arc<ConnectionConfig>,
    path: Path,
    attempt: Attempt,
    session: Session,
) -> Sent {
    let spi_i = cx.spis.allocate_ike(Owner::Connection(config.id), cx.random);
    let nonce = cx.random_octets(NONCE_LEN);
    let mut sent = Sent {
        config: Arc::clone(config),
        path,
        spi_i,
        begun: cx.now,
        attempt,
        session,
        nonce,
        cookie: None,
        detours: 0,
        message: Vec::new(),
        requests: Requests::starting_at(0, brief(config.retransmission)),
    };
    sent.send(cx);
    sent
}

/// A peer that is there answers soon; one that does not know the exchange never does. Nobody knows which it is, so IKE_SA_INIT is
/// tried soon, and the ticket again soon after.
pub(crate) fn brief(policy: Retransmission) -> Retransmission {
    Retransmission {
        tries: policy.tries.min(TRIES),
        ..policy
    }
}

impl Sent {
    /// Looks at a message for our SPI. Changes nothing.
    pub(crate) fn read(&self, header: &Header, bytes: &[u8]) -> Result<Answer, Ignore> {
        awaited(
            header,
            ExchangeType::IKE_SESSION_RESUME,
            self.spi_i,
            &self.requests,
        )?;
        let (_, chain) = Chain::parse_message(bytes).map_err(|_| Ignore::Malformed)?;
        match ResumeResponse::parse(&chain).map_err(|_| Ignore::Malformed)? {
            // A second copy of what was obeyed already.
            ResumeResponse::Cookie(cookie) if self.cookie.as_ref() == Some(&cookie) => Err(Ignore::Unasked),
            ResumeResponse::Cookie(_) if self.detours >= MOST_DETOURS => Ok(Answer::Refused),
            ResumeResponse::Cookie(cookie) => Ok(Answer::Cookie(cookie)),
            ResumeResponse::Refused | ResumeResponse::OtherError(_) => Ok(Answer::Refused),
            ResumeResponse::Accepted(_) if header.responder_spi.is_zero() => Err(Ignore::Malformed),
            ResumeResponse::Accepted(accepted) if self.is_bearable(&accepted) => {
                Ok(Answer::Accepted(accepted))
            }
            ResumeResponse::Accepted(_) => Ok(Answer::Refused),
        }
    }

    /// IKE_SA_INIT will tell the operator what is wrong otherwise.
    fn is_bearable(&self, accepted: &ResumeAccepted) -> bool {
        self.config.childless != Childless::Force || extensions::is_childless(&accepted.notifies)
    }

    /// RFC 7296 2.6: the same request again, with the cookie in front.
    pub(crate) fn retry_with_cookie(&mut self, cx: &mut Cx<'_>, cookie: Vec<u8>) {
        self.cookie = Some(cookie);
        self.detours += 1;
        self.send(cx);
    }

    /// The TCP connection is open: the request goes by it (RFC 9329 6.2).
    pub(crate) fn on_connected(&self, cx: &mut Cx<'_>) {
        cx.transmit(self.path, self.message.clone());
    }

    /// When something must happen.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.requests.due()
    }

    /// Sends again or gives up.
    pub(crate) fn on_timeout(&mut self, cx: &mut Cx<'_>) -> Due {
        match self.requests.on_timeout(cx.now) {
            Overdue::No => Due::Wait(None),
            Overdue::Resend { message, sent } => {
                cx.retransmit(self.path, message);
                Due::Wait(Some(sent))
            }
            Overdue::GiveUp { .. } => Due::Unanswered,
        }
    }

    /// The new keys: what IKE_AUTH starts from. `None` is a defect of ours.
    pub(crate) fn finish(self, header: &Header, accepted: &ResumeAccepted) -> Option<Exchanged> {
        let spis = (self.spi_i.0, header.responder_spi.0);
        // RFC 5723 4.3.2: where there is a NAT is found out anew.
        let traversal = detected(spis, self.path, &accepted.notifies);
        let encapsulation = encapsulation(self.path, traversal, self.config.encapsulation);
        let floats = encapsulation == Encapsulation::Udp || (self.config.mobike && traversal.is_some());
        let agreed = InitAgreement {
            role: Role::Initiator,
            spi_i: self.spi_i,
            spi_r: header.responder_spi,
            path: if floats { float(self.path) } else { self.path },
            suite: self.session.suite,
            nonces: Nonces {
                initiator: self.nonce,
                responder: accepted.nonce.0.clone(),
            },
            nat: traversal.unwrap_or_default(),
            encapsulation,
            features: extensions::accepted_resumption(accepted, &self.config),
        };
        let secret = (self.session.sk_d.as_slice(), self.session.ppk);
        let ike = IkeSa::resumed(agreed, secret, &self.config)?;
        Some(Exchanged {
            config: self.config,
            ike,
            request: self.message,
            begun: self.begun,
            attempt: self.attempt,
            solution: None,
            past: Some(self.session.past),
        })
    }

    fn send(&mut self, cx: &mut Cx<'_>) {
        let mut request = ResumeRequest {
            cookie: self.cookie.clone(),
            nonce: Nonce(self.nonce.clone()),
            ticket: self.session.ticket.clone(),
            notifies: nat_detection((self.spi_i.0, 0), self.path, self.config.encapsulation),
            vendor_ids: Vec::new(),
        };
        extensions::announce_resumption(&mut request, &self.config);
        let header = Header {
            initiator_spi: self.spi_i,
            responder_spi: IkeSpi::ZERO,
            exchange: ExchangeType::IKE_SESSION_RESUME,
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

/// AUTH of ours (RFC 5723 4.3.3), the same for both roles: no certificates go with it.
pub(crate) fn prove(ike: &IkeSa, signed: SignedOctets<'_>) -> Proof {
    Proof {
        auth: Authentication {
            method: AuthMethod::PSK,
            data: resumption::authentication_data(ike.suite.prf, signed).to_vec(),
        },
        certificates: Vec::new(),
        means: Means::Ticket,
    }
}

/// Verifies the peer's AUTH. It must be who it was (RFC 5723 4.3.3).
pub(crate) fn verify(
    ike: &IkeSa,
    was: &Identity,
    signed: SignedOctets<'_>,
    (identity, auth): (&Identity, &Authentication),
) -> Result<Believed, Cause> {
    if identity != was {
        return Err(Cause::IdentityMismatch {
            expected: vec![was.clone()],
            got: identity.clone(),
        });
    }
    let refused = || Cause::AuthenticationFailed {
        refused_by: Side::Us,
        identity: identity.clone(),
    };
    if auth.method != AuthMethod::PSK {
        return Err(refused());
    }
    let proof = resumption::verify(ike.suite.prf, signed, &auth.data).map_err(|_| refused())?;
    Ok(Believed {
        proof,
        means: Means::Ticket,
        path: Vec::new(),
    })
}

/// So often each of the two first messages is sent while there is a ticket.
const TRIES: u32 = 3;
/// Cookies obeyed in one attempt.
const MOST_DETOURS: u8 = 6;
