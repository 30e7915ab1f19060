//! Under load the responder wants work for its key exchange (RFC 8019).

use std::time::Duration;

use xvpn_ike::api::{Event, Output};
use xvpn_ike::config::{ConnectionConfig, EndpointConfig};
use xvpn_ike::crypto::puzzle::Puzzle;
use xvpn_ike::error::{Cause, Ignore};
use xvpn_ike::message::{InitNotifies, InitRequest};
use xvpn_ike::negotiate::transform::Prf;
use xvpn_ike::testing::{BOB, Faults, Pair, Who, config, ip};
use xvpn_ike::wire::payload::PuzzleSolution;
use xvpn_ike::wire::{Chain, ExchangeType, PayloadType};

use super::LATER;
use super::by_hand::{ByHand, Responder};
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
        puzzle_solution: Some(PuzzleSolution(vec![1, 2, 3, 4])),
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

/// Alice has got this puzzle with Bob's answer (RFC 8019 7.2.1): what she does.
pub(super) fn given(difficulty: u8, alice: ConnectionConfig) -> Result<Responder, Box<Pair>> {
    let puzzle = Puzzle {
        prf: Prf::HmacSha2_256,
        difficulty,
    };
    let notifies = InitNotifies {
        puzzle: Some(puzzle),
        fragmentation_supported: true,
        ..InitNotifies::default()
    };
    let pair = Pair::configured(alice, config(Who::Bob));
    Responder::saying(pair, notifies, Duration::from_secs(20))
}

#[test]
fn a_puzzle_in_the_answer_is_solved_before_ike_auth() {
    let responder = given(12, config(Who::Alice)).unwrap_or_else(|_| panic!("no IKE_AUTH request"));
    // HDR, PS, SK {...}: the solution is not encrypted, so that it can be checked before any key is computed.
    let (header, chain) = Chain::parse_message(&responder.second).unwrap();
    let kinds: Vec<_> = chain.iter().map(|payload| payload.kind).collect();
    assert_eq!(kinds, [PayloadType::PS, PayloadType::SK]);
    // RFC 8019 7.2.3: it is about Nr | SPIr.
    let solution = chain.iter().next().unwrap().read::<PuzzleSolution>().unwrap();
    let s = [&[8; 32][..], &header.responder_spi.0.to_be_bytes()].concat();
    let puzzle = Puzzle {
        prf: Prf::HmacSha2_256,
        difficulty: 12,
    };
    assert!(puzzle.bits(&s, &solution).unwrap() >= 12);
    // And the rest goes on as ever.
    let mut responder = responder;
    let accepted = responder.accepted("bob.example");
    assert!(responder.answer(accepted).is_none());
    assert_eq!(responder.pair.alice.inbound.len(), 1);
}

#[test]
fn of_a_request_in_fragments_only_the_first_has_the_solution() {
    let alice = ConnectionConfig {
        fragment_size: 576,
        ..super::fragmentation::with_networks(Who::Alice, 100)
    };
    let responder = given(4, alice).err().expect("the request came in fragments");
    let sent = responder.alice.outputs.iter().filter_map(|output| match output {
        Output::Transmit(transmit) => Some(&transmit.bytes),
        _ => None,
    });
    let kinds: Vec<Vec<PayloadType>> = sent
        .map(|bytes| {
            assert!(bytes.len() <= 576 - 28);
            let (_, chain) = Chain::parse_message(bytes).unwrap();
            chain.iter().map(|payload| payload.kind).collect()
        })
        .collect();
    assert!(kinds.len() > 2);
    assert_eq!(kinds[0], [PayloadType::PS, PayloadType::SKF]);
    assert!(kinds[1..3].iter().all(|kinds| kinds[..] == [PayloadType::SKF]));
}

#[test]
fn a_puzzle_in_the_answer_that_is_too_hard_ends_the_attempt_and_the_operator_is_told() {
    // RFC 8019 7.2.1.1: 0 bits would leave the choice to us, and must not be asked for.
    for difficulty in [0, 21, 255] {
        let Err(pair) = given(difficulty, config(Who::Alice)) else {
            panic!("{difficulty}: there is an IKE_AUTH request");
        };
        let causes: Vec<_> = pair
            .alice
            .events()
            .filter_map(|event| match event {
                Event::Failed { failure, .. } => Some(failure.cause.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(causes[0], Cause::PuzzleTooHard { difficulty });
    }
}

#[test]
fn rubbish_in_ike_auth_costs_one_icv_and_the_half_open_sa_stays() {
    // What RFC 8019 7.2 has puzzles against: whoever has got an answer sends request after request that nobody sealed.
    let mut peer = ByHand::init();
    let message = peer.auth_request().emit();
    let genuine = peer.sealed(ExchangeType::IKE_AUTH, &message);
    for at in 0..1000 {
        let mut rubbish = genuine.clone();
        let last = rubbish.len() - 1 - at % 100;
        rubbish[last] ^= 1;
        let outputs = peer.give(&rubbish);
        assert!(
            matches!(
                outputs[..],
                [Output::Event(Event::Ignored {
                    reason: Ignore::BadIcv
                })]
            ),
            "{outputs:?}"
        );
    }
    // The keys are still the first ones: the genuine request is served.
    peer.give(&genuine);
    assert_eq!(peer.pair.bob.inbound.len(), 1);
}
