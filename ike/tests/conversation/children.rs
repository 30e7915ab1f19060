//! Several CHILD SAs of one IKE SA (RFC 7296 1.3.1, 2.9).

use std::collections::BTreeSet;
use std::time::Duration;

use xvpn_ike::api::{Event, Output, Rekey};
use xvpn_ike::config::{ChildConfig, ConnectionConfig, EncapsulationPolicy, Lifetime};
use xvpn_ike::error::Cause;
use xvpn_ike::negotiate::selector::TrafficSelector;
use xvpn_ike::testing::{ALICE, EVE, Faults, Host, LINK, Nat, Pair, Who, config, ip};

use super::rekey_child::rekey;
use super::{LATER, SOON, count};

fn net(text: &str) -> Vec<TrafficSelector> {
    text.split(' ')
        .map(|net| net.parse::<ipnet::IpNet>().unwrap().into())
        .collect()
}

/// A CHILD SA between a network of Alice and one of Bob, seen from this side.
fn child(who: Who, name: &str, (alice, bob): (&str, &str)) -> ChildConfig {
    let (local, remote) = match who {
        Who::Alice => (alice, bob),
        Who::Bob => (bob, alice),
    };
    ChildConfig {
        name: name.into(),
        esp_proposals: "aes256gcm16-esn-x25519".parse().into_iter().collect(),
        local_selectors: net(local),
        remote_selectors: net(remote),
        lifetime: Lifetime::default(),
        resources: 0,
        aggfrag: None,
    }
}

fn with(who: Who, more: &[ChildConfig]) -> ConnectionConfig {
    ConnectionConfig {
        more_children: more.to_vec(),
        ..config(who)
    }
}

pub(super) fn three(who: Who) -> ConnectionConfig {
    with(
        who,
        &[
            child(who, "voice", ("10.11.0.0/16", "10.12.0.0/16")),
            child(who, "backup", ("10.21.0.0/16", "10.22.0.0/16 10.23.0.0/16")),
        ],
    )
}

/// So many outbound SAs on each side, and each has its counterpart.
fn has(pair: &Pair, children: usize) -> bool {
    let mirrored = |from: &Host, to: &Host| {
        from.outbound.len() == children
            && from.outbound.values().all(|out| {
                to.inbound.get(&out.spi).is_some_and(|inb| {
                    inb.keys == out.keys
                        && inb.local == out.remote
                        && inb.remote == out.local
                        && inb.resource.is_some() == out.resource.is_some()
                })
            })
    };
    let receives = |host: &Host| host.inbound.len() == children;
    mirrored(&pair.alice, &pair.bob)
        && mirrored(&pair.bob, &pair.alice)
        && receives(&pair.alice)
        && receives(&pair.bob)
}

fn failed(host: &Host) -> Vec<(String, Cause)> {
    let of = |event: &Event| match event {
        Event::ChildFailed { child, failure, .. } => Some((child.clone(), failure.cause.clone())),
        _ => None,
    };
    host.events().filter_map(of).collect()
}

#[test]
fn all_of_them_are_made_on_one_ike_sa() {
    let mut pair = Pair::configured(three(Who::Alice), three(Who::Bob));
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, |pair| has(pair, 3)));
    assert_eq!(count(&pair.alice, "ike established"), 1);
    let names: Vec<String> = pair
        .bob
        .events()
        .filter_map(|event| match event {
            Event::ChildEstablished { child, .. } => Some(child.name.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(names, ["net", "voice", "backup"]);
    pair.run_for(LATER);
    assert_eq!(pair.alice.endpoint.spis_in_use(), (1, 3));
    assert_eq!(pair.bob.endpoint.spis_in_use(), (1, 3));
}

#[test]
fn the_responder_receives_then_answers_then_sends() {
    let mut pair = Pair::configured(three(Who::Alice), three(Who::Bob));
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, |pair| pair.bob.outbound.len() == 2));
    let kinds = super::kinds(&pair.bob.outputs);
    let last = kinds.len() - 4;
    assert_eq!(
        kinds[last..],
        [
            "install inbound",
            "transmit",
            "install outbound",
            "child established"
        ]
    );
}

