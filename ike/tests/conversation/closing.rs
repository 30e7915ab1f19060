//! Down, forget, shutdown, and the peer's delete.

use std::time::Duration;

use xvpn_ike::api::{CloseReason, Command, Event, Output};
use xvpn_ike::error::Cause;
use xvpn_ike::testing::{Faults, LINK, Pair, Who};

use super::{LATER, SOON, count, kinds, settled};

#[test]
fn who_closes_removes_first_and_announces_the_end_when_the_peer_has_answered() {
    let mut pair = settled();
    pair.down(Who::Alice);
    assert_eq!(
        kinds(&pair.alice.outputs),
        [
            "remove",
            "remove",
            "child closed",
            "transmit",
            "awaits the answer to the delete"
        ]
    );
    pair.run_for(SOON);
    let closed = Event::IkeClosed {
        connection: LINK,
        reason: CloseReason::Operator,
    };
    assert_eq!(pair.alice.outputs.last(), Some(&Output::Event(closed)));
}

#[test]
fn who_is_asked_to_close_answers_and_removes() {
    let mut pair = settled();
    pair.down(Who::Alice);
    pair.run_for(SOON);
    assert_eq!(
        kinds(&pair.bob.outputs),
        ["transmit", "remove", "remove", "child closed", "ike closed"]
    );
    assert!(pair.bob.is_bare());
    assert_eq!(pair.bob.endpoint.poll_timeout(), None);
}

#[test]
fn who_wants_it_up_tries_again_after_the_peer_closed_it() {
    let mut pair = settled();
    pair.command(Who::Bob, Command::Forget(LINK));
    pair.run_for(SOON);
    assert_eq!(
        pair.alice.failures().first().map(|failure| failure.cause.clone()),
        Some(Cause::Deleted)
    );
    let again = |event: &Event| {
        matches!(
            event,
            Event::Failed {
                retry_in: Some(_),
                ..
            }
        )
    };
    assert!(pair.alice.events().any(again));
    let bob = xvpn_ike::testing::config(Who::Bob);
    pair.command(Who::Bob, Command::Configure(Box::new(bob)));
    assert!(pair.run_until(LATER, Pair::has_settled));
}

#[test]
fn a_connection_that_is_down_accepts_nobody() {
    let mut pair = settled();
    pair.down(Who::Bob);
    pair.run_for(LATER);
    assert!(pair.alice.is_bare() && pair.bob.is_bare());
    assert_eq!(count(&pair.bob, "ike established"), 0);
}

#[test]
fn both_sides_may_close_at_the_same_time() {
    let mut pair = settled();
    pair.down(Who::Alice);
    pair.down(Who::Bob);
    pair.run_for(LATER);
    for host in [&pair.alice, &pair.bob] {
        assert!(host.is_bare());
        assert_eq!(count(host, "ike closed"), 1);
        assert_eq!(host.endpoint.poll_timeout(), None);
    }
}

#[test]
fn a_delete_that_nobody_answers_ends_within_seconds() {
    let mut pair = settled();
    pair.net.faults = Faults {
        loss: 100,
        ..Faults::NONE
    };
    pair.down(Who::Alice);
    pair.run_for(Duration::from_secs(10));
    assert_eq!(count(&pair.alice, "ike closed"), 1);
    assert_eq!(pair.alice.endpoint.poll_timeout(), None);
}

#[test]
fn down_while_an_attempt_is_under_way_ends_it() {
    for steps in 0..4 {
        let mut pair = Pair::new(1, Faults::NONE);
        pair.up(Who::Alice);
        for _ in 0..steps {
            let end = pair.clock.now() + SOON;
            pair.step(end);
        }
        pair.down(Who::Alice);
        pair.run_for(Duration::from_secs(60));
        assert!(pair.alice.is_bare() && pair.bob.is_bare(), "after {steps} steps");
        assert_eq!(count(&pair.alice, "ike closed"), 1, "after {steps} steps");
    }
}

#[test]
fn shutdown_deletes_everything_and_admits_nobody_any_more() {
    let mut pair = settled();
    pair.up(Who::Bob);
    pair.command(Who::Alice, Command::Shutdown);
    pair.run_for(LATER);
    assert!(pair.alice.is_bare() && pair.bob.is_bare());
    assert_eq!(pair.alice.endpoint.poll_timeout(), None);
}
