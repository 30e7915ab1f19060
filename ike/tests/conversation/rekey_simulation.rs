//! A stream of packets both ways while both sides replace their SAs at random, on a bad network.
//! `XVPN_SEEDS=20000 cargo test -p xvpn-ike --test conversation rekey_simulation` runs more.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use xvpn_ike::api::{Command, Rekey, Spi};
use xvpn_ike::config::{ConnectionConfig, EndpointConfig, Lifetime};
use xvpn_ike::testing::{Faults, LINK, Pair, SeededRandom, Who, config};

/// How many conversations to try.
fn seeds() -> u64 {
    let asked = std::env::var("XVPN_SEEDS").ok();
    asked.and_then(|seeds| seeds.parse().ok()).unwrap_or(1000)
}

struct Stream {
    pair: Pair,
    dice: SeededRandom,
    /// When it arrives, at whom, by which SA.
    packets: BTreeMap<(Instant, u64), (Who, Spi)>,
    serial: u64,
    /// Packets each SA has accepted so far.
    accepted: BTreeMap<Spi, u64>,
    refused: u64,
    delivered: u64,
}

impl Stream {
    fn new(seed: u64) -> Self {
        let mut dice = SeededRandom::new(seed ^ 0x7e4e);
        let esp = match dice.below(6) {
            0 => "aes256gcm16-esn-x25519",
            4 => "aes256gcm16-esn-x25519-ke1_mlkem768",
            5 => "aes256gcm16-esn-x25519-ke1_mlkem768-ke2_ecp256",
            1 => "aes256gcm16",
            _ => "aes256gcm16-esn",
        };
        let ike = match dice.below(3) {
            0 => "aes256gcm16-prfsha256-x25519-ke1_mlkem768",
            1 => "aes256gcm16-prfsha256-x25519-ke1_mlkem768-ke2_ecp256",
            _ => "aes256gcm16-prfsha256-x25519",
        };
        let mut with = |who| {
            let mut config = ConnectionConfig {
                ike_proposals: ike.parse().into_iter().collect(),
                esp_proposals: esp.parse().into_iter().collect(),
                ..config(who)
            };
            // Patience enough that nobody is given up for lost within a conversation.
            config.retransmission.tries = 30;
            if dice.percent(50) {
                config.child_lifetime = Lifetime {
                    time: Duration::from_secs(60),
                    ..Lifetime::default()
                };
                config.ike_lifetime = Duration::from_secs(200);
            }
            config
        };
        let (alice, bob) = (with(Who::Alice), with(Who::Bob));
        let mut pair = Pair::with(seed, Faults::NONE, EndpointConfig::default(), alice, bob);
        pair.up(Who::Alice);
        assert!(
            pair.run_until(Duration::from_secs(5), Pair::has_settled),
            "seed {seed}"
        );
        Self {
            pair,
            dice,
            packets: BTreeMap::new(),
            serial: 0,
            accepted: BTreeMap::new(),
            refused: 0,
            delivered: 0,
        }
    }

    /// Both send a packet with what they send with now; it arrives after any delay that the network may have.
    fn send(&mut self) {
        let now = self.pair.clock.now();
        for (from, to) in [(Who::Alice, Who::Bob), (Who::Bob, Who::Alice)] {
            if let Some(spi) = self.pair.host(from).sending() {
                let late = self.dice.below(811);
                self.serial += 1;
                self.packets
                    .insert((now + Duration::from_millis(10 + late), self.serial), (to, spi));
            }
        }
    }

    fn deliver(&mut self) {
        let now = self.pair.clock.now();
        while let Some(entry) = self.packets.first_entry().filter(|entry| entry.key().0 <= now) {
            let (to, spi) = entry.remove();
            self.delivered += 1;
            if self.pair.host(to).inbound.contains_key(&spi) {
                *self.accepted.entry(spi).or_default() += 1;
            } else {
                self.refused += 1;
            }
        }
    }