#[test]
fn if_both_sides_want_them_there_are_no_more() {
    let mut pair = Pair::configured(three(Who::Alice), three(Who::Bob));
    pair.up(Who::Alice);
    pair.up(Who::Bob);
    pair.run_for(Duration::from_secs(100));
    assert!(has(&pair, 3));
}

#[test]
fn asked_for_by_both_at_once_one_is_left() {
    let mut crossed = 0;
    for seed in 0..40 {
        let one = |who| with(who, &[child(who, "voice", ("10.11.0.0/16", "10.12.0.0/16"))]);
        let mut pair = Pair::with(
            seed,
            Faults::NONE,
            xvpn_ike::config::EndpointConfig::default(),
            one(Who::Alice),
            one(Who::Bob),
        );
        pair.up(Who::Alice);
        assert!(pair.run_until(SOON, |pair| pair.bob.outbound.len() == 1));
        pair.up(Who::Bob);
        // Nothing arrives until Bob has lost his patience and asks himself.
        pair.net.faults = Faults {
            loss: 100,
            ..Faults::NONE
        };
        pair.run_for(Duration::from_millis(5050));
        pair.net.faults = Faults::NONE;
        pair.run_for(Duration::from_secs(200));
        assert!(has(&pair, 2), "seed {seed}");
        assert_eq!(pair.alice.endpoint.spis_in_use(), (1, 2), "seed {seed}");
        assert_eq!(pair.bob.endpoint.spis_in_use(), (1, 2), "seed {seed}");
        let installed = |host: &Host| {
            let inbound = |output: &&Output| matches!(output, Output::InstallInbound(_));
            host.outputs.iter().filter(inbound).count()
        };
        crossed += usize::from(installed(&pair.alice) == 3 && installed(&pair.bob) == 3);
    }
    assert!(crossed > 30, "only {crossed} times did both ask");
}

#[test]
fn one_that_is_refused_takes_nothing_from_the_others_and_is_tried_again() {
    let mut bob = three(Who::Bob);
    bob.more_children[0].esp_proposals = "aes128gcm16".parse().into_iter().collect();
    let mut pair = Pair::configured(three(Who::Alice), bob);
    pair.up(Who::Alice);
    pair.run_for(LATER);
    assert!(has(&pair, 2));
    assert_eq!(count(&pair.alice, "ike closed"), 0);
    let failures = failed(&pair.alice);
    assert!(failures.len() > 2, "{failures:?}");
    assert!(
        failures
            .iter()
            .all(|(name, cause)| name == "voice" && matches!(cause, Cause::NoProposal { .. }))
    );
}

#[test]
fn if_the_first_is_refused_the_others_stand() {
    let mut bob = three(Who::Bob);
    bob.local_selectors = net("192.168.0.0/24");
    let mut pair = Pair::configured(three(Who::Alice), bob);
    pair.up(Who::Alice);
    pair.run_for(LATER);
    assert!(has(&pair, 2));
    assert_eq!(count(&pair.alice, "ike closed"), 0);
    assert_eq!(failed(&pair.alice)[0].0, "net");
}

#[test]
fn each_is_replaced() {
    let mut pair = Pair::configured(three(Who::Alice), three(Who::Bob));
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, |pair| has(pair, 3)));
    for who in [Who::Alice, Who::Bob] {
        let before: Vec<_> = pair.alice.inbound.keys().copied().collect();
        rekey(&mut pair, who, Rekey::Child);
        pair.run_for(LATER);
        assert!(has(&pair, 3));
        assert!(before.iter().all(|spi| !pair.alice.inbound.contains_key(spi)));
        rekey(&mut pair, who, Rekey::Ike);
        pair.run_for(LATER);
        assert!(has(&pair, 3));
    }
    pair.run_for(Duration::from_secs(24 * 3600));
    assert!(has(&pair, 3));
    assert_eq!(count(&pair.alice, "ike closed"), 0);
    assert_eq!(failed(&pair.alice), []);
}

