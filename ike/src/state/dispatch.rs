//! What becomes of the peer's fresh messages on an established IKE SA: each goes to its exchange, and what that has
//! changed is looked after (RFC 7296 1.3, 1.4).

use super::{Ending, Established, Request};
use crate::api::{Output, Path};
use crate::error::{Cause, Exchange, Failure};
use crate::exchange::{Cx, collision, create_child, delete, follow_up, informational, liveness, ticket};
use crate::message::only_notify;
use crate::wire::{ExchangeType, Header, Malformed, Opened, Payloads};

impl Established {
    /// The peer's fresh request or the awaited response: both are proof of life, and of where the peer is.
    pub(crate) fn on_fresh(&mut self, cx: &mut Cx<'_>, path: Path, opened: &Opened) -> Option<Ending> {
        liveness::heard(self, cx.now);
        let moved = self.is_current() && self.ike.follow(path);
        if moved {
            cx.output(Output::SetPath {
                connection: self.config.id,
                path,
                encapsulation: self.ike.encapsulation,
            });
            self.tell_reconnected(cx);
        }
        let ending = if opened.header().is_response() {
            self.ike.requests.answered();
            self.note_detour(cx, path);
            self.on_response(cx, opened)
        } else {
            if moved {
                self.ike.repeat_request(cx);
            }
            self.on_request(cx, path, opened)
        };
        ending.or_else(|| self.tend(cx))
    }

    fn on_response(&mut self, cx: &mut Cx<'_>, opened: &Opened) -> Option<Ending> {
        match self.in_flight.take() {
            // What is in the answer to a liveness check does not matter.
            Some(Request::Liveness) | None => None,
            Some(Request::Ticket) => {
                ticket::finish(cx, self, opened);
                None
            }
            Some(Request::Mobike(sent)) => sent.finish(cx, self, opened),
            Some(Request::RekeyChild(sent)) => {
                let ending = sent.finish(cx, self, opened);
                ending.or_else(|| self.childless(Cause::NoChild))
            }
            Some(Request::AddChild(sent)) => sent.finish(cx, self, opened),
            Some(Request::RekeyIke(sent)) => sent.finish(cx, self, opened),
            Some(Request::FollowUp(sent)) => {
                let replaces_child = sent.series.replaces().is_some();
                let ending = sent.finish(cx, self, opened);
                ending.or_else(|| {
                    if replaces_child {
                        self.childless(Cause::NoChild)
                    } else {
                        None
                    }
                })
            }
            Some(Request::DeleteChild(spis)) => {
                let connection = self.config.id;
                for spi in spis {
                    if let Some(child) = self.children.get_mut(&spi) {
                        collision::drain(cx, connection, child);
                    }
                }
                None
            }
        }
    }

    fn on_request(&mut self, cx: &mut Cx<'_>, path: Path, opened: &Opened) -> Option<Ending> {
        let header = *opened.header();
        let mut young = None;
        let asked = opened.chain().and_then(|chain| match header.exchange {
            ExchangeType::INFORMATIONAL => informational::answer(cx, self, path, &chain),
            ExchangeType::CREATE_CHILD_SA => {
                let (answer, added) = create_child::answer(cx, self, &chain)?;
                young = added;
                Ok(informational::Asked {
                    answer,
                    removed: Vec::new(),
                    ending: None,
                })
            }
            ExchangeType::IKE_FOLLOWUP_KE => {
                let (answer, added) = follow_up::answer(cx, self, &chain)?;
                young = added;
                Ok(informational::Asked {
                    answer,
                    removed: Vec::new(),
                    ending: None,
                })
            }
            other => Err(unexpected(other)),
        });
        match asked {
            Ok(asked) => {
                self.respond(cx, path, &header, &asked.answer);
                delete::remove(cx, self.config.id, asked.removed);
                if let Some(spi) = young {
                    collision::promote(cx, self, spi);
                    collision::retire_twins(cx, self, spi);
                }
                asked.ending
            }
            Err(malformed) => {
                self.respond(cx, path, &header, &only_notify(&malformed.answer()));
                // RFC 7296 2.21.3: INVALID_SYNTAX ends the IKE SA on both sides; an unknown critical payload does not.
                let cause = Cause::from_malformed(&malformed);
                let failure = Failure::new(exchange_of(header.exchange), cause);
                failure
                    .cause
                    .unsupported_critical()
                    .is_none()
                    .then_some(Ending::Failed(failure))
            }
        }
    }

    /// RFC 7296 2.11: the answer goes where the request came from.
    fn respond(&mut self, cx: &mut Cx<'_>, path: Path, header: &Header, payloads: &Payloads) {
        let answer = self
            .ike
            .respond(header.exchange, header.message_id, payloads, cx.random);
        cx.transmit(path, answer);
    }
}

fn exchange_of(kind: ExchangeType) -> Exchange {
    match kind {
        ExchangeType::IKE_SA_INIT => Exchange::IkeSaInit,
        ExchangeType::IKE_INTERMEDIATE => Exchange::IkeIntermediate,
        ExchangeType::IKE_AUTH => Exchange::IkeAuth,
        ExchangeType::CREATE_CHILD_SA | ExchangeType::IKE_FOLLOWUP_KE => Exchange::CreateChildSa,
        ExchangeType(_) => Exchange::Informational,
    }
}

/// A request of an exchange that has no place here. It counts as fresh and must be answered, or the peer's window
/// would be stuck.
fn unexpected(kind: ExchangeType) -> Malformed {
    Malformed::new(
        crate::wire::Fault::Value {
            what: "the exchange type",
            value: u64::from(kind.0),
        },
        18,
    )
}
