//! Nobody answers.

use std::time::Duration;

use xvpn_ike::api::{Event, Step};
use xvpn_ike::error::{Blame, Cause, Exchange};
use xvpn_ike::testing::{Faults, Pair, Who};

pub(super) fn lost() -> Faults {
    Faults {
        loss: 100,
        ..Faults::NONE
    }
}

#[test]
fn after_eight_tries_the_operator_is_told_what_to_check() {
    let mut pair = Pair::new(1, lost());
    pair.up(Who::Alice);
    pair.run_for(Duration::from_secs(60));
    let failure = pair.alice.failures().swap_remove(0);
    assert_eq!(failure.exchange, Exchange::IkeSaInit);
    assert_eq!(failure.cause, Cause::NoResponse { tries: 8 });
    assert_eq!(failure.blame, Blame::Operator);
    for word in ["`remote.address`", "UDP 500", "firewall"] {
        assert!(failure.remedy().contains(word), "{}", failure.remedy());
    }
}

#[test]
fn progress_counts_the_tries() {
    let mut pair = Pair::new(1, lost());
    pair.up(Who::Alice);
    pair.run_for(Duration::from_secs(3));
    let sent = |event: &Event| match event {
        Event::Progress {
            step: Step::Retransmission { sent },
            ..
        } => Some(*sent),
        _ => None,
    };
    assert_eq!(pair.alice.events().filter_map(sent).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn it_is_tried_again_and_again_until_it_works() {
    let mut pair = Pair::new(1, lost());
    pair.up(Who::Alice);
    pair.run_for(Duration::from_secs(600));
    assert!(pair.alice.failures().len() >= 4);
    pair.net.faults = Faults::NONE;
    assert!(pair.run_until(Duration::from_secs(90), Pair::has_settled));
}

#[test]
fn a_blocked_port_4500_shows_as_such_on_both_sides() {
    let mut pair = Pair::new(1, Faults::NONE);
    pair.up(Who::Alice);
    // IKE_SA_INIT passes, nothing after it.
    assert!(pair.run_until(super::SOON, |pair| pair.alice.outputs.len() == 4));
    pair.net.clear();
    pair.net.faults = lost();
    pair.run_for(Duration::from_secs(60));
    let of_alice = pair.alice.failures().swap_remove(0);
    assert_eq!(
        (of_alice.exchange, of_alice.cause.clone()),
        (Exchange::IkeAuth, Cause::NoResponse { tries: 8 })
    );
    assert!(of_alice.remedy().contains("UDP 4500"));
    assert_eq!(pair.bob.failures().swap_remove(0).cause, Cause::Abandoned);
}