/// RFC 4301 4.4.1: an SA belongs to its entry of the SPD, whoever asked for it and however often it was replaced.
#[test]
fn overlapping_ones_keep_their_places_in_the_order_of_the_configuration() {
    let (narrow, wide) = (("10.1.5.0/24", "10.2.5.0/24"), ("10.1.0.0/16", "10.2.0.0/16"));
    let overlapping = |who| {
        let first = child(who, "voice", narrow);
        ConnectionConfig {
            local_selectors: first.local_selectors,
            remote_selectors: first.remote_selectors,
            ..with(who, &[child(who, "all", wide)])
        }
    };
    // The same in the opposite order: the wide one is the first, and the narrow one has no traffic left, but a place.
    let reversed = |who| with(who, &[child(who, "voice", narrow)]);
    for (config, expected) in [
        (&overlapping as &dyn Fn(Who) -> ConnectionConfig, [narrow, wide]),
        (&reversed, [wide, narrow]),
    ] {
        let mut pair = Pair::configured(config(Who::Alice), config(Who::Bob));
        pair.up(Who::Alice);
        assert!(pair.run_until(SOON, |pair| has(pair, 2)));
        for who in [Who::Alice, Who::Bob, Who::Bob] {
            for what in [Rekey::Child, Rekey::Ike] {
                rekey(&mut pair, who, what);
                pair.run_for(LATER);
                assert!(has(&pair, 2));
                for sa in pair.alice.outbound.values() {
                    assert_eq!(sa.local, net(expected[sa.child.0].0), "alice");
                    assert_eq!(sa.remote, net(expected[sa.child.0].1), "alice");
                }
                for sa in pair.bob.outbound.values() {
                    assert_eq!(sa.local, net(expected[sa.child.0].1), "bob");
                    assert_eq!(sa.remote, net(expected[sa.child.0].0), "bob");
                }
            }
        }
        assert_eq!((failed(&pair.alice), failed(&pair.bob)), (vec![], vec![]));
    }
}

#[test]
fn one_for_a_resource_belongs_to_the_entry_that_is_for_exactly_its_networks() {
    let config = |who| {
        let mut config = with(who, &[child(who, "voice", ("10.1.5.0/24", "10.2.5.0/24"))]);
        config.more_children[0].resources = 1;
        config
    };
    let mut pair = Pair::configured(config(Who::Alice), config(Who::Bob));
    pair.up(Who::Alice);
    pair.run_for(LATER);
    assert!(has(&pair, 3));
    for host in [&pair.alice, &pair.bob] {
        let narrow = host
            .outbound
            .values()
            .filter(|sa| sa.child.0 == 1)
            .map(|sa| sa.resource.is_some());
        assert_eq!(narrow.filter(|of_one| *of_one).count(), 1);
        assert_eq!(host.outbound.values().filter(|sa| sa.child.0 == 0).count(), 1);
    }
}

#[test]
fn at_its_hard_limit_one_is_deleted_and_made_anew_and_the_others_stay() {
    let short = |who| {
        let mut config = three(who);
        config.more_children[0].lifetime.packets = Some(1000);
        config
    };
    let mut pair = Pair::configured(short(Who::Alice), short(Who::Bob));
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, |pair| has(pair, 3)));
    pair.traffic(Who::Alice, 1000);
    pair.run_for(LATER);
    assert!(has(&pair, 3));
    assert_eq!(failed(&pair.alice), [("voice".to_owned(), Cause::Expired)]);
    assert_eq!(count(&pair.alice, "ike closed"), 0);
}

