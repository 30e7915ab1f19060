//! Alice and Bob, the network between them, and whoever listens in.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::clock::Clock;
use super::host::Host;
use super::net::{Faults, Net};
use crate::api::{
    Command, Input, InstallInbound, InstallOutbound, Output, PORT_NAT_T, Path, SaKeys, Spi, Usage,
};
use crate::auth::identity::Identity;
use crate::auth::method::shared;
use crate::auth::x509::revocation::Rules;
use crate::config::{
    Childless, ConnectionConfig, ConnectionId, EncapsulationPolicy, EndpointConfig, FRAGMENT_SIZE,
    IKE_LIFETIME, Lifetime, Retransmission, Secret, TransportPolicy,
};

/// The address of Alice's host.
pub const ALICE: &str = "192.0.2.1";
/// The address of Bob's host.
pub const BOB: &str = "198.51.100.2";
/// The address of someone else.
pub const EVE: &str = "203.0.113.66";
/// The key that both know.
pub const SECRET: &[u8] = b"correct horse battery staple";
/// What the wall clocks of both show at the beginning: 2026-01-01.
pub const WALL_CLOCK: Duration = Duration::from_secs(1_767_225_600);
/// The one connection of each.
pub const LINK: ConnectionId = ConnectionId(1);

/// Which of the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// At [`ALICE`].
    Alice,
    /// At [`BOB`].
    Bob,
}

/// Two hosts on a network.
pub struct Pair {
    /// Virtual time.
    pub clock: Clock,
    /// The network.
    pub net: Net,
    /// One host.
    pub alice: Host,
    /// The other one.
    pub bob: Host,
    /// Who is where; what is sent to other addresses is lost.
    pub homes: Vec<(IpAddr, Who)>,
}

