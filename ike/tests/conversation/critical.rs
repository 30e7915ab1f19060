//! What Bob does with what he does not know: critical payloads, notifies, exchanges (RFC 7296 2.5, 2.21.3).

use xvpn_ike::error::{Cause, Side};
use xvpn_ike::message::{CreateChildRequest, Informational, InitRequest, NewChild, build_plain, only_notify};
use xvpn_ike::negotiate::offer::ike_offer;
use xvpn_ike::negotiate::selector::{TrafficSelector, to_payload};
use xvpn_ike::testing::ip;
use xvpn_ike::testing::{Who, config, path};
use xvpn_ike::wire::payload::{KeyExchange, Nonce, Notify, NotifyType};
use xvpn_ike::wire::{Chain, ExchangeType, Header, IkeSpi, Opened, PayloadType};

use super::by_hand::{ByHand, unknown_payload};
use super::{SOON, kinds};

fn notify(opened: &Opened) -> Option<Notify> {
    opened
        .chain()
        .unwrap()
        .find(PayloadType::NOTIFY)
        .map(|payload| payload.read().unwrap())
}

fn critical_notify() -> Notify {
    Notify::with_data(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, vec![200])
}

#[test]
fn an_unknown_critical_payload_is_named_and_the_connection_stays() {
    let mut by_hand = ByHand::established();
    let (kind, chain) = unknown_payload(true);
    let answer = by_hand.ask_raw(ExchangeType::INFORMATIONAL, kind, &chain);
    assert_eq!(notify(&answer), Some(critical_notify()));
    assert_eq!(kinds(&by_hand.pair.bob.outputs), ["transmit"]);
    let answer = by_hand.ask(ExchangeType::INFORMATIONAL, &Informational::liveness().emit());
    assert!(answer.chain().unwrap().is_empty());
}

#[test]
fn an_unknown_payload_that_is_not_critical_is_skipped() {
    let mut by_hand = ByHand::established();
    let (kind, chain) = unknown_payload(false);
    let answer = by_hand.ask_raw(ExchangeType::INFORMATIONAL, kind, &chain);
    assert!(answer.chain().unwrap().is_empty());
}

#[test]
fn an_unknown_critical_payload_in_ike_auth_refuses_the_connection() {
    let mut by_hand = ByHand::init();
    let (kind, chain) = unknown_payload(true);
    let answer = by_hand.ask_raw(ExchangeType::IKE_AUTH, kind, &chain);
    assert_eq!(notify(&answer), Some(critical_notify()));
    let cause = by_hand.pair.bob.failures().swap_remove(0).cause;
    assert_eq!(
        cause,
        Cause::UnsupportedCritical {
            refused_by: Side::Us,
            payload: 200
        }
    );
}

#[test]
fn an_unknown_critical_payload_in_ike_sa_init_is_named() {
    let mut by_hand = ByHand::init();
    let alice = config(Who::Alice);
    let message = InitRequest {
        cookie: None,
        puzzle_solution: None,
        sa: ike_offer(&alice.ike_proposals, None),
        ke: KeyExchange {
            method: 31,
            data: vec![9; 32],
        },
        nonce: Nonce(vec![1; 32]),
        notifies: xvpn_ike::message::InitNotifies::default(),
        vendor_ids: Vec::new(),
    };
    let header = Header {
        initiator_spi: IkeSpi(5),
        responder_spi: IkeSpi::ZERO,
        exchange: ExchangeType::IKE_SA_INIT,
        message_id: 0,
        ..by_hand.header
    };
    let mut bytes = build_plain(&header, &message.emit());
    // The first payload becomes one that nobody knows.
    bytes[16] = 200;
    bytes[29] |= 0x80;
    let outputs = by_hand.pair.inject(Who::Bob, path(Who::Bob, 500), &bytes);
    let [xvpn_ike::api::Output::Transmit(transmit)] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    let (_, chain) = Chain::parse_message(&transmit.bytes).unwrap();
    assert_eq!(
        chain.find(PayloadType::NOTIFY).unwrap().read(),
        Ok(critical_notify())
    );
}

