//! What somebody who may write first messages, or saw one, can make a host do or keep.

use xvpn_ike::api::{Command, Event, Output, Path};
use xvpn_ike::config::EndpointConfig;
use xvpn_ike::error::Ignore;
use xvpn_ike::message::{InitAccepted, InitNotifies, InitRequest, InitResponse, build_plain};
use xvpn_ike::negotiate::offer::{ike_answer, ike_offer};
use xvpn_ike::negotiate::select::select_ike;
use xvpn_ike::negotiate::selector::to_payload;
use xvpn_ike::negotiate::transform::KeyExchangeMethod;
use xvpn_ike::testing::{Faults, LINK, Pair, Who, config, ip, path};
use xvpn_ike::wire::payload::{KeyExchange, Nonce};
use xvpn_ike::wire::{Chain, ExchangeType, Flags, Header, IkeSpi, PayloadType};

use super::by_hand::ByHand;
use super::unprotected::answer;
use super::{SOON, kinds};

/// A first message with this public value of Curve25519.
fn first(spi: u64, public: [u8; 32], cookie: Option<Vec<u8>>) -> Vec<u8> {
    first_with_nonce(spi, public, cookie, 32)
}

pub(crate) fn first_with_nonce(spi: u64, public: [u8; 32], cookie: Option<Vec<u8>>, nonce: usize) -> Vec<u8> {
    let message = InitRequest {
        cookie,
        puzzle_solution: None,
        sa: ike_offer(&config(Who::Alice).ike_proposals, None),
        ke: KeyExchange {
            method: KeyExchangeMethod::Curve25519.id(),
            data: public.to_vec(),
        },
        nonce: Nonce(vec![7; nonce]),
        notifies: InitNotifies::default(),
        vendor_ids: Vec::new(),
    };
    let header = Header {
        initiator_spi: IkeSpi(spi),
        responder_spi: IkeSpi::ZERO,
        exchange: ExchangeType::IKE_SA_INIT,
        flags: Flags {
            initiator: true,
            version: false,
            response: false,
        },
        message_id: 0,
    };
    build_plain(&header, &message.emit())
}

/// What this sends.
pub(crate) fn transmissions(outputs: &[Output]) -> Vec<Vec<u8>> {
    let sent = |output: &Output| match output {
        Output::Transmit(transmit) => Some(transmit.bytes.clone()),
        _ => None,
    };
    outputs.iter().filter_map(sent).collect()
}

/// A first message from somewhere to Bob.
pub(crate) fn first_from(pair: &mut Pair, from: &str, spi: u64, cookie: Option<Vec<u8>>) -> Vec<Output> {
    let path = Path {
        remote: (ip(from), 500).into(),
        ..path(Who::Bob, 500)
    };
    pair.inject(Who::Bob, path, &first(spi, [9; 32], cookie))
}

/// First messages that are refused: a group that Bob does not want, no proposal in common, an unknown critical payload.
pub(crate) fn refused_requests() -> Vec<Vec<u8>> {
    let request = |suite: &str, method: KeyExchangeMethod| {
        let template = first(77, [9; 32], None);
        let (header, _) = Chain::parse_message(&template).unwrap();
        let message = InitRequest {
            cookie: None,
            puzzle_solution: None,
            sa: ike_offer(&[suite.parse().unwrap()], None),
            ke: KeyExchange {
                method: method.id(),
                data: vec![4; 64],
            },
            nonce: Nonce(vec![7; 16]),
            notifies: InitNotifies::default(),
            vendor_ids: Vec::new(),
        };
        build_plain(&header, &message.emit())
    };
    let mut critical = first(1, [9; 32], None)[..16].to_vec();
    critical.extend([200, 0x20, 34, 0x08, 0, 0, 0, 0, 0, 0, 0, 40, 0, 0x80, 0, 12]);
    critical.resize(40, 0);
    vec![
        request("aes256gcm16-prfsha256-x25519-ecp256", KeyExchangeMethod::Ecp256),
        request("aes256-sha512-ecp256", KeyExchangeMethod::Ecp256),
        critical,
    ]
}

/// The cookie that is demanded, if one is.
pub(crate) fn demanded(outputs: &[Output]) -> Option<Vec<u8>> {
    match response(outputs)? {
        InitResponse::Cookie(cookie) | InitResponse::Puzzle { cookie, .. } => Some(cookie),
        _ => None,
    }
}

/// The same request with a cookie.
pub(crate) fn with_cookie(request: &[u8], cookie: Vec<u8>) -> Vec<u8> {
    let (header, chain) = Chain::parse_message(request).unwrap();
    let request = InitRequest {
        cookie: Some(cookie),
        ..InitRequest::parse(&chain).unwrap()
    };
    build_plain(&header, &request.emit())
}

pub(crate) fn response(outputs: &[Output]) -> Option<InitResponse> {
    outputs.iter().find_map(|output| match output {
        Output::Transmit(transmit) => {
            let (_, chain) = Chain::parse_message(&transmit.bytes).unwrap();
            Some(InitResponse::parse(&chain).unwrap())
        }
        _ => None,
    })
}

