//! TCP in the place of UDP (RFC 9329): when an attempt falls back to it, and what follows when a connection is open.

use super::Connection;
use crate::api::{Event, Path, Transport};
use crate::config::TransportPolicy;
use crate::error::{Cause, Failure};
use crate::exchange::Cx;
use crate::exchange::init::{self, Attempt};
use crate::sa::ike_sa::IkeSa;
use crate::state::{Established, State};
use crate::wire::IkeSpi;

impl Connection {
    /// RFC 9329 5.1: nothing came back by UDP, for long enough to believe that it does not pass.
    pub(super) fn falls_back(&self, sent: &init::Sent, outcome: &Result<Option<u32>, Failure>) -> bool {
        let TransportPolicy::Auto { udp_tries } = self.config.transport else {
            return false;
        };
        let unanswered = match outcome {
            Ok(Some(sent)) => *sent > udp_tries,
            Ok(None) => false,
            Err(failure) => matches!(failure.cause, Cause::NoResponse { .. }),
        };
        unanswered && !sent.path.is_tcp()
    }

    /// RFC 9329 5.1: the attempt begins anew by TCP, with another SPI and with what NAT detection says of the new path.
    pub(super) fn fall_back(&mut self, cx: &mut Cx<'_>, spi: IkeSpi, attempt: Attempt) {
        cx.spis.release_ike(spi, None);
        let attempt = Attempt {
            transport: Some(Transport::Tcp),
            ..attempt
        };
        self.initiate(cx, attempt);
    }

    /// The TCP connection of this path is open. RFC 9329 6.2: what awaits an answer is sent by it. RFC 9329 6.1: if nothing
    /// does, the peer is asked for a sign of life, and so learns where to send from now on.
    pub(crate) fn on_connected(&mut self, cx: &mut Cx<'_>, path: Path) {
        for state in self.sas.values_mut() {
            match state {
                State::InitSent(sent) if sent.path == path => sent.on_connected(cx),
                State::ResumeSent(sent) if sent.path == path => sent.on_connected(cx),
                State::IntermediateSent(sent) if sent.path() == path => sent.on_connected(cx),
                State::AuthSent(sent) if sent.ike.path == path => sent.ike.repeat_request(cx),
                State::Established(sa) if sa.ike.path == path => {
                    if sa.ike.requests.is_free() && sa.is_current() {
                        sa.ask_for_life(cx);
                    } else {
                        sa.ike.repeat_request(cx);
                    }
                }
                State::Closing(closing) if closing.ike.path == path => closing.ike.repeat_request(cx),
                State::InitSent(_)
                | State::ResumeSent(_)
                | State::IntermediateSent(_)
                | State::AuthSent(_)
                | State::Established(_)
                | State::Closing(_) => {}
            }
        }
    }
}

impl Established {
    /// The peer has opened another TCP connection: the operator sees where it is now.
    pub(crate) fn tell_reconnected(&self, cx: &mut Cx<'_>) {
        if self.announced && self.ike.path.is_tcp() {
            cx.event(Event::Moved {
                connection: self.config.id,
                ike: self.ike.facts(self.remote_identity.clone()),
                encapsulation: self.ike.encapsulation,
            });
        }
    }
}

impl IkeSa {
    /// Sends the request in flight, if there is one, by the path of now: another TCP connection is there, and what the one
    /// before carried last may be lost (RFC 9329 6.2).
    pub(crate) fn repeat_request(&self, cx: &mut Cx<'_>) {
        if let Some(message) = self.requests.again() {
            cx.transmit(self.path, message);
        }
    }
}
