//! A ticket that is refused, for whatever reason, is no more than a detour: IKE_SA_INIT follows without the operator (RFC 5723 4.3.2).

use std::time::Duration;

use xvpn_ike::api::{Command, Input, Output};
use xvpn_ike::auth::method::shared;
use xvpn_ike::auth::verified::Means;
use xvpn_ike::config::{ConnectionConfig, EndpointConfig, Secret};
use xvpn_ike::testing::{Faults, Host, Pair, SeededRandom, WALL_CLOCK, Who, name, path};

use super::resume::{
    AUTH, INIT, RESUME, begun_by, crash_of_bob, forget, lasting, means, resuming, with_ticket,
};
use super::{SOON, count};

/// Bob comes back like this, takes no ticket, and the connection stands all the same and at once.
fn falls_back(endpoint: EndpointConfig, bob: ConnectionConfig) {
    let mut pair = with_ticket(resuming(Who::Alice), resuming(Who::Bob));
    crash_of_bob(&mut pair, endpoint, bob);
    assert!(pair.run_until(SOON, |pair| count(&pair.alice, "ike established") > 0));
    assert!(pair.run_until(SOON, Pair::has_settled));
    assert_eq!(begun_by(&pair), [RESUME, INIT, AUTH]);
    assert_eq!(count(&pair.alice, "the ticket is refused"), 1);
    assert_eq!(means(&pair.alice), (Some(Means::Psk), Some(Means::Psk)));
    // Only the crash itself was a failure.
    assert_eq!(pair.alice.failures().len(), 1);
    assert!(pair.bob.failures().is_empty());
}

#[test]
fn a_responder_that_has_lost_its_key() {
    falls_back(lasting(2), resuming(Who::Bob));
    let none = EndpointConfig {
        ticket_keys: Vec::new(),
        ..lasting(1)
    };
    falls_back(none, resuming(Who::Bob));
}

#[test]
fn a_responder_that_does_not_resume_any_more() {
    let off = ConnectionConfig {
        resumption: false,
        ..resuming(Who::Bob)
    };
    falls_back(lasting(1), off);
}

#[test]
fn a_responder_with_other_algorithms() {
    let other = ConnectionConfig {
        ike_proposals: vec!["aes256gcm16-prfsha384-x25519".parse().unwrap()],
        ..resuming(Who::Bob)
    };
    let both = ConnectionConfig {
        ike_proposals: vec![
            "aes256gcm16-prfsha256-x25519".parse().unwrap(),
            "aes256gcm16-prfsha384-x25519".parse().unwrap(),
        ],
        ..resuming(Who::Alice)
    };
    let mut pair = with_ticket(both, resuming(Who::Bob));
    crash_of_bob(&mut pair, lasting(1), other);
    assert!(pair.run_until(SOON, |pair| count(&pair.alice, "ike established") > 0));
    assert_eq!(begun_by(&pair), [RESUME, INIT, AUTH]);
}

#[test]
fn a_responder_with_another_key_for_this_peer() {
    let mut bob = resuming(Who::Bob);
    (bob.local_auth, bob.remote_auth) = shared(Secret::new(b"another key for Alice".to_vec()));
    let mut pair = with_ticket(resuming(Who::Alice), resuming(Who::Bob));
    crash_of_bob(&mut pair, lasting(1), bob);
    pair.run_for(SOON);
    // She must show her credentials, and they are not good any more.
    assert_eq!(begun_by(&pair), [RESUME, INIT, AUTH]);
    assert!(!pair.has_settled() && pair.bob.is_bare());
}

#[test]
fn a_responder_for_whom_the_peer_has_another_name() {
    let bob = ConnectionConfig {
        remote_identity: name("carol.example"),
        ..resuming(Who::Bob)
    };
    let mut pair = with_ticket(resuming(Who::Alice), resuming(Who::Bob));
    crash_of_bob(&mut pair, lasting(1), bob);
    pair.run_for(SOON);
    assert_eq!(begun_by(&pair), [RESUME, INIT, AUTH]);
    assert!(pair.bob.is_bare());
}

#[test]
fn an_initiator_whose_configuration_changed_does_not_show_its_ticket() {
    let mut pair = with_ticket(resuming(Who::Alice), resuming(Who::Bob));
    let mut alice = resuming(Who::Alice);
    alice
        .ike_proposals
        .push("aes256gcm16-prfsha384-x25519".parse().unwrap());
    pair.command(Who::Alice, Command::Configure(Box::new(alice)));
    crash_of_bob(&mut pair, lasting(1), resuming(Who::Bob));
    assert!(pair.run_until(SOON, |pair| count(&pair.alice, "ike established") > 0));
    assert_eq!(begun_by(&pair), [INIT, AUTH]);
}

