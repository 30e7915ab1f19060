//! Is the peer still there? (RFC 7296 2.4)

use std::time::Duration;

use xvpn_ike::api::{CloseReason, Event};
use xvpn_ike::error::{Cause, Exchange};
use xvpn_ike::testing::{Faults, LINK, Pair, Who};

use super::{kinds, settled};

#[test]
fn a_silent_peer_is_asked_and_its_answer_is_enough() {
    let mut pair = settled();
    pair.run_for(Duration::from_secs(100));
    let sent = kinds(&pair.alice.outputs)
        .iter()
        .filter(|kind| **kind == "transmit")
        .count();
    assert!(sent >= 3, "{sent}");
    assert!(pair.has_settled());
}

#[test]
fn traffic_is_proof_of_life_and_saves_the_question() {
    let mut pair = settled();
    for packets in 1..20 {
        pair.run_for(Duration::from_secs(10));
        pair.traffic(Who::Alice, packets);
        pair.traffic(Who::Bob, packets);
    }
    assert_eq!((pair.alice.outputs.len(), pair.bob.outputs.len()), (0, 0));
}

#[test]
fn usage_without_new_packets_is_no_proof() {
    let mut pair = settled();
    pair.traffic(Who::Alice, 1);
    for _ in 0..4 {
        pair.run_for(Duration::from_secs(10));
        pair.traffic(Who::Alice, 1);
    }
    assert!(!pair.alice.outputs.is_empty());
}

#[test]
fn a_dead_peer_is_given_up_and_everything_of_it_removed() {
    let mut pair = settled();
    pair.net.faults = Faults {
        loss: 100,
        ..Faults::NONE
    };
    let dead = pair.run_until(Duration::from_secs(120), |pair| !pair.alice.failures().is_empty());
    assert!(dead && pair.alice.is_bare());
    let failure = pair.alice.failures().swap_remove(0);
    assert_eq!(
        (failure.exchange, failure.cause),
        (Exchange::Informational, Cause::NoResponse { tries: 8 })
    );
    let closed = Event::IkeClosed {
        connection: LINK,
        reason: CloseReason::Unreachable,
    };
    assert!(pair.alice.events().any(|event| *event == closed));
}

#[test]
fn a_peer_that_comes_back_is_connected_again() {
    let mut pair = settled();
    pair.net.faults = Faults {
        loss: 100,
        ..Faults::NONE
    };
    pair.run_for(Duration::from_secs(200));
    assert!(pair.alice.is_bare() && pair.bob.is_bare());
    pair.net.faults = Faults::NONE;
    assert!(pair.run_until(Duration::from_secs(90), Pair::has_settled));
}
