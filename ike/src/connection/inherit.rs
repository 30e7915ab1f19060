//! One IKE SA takes the place of another (RFC 7296 2.8, 2.8.2), and the operator's wish for it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Connection;

use crate::api::{CloseReason, Reason, Rekey, Usage};
use crate::error::Exchange;
use crate::exchange::{Cx, collision, mobike};
use crate::message::Informational;
use crate::state::{Born, Ending, Established, State, Succession};
use crate::timers::after;
use crate::wire::{IkeSpi, Opened};

impl Connection {
    /// The operator wants new keys.
    pub(crate) fn rekey(&mut self, cx: &mut Cx<'_>, what: Rekey) {
        let current = self.established().find(|(_, established)| {
            established.announced && established.is_current() && !established.losing
        });
        let Some(spi) = current.map(|(spi, _)| spi) else {
            return;
        };
        let Some(State::Established(mut established)) = self.sas.remove(&spi) else {
            return;
        };
        match what {
            Rekey::Ike => established.worn = Some(cx.now),
            Rekey::Child => collision::wear(cx, &mut established),
        }
        let ending = established.tend(cx);
        self.after_step(cx, spi, established, ending);
    }

    /// Addresses of this host have changed (RFC 4555 3.5).
    pub(crate) fn on_addresses(&mut self, cx: &mut Cx<'_>, local: Option<IpAddr>, others: &[IpAddr]) {
        Arc::make_mut(&mut self.config).other_addresses = others.to_vec();
        let spis: Vec<IkeSpi> = self.established().map(|(spi, _)| spi).collect();
        for spi in spis {
            if let Some(State::Established(mut established)) = self.sas.remove(&spi) {
                established.on_addresses(cx, local, others);
                if !established.is_current() {
                    mobike::request_due(cx, &mut established);
                }
                let ending = established.tend(cx);
                self.after_step(cx, spi, established, ending);
            }
        }
    }

    /// The operator wants it up: CHILD SAs that are missing are made from now on.
    pub(super) fn make_children(&mut self, cx: &mut Cx<'_>) {
        let spis: Vec<IkeSpi> = self.established().map(|(spi, _)| spi).collect();
        for spi in spis {
            if let Some(State::Established(mut established)) = self.sas.remove(&spi) {
                established.wanted = true;
                let ending = established.tend(cx);
                self.after_step(cx, spi, established, ending);
            }
        }
    }

