//! The SAs move with the hosts (RFC 4555).

use std::net::IpAddr;
use std::time::Duration;

use xvpn_ike::api::{Command, Encapsulation, Event, IkeFacts, Output, Rekey};
use xvpn_ike::config::{ConnectionConfig, EncapsulationPolicy};
use xvpn_ike::testing::{ALICE, BOB, EVE, Faults, Host, LINK, Nat, Pair, Who, config, ip, path};

use super::{LATER, SOON, count, kinds};

const ELSEWHERE: &str = "192.0.2.77";
const SECOND: &str = "198.51.100.77";
const OUTSIDE: &str = "203.0.113.10";

fn mobile(who: Who) -> ConnectionConfig {
    let mut config = config(who);
    config.mobike = true;
    // The program looks the address up; nothing is bound to one.
    if who == Who::Bob {
        (config.local, config.remote) = (None, None);
    }
    config
}

fn pair() -> Pair {
    standing(mobile(Who::Alice), mobile(Who::Bob))
}

fn standing(alice: ConnectionConfig, bob: ConnectionConfig) -> Pair {
    let mut pair = Pair::configured(alice, bob);
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    pair.run_for(SOON);
    pair.alice.clear();
    pair.bob.clear();
    pair
}

/// The outer addresses of what a host sends, and how.
fn outer(host: &Host) -> (IpAddr, IpAddr, Encapsulation) {
    let sa = host.sending().and_then(|spi| host.outbound.get(&spi)).unwrap();
    (sa.path.local.ip(), sa.path.remote.ip(), sa.encapsulation)
}

fn followed(pair: &Pair, alice: &str, bob: &str) -> bool {
    let (alice, bob) = (ip(alice), ip(bob));
    let (a, b) = (outer(&pair.alice), outer(&pair.bob));
    (a.0, a.1) == (alice, bob) && (b.0, b.1) == (bob, alice) && a.2 == b.2 && pair.has_settled()
}

fn moved(host: &Host) -> Vec<IkeFacts> {
    let facts = host.events().filter_map(|event| match event {
        Event::Moved { ike, .. } => Some(ike.clone()),
        _ => None,
    });
    facts.collect()
}

#[test]
fn both_go_to_port_4500_without_a_nat_and_esp_stays_bare() {
    let pair = pair();
    for host in [&pair.alice, &pair.bob] {
        let sa = host.outbound.values().next().unwrap();
        assert_eq!((sa.path.local.port(), sa.path.remote.port()), (4500, 4500));
        assert_eq!(sa.encapsulation, Encapsulation::None);
    }
}

#[test]
fn the_initiator_moves_and_the_responder_follows_after_it_has_asked_whether_it_is_there() {
    let mut pair = pair();
    let spis: Vec<_> = pair.alice.inbound.keys().copied().collect();
    pair.moves(Who::Alice, ip(ALICE), ip(ELSEWHERE));
    assert_eq!(outer(&pair.alice).0, ip(ELSEWHERE), "our own ESP does not wait");
    assert!(pair.run_until(SOON, |pair| followed(pair, ELSEWHERE, BOB)));
    // The update is answered, the way back is asked for, and only the answer moves ESP.
    assert_eq!(
        kinds(&pair.bob.outputs),
        ["transmit", "transmit", "set path", "moved"]
    );
    assert_eq!(
        pair.alice.inbound.keys().copied().collect::<Vec<_>>(),
        spis,
        "nothing was negotiated anew"
    );
    assert_eq!(moved(&pair.bob)[0].path.remote.ip(), ip(ELSEWHERE));
}

#[test]
fn a_peer_that_does_not_receive_where_it_claims_to_be_gets_no_traffic_there() {
    let mut pair = pair();
    // Alice sends from an address at which nothing reaches her.
    pair.addresses(Who::Alice, Some(ip(EVE)), &[]);
    pair.run_for(SOON);
    assert_eq!(outer(&pair.bob).1, ip(ALICE));
    assert!(pair.run_until(Duration::from_secs(180), |pair| pair.bob.is_bare()));
}

