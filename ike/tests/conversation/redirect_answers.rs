//! What a redirect is made of, and which are believed (RFC 5685 3, 9, 10).

use xvpn_ike::api::{Command, Input, Output};
use xvpn_ike::error::{Ignore, Side};
use xvpn_ike::message::{InitRequest, InitResponse, build_plain};
use xvpn_ike::testing::{LINK, Pair, SeededRandom, Who, config, ip, path};
use xvpn_ike::wire::payload::{Body, Notify, NotifyType, Redirect};
use xvpn_ike::wire::{Chain, ExchangeType, Flags, Header};

use super::SOON;
use super::redirect::{OTHER, first_messages, redirects, to, two_gateways};

/// What Alice asks, and what the test needs of it for an answer.
pub(super) struct Asked {
    header: Header,
    /// Ni.
    pub(super) nonce: xvpn_ike::wire::payload::Nonce,
}

/// Alice's first message.
pub(super) fn ask(pair: &mut Pair) -> Asked {
    let outputs = pair.command(Who::Alice, Command::Up(LINK));
    let Some(bytes) = outputs.iter().find_map(|output| match output {
        Output::Transmit(transmit) => Some(transmit.bytes.clone()),
        _ => None,
    }) else {
        panic!("nothing asked")
    };
    let (header, chain) = Chain::parse_message(&bytes).unwrap();
    let nonce = InitRequest::parse(&chain).unwrap().nonce;
    Asked { header, nonce }
}

/// An IKE_SA_INIT response as RFC 5685 9.2 draws it, octet by octet.
pub(super) fn literal(asked: &Asked, gateway: &[u8], nonce: &[u8]) -> Vec<u8> {
    let mut notify = vec![0, 0, 0x40, 0x17];
    notify.extend(gateway);
    notify.extend(nonce);
    let mut bytes = asked.header.initiator_spi.to_bytes().to_vec();
    // No responder's SPI; Notify is next; version 2.0; IKE_SA_INIT; a response; message ID 0.
    bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 41, 0x20, 34, 0x20, 0, 0, 0, 0]);
    let payload = 4 + notify.len();
    bytes.extend(u32::try_from(28 + payload).unwrap().to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(u16::try_from(payload).unwrap().to_be_bytes());
    bytes.extend(notify);
    bytes
}

#[test]
fn the_octets_of_a_redirect_are_those_of_the_rfc() {
    for (gateway, text) in [
        (&[1, 4, 198, 51, 100, 3][..], OTHER),
        (
            &[2, 16, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7][..],
            "2001:db8::7",
        ),
        (b"\x03\x0bgw2.example", "gw2.example"),
    ] {
        let mut pair = two_gateways(config(Who::Bob), config(Who::Bob), config(Who::Alice));
        let asked = ask(&mut pair);
        let octets = literal(&asked, gateway, &asked.nonce.0);
        let (_, chain) = Chain::parse_message(&octets).unwrap();
        let response = InitResponse::parse(&chain).unwrap();
        let redirect = Redirect {
            to: to(text),
            nonce: asked.nonce.0.clone(),
        };
        assert_eq!(response, InitResponse::Redirect(redirect));
        let header = Header {
            flags: Flags {
                initiator: false,
                version: false,
                response: true,
            },
            ..asked.header
        };
        assert_eq!(build_plain(&header, &response.emit()), octets);
        pair.inject(Who::Alice, path(Who::Alice, 500), &octets);
        assert_eq!(redirects(&mut pair, Who::Alice, Side::Peer), [to(text)]);
    }
}

#[test]
fn an_answer_without_our_nonce_is_no_answer() {
    let mut pair = two_gateways(config(Who::Bob), config(Who::Bob), config(Who::Alice));
    let asked = ask(&mut pair);
    let mut other = asked.nonce.0.clone();
    other[0] ^= 1;
    for nonce in [&other[..], &asked.nonce.0[..31], &[]] {
        let forged = literal(&asked, &[1, 4, 203, 0, 113, 66], nonce);
        pair.inject(Who::Alice, path(Who::Alice, 500), &forged);
    }
    assert_eq!(pair.alice.ignored(Ignore::Unasked), 3);
    assert!(pair.run_until(SOON, Pair::has_settled));
}

#[test]
fn places_where_no_gateway_can_be_are_not_tried() {
    for gateway in [
        &[1, 4, 127, 0, 0, 1][..],
        &[1, 4, 0, 0, 0, 0],
        &[1, 4, 224, 0, 0, 1],
        &[1, 4, 255, 255, 255, 255],
        &[2, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        &[2, 16, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        // Neither are these any place at all.
        &[1, 5, 198, 51, 100, 3, 9],
        &[1, 3, 198, 51, 100],
        &[4, 4, 198, 51, 100, 3],
        b"\x03\x00",
        b"\x03\x08a b.test",
        b"\x03\x09a\nb.tests",
        b"\x03\x09127.0.0.1",
        b"\x03\xff",
        &[],
    ] {
        let mut pair = two_gateways(config(Who::Bob), config(Who::Bob), config(Who::Alice));
        let asked = ask(&mut pair);
        let forged = literal(&asked, gateway, &asked.nonce.0);
        let outputs = pair.inject(Who::Alice, path(Who::Alice, 500), &forged);
        assert_eq!(super::kinds(&outputs), ["ignored"], "{gateway:?}");
        assert!(pair.run_until(SOON, Pair::has_settled), "{gateway:?}");
    }
}

#[test]
fn the_responder_is_not_redirected_by_its_initiator() {
    let mut by_hand = super::by_hand::ByHand::established();
    let data = Redirect {
        to: to(OTHER),
        nonce: Vec::new(),
    }
    .to_bytes();
    let message = xvpn_ike::message::Informational {
        notifies: vec![Notify::with_data(NotifyType::REDIRECT, data)],
        ..Default::default()
    };
    by_hand.ask(ExchangeType::INFORMATIONAL, &message.emit());
    // Though this one did not announce that it can be redirected.
    assert_eq!(redirects(&mut by_hand.pair, Who::Bob, Side::Peer), []);
    let firsts = first_messages(&by_hand.pair);
    assert!(firsts.is_empty());
}

#[test]
fn no_octets_make_the_parser_panic_and_what_is_read_is_written_back() {
    let mut random = SeededRandom::new(3);
    for _ in 0..20_000 {
        let length = usize::try_from(random.below(300)).unwrap();
        let mut bytes = vec![0; length];
        xvpn_ike::api::Random::fill(&mut random, &mut bytes);
        if let [kind, len, ..] = &mut bytes[..] {
            *kind %= 5;
            *len %= 24;
        }
        if let Ok(redirect) = Redirect::parse(&bytes) {
            assert_eq!(redirect.to_bytes(), bytes);
        }
    }
}

#[test]
fn commands_that_nobody_waits_for_do_nothing() {
    let mut pair = super::settled();
    let command = Command::Follow {
        connection: LINK,
        local: path(Who::Alice, 500).local.ip(),
        remote: (ip(OTHER), 500).into(),
    };
    let now = pair.clock.now();
    assert!(pair.alice.handle(now, Input::Command(command)).is_empty());
}
