//! An IKE SA in the place of another: its CHILD SAs stay as they are (RFC 7296 1.3.2, 2.8, 2.18).

use std::time::Duration;

use xvpn_ike::api::{Event, Rekey};
use xvpn_ike::config::ConnectionConfig;
use xvpn_ike::testing::{Pair, Who, config};

use super::rekey_child::rekey;
use super::{LATER, SOON, count, kinds, settled};

fn spis(host: &xvpn_ike::testing::Host) -> Option<(u64, u64)> {
    host.events()
        .filter_map(|event| match event {
            Event::IkeEstablished { ike, .. } => Some((ike.spi_i, ike.spi_r)),
            _ => None,
        })
        .last()
}

#[test]
fn the_dataplane_notices_nothing() {
    let mut pair = settled();
    rekey(&mut pair, Who::Alice, Rekey::Ike);
    pair.run_for(LATER);
    // The request, the delete on the old one.
    assert_eq!(
        kinds(&pair.alice.outputs),
        ["transmit", "ike established", "transmit"]
    );
    // The answer to each.
    assert_eq!(
        kinds(&pair.bob.outputs),
        ["transmit", "transmit", "ike established"]
    );
    assert_eq!(spis(&pair.alice), spis(&pair.bob));
    assert!(spis(&pair.alice).is_some());
    for host in [&pair.alice, &pair.bob] {
        assert_eq!(host.endpoint.spis_in_use(), (1, 1));
    }
}

#[test]
fn the_child_sas_are_replaced_and_deleted_on_the_new_one() {
    for who in [Who::Alice, Who::Bob] {
        let mut pair = settled();
        for _ in 0..5 {
            rekey(&mut pair, who, Rekey::Ike);
            pair.run_for(LATER);
            for asker in [Who::Alice, Who::Bob] {
                let old = pair.alice.sending();
                rekey(&mut pair, asker, Rekey::Child);
                pair.run_for(LATER);
                assert!(pair.has_settled() && pair.alice.sending() != old);
            }
        }
        pair.down(Who::Alice);
        pair.down(Who::Bob);
        pair.run_for(LATER);
        assert!(pair.alice.is_bare() && pair.bob.is_bare());
        assert_eq!(pair.alice.endpoint.spis_in_use(), (0, 0));
        assert_eq!(pair.bob.endpoint.spis_in_use(), (0, 0));
    }
}

#[test]
fn the_peer_is_still_asked_whether_it_lives() {
    let mut pair = settled();
    rekey(&mut pair, Who::Alice, Rekey::Ike);
    pair.run_for(LATER);
    pair.net.faults.loss = 100;
    pair.run_for(Duration::from_secs(200));
    assert!(pair.alice.is_bare() && pair.bob.is_bare());
    pair.net.faults.loss = 0;
    pair.run_for(Duration::from_secs(100));
    assert!(pair.has_settled());
}

#[test]
fn the_other_group_is_used_if_the_peer_asks_for_it() {
    let with = |who, ike: &str| ConnectionConfig {
        ike_proposals: vec![ike.parse().unwrap()],
        ..config(who)
    };
    let mut pair = Pair::configured(
        with(Who::Alice, "aes256gcm16-prfsha256-x25519-ecp256"),
        with(Who::Bob, "aes256gcm16-prfsha256-ecp256-x25519"),
    );
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    for who in [Who::Alice, Who::Bob] {
        pair.alice.clear();
        rekey(&mut pair, who, Rekey::Ike);
        pair.run_for(LATER);
        assert_eq!(count(&pair.alice, "ike established"), 1, "{who:?}");
    }
}

#[test]
fn an_ike_sa_is_replaced_before_its_message_ids_are_used_up() {
    let mut pair = settled();
    let many = u32::MAX - (1 << 20) - 10;
    pair.alice.endpoint.use_up_message_ids(many);
    pair.bob.endpoint.use_up_message_ids(many);
    for _ in 0..3 {
        rekey(&mut pair, Who::Alice, Rekey::Child);
        pair.run_for(LATER);
    }
    assert_eq!(count(&pair.alice, "ike established"), 0);
    for _ in 0..10 {
        rekey(&mut pair, Who::Bob, Rekey::Child);
        pair.run_for(LATER);
    }
    assert_eq!(count(&pair.alice, "ike established"), 1);
    assert!(pair.has_settled());
    assert_eq!((pair.alice.failures(), pair.bob.failures()), (vec![], vec![]));
}

#[test]
fn an_ike_sa_without_message_ids_is_given_up_for_a_new_one() {
    let mut pair = settled();
    let many = u32::MAX - 20;
    pair.alice.endpoint.use_up_message_ids(many);
    pair.bob.endpoint.use_up_message_ids(many);
    // Nothing can be replaced on it while nothing arrives, and then it is too late.
    pair.run_for(Duration::from_secs(60));
    rekey(&mut pair, Who::Bob, Rekey::Child);
    pair.run_for(Duration::from_secs(120));
    assert!(pair.has_settled());
    assert_eq!(pair.alice.endpoint.spis_in_use(), (1, 1));
}

#[test]
fn an_ike_sa_is_replaced_before_its_time_is_over() {
    let mut pair = settled();
    pair.run_for(Duration::from_secs(6 * 3600));
    assert_eq!(count(&pair.alice, "ike established"), 0);
    pair.run_for(Duration::from_secs(2 * 3600));
    assert_eq!(count(&pair.alice, "ike established"), 1);
    pair.run_for(Duration::from_secs(48 * 3600));
    assert!(pair.has_settled());
    assert_eq!(
        count(&pair.alice, "ike closed") + count(&pair.bob, "ike closed"),
        0
    );
}

/// RFC 7296 2.18 and strongSwan expand the keys differently where the PRF changes, so it does not change.
#[test]
fn the_prf_stays_the_same_whoever_replaces_the_ike_sa() {
    let with = |who, first: &str, second: &str| ConnectionConfig {
        ike_proposals: vec![first.parse().unwrap(), second.parse().unwrap()],
        ..config(who)
    };
    let (sha256, sha384) = ("aes256-sha256-x25519", "aes256gcm16-prfsha384-x25519");
    // Who answers chooses, and the two want different things most.
    for (begins, prf) in [(Who::Alice, "prfsha384"), (Who::Bob, "prfsha256")] {
        let mut pair = Pair::configured(with(Who::Alice, sha256, sha384), with(Who::Bob, sha384, sha256));
        pair.up(begins);
        assert!(pair.run_until(SOON, Pair::has_settled));
        for rekeys in [Who::Alice, Who::Bob] {
            rekey(&mut pair, rekeys, Rekey::Ike);
            pair.run_for(LATER);
            assert!(pair.has_settled());
        }
        for host in [&pair.alice, &pair.bob] {
            let suites = host.events().filter_map(|event| match event {
                Event::IkeEstablished { ike, .. } => Some(ike.suite.to_string()),
                _ => None,
            });
            let suites: Vec<String> = suites.collect();
            assert!(
                suites.len() >= 2 && suites.iter().all(|suite| suite.contains(prf)),
                "{suites:?}"
            );
        }
    }
}