#[test]
fn a_responder_that_sends_everybody_elsewhere_says_so_in_ike_sa_init() {
    let mut pair = with_ticket(resuming(Who::Alice), resuming(Who::Bob));
    let elsewhere = ConnectionConfig {
        redirect_to: "203.0.113.7".parse().ok(),
        ..resuming(Who::Bob)
    };
    assert!(elsewhere.redirect_to.is_some());
    crash_of_bob(&mut pair, lasting(1), elsewhere);
    pair.run_for(SOON);
    assert_eq!(begun_by(&pair), [RESUME, INIT]);
    assert_eq!(count(&pair.alice, "redirected"), 1);
}

#[test]
fn a_responder_that_does_not_answer_is_asked_by_ike_sa_init_soon() {
    // It does not know the exchange, says nothing, and is there all the same.
    let mut pair = with_ticket(resuming(Who::Alice), resuming(Who::Bob));
    crash_of_bob(&mut pair, lasting(1), resuming(Who::Bob));
    let asked = |pair: &Pair, kind| pair.net.tape.iter().any(|sent| sent.bytes[18] == kind);
    assert!(pair.run_until(SOON, |pair| asked(pair, RESUME)));
    pair.net.clear();
    pair.net.faults.loss = 100;
    assert!(pair.run_until(Duration::from_secs(4), |pair| asked(pair, INIT)));
    pair.net.faults = Faults::NONE;
    assert!(pair.run_until(SOON, Pair::has_settled));
    assert_eq!(begun_by(&pair), [RESUME, INIT, AUTH]);
}

#[test]
fn while_the_peer_is_away_both_ways_are_tried_in_turn() {
    let mut pair = with_ticket(resuming(Who::Alice), resuming(Who::Bob));
    pair.net.faults.loss = 100;
    assert!(pair.run_until(Duration::from_secs(200), |pair| pair.alice.is_bare()));
    forget(&mut pair);
    pair.run_for(Duration::from_secs(300));
    let begun = begun_by(&pair);
    assert!(begun.len() > 6);
    assert!(begun.chunks(2).all(|attempt| attempt[0] == RESUME));
    // And it is resumed when the peer is back.
    forget(&mut pair);
    crash_of_bob(&mut pair, lasting(1), resuming(Who::Bob));
    pair.net.faults = Faults::NONE;
    assert!(pair.run_until(Duration::from_secs(120), Pair::has_settled));
}

#[test]
fn an_expired_ticket_is_not_shown() {
    let short = |who| ConnectionConfig {
        ike_lifetime: Duration::from_secs(3600),
        ..resuming(who)
    };
    let mut pair = with_ticket(short(Who::Alice), short(Who::Bob));
    pair.net.faults.loss = 100;
    assert!(pair.run_until(Duration::from_secs(200), |pair| pair.alice.is_bare()));
    pair.run_for(Duration::from_secs(3600));
    forget(&mut pair);
    pair.net.faults = Faults::NONE;
    assert!(pair.run_until(Duration::from_secs(120), Pair::has_settled));
    assert!(!begun_by(&pair).contains(&RESUME));
}

/// Alice has lost Bob, and her request to resume, as Bob would see it, was recorded and not delivered.
fn recorded() -> (Pair, Vec<u8>) {
    let mut pair = with_ticket(resuming(Who::Alice), resuming(Who::Bob));
    pair.net.faults.loss = 100;
    assert!(pair.run_until(Duration::from_secs(300), |pair| {
        pair.net.tape.iter().any(|sent| sent.bytes[18] == RESUME)
    }));
    let request = pair.net.tape.iter().find(|sent| sent.bytes[18] == RESUME);
    let request = request.unwrap().bytes.clone();
    pair.net.clear();
    pair.bob = Host::new(lasting(1), 77);
    let clock = WALL_CLOCK + Duration::from_secs(120);
    pair.input(Who::Bob, Input::WallClock(clock));
    pair.command(Who::Bob, Command::Configure(Box::new(resuming(Who::Bob))));
    pair.bob.clear();
    (pair, request)
}

fn answers(pair: &mut Pair, from_port: u16, bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut at = path(Who::Bob, 500);
    at.remote.set_port(from_port);
    let outputs = pair.inject(Who::Bob, at, bytes);
    let transmits = outputs.iter().filter_map(|output| match output {
        Output::Transmit(transmit) => Some(transmit.bytes.clone()),
        _ => None,
    });
    transmits.collect()
}

/// N(TICKET_NACK), alone.
fn is_nack(answer: &[u8]) -> bool {
    answer.len() == 36 && answer[34..36] == 16412u16.to_be_bytes() && answer[8..16] == [0; 8]
}