/// What Bob's answer to Alice's request could be, with a public value of somebody's choice.
fn accepted(outputs: &[Output], public: Vec<u8>) -> Vec<u8> {
    let request = outputs.iter().find_map(|output| match output {
        Output::Transmit(transmit) => Some(transmit.bytes.clone()),
        _ => None,
    });
    let request = request.unwrap();
    let (_, chain) = Chain::parse_message(&request).unwrap();
    let request = InitRequest::parse(&chain).unwrap();
    let chosen = select_ike(&config(Who::Bob).ike_proposals, &request.sa).unwrap();
    let accepted = InitAccepted {
        sa: ike_answer(&chosen, None),
        ke: KeyExchange {
            method: request.ke.method,
            data: public,
        },
        nonce: Nonce(vec![8; 32]),
        notifies: InitNotifies::default(),
        vendor_ids: Vec::new(),
        certificate_requests: Vec::new(),
    };
    let mut bytes = answer(outputs, InitResponse::Accepted(Box::new(accepted)));
    bytes[8..16].copy_from_slice(&0xb0b_u64.to_be_bytes());
    bytes
}

#[test]
fn key_exchanges_that_come_to_nothing_soon_cost_a_cookie() {
    let mut pair = Pair::new(5, Faults::NONE);
    let threshold = EndpointConfig::default().cookie_threshold;
    let answers: Vec<_> = (1..100)
        .map(|spi| response(&pair.inject(Who::Bob, path(Who::Bob, 500), &first(spi, [0; 32], None))))
        .collect();
    let cookies = answers
        .iter()
        .filter(|answer| matches!(answer, Some(InitResponse::Cookie(_))))
        .count();
    assert_eq!(cookies, answers.len() - threshold);
}

#[test]
fn one_address_cannot_take_all_the_room_for_half_open_sas() {
    let (mut alice, mut bob) = (config(Who::Alice), config(Who::Bob));
    bob.remote = None;
    alice.initial_contact = false;
    let limits = EndpointConfig {
        cookie_threshold: 0,
        max_half_open: 64,
        puzzles: None,
        ..EndpointConfig::default()
    };
    let mut pair = Pair::with(5, Faults::NONE, limits, alice, bob);
    let eve = Path {
        remote: (ip("203.0.113.66"), 500).into(),
        ..path(Who::Bob, 500)
    };
    let mut kept = 0;
    for spi in 1..200 {
        let outputs = pair.inject(Who::Bob, eve, &first(spi, [9; 32], None));
        let Some(InitResponse::Cookie(cookie)) = response(&outputs) else {
            continue;
        };
        let outputs = pair.inject(Who::Bob, eve, &first(spi, [9; 32], Some(cookie)));
        kept += usize::from(matches!(response(&outputs), Some(InitResponse::Accepted(_))));
    }
    assert_eq!(kept, 8);
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled), "there is room for Alice");
}

#[test]
fn an_invalid_public_value_does_not_stop_the_genuine_answer() {
    let mut pair = Pair::new(5, Faults::NONE);
    let outputs = pair.command(Who::Alice, Command::Up(LINK));
    let forged = accepted(&outputs, vec![0; 32]);
    pair.inject(Who::Alice, path(Who::Alice, 500), &forged);
    assert_eq!(pair.alice.ignored(Ignore::UnprotectedError), 1);
    assert!(pair.run_until(SOON, Pair::has_settled));
    assert_eq!(pair.alice.failures(), []);
}

#[test]
fn an_answer_that_names_another_sa_is_none() {
    let mut pair = Pair::new(5, Faults::NONE);
    let outputs = pair.command(Who::Alice, Command::Up(LINK));
    let mut forged = accepted(&outputs, vec![9; 32]);
    // The SPI of Alice stands where the responder's belongs, and the I flag says that an initiator wrote this.
    let (initiator, rest) = forged.split_at_mut(8);
    initiator.swap_with_slice(&mut rest[..8]);
    forged[19] |= 0x08;
    let outputs = pair.inject(Who::Alice, path(Who::Alice, 500), &forged);
    assert_eq!(kinds(&outputs), ["ignored"]);
    assert!(pair.run_until(SOON, Pair::has_settled));
}

#[test]
fn a_copy_of_the_first_message_from_elsewhere_does_not_shut_its_author_out() {
    let (alice, mut bob) = (config(Who::Alice), config(Who::Bob));
    bob.remote = None;
    let mut pair = Pair::configured(alice, bob);
    let outputs = pair.command(Who::Alice, Command::Up(LINK));
    let Some(Output::Transmit(genuine)) = outputs
        .iter()
        .find(|output| matches!(output, Output::Transmit(_)))
    else {
        panic!("no request");
    };
    let eve = Path {
        remote: (ip("203.0.113.66"), 500).into(),
        ..path(Who::Bob, 500)
    };
    pair.inject(Who::Bob, eve, &genuine.bytes);
    assert!(pair.run_until(SOON, Pair::has_settled));
}

