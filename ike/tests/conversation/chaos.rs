//! Operators who cannot make up their minds, hosts that restart, networks that come and go, and Eve: whatever
//! happens, nothing panics, nothing is installed twice or removed twice (`Host` asserts that), and once they are left
//! alone Alice and Bob connect.

use std::time::Duration;

use xvpn_ike::api::Command;
use xvpn_ike::config::{EncapsulationPolicy, EndpointConfig};
use xvpn_ike::testing::{ALICE, Faults, Host, LINK, Nat, Pair, SeededRandom, Who, config, ip};

const OUTSIDE: &str = "203.0.113.10";

struct Chaos {
    pair: Pair,
    dice: SeededRandom,
    nat: bool,
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let mut dice = SeededRandom::new(seed ^ 0xc4a05);
        let nat = dice.percent(50);
        let mut chaos = Self {
            pair: Pair::new(seed, Faults::MANY),
            dice,
            nat,
        };
        chaos.rebind();
        for who in [Who::Alice, Who::Bob] {
            chaos.configure(who);
        }
        chaos
    }

    fn configure(&mut self, who: Who) {
        let mut config = config(who);
        if self.nat && who == Who::Bob {
            config.remote = Some(format!("{OUTSIDE}:500").parse().unwrap());
        }
        config.initial_contact = self.dice.percent(70);
        if self.dice.percent(30) {
            config.encapsulation = EncapsulationPolicy::Force;
        }
        self.pair.command(who, Command::Configure(Box::new(config)));
    }

    fn rebind(&mut self) {
        let port_shift = if self.dice.percent(50) { 0 } else { 1000 };
        self.pair.net.nat = self.nat.then(|| Nat {
            inside: ip(ALICE),
            outside: ip(OUTSIDE),
            port_shift,
        });
    }

    fn restart(&mut self, who: Who) {
        let seed = self.dice.next_u64();
        *self.pair.host(who) = Host::new(EndpointConfig::default(), seed);
        self.configure(who);
        self.pair.up(who);
    }

    fn eve(&mut self) {
        let count = u64::try_from(self.pair.net.tape.len()).unwrap();
        if count == 0 {
            return;
        }
        let mut sent = self.pair.net.tape[usize::try_from(self.dice.below(count)).unwrap()].clone();
        let length = u64::try_from(sent.bytes.len()).unwrap();
        let at = usize::try_from(self.dice.below(length)).unwrap();
        match self.dice.below(4) {
            0 => sent.bytes[at] ^= 1,
            1 => sent.bytes.truncate(at),
            2 => std::mem::swap(&mut sent.path.local, &mut sent.path.remote),
            _ => {}
        }
        let who = if sent.path.local.ip() == ip(ALICE) {
            Who::Alice
        } else {
            Who::Bob
        };
        self.pair.inject(who, sent.path, &sent.bytes);
    }

    fn act(&mut self) {
        let who = if self.dice.percent(50) {
            Who::Alice
        } else {
            Who::Bob
        };
        match self.dice.below(12) {
            0..3 => self.pair.up(who),
            3 => self.pair.down(who),
            4 => {
                self.pair.command(who, Command::Forget(LINK));
                self.configure(who);
            }
            5 => self.restart(who),
            6 => self.rebind(),
            7 => {
                self.pair.net.faults = if self.dice.percent(50) {
                    Faults::MANY
                } else {
                    Faults::NONE
                }
            }
            8 => self.pair.net.faults.loss = 100,
            9 => {
                self.pair.command(who, Command::Shutdown);
            }
            10 => self.pair.traffic(who, self.dice.below(1000)),
            _ => self.eve(),
        }
        let exponent = u32::try_from(self.dice.below(17)).unwrap();
        self.pair.run_for(Duration::from_millis(1 << exponent));
    }
}

#[test]
fn left_alone_after_any_chaos_they_connect_and_later_forget() {
    for seed in 0..super::simulation::seeds() / 4 {
        let mut chaos = Chaos::new(seed);
        for _ in 0..40 {
            chaos.act();
        }
        let mut pair = chaos.pair;
        pair.net.faults = Faults::NONE;
        pair.up(Who::Alice);
        pair.up(Who::Bob);
        pair.run_for(Duration::from_secs(400));
        assert!(pair.has_settled(), "seed {seed} does not settle");
        pair.down(Who::Alice);
        pair.down(Who::Bob);
        pair.run_for(Duration::from_secs(200));
        assert!(
            pair.alice.is_bare() && pair.bob.is_bare(),
            "seed {seed} leaves something behind"
        );
        let idle = pair
            .alice
            .endpoint
            .poll_timeout()
            .or(pair.bob.endpoint.poll_timeout());
        assert_eq!(idle, None, "seed {seed} still waits for something");
    }
}