#[test]
fn a_request_under_way_finds_the_new_path_and_loses_nothing() {
    let mut pair = pair();
    let what = Rekey::Child;
    pair.command(
        Who::Alice,
        Command::Rekey {
            connection: LINK,
            what,
        },
    );
    pair.command(
        Who::Bob,
        Command::Rekey {
            connection: LINK,
            what: Rekey::Ike,
        },
    );
    pair.moves(Who::Alice, ip(ALICE), ip(ELSEWHERE));
    assert!(pair.run_until(LATER, |pair| followed(pair, ELSEWHERE, BOB)));
    assert_eq!(count(&pair.alice, "failed") + count(&pair.bob, "failed"), 0);
    // And a new IKE SA of the responder leaves the choice with the first initiator.
    pair.moves(Who::Alice, ip(ELSEWHERE), ip(ALICE));
    assert!(pair.run_until(LATER, |pair| followed(pair, ALICE, BOB)));
}

#[test]
fn the_responder_moves_and_the_initiator_decides_to_follow() {
    let mut pair = pair();
    pair.moves(Who::Bob, ip(BOB), ip(SECOND));
    assert!(pair.run_until(SOON, |pair| followed(pair, ALICE, SECOND)));
}

#[test]
fn the_responder_stays_where_it_is_while_its_address_is_there() {
    let mut pair = pair();
    pair.homes.push((ip(SECOND), Who::Bob));
    pair.addresses(Who::Bob, Some(ip(SECOND)), &[ip(BOB)]);
    pair.run_for(LATER);
    assert!(followed(&pair, ALICE, BOB));
    assert_eq!(moved(&pair.bob), []);
}

#[test]
fn the_initiator_tries_the_other_addresses_of_a_peer_that_does_not_answer() {
    let mut bob = mobile(Who::Bob);
    bob.other_addresses = vec![ip(SECOND)];
    bob.liveness = None;
    let mut pair = standing(mobile(Who::Alice), bob);
    // A router on the way to the first address dies; neither host has noticed anything.
    pair.homes.retain(|home| home.0 != ip(BOB));
    pair.homes.push((ip(SECOND), Who::Bob));
    assert!(pair.run_until(Duration::from_secs(60), |pair| followed(pair, ALICE, SECOND)));
    assert_eq!(count(&pair.alice, "failed"), 0);
}

#[test]
fn esp_goes_into_udp_when_the_new_path_has_a_nat_and_out_again_when_it_has_none() {
    let mut pair = pair();
    pair.net.nat = Some(Nat {
        inside: ip(ELSEWHERE),
        outside: ip(OUTSIDE),
        port_shift: 0,
    });
    pair.moves(Who::Alice, ip(ALICE), ip(ELSEWHERE));
    let in_udp =
        |pair: &Pair| pair.has_settled() && outer(&pair.bob) == (ip(BOB), ip(OUTSIDE), Encapsulation::Udp);
    assert!(pair.run_until(SOON, in_udp));
    assert_eq!(outer(&pair.alice), (ip(ELSEWHERE), ip(BOB), Encapsulation::Udp));
    pair.moves(Who::Alice, ip(ELSEWHERE), ip(ALICE));
    assert!(pair.run_until(SOON, |pair| followed(pair, ALICE, BOB)));
    assert_eq!(outer(&pair.bob).2, Encapsulation::None);
}

#[test]
fn a_nat_that_forgets_is_found_out_by_the_initiator() {
    let mut bob = mobile(Who::Bob);
    bob.liveness = None;
    let mut pair = Pair::configured(mobile(Who::Alice), bob);
    let nat = |port_shift| Nat {
        inside: ip(ALICE),
        outside: ip(OUTSIDE),
        port_shift,
    };
    pair.net.nat = Some(nat(0));
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    pair.run_for(Duration::from_secs(40));
    pair.net.nat = Some(nat(1000));
    let port = |pair: &Pair| pair.bob.outbound.values().next().unwrap().path.remote.port();
    assert_eq!(port(&pair), 4500);
    assert!(pair.run_until(Duration::from_secs(40), |pair| port(pair) == 5500));
    assert!(pair.has_settled());
}

