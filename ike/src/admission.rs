//! Who may take up room here before it has proven anything (RFC 7296 2.6, RFC 8019).
//!
//! A half-open SA costs a key exchange and memory, and anyone can ask for one from any address. What an initiator must
//! show grows with the load, cheapest check first:
//!
//! 1. nothing, while few half-open SAs are there;
//! 2. a cookie that only we can make and need not remember: that it receives what is sent to its address;
//! 3. the solution of a puzzle, once half of the room is taken, or half of the share of its part of the address space
//!    (`prefix`); who cannot solve puzzles takes part in a lottery. Only who has shown its address is given a puzzle.
//!
//! Who has shown an address that a connection is configured for needs no puzzle, and a quarter of the room is kept for
//! such peers. No part of the address space gets more than its share.

mod cookie;
mod prefix;
mod ration;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use cookie::Cookies;
use prefix::Prefixes;
pub(crate) use ration::Ration;

use crate::api::{FetchId, Path, Random, Reason};
use crate::config::{ConnectionId, EndpointConfig};
use crate::crypto::puzzle::Puzzle;
use crate::exchange::auth_answer::Awaited;
use crate::negotiate::transform::Prf;
use crate::wire::payload::PuzzleSolution;
use crate::wire::{IkeSpi, Opened};

/// The half-open SAs, and what new ones must show.
pub(crate) struct Admission {
    half_open: BTreeMap<IkeSpi, Awaited>,
    /// When half-open SAs expire: in the order in which they were made.
    expiry: VecDeque<(Instant, IkeSpi)>,
    /// Key exchanges that were paid for and came to nothing: they count like half-open SAs, or nothing would ever slow
    /// down who asks for them.
    wasted: VecDeque<(Instant, IpAddr)>,
    prefixes: Prefixes,
    cookies: Cookies,
    /// Cookies whose puzzle was solved and that were served: one solution is good for one SA (RFC 8019 10).
    spent: BTreeMap<Vec<u8>, Instant>,
    /// Reports of refused IKE_SA_INIT requests.
    refusals: Ration<()>,
    /// Reports of refused IKE_AUTH requests, by the connection that was probably meant.
    pub(crate) disbelief: Ration<Option<ConnectionId>>,
    /// Answers to other major versions.
    pub(crate) versions: Ration<IpAddr>,
    /// Reports of peers that speak another major version.
    pub(crate) version_reports: Ration<IpAddr>,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            half_open: BTreeMap::new(),
            expiry: VecDeque::new(),
            wasted: VecDeque::new(),
            prefixes: Prefixes::default(),
            cookies: Cookies::default(),
            spent: BTreeMap::new(),
            refusals: Ration::new(REPORT_INTERVAL, 1),
            disbelief: Ration::new(REPORT_INTERVAL, 1024),
            versions: Ration::new(REPORT_INTERVAL, 16),
            version_reports: Ration::new(VERSION_REPORT_INTERVAL, 64),
        }
    }
}

/// Whether an initiator may have a half-open SA.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may.
    Admitted,
    /// Only with this cookie.
    CookieWanted(Vec<u8>),
    /// Only with this cookie and the solution of this puzzle.
    PuzzleWanted(Vec<u8>, Puzzle),
    /// There is no room for it.
    Full,
}

/// What an initiator shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Applicant<'a> {
    /// Ni.
    pub(crate) nonce: &'a [u8],
    /// IPi.
    pub(crate) from: SocketAddr,
    /// SPIi.
    pub(crate) spi_i: IkeSpi,
    /// Its cookie, if it has one.
    pub(crate) cookie: Option<&'a [u8]>,
    /// Its solution of a puzzle, if it has one.
    pub(crate) solution: Option<&'a PuzzleSolution>,
    /// The PRF of a puzzle for it: one that it offers and we speak.
    pub(crate) prf: Option<Prf>,
    /// A connection is configured for its address.
    pub(crate) expected: bool,
    /// TCP has shown already that it receives at its address.
    pub(crate) proven: bool,
}

impl Admission {
    /// Whether a request without a cookie could be served at all. Cheap: the first thing asked about it.
    pub(crate) fn serves_without_cookie(
        &mut self,
        config: &EndpointConfig,
        now: Instant,
        from: IpAddr,
    ) -> bool {
        self.forget_wasted(config, now);
        self.taken() < config.cookie_threshold && self.crowding(config, from) < COOKIE_CROWDING
    }

