//! An IKE SA without a CHILD SA, which CREATE_CHILD_SA makes afterwards (RFC 6023).

use std::time::Duration;

use xvpn_ike::api::{Command, Event, Rekey};
use xvpn_ike::config::{Childless, ConnectionConfig};
use xvpn_ike::error::Cause;
use xvpn_ike::testing::{Host, LINK, Pair, Who, config};

use super::{LATER, SOON};

fn wanting(who: Who, childless: Childless) -> ConnectionConfig {
    let mut config = config(who);
    config.childless = childless;
    config.esp_proposals = "aes256gcm16-x25519-esn".parse().into_iter().collect();
    config
}

pub(super) fn meeting(alice: Childless, bob: Childless) -> Pair {
    let mut pair = Pair::configured(wanting(Who::Alice, alice), wanting(Who::Bob, bob));
    pair.up(Who::Alice);
    pair.run_for(SOON);
    pair
}

/// The keys of the CHILD SA came of a key exchange of their own: it was made by CREATE_CHILD_SA.
fn has_own_key_exchange(host: &Host) -> bool {
    let mut events = host.events();
    events.any(|event| match event {
        Event::ChildEstablished { child, .. } => child.suite.to_string().contains("x25519"),
        _ => false,
    })
}

#[test]
fn the_child_sa_comes_with_a_key_exchange_of_its_own() {
    for (alice, bob) in [
        (Childless::Prefer, Childless::Allow),
        (Childless::Prefer, Childless::Prefer),
        (Childless::Force, Childless::Allow),
        (Childless::Force, Childless::Force),
    ] {
        let pair = meeting(alice, bob);
        assert!(pair.has_settled(), "{alice:?} {bob:?}");
        assert!(has_own_key_exchange(&pair.alice) && has_own_key_exchange(&pair.bob));
        assert!(pair.alice.failures().is_empty() && pair.bob.failures().is_empty());
    }
}

#[test]
fn who_prefers_it_does_as_ever_with_a_peer_that_does_not_know_it() {
    for (alice, bob) in [
        (Childless::Prefer, Childless::Never),
        (Childless::Allow, Childless::Allow),
        (Childless::Never, Childless::Prefer),
    ] {
        let pair = meeting(alice, bob);
        assert!(pair.has_settled(), "{alice:?} {bob:?}");
        assert!(!has_own_key_exchange(&pair.alice) && !has_own_key_exchange(&pair.bob));
    }
}

#[test]
fn who_forces_it_refuses_a_peer_that_does_not_know_it() {
    let mut pair = meeting(Childless::Force, Childless::Never);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.alice.failures()[0].cause, Cause::NotChildless);
    assert!(pair.alice.inbound.is_empty() && pair.bob.inbound.is_empty());
}

#[test]
fn who_forces_it_makes_no_child_sa_in_ike_auth() {
    let pair = meeting(Childless::Allow, Childless::Force);
    assert!(pair.bob.inbound.is_empty() && pair.bob.outbound.is_empty());
    assert_eq!(pair.bob.failures()[0].cause, Cause::ChildInAuth);
}

#[test]
fn traffic_that_waits_gets_its_child_sa_too() {
    let mut pair = Pair::configured(
        wanting(Who::Alice, Childless::Force),
        wanting(Who::Bob, Childless::Allow),
    );
    pair.command(Who::Alice, Command::Demand(LINK));
    pair.run_for(SOON);
    assert!(pair.has_settled());
}

#[test]
fn it_is_replaced_and_closed_like_any_other() {
    let mut pair = meeting(Childless::Force, Childless::Force);
    for what in [Rekey::Child, Rekey::Ike, Rekey::Child] {
        for who in [Who::Alice, Who::Bob] {
            pair.command(
                who,
                Command::Rekey {
                    connection: LINK,
                    what,
                },
            );
            pair.run_for(LATER * 6);
            assert!(pair.has_settled(), "{what:?} by {who:?}");
        }
    }
    pair.down(Who::Alice);
    pair.run_for(LATER);
    assert!(pair.alice.is_bare() && pair.bob.is_bare());
}

#[test]
fn an_answer_without_the_child_sa_that_was_asked_for_is_no_answer() {
    let mut by_hand = super::by_hand::Responder::init();
    let mut answer = by_hand.accepted("bob.example");
    answer.child = xvpn_ike::message::ChildAnswer::Absent;
    by_hand.answer(answer);
    assert!(matches!(
        by_hand.pair.alice.failures()[0].cause,
        Cause::InvalidSyntax { .. }
    ));
}
