//! Additional key exchanges before IKE_AUTH, one IKE_INTERMEDIATE each (RFC 9242, RFC 9370 2.2.2).

use std::time::Duration;

use xvpn_ike::api::Event;
use xvpn_ike::config::{ConnectionConfig, EndpointConfig};
use xvpn_ike::error::{Cause, Exchange};
use xvpn_ike::message::{IntermediateRequest, IntermediateResponse};
use xvpn_ike::testing::{Faults, Host, Pair, Who, config};
use xvpn_ike::wire::payload::{KeyExchange, NotifyType};
use xvpn_ike::wire::{ExchangeType, Header, Payloads};

use super::by_hand::ByHand;
use super::{LATER, SOON, count, kinds};

/// With these key exchanges.
pub(crate) fn with(who: Who, proposals: &[&str]) -> ConnectionConfig {
    let ike_proposals = proposals
        .iter()
        .map(|text| format!("aes256gcm16-prfsha256-{text}").parse().unwrap())
        .collect();
    ConnectionConfig {
        ike_proposals,
        ..config(who)
    }
}

pub(crate) fn both(proposals: &[&str]) -> Pair {
    Pair::configured(with(Who::Alice, proposals), with(Who::Bob, proposals))
}

/// The key exchanges of the last IKE SA.
pub(crate) fn agreed(host: &Host) -> String {
    let suite = host.events().filter_map(|event| match event {
        Event::IkeEstablished { ike, .. } => Some(ike.suite.clone()),
        _ => None,
    });
    let suite = suite.last().unwrap_or_default();
    suite.trim_start_matches("aes256gcm16-prfsha256-").to_owned()
}

/// Exchange and message ID of everything that was sent.
pub(crate) fn headers(pair: &Pair) -> Vec<(ExchangeType, bool, u32)> {
    let header = |bytes: &[u8]| Header::parse(bytes).unwrap().0;
    let headers = pair.net.tape.iter().map(|sent| header(&sent.bytes));
    headers
        .map(|header| (header.exchange, header.flags.response, header.message_id))
        .collect()
}

#[test]
fn both_have_the_keys_of_all_of_them() {
    for key_exchanges in [
        "x25519-ke1_mlkem768",
        "x25519-ke1_mlkem1024",
        "ecp384-ke1_mlkem512",
        "x25519-ke1_mlkem768-ke2_mlkem1024",
        "x25519-ke1_ecp256-ke2_mlkem768-ke3_ecp384-ke4_mlkem1024-ke5_mlkem512-ke6_ecp521-ke7_modp2048",
    ] {
        for who in [Who::Alice, Who::Bob] {
            let mut pair = both(&[key_exchanges]);
            pair.up(who);
            assert!(pair.run_until(SOON, Pair::has_settled), "{key_exchanges}");
            assert_eq!(agreed(&pair.alice), key_exchanges);
            assert_eq!(agreed(&pair.bob), key_exchanges);
            pair.run_for(Duration::from_secs(300));
            assert!(pair.has_settled());
            assert_eq!((pair.alice.failures(), pair.bob.failures()), (vec![], vec![]));
        }
    }
}

#[test]
fn with_aes_cbc_and_hmac_as_well() {
    let proposal = "aes128-sha256-modp2048-ke1_mlkem768";
    let with = |who| ConnectionConfig {
        ike_proposals: vec![proposal.parse().unwrap()],
        ..config(who)
    };
    let mut pair = Pair::configured(with(Who::Alice), with(Who::Bob));
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
}

#[test]
fn the_message_ids_count_on() {
    let mut pair = both(&["x25519-ke1_mlkem768-ke2_mlkem1024"]);
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    let both_ways = |exchange, id| [(exchange, false, id), (exchange, true, id)];
    let expected = [
        both_ways(ExchangeType::IKE_SA_INIT, 0),
        both_ways(ExchangeType::IKE_INTERMEDIATE, 1),
        both_ways(ExchangeType::IKE_INTERMEDIATE, 2),
        both_ways(ExchangeType::IKE_AUTH, 3),
    ];
    // The larger key exchange travels in two fragments each way.
    let mut seen = headers(&pair);
    assert_eq!(seen.len(), 10);
    seen.dedup();
    assert_eq!(seen, expected.concat());
    assert_eq!(
        kinds(&pair.alice.outputs)[..7],
        [
            "transmit",
            "awaits the answer to IKE_SA_INIT",
            "transmit",
            "awaits the answer to IKE_INTERMEDIATE",
            "transmit",
            "transmit",
            "awaits the answer to IKE_INTERMEDIATE",
        ]
    );
}