    /// Judges an initiator by how much room is left, and by what it shows.
    pub(crate) fn judge(
        &mut self,
        config: &EndpointConfig,
        now: Instant,
        random: &mut dyn Random,
        applicant: Applicant<'_>,
    ) -> Verdict {
        let from = applicant.from.ip();
        let free = self.serves_without_cookie(config, now, from);
        if self.taken() >= config.max_half_open {
            return Verdict::Full;
        }
        if free {
            return Verdict::Admitted;
        }
        self.cookies.rotate(now, random);
        let ticket = self.cookies.read(&applicant);
        // RFC 9329 6.3: over TCP a cookie without a puzzle would show nothing new.
        if ticket.is_none() && !applicant.proven {
            return Verdict::CookieWanted(self.cookies.make(&applicant, None));
        }
        let room = config.max_half_open - config.max_half_open / RESERVE;
        let crowding = self.crowding(config, from);
        if crowding >= 1000 || (!applicant.expected && self.taken() >= room) {
            return Verdict::Full;
        }
        let load = (self.taken().saturating_mul(1000) / room.max(1)).max(crowding);
        let wanted = puzzle(config, load, applicant.prf).filter(|_| !applicant.expected);
        let Some(wanted) = wanted else {
            return Verdict::Admitted;
        };
        let Some(given) = ticket.and_then(|ticket| ticket.puzzle) else {
            return Verdict::PuzzleWanted(self.cookies.make(&applicant, Some(wanted)), wanted);
        };
        match applicant.solution {
            Some(solution) => self.judge_solution(now, applicant, solution, given, wanted),
            // RFC 8019 7.1: who does not solve puzzles is served with a probability that sinks with the load.
            None if lucky(random, load) => Verdict::Admitted,
            None => Verdict::Full,
        }
    }

    /// It receives what is sent to its address: a cookie of ours says so, or TCP does.
    pub(crate) fn has_shown_address(&self, applicant: &Applicant<'_>) -> bool {
        applicant.proven || self.cookies.read(applicant).is_some()
    }

    /// A cookie without a puzzle, whatever the load.
    pub(crate) fn cookie(
        &mut self,
        now: Instant,
        random: &mut dyn Random,
        applicant: &Applicant<'_>,
    ) -> Vec<u8> {
        self.cookies.rotate(now, random);
        self.cookies.make(applicant, None)
    }

    /// RFC 8019 7.1.4: all four keys are checked, against the difficulty that was asked for when the puzzle was given.
    fn judge_solution(
        &mut self,
        now: Instant,
        applicant: Applicant<'_>,
        solution: &PuzzleSolution,
        given: Puzzle,
        wanted: Puzzle,
    ) -> Verdict {
        let cookie = applicant.cookie.unwrap_or_default();
        self.spent
            .retain(|_, at| now.saturating_duration_since(*at) < cookie::SECRET_LIFETIME * 2);
        let solved = given.bits(cookie, solution).unwrap_or_default();
        if self.spent.contains_key(cookie) || self.spent.len() >= MOST_SPENT || solved < given.difficulty {
            return Verdict::Full;
        }
        // The load may have grown meanwhile. Who worked for nearly enough has done its part.
        if solved.saturating_add(PATIENCE_BITS) < wanted.difficulty {
            return Verdict::PuzzleWanted(self.cookies.make(&applicant, Some(wanted)), wanted);
        }
        self.spent.insert(cookie.to_vec(), now);
        Verdict::Admitted
    }

    /// A key exchange with this address came to nothing.
    pub(crate) fn note_wasted(&mut self, now: Instant, from: IpAddr) {
        self.prefixes.add(from);
        self.wasted.push_back((now, from));
    }

    fn forget_wasted(&mut self, config: &EndpointConfig, now: Instant) {
        let old = |at: Instant| now.saturating_duration_since(at) >= config.half_open_timeout;
        while let Some((at, from)) = self.wasted.front().copied()
            && old(at)
        {
            self.wasted.pop_front();
            self.prefixes.sub(from);
        }
    }

    fn taken(&self) -> usize {
        self.half_open.len().saturating_add(self.wasted.len())
    }

    fn crowding(&self, config: &EndpointConfig, from: IpAddr) -> usize {
        self.prefixes
            .crowding(from, config.max_half_open, config.cookie_threshold)
    }

    /// Whether the refusal of an IKE_SA_INIT request may be reported to the operator.
    pub(crate) fn may_report(&mut self, now: Instant) -> bool {
        self.refusals.take(now, ())
    }

    /// All of them.
    pub(crate) fn half_open(&self) -> impl Iterator<Item = &Awaited> {
        self.half_open.values()
    }

