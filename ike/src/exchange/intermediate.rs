//! IKE_INTERMEDIATE (RFC 9242), for the additional key exchanges that IKE_SA_INIT agreed on (RFC 9370 2.2.2).
//!
//! ```text
//! initiator                              responder
//!   request: SK {KEi(n)}          -->
//!                                 <--    answer: SK {KEr(n)}
//!   finish: keys(n)                      keys(n), for what comes next; the old ones for who asks again
//! ```
//!
//! Both know from IKE_SA_INIT how many there will be. Who forges a message here must have broken the exchanges before,
//! and AUTH covers what was said (`sa::int_auth`).

use std::collections::VecDeque;
use std::time::Instant;

use super::auth_answer::Awaited;
use super::init::{Exchanged, key_pair};
use super::{Cx, auth};
use crate::config::ConnectionId;
use crate::crypto::kex::{self, KexError, KeyPair};
use crate::error::{Cause, Exchange, Failure, Ignore, Side};
use crate::message::{IntermediateRequest, IntermediateResponse};
use crate::negotiate::transform::KeyExchangeMethod;
use crate::sa::datagrams::Datagrams;
use crate::sa::ike_sa::IkeSa;
use crate::sa::transmission::Seen;
use crate::sa::window::Overdue;
use crate::wire::payload::{KeyExchange, Notify, NotifyType};
use crate::wire::{ExchangeType, Header, Opened};

/// The initiator, after its IKE_INTERMEDIATE request, awaiting the answer.
pub(crate) struct Sent {
    exchanged: Exchanged,
    /// RealMessage2.
    response: Vec<u8>,
    key: KeyPair,
    /// What is still to come after this one.
    left: VecDeque<KeyExchangeMethod>,
    /// The request as IntAuth covers it.
    request: Vec<u8>,
}

/// What follows for the initiator.
pub(crate) enum Next {
    /// Another IKE_INTERMEDIATE request was sent.
    Intermediate(Box<Sent>),
    /// The IKE_AUTH request was sent.
    Auth(Box<auth::Sent>),
}

/// After IKE_SA_INIT: the first additional key exchange, or IKE_AUTH if there is none. An `Err` is a defect of ours, or of a
/// key that the peer cannot use.
pub(crate) fn begin(
    cx: &mut Cx<'_>,
    exchanged: Exchanged,
    response: Vec<u8>,
    sole: bool,
) -> Result<Next, Failure> {
    let left = exchanged.ike.suite.additional.methods().collect();
    proceed(cx, exchanged, response, left, sole)
}

fn proceed(
    cx: &mut Cx<'_>,
    mut exchanged: Exchanged,
    response: Vec<u8>,
    mut left: VecDeque<KeyExchangeMethod>,
    sole: bool,
) -> Result<Next, Failure> {
    cx.new_keys(&exchanged.ike);
    let Some(method) = left.pop_front() else {
        let sent = auth::request(cx, exchanged, &response, sole)?;
        return Ok(Next::Auth(Box::new(sent)));
    };
    let key = key_pair(cx, method)?;
    let ke = KeyExchange {
        method: method.id(),
        data: key.public().to_vec(),
    };
    let payloads = IntermediateRequest { ke }.emit();
    let ike = &mut exchanged.ike;
    let id = ike.requests.next_id();
    let request = ike.unencrypted(ExchangeType::IKE_INTERMEDIATE, false, id, &payloads);
    let message = ike.request(cx.now, cx.random, ExchangeType::IKE_INTERMEDIATE, &payloads);
    cx.transmit(ike.path, message);
    Ok(Next::Intermediate(Box::new(Sent {
        exchanged,
        response,
        key,
        left,
        request,
    })))
}

impl Sent {
    /// The IKE SA that is being made.
    pub(crate) fn ike(&self) -> &IkeSa {
        &self.exchanged.ike
    }

    /// Where the request went.
    pub(crate) fn path(&self) -> crate::api::Path {
        self.exchanged.ike.path
    }

    /// Looks at a message for our SPI. Changes nothing, but fragments are stored.
    pub(crate) fn read(&mut self, cx: &mut Cx<'_>, header: &Header, bytes: &[u8]) -> Result<Seen, Ignore> {
        if header.exchange == ExchangeType::IKE_SA_INIT {
            return Err(Ignore::Unasked);
        }
        if !header.flags.response || header.exchange != ExchangeType::IKE_INTERMEDIATE {
            return Err(Ignore::UnexpectedState);
        }
        self.exchanged.ike.receive(cx.now, cx.random, header, bytes)
    }