#[test]
fn a_peer_that_never_gets_a_child_sa_does_not_pile_up_ike_sas() {
    // A well-behaved peer deletes them; this one begins anew, and Bob waits for it no longer than he has room.
    let (mut pair, mut held) = (None, 0);
    for round in 0..20 {
        let mut by_hand = match pair.take() {
            Some(pair) => ByHand::init_with(pair, round),
            None => ByHand::init(),
        };
        let mut message = by_hand.auth_request();
        message.child.as_mut().unwrap().tsi = to_payload(&[]);
        by_hand.header.exchange = ExchangeType::IKE_AUTH;
        let answer = by_hand.ask(ExchangeType::IKE_AUTH, &message.emit());
        assert!(answer.chain().unwrap().find(PayloadType::AUTH).is_some());
        let probe = by_hand.header.responder_spi;
        held += usize::from(!probe.is_zero());
        pair = Some(by_hand.pair);
    }
    assert_eq!(held, 20);
    let mut pair = pair.unwrap();
    pair.bob.clear();
    // Every IKE SA that was still held says goodbye when the peer's time is over.
    pair.run_for(std::time::Duration::from_secs(31));
    let goodbyes = pair
        .bob
        .outputs
        .iter()
        .filter(|output| matches!(output, Output::Transmit(_)))
        .count();
    assert!(goodbyes <= 8 * 4, "{goodbyes}");
    assert!(
        !pair
            .bob
            .events()
            .any(|event| matches!(event, Event::IkeEstablished { .. }))
    );
}

#[test]
fn nobody_gets_more_octets_than_it_sent_without_a_cookie() {
    let mut pair = Pair::new(5, Faults::NONE);
    let header = first(1, [9; 32], None)[..16].to_vec();
    // Nothing but an unknown critical payload: version 2.0, IKE_SA_INIT, from the initiator, message ID 0.
    let critical = [
        header.as_slice(),
        &[200, 0x20, 34, 0x08, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0x80, 0, 4],
    ]
    .concat();
    let requests = (16..=64).map(|nonce| first_with_nonce(nonce as u64, [9; 32], None, nonce));
    let mut answered = 0;
    for request in requests.take(20).chain([critical]) {
        for output in pair.inject(Who::Bob, path(Who::Bob, 500), &request) {
            if let Output::Transmit(answer) = output {
                answered += 1;
                assert!(
                    answer.bytes.len() <= request.len(),
                    "{} for {}",
                    answer.bytes.len(),
                    request.len()
                );
            }
        }
    }
    assert_eq!(answered, 20);
}

#[test]
fn nobody_gets_a_cookie_for_fewer_octets_than_it_has() {
    let limits = EndpointConfig {
        cookie_threshold: 0,
        ..EndpointConfig::default()
    };
    let mut pair = Pair::with(5, Faults::NONE, limits, config(Who::Alice), config(Who::Bob));
    // Nothing but a nonce, which is all that is looked for under load.
    let mut request = first(1, [9; 32], None)[..16].to_vec();
    request.extend([40, 0x20, 34, 0x08, 0, 0, 0, 0, 0, 0, 0, 48, 0, 0, 0, 20]);
    request.resize(48, 7);
    assert_eq!(
        transmissions(&pair.inject(Who::Bob, path(Who::Bob, 500), &request)),
        [[0; 0]; 0]
    );
    // Whoever asks as one does is asked for one.
    let outputs = pair.inject(Who::Bob, path(Who::Bob, 500), &first(1, [9; 32], None));
    assert!(demanded(&outputs).is_some());
}

#[test]
fn an_answer_larger_than_the_request_goes_only_to_who_has_shown_its_address() {
    // RFC 7296 2.10: half the key of this PRF is 32 octets, so Bob's nonce is longer than the shortest.
    let proposals = vec!["aes256gcm16-prfsha512-x25519".parse().unwrap()];
    let (alice, mut bob) = (config(Who::Alice), config(Who::Bob));
    bob.ike_proposals.clone_from(&proposals);
    let mut pair = Pair::configured(alice, bob);
    let template = first_with_nonce(1, [9; 32], None, 16);
    let (header, chain) = Chain::parse_message(&template).unwrap();
    let message = InitRequest {
        sa: ike_offer(&proposals, None),
        ..InitRequest::parse(&chain).unwrap()
    };
    let request = build_plain(&header, &message.emit());
    let outputs = pair.inject(Who::Bob, path(Who::Bob, 500), &request);
    let sent = transmissions(&outputs);
    assert!(
        sent.iter().all(|answer| answer.len() <= request.len()),
        "{sent:?}"
    );
    assert_eq!(pair.bob.endpoint.spis_in_use(), (0, 0));
    let request = with_cookie(&request, demanded(&outputs).unwrap());
    let outputs = pair.inject(Who::Bob, path(Who::Bob, 500), &request);
    assert!(matches!(response(&outputs), Some(InitResponse::Accepted(_))));
}
