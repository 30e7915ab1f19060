//! Peers that speak another version of IKE (RFC 7296 2.5).

use std::time::Duration;

use xvpn_ike::api::{Event, Path};
use xvpn_ike::config::{ConnectionConfig, EndpointConfig};
use xvpn_ike::error::{Cause, Ignore};
use xvpn_ike::testing::{Faults, LINK, Pair, Who, config, ip, path};
use xvpn_ike::wire::payload::NotifyType;
use xvpn_ike::wire::{Chain, ExchangeType};

use super::LATER;
use super::hostile::transmissions;

/// The first message of Main Mode, as an old Openswan sends it: header, and an SA payload that nobody reads.
pub(super) fn main_mode(spi_i: u64) -> Vec<u8> {
    message(spi_i, 0, 0x10, 2)
}

fn message(spi_i: u64, spi_r: u64, version: u8, exchange: u8) -> Vec<u8> {
    let mut bytes = [spi_i.to_be_bytes(), spi_r.to_be_bytes()].concat();
    bytes.extend([1, version, exchange, 0, 0, 0, 0, 0, 0, 0, 0, 80]);
    bytes.resize(80, 0);
    bytes
}

fn failures(pair: &Pair) -> Vec<(bool, Cause)> {
    let failed = |event: &Event| match event {
        Event::Failed {
            connection, failure, ..
        } => Some((*connection == Some(LINK), failure.cause.clone())),
        _ => None,
    };
    pair.bob.events().filter_map(failed).collect()
}

#[test]
fn an_ikev1_request_is_answered_by_invalid_major_version_and_told_once() {
    let mut pair = Pair::new(5, Faults::NONE);
    let request = main_mode(0xa11ce);
    let answers = transmissions(&pair.inject(Who::Bob, path(Who::Bob, 500), &request));
    let [answer] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert!(answer.len() < request.len());
    let (header, chain) = Chain::parse_message(answer).unwrap();
    assert!(header.is_response());
    assert_eq!(
        (header.exchange, header.initiator_spi.0),
        (ExchangeType(2), 0xa11ce)
    );
    let notify: xvpn_ike::wire::payload::Notify = chain.iter().next().unwrap().read().unwrap();
    assert_eq!(notify.kind, NotifyType::INVALID_MAJOR_VERSION);
    // RFC 7296 1.5: no notification data.
    assert!(notify.data.is_empty());
    assert_eq!(failures(&pair), [(true, Cause::OtherVersion { major: 1 })]);
    let words = pair.bob.failures()[0].remedy();
    for word in ["keyexchange=ikev2", "ikev2=insist", "RFC 9395"] {
        assert!(words.contains(word), "{words}");
    }
}

#[test]
fn a_flood_of_ikev1_is_answered_and_told_seldom() {
    let mut pair = Pair::new(5, Faults::NONE);
    let mut answers = 0;
    for spi in 1..=1000 {
        answers += transmissions(&pair.inject(Who::Bob, path(Who::Bob, 500), &main_mode(spi))).len();
        pair.run_for(Duration::from_millis(1));
    }
    // The copies are sent to Alice, who ignores them: an answer in IKEv2 to no request of hers.
    assert_eq!(answers, 1);
    assert_eq!(failures(&pair).len(), 1);
    assert_eq!(pair.bob.ignored(Ignore::WrongVersion), 1000);
}

#[test]
fn strangers_and_answers_of_another_version_get_no_answer() {
    let mut pair = Pair::new(5, Faults::NONE);
    let eve = Path {
        remote: (ip("203.0.113.66"), 500).into(),
        ..path(Who::Bob, 500)
    };
    let bob = path(Who::Bob, 500);
    let silent = [
        (eve, main_mode(7)),
        // An IKEv1 notification, a later message of Main Mode, a response of IKEv3, no initiator at all.
        (bob, message(7, 0, 0x10, 5)),
        (bob, message(7, 8, 0x10, 2)),
        (bob, message(7, 8, 0x30, 34)),
        (bob, main_mode(0)),
        // Cut off behind the message ID.
        (bob, main_mode(7)[..24].to_vec()),
    ];
    for (path, bytes) in silent {
        assert!(transmissions(&pair.inject(Who::Bob, path, &bytes)).is_empty());
    }
    assert_eq!(failures(&pair), []);
    let future = transmissions(&pair.inject(Who::Bob, bob, &message(7, 0, 0x30, 34)));
    assert_eq!(future.len(), 1);
    assert_eq!(failures(&pair), [(true, Cause::OtherVersion { major: 3 })]);
}