    /// As if both sides of every IKE SA had sent so many requests.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn use_up_message_ids(&mut self, many: u32) {
        for state in self.sas.values_mut() {
            if let State::Established(established) = state {
                established.ike.use_up_message_ids(many);
            }
        }
    }

    /// What the dataplane has seen.
    pub(crate) fn on_usage(&mut self, cx: &mut Cx<'_>, usage: &Usage) {
        let owner = self
            .established()
            .find(|(_, established)| established.children.contains_key(&usage.inbound_spi));
        let Some(spi) = owner.map(|(spi, _)| spi) else {
            return;
        };
        if let Some(State::Established(mut established)) = self.sas.remove(&spi) {
            let ending = established.on_usage(cx, usage);
            self.after_step(cx, spi, established, ending);
        }
    }

    /// An established IKE SA has taken a step: it stays or ends, and what it brought forth is taken.
    pub(super) fn after_step(
        &mut self,
        cx: &mut Cx<'_>,
        spi: IkeSpi,
        mut established: Box<Established>,
        ending: Option<Ending>,
    ) {
        for born in std::mem::take(&mut established.born) {
            self.make_room(cx);
            match born {
                Born::Heir(heir) => self.put(heir.ike.local_spi(), State::Established(heir)),
                Born::Lost(lost) => {
                    let closing = lost.close(cx, CloseReason::Replaced);
                    self.put(closing.ike.local_spi(), State::Closing(Box::new(closing)));
                }
            }
        }
        let (redirected, path) = (established.redirected.take(), established.ike.path);
        match ending {
            Some(ending) => self.ended(cx, spi, *established, ending),
            None => {
                self.put(spi, State::Established(established));
                self.retire_predecessors(cx, spi);
                if let Some(to) = redirected {
                    self.redirected(cx, Exchange::Informational, path, to);
                }
            }
        }
    }

    /// A message on an heir: the peer has it, so it takes over, unless this very message deletes it.
    pub(super) fn inherit_if_used(&mut self, cx: &mut Cx<'_>, heir: &mut Established, opened: &Opened) {
        let Succession::Heir(of) = heir.succession else {
            return;
        };
        let message = opened.chain().and_then(|chain| Informational::parse(&chain));
        if message.is_ok_and(|message| message.delete_ike) {
            return;
        }
        if let Some(State::Established(old)) = self.sas.get_mut(&of)
            && old.is_current()
        {
            let spi = heir.ike.local_spi();
            old.heirs.retain(|other| other.spi != spi);
            heir.inherit(cx, old);
        }
    }

    /// Our new IKE SA takes the place of the old one, which we delete.
    pub(super) fn replaced(
        &mut self,
        cx: &mut Cx<'_>,
        spi: IkeSpi,
        mut old: Established,
        mut heir: Established,
    ) {
        heir.inherit(cx, &mut old);
        let closing = old.close(cx, CloseReason::Replaced);
        self.put(spi, State::Closing(Box::new(closing)));
        let ending = heir.tend(cx);
        let spi = heir.ike.local_spi();
        self.after_step(cx, spi, Box::new(heir), ending);
    }

    /// The peer has deleted the old IKE SA: the one it made takes its place. Whether there is one.
    pub(super) fn bequeath(&mut self, cx: &mut Cx<'_>, old: &mut Established) -> bool {
        // If it made two, the one with the lowest nonce is not the one it keeps.
        old.heirs.sort_by(|a, b| a.lowest.cmp(&b.lowest));
        let mut heirs = self.take_heirs(old);
        let Some(mut heir) = heirs.pop() else { return false };
        heir.inherit(cx, old);
        let spi = heir.ike.local_spi();
        let ending = heir.tend(cx);
        self.after_step(cx, spi, Box::new(heir), ending);
        for other in heirs {
            cx.spis.release_ike(other.ike.local_spi(), None);
        }
        true
    }

    /// The end of an IKE SA that has no CHILD SAs, not yet or no more: nobody hears of it.
    pub(super) fn bury(&mut self, cx: &mut Cx<'_>, mut established: Established) {
        established.forget_request(cx);
        let spi = established.ike.local_spi();
        if let Succession::Heir(of) = established.succession
            && let Some(State::Established(old)) = self.sas.get_mut(&of)
        {
            old.heirs.retain(|heir| heir.spi != spi);
            if old.is_current() {
                // What waited for it may go on.
                old.timers.set(Reason::Rekey, after(cx.now, Duration::ZERO));
            }
        }
        self.drop_heirs(cx, &mut established);
        cx.spis.release_ike(spi, established.ike.first);
    }

    /// There is nothing to inherit any more.
    pub(super) fn drop_heirs(&mut self, cx: &mut Cx<'_>, established: &mut Established) {
        for heir in self.take_heirs(established) {
            cx.spis.release_ike(heir.ike.local_spi(), None);
        }
    }

    /// The heirs that still wait.
    pub(super) fn take_heirs(&mut self, established: &mut Established) -> Vec<Established> {
        let mut heirs = Vec::new();
        for heir in std::mem::take(&mut established.heirs) {
            match self.sas.remove(&heir.spi) {
                Some(State::Established(heir)) if !heir.is_current() => heirs.push(*heir),
                Some(other) => self.put(heir.spi, other),
                None => {}
            }
        }
        heirs
    }

    /// A peer that replaces the IKE SA all the time and never deletes the old ones must not pile them up.
    fn make_room(&mut self, cx: &mut Cx<'_>) {
        while self.sas.len() >= MOST_REPLACED {
            let retired = self.sas.iter().find(|(_, state)| match state {
                State::Established(established) => established.is_retired(),
                State::InitSent(_)
                | State::ResumeSent(_)
                | State::IntermediateSent(_)
                | State::AuthSent(_)
                | State::Closing(_) => false,
            });
            let Some(spi) = retired.map(|(spi, _)| *spi) else {
                return;
            };
            if let Some(State::Established(retired)) = self.sas.remove(&spi) {
                self.bury(cx, *retired);
            }
        }
    }
}

/// IKE SAs of a connection at most before those that were replaced go without a word.
const MOST_REPLACED: usize = 6;
