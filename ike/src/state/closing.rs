//! The last state: our delete, or our refusal, awaits its answer (RFC 7296 1.4.1, 2.21.2).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Ending, read};
use crate::api::{CloseReason, Path, Spi};
use crate::config::ConnectionConfig;
use crate::error::Ignore;
use crate::exchange::{Cx, create_child, follow_up};
use crate::message::{Informational, only_notify};
use crate::sa::child::ChildSa;
use crate::sa::ike_sa::IkeSa;
use crate::sa::transmission::Seen;
use crate::sa::window::Overdue;
use crate::wire::{ExchangeType, Header, Opened};

/// An IKE SA that is being deleted by us.
pub(crate) struct Closing {
    /// The connection's configuration when it was negotiated.
    pub(crate) config: Arc<ConnectionConfig>,
    /// Keys, windows, path.
    pub(crate) ike: IkeSa,
    /// CHILD SAs that still receive until the peer has answered.
    pub(crate) children: BTreeMap<Spi, ChildSa>,
    /// The end of the IKE SA is an event when it comes: the operator waits for it.
    pub(crate) announce_end: bool,
    /// Why it ends.
    pub(crate) reason: CloseReason,
    /// What is still to be sent.
    farewell: Option<Informational>,
}

impl Closing {
    /// With nothing sent yet.
    pub(super) fn new(
        config: Arc<ConnectionConfig>,
        ike: IkeSa,
        farewell: Informational,
        reason: CloseReason,
    ) -> Self {
        Self {
            config,
            ike,
            children: BTreeMap::new(),
            announce_end: false,
            reason,
            farewell: Some(farewell),
        }
    }

    /// A never established SA: the peer is told that there is none.
    pub(crate) fn refusing(
        cx: &mut Cx<'_>,
        config: Arc<ConnectionConfig>,
        ike: IkeSa,
        farewell: Informational,
    ) -> Self {
        let mut closing = Self::new(config, ike, farewell, CloseReason::Error);
        closing.say_farewell(cx);
        closing
    }

    /// Looks at a message for our SPI. Changes nothing, but fragments are stored.
    pub(crate) fn read(&mut self, cx: &mut Cx<'_>, header: &Header, bytes: &[u8]) -> Result<Seen, Ignore> {
        read(&mut self.ike, cx, header, bytes)
    }

    /// The peer's fresh request or the awaited response.
    pub(crate) fn on_fresh(&mut self, cx: &mut Cx<'_>, path: Path, opened: &Opened) -> Option<Ending> {
        let header = *opened.header();
        if header.is_response() {
            self.ike.requests.answered();
            if self.farewell.is_none() {
                return Some(Ending::Closed);
            }
            self.say_farewell(cx);
            return None;
        }
        // The peer may still ask for something, or delete the same SA at the same time (RFC 7296 2.25.2).
        let answer = opened.chain().and_then(|chain| match header.exchange {
            ExchangeType::CREATE_CHILD_SA => create_child::answer_closing(&chain),
            ExchangeType::IKE_FOLLOWUP_KE => Ok(follow_up::answer_closing()),
            _ => Ok(Informational::default().emit()),
        });
        let answer = answer.unwrap_or_else(|malformed| only_notify(&malformed.answer()));
        let bytes = self
            .ike
            .respond(header.exchange, header.message_id, &answer, cx.random);
        cx.transmit(path, bytes);
        let deleted = opened
            .chain()
            .and_then(|chain| Informational::parse(&chain))
            .is_ok_and(|m| m.delete_ike);
        deleted.then_some(Ending::Closed)
    }

    /// Sends again or gives up.
    pub(crate) fn on_timeout(&mut self, cx: &mut Cx<'_>) -> Option<Ending> {
        match self.ike.on_timeout(cx.now, cx.random) {
            Overdue::No => None,
            Overdue::Resend { message, .. } => {
                cx.retransmit(self.ike.path, message);
                None
            }
            // A peer that does not answer is as good as one that has deleted.
            Overdue::GiveUp { .. } => Some(Ending::Closed),
        }
    }

    /// Sends what is still to be sent, if anything is.
    pub(super) fn say_farewell(&mut self, cx: &mut Cx<'_>) {
        let Some(farewell) = self.farewell.take() else {
            return;
        };
        let message = self.ike.request_with_tries(
            cx.now,
            cx.random,
            ExchangeType::INFORMATIONAL,
            &farewell.emit(),
            FAREWELL_TRIES,
        );
        cx.transmit(self.ike.path, message);
    }
}

/// A delete is not worth long waiting.
const FAREWELL_TRIES: u32 = 4;
