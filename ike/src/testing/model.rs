//! Two endpoints under everything at once: operators who bring up, take down and rekey, hosts that crash and lose all
//! state, a NAT that rebinds, a network that loses, doubles, delays and reorders. A stream of packets runs both ways, and
//! after every step it is checked what must never happen. Both a simulation (bytes from a seed) and a fuzz target
//! (bytes from the fuzzer) drive it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::host::Host;
use super::judge::{Judge, failed};
use super::kind::{OUTSIDE, kind_of};
use super::net::{Faults, Nat};
use super::pair::{ALICE, LINK, Pair, Who, ip};
use super::random::SeededRandom;
use crate::api::{Command, Input, Path, Rekey, Spi, Usage};
use crate::config::{ConnectionConfig, EndpointConfig};

/// Something that is done to one of the hosts or to the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Replace an SA.
    Rekey(Who, Rekey),
    /// Both sides replace an SA at the same moment, perhaps different ones.
    RekeyBoth(Rekey, Rekey),
    /// The operator wants it up.
    Up(Who),
    /// The operator wants it down.
    Down(Who),
    /// The operator takes it out of the configuration, and back in.
    Forget(Who),
    /// There was no traffic for long, says the program.
    Rest(Who),
    /// The host loses everything and begins anew with its configuration.
    Crash(Who),
    /// The NAT before Alice, if there is one, forgets its mapping and makes another.
    Rebind,
    /// The network becomes better or worse: loss and duplication in percent, and jitter.
    Network(u8, u8, Duration),
}

impl Operation {
    /// Reads one operation of two octets. Every pair of octets is one.
    pub fn decode(kind: u8, argument: u8) -> Self {
        let who = if argument & 1 == 0 { Who::Alice } else { Who::Bob };
        match kind % 32 {
            0..=8 => Self::Rekey(who, Rekey::Child),
            9..=11 => Self::Rekey(who, Rekey::Ike),
            12..=15 => Self::RekeyBoth(Rekey::Child, Rekey::Child),
            16..=17 => Self::RekeyBoth(Rekey::Ike, Rekey::Ike),
            18 => Self::RekeyBoth(Rekey::Child, Rekey::Ike),
            19 => Self::RekeyBoth(Rekey::Ike, Rekey::Child),
            20..=21 => Self::Up(who),
            22 => Self::Down(who),
            23 => Self::Crash(who),
            24 => Self::Forget(who),
            25 => Self::Rest(who),
            26..=27 => Self::Rebind,
            _ => Self::Network(
                argument % 31,
                argument.rotate_left(3) % 31,
                Duration::from_millis(u64::from(argument.rotate_left(5)) * 3),
            ),
        }
    }

    /// State is lost by it on purpose.
    pub fn is_rough(self) -> bool {
        match self {
            Self::Up(_) | Self::Down(_) | Self::Crash(_) | Self::Forget(_) | Self::Rest(_) => true,
            Self::Rekey(..) | Self::RekeyBoth(..) | Self::Rebind | Self::Network(..) => false,
        }
    }
}

/// A packet on the way.
struct Packet {
    to: Who,
    spi: Spi,
    path: Path,
    /// It may be refused: the SA was given up on purpose.
    excused: bool,
}

/// The two hosts and what is known of them.
pub struct Model {
    /// The hosts and the network.
    pub pair: Pair,
    /// Packets that arrived.
    pub delivered: u64,
    configs: [ConnectionConfig; 2],
    wanted: [bool; 2],
    dice: SeededRandom,
    packets: BTreeMap<(Instant, u64), Packet>,
    accepted: BTreeMap<(Who, Spi), u64>,
    serial: u64,
    next_report: Instant,
    judge: Judge,
    /// Somebody lost state on purpose, and the two have not come to rest since.
    excused: bool,
    steps: u32,
}

impl Model {
    /// A connection that stands, of a kind that follows from the seed.
    ///
    /// # Errors
    ///
    /// It does not come up.
    pub fn new(seed: u64) -> Result<Self, String> {
        let mut dice = SeededRandom::new(seed ^ 0x5eed);
        let kind = dice.next_u64();
        let nat = kind & 1 == 0;
        let (alice, bob) = (kind_of(Who::Alice, kind), kind_of(Who::Bob, kind));
        let alice_children = alice.more_children.len();
        let pair = Pair::with(
            seed,
            Faults::NONE,
            EndpointConfig::default(),
            alice.clone(),
            bob.clone(),
        );
        let judge = Judge::new(1 + alice_children);
        let next_report = pair.clock.now() + REPORT;
        let mut model = Self {
            pair,
            delivered: 0,
            configs: [alice, bob],
            wanted: [true, false],
            dice,
            packets: BTreeMap::new(),
            accepted: BTreeMap::new(),
            serial: 0,
            next_report,
            judge,
            excused: true,
            steps: 0,
        };
        if nat {
            model.pair.net.nat = Some(Nat {
                inside: ip(ALICE),
                outside: ip(OUTSIDE),
                port_shift: 7000,
            });
        }
        model.pair.up(Who::Alice);
        model.rest(Duration::from_secs(30))?;
        Ok(model)
    }

