//! Messages of an IKE SA on their way out and in: sealed and opened, whole or in fragments, once or again (RFC 7296 2.1
//! to 2.3, RFC 7383).
//!
//! A message that would not fit into an IP packet of the size the operator wants is sent as fragments. Where even these
//! get no answer they are made smaller, once (RFC 7383 2.5.2).

use std::net::SocketAddr;
use std::time::Instant;

use crate::api::{PORT_IKE, Random};
use crate::error::Ignore;
use crate::negotiate::transform::Encryption;
use crate::sa::datagrams::Datagrams;
use crate::sa::ike_sa::{Ciphers, IkeSa};
use crate::sa::reassembly::{MOST_OCTETS, MOST_OCTETS_OF_STRANGERS, Whole};
use crate::sa::window::{Overdue, Standing};
use crate::wire::fragment::{SealedFragment, seal_fragments};
use crate::wire::payload::PuzzleSolution;
use crate::wire::sealed::{OpenError, Opened, Plain, open};
use crate::wire::{ExchangeType, Header, MessageId, PayloadType, Payloads};

/// What a message for an IKE SA is.
#[derive(Debug)]
pub(crate) enum Seen {
    /// The next request of the peer, or the response to ours.
    Fresh(Opened),
    /// The last request of the peer again: this was the answer.
    Repeated(Datagrams),
    /// A part of such a message. It was stored; others are still missing.
    Part,
}

impl IkeSa {
    /// Seals our next request, to be sent by the caller. It will be sent again until it is answered.
    pub(crate) fn request(
        &mut self,
        now: Instant,
        random: &mut dyn Random,
        exchange: ExchangeType,
        payloads: &Payloads,
    ) -> Datagrams {
        let tries = self.requests.tries();
        self.request_with_tries(now, random, exchange, payloads, tries)
    }

    /// The same with the solution of a puzzle in the clear before the rest (RFC 8019 7.2.2).
    pub(crate) fn request_behind(
        &mut self,
        now: Instant,
        random: &mut dyn Random,
        exchange: ExchangeType,
        payloads: &Payloads,
        solution: Option<&PuzzleSolution>,
    ) -> Datagrams {
        let plain = Plain::new(self.header(exchange, false, self.requests.next_id()), payloads);
        let plain = match solution {
            Some(solution) => plain.behind(PayloadType::PS, solution),
            None => plain,
        };
        let tries = self.requests.tries();
        self.send_plain(now, random, plain, tries)
    }

    /// The same with another patience: a delete is not worth long waiting.
    pub(crate) fn request_with_tries(
        &mut self,
        now: Instant,
        random: &mut dyn Random,
        exchange: ExchangeType,
        payloads: &Payloads,
        tries: u32,
    ) -> Datagrams {
        let plain = Plain::new(self.header(exchange, false, self.requests.next_id()), payloads);
        self.send_plain(now, random, plain, tries)
    }

    fn send_plain(&mut self, now: Instant, random: &mut dyn Random, plain: Plain, tries: u32) -> Datagrams {
        let datagrams = self.seal(&plain, random);
        let plain = self.may_shrink(&plain).then_some(plain);
        self.requests
            .sent_with_tries(datagrams.clone(), plain, tries, now);
        datagrams
    }

    /// Seals the response to the peer's request `id`, which from then on counts as answered.
    pub(crate) fn respond(
        &mut self,
        exchange: ExchangeType,
        id: MessageId,
        payloads: &Payloads,
        random: &mut dyn Random,
    ) -> Datagrams {
        // The last request that may come again is the one that is answered here.
        self.ciphers_before = None;
        let plain = Plain::new(self.header(exchange, true, id), payloads);
        let datagrams = self.seal(&plain, random);
        let plain = self.may_shrink(&plain).then_some(plain);
        self.responses.answered(datagrams.clone(), plain);
        datagrams
    }

