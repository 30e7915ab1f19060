//! The exchanges of IKEv2: one file each, both roles.
//!
//! A step is taken in two halves: look by reference (`read`: it may refuse with an [`Ignore`] and changes nothing),
//! step by value (`finish`, `answer`: the old state is used up).

use std::collections::VecDeque;
use std::time::Instant;

use rustls_pki_types::UnixTime;

use self::crash::TokenMaker;
use crate::api::{Datagram, Event, ExportedKeys, Output, Path, Random, Transmit, Transport};
use crate::auth::x509::revocation::Checker;
use crate::error::Ignore;
use crate::sa::datagrams::Datagrams;
use crate::sa::ike_sa::IkeSa;
use crate::sa::spis::Spis;
use crate::sa::ticket::Tickets;

pub(crate) mod add_child;
pub(crate) mod auth;
pub(crate) mod auth_answer;
pub(crate) mod collision;
pub(crate) mod crash;
pub(crate) mod create_child;
pub(crate) mod delete;
pub(crate) mod extensions;
pub(crate) mod follow_up;
pub(crate) mod informational;
pub(crate) mod init;
pub(crate) mod init_answer;
pub(crate) mod intermediate;
mod lane;
pub(crate) mod liveness;
pub(crate) mod mobike;
pub(crate) mod narrowed;
pub(crate) mod new_child;
pub(crate) mod ppk;
pub(crate) mod proof;
pub(crate) mod redirect;
pub(crate) mod rekey_child;
pub(crate) mod rekey_ike;
mod rekey_refused;
pub(crate) mod resume;
pub(crate) mod resume_answer;
pub(crate) mod status;
pub(crate) mod ticket;
pub(crate) mod traversal;

/// What a step may use and leave behind.
pub(crate) struct Cx<'a> {
    /// The time.
    pub(crate) now: Instant,
    /// The time of day, if the shell has told it.
    pub(crate) wall_clock: Option<UnixTime>,
    /// What is known of certificates that may have been revoked.
    pub(crate) checker: &'a mut Checker,
    /// The lent randomness.
    pub(crate) random: &'a mut dyn Random,
    /// The one list of effects.
    pub(crate) outputs: &'a mut VecDeque<Output>,
    /// The SPIs in use.
    pub(crate) spis: &'a mut Spis,
    /// What tells the peers that we have forgotten them.
    pub(crate) tokens: &'a TokenMaker,
    /// The tickets of session resumption that we give.
    pub(crate) tickets: &'a mut Tickets,
    /// The operator wants to have the keys of every SA.
    pub(crate) export_keys: bool,
}

impl Cx<'_> {
    /// Appends an effect.
    pub(crate) fn output(&mut self, output: Output) {
        // Every installation goes through here: none is forgotten.
        if let Some(keys) = ExportedKeys::of(&output).filter(|_| self.export_keys) {
            self.outputs.push_back(Output::Keys(keys));
        }
        self.outputs.push_back(output);
    }

    /// Puts effects before the answer that was appended last: what the peer may do as soon as it has the answer must find them done.
    pub(crate) fn before_the_answer<T>(&mut self, effects: impl FnOnce(&mut Self) -> T) -> T {
        let is_answer = |output: &Output| matches!(output, Output::Transmit(_));
        let begin = self.outputs.iter().rposition(|output| !is_answer(output));
        let answer = self.outputs.split_off(begin.map_or(0, |at| at + 1));
        let result = effects(self);
        self.outputs.extend(answer);
        result
    }

    /// Appends an event.
    pub(crate) fn event(&mut self, event: Event) {
        self.output(Output::Event(event));
    }

    /// Tells the keys of an IKE SA, which are new, to an operator who wants to have them.
    pub(crate) fn new_keys(&mut self, ike: &IkeSa) {
        if self.export_keys {
            self.outputs.push_back(Output::Keys(ike.exported()));
        }
    }

    /// Appends an IKE message, all of its fragments.
    pub(crate) fn transmit(&mut self, path: Path, message: impl Into<Datagrams>) {
        for bytes in message.into() {
            self.output(Output::Transmit(Transmit {
                path,
                kind: Datagram::Ike,
                bytes,
            }));
        }
    }

    /// Appends a request that went unanswered once more. RFC 9329 6.2: not over TCP, which loses nothing unless the connection
    /// is lost, and then the request is sent by the next one ([`crate::api::Input::Connected`]).
    pub(crate) fn retransmit(&mut self, path: Path, message: impl Into<Datagrams>) {
        match path.transport() {
            Transport::Udp => self.transmit(path, message),
            Transport::Tcp => {}
        }
    }

    /// Appends a NAT-keepalive (RFC 3948 4).
    pub(crate) fn keepalive(&mut self, path: Path) {
        self.output(Output::Transmit(Transmit {
            path,
            kind: Datagram::Keepalive,
            bytes: vec![0xff],
        }));
    }

    /// Counts a datagram that changed nothing.
    pub(crate) fn ignored(&mut self, reason: Ignore) {
        self.event(Event::Ignored { reason });
    }

    /// Random octets.
    pub(crate) fn random_octets(&mut self, len: usize) -> Vec<u8> {
        let mut octets = vec![0; len];
        self.random.fill(&mut octets);
        octets
    }
}