#[test]
fn a_gap_is_skipped() {
    let mut pair = Pair::configured(
        with(Who::Alice, &["x25519-ke1_mlkem768-ke1_none-ke2_ecp384"]),
        with(Who::Bob, &["x25519-ke1_mlkem1024-ke1_none-ke2_ecp384"]),
    );
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    assert_eq!(agreed(&pair.bob), "x25519-ke2_ecp384");
}

#[test]
fn who_cannot_do_it_connects_without_in_the_first_exchange() {
    let hybrid = ["x25519-ke1_mlkem768", "x25519"];
    for (alice, bob) in [(&hybrid[..], &["x25519"][..]), (&["x25519"][..], &hybrid[..])] {
        let mut pair = Pair::configured(with(Who::Alice, alice), with(Who::Bob, bob));
        pair.up(Who::Alice);
        assert!(pair.run_until(SOON, Pair::has_settled));
        assert_eq!(agreed(&pair.alice), "x25519");
        assert_eq!(headers(&pair).len(), 4);
    }
}

#[test]
fn who_demands_it_does_not_connect_without() {
    let mut pair = Pair::configured(
        with(Who::Alice, &["x25519"]),
        with(Who::Bob, &["x25519-ke1_mlkem768"]),
    );
    pair.up(Who::Alice);
    pair.run_for(LATER);
    assert!(!pair.has_settled());
    let causes: Vec<Cause> = pair
        .bob
        .failures()
        .into_iter()
        .map(|failure| failure.cause.clone())
        .collect();
    let Some(Cause::NoProposal { difference, .. }) = causes.first() else {
        panic!("{causes:?}")
    };
    assert_eq!(
        difference.as_deref(),
        Some("they offer ke1 none, we accept mlkem768")
    );
}

#[test]
fn lost_doubled_and_late_datagrams_do_not_stop_it() {
    for seed in 0..50 {
        let proposals = ["x25519-ke1_mlkem768-ke2_mlkem1024"];
        let mut pair = Pair::with(
            seed,
            Faults::MANY,
            EndpointConfig::default(),
            with(Who::Alice, &proposals),
            with(Who::Bob, &proposals),
        );
        pair.up(Who::Alice);
        pair.run_for(Duration::from_secs(60));
        pair.net.faults = Faults::NONE;
        pair.run_for(Duration::from_secs(60));
        assert!(pair.has_settled(), "{seed}");
    }
}

#[test]
fn a_repeated_request_is_answered_again_octet_for_octet_even_with_the_old_keys() {
    let mut pair = both(&["x25519-ke1_mlkem768-ke2_mlkem1024"]);
    pair.up(Who::Alice);
    for _ in 0..3 {
        // Bob's answer comes, and Alice's next request leaves.
        let before = pair.net.tape.len();
        pair.run_until(SOON, |pair| pair.net.tape.len() > before);
    }
    // IKE_SA_INIT, IKE_INTERMEDIATE 1: request and answer each.
    assert_eq!(pair.net.tape.len(), 4);
    let (request, answer) = (pair.net.tape[2].clone(), pair.net.tape[3].clone());
    pair.inject(Who::Bob, request.path, &request.bytes);
    assert_eq!(pair.net.tape[4].bytes, answer.bytes);
    let mut forged = request.bytes.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(kinds(&pair.inject(Who::Bob, request.path, &forged)), ["ignored"]);
    assert!(pair.run_until(SOON, Pair::has_settled));
    // And when all is done, it is too late.
    assert_eq!(
        kinds(&pair.inject(Who::Bob, request.path, &request.bytes)),
        ["ignored"]
    );
}