#[test]
fn a_message_from_elsewhere_moves_nothing_by_itself() {
    // RFC 4555 3.8: any INFORMATIONAL may test a path.
    let mut pair = pair();
    let outputs = pair.command(
        Who::Alice,
        Command::Rekey {
            connection: LINK,
            what: Rekey::Child,
        },
    );
    let genuine = outputs.iter().find_map(|output| match output {
        Output::Transmit(transmit) => Some(transmit.bytes.clone()),
        _ => None,
    });
    let mut elsewhere = path(Who::Bob, 4500);
    elsewhere.remote.set_ip(ip(EVE));
    pair.inject(Who::Bob, elsewhere, &genuine.unwrap());
    assert_eq!(outer(&pair.bob).1, ip(ALICE));
    assert!(!kinds(&pair.bob.outputs).contains(&"set path"));
}

#[test]
fn without_mobike_on_one_side_nothing_moves() {
    for who in [Who::Alice, Who::Bob] {
        let (mut alice, mut bob) = (mobile(Who::Alice), mobile(Who::Bob));
        match who {
            Who::Alice => alice.mobike = false,
            Who::Bob => bob.mobike = false,
        }
        let mut pair = standing(alice, bob);
        pair.moves(Who::Alice, ip(ALICE), ip(ELSEWHERE));
        pair.run_for(SOON);
        assert_eq!((outer(&pair.alice).0, outer(&pair.bob).1), (ip(ALICE), ip(ALICE)));
        assert_eq!(kinds(&pair.alice.outputs), [] as [&str; 0]);
    }
}

#[test]
fn a_fixed_address_is_not_left_by_the_responder() {
    let mut bob = mobile(Who::Bob);
    bob.local = Some(ip(BOB));
    let mut alice = mobile(Who::Alice);
    alice.encapsulation = EncapsulationPolicy::Force;
    let mut pair = standing(alice, bob);
    pair.homes.push((ip(SECOND), Who::Bob));
    // The initiator is talked into the other address, which the responder's configuration forbids.
    pair.addresses(Who::Bob, Some(ip(BOB)), &[ip(SECOND)]);
    pair.run_for(LATER);
    assert!(followed(&pair, ALICE, BOB));
}

#[test]
fn moves_on_a_bad_network_end_at_one_place_for_both() {
    for seed in 0..super::simulation::seeds() / 10 {
        let (mut alice, bob) = (mobile(Who::Alice), mobile(Who::Bob));
        if seed % 2 == 0 {
            alice.encapsulation = EncapsulationPolicy::Force;
        }
        let mut pair = Pair::with(
            seed,
            Faults::MANY,
            xvpn_ike::config::EndpointConfig::default(),
            alice,
            bob,
        );
        pair.up(Who::Alice);
        assert!(
            pair.run_until(Duration::from_secs(300), Pair::has_settled),
            "seed {seed}"
        );
        let mut homes = (ip(ALICE), ip(BOB));
        for step in 0..6u64 {
            let last = 100 + u8::try_from(step).unwrap();
            if (seed + step) % 3 == 0 {
                let to = IpAddr::from([198, 51, 100, last]);
                pair.moves(Who::Bob, homes.1, to);
                homes.1 = to;
            } else {
                let to = IpAddr::from([192, 0, 2, last]);
                pair.moves(Who::Alice, homes.0, to);
                homes.0 = to;
            }
            let what = if step % 2 == 0 { Rekey::Child } else { Rekey::Ike };
            pair.command(
                Who::Bob,
                Command::Rekey {
                    connection: LINK,
                    what,
                },
            );
            // Both ends at once are lost to each other for good: RFC 4555 1.3 leaves that out, and so do we.
            pair.run_for(Duration::from_secs(60));
        }
        pair.net.faults = Faults::NONE;
        pair.run_for(Duration::from_secs(300));
        let failures = (pair.alice.failures(), pair.bob.failures());
        assert!(pair.has_settled(), "seed {seed}: {failures:?}");
        let (a, b) = (outer(&pair.alice), outer(&pair.bob));
        assert_eq!(
            ((a.0, a.1), (b.0, b.1)),
            (homes, (homes.1, homes.0)),
            "seed {seed}"
        );
    }
}