#[test]
fn the_peer_says_that_the_rest_needs_another_and_gets_asked_for_it() {
    // RFC 7296 2.9: ADDITIONAL_TS_POSSIBLE.
    let mut alice = config(Who::Alice);
    alice.remote_selectors = net("10.2.0.0/16 10.3.0.0/16");
    let bob = with(
        Who::Bob,
        &[child(Who::Bob, "other", ("10.1.0.0/16", "10.3.0.0/16"))],
    );
    let mut bob = bob;
    bob.more_children[0].esp_proposals.clone_from(&bob.esp_proposals);
    let mut pair = Pair::configured(alice, bob);
    pair.up(Who::Alice);
    pair.run_for(LATER);
    assert!(has(&pair, 2));
    let remotes: Vec<_> = pair
        .alice
        .outbound
        .values()
        .flat_map(|sa| sa.remote.clone())
        .collect();
    assert!(remotes.contains(&net("10.2.0.0/16")[0]) && remotes.contains(&net("10.3.0.0/16")[0]));
}

#[test]
fn a_tunnel_with_one_child_sa_accepts_narrower_ones_beside_it() {
    let mut alice = config(Who::Alice);
    alice.local_selectors = net("10.1.1.0/24");
    alice.more_children = vec![child(Who::Alice, "second", ("10.1.2.0/24", "10.2.0.0/16"))];
    alice.more_children[0]
        .esp_proposals
        .clone_from(&alice.esp_proposals);
    let mut pair = Pair::configured(alice, config(Who::Bob));
    pair.up(Who::Alice);
    pair.run_for(LATER);
    assert!(has(&pair, 2));
}

fn with_resources(who: Who, resources: u32) -> ConnectionConfig {
    ConnectionConfig {
        child_resources: resources,
        ..config(who)
    }
}

#[test]
fn one_for_each_resource_follows_the_one_for_any() {
    let mut pair = Pair::configured(with_resources(Who::Alice, 4), with_resources(Who::Bob, 4));
    pair.up(Who::Alice);
    pair.run_for(LATER);
    assert!(has(&pair, 5));
    let first = pair.alice.outputs.iter().find_map(|output| match output {
        Output::InstallInbound(sa) => Some(sa.resource),
        _ => None,
    });
    assert_eq!(first, Some(None));
    for host in [&pair.alice, &pair.bob] {
        let mut resources: Vec<_> = host.outbound.values().map(|sa| sa.resource).collect();
        resources.sort_unstable();
        assert_eq!(resources, [None, Some(0), Some(1), Some(2), Some(3)]);
    }
    rekey(&mut pair, Who::Bob, Rekey::Child);
    pair.run_for(LATER);
    assert!(has(&pair, 5));
    assert_eq!(
        pair.alice
            .outbound
            .values()
            .filter(|sa| sa.resource.is_some())
            .count(),
        4
    );
}

#[test]
fn a_peer_with_fewer_resources_says_when_it_is_enough() {
    let mut pair = Pair::configured(with_resources(Who::Alice, 8), with_resources(Who::Bob, 2));
    pair.up(Who::Alice);
    pair.up(Who::Bob);
    pair.run_for(Duration::from_secs(100));
    assert!(has(&pair, 3));
    assert_eq!(failed(&pair.alice), []);
}

/// The SPIs that both sides receive the resources on, modulo the number of queues, in the order of the resources.
fn queues_of(pair: &Pair, queues: u32) -> [Vec<(Option<u32>, u32)>; 2] {
    [&pair.alice, &pair.bob].map(|host| {
        let all = host.inbound.values();
        let mut queues: Vec<_> = all.map(|sa| (sa.resource, sa.spi.0 % queues)).collect();
        queues.sort_unstable();
        queues
    })
}

