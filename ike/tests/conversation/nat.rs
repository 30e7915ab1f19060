//! NAT traversal (RFC 7296 2.23, RFC 3948).

use std::time::Duration;

use xvpn_ike::api::{Command, Datagram, Encapsulation, Event, IkeFacts, Output, Path};
use xvpn_ike::config::{ConnectionConfig, EncapsulationPolicy};
use xvpn_ike::testing::{ALICE, Faults, Host, LINK, Nat, Pair, Who, config, ip, path};

use super::{SOON, kinds};

const OUTSIDE: &str = "203.0.113.10";

/// Alice is behind a 1:1 NAT, as a cloud's elastic address is.
fn behind_nat(policy: EncapsulationPolicy) -> Pair {
    let (mut alice, mut bob) = (config(Who::Alice), config(Who::Bob));
    (alice.encapsulation, bob.encapsulation) = (policy, policy);
    bob.remote = Some(format!("{OUTSIDE}:500").parse().unwrap());
    let mut pair = Pair::configured(alice, bob);
    pair.net.nat = Some(Nat {
        inside: ip(ALICE),
        outside: ip(OUTSIDE),
        port_shift: 0,
    });
    pair
}

fn facts(host: &Host) -> IkeFacts {
    let facts = host.events().find_map(|event| match event {
        Event::IkeEstablished { ike, .. } => Some(ike.clone()),
        _ => None,
    });
    facts.unwrap()
}

fn encapsulation(host: &Host) -> Vec<(Encapsulation, u16)> {
    host.outbound
        .values()
        .map(|sa| (sa.encapsulation, sa.path.remote.port()))
        .collect()
}

#[test]
fn without_a_nat_everything_stays_on_port_500_and_esp_goes_bare() {
    let mut pair = Pair::new(1, Faults::NONE);
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    assert_eq!(encapsulation(&pair.alice), [(Encapsulation::None, 500)]);
    assert!(
        pair.net
            .tape
            .iter()
            .all(|datagram| datagram.path.local.port() == 500)
    );
}

#[test]
fn a_nat_is_found_by_both_sides_and_everything_floats_to_port_4500() {
    for initiator in [Who::Alice, Who::Bob] {
        let mut pair = behind_nat(EncapsulationPolicy::Auto);
        pair.up(initiator);
        assert!(pair.run_until(SOON, Pair::has_settled));
        for host in [&pair.alice, &pair.bob] {
            assert_eq!(encapsulation(host), [(Encapsulation::Udp, 4500)]);
        }
        assert_eq!(
            (facts(&pair.alice).nat_local, facts(&pair.alice).nat_remote),
            (true, false)
        );
        assert_eq!(
            (facts(&pair.bob).nat_local, facts(&pair.bob).nat_remote),
            (false, true)
        );
    }
}

#[test]
fn encapsulation_can_be_forced_by_either_side_without_a_nat() {
    for (who, initiator) in [
        (Who::Alice, Who::Alice),
        (Who::Alice, Who::Bob),
        (Who::Bob, Who::Alice),
        (Who::Bob, Who::Bob),
    ] {
        let force = |side: Who| {
            let mut config: ConnectionConfig = config(side);
            if side == who {
                config.encapsulation = EncapsulationPolicy::Force;
            }
            config
        };
        let mut pair = Pair::configured(force(Who::Alice), force(Who::Bob));
        pair.up(initiator);
        assert!(pair.run_until(SOON, Pair::has_settled));
        assert_eq!(encapsulation(&pair.alice), [(Encapsulation::Udp, 4500)]);
    }
}

#[test]
fn who_is_behind_the_nat_keeps_it_open() {
    let mut pair = behind_nat(EncapsulationPolicy::Auto);
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    pair.run_for(Duration::from_secs(65));
    let keepalives = |host: &Host| {
        let is = |output: &&Output| match output {
            Output::Transmit(transmit) => transmit.kind == Datagram::Keepalive && transmit.bytes == [0xff],
            _ => false,
        };
        host.outputs.iter().filter(is).count()
    };
    assert_eq!((keepalives(&pair.alice), keepalives(&pair.bob)), (3, 0));
}

#[test]
fn a_rebinding_is_followed_once_the_peer_proves_it() {
    let mut pair = behind_nat(EncapsulationPolicy::Auto);
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    pair.bob.clear();
    pair.net.nat = Some(Nat {
        inside: ip(ALICE),
        outside: ip(OUTSIDE),
        port_shift: 1000,
    });
    // An old message from the new place proves nothing.
    let mut old = pair
        .net
        .tape
        .iter()
        .rfind(|sent| sent.path.remote.ip() == ip(OUTSIDE))
        .unwrap()
        .clone();
    old.path.remote.set_port(5500);
    let outputs = pair.inject(Who::Bob, old.path, &old.bytes);
    assert!(!kinds(&outputs).contains(&"set path"));
    // The next liveness check of Alice does.
    pair.run_for(Duration::from_secs(40));
    assert_eq!(
        kinds(&pair.bob.outputs)
            .iter()
            .filter(|kind| **kind == "set path")
            .count(),
        1
    );
    assert_eq!(encapsulation(&pair.bob), [(Encapsulation::Udp, 5500)]);
    assert!(pair.has_settled());
}

#[test]
fn a_peer_is_not_followed_to_another_port_of_ours() {
    // Whoever is on the path can send a genuine message on to port 500, from where ESP in UDP would find no way back.
    let mut pair = behind_nat(EncapsulationPolicy::Auto);
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    let outputs = pair.command(Who::Alice, Command::Down(LINK));
    let genuine = outputs.iter().find_map(|output| match output {
        Output::Transmit(transmit) => Some(transmit.bytes.clone()),
        _ => None,
    });
    let elsewhere = Path {
        local: path(Who::Bob, 500).local,
        remote: (ip(OUTSIDE), 4500).into(),
    };
    let outputs = pair.inject(Who::Bob, elsewhere, &genuine.unwrap());
    assert!(!kinds(&outputs).contains(&"set path"), "{outputs:?}");
}

#[test]
fn an_ike_sa_that_was_made_before_the_peer_moved_follows_it_too() {
    let mut bob = config(Who::Bob);
    bob.remote = Some((ip("203.0.113.1"), 500).into());
    let mut pair = Pair::configured(config(Who::Alice), bob);
    let behind = |port_shift| Nat {
        inside: ip(ALICE),
        outside: ip("203.0.113.1"),
        port_shift,
    };
    pair.net.nat = Some(behind(7000));
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    let connection = LINK;
    let what = xvpn_ike::api::Rekey::Ike;
    pair.command(Who::Alice, Command::Rekey { connection, what });
    // Bob has answered and has the heir; Alice deletes the old one from another port.
    assert!(pair.run_until(SOON, |pair| pair.bob.endpoint.spis_in_use().0 == 2));
    assert!(pair.run_until(SOON, |pair| pair.alice.endpoint.spis_in_use().0 == 2));
    pair.net.clear();
    pair.net.nat = Some(behind(9000));
    pair.run_for(Duration::from_secs(10));
    pair.command(Who::Bob, Command::Rekey { connection, what });
    pair.run_for(Duration::from_secs(10));
    assert!(pair.has_settled());
    assert_eq!(
        (pair.alice.endpoint.spis_in_use(), pair.bob.endpoint.spis_in_use()),
        ((1, 1), (1, 1))
    );
    assert_eq!((pair.alice.failures(), pair.bob.failures()), (vec![], vec![]));
}