#[test]
fn a_forged_ticket_costs_one_short_answer_and_nothing_is_kept() {
    let (mut pair, request) = recorded();
    assert!(
        answers(&mut pair, 500, &request)
            .iter()
            .all(|answer| answer.len() > 36),
        "it is good"
    );
    pair.run_for(Duration::from_secs(31));
    let mut random = SeededRandom::new(5);
    // The ticket stands behind the header, the nonce and the head of its notify.
    let ticket = 28 + 36 + 8;
    for round in 0..500 {
        let mut forged = request.clone();
        let at = ticket + usize::try_from(random.next_u64() % 150).unwrap();
        forged[at] ^= 1 << (round % 8);
        let answers = answers(&mut pair, 500, &forged);
        assert!(answers.len() == 1 && is_nack(&answers[0]), "octet {at}");
        assert!(answers[0].len() <= forged.len());
    }
    assert_eq!(pair.bob.endpoint.spis_in_use(), (0, 0));
    assert_eq!(
        pair.bob.endpoint.poll_timeout(),
        None,
        "no half-open SA waits to expire"
    );
}

#[test]
fn a_ticket_that_was_seen_on_its_way_gets_nobody_more_than_a_few_half_open_sas() {
    let (mut pair, request) = recorded();
    for port in 1000..1100 {
        for answer in answers(&mut pair, port, &request) {
            assert!(answer.len() <= request.len());
        }
    }
    assert_eq!(pair.bob.endpoint.spis_in_use(), (4, 0));
    // And they are forgotten.
    pair.run_for(Duration::from_secs(31));
    assert_eq!(pair.bob.endpoint.spis_in_use(), (0, 0));
}

#[test]
fn the_same_request_again_has_the_same_answer() {
    let (mut pair, request) = recorded();
    let first = answers(&mut pair, 500, &request);
    assert_eq!(answers(&mut pair, 500, &request), first);
    assert_eq!(pair.bob.endpoint.spis_in_use(), (1, 0));
}

#[test]
fn an_expired_ticket_is_refused_whatever_its_owner_believes() {
    let (mut pair, request) = recorded();
    let later = WALL_CLOCK + Duration::from_secs(9 * 3600);
    pair.input(Who::Bob, Input::WallClock(later));
    assert!(is_nack(&answers(&mut pair, 500, &request)[0]));
}

#[test]
fn without_a_clock_no_ticket_is_taken() {
    let (mut pair, request) = recorded();
    pair.bob = Host::new(lasting(1), 78);
    pair.command(Who::Bob, Command::Configure(Box::new(resuming(Who::Bob))));
    assert!(is_nack(&answers(&mut pair, 500, &request)[0]));
}

#[test]
fn a_ticket_is_good_once() {
    let mut pair = with_ticket(resuming(Who::Alice), resuming(Who::Bob));
    crash_of_bob(&mut pair, lasting(1), resuming(Who::Bob));
    assert!(pair.run_until(SOON, |pair| count(&pair.alice, "ike established") > 0));
    assert!(pair.run_until(SOON, Pair::has_settled));
    let request = pair.net.tape.iter().find(|sent| sent.bytes[18] == RESUME);
    let request = request.unwrap().bytes.clone();
    pair.run_for(Duration::from_secs(31));
    pair.bob.clear();
    let mut again = request.clone();
    // Another initiator's SPI, for the very same message is recognised as such.
    again[0] ^= 1;
    assert!(is_nack(&answers(&mut pair, 500, &again)[0]));
    assert!(answers(&mut pair, 500, &request).is_empty());
    assert!(pair.has_settled() && pair.bob.endpoint.spis_in_use() == (1, 1));
}

#[test]
fn a_forged_refusal_leads_to_nothing_worse_than_a_key_exchange() {
    let (mut pair, request) = recorded();
    let mut nack = vec![0; 36];
    nack[..8].copy_from_slice(&request[..8]);
    nack[16..24].copy_from_slice(&[41, 0x20, RESUME, 0x20, 0, 0, 0, 0]);
    nack[24..28].copy_from_slice(&36u32.to_be_bytes());
    nack[28..36].copy_from_slice(&[0, 0, 0, 8, 0, 0, 0x40, 0x1c]);
    assert!(is_nack(&nack));
    pair.net.faults = Faults::NONE;
    forget(&mut pair);
    pair.inject(Who::Alice, path(Who::Alice, 500), &nack);
    assert_eq!(begun_by(&pair), [INIT]);
    assert!(pair.run_until(SOON, Pair::has_settled));
    assert!(pair.alice.endpoint.audit().is_ok());
}