#[test]
fn a_connection_that_stands_is_not_blamed() {
    let mut pair = super::settled();
    pair.inject(Who::Bob, path(Who::Bob, 500), &main_mode(7));
    assert_eq!(failures(&pair), [(false, Cause::OtherVersion { major: 1 })]);
    assert!(pair.has_settled());
}

#[test]
fn an_answer_in_ikev1_is_a_suspicion_and_no_more() {
    let (alice, bob) = (config(Who::Alice), config(Who::Bob));
    let mut pair = Pair::configured(alice, bob);
    let request = transmissions(&pair.command(Who::Alice, xvpn_ike::api::Command::Up(LINK)));
    let spi = u64::from_be_bytes(request[0][..8].try_into().unwrap());
    let notification = message(spi, 9, 0x10, 5);
    pair.inject(Who::Alice, path(Who::Alice, 500), &notification);
    // The genuine answer comes all the same.
    assert!(pair.run_until(LATER, Pair::has_settled));
    // Without one the operator is told.
    let nobody = ConnectionConfig {
        remote: Some((ip("192.0.2.99"), 500).into()),
        ..config(Who::Alice)
    };
    let mut pair = Pair::with(
        3,
        Faults::NONE,
        EndpointConfig::default(),
        nobody,
        config(Who::Bob),
    );
    let request = transmissions(&pair.command(Who::Alice, xvpn_ike::api::Command::Up(LINK)));
    let spi = u64::from_be_bytes(request[0][..8].try_into().unwrap());
    let from = Path {
        remote: (ip("192.0.2.99"), 500).into(),
        ..path(Who::Alice, 500)
    };
    pair.inject(Who::Alice, from, &message(spi, 9, 0x10, 5));
    pair.run_for(Duration::from_millis(1500));
    assert_eq!(pair.alice.failures()[0].cause, Cause::OtherVersion { major: 1 });
}

#[test]
fn every_answer_that_keeps_nothing_is_shorter_than_its_request() {
    let limits = EndpointConfig {
        cookie_threshold: 0,
        max_half_open: 4,
        ..EndpointConfig::default()
    };
    let mut answers = 0;
    for limits in [EndpointConfig::default(), limits] {
        let mut pair = Pair::with(3, Faults::NONE, limits, config(Who::Alice), config(Who::Bob));
        let mut requests: Vec<Vec<u8>> = vec![main_mode(7), message(9, 0, 0x30, 34)];
        requests.extend(
            (16..=48u8)
                .map(|nonce| super::hostile::first_with_nonce(nonce.into(), [9; 32], None, nonce.into())),
        );
        requests.extend((50..60).map(|spi| super::hostile::first_with_nonce(spi, [0; 32], None, 16)));
        // A group that is not ours, no proposal in common, an unknown critical payload.
        requests.extend(super::hostile::refused_requests());
        for request in requests {
            let mut request = request;
            // With what is demanded, too, as long as it is demanded.
            for _ in 0..3 {
                let outputs = pair.inject(Who::Bob, path(Who::Bob, 500), &request);
                for answer in transmissions(&outputs) {
                    answers += 1;
                    assert!(
                        answer.len() <= request.len(),
                        "{} for {}",
                        answer.len(),
                        request.len()
                    );
                }
                let Some(cookie) = super::hostile::demanded(&outputs) else {
                    break;
                };
                request = super::hostile::with_cookie(&request, cookie);
            }
        }
    }
    assert!(answers > 80, "{answers}");
}

#[test]
fn refused_identities_are_told_seldom() {
    let mut pair = Pair::new(5, Faults::NONE);
    let mut alice = config(Who::Alice);
    alice.retry = (Duration::from_millis(10), Duration::from_millis(10));
    alice.local_identity = xvpn_ike::testing::name("mallory.example");
    pair.command(Who::Alice, xvpn_ike::api::Command::Configure(Box::new(alice)));
    pair.up(Who::Alice);
    pair.run_for(Duration::from_secs(10));
    let refused = pair.bob.failures().len() + pair.bob.ignored(Ignore::RefusedAgain);
    assert!(refused > 50, "{refused}");
    assert!((5..=11).contains(&pair.bob.failures().len()));
}
