//! The network between two endpoints: delays always, loses, doubles and reorders as told, and may have one 1:1 NAT.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::random::SeededRandom;
use crate::api::{PORT_IKE, PORT_NAT_T, Path, Transmit};

/// How bad the network is.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Datagrams of a hundred that vanish.
    pub loss: u8,
    /// Datagrams of a hundred that arrive twice.
    pub duplication: u8,
    /// Shortest time on the way.
    pub delay: Duration,
    /// Random time on top of that: more than the time between two datagrams reorders them.
    pub jitter: Duration,
}

impl Faults {
    /// A good network: 10 ms, in order.
    pub const NONE: Self = Self {
        loss: 0,
        duplication: 0,
        delay: Duration::from_millis(10),
        jitter: Duration::ZERO,
    };

    /// A bad one.
    pub const MANY: Self = Self {
        loss: 20,
        duplication: 20,
        delay: Duration::from_millis(10),
        jitter: Duration::from_millis(800),
    };
}

/// A 1:1 NAT: a host is known by another address outside, ports as they are (an Elastic IP), or shifted.
#[derive(Clone, Copy, Debug)]
pub struct Nat {
    /// The host's own address.
    pub inside: IpAddr,
    /// The address the world sees.
    pub outside: IpAddr,
    /// Added to the source port on the way out, taken off again on the way in: a change is a rebinding.
    pub port_shift: u16,
}

/// A datagram on the way.
#[derive(Clone, Debug)]
pub struct InTransit {
    /// As the receiver will see it: `local` is the receiver.
    pub path: Path,
    /// Its octets.
    pub bytes: Vec<u8>,
}

/// The network.
#[derive(Debug)]
pub struct Net {
    /// How bad it is; may be changed any time.
    pub faults: Faults,
    /// The NAT, if there is one; may be changed any time.
    pub nat: Option<Nat>,
    /// Datagrams with more octets vanish: all of them, or those that a host sends.
    pub largest: Option<(Option<IpAddr>, usize)>,
    random: SeededRandom,
    queue: BTreeMap<(Instant, u64), InTransit>,
    serial: u64,
    /// Everything that was sent, as the receiver would have seen it: what Eve has on tape.
    pub tape: Vec<InTransit>,
}

impl Net {
    /// A network with faults that follow from a seed.
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self {
            faults,
            nat: None,
            largest: None,
            random: SeededRandom::new(seed),
            queue: BTreeMap::new(),
            serial: 0,
            tape: Vec::new(),
        }
    }

    /// Takes a datagram from a host.
    pub fn send(&mut self, now: Instant, transmit: &Transmit) {
        let path = self.arrives_as(transmit.path);
        let datagram = InTransit {
            path,
            bytes: transmit.bytes.clone(),
        };
        self.tape.push(datagram.clone());
        let too_large = self.largest.is_some_and(|(from, largest)| {
            from.is_none_or(|from| from == transmit.path.local.ip()) && transmit.bytes.len() > largest
        });
        if too_large || !self.delivers(transmit.path) || self.random.percent(self.faults.loss) {
            return;
        }
        self.enqueue(now, datagram.clone());
        if self.random.percent(self.faults.duplication) {
            self.enqueue(now, datagram);
        }
    }

    /// Whether what is sent by this path can arrive: nothing comes in by a mapping that a NAT has forgotten.
    pub fn delivers(&self, path: Path) -> bool {
        matches!(self.arrives_as(path).local.port(), PORT_IKE | PORT_NAT_T)
    }

    /// The path as the receiver sees it.
    fn arrives_as(&self, path: Path) -> Path {
        Path {
            local: self.reached_at(path.remote),
            remote: self.seen_as(path.local),
        }
    }

    /// When the next datagram arrives.
    pub fn next_arrival(&self) -> Option<Instant> {
        self.queue.keys().next().map(|&(at, _)| at)
    }

    /// The next datagram that has arrived by now.
    pub fn receive(&mut self, now: Instant) -> Option<InTransit> {
        let entry = self.queue.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    /// Loses everything on the way.
    pub fn clear(&mut self) {
        self.queue.clear();
    }

    fn enqueue(&mut self, now: Instant, datagram: InTransit) {
        let jitter = u64::try_from(self.faults.jitter.as_micros()).unwrap_or(u64::MAX);
        let late = Duration::from_micros(self.random.below(jitter.saturating_add(1)));
        self.serial += 1;
        self.queue
            .insert((now + self.faults.delay + late, self.serial), datagram);
    }

    fn seen_as(&self, source: SocketAddr) -> SocketAddr {
        match self.nat {
            Some(nat) if nat.inside == source.ip() => {
                SocketAddr::new(nat.outside, source.port().wrapping_add(nat.port_shift))
            }
            Some(_) | None => source,
        }
    }

    fn reached_at(&self, destination: SocketAddr) -> SocketAddr {
        match self.nat {
            Some(nat) if nat.outside == destination.ip() => {
                // The ports of IKE are forwarded as they are (a peer that calls first); all others are shifted ones.
                let port = match destination.port() {
                    forwarded @ (PORT_IKE | PORT_NAT_T) => forwarded,
                    shifted => shifted.wrapping_sub(nat.port_shift),
                };
                SocketAddr::new(nat.inside, port)
            }
            Some(_) | None => destination,
        }
    }
}