    /// What the dataplanes report about once a second.
    fn report(&mut self) {
        for who in [Who::Alice, Who::Bob] {
            let spis: Vec<Spi> = self.pair.host(who).inbound.keys().copied().collect();
            for inbound_spi in spis {
                let inbound_packets = self.accepted.get(&inbound_spi).copied().unwrap_or_default();
                let usage = xvpn_ike::api::Usage {
                    connection: LINK,
                    inbound_spi,
                    inbound_bytes: inbound_packets * 100,
                    inbound_packets,
                    outbound_bytes: 0,
                    outbound_packets: 0,
                };
                self.pair.input(who, xvpn_ike::api::Input::Usage(usage));
            }
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.pair.clock.now() + time;
        let mut tick = 0;
        while self.pair.clock.now() < end {
            self.send();
            self.pair.run_for(Duration::from_millis(50));
            self.deliver();
            tick += 1;
            if tick % 20 == 0 {
                self.report();
            }
        }
    }

    fn someone(&mut self) -> Who {
        if self.dice.percent(50) {
            Who::Alice
        } else {
            Who::Bob
        }
    }

    fn rekey(&mut self) {
        let (mut askers, what) = (
            vec![self.someone()],
            if self.dice.percent(35) {
                Rekey::Ike
            } else {
                Rekey::Child
            },
        );
        if self.dice.percent(40) {
            askers = vec![Who::Alice, Who::Bob];
        }
        for who in askers {
            // Sometimes both want the same at the same time, sometimes different things.
            let what = match (what, self.dice.percent(20)) {
                (what, false) => what,
                (Rekey::Ike, true) => Rekey::Child,
                (Rekey::Child, true) => Rekey::Ike,
            };
            self.pair.command(
                who,
                Command::Rekey {
                    connection: LINK,
                    what,
                },
            );
        }
    }

    fn faults(&mut self) {
        self.pair.net.faults = Faults {
            loss: u8::try_from(self.dice.below(31)).unwrap(),
            duplication: u8::try_from(self.dice.below(31)).unwrap(),
            delay: Duration::from_millis(10),
            jitter: Duration::from_millis(self.dice.below(801)),
        };
    }

    /// Calm: everything under way comes to rest. Both sides agree on one CHILD SA and have one IKE SA, nothing leaked.
    fn assert_calm(&mut self, seed: u64) {
        self.pair.net.faults = Faults::NONE;
        for _ in 0..40 {
            self.run_for(Duration::from_secs(10));
            if self.is_calm() {
                return;
            }
        }
        let spis = (
            self.pair.alice.endpoint.spis_in_use(),
            self.pair.bob.endpoint.spis_in_use(),
        );
        panic!(
            "seed {seed} does not come to rest: {spis:?}, agree: {}",
            self.pair.agree()
        );
    }

    fn is_calm(&self) -> bool {
        let one = (1, 1);
        let spis = (
            self.pair.alice.endpoint.spis_in_use(),
            self.pair.bob.endpoint.spis_in_use(),
        );
        self.pair.has_settled() && spis == (one, one)
    }
}

#[test]
fn no_packet_is_refused_whatever_is_replaced_and_whatever_the_network_does() {
    for seed in 0..seeds() {
        let mut stream = Stream::new(seed);
        for _ in 0..10 {
            stream.faults();
            stream.rekey();
            let millis = 1 << stream.dice.below(14);
            stream.run_for(Duration::from_millis(millis));
            assert_eq!(stream.refused, 0, "seed {seed} refused packets");
        }
        stream.assert_calm(seed);
        assert_eq!(stream.refused, 0, "seed {seed} refused packets");
        assert!(stream.delivered > 100);
        let (alice, bob) = (stream.pair.alice.failures(), stream.pair.bob.failures());
        assert_eq!((alice, bob), (vec![], vec![]), "seed {seed} failed");
    }
}

#[test]
fn operators_may_take_it_down_and_up_in_the_middle_of_it() {
    for seed in 0..seeds() {
        let mut stream = Stream::new(seed);
        for _ in 0..20 {
            stream.faults();
            match stream.dice.below(10) {
                0 => {
                    let who = stream.someone();
                    stream.pair.down(who);
                }
                1..3 => {
                    let who = stream.someone();
                    stream.pair.up(who);
                }
                _ => stream.rekey(),
            }
            let millis = 1 << stream.dice.below(14);
            stream.run_for(Duration::from_millis(millis));
            let (alice, bob) = (
                stream.pair.alice.endpoint.spis_in_use(),
                stream.pair.bob.endpoint.spis_in_use(),
            );
            let most = alice.0.max(bob.0).max(alice.1).max(bob.1);
            assert!(most <= 32, "seed {seed} grows: {alice:?} {bob:?}");
        }
        stream.pair.up(Who::Alice);
        stream.pair.up(Who::Bob);
        stream.assert_calm(seed);
        stream.pair.down(Who::Alice);
        stream.pair.down(Who::Bob);
        stream.pair.run_for(Duration::from_secs(200));
        assert_eq!(stream.pair.alice.endpoint.spis_in_use(), (0, 0), "seed {seed}");
        assert_eq!(stream.pair.bob.endpoint.spis_in_use(), (0, 0), "seed {seed}");
        assert_eq!(stream.pair.alice.endpoint.poll_timeout(), None, "seed {seed}");
    }
}
