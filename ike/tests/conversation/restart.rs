//! One side forgets everything and comes back (RFC 7296 2.4, INITIAL_CONTACT).

use std::time::Duration;

use xvpn_ike::api::{CloseReason, Command, Event};
use xvpn_ike::config::EndpointConfig;
use xvpn_ike::testing::{Faults, Host, LINK, Pair, Who, config};

use super::{LATER, SOON, count, kinds};

fn restarted(initial_contact: bool) -> Pair {
    let mut alice = config(Who::Alice);
    alice.initial_contact = initial_contact;
    let mut pair = Pair::configured(alice.clone(), config(Who::Bob));
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    pair.run_for(SOON);
    pair.alice = Host::new(EndpointConfig::default(), 99);
    pair.bob.clear();
    pair.command(Who::Alice, Command::Configure(Box::new(alice)));
    pair.up(Who::Alice);
    pair
}

#[test]
fn initial_contact_replaces_the_old_one_at_once_and_without_a_word() {
    let mut pair = restarted(true);
    assert!(pair.run_until(SOON, Pair::has_settled));
    assert_eq!(
        kinds(&pair.bob.outputs),
        [
            "transmit",
            "install inbound",
            "transmit",
            "install outbound",
            "remove",
            "remove",
            "child closed",
            "ike closed",
            "ike established",
            "child established",
        ]
    );
    let replaced = Event::IkeClosed {
        connection: LINK,
        reason: CloseReason::Replaced,
    };
    assert!(pair.bob.events().any(|event| *event == replaced));
}

#[test]
fn without_it_the_older_one_is_deleted() {
    let mut pair = restarted(false);
    assert!(pair.run_until(LATER, Pair::has_settled));
    assert_eq!(
        count(&pair.bob, "ike closed"),
        0,
        "the connection stands all the time"
    );
}

#[test]
fn a_responder_that_restarts_is_found_out_by_a_liveness_check() {
    let mut pair = Pair::new(1, Faults::NONE);
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    pair.bob = Host::new(EndpointConfig::default(), 99);
    pair.command(Who::Bob, Command::Configure(Box::new(config(Who::Bob))));
    assert!(pair.run_until(Duration::from_secs(120), |pair| pair.alice.is_bare()));
    assert!(pair.run_until(LATER, Pair::has_settled));
}

#[test]
fn a_peer_that_forgets_all_the_time_piles_up_nothing() {
    let mut pair = restarted(false);
    for round in 0..40 {
        // Without a packet of hers he goes on for some seconds as if the old one stood.
        assert!(pair.run_until(LATER, Pair::agree), "round {round}");
        assert!(pair.bob.inbound.len() <= 9, "round {round}");
        let mut alice = config(Who::Alice);
        alice.initial_contact = false;
        pair.alice = Host::new(EndpointConfig::default(), 100 + round);
        pair.command(Who::Alice, Command::Configure(Box::new(alice)));
        pair.up(Who::Alice);
    }
    assert!(pair.run_until(LATER, Pair::has_settled));
}
