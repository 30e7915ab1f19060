//! Thousands of seeds on a bad network. `XVPN_SEEDS=100000 cargo test -p xvpn-ike` runs more.

use std::collections::BTreeSet;
use std::time::Duration;

use xvpn_ike::api::Spi;
use xvpn_ike::config::{EncapsulationPolicy, EndpointConfig};
use xvpn_ike::testing::{ALICE, Faults, Nat, Pair, SeededRandom, Who, config, ip};

const OUTSIDE: &str = "203.0.113.10";

/// How many conversations to try.
pub(crate) fn seeds() -> u64 {
    std::env::var("XVPN_SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse().ok())
        .unwrap_or(2000)
}

/// A pair whose circumstances follow from the seed: who calls, NAT, encapsulation, cookies, groups.
fn pair(seed: u64, faults: Faults) -> Pair {
    let mut dice = SeededRandom::new(seed ^ 0xd1ce);
    let (mut alice, mut bob) = (config(Who::Alice), config(Who::Bob));
    let nat = dice.percent(30);
    if nat {
        bob.remote = Some(format!("{OUTSIDE}:500").parse().unwrap());
    }
    if dice.percent(30) {
        alice.encapsulation = EncapsulationPolicy::Force;
    }
    if dice.percent(20) {
        alice.initial_contact = false;
        bob.initial_contact = false;
    }
    if dice.percent(5) {
        alice.ike_proposals = vec!["aes256gcm16-prfsha256-ecp256-x25519".parse().unwrap()];
    }
    let cookie_threshold = if dice.percent(30) { 0 } else { 32 };
    let endpoint = EndpointConfig {
        cookie_threshold,
        ..EndpointConfig::default()
    };
    let mut pair = Pair::with(seed, faults, endpoint, alice, bob);
    pair.net.nat = nat.then(|| Nat {
        inside: ip(ALICE),
        outside: ip(OUTSIDE),
        port_shift: 0,
    });
    pair
}

fn call(pair: &mut Pair, seed: u64) {
    for (who, silent) in [(Who::Alice, 1), (Who::Bob, 0)] {
        if seed % 3 != silent {
            pair.up(who);
        }
    }
}

fn spis(pair: &Pair) -> BTreeSet<Spi> {
    pair.alice
        .inbound
        .keys()
        .chain(pair.bob.inbound.keys())
        .copied()
        .collect()
}

#[test]
fn whatever_the_network_does_both_sides_agree_and_later_forget() {
    for seed in 0..seeds() {
        let mut pair = pair(seed, Faults::MANY);
        call(&mut pair, seed);
        assert!(
            pair.run_until(Duration::from_secs(600), Pair::has_settled),
            "seed {seed} never connected"
        );

        // Whatever is still under way comes to rest, and then nothing changes any more.
        pair.net.faults = Faults::NONE;
        pair.run_for(Duration::from_secs(200));
        assert!(pair.has_settled(), "seed {seed} did not settle");
        let kept = spis(&pair);
        pair.run_for(Duration::from_secs(120));
        assert!(pair.has_settled() && spis(&pair) == kept, "seed {seed} flaps");

        // `Host` asserts that every removal is of something installed; here: that nothing is left.
        pair.net.faults = Faults::MANY;
        pair.down(if seed % 2 == 0 { Who::Alice } else { Who::Bob });
        let bare = |pair: &Pair| pair.alice.is_bare() && pair.bob.is_bare();
        assert!(
            pair.run_until(Duration::from_secs(300), bare),
            "seed {seed} left something behind"
        );
        pair.net.faults = Faults::NONE;
        pair.run_for(Duration::from_secs(120));
        assert!(bare(&pair), "seed {seed} came back");
    }
}

#[test]
fn the_same_seed_is_the_same_conversation() {
    let conversation = |seed| {
        let mut pair = pair(seed, Faults::MANY);
        call(&mut pair, seed);
        pair.run_for(Duration::from_secs(100));
        pair.net
            .tape
            .iter()
            .map(|sent| sent.bytes.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(conversation(4), conversation(4));
    assert_ne!(conversation(4), conversation(7));
}