    /// Does one thing and lets some time pass.
    ///
    /// # Errors
    ///
    /// What must never happen has happened.
    pub fn apply(&mut self, operation: Operation, wait: Duration) -> Result<(), String> {
        let rekey = |what| Command::Rekey {
            connection: LINK,
            what,
        };
        match operation {
            Operation::Rekey(who, what) => self.command(who, rekey(what)),
            Operation::RekeyBoth(alice, bob) => {
                self.command(Who::Alice, rekey(alice));
                self.command(Who::Bob, rekey(bob));
            }
            Operation::Up(who) => {
                self.give_up();
                self.wanted[index(who)] = true;
                self.command(who, Command::Up(LINK));
            }
            Operation::Down(who) => {
                self.give_up();
                self.wanted[index(who)] = false;
                self.command(who, Command::Down(LINK));
            }
            Operation::Crash(who) => self.crash(who),
            Operation::Forget(who) => {
                self.give_up();
                self.command(who, Command::Forget(LINK));
                self.configure(who);
            }
            Operation::Rest(who) => {
                self.give_up();
                self.command(who, Command::Rest(LINK));
            }
            Operation::Rebind => {
                if let Some(nat) = &mut self.pair.net.nat {
                    nat.port_shift = 7000 + u16::try_from(self.dice.below(30_000)).unwrap_or(0);
                }
            }
            Operation::Network(loss, duplication, jitter) => {
                self.pair.net.faults = Faults {
                    loss,
                    duplication,
                    jitter,
                    ..Faults::NONE
                };
            }
        }
        self.run_for(wait)
    }

    /// The network is good again, and both want it up: both must have exactly one IKE SA and the CHILD SAs they are
    /// configured for, with the same keys, and nothing else. Then both want it down: nothing must be left.
    ///
    /// # Errors
    ///
    /// They do not agree, or something is left.
    pub fn settle(&mut self) -> Result<(), String> {
        self.pair.net.faults = Faults::NONE;
        for who in BOTH {
            if !self.wanted[index(who)] {
                self.apply(Operation::Up(who), Duration::ZERO)?;
            }
        }
        self.rest(Duration::from_secs(900))?;
        for who in BOTH {
            self.apply(Operation::Down(who), Duration::ZERO)?;
        }
        let end = self.pair.clock.now() + Duration::from_secs(300);
        while self.pair.step(end) {
            self.forget();
        }
        for host in [&self.pair.alice, &self.pair.bob] {
            let left = (
                host.endpoint.spis_in_use(),
                host.is_bare(),
                host.endpoint.poll_timeout(),
            );
            if left != ((0, 0), true, None) {
                return Err(format!("something is left when both are down: {left:?}"));
            }
        }
        Ok(())
    }

    fn command(&mut self, who: Who, command: Command) {
        self.pair.command(who, command);
    }

    fn crash(&mut self, who: Who) {
        self.give_up();
        let seed = self.dice.next_u64();
        *self.pair.host(who) = Host::new(EndpointConfig::default(), seed);
        self.accepted.retain(|(of, _), _| *of != who);
        self.configure(who);
    }

    fn configure(&mut self, who: Who) {
        let config = Box::new(self.configs[index(who)].clone());
        self.command(who, Command::Configure(config));
        if self.wanted[index(who)] {
            self.command(who, Command::Up(LINK));
        }
    }

    /// From now on packets may be refused, until the two have come to rest.
    fn give_up(&mut self) {
        self.excused = true;
        self.packets.values_mut().for_each(|packet| packet.excused = true);
    }

    fn rest(&mut self, limit: Duration) -> Result<(), String> {
        let end = self.pair.clock.now() + limit;
        while self.pair.clock.now() < end {
            if self.is_at_rest() {
                self.excused = false;
                return Ok(());
            }
            self.run_for(Duration::from_millis(500))?;
        }
        let of = |host: &Host| {
            (
                host.endpoint.spis_in_use(),
                host.inbound.len(),
                host.outbound.len(),
            )
        };
        Err(format!(
            "they do not come to rest: Alice {:?}, Bob {:?}",
            of(&self.pair.alice),
            of(&self.pair.bob)
        ))
    }

