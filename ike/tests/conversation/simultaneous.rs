//! Both sides initiate at the same time: exactly one connection is kept, and it never flaps.

use std::time::Duration;

use xvpn_ike::testing::{Faults, Pair, Who};

use super::{LATER, count};

fn both_up(seed: u64, faults: Faults) -> Pair {
    let mut pair = Pair::new(seed, faults);
    pair.up(Who::Alice);
    pair.up(Who::Bob);
    pair
}

#[test]
fn one_connection_is_kept_whoever_has_the_lower_nonce() {
    for seed in 0..32 {
        let mut pair = both_up(seed, Faults::NONE);
        pair.run_for(LATER);
        assert!(pair.has_settled(), "seed {seed}");
        for host in [&pair.alice, &pair.bob] {
            assert_eq!(host.failures(), [], "seed {seed}");
            assert_eq!(count(host, "ike closed"), 0, "seed {seed}");
        }
    }
}

#[test]
fn there_is_something_to_send_with_from_the_first_moment_on() {
    for seed in 0..32 {
        let mut pair = both_up(seed, Faults::NONE);
        pair.run_until(LATER, |pair| pair.alice.sending().is_some());
        let end = pair.clock.now() + LATER;
        while pair.step(end) {
            assert!(pair.alice.sending().is_some(), "seed {seed}");
        }
    }
}

#[test]
fn what_was_kept_is_kept_for_good() {
    let faults = Faults {
        jitter: Duration::from_millis(100),
        ..Faults::NONE
    };
    for seed in 0..32 {
        let mut pair = both_up(seed, faults);
        pair.run_for(LATER);
        let kept: Vec<_> = pair.alice.inbound.keys().copied().collect();
        pair.run_for(Duration::from_secs(300));
        assert!(pair.has_settled(), "seed {seed}");
        assert_eq!(
            pair.alice.inbound.keys().copied().collect::<Vec<_>>(),
            kept,
            "seed {seed}"
        );
    }
}
