//! Additional key exchanges when SAs are replaced, one IKE_FOLLOWUP_KE each (RFC 9370 2.2.4).

use std::time::Duration;

use xvpn_ike::api::Rekey;
use xvpn_ike::config::{ChildConfig, ConnectionConfig, Lifetime};
use xvpn_ike::testing::{Faults, Host, Pair, Who};
use xvpn_ike::wire::{ExchangeType, Header};

use super::intermediate::{agreed, with};
use super::rekey_child::rekey;
use super::{LATER, SOON, count, kinds};

const HYBRID: &str = "x25519-ke1_mlkem768-ke2_mlkem1024";

fn hybrid(who: Who) -> ConnectionConfig {
    ConnectionConfig {
        // Each message in one datagram: outputs are compared.
        fragment_size: 4000,
        esp_proposals: vec![format!("aes256gcm16-{HYBRID}-esn").parse().unwrap()],
        ..with(who, &[HYBRID])
    }
}

/// Both are connected, and what they said so far is forgotten.
fn settled() -> Pair {
    let mut pair = Pair::configured(hybrid(Who::Alice), hybrid(Who::Bob));
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    pair.alice.clear();
    pair.bob.clear();
    pair.net.tape.clear();
    pair
}

/// The messages in the order in which they were sent first: a large one counts once, however many fragments it has.
fn exchanges(pair: &Pair) -> Vec<(ExchangeType, bool)> {
    let mut seen = Vec::new();
    for sent in &pair.net.tape {
        let header = Header::parse(&sent.bytes).unwrap().0;
        if !seen.contains(&header) {
            seen.push(header);
        }
    }
    seen.into_iter()
        .map(|header| (header.exchange, header.flags.response))
        .collect()
}

fn esp_suite(host: &Host) -> Option<String> {
    host.inbound.values().next().map(|sa| format!("{:?}", sa.suite))
}

fn in_turn() -> Vec<(ExchangeType, bool)> {
    [
        ExchangeType::CREATE_CHILD_SA,
        ExchangeType::IKE_FOLLOWUP_KE,
        ExchangeType::IKE_FOLLOWUP_KE,
        ExchangeType::INFORMATIONAL,
    ]
    .into_iter()
    .flat_map(|exchange| [(exchange, false), (exchange, true)])
    .collect()
}

/// No SA is left that nobody uses.
fn is_tidy(pair: &Pair) {
    assert!(pair.has_settled());
    assert_eq!(pair.alice.endpoint.spis_in_use(), (1, 1));
    assert_eq!(pair.bob.endpoint.spis_in_use(), (1, 1));
    assert_eq!((pair.alice.failures(), pair.bob.failures()), (vec![], vec![]));
}

#[test]
fn a_child_sa_is_made_when_the_last_is_done() {
    for who in [Who::Alice, Who::Bob] {
        let mut pair = settled();
        let old = pair.alice.sending();
        rekey(&mut pair, who, Rekey::Child);
        pair.run_for(LATER);
        assert_eq!(exchanges(&pair), in_turn());
        is_tidy(&pair);
        assert_ne!(pair.alice.sending(), old);
        assert!(esp_suite(&pair.alice).is_some());
        let (asker, answerer) = match who {
            Who::Alice => (&pair.alice, &pair.bob),
            Who::Bob => (&pair.bob, &pair.alice),
        };
        assert_eq!(
            kinds(&asker.outputs)[..5],
            [
                "transmit",
                "transmit",
                "transmit",
                "install inbound",
                "install outbound"
            ]
        );
        // It can be received on before the last answer leaves (RFC 7296 2.8).
        assert_eq!(
            kinds(&answerer.outputs)[..5],
            [
                "transmit",
                "transmit",
                "install inbound",
                "transmit",
                "install outbound"
            ]
        );
    }
}

/// Beside the first one there is to be another CHILD SA, which needs all key exchanges.
fn with_another(who: Who) -> ConnectionConfig {
    let net = |net: &str| net.parse::<ipnet::IpNet>().map(Into::into).into_iter().collect();
    let (local, remote) = match who {
        Who::Alice => ("10.11.0.0/16", "10.12.0.0/16"),
        Who::Bob => ("10.12.0.0/16", "10.11.0.0/16"),
    };
    let config = hybrid(who);
    ConnectionConfig {
        more_children: vec![ChildConfig {
            name: "voice".into(),
            esp_proposals: config.esp_proposals.clone(),
            local_selectors: net(local),
            remote_selectors: net(remote),
            lifetime: Lifetime::default(),
            resources: 0,
            aggfrag: None,
        }],
        ..config
    }
}

#[test]
fn a_further_child_sa_has_all_key_exchanges_from_the_first_moment_on() {
    let mut pair = Pair::configured(with_another(Who::Alice), with_another(Who::Bob));
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, |pair| pair.alice.outbound.len() == 2));
    pair.run_for(LATER);
    let mut expected = in_turn();
    expected.truncate(6);
    let since = exchanges(&pair);
    let begun = since
        .iter()
        .position(|(exchange, _)| *exchange == ExchangeType::CREATE_CHILD_SA);
    assert_eq!(since[begun.unwrap()..][..6], expected);
    assert_eq!(pair.alice.endpoint.spis_in_use(), (1, 2));
    assert_eq!(pair.bob.endpoint.spis_in_use(), (1, 2));
    assert!(pair.agree_on_all());
    let of_bob = kinds(&pair.bob.outputs);
    let installs: Vec<_> = of_bob
        .iter()
        .filter(|kind| kind.starts_with("install") || **kind == "transmit")
        .collect();
    // IKE_AUTH's, then the answers to CREATE_CHILD_SA and two IKE_FOLLOWUP_KE; he receives before the last one leaves.
    assert_eq!(
        installs[installs.len() - 5..],
        [
            &"transmit",
            &"transmit",
            &"install inbound",
            &"transmit",
            &"install outbound"
        ]
    );
}