    fn is_at_rest(&self) -> bool {
        self.judge.at_rest(&self.pair)
    }

    fn run_for(&mut self, time: Duration) -> Result<(), String> {
        let end = self.pair.clock.now() + time;
        self.steps = 0;
        loop {
            self.send();
            let tick = (self.pair.clock.now() + TICK).min(end);
            loop {
                let arrival = self.packets.keys().next().map(|(at, _)| *at);
                let next = arrival.map_or(tick, |at| at.min(tick));
                while self.pair.step(next) {
                    self.inspect()?;
                }
                self.pair.clock.advance_to(next);
                self.deliver()?;
                if next == tick {
                    break;
                }
            }
            if self.next_report <= self.pair.clock.now() {
                self.next_report = self.pair.clock.now() + REPORT;
                self.report();
                self.inspect()?;
                self.judge.company(&self.pair)?;
            }
            if self.pair.clock.now() >= end {
                self.excused &= !self.is_at_rest();
                return Ok(());
            }
        }
    }

    /// What must hold after every step.
    fn inspect(&mut self) -> Result<(), String> {
        self.steps += 1;
        if self.steps > MOST_STEPS {
            return Err("the two never stop talking".into());
        }
        self.judge.bounds(&self.pair)?;
        if !self.excused {
            Judge::harmony(&self.pair)?;
            for (who, host) in [(Who::Alice, &self.pair.alice), (Who::Bob, &self.pair.bob)] {
                if let Some(event) = failed(host) {
                    return Err(format!("{who:?} loses it without a reason: {event:?}"));
                }
            }
        }
        self.forget();
        Ok(())
    }

    fn forget(&mut self) {
        self.pair.alice.clear();
        self.pair.bob.clear();
        self.pair.net.tape.clear();
    }

    /// Both send a packet with each SA that they send with now; it arrives after any delay that the network may have.
    fn send(&mut self) {
        let now = self.pair.clock.now();
        let jitter = u64::try_from(self.pair.net.faults.jitter.as_millis()).unwrap_or(0);
        for (from, to) in [(Who::Alice, Who::Bob), (Who::Bob, Who::Alice)] {
            for (spi, path) in self.pair.host(from).sending_each() {
                // Some packets take as long as they may: an SA that was replaced receives for five seconds.
                let most = if self.dice.below(16) == 0 { LATEST } else { jitter };
                let late = Duration::from_millis(10 + self.dice.below(most + 1));
                self.serial += 1;
                let packet = Packet {
                    to,
                    spi,
                    path,
                    excused: self.excused,
                };
                self.packets.insert((now + late, self.serial), packet);
            }
        }
    }

    fn deliver(&mut self) -> Result<(), String> {
        let now = self.pair.clock.now();
        while let Some(entry) = self.packets.first_entry().filter(|entry| entry.key().0 <= now) {
            let packet = entry.remove();
            // A NAT that has rebound lets nothing in by its old mapping: the network did not deliver it.
            if !self.pair.net.delivers(packet.path) {
                continue;
            }
            self.delivered += 1;
            let key = (packet.to, packet.spi);
            if self.pair.host(packet.to).inbound.contains_key(&packet.spi) {
                *self.accepted.entry(key).or_default() += 1;
            } else if !packet.excused {
                return Err(format!("{:?} refuses a packet to {}", packet.to, packet.spi));
            }
        }
        Ok(())
    }

    /// What the dataplanes report about once a second.
    fn report(&mut self) {
        for who in BOTH {
            let spis: Vec<Spi> = self.pair.host(who).inbound.keys().copied().collect();
            self.accepted
                .retain(|(of, spi), _| *of != who || spis.contains(spi));
            for inbound_spi in spis {
                let inbound_packets = self.accepted.get(&(who, inbound_spi)).copied().unwrap_or(0);
                let usage = Usage {
                    connection: LINK,
                    inbound_spi,
                    inbound_bytes: inbound_packets.saturating_mul(100),
                    inbound_packets,
                    outbound_bytes: 0,
                    outbound_packets: 0,
                };
                self.pair.input(who, Input::Usage(usage));
            }
        }
    }
}

const fn index(who: Who) -> usize {
    match who {
        Who::Alice => 0,
        Who::Bob => 1,
    }
}

const BOTH: [Who; 2] = [Who::Alice, Who::Bob];
/// Between two packets.
const TICK: Duration = Duration::from_millis(90);
/// Between two reports of the dataplane.
const REPORT: Duration = Duration::from_secs(1);
/// Milliseconds on the way at most.
const LATEST: u64 = 4_900;
/// Messages and deadlines within the wait after one operation.
const MOST_STEPS: u32 = 5_000;
