//! IKE_SA_INIT requests: the door at which every stranger knocks, so the cheapest check comes first.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::Endpoint;
use crate::admission::{Admission, Applicant, Verdict};
use crate::api::{Event, Path, Transport};
use crate::config::{ConnectionConfig, ConnectionId};
use crate::connection::Connection;
use crate::error::{Cause, Ignore, Side};
use crate::exchange::auth_answer::Awaited;
use crate::exchange::{Cx, init_answer, redirect};
use crate::message::{InitRequest, InitResponse};
use crate::negotiate::transform::Prf;
use crate::sa::spis::FirstMessage;
use crate::timers::after;
use crate::wire::payload::sa::{SecurityAssociation, TransformType};
use crate::wire::payload::{Nonce, NotifyType};
use crate::wire::{Chain, ExchangeType, Header, IkeSpi, Malformed, PayloadType};

impl Endpoint {
    /// A message that names no SPI of ours: it can only be an IKE_SA_INIT request, or IKE_SESSION_RESUME.
    pub(super) fn on_first(
        &mut self,
        now: Instant,
        path: Path,
        header: &Header,
        bytes: &[u8],
    ) -> Result<(), Ignore> {
        let is_first = header.flags.initiator && !header.is_response() && header.message_id == 0;
        let resumes = header.exchange == ExchangeType::IKE_SESSION_RESUME;
        if !is_first || !(resumes || header.exchange == ExchangeType::IKE_SA_INIT) {
            return Err(Ignore::UnknownSpi);
        }
        if self.spis.knows_initiator(header.initiator_spi) {
            let first = first_message(path, header.initiator_spi, bytes);
            if let Some(spi) = self.spis.made_by(first) {
                return self.on_first_again(now, path, spi);
            }
        }
        if !self
            .connections
            .values()
            .any(|connection| connection.expects(path))
        {
            return Err(Ignore::NoConnection);
        }
        let served = self
            .admission
            .serves_without_cookie(&self.config, now, path.remote.ip());
        if !served
            && !path.is_tcp()
            && let Some(nonce) = nonce_without_cookie(bytes)
        {
            return self.demand_cookie(now, path, header, (nonce, bytes.len()));
        }
        if resumes {
            return self.on_resume_request(now, path, header, bytes);
        }
        let parsed = Chain::parse_message(bytes).and_then(|(_, chain)| InitRequest::parse(&chain));
        match parsed {
            Ok(request) => self.on_init_request(now, path, header, bytes, &request),
            Err(malformed) => self.on_malformed_first(now, path, header, bytes.len(), &malformed),
        }
    }

    /// Under load nothing of a request without a cookie is read but what the cookie is made of.
    fn demand_cookie(
        &mut self,
        now: Instant,
        path: Path,
        header: &Header,
        (nonce, received): (&[u8], usize),
    ) -> Result<(), Ignore> {
        let applicant = Applicant {
            nonce,
            from: path.remote,
            spi_i: header.initiator_spi,
            cookie: None,
            solution: None,
            prf: None,
            expected: false,
            proven: false,
        };
        let config = self.config.clone();
        let (mut cx, _, admission) = self.split(now);
        match admission.judge(&config, now, cx.random, applicant) {
            Verdict::CookieWanted(cookie) => {
                demand(&mut cx, (path, header), &InitResponse::Cookie(cookie), received)
            }
            Verdict::Admitted | Verdict::PuzzleWanted(..) | Verdict::Full => Err(Ignore::HalfOpenFull),
        }
    }