    /// RFC 7296 2.2, 2.3: the window, then the integrity check. A message that fails either changes nothing.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        random: &mut dyn Random,
        header: &Header,
        bytes: &[u8],
    ) -> Result<Seen, Ignore> {
        let id = header.message_id;
        if header.is_response() {
            if !self.requests.awaits(id) {
                return Err(Ignore::OutOfWindow);
            }
            return self.gather(now, header, bytes);
        }
        match self.responses.judge(id) {
            Standing::Fresh => self.gather(now, header, bytes),
            Standing::Repeated(answer) => {
                self.check_repeated(header, bytes)?;
                Ok(Seen::Repeated(self.answer_again(answer, random)))
            }
            Standing::Outside => Err(Ignore::OutOfWindow),
        }
    }

    /// Opens a message that is not in fragments, whichever side sent it. Changes nothing.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn unseal(&self, header: &Header, bytes: &[u8]) -> Option<Opened> {
        if (header.initiator_spi, header.responder_spi) != (self.spi_i, self.spi_r) {
            return None;
        }
        let ciphers = [&self.ciphers.outbound, &self.ciphers.inbound];
        ciphers.into_iter().find_map(|cipher| open(bytes, cipher).ok())
    }

    /// When something is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        [self.requests.due(), self.reassembly.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Looks whether our request must be sent again or given up.
    pub(crate) fn on_timeout(&mut self, now: Instant, random: &mut dyn Random) -> Overdue {
        self.reassembly.on_timeout(now);
        let overdue = self.requests.on_timeout(now);
        match &overdue {
            Overdue::Resend { sent, .. } if *sent == SHRINK_AFTER + 1 => {}
            Overdue::Resend { .. } | Overdue::No | Overdue::GiveUp { .. } => return overdue,
        }
        // RFC 7383 2.5.2: nothing came back several times, perhaps because of the size.
        let Some((plain, datagrams)) = self.requests.in_flight() else {
            return overdue;
        };
        match self.shrunk(&plain, datagrams.len(), random) {
            Some(message) => {
                self.requests.refragmented(message.clone(), now);
                Overdue::Resend {
                    message,
                    sent: SHRINK_AFTER + 1,
                }
            }
            None => overdue,
        }
    }

    /// The peer has proven who it is: it may send larger messages.
    pub(crate) fn trust(&mut self) {
        self.reassembly_limit = MOST_OCTETS;
    }

    fn gather(&mut self, now: Instant, header: &Header, bytes: &[u8]) -> Result<Seen, Ignore> {
        if !self.is_ours(header) {
            return Err(Ignore::UnknownSpi);
        }
        let fragment = SealedFragment::parse(bytes).map_err(|_| Ignore::Malformed)?;
        let Some(fragment) = fragment.filter(|_| self.features.fragmentation) else {
            let opened = open(bytes, &self.ciphers.inbound).map_err(ignored)?;
            self.reassembly.forget(header.is_response());
            return Ok(Seen::Fresh(opened));
        };
        let wanted = self
            .reassembly
            .wants(header.is_response(), header.message_id, fragment.numbers());
        if !wanted {
            return Err(Ignore::Fragment);
        }
        // RFC 7383 2.6: only what the peer has sealed is stored.
        let fragment = fragment.open(&self.ciphers.inbound).map_err(ignored)?;
        let limit = self.reassembly_limit;
        match self.reassembly.add(now, fragment, limit) {
            Err(_) => Err(Ignore::Fragment),
            Ok(None) => Ok(Seen::Part),
            Ok(Some(Whole { opened, largest })) => {
                // RFC 7383 2.5.1: what the peer thinks fits the path is not exceeded by us.
                if let Some(largest) = largest {
                    let packet = largest.saturating_add(self.overhead()).max(NARROW);
                    self.fragment_size = self.fragment_size.min(packet);
                }
                Ok(Seen::Fresh(opened))
            }
        }
    }

    /// A request that is answered already, perhaps with keys that were replaced since. RFC 7383 2.6.1: of its fragments
    /// only the first one calls for the answer.
    fn check_repeated(&self, header: &Header, bytes: &[u8]) -> Result<(), Ignore> {
        if !self.is_ours(header) {
            return Err(Ignore::UnknownSpi);
        }
        let fragment = SealedFragment::parse(bytes).map_err(|_| Ignore::Malformed)?;
        let fragment = fragment.filter(|_| self.features.fragmentation);
        if fragment
            .as_ref()
            .is_some_and(|fragment| fragment.numbers().number != 1)
        {
            return Err(Ignore::Fragment);
        }
        let check = |ciphers: &Ciphers| match &fragment {
            Some(fragment) => fragment.open(&ciphers.inbound).map(drop),
            None => open(bytes, &ciphers.inbound).map(drop),
        };
        match (check(&self.ciphers), &self.ciphers_before) {
            (Err(_), Some(before)) => check(before).map_err(ignored),
            (checked, Some(_) | None) => checked.map_err(ignored),
        }
    }

    /// RFC 7383 2.4: a request that comes again and again may mean that our answer is too large for the path.
    fn answer_again(&mut self, answer: Datagrams, random: &mut dyn Random) -> Datagrams {
        if self.responses.repeated() != SHRINK_AFTER {
            return answer;
        }
        let shrunk = self
            .responses
            .plain()
            .and_then(|plain| self.shrunk(&plain, answer.len(), random));
        match shrunk {
            Some(message) => {
                self.responses.refragmented(message.clone());
                message
            }
            None => answer,
        }
    }

    /// The message in smaller fragments, for this and all later ones. RFC 7383 2.5.2: there must be more of them than
    /// before, or the peer could not tell the two sets from each other.
    fn shrunk(&mut self, plain: &Plain, before: usize, random: &mut dyn Random) -> Option<Datagrams> {
        self.fragment_size = self.fragment_size.min(NARROW);
        let message = match self.ciphers_before.take() {
            // What was answered before the keys were replaced is answered with the old ones.
            Some(before) if plain.header().is_response() => {
                let newer = std::mem::replace(&mut self.ciphers, before);
                let message = self.seal(plain, random);
                self.ciphers_before = Some(std::mem::replace(&mut self.ciphers, newer));
                message
            }
            before => {
                self.ciphers_before = before;
                self.seal(plain, random)
            }
        };
        (message.len() > before).then_some(message)
    }

    /// Whether the message would be sent differently on a narrower path.
    fn may_shrink(&self, plain: &Plain) -> bool {
        self.sends_fragments()
            && self.fragment_size > NARROW
            && plain.sealed_len(&self.ciphers.outbound) > NARROW.saturating_sub(self.overhead())
    }

    fn seal(&mut self, plain: &Plain, random: &mut dyn Random) -> Datagrams {
        let room = self.fragment_size.saturating_sub(self.overhead());
        let in_fragments = self.sends_fragments();
        let (ivs, cipher) = (&mut self.ivs, &self.ciphers.outbound);
        if in_fragments && plain.sealed_len(cipher) > room {
            return seal_fragments(plain, room, cipher, || ivs.next(random)).into();
        }
        plain.seal(cipher, &ivs.next(random)).into()
    }

    /// RFC 9329 7.5: over TCP nothing is sent in fragments, though they are taken.
    fn sends_fragments(&self) -> bool {
        self.features.fragmentation && !self.path.is_tcp()
    }

    /// Octets of an IP packet around an IKE message.
    fn overhead(&self) -> usize {
        let ip = match self.path.remote {
            SocketAddr::V4(_) => 20,
            SocketAddr::V6(_) => 40,
        };
        // RFC 3948 2.2: the non-ESP marker.
        let marker = if self.path.local.port() == PORT_IKE { 0 } else { 4 };
        ip + UDP + marker
    }

    fn is_ours(&self, header: &Header) -> bool {
        header.initiator_spi == self.spi_i && header.responder_spi == self.spi_r
    }
}