    /// When something must happen.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.exchanged.ike.due()
    }

    /// The TCP connection is open: the request goes by it (RFC 9329 6.2).
    pub(crate) fn on_connected(&self, cx: &mut Cx<'_>) {
        self.exchanged.ike.repeat_request(cx);
    }

    /// Sends again or gives up.
    pub(crate) fn on_timeout(&mut self, cx: &mut Cx<'_>) -> Result<Option<u32>, Failure> {
        let ike = &mut self.exchanged.ike;
        match ike.on_timeout(cx.now, cx.random) {
            Overdue::No => Ok(None),
            Overdue::Resend { message, sent } => {
                cx.retransmit(ike.path, message);
                Ok(Some(sent))
            }
            Overdue::GiveUp { tries } => Err(failure(Cause::NoResponse { tries })),
        }
    }

    /// Judges the answer and goes on with new keys. An `Err` ends the attempt: the keys of the two sides differ from here on.
    pub(crate) fn finish(mut self, cx: &mut Cx<'_>, opened: &Opened, sole: bool) -> Result<Next, Failure> {
        self.exchanged.ike.requests.answered();
        let (response, answer) = read(opened).map_err(failure)?;
        let shared = match answer {
            IntermediateResponse::Accepted(ke) if ke.method == self.key.method().id() => self
                .key
                .shared(&ke.data)
                .map_err(|error| failure(bad_public(error)))?,
            IntermediateResponse::Accepted(ke) => return Err(failure(other_method(ke.method))),
            IntermediateResponse::Refused(notify) => return Err(failure(Cause::from_notify(notify.kind))),
        };
        let ike = &mut self.exchanged.ike;
        ike.int_auth
            .add(ike.suite.prf, &ike.keys, &self.request, &response);
        ike.add_key_exchange(&shared).ok_or_else(|| failure(UNFIT))?;
        proceed(cx, self.exchanged, self.response, self.left, sole)
    }
}

fn read(opened: &Opened) -> Result<(Vec<u8>, IntermediateResponse), Cause> {
    let answer = opened
        .chain()
        .and_then(|chain| IntermediateResponse::parse(&chain));
    match (answer, opened.unencrypted()) {
        (Ok(answer), Ok(octets)) => Ok((octets, answer)),
        (Err(malformed), _) | (_, Err(malformed)) => Err(Cause::from_malformed(&malformed)),
    }
}

/// What the responder made of a request.
pub(crate) enum Answered {
    /// The answer is to be sent; the next key exchange or IKE_AUTH is awaited.
    Accepted(Box<Awaited>, Datagrams),
    /// The refusal is to be sent; the half-open SA stays to repeat it.
    Refused(Box<Awaited>, Failure, Datagrams, Option<ConnectionId>),
}

/// The responder's part.
pub(crate) fn answer(mut awaited: Awaited, cx: &mut Cx<'_>, opened: &Opened) -> Answered {
    let id = opened.header().message_id;
    match exchange_keys(&mut awaited, cx, opened) {
        Ok(bytes) => Answered::Accepted(Box::new(awaited), bytes),
        Err(cause) => {
            let kind = cause.notify().unwrap_or(NotifyType::INVALID_SYNTAX);
            let notify = match cause.unsupported_critical() {
                Some(payload) => Notify::with_data(kind, vec![payload]),
                None => Notify::new(kind),
            };
            let payloads = IntermediateResponse::Refused(notify).emit();
            let bytes = awaited
                .ike
                .respond(ExchangeType::IKE_INTERMEDIATE, id, &payloads, cx.random);
            awaited.refused = true;
            let likely = awaited.likely;
            Answered::Refused(Box::new(awaited), failure(cause), bytes, likely)
        }
    }
}

fn exchange_keys(awaited: &mut Awaited, cx: &mut Cx<'_>, opened: &Opened) -> Result<Datagrams, Cause> {
    let request = opened
        .chain()
        .and_then(|chain| IntermediateRequest::parse(&chain))
        .map_err(|malformed| Cause::from_malformed(&malformed))?;
    let asked = opened
        .unencrypted()
        .map_err(|malformed| Cause::from_malformed(&malformed))?;
    let expected = awaited.left.front().copied();
    let method = expected
        .filter(|method| method.id() == request.ke.method)
        .ok_or_else(|| other_method(request.ke.method))?;
    let answer = kex::respond(method, &request.ke.data, cx.random).map_err(bad_public)?;
    let ke = KeyExchange {
        method: method.id(),
        data: answer.public,
    };
    let payloads = IntermediateResponse::Accepted(ke).emit();
    let (ike, id) = (&mut awaited.ike, opened.header().message_id);
    let answered = ike.unencrypted(ExchangeType::IKE_INTERMEDIATE, true, id, &payloads);
    // The answer still goes with the old keys (RFC 9370 2.2.2).
    let bytes = ike.respond(ExchangeType::IKE_INTERMEDIATE, id, &payloads, cx.random);
    ike.int_auth.add(ike.suite.prf, &ike.keys, &asked, &answered);
    ike.add_key_exchange(&answer.shared).ok_or(UNFIT)?;
    cx.new_keys(ike);
    awaited.left.pop_front();
    Ok(bytes)
}

fn bad_public(error: KexError) -> Cause {
    match error {
        KexError::Length { .. } | KexError::InvalidPublic { .. } => Cause::BadPublicValue,
        KexError::Random => Cause::Internal {
            detail: "the source of randomness is broken",
        },
    }
}

fn other_method(got: u16) -> Cause {
    Cause::InvalidSyntax {
        refused_by: Side::Us,
        detail: format!("key exchange method {got} where another was agreed on"),
    }
}

fn failure(cause: Cause) -> Failure {
    Failure::new(Exchange::IkeIntermediate, cause)
}

const UNFIT: Cause = Cause::Internal {
    detail: "keys do not fit the algorithms",
};
