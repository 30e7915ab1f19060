//! A pre-shared key is replaced on one side after the other, and the two connect at every step.

use xvpn_ike::api::{Command, Event, IkeFacts, Step};
use xvpn_ike::auth::method::rotated;
use xvpn_ike::auth::verified::Means;
use xvpn_ike::config::{ConnectionConfig, Secret};
use xvpn_ike::error::Ignore;
use xvpn_ike::testing::{Host, Pair, Who, config};

use super::{LATER, SOON};

const OLD: &[u8] = b"the key of last year, long enough";
const NEW: &[u8] = b"the key of this year, long enough";
const OTHER: &[u8] = b"a key that nobody else has at all";

fn having(who: Who, key: &[u8], previous: Option<&[u8]>) -> ConnectionConfig {
    let mut config = config(who);
    let secret = |octets: &[u8]| Secret::new(octets.to_vec());
    (config.local_auth, config.remote_auth) = rotated(secret(key), previous.map(secret));
    config
}

fn facts(host: &Host) -> IkeFacts {
    let mut events = host.events();
    let found = events.find_map(|event| match event {
        Event::IkeEstablished { ike, .. } => Some(ike.clone()),
        _ => None,
    });
    found.unwrap()
}

fn means(host: &Host) -> (Option<Means>, Option<Means>) {
    let facts = facts(host);
    (facts.local_auth, facts.remote_auth)
}

fn tries_of_the_previous_key(host: &Host) -> usize {
    let tries = host.events().filter(|event| match event {
        Event::Progress { step, .. } => *step == Step::PreviousKey,
        _ => false,
    });
    tries.count()
}

const BY_OLD: (Option<Means>, Option<Means>) = (Some(Means::PreviousPsk), Some(Means::PreviousPsk));
const BY_NEW: (Option<Means>, Option<Means>) = (Some(Means::Psk), Some(Means::Psk));

#[test]
fn the_responder_answers_by_the_key_that_the_peer_has() {
    let mut pair = Pair::configured(having(Who::Alice, OLD, None), having(Who::Bob, NEW, Some(OLD)));
    pair.up(Who::Alice);
    pair.run_for(SOON);
    assert!(pair.has_settled());
    assert_eq!(means(&pair.bob), BY_OLD);
    assert_eq!(means(&pair.alice), BY_NEW, "Alice knows of no other key");
}

#[test]
fn the_initiator_tries_the_old_key_at_once_with_a_peer_that_refuses_the_new_one() {
    let mut pair = Pair::configured(having(Who::Alice, NEW, Some(OLD)), having(Who::Bob, OLD, None));
    pair.up(Who::Alice);
    pair.run_for(SOON);
    assert!(pair.has_settled());
    assert_eq!(means(&pair.alice), BY_OLD);
    assert_eq!(tries_of_the_previous_key(&pair.alice), 1);
    assert!(
        pair.alice.failures().is_empty(),
        "nothing has failed that an operator must act on"
    );
}

#[test]
fn two_that_both_have_both_keys_use_the_new_one() {
    for first in [Who::Alice, Who::Bob] {
        let mut pair = Pair::configured(
            having(Who::Alice, NEW, Some(OLD)),
            having(Who::Bob, NEW, Some(OLD)),
        );
        pair.up(first);
        pair.run_for(SOON);
        assert!(pair.has_settled());
        assert_eq!((means(&pair.alice), means(&pair.bob)), (BY_NEW, BY_NEW));
    }
}

#[test]
fn a_peer_that_answers_by_the_other_key_is_believed() {
    // The one that replaces the key the other way round, by mistake or while it goes back.
    for first in [Who::Alice, Who::Bob] {
        let mut pair = Pair::configured(
            having(Who::Alice, NEW, Some(OLD)),
            having(Who::Bob, OLD, Some(NEW)),
        );
        pair.up(first);
        pair.run_for(SOON);
        assert!(pair.has_settled());
        let (initiator, responder) = match first {
            Who::Alice => (&pair.alice, &pair.bob),
            Who::Bob => (&pair.bob, &pair.alice),
        };
        assert_eq!(means(initiator), BY_NEW);
        assert_eq!(means(responder), BY_OLD);
    }
}

#[test]
fn each_step_of_a_rotation_leaves_the_tunnel_up_and_lets_both_sides_connect_anew() {
    let steps = [
        (None, OLD, Some(OLD), NEW),
        (Some(OLD), NEW, Some(OLD), NEW),
        (Some(OLD), NEW, None, NEW),
        (None, NEW, None, NEW),
    ];
    let mut pair = Pair::configured(having(Who::Alice, OLD, None), having(Who::Bob, OLD, None));
    pair.up(Who::Alice);
    pair.run_for(SOON);
    for (alice_previous, alice, bob_previous, bob) in steps {
        let configure = |config| Command::Configure(Box::new(config));
        pair.command(Who::Alice, configure(having(Who::Alice, alice, alice_previous)));
        pair.command(Who::Bob, configure(having(Who::Bob, bob, bob_previous)));
        pair.run_for(LATER);
        assert!(pair.has_settled(), "what stands is not touched");
        for who in [Who::Alice, Who::Bob] {
            pair.down(Who::Alice);
            pair.down(Who::Bob);
            pair.run_for(LATER);
            for listens in [Who::Alice, Who::Bob] {
                let config = match listens {
                    Who::Alice => having(Who::Alice, alice, alice_previous),
                    Who::Bob => having(Who::Bob, bob, bob_previous),
                };
                pair.command(listens, Command::Forget(xvpn_ike::testing::LINK));
                pair.command(listens, configure(config));
            }
            pair.up(who);
            pair.run_for(SOON);
            assert!(pair.has_settled(), "{who:?} connects");
        }
    }
    assert!(
        pair.bob.failures().is_empty(),
        "the side with both keys refuses nobody"
    );
}

#[test]
fn a_peer_with_neither_key_is_refused_twice_and_then_as_seldom_as_ever() {
    let mut pair = Pair::configured(having(Who::Alice, NEW, Some(OLD)), having(Who::Bob, OTHER, None));
    pair.up(Who::Alice);
    pair.run_for(SOON);
    assert_eq!(pair.bob.failures().len(), 1);
    assert_eq!(pair.bob.ignored(Ignore::RefusedAgain), 1, "one for each key");
    assert_eq!(pair.alice.failures().len(), 1, "and one attempt");
    assert_eq!(tries_of_the_previous_key(&pair.alice), 1);
    assert!(pair.alice.is_bare() && pair.bob.is_bare());
    let mut pair = Pair::configured(having(Who::Alice, OTHER, None), having(Who::Bob, NEW, Some(OLD)));
    pair.up(Who::Alice);
    pair.run_for(SOON);
    assert_eq!((pair.alice.failures().len(), pair.bob.failures().len()), (1, 1));
    assert!(pair.alice.is_bare() && pair.bob.is_bare());
}

#[test]
fn whoever_gives_the_tunnel_up_hears_of_no_further_attempt() {
    let mut pair = Pair::configured(having(Who::Alice, NEW, Some(OLD)), having(Who::Bob, OLD, None));
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, |pair| !pair.bob.failures().is_empty()));
    pair.down(Who::Alice);
    pair.run_for(LATER);
    assert_eq!(tries_of_the_previous_key(&pair.alice), 0);
    assert!(pair.alice.is_bare() && pair.bob.is_bare());
}