#[test]
fn a_peer_that_falls_silent_in_between_is_named_with_the_exchange() {
    let mut pair = both(&["x25519-ke1_mlkem768"]);
    pair.up(Who::Alice);
    pair.run_until(SOON, |pair| pair.net.tape.len() == 3);
    pair.net.clear();
    pair.net.faults.loss = 100;
    pair.run_for(Duration::from_secs(60));
    let failures = pair.alice.failures();
    let first = failures.first().unwrap();
    assert_eq!(first.exchange, Exchange::IkeIntermediate);
    assert!(matches!(first.cause, Cause::NoResponse { .. }), "{first}");
    assert!(first.remedy().contains("4500"), "{}", first.remedy());
    // Nothing is left behind on either side, and the next attempt succeeds.
    pair.down(Who::Alice);
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.alice.endpoint.spis_in_use(), (0, 0));
    assert_eq!(pair.bob.endpoint.spis_in_use(), (0, 0));
    pair.net.faults.loss = 0;
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
}

#[test]
fn the_operator_may_change_their_mind_in_between() {
    let mut pair = both(&["x25519-ke1_mlkem768"]);
    pair.up(Who::Alice);
    pair.run_until(SOON, |pair| pair.net.tape.len() == 3);
    pair.down(Who::Alice);
    pair.run_for(Duration::from_secs(60));
    assert_eq!(pair.alice.endpoint.spis_in_use(), (0, 0));
    assert_eq!(pair.bob.endpoint.spis_in_use(), (0, 0));
    assert_eq!(count(&pair.alice, "ike closed"), 1);
}

#[test]
fn both_at_once_keep_one() {
    let mut pair = both(&["x25519-ke1_mlkem768"]);
    pair.up(Who::Alice);
    pair.up(Who::Bob);
    pair.run_for(Duration::from_secs(200));
    assert!(pair.has_settled());
    assert_eq!(pair.alice.endpoint.spis_in_use(), (1, 1));
    assert_eq!(pair.bob.endpoint.spis_in_use(), (1, 1));
}

/// An initiator by hand, after IKE_SA_INIT with Bob, who demands ML-KEM-768.
fn by_hand() -> ByHand {
    let proposals = ["x25519-ke1_mlkem768"];
    let pair = Pair::configured(config(Who::Alice), with(Who::Bob, &proposals));
    ByHand::init_offering(pair, 0, &with(Who::Alice, &proposals).ike_proposals)
}

fn key_exchange(method: u16, length: usize) -> Payloads {
    let ke = KeyExchange {
        method,
        data: vec![0xff; length],
    };
    IntermediateRequest { ke }.emit()
}

#[test]
fn what_is_no_key_is_refused_and_ends_the_attempt() {
    let wrong = [
        // No element of the module (FIPS 203 7.2), another length, another method, none.
        (key_exchange(36, 1184), Cause::BadPublicValue),
        (key_exchange(36, 1183), Cause::BadPublicValue),
    ];
    for (payloads, cause) in wrong {
        let mut by_hand = by_hand();
        let answer = by_hand.ask(ExchangeType::IKE_INTERMEDIATE, &payloads);
        let Ok(IntermediateResponse::Refused(notify)) = IntermediateResponse::parse(&answer.chain().unwrap())
        else {
            panic!("accepted")
        };
        assert_eq!(notify.kind, NotifyType::INVALID_SYNTAX);
        let failures = by_hand.pair.bob.failures();
        let failure = failures.first().unwrap();
        assert_eq!(failure.exchange, Exchange::IkeIntermediate);
        assert_eq!(failure.cause, cause);
        // It is over: what comes now finds nobody.
        by_hand.pair.run_for(Duration::from_secs(60));
        assert_eq!(by_hand.pair.bob.endpoint.spis_in_use(), (0, 0));
    }
    for payloads in [key_exchange(37, 1568), Payloads::new()] {
        let mut by_hand = by_hand();
        let answer = by_hand.ask(ExchangeType::IKE_INTERMEDIATE, &payloads);
        let answer = IntermediateResponse::parse(&answer.chain().unwrap()).unwrap();
        assert!(matches!(answer, IntermediateResponse::Refused(_)));
        let failures = by_hand.pair.bob.failures();
        assert!(matches!(
            failures.first().unwrap().cause,
            Cause::InvalidSyntax { .. }
        ));
    }
}

#[test]
#[should_panic(expected = "an answer")]
fn nobody_gets_by_the_key_exchange_that_was_agreed_on() {
    let mut by_hand = by_hand();
    let request = by_hand.auth_request();
    by_hand.ask(ExchangeType::IKE_AUTH, &request.emit());
}