impl Pair {
    /// Both know each other by [`config`], the network has these faults, everything follows from the seed.
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self::with(
            seed,
            faults,
            EndpointConfig::default(),
            config(Who::Alice),
            config(Who::Bob),
        )
    }

    /// On a good network, with these configurations.
    pub fn configured(alice: ConnectionConfig, bob: ConnectionConfig) -> Self {
        Self::with(1, Faults::NONE, EndpointConfig::default(), alice, bob)
    }

    /// With everything as told.
    pub fn with(
        seed: u64,
        faults: Faults,
        endpoint: EndpointConfig,
        alice: ConnectionConfig,
        bob: ConnectionConfig,
    ) -> Self {
        let mut pair = Self {
            clock: Clock::new(),
            net: Net::new(seed, faults),
            alice: Host::new(endpoint.clone(), seed.wrapping_mul(2).wrapping_add(0xA11CE)),
            bob: Host::new(endpoint, seed.wrapping_mul(2).wrapping_add(0xB0B)),
            homes: vec![(ip(ALICE), Who::Alice), (ip(BOB), Who::Bob)],
        };
        for who in [Who::Alice, Who::Bob] {
            pair.input(who, Input::WallClock(WALL_CLOCK));
        }
        pair.command(Who::Alice, Command::Configure(Box::new(alice)));
        pair.command(Who::Bob, Command::Configure(Box::new(bob)));
        pair
    }

    /// One of the hosts.
    pub fn host(&mut self, who: Who) -> &mut Host {
        match who {
            Who::Alice => &mut self.alice,
            Who::Bob => &mut self.bob,
        }
    }

    /// Gives a command to one of them.
    pub fn command(&mut self, who: Who, command: Command) -> Vec<Output> {
        self.input(who, Input::Command(command))
    }

    /// Wants the connection up, on one side.
    pub fn up(&mut self, who: Who) {
        self.command(who, Command::Up(LINK));
    }

    /// Wants the connection down, on one side.
    pub fn down(&mut self, who: Who) {
        self.command(who, Command::Down(LINK));
    }

    /// Gives any input to one of them and sends what comes of it.
    pub fn input(&mut self, who: Who, input: Input<'_>) -> Vec<Output> {
        let now = self.clock.now();
        let outputs = self.host(who).handle(now, input);
        for output in &outputs {
            if let Output::Transmit(transmit) = output {
                self.net.send(now, transmit);
            }
        }
        outputs
    }

    /// Lets someone put a datagram before one of them, as if it came from there.
    pub fn inject(&mut self, who: Who, path: Path, bytes: &[u8]) -> Vec<Output> {
        self.input(who, Input::Datagram { path, bytes })
    }

    /// The dataplane of one of them has received this many packets on each of its SAs.
    pub fn traffic(&mut self, who: Who, packets: u64) {
        let spis: Vec<Spi> = self.host(who).inbound.keys().copied().collect();
        for inbound_spi in spis {
            let usage = Usage {
                connection: LINK,
                inbound_spi,
                inbound_bytes: packets.saturating_mul(100),
                inbound_packets: packets,
                outbound_bytes: 0,
                outbound_packets: 0,
            };
            self.input(who, Input::Usage(usage));
        }
    }

    /// One of them loses an address and gets another; what is on its way to the old one is lost.
    pub fn moves(&mut self, who: Who, from: IpAddr, to: IpAddr) {
        for home in self.homes.iter_mut().filter(|home| **home == (from, who)) {
            home.0 = to;
        }
        self.addresses(who, Some(to), &[]);
    }

    /// The program tells one of them of its addresses.
    pub fn addresses(&mut self, who: Who, local: Option<IpAddr>, others: &[IpAddr]) -> Vec<Output> {
        let command = Command::Addresses {
            connection: LINK,
            local,
            others: others.to_vec(),
        };
        self.command(who, command)
    }

    /// Takes the next step: a datagram arrives or a deadline passes. False if that would be after `end`.
    pub fn step(&mut self, end: Instant) -> bool {
        let arrival = self.net.next_arrival();
        let deadline = |host: &Host| host.endpoint.poll_timeout().map(|(at, _)| at);
        let (alice, bob) = (deadline(&self.alice), deadline(&self.bob));
        let Some(next) = [arrival, alice, bob]
            .into_iter()
            .flatten()
            .min()
            .filter(|next| *next <= end)
        else {
            return false;
        };
        self.clock.advance_to(next);
        let now = self.clock.now();
        if let Some(datagram) = self.net.receive(now) {
            let to = datagram.path.local.ip();
            if let Some((_, who)) = self.homes.iter().copied().find(|(address, _)| *address == to) {
                self.inject(who, datagram.path, &datagram.bytes);
            }
        } else if alice.is_some_and(|at| at <= now) {
            self.input(Who::Alice, Input::Timeout);
        } else {
            self.input(Who::Bob, Input::Timeout);
        }
        true
    }

    /// Lets time pass.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.clock.now() + duration;
        while self.step(end) {}
        self.clock.advance_to(end);
    }

    /// Lets time pass until both have what `done` wants, at most for `limit`. Whether they have.
    pub fn run_until(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.clock.now() + limit;
        loop {
            if done(self) {
                return true;
            }
            if !self.step(end) {
                return done(self);
            }
        }
    }

    /// Each sends on what the other receives on, with the same keys, suites and mirrored selectors.
    pub fn agree(&self) -> bool {
        let reaches = |from: &Host, to: &Host| {
            let outbound = from.sending().and_then(|spi| from.outbound.get(&spi));
            outbound.is_some_and(|out| to.inbound.get(&out.spi).is_some_and(|inb| mirrors(out, inb)))
        };
        reaches(&self.alice, &self.bob) && reaches(&self.bob, &self.alice)
    }

    /// Whatever one sends on, the other receives on, with the same keys.
    pub fn agree_on_all(&self) -> bool {
        let reaches = |from: &Host, to: &Host| {
            let mut outbound = from.outbound.values();
            outbound.all(|out| to.inbound.get(&out.spi).is_some_and(|inb| mirrors(out, inb)))
        };
        reaches(&self.alice, &self.bob) && reaches(&self.bob, &self.alice)
    }

    /// Both agree, and there is exactly one CHILD SA on each side.
    pub fn has_settled(&self) -> bool {
        let one = |host: &Host| host.inbound.len() == 1 && host.outbound.len() == 1;
        self.agree() && one(&self.alice) && one(&self.bob)
    }
}

