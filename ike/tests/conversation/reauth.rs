//! Both sides prove anew who they are, while the old SAs carry traffic (RFC 7296 2.8.3, RFC 4478).

use std::time::Duration;

use xvpn_ike::api::{Event, Output, Spi, Step};
use xvpn_ike::auth::method::shared;
use xvpn_ike::config::{ChildConfig, ConnectionConfig, Lifetime, Secret};
use xvpn_ike::testing::{Faults, Host, Pair, Who, config};
use xvpn_ike::wire::payload::{Notify, NotifyType};

use super::SOON;
use super::by_hand::Responder;

/// Reauthentication is due between 80 % and 90 % of it.
const LIFETIME: Duration = Duration::from_secs(100);

fn tiring(who: Who) -> ConnectionConfig {
    let mut config = config(who);
    config.reauthentication = Some(LIFETIME);
    config
}

fn ike_established(host: &Host) -> usize {
    let events = host
        .events()
        .filter(|event| matches!(event, Event::IkeEstablished { .. }));
    events.count()
}

fn lost(host: &Host) -> usize {
    let bad = |event: &&Event| {
        matches!(
            event,
            Event::Failed { .. } | Event::IkeClosed { .. } | Event::ReauthFailed { .. }
        )
    };
    host.events().filter(bad).count()
}

/// Whoever sends, the other one receives; checked at every step.
fn never_deaf(pair: &mut Pair, duration: Duration) {
    let end = pair.clock.now() + duration;
    while pair.step(end) {
        for (from, to) in [(&pair.alice, &pair.bob), (&pair.bob, &pair.alice)] {
            let sends = from.sending().and_then(|spi| from.outbound.get(&spi));
            let out = sends.expect("there is always one to send on");
            assert!(to.inbound.contains_key(&out.spi), "what is sent is received");
        }
    }
    pair.clock.advance_to(end);
}

fn sends_initial_contact_once(outputs: &[Output]) -> bool {
    outputs
        .iter()
        .all(|output| !matches!(output, Output::Event(Event::IkeClosed { .. })))
}

#[test]
fn the_new_sas_stand_before_the_old_ones_go_and_nothing_is_left_twice() {
    for tired in [Who::Alice, Who::Bob] {
        for first in [Who::Alice, Who::Bob] {
            let of = |who| if who == tired { tiring(who) } else { config(who) };
            let mut pair = Pair::configured(of(Who::Alice), of(Who::Bob));
            pair.up(first);
            pair.run_for(SOON);
            assert!(pair.has_settled());
            never_deaf(&mut pair, LIFETIME * 5);
            let times = ike_established(&pair.alice);
            assert!((5..=8).contains(&times), "{tired:?} is tired: {times} times");
            assert_eq!(ike_established(&pair.bob), times);
            assert_eq!((lost(&pair.alice), lost(&pair.bob)), (0, 0));
            assert!(sends_initial_contact_once(&pair.bob.outputs));
            pair.run_for(Duration::from_secs(8));
            let (ike, esp) = pair.alice.endpoint.spis_in_use();
            assert!(ike <= 2 && esp <= 3, "nothing piles up: {ike} {esp}");
        }
    }
}

/// Alice has asked to be authenticated anew, and Bob has answered. What he sends on, still.
fn answered() -> (Pair, Spi) {
    let mut pair = Pair::configured(tiring(Who::Alice), config(Who::Bob));
    pair.up(Who::Alice);
    pair.run_for(SOON);
    let before = pair.bob.sending().unwrap();
    let installed = pair.bob.inbound.len();
    assert!(pair.run_until(LIFETIME, |pair| pair.bob.inbound.len() > installed));
    (pair, before)
}

#[test]
fn who_answers_sends_on_the_new_one_only_when_the_peer_has_it() {
    let (mut pair, before) = answered();
    // The answer is lost.
    pair.net.clear();
    assert_eq!(
        pair.bob.sending(),
        Some(before),
        "Alice has nothing yet to receive with"
    );
    assert!(pair.alice.outbound.contains_key(&pair.alice.sending().unwrap()));
    pair.run_for(Duration::from_secs(2));
    assert_ne!(
        pair.bob.sending(),
        Some(before),
        "she asked again, and deleted the old one"
    );
    assert!(pair.agree());
}

#[test]
fn who_answers_sends_on_the_new_one_before_the_peer_knows_that_the_old_one_is_deleted() {
    let (mut pair, before) = answered();
    pair.bob.outputs.clear();
    assert!(pair.run_until(SOON, |pair| pair.bob.sending() != Some(before)));
    let first = |is: fn(&Output) -> bool| pair.bob.outputs.iter().position(is).unwrap();
    let answered = first(|output| matches!(output, Output::Transmit(_)));
    assert!(first(|output| matches!(output, Output::InstallOutbound(_))) < answered);
    assert!(first(|output| matches!(output, Output::Remove(_))) < answered);
}

