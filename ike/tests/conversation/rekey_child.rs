//! A CHILD SA in the place of another, and the order of what is done for it (RFC 7296 1.3.3, 2.8).

use std::time::Duration;

use xvpn_ike::api::{Command, Output, Rekey};
use xvpn_ike::config::{ConnectionConfig, Lifetime};
use xvpn_ike::testing::{Faults, LINK, Pair, Who, config};

use super::{LATER, SOON, count, kinds, settled};

pub(crate) fn rekey(pair: &mut Pair, who: Who, what: Rekey) -> Vec<Output> {
    let connection = LINK;
    pair.command(who, Command::Rekey { connection, what })
}

fn spi(pair: &Pair) -> xvpn_ike::api::Spi {
    pair.alice.sending().unwrap()
}

#[test]
fn the_initiator_receives_then_sends_then_deletes_and_drains_the_old_one() {
    let mut pair = settled();
    let old = spi(&pair);
    rekey(&mut pair, Who::Alice, Rekey::Child);
    pair.run_for(LATER);
    assert_eq!(
        kinds(&pair.alice.outputs),
        [
            "transmit",
            "install inbound",
            "install outbound",
            "child established",
            "remove",
            "transmit",
            "remove",
            "child closed",
        ]
    );
    assert!(pair.has_settled() && spi(&pair) != old);
}

#[test]
fn the_responder_receives_then_answers_and_sends_when_the_old_one_is_deleted() {
    let mut pair = settled();
    rekey(&mut pair, Who::Alice, Rekey::Child);
    pair.run_for(LATER);
    assert_eq!(
        kinds(&pair.bob.outputs),
        [
            "install inbound",
            "transmit",
            "install outbound",
            "child established",
            "transmit",
            "remove",
            "remove",
            "child closed",
        ]
    );
}

#[test]
fn the_responder_sends_as_soon_as_the_new_one_carries_traffic() {
    let mut pair = settled();
    rekey(&mut pair, Who::Alice, Rekey::Child);
    assert!(pair.run_until(SOON, |pair| pair.bob.inbound.len() == 2));
    assert_eq!(pair.bob.outbound.len(), 1);
    pair.bob.clear();
    pair.traffic(Who::Bob, 1);
    assert_eq!(
        kinds(&pair.bob.outputs),
        ["install outbound", "child established"]
    );
    pair.run_for(LATER);
    assert!(pair.has_settled());
}

#[test]
fn the_operator_gets_keys_that_are_newer_than_the_wish_and_no_more_than_that() {
    let mut pair = settled();
    rekey(&mut pair, Who::Bob, Rekey::Child);
    // What Bob makes is there, but not proven yet, when Alice's operator asks.
    assert!(pair.run_until(SOON, |pair| pair.alice.inbound.len() == 2));
    let made: Vec<_> = pair.alice.inbound.keys().copied().collect();
    rekey(&mut pair, Who::Alice, Rekey::Child);
    pair.run_for(LATER);
    assert!(pair.has_settled());
    assert!(pair.alice.inbound.keys().all(|spi| !made.contains(spi)));
    assert_eq!(count(&pair.alice, "child established"), 2);
    // Those that only receive what is on the way are let alone.
    rekey(&mut pair, Who::Alice, Rekey::Child);
    pair.run_for(SOON);
    rekey(&mut pair, Who::Alice, Rekey::Child);
    pair.run_for(LATER);
    assert_eq!(count(&pair.alice, "child established"), 4);
}

#[test]
fn either_side_may_ask_a_hundred_times() {
    let mut pair = settled();
    for round in 0..100 {
        let who = if round % 3 == 0 { Who::Bob } else { Who::Alice };
        rekey(&mut pair, who, Rekey::Child);
        pair.run_for(LATER);
        assert!(pair.has_settled(), "round {round}");
    }
    assert_eq!(pair.alice.endpoint.spis_in_use(), (1, 1));
    assert_eq!(pair.bob.endpoint.spis_in_use(), (1, 1));
    assert_eq!((pair.alice.failures(), pair.bob.failures()), (vec![], vec![]));
}

#[test]
fn a_child_sa_is_replaced_before_its_time_is_over() {
    let mut pair = settled();
    let old = spi(&pair);
    pair.run_for(Duration::from_secs(2800));
    assert_eq!(spi(&pair), old);
    pair.run_for(Duration::from_secs(700));
    assert!(pair.has_settled() && spi(&pair) != old);
    pair.run_for(Duration::from_secs(24 * 3600));
    assert!(pair.has_settled());
    assert_eq!(
        count(&pair.alice, "ike closed") + count(&pair.bob, "ike closed"),
        0
    );
}

fn limited(lifetime: Lifetime) -> Pair {
    let with = |who| ConnectionConfig {
        child_lifetime: lifetime,
        ..config(who)
    };
    let mut pair = Pair::configured(with(Who::Alice), with(Who::Bob));
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    pair
}

#[test]
fn packets_and_octets_wear_it_too() {
    for lifetime in [
        Lifetime {
            packets: Some(1000),
            ..Lifetime::default()
        },
        Lifetime {
            bytes: Some(100_000),
            ..Lifetime::default()
        },
    ] {
        let mut pair = limited(lifetime);
        let old = spi(&pair);
        pair.traffic(Who::Alice, 700);
        pair.run_for(LATER);
        assert_eq!(spi(&pair), old);
        pair.traffic(Who::Alice, 950);
        pair.run_for(LATER);
        assert!(pair.has_settled() && spi(&pair) != old);
    }
}