    fn on_init_request(
        &mut self,
        now: Instant,
        path: Path,
        header: &Header,
        bytes: &[u8],
        request: &InitRequest,
    ) -> Result<(), Ignore> {
        let candidates = self.candidates(path);
        let config = self.config.clone();
        let (mut cx, connections, admission) = self.split(now);
        let applicant = Applicant {
            nonce: &request.nonce.0,
            from: applicant(path),
            spi_i: header.initiator_spi,
            cookie: request.cookie.as_deref(),
            solution: request.puzzle_solution.as_ref(),
            prf: common_prf(&request.sa),
            expected: candidates.iter().any(|config| config.remote.is_some()),
            proven: path.is_tcp(),
        };
        let wanted = match admission.judge(&config, now, cx.random, applicant) {
            Verdict::Full => return Err(Ignore::HalfOpenFull),
            Verdict::CookieWanted(cookie) => Some(InitResponse::Cookie(cookie)),
            Verdict::PuzzleWanted(cookie, puzzle) => Some(InitResponse::Puzzle { cookie, puzzle }),
            Verdict::Admitted => None,
        };
        if let Some(wanted) = wanted {
            return demand(&mut cx, (path, header), &wanted, bytes.len());
        }
        if redirect_everybody(&mut cx, admission, (path, header), (request, bytes), &candidates) {
            return Ok(());
        }
        let first = first_message(path, header.initiator_spi, bytes);
        match init_answer::answer(&mut cx, header, request, path, &candidates, (first, bytes.len())) {
            init_answer::Answered::Accepted(half) => {
                let wait = config.half_open_timeout;
                return keep(
                    &mut cx,
                    admission,
                    (path, header, bytes),
                    applicant,
                    *half,
                    (wait, &candidates),
                );
            }
            init_answer::Answered::Refused(response, failure) => {
                cx.transmit(path, init_answer::stateless(header, &response));
                if failure.cause == Cause::BadPublicValue {
                    admission.note_wasted(now, path.remote.ip());
                }
                // Another group is a detour, not a failure.
                let detour = failure.cause.notify() == Some(NotifyType::INVALID_KE_PAYLOAD);
                if !detour && admission.may_report(now) {
                    let waits =
                        |id: &ConnectionId| connections.get(id).is_some_and(Connection::waits_for_peer);
                    let connection = likely(&candidates).filter(waits);
                    cx.event(Event::Failed {
                        connection,
                        path,
                        failure: *failure,
                        retry_in: None,
                    });
                }
            }
        }
        Ok(())
    }

    /// RFC 7296 2.1: a repeated request is answered by the same response, while the SA is not used otherwise yet.
    fn on_first_again(&mut self, now: Instant, path: Path, spi: IkeSpi) -> Result<(), Ignore> {
        let (mut cx, _, admission) = self.split(now);
        let awaited = admission.get(spi).ok_or(Ignore::OutOfWindow)?;
        cx.transmit(path, awaited.response.clone());
        Ok(())
    }

    /// RFC 7296 2.5: an unknown critical payload must be named to the sender. All else is just rubbish.
    fn on_malformed_first(
        &mut self,
        now: Instant,
        path: Path,
        header: &Header,
        received: usize,
        malformed: &Malformed,
    ) -> Result<(), Ignore> {
        if Cause::from_malformed(malformed).unsupported_critical().is_none() {
            return Err(Ignore::Malformed);
        }
        let (mut cx, _, _) = self.split(now);
        let answer = crate::message::build_plain(
            &init_answer::response_header(header),
            &crate::message::only_notify(&malformed.answer()),
        );
        // Nobody gets more octets than it sent before it has shown its address.
        if answer.len() > received {
            return Err(Ignore::Malformed);
        }
        cx.transmit(path, answer);
        Ok(())
    }

    /// The connections that a peer may have meant, the ones with its address first.
    pub(super) fn candidates(&self, path: Path) -> Vec<Arc<ConnectionConfig>> {
        let mut candidates: Vec<_> = self
            .connections
            .values()
            .filter_map(|connection| connection.candidate(path))
            .collect();
        candidates.sort_by_key(|config| config.remote.is_none());
        candidates
    }
}

/// Asks for more before anything is kept. Nobody gets more octets than it sent before it has shown its address: no honest
/// request is shorter than a cookie.
fn demand(
    cx: &mut Cx<'_>,
    (path, header): (Path, &Header),
    wanted: &InitResponse,
    received: usize,
) -> Result<(), Ignore> {
    let answer = init_answer::stateless(header, wanted);
    if answer.len() > received {
        return Err(Ignore::Malformed);
    }
    cx.transmit(path, answer);
    Ok(())
}

/// Answers, and keeps a half-open SA. An answer that is larger than the request (to a short nonce, or to short lists) goes
/// only to who has shown its address: anybody else is asked for a cookie, and has wasted a key exchange.
fn keep(
    cx: &mut Cx<'_>,
    admission: &mut Admission,
    (path, header, bytes): (Path, &Header, &[u8]),
    applicant: Applicant<'_>,
    half: init_answer::Half,
    (wait, candidates): (Duration, &[Arc<ConnectionConfig>]),
) -> Result<(), Ignore> {
    if half.response.len() > bytes.len() && !admission.has_shown_address(&applicant) {
        cx.spis.release_ike(half.ike.local_spi(), half.ike.first);
        admission.note_wasted(cx.now, path.remote.ip());
        let cookie = admission.cookie(cx.now, cx.random, &applicant);
        return demand(cx, (path, header), &InitResponse::Cookie(cookie), bytes.len());
    }
    cx.transmit(path, half.response.clone());
    let expires = after(cx.now, wait);
    let mut awaited = Awaited::new(half.ike, bytes, half.response, cx.now, expires);
    awaited.likely = likely(candidates);
    admission.put(awaited);
    Ok(())
}