#[test]
fn unknown_notifies_are_ignored_in_every_exchange() {
    let mut by_hand = ByHand::init();
    let mut message = by_hand.auth_request();
    message.other = vec![
        Notify::new(NotifyType(40_000)),
        Notify::with_data(NotifyType(50_000), vec![1, 2, 3]),
    ];
    let answer = by_hand.ask(ExchangeType::IKE_AUTH, &message.emit());
    assert!(answer.chain().unwrap().find(PayloadType::AUTH).is_some());
    for kind in [NotifyType(40_000), NotifyType(9_999)] {
        let answer = by_hand.ask(ExchangeType::INFORMATIONAL, &only_notify(&Notify::new(kind)));
        assert!(answer.chain().unwrap().is_empty());
    }
    assert_eq!(by_hand.pair.bob.failures(), []);
}

#[test]
fn a_request_for_networks_of_nobody_is_declined_and_the_connection_stays() {
    let mut by_hand = ByHand::established();
    let mut offer = by_hand.auth_request().child.unwrap();
    offer.tsr = to_payload(&[TrafficSelector::range(ip("172.16.0.1"), ip("172.16.0.9")).unwrap()]);
    let child = NewChild {
        offer,
        nonce: Nonce(vec![1; 32]),
        ke: None,
        other: Vec::new(),
    };
    let answer = by_hand.ask(
        ExchangeType::CREATE_CHILD_SA,
        &CreateChildRequest::Child { rekeyed: None, child }.emit(),
    );
    assert_eq!(notify(&answer), Some(Notify::new(NotifyType::TS_UNACCEPTABLE)));
    assert_eq!(kinds(&by_hand.pair.bob.outputs), ["failed", "transmit"]);
}

#[test]
fn nonsense_from_an_authenticated_peer_ends_the_connection_on_both_sides() {
    let mut by_hand = ByHand::established();
    // A Delete payload that is cut short.
    let answer = by_hand.ask_raw(ExchangeType::INFORMATIONAL, PayloadType::DELETE, &[0, 0, 0, 5, 3]);
    assert_eq!(notify(&answer), Some(Notify::new(NotifyType::INVALID_SYNTAX)));
    assert!(by_hand.pair.bob.is_bare());
    let cause = by_hand.pair.bob.failures().swap_remove(0).cause;
    assert!(matches!(
        cause,
        Cause::InvalidSyntax {
            refused_by: Side::Us,
            ..
        }
    ));
}

#[test]
fn deleting_the_only_child_sa_ends_the_ike_sa_too() {
    let mut by_hand = ByHand::established();
    let answer = by_hand.ask(
        ExchangeType::INFORMATIONAL,
        &Informational::delete_esp(vec![0x1234_5678]).emit(),
    );
    let deleted = Informational::parse(&answer.chain().unwrap()).unwrap().delete_esp;
    assert_eq!(deleted.len(), 1, "the other half is named in the answer");
    assert_eq!(
        kinds(&by_hand.pair.bob.outputs),
        [
            "transmit",
            "remove",
            "remove",
            "child closed",
            "transmit",
            "ike closed",
            "failed"
        ]
    );
}

#[test]
fn deleting_a_child_sa_that_is_not_there_changes_nothing() {
    let mut by_hand = ByHand::established();
    let answer = by_hand.ask(
        ExchangeType::INFORMATIONAL,
        &Informational::delete_esp(vec![1, 2, 3]).emit(),
    );
    assert!(answer.chain().unwrap().is_empty());
    assert_eq!(kinds(&by_hand.pair.bob.outputs), ["transmit"]);
    by_hand.pair.run_for(SOON);
    assert!(!by_hand.pair.bob.is_bare());
}