#[test]
fn a_resource_keeps_its_queue_and_its_ports_through_rekeying() {
    let forced = |who| ConnectionConfig {
        encapsulation: EncapsulationPolicy::Force,
        ..with_resources(who, 3)
    };
    let mut pair = Pair::configured(forced(Who::Alice), forced(Who::Bob));
    for who in [Who::Alice, Who::Bob] {
        pair.host(who).endpoint.set_queues(3);
    }
    pair.up(Who::Alice);
    pair.run_for(LATER);
    assert!(has(&pair, 4));
    let before = queues_of(&pair, 3);
    for queues in &before {
        // That of any resource is received beside the queue that has the connection's number.
        assert_eq!(queues[0], (None, LINK.0 + 1));
        assert_eq!(queues[1..], [(Some(0), 0), (Some(1), 1), (Some(2), 2)]);
    }
    let any_ports = |pair: &Pair| {
        [&pair.alice, &pair.bob].map(|host| {
            let all = host.outbound.values();
            all.filter(|sa| sa.any_port).count()
        })
    };
    // Not the first, which IKE_AUTH made.
    assert_eq!(any_ports(&pair), [3, 3]);
    for who in [Who::Bob, Who::Alice, Who::Bob] {
        rekey(&mut pair, who, Rekey::Child);
        pair.run_for(LATER);
        assert!(has(&pair, 4));
        assert_eq!(queues_of(&pair, 3), before);
        assert_eq!(any_ports(&pair), [3, 3]);
    }
}

#[test]
fn without_ports_of_their_own_all_of_a_peer_in_udp_share_a_queue_and_without_udp_none_has_to() {
    let mut pair = Pair::configured(with_resources(Who::Alice, 2), with_resources(Who::Bob, 2));
    pair.alice.endpoint.set_queues(2);
    pair.up(Who::Alice);
    pair.run_for(LATER);
    assert!(has(&pair, 3));
    assert_eq!(queues_of(&pair, 2)[0][1..], [(Some(0), 0), (Some(1), 1)]);
    assert!(pair.alice.outbound.values().all(|sa| !sa.any_port && sa.xvpn));
    // Bob has one queue. Should a NAT come between later (RFC 4555), he knows that Alice has two.
    assert!(pair.alice.outbound.values().all(|sa| !sa.apart));
    assert!(pair.bob.outbound.values().any(|sa| sa.apart));

    // A NAT before Alice: Bob may send from 4500 only, and she does so, too, for her NAT's sake.
    let forced = |who| ConnectionConfig {
        encapsulation: EncapsulationPolicy::Force,
        ..with_resources(who, 2)
    };
    let bob = ConnectionConfig {
        remote: format!("{EVE}:500").parse().ok(),
        ..forced(Who::Bob)
    };
    let mut pair = Pair::configured(forced(Who::Alice), bob);
    pair.net.nat = Some(Nat {
        inside: ip(ALICE),
        outside: ip(EVE),
        port_shift: 0,
    });
    for who in [Who::Alice, Who::Bob] {
        pair.host(who).endpoint.set_queues(2);
    }
    pair.up(Who::Alice);
    pair.run_for(LATER);
    assert!(has(&pair, 3));
    for host in [&pair.alice, &pair.bob] {
        assert!(host.outbound.values().all(|sa| !sa.any_port));
    }
    let at_alice = &queues_of(&pair, 2)[0];
    assert!(
        at_alice.iter().all(|(_, queue)| *queue == at_alice[0].1),
        "{at_alice:?}"
    );
    // Bob sees no NAT before himself and has queues for them; Alice, who sends from one port, knows which share one.
    assert_eq!(queues_of(&pair, 2)[1][1..], [(Some(0), 0), (Some(1), 1)]);
    let known = |pair: &Pair| {
        let usable = pair.alice.outbound.values().filter(|sa| !sa.apart);
        let queues: BTreeSet<u32> = usable.map(|sa| sa.spi.0 % 2).collect();
        queues.len() == 1
            && pair.alice.outbound.values().any(|sa| sa.apart)
            && pair.bob.outbound.values().all(|sa| !sa.apart)
    };
    assert!(known(&pair));
    // What replaces them is where they were.
    rekey(&mut pair, Who::Alice, Rekey::Child);
    pair.run_for(LATER);
    assert!(known(&pair));
}