/// Sends whoever asks to another gateway, if all that it can mean say so (RFC 5685 3). Whether it was sent.
fn redirect_everybody(
    cx: &mut Cx<'_>,
    admission: &mut Admission,
    (path, header): (Path, &Header),
    (request, bytes): (&InitRequest, &[u8]),
    candidates: &[Arc<ConnectionConfig>],
) -> bool {
    let Some(redirect) = redirect::of_everybody(request, candidates) else {
        return false;
    };
    let to = redirect.to.clone();
    let answer = init_answer::stateless(header, &InitResponse::Redirect(redirect));
    // Nobody gets more octets than it sent before it has shown its address; it is redirected in IKE_AUTH then.
    if answer.len() > bytes.len() {
        return false;
    }
    cx.transmit(path, answer);
    if let Some(connection) = likely(candidates).filter(|_| admission.may_report(cx.now)) {
        cx.event(Event::Redirected {
            connection,
            path,
            to,
            by: Side::Us,
        });
    }
    true
}

/// Whom a cookie is made for. RFC 9329 6.3: it may come back by another TCP connection, from another port.
pub(super) fn applicant(path: Path) -> SocketAddr {
    match path.transport() {
        Transport::Udp => path.remote,
        Transport::Tcp => SocketAddr::new(path.remote.ip(), 0),
    }
}

/// The nonce of a request that does not begin with a cookie, found without copying anything. `None`: read it properly.
fn nonce_without_cookie(bytes: &[u8]) -> Option<&[u8]> {
    let (_, first) = Header::parse(bytes).ok()?;
    let mut rest = bytes.get(Header::LEN..)?;
    let mut kind = first;
    // The payloads that an honest initiator has before its nonce, and some more.
    for _ in 0..MOST_BEFORE_NONCE {
        let (&[next, _, high, low], _) = rest.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let body = rest.get(4..length)?;
        match kind {
            PayloadType::NONCE => return (Nonce::MIN..=Nonce::MAX).contains(&body.len()).then_some(body),
            // RFC 7296 2.6: the cookie is the first payload, so a notify before the nonce may be one.
            PayloadType::NOTIFY | PayloadType::NONE => return None,
            PayloadType(_) => {}
        }
        rest = rest.get(length..)?;
        kind = PayloadType(next);
    }
    None
}

/// RFC 8019 7.1.1.2: a PRF that the initiator offers and we speak, the first it names.
fn common_prf(sa: &SecurityAssociation) -> Option<Prf> {
    let transforms = sa.proposals.iter().flat_map(|proposal| &proposal.transforms);
    transforms
        .filter(|transform| transform.kind == TransformType::PRF)
        .find_map(|transform| Prf::from_wire(transform.id))
}

/// RFC 7296 2.1: a retransmission is recognised by the whole message, and by where it comes from: a copy that somebody
/// else sends first must not shut its author out.
pub(super) fn first_message(path: Path, spi_i: IkeSpi, bytes: &[u8]) -> FirstMessage {
    let mut digest = Sha256::new();
    match path.remote.ip() {
        IpAddr::V4(address) => digest.update(address.octets()),
        IpAddr::V6(address) => digest.update(address.octets()),
    }
    digest.update(path.remote.port().to_be_bytes());
    digest.update(bytes);
    FirstMessage(spi_i, digest.finalize().into())
}

/// The one connection that was configured for this very address.
pub(super) fn likely(candidates: &[Arc<ConnectionConfig>]) -> Option<ConnectionId> {
    let mut specific = candidates.iter().filter(|config| config.remote.is_some());
    match (specific.next(), specific.next()) {
        (Some(only), None) => Some(only.id),
        (Some(_), Some(_)) | (None, _) => None,
    }
}

/// Payloads looked at in search of a nonce, under load.
const MOST_BEFORE_NONCE: usize = 8;