fn ignored(error: OpenError) -> Ignore {
    match error {
        OpenError::Malformed(_) => Ignore::Malformed,
        OpenError::NotEncrypted | OpenError::Length | OpenError::NotAuthentic => Ignore::BadIcv,
    }
}

/// The IVs of one direction.
#[derive(Debug)]
pub(super) struct Ivs {
    encryption: Encryption,
    next: u64,
}

impl Ivs {
    /// For a fresh key.
    pub(super) fn new(encryption: Encryption) -> Self {
        Self { encryption, next: 0 }
    }

    /// RFC 5282 3.1: an AEAD's IV never repeats, so it counts. RFC 7296 3.14: a CBC's IV is unpredictable.
    fn next(&mut self, random: &mut dyn Random) -> Vec<u8> {
        if self.encryption.is_aead() {
            let iv = self.next;
            self.next = self.next.wrapping_add(1);
            return iv.to_be_bytes().to_vec();
        }
        let mut iv = vec![0; self.encryption.iv_len()];
        random.fill(&mut iv);
        iv
    }
}

/// What is accepted of a peer that is not authenticated yet.
pub(super) const FIRST_LIMIT: usize = MOST_OCTETS_OF_STRANGERS;
/// RFC 7383 2.5.1: an IP packet of this size is hardly ever fragmented.
const NARROW: usize = 576;
/// Copies of a request or a response without success before the fragments are made smaller.
const SHRINK_AFTER: u32 = 3;
/// Octets of a UDP header.
const UDP: usize = 8;
