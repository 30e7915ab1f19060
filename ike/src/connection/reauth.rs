//! Reauthentication, make before break (RFC 7296 2.8.3): a new IKE SA with CHILD SAs of its own is made from the beginning
//! while the old one carries traffic, and only then the old one is deleted.
//!
//! ```text
//! who begins                                   who answers
//!   IKE_SA_INIT, IKE_AUTH             -->
//!   (without INITIAL_CONTACT)         <--      receives on the new CHILD SA, still sends on the old one
//!   receives and sends on the new one
//!   delete of the old IKE SA          -->      sends on the new one (or when the first packet came on it)
//! ```
//!
//! On both sides the old CHILD SA is received on for some seconds more.

use super::{Connection, Intent};
use crate::api::{CloseReason, Event, Path};
use crate::auth::psk::Generation;
use crate::error::Failure;
use crate::exchange::Cx;
use crate::exchange::init::{Attempt, TicketUse};
use crate::state::{Established, State};
use crate::wire::IkeSpi;

impl Connection {
    /// Begins anew if an authentication has grown old.
    pub(super) fn reauthenticate(&mut self, cx: &mut Cx<'_>) {
        if self.intent == Intent::Down || self.forgotten || self.is_trying() {
            return;
        }
        let due = |(_, established): &(IkeSpi, &Established)| {
            established.reauthentication_is_due(cx.now) && !established.rekeys_ike()
        };
        let Some(path) = self.established().find(due).map(|(_, old)| old.ike.path) else {
            return;
        };
        let attempt = Attempt {
            key: Generation::Current,
            reauthenticates: true,
            elsewhere: None,
            transport: Some(path.transport()),
            ticket: TicketUse::Possible,
        };
        self.begin_beside(cx, path, attempt);
    }

    /// Begins an attempt by the path of the IKE SA that it is to replace. RFC 9329 6.1: over TCP, each has its own connection.
    pub(super) fn begin_beside(&mut self, cx: &mut Cx<'_>, path: Path, attempt: Attempt) {
        if path.is_tcp() {
            self.initiate(cx, attempt);
        } else {
            self.begin(cx, path, attempt);
        }
    }

    /// An attempt failed while another IKE SA stands. If it was to replace that, it is reported and made again; otherwise the
    /// peer's own attempt succeeded in the meantime.
    pub(super) fn reauthentication_failed(&mut self, cx: &mut Cx<'_>, path: Path, failure: Failure) {
        let now = cx.now;
        let old = self.sas.values_mut().find_map(|state| match state {
            State::Established(old) if old.is_current() && !old.losing && old.wants_reauthentication(now) => {
                Some(old)
            }
            State::InitSent(_)
            | State::ResumeSent(_)
            | State::IntermediateSent(_)
            | State::AuthSent(_)
            | State::Established(_)
            | State::Closing(_) => None,
        });
        if let Some(retry_in) = old.and_then(|old| old.reauthentication_failed(cx)) {
            cx.event(Event::ReauthFailed {
                connection: self.config.id,
                path,
                failure,
                retry_in,
            });
        }
    }

    /// An IKE SA ends in whose place another was made: that has its traffic from now on.
    pub(super) fn hand_over(&mut self, cx: &mut Cx<'_>, old: &mut Established) {
        let spi = old.ike.local_spi();
        let heir = self.sas.values_mut().find_map(|state| match state {
            State::Established(new) if new.predecessors.contains(&spi) => Some(new),
            State::InitSent(_)
            | State::ResumeSent(_)
            | State::IntermediateSent(_)
            | State::AuthSent(_)
            | State::Established(_)
            | State::Closing(_) => None,
        });
        let Some(new) = heir else { return };
        new.predecessors.retain(|other| *other != spi);
        if new.children.values().any(|child| child.lives()) {
            new.take_over(cx);
            new.adopt(cx, old);
        }
    }

    /// All that an IKE SA that we made in the place of others shall have is there: they are deleted.
    pub(super) fn retire_predecessors(&mut self, cx: &mut Cx<'_>, spi: IkeSpi) {
        let Some(State::Established(new)) = self.sas.get(&spi) else {
            return;
        };
        let ours = new.ike.role == crate::api::Role::Initiator;
        if !ours || new.predecessors.is_empty() || new.lacks_any() {
            return;
        }
        for old in new.predecessors.clone() {
            match self.sas.remove(&old) {
                Some(State::Established(mut established)) => {
                    self.hand_over(cx, &mut established);
                    let closing = established.close(cx, CloseReason::Replaced);
                    self.put(old, State::Closing(Box::new(closing)));
                }
                Some(other) => self.put(old, other),
                None => {}
            }
        }
        if let Some(State::Established(new)) = self.sas.get_mut(&spi) {
            new.predecessors.clear();
        }
    }
}