/// A connection of this host to the other one: `10.1.0.0/16` is behind Alice, `10.2.0.0/16` behind Bob.
pub fn config(who: Who) -> ConnectionConfig {
    let (local, remote, local_id, remote_id, local_net, remote_net) = match who {
        Who::Alice => (
            ALICE,
            BOB,
            "alice.example",
            "bob.example",
            "10.1.0.0/16",
            "10.2.0.0/16",
        ),
        Who::Bob => (
            BOB,
            ALICE,
            "bob.example",
            "alice.example",
            "10.2.0.0/16",
            "10.1.0.0/16",
        ),
    };
    let (local_auth, remote_auth) = shared(Secret::new(SECRET.to_vec()));
    let selectors = |net: &str| net.parse::<ipnet::IpNet>().map(Into::into).into_iter().collect();
    ConnectionConfig {
        id: LINK,
        name: "link".into(),
        local: Some(ip(local)),
        remote: Some(SocketAddr::new(ip(remote), 500)),
        local_identity: name(local_id),
        remote_identity: name(remote_id),
        local_auth,
        remote_auth,
        ppk: None,
        childless: Childless::default(),
        legacy_signatures: false,
        ike_proposals: "aes256gcm16-prfsha256-x25519".parse().into_iter().collect(),
        child_name: "net".into(),
        esp_proposals: "aes256gcm16-esn".parse().into_iter().collect(),
        local_selectors: selectors(local_net),
        remote_selectors: selectors(remote_net),
        encapsulation: EncapsulationPolicy::Auto,
        transport: TransportPolicy::Udp,
        tcp_port: PORT_NAT_T,
        liveness: Some(Duration::from_secs(30)),
        nat_keepalive: Duration::from_secs(20),
        retransmission: Retransmission::default(),
        fragment_size: FRAGMENT_SIZE,
        retry: (Duration::from_secs(1), Duration::from_secs(60)),
        mobike: false,
        other_addresses: Vec::new(),
        static_nat: false,
        follow_redirect: true,
        redirect_to: None,
        initial_contact: true,
        child_lifetime: Lifetime::default(),
        child_resources: 0,
        child_aggfrag: None,
        more_children: Vec::new(),
        rekey_probe: false,
        reauthentication: None,
        resumption: false,
        ike_lifetime: IKE_LIFETIME,
        revocation: Rules::default(),
    }
}

/// A name as an identity.
pub fn name(text: &str) -> Identity {
    Identity::Fqdn(text.into())
}

/// An address. Panics if it is none: for literals only.
pub fn ip(text: &str) -> IpAddr {
    match text.parse() {
        Ok(address) => address,
        Err(error) => panic!("{text}: {error}"),
    }
}

/// The path from this host to the other one, on this port.
pub fn path(who: Who, port: u16) -> Path {
    let (local, remote) = match who {
        Who::Alice => (ALICE, BOB),
        Who::Bob => (BOB, ALICE),
    };
    Path {
        local: SocketAddr::new(ip(local), port),
        remote: SocketAddr::new(ip(remote), port),
    }
}

fn mirrors(out: &InstallOutbound, inb: &InstallInbound) -> bool {
    let same = |a: &SaKeys, b: &SaKeys| a == b && !a.encryption.is_empty();
    same(&out.keys, &inb.keys)
        && out.suite == inb.suite
        && out.encapsulation == inb.encapsulation
        && out.local == inb.remote
        && out.remote == inb.local
}