#[test]
fn a_network_that_loses_and_doubles_changes_nothing_of_that() {
    let faults = Faults {
        loss: 15,
        duplication: 10,
        ..Faults::NONE
    };
    for seed in 0..20 {
        let mut pair = Pair::with(
            seed,
            faults,
            xvpn_ike::config::EndpointConfig::default(),
            tiring(Who::Alice),
            tiring(Who::Bob),
        );
        pair.up(Who::Alice);
        pair.up(Who::Bob);
        pair.run_for(LIFETIME * 5);
        assert!(pair.run_until(LIFETIME, Pair::agree), "seed {seed}");
        let (ike, esp) = pair.bob.endpoint.spis_in_use();
        assert!(ike <= 8 && esp <= 8, "seed {seed}: {ike} {esp}");
    }
}

#[test]
fn both_at_once_end_with_one() {
    for seed in 0..20 {
        let mut pair = Pair::with(
            seed,
            Faults::NONE,
            xvpn_ike::config::EndpointConfig::default(),
            tiring(Who::Alice),
            tiring(Who::Bob),
        );
        pair.up(Who::Alice);
        pair.run_for(SOON);
        for _ in 0..3 {
            never_deaf(&mut pair, LIFETIME);
        }
        assert!(
            pair.run_until(Duration::from_secs(60), Pair::has_settled),
            "seed {seed}"
        );
        assert_eq!((lost(&pair.alice), lost(&pair.bob)), (0, 0), "seed {seed}");
    }
}

#[test]
fn a_failure_is_reported_and_the_old_one_used_until_its_authentication_is_over() {
    let mut pair = Pair::configured(tiring(Who::Alice), config(Who::Bob));
    pair.up(Who::Alice);
    pair.run_for(SOON);
    let mut other = config(Who::Bob);
    (other.local_auth, other.remote_auth) = shared(Secret::new(b"another key".to_vec()));
    pair.command(Who::Bob, xvpn_ike::api::Command::Configure(Box::new(other)));
    pair.run_for(Duration::from_secs(95));
    assert!(pair.agree(), "the old one stands");
    let told = |host: &Host| {
        let events = host.events();
        events
            .filter(|event| matches!(event, Event::ReauthFailed { .. }))
            .count()
    };
    assert!(told(&pair.alice) >= 1);
    assert!(pair.alice.failures().is_empty());
    pair.run_for(Duration::from_secs(10));
    assert!(pair.alice.is_bare(), "it is too old");
    assert!(!pair.alice.failures().is_empty());
}

#[test]
fn all_child_sas_move_before_the_old_ike_sa_goes() {
    let with_voice = |who: Who, mut config: ConnectionConfig| {
        let net = |text: &str| text.parse::<ipnet::IpNet>().map(Into::into).into_iter().collect();
        let (local, remote) = match who {
            Who::Alice => ("10.11.0.0/16", "10.12.0.0/16"),
            Who::Bob => ("10.12.0.0/16", "10.11.0.0/16"),
        };
        config.more_children = vec![ChildConfig {
            name: "voice".into(),
            esp_proposals: config.esp_proposals.clone(),
            local_selectors: net(local),
            remote_selectors: net(remote),
            lifetime: Lifetime::default(),
            resources: 0,
            aggfrag: None,
        }];
        config
    };
    let mut pair = Pair::configured(
        with_voice(Who::Alice, tiring(Who::Alice)),
        with_voice(Who::Bob, config(Who::Bob)),
    );
    pair.up(Who::Alice);
    pair.run_for(SOON);
    assert_eq!(pair.alice.inbound.len(), 2);
    pair.run_for(LIFETIME * 3);
    assert!(pair.run_until(Duration::from_secs(30), |pair| {
        pair.alice.inbound.len() == 2 && pair.bob.inbound.len() == 2 && pair.agree_on_all()
    }));
    assert!(ike_established(&pair.alice) >= 3);
    assert_eq!((lost(&pair.alice), lost(&pair.bob)), (0, 0));
}

#[test]
fn the_peers_auth_lifetime_is_honoured() {
    let begun_again = |lifetime: Option<u32>| {
        let mut responder = Responder::init();
        let mut answer = responder.accepted("bob.example");
        answer.other.extend(
            lifetime
                .map(|seconds| Notify::with_data(NotifyType::AUTH_LIFETIME, seconds.to_be_bytes().to_vec())),
        );
        assert_eq!(responder.answer(answer), None, "she has nothing to say");
        responder.pair.alice.clear();
        responder.pair.run_for(Duration::from_secs(20));
        let mut events = responder.pair.alice.events();
        events.any(|event| match event {
            Event::Progress { step, .. } => *step == Step::InitResponse,
            _ => false,
        })
    };
    assert!(begun_again(Some(20)));
    assert!(!begun_again(Some(3600)));
    assert!(!begun_again(None));
}