    /// A half-open SA of ours.
    pub(crate) fn get(&self, spi: IkeSpi) -> Option<&Awaited> {
        self.half_open.get(&spi)
    }

    /// The same, to store fragments.
    pub(crate) fn get_mut(&mut self, spi: IkeSpi) -> Option<&mut Awaited> {
        self.half_open.get_mut(&spi)
    }

    /// Takes a half-open SA out.
    pub(crate) fn take(&mut self, spi: IkeSpi) -> Option<Awaited> {
        let awaited = self.half_open.remove(&spi)?;
        self.prefixes.sub(awaited.ike.path.remote.ip());
        Some(awaited)
    }

    /// Keeps a half-open SA until it expires.
    pub(crate) fn put(&mut self, awaited: Awaited) {
        let spi = awaited.ike.local_spi();
        self.prefixes.add(awaited.ike.path.remote.ip());
        self.expiry.push_back((awaited.expires, spi));
        self.half_open.insert(spi, awaited);
    }

    /// There is room for one more message that waits for the network.
    pub(crate) fn may_defer(&self) -> bool {
        let waiting = self
            .half_open
            .values()
            .filter(|awaited| awaited.deferred.is_some());
        waiting.count() < MOST_DEFERRED
    }

    /// Takes note of answers of the network. The half-open SAs that await none any more.
    pub(crate) fn take_note(&mut self, done: &[FetchId]) -> Vec<IkeSpi> {
        let ready = |awaited: &mut Awaited| {
            let deferred = awaited.deferred.as_mut();
            deferred.is_some_and(|deferred| deferred.is_ready(done))
        };
        self.half_open
            .iter_mut()
            .filter_map(|(spi, awaited)| ready(awaited).then_some(*spi))
            .collect()
    }

    /// The message that waited.
    pub(crate) fn take_deferred(&mut self, spi: IkeSpi) -> Option<(Path, Opened)> {
        let deferred = self.half_open.get_mut(&spi)?.deferred.take()?;
        Some((deferred.path, deferred.opened))
    }

    /// Takes one half-open SA out whose time is over.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Option<Awaited> {
        while let Some((at, spi)) = self.expiry.front().copied()
            && at <= now
        {
            self.expiry.pop_front();
            // It may be gone, or have been put back and stand further behind.
            let over = self.get(spi).is_some_and(|awaited| awaited.expires <= now);
            if over {
                return self.take(spi);
            }
        }
        None
    }

    /// Takes any half-open SA out.
    pub(crate) fn take_any(&mut self) -> Option<Awaited> {
        let spi = *self.half_open.first_key_value()?.0;
        self.take(spi)
    }

    /// When the next one expires.
    pub(crate) fn next_deadline(&self) -> Option<(Instant, Reason)> {
        if self.half_open.is_empty() {
            return None;
        }
        self.expiry.front().map(|(at, _)| (*at, Reason::Expire))
    }
}

/// The puzzle for this load, in thousandths: none below one half, then harder and harder.
fn puzzle(config: &EndpointConfig, load: usize, prf: Option<Prf>) -> Option<Puzzle> {
    let (easiest, hardest) = config.puzzles?;
    let above = load.checked_sub(PUZZLE_LOAD)?.min(PUZZLE_LOAD);
    let span = usize::from(hardest.saturating_sub(easiest));
    let harder = u8::try_from(span * above / PUZZLE_LOAD).unwrap_or_default();
    Some(Puzzle {
        prf: prf?,
        difficulty: easiest.saturating_add(harder),
    })
}

/// True as often as the room is free.
fn lucky(random: &mut dyn Random, load: usize) -> bool {
    let mut octets = [0; 2];
    random.fill(&mut octets);
    usize::from(u16::from_be_bytes(octets)) % 1000 >= load
}

/// From this part of its share on, in thousandths, a part of the address space must show cookies, whatever the load.
const COOKIE_CROWDING: usize = 250;
/// From this load on, in thousandths, puzzles are given.
const PUZZLE_LOAD: usize = 500;
/// So many zero bits less than are wanted now are good enough for who solved an earlier puzzle.
const PATIENCE_BITS: u8 = 2;
/// One part of so many of the room is kept for the peers that are expected.
const RESERVE: usize = 4;
/// Cookies remembered as spent.
const MOST_SPENT: usize = 8192;
/// Messages that wait for the network, all together.
const MOST_DEFERRED: usize = 64;
/// Between reports of what strangers did.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Between reports that a peer speaks another major version: somebody has to change something there first.
const VERSION_REPORT_INTERVAL: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;
