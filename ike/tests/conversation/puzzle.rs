//! Under load the responder wants work for its key exchange (RFC 8019).

use std::time::Duration;

use xvpn_ike::config::{ConnectionConfig, EndpointConfig};
use xvpn_ike::message::InitRequest;
use xvpn_ike::testing::{BOB, Faults, Pair, Who, config, ip};
use xvpn_ike::wire::{Chain, PayloadType};

use super::LATER;
use super::hostile::{first_from, response};

/// Bob, for whom half of the room is taken by strangers, and does not know where Alice comes from.
fn besieged(puzzles: Option<(u8, u8)>) -> Pair {
    let limits = EndpointConfig {
        cookie_threshold: 1,
        max_half_open: 64,
        half_open_timeout: Duration::from_secs(3600),
        puzzles,
        ..EndpointConfig::default()
    };
    let bob = ConnectionConfig {
        remote: None,
        ..config(Who::Bob)
    };
    let mut pair = Pair::with(3, Faults::NONE, limits, config(Who::Alice), bob);
    let mut strangers = 0;
    for number in 0..200u8 {
        let from = format!("203.{number}.113.66");
        let answer = first_from(&mut pair, &from, 7, None);
        let answer = match response(&answer) {
            Some(xvpn_ike::message::InitResponse::Cookie(cookie)) => {
                first_from(&mut pair, &from, 7, Some(cookie))
            }
            _ => answer,
        };
        strangers += usize::from(matches!(
            response(&answer),
            Some(xvpn_ike::message::InitResponse::Accepted(_))
        ));
    }
    // With puzzles strangers without a solution stop at half of the 48 places that are not kept for expected peers.
    assert_eq!(strangers, if puzzles.is_some() { 24 } else { 48 });
    pair.bob.clear();
    pair.net.tape.clear();
    pair
}

/// The payloads of each request that Alice sent in the clear.
fn requests(pair: &Pair) -> Vec<Vec<PayloadType>> {
    let sent = pair
        .net
        .tape
        .iter()
        .filter(|datagram| datagram.path.local.ip() == ip(BOB));
    let chains = sent.filter_map(|datagram| {
        let (_, chain) = Chain::parse_message(&datagram.bytes).unwrap();
        let kinds: Vec<_> = chain.iter().map(|payload| payload.kind).collect();
        (!kinds.contains(&PayloadType::SK)).then_some(kinds)
    });
    chains.collect()
}

#[test]
fn the_initiator_solves_it_and_connects() {
    let mut pair = besieged(Some((10, 11)));
    pair.up(Who::Alice);
    assert!(pair.run_until(LATER, Pair::has_settled));
    let requests = requests(&pair);
    assert_eq!(requests.len(), 3, "plain, with a cookie, with a solution");
    // RFC 8019 7.1.2: N(COOKIE), PS, SA, ...
    assert_eq!(
        requests[2][..3],
        [PayloadType::NOTIFY, PayloadType::PS, PayloadType::SA]
    );
}

#[test]
fn solving_it_takes_several_calls() {
    let mut pair = besieged(Some((14, 14)));
    pair.up(Who::Alice);
    let begin = pair.clock.now();
    let solved = |pair: &Pair| requests(pair).len() == 3;
    assert!(pair.run_until(LATER, solved));
    // Four times 2^14 keys on average, 4096 in a millisecond of virtual time; twice the network's 20 ms.
    let took = pair.clock.now() - begin;
    assert!(took > Duration::from_millis(40 + 4), "{took:?}");
    assert!(pair.run_until(LATER, Pair::has_settled));
}

#[test]
fn a_puzzle_that_is_too_hard_is_left_alone_and_the_request_repeated() {
    let mut pair = besieged(Some((40, 41)));
    pair.up(Who::Alice);
    pair.run_for(Duration::from_millis(400));
    let requests = requests(&pair);
    assert_eq!(requests.len(), 3);
    assert!(!requests[2].contains(&PayloadType::PS));
}

#[test]
fn who_solves_none_connects_in_the_end() {
    // RFC 8019 7.1: half of the room is taken, so each copy of the request has an even chance.
    let mut pair = besieged(Some((40, 41)));
    pair.up(Who::Alice);
    assert!(pair.run_until(LATER, Pair::has_settled));
}

#[test]
fn a_solution_that_nobody_asked_for_is_ignored() {
    let mut pair = Pair::new(3, Faults::NONE);
    pair.up(Who::Alice);
    let sent = pair.net.tape[0].clone();
    let (header, chain) = Chain::parse_message(&sent.bytes).unwrap();
    let request = InitRequest {
        puzzle_solution: Some(xvpn_ike::wire::payload::PuzzleSolution(vec![1, 2, 3, 4])),
        ..InitRequest::parse(&chain).unwrap()
    };
    let bytes = xvpn_ike::message::build_plain(&header, &request.emit());
    let outputs = pair.inject(Who::Bob, sent.path, &bytes);
    assert!(matches!(
        response(&outputs),
        Some(xvpn_ike::message::InitResponse::Accepted(_))
    ));
}

#[test]
fn without_puzzles_strangers_fill_their_part_of_the_room() {
    let mut pair = besieged(None);
    pair.up(Who::Alice);
    pair.run_for(Duration::from_millis(400));
    assert!(!pair.has_settled());
}