#[test]
fn at_the_hard_limit_it_is_deleted_and_begun_anew() {
    let mut pair = limited(Lifetime {
        packets: Some(1000),
        ..Lifetime::default()
    });
    pair.traffic(Who::Alice, 1000);
    pair.run_for(LATER);
    assert_eq!(count(&pair.alice, "failed"), 1);
    assert!(pair.has_settled(), "it is up again");
}

#[test]
fn at_the_hard_limit_a_new_one_that_waits_for_proof_takes_over() {
    let mut pair = limited(Lifetime {
        packets: Some(1000),
        ..Lifetime::default()
    });
    rekey(&mut pair, Who::Alice, Rekey::Child);
    assert!(pair.run_until(SOON, |pair| pair.bob.inbound.len() == 2));
    pair.net.clear();
    pair.bob.clear();
    let old = pair.bob.outbound.values().next().unwrap().inbound_spi;
    let usage = xvpn_ike::api::Usage {
        connection: LINK,
        inbound_spi: old,
        inbound_bytes: 0,
        inbound_packets: 1000,
        outbound_bytes: 0,
        outbound_packets: 1000,
    };
    pair.input(Who::Bob, xvpn_ike::api::Input::Usage(usage));
    assert_eq!(
        kinds(&pair.bob.outputs),
        ["install outbound", "child established", "remove"]
    );
    pair.run_for(LATER);
    assert!(pair.has_settled());
    assert_eq!((pair.alice.failures(), pair.bob.failures()), (vec![], vec![]));
}

#[test]
fn short_sequence_numbers_never_run_out() {
    let with = |who| ConnectionConfig {
        esp_proposals: "aes256gcm16".parse().into_iter().collect(),
        ..config(who)
    };
    let mut pair = Pair::configured(with(Who::Alice), with(Who::Bob));
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    let old = spi(&pair);
    pair.traffic(Who::Bob, u64::from(u32::MAX) / 100 * 92);
    pair.run_for(LATER);
    assert!(pair.has_settled() && spi(&pair) != old);
}

fn with_groups(alice: &str, bob: &str) -> Pair {
    let with = |who, esp: &str| ConnectionConfig {
        esp_proposals: esp.split(' ').map(|proposal| proposal.parse().unwrap()).collect(),
        ..config(who)
    };
    let mut pair = Pair::configured(with(Who::Alice, alice), with(Who::Bob, bob));
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    pair.alice.clear();
    pair.bob.clear();
    pair
}

#[test]
fn a_group_in_the_proposal_is_perfect_forward_secrecy() {
    for who in [Who::Alice, Who::Bob] {
        let mut pair = with_groups("aes256gcm16-esn-x25519", "aes256gcm16-esn-x25519");
        rekey(&mut pair, who, Rekey::Child);
        pair.run_for(LATER);
        assert!(pair.has_settled());
        assert_eq!(count(&pair.alice, "child established"), 1);
    }
}

#[test]
fn the_other_group_is_used_if_the_peer_asks_for_it() {
    for who in [Who::Alice, Who::Bob] {
        let mut pair = with_groups("aes256gcm16-esn-x25519-ecp256", "aes256gcm16-esn-ecp256-x25519");
        let asked = rekey(&mut pair, who, Rekey::Child).len();
        pair.run_for(LATER);
        assert!(pair.has_settled());
        let sent = |host: &xvpn_ike::testing::Host| {
            kinds(&host.outputs)
                .iter()
                .filter(|kind| **kind == "transmit")
                .count()
        };
        let initiator = if who == Who::Alice { &pair.alice } else { &pair.bob };
        assert_eq!(
            (asked, sent(initiator)),
            (1, 3),
            "request, request with the other group, delete"
        );
    }
}

#[test]
fn without_a_group_is_fine_if_a_proposal_of_ours_has_none() {
    let mut pair = with_groups("aes256gcm16-esn", "aes256gcm16-esn-x25519 aes256gcm16-esn");
    for who in [Who::Alice, Who::Bob] {
        let old = spi(&pair);
        rekey(&mut pair, who, Rekey::Child);
        pair.run_for(LATER);
        assert!(pair.has_settled() && spi(&pair) != old, "{who:?}");
    }
}

#[test]
fn a_peer_that_wants_no_such_proposal_is_asked_again_later_and_the_old_one_serves() {
    let mut pair = with_groups("aes256gcm16-esn", "aes256gcm16-esn-x25519");
    let old = spi(&pair);
    rekey(&mut pair, Who::Alice, Rekey::Child);
    pair.run_for(Duration::from_secs(100));
    assert!(pair.has_settled() && spi(&pair) == old);
    assert_eq!(count(&pair.alice, "ike closed"), 0);
}

#[test]
fn no_packet_is_lost_though_messages_are() {
    let faults = Faults {
        loss: 50,
        ..Faults::NONE
    };
    for seed in 0..50 {
        let mut pair = Pair::new(seed, Faults::NONE);
        pair.up(Who::Alice);
        assert!(pair.run_until(SOON, Pair::has_settled));
        pair.net.faults = faults;
        rekey(&mut pair, Who::Alice, Rekey::Child);
        let end = pair.clock.now() + LATER;
        while pair.step(end) {
            assert!(pair.agree(), "seed {seed}: somebody sends what nobody receives");
        }
    }
}