#[test]
fn both_want_the_same_further_child_sa_at_once_and_one_is_made() {
    for seed in 0..30 {
        let endpoint = xvpn_ike::config::EndpointConfig::default();
        let (alice, bob) = (with_another(Who::Alice), with_another(Who::Bob));
        let mut pair = Pair::with(seed, Faults::NONE, endpoint, alice, bob);
        pair.up(Who::Alice);
        pair.up(Who::Bob);
        pair.run_for(Duration::from_secs(120));
        assert_eq!(pair.alice.endpoint.spis_in_use(), (1, 2), "seed {seed}");
        assert_eq!(pair.bob.endpoint.spis_in_use(), (1, 2), "seed {seed}");
        assert!(pair.agree_on_all());
        assert_eq!(
            count(&pair.alice, "child failed") + count(&pair.bob, "child failed"),
            0
        );
    }
}

#[test]
fn an_ike_sa_is_made_when_the_last_is_done() {
    for who in [Who::Alice, Who::Bob] {
        let mut pair = settled();
        for _ in 0..3 {
            pair.net.tape.clear();
            rekey(&mut pair, who, Rekey::Ike);
            pair.run_for(LATER);
            assert_eq!(exchanges(&pair), in_turn());
            assert_eq!(agreed(&pair.alice), HYBRID);
            is_tidy(&pair);
            rekey(&mut pair, who, Rekey::Child);
            pair.run_for(LATER);
            is_tidy(&pair);
        }
        assert_eq!(count(&pair.alice, "ike established"), 3);
    }
}

#[test]
fn who_has_the_lowest_nonce_does_not_go_on_when_both_begin() {
    for seed in 0..20 {
        for what in [Rekey::Child, Rekey::Ike] {
            let endpoint = xvpn_ike::config::EndpointConfig::default();
            let mut pair = Pair::with(seed, Faults::NONE, endpoint, hybrid(Who::Alice), hybrid(Who::Bob));
            pair.up(Who::Alice);
            assert!(pair.run_until(SOON, Pair::has_settled));
            pair.net.tape.clear();
            let old = pair.alice.sending();
            rekey(&mut pair, Who::Alice, what);
            rekey(&mut pair, Who::Bob, what);
            pair.run_for(LATER);
            is_tidy(&pair);
            let follow_ups = exchanges(&pair)
                .into_iter()
                .filter(|(exchange, _)| *exchange == ExchangeType::IKE_FOLLOWUP_KE);
            assert_eq!(follow_ups.count(), 4, "{seed} {what:?}");
            assert_eq!(pair.alice.sending() == old, what == Rekey::Ike);
        }
    }
}

#[test]
fn what_comes_while_ours_is_under_way_is_refused_for_now() {
    for what in [Rekey::Child, Rekey::Ike] {
        let mut pair = settled();
        rekey(&mut pair, Who::Alice, what);
        // Alice's IKE_FOLLOWUP_KE is on its way to Bob.
        pair.run_until(SOON, |pair| exchanges(pair).len() == 3);
        rekey(&mut pair, Who::Bob, what);
        pair.run_for(LATER);
        is_tidy(&pair);
    }
}

#[test]
fn what_the_peer_does_not_finish_is_forgotten_and_the_next_request_finds_no_state() {
    for what in [Rekey::Child, Rekey::Ike] {
        let mut pair = settled();
        rekey(&mut pair, Who::Alice, what);
        pair.run_until(SOON, |pair| exchanges(pair).len() == 3);
        // Alice's IKE_FOLLOWUP_KE is held up for longer than Bob waits, and shorter than Alice does.
        pair.net.clear();
        pair.net.faults.loss = 100;
        pair.run_for(Duration::from_secs(25));
        let in_use = pair.bob.endpoint.spis_in_use();
        assert_eq!(in_use, (1, 1), "{what:?}");
        pair.net.faults.loss = 0;
        pair.run_for(Duration::from_secs(60));
        // It was begun anew, and done.
        is_tidy(&pair);
        let begun = exchanges(&pair)
            .into_iter()
            .filter(|asked| *asked == (ExchangeType::CREATE_CHILD_SA, false));
        assert_eq!(begun.count(), 2, "{what:?}");
    }
}

#[test]
fn the_end_of_the_ike_sa_leaves_nothing_behind() {
    for what in [Rekey::Child, Rekey::Ike] {
        for who in [Who::Alice, Who::Bob] {
            for sent in 1..8 {
                let mut pair = settled();
                rekey(&mut pair, Who::Alice, what);
                pair.run_until(SOON, |pair| pair.net.tape.len() == sent);
                pair.down(Who::Alice);
                pair.down(who);
                pair.run_for(Duration::from_secs(200));
                assert!(pair.alice.is_bare() && pair.bob.is_bare());
                assert_eq!(pair.alice.endpoint.spis_in_use(), (0, 0));
                assert_eq!(pair.bob.endpoint.spis_in_use(), (0, 0));
            }
        }
    }
}

#[test]
fn a_peer_without_ike_intermediate_is_not_offered_any() {
    let both = [HYBRID, "x25519"];
    let mut pair = Pair::configured(with(Who::Alice, &both), with(Who::Bob, &["x25519"]));
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    for who in [Who::Alice, Who::Bob] {
        rekey(&mut pair, who, Rekey::Ike);
        pair.run_for(LATER);
        is_tidy(&pair);
        assert_eq!(agreed(&pair.alice), "x25519");
    }
    assert_eq!(count(&pair.alice, "ike established"), 3);
}
