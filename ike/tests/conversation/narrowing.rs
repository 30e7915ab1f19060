//! Narrowing as RFC 7296 2.9 tells it, with its own networks: 198.51.100.0/24 behind the initiator, 192.0.2.0/24 behind the
//! responder. In each test one side is the test itself.

use xvpn_ike::config::ConnectionConfig;
use xvpn_ike::error::{Cause, Side};
use xvpn_ike::message::{AuthResponse, ChildAnswer, ChildOffer};
use xvpn_ike::negotiate::selector::{TrafficSelector, from_payload, list, to_payload};
use xvpn_ike::testing::{Pair, Who, config};
use xvpn_ike::wire::ExchangeType;
use xvpn_ike::wire::payload::{NotifyType, Range, Selector, TrafficSelectors};

use super::by_hand::{ByHand, Responder};

const TCP: u8 = 6;

fn net(text: &str) -> TrafficSelector {
    text.parse::<ipnet::IpNet>().unwrap().into()
}

/// One address, one protocol, one port: what a packet would ask for.
fn packet(address: [u8; 4], port: u16) -> TrafficSelector {
    let range = Range {
        protocol: TCP,
        start_port: port,
        end_port: port,
        start: address.into(),
        end: address.into(),
    };
    TrafficSelector::from_wire(&Selector::Ipv4(range)).unwrap()
}

/// Bob's policy: his networks, the initiator's.
fn bob(local: &str, remote: &str) -> ConnectionConfig {
    ConnectionConfig {
        local_selectors: vec![net(local)],
        remote_selectors: vec![net(remote)],
        ..config(Who::Bob)
    }
}

/// What Bob answers to these selectors: TSi and TSr as text, or his refusal.
fn answered(
    bob: ConnectionConfig,
    tsi: &TrafficSelectors,
    tsr: &TrafficSelectors,
) -> Result<(String, String), NotifyType> {
    let mut by_hand = ByHand::init_with(Pair::configured(config(Who::Alice), bob), 0);
    let mut request = by_hand.auth_request();
    let child = request.child.as_mut().unwrap();
    (child.tsi, child.tsr) = (tsi.clone(), tsr.clone());
    let answer = by_hand.ask(ExchangeType::IKE_AUTH, &request.emit());
    match AuthResponse::parse(&answer.chain().unwrap()).unwrap() {
        AuthResponse::Refused(notify) => Err(notify.kind),
        AuthResponse::Accepted(accepted) => match accepted.child {
            ChildAnswer::Refused(notify) => Err(notify.kind),
            ChildAnswer::Absent => panic!("nothing was asked for"),
            ChildAnswer::Accepted(offer) => {
                let text = |payload: &TrafficSelectors| list(&from_payload(payload));
                assert!(
                    offer
                        .tsi
                        .0
                        .iter()
                        .chain(&offer.tsr.0)
                        .all(|selector| !matches!(selector, Selector::Unknown { .. })),
                    "an unknown type came back"
                );
                Ok((text(&offer.tsi), text(&offer.tsr)))
            }
        },
    }
}

fn whole() -> (TrafficSelectors, TrafficSelectors) {
    (
        to_payload(&[net("198.51.100.0/24")]),
        to_payload(&[net("192.0.2.0/24")]),
    )
}

fn same(tsi: &str, tsr: &str) -> Result<(String, String), NotifyType> {
    Ok((tsi.to_owned(), tsr.to_owned()))
}

/// "Assuming that proposal was acceptable to the responder, it would send identical TS payloads back."
#[test]
fn what_the_policy_allows_comes_back_as_it_was() {
    let (tsi, tsr) = whole();
    let policy = || bob("192.0.2.0/24", "198.51.100.0/24");
    assert_eq!(
        answered(policy(), &tsi, &tsr),
        same("198.51.100.0/24", "192.0.2.0/24")
    );
    // A policy that allows more does not widen it.
    let wide = bob("192.0.0.0/16", "198.51.0.0/16");
    assert_eq!(
        answered(wide, &tsi, &tsr),
        same("198.51.100.0/24", "192.0.2.0/24")
    );
}

/// "If the responder's policy does not allow it to accept any part [...] TS_UNACCEPTABLE".
#[test]
fn what_the_policy_has_no_part_of_is_refused() {
    let (tsi, tsr) = whole();
    for policy in [
        bob("192.0.3.0/24", "198.51.100.0/24"),
        bob("192.0.2.0/24", "203.0.113.0/24"),
    ] {
        assert_eq!(answered(policy, &tsi, &tsr), Err(NotifyType::TS_UNACCEPTABLE));
    }
}

/// "If the responder's policy allows it to accept the first selector of TSi and TSr, then the responder MUST narrow the
/// Traffic Selectors to a subset that includes the initiator's first choices."
#[test]
fn the_initiators_first_choices_are_in_what_is_left() {
    let tsi = to_payload(&[packet([198, 51, 100, 43], 4711), net("198.51.100.0/24")]);
    let tsr = to_payload(&[packet([192, 0, 2, 9], 443), net("192.0.2.0/24")]);
    let policy = bob("192.0.2.0/28", "198.51.100.43/32");
    // The RFC's own answer to its example: 198.51.100.43 with all ports and protocols, which has the first choice in it.
    assert_eq!(
        answered(policy, &tsi, &tsr),
        same("198.51.100.43/32", "192.0.2.0/28")
    );
}

/// "If the responder's policy does not allow it to accept the first selector of TSi and TSr, the responder narrows to an
/// acceptable subset of TSi and TSr."
#[test]
fn without_the_first_choices_an_acceptable_part_is_left() {
    let tsi = to_payload(&[packet([198, 51, 100, 43], 4711), net("198.51.100.0/24")]);
    let tsr = to_payload(&[packet([192, 0, 2, 9], 443), net("192.0.2.0/24")]);
    let policy = bob("192.0.2.128/25", "198.51.100.128/25");
    assert_eq!(
        answered(policy, &tsi, &tsr),
        same("198.51.100.128/25", "192.0.2.128/25")
    );
}

/// "If the type of Traffic Selector proposed is unknown, the responder ignores that Traffic Selector, so that the unknown
/// type is not returned in the narrowed set."
#[test]
fn a_selector_of_an_unknown_type_is_not_returned() {
    let (mut tsi, mut tsr) = whole();
    for payload in [&mut tsi, &mut tsr] {
        payload.0.insert(
            0,
            Selector::Unknown {
                kind: 200,
                second: 0,
                data: vec![1, 2, 3, 4],
            },
        );
    }
    let policy = bob("192.0.2.0/24", "198.51.100.0/24");
    assert_eq!(
        answered(policy, &tsi, &tsr),
        same("198.51.100.0/24", "192.0.2.0/24")
    );
}

/// Alice, with the RFC's networks, and what she asked for.
fn alice() -> Responder {
    let responder = Responder::init_of(ConnectionConfig {
        local_selectors: vec![net("198.51.100.0/24")],
        remote_selectors: vec![net("192.0.2.0/24")],
        ..config(Who::Alice)
    });
    let asked = responder.asked.child.as_ref().unwrap();
    // Her policy, and nothing else: no packet asked for it.
    assert_eq!(list(&from_payload(&asked.tsi)), "198.51.100.0/24");
    assert_eq!(list(&from_payload(&asked.tsr)), "192.0.2.0/24");
    responder
}

/// Answers Alice with these.
fn narrowed_to(tsi: &str, tsr: &str) -> Responder {
    let mut responder = alice();
    let mut accepted = responder.accepted("bob.example");
    if let ChildAnswer::Accepted(offer) = &mut accepted.child {
        *offer = ChildOffer {
            tsi: to_payload(&[net(tsi)]),
            tsr: to_payload(&[net(tsr)]),
            ..offer.clone()
        };
    }
    responder.answer(accepted);
    responder
}

/// "IKEv2 allows the responder to choose a subset of the traffic proposed by the initiator."
#[test]
fn the_initiator_takes_what_is_left_of_its_wish() {
    for (tsi, tsr) in [
        ("198.51.100.0/24", "192.0.2.0/24"),
        ("198.51.100.43/32", "192.0.2.0/28"),
    ] {
        let responder = narrowed_to(tsi, tsr);
        let sa = responder.pair.alice.outbound.values().next().unwrap();
        assert_eq!(
            (list(&sa.local), list(&sa.remote)),
            (tsi.to_owned(), tsr.to_owned())
        );
        let sa = responder.pair.alice.inbound.values().next().unwrap();
        assert_eq!(
            (list(&sa.local), list(&sa.remote)),
            (tsi.to_owned(), tsr.to_owned())
        );
        assert_eq!(responder.pair.alice.failures(), []);
    }
}

/// A subset, says the RFC: an answer with more than was asked for is none.
#[test]
fn the_initiator_refuses_more_than_it_asked_for() {
    for (tsi, tsr) in [
        ("198.51.0.0/16", "192.0.2.0/24"),
        ("198.51.100.0/24", "192.0.0.0/16"),
        ("203.0.113.0/24", "192.0.2.0/24"),
    ] {
        let responder = narrowed_to(tsi, tsr);
        assert!(responder.pair.alice.is_bare());
        let failures = responder.pair.alice.failures();
        let Some(Cause::SelectorMismatch {
            refused_by: Side::Us,
            theirs: Some((local, remote)),
            ..
        }) = failures.first().map(|failure| &failure.cause)
        else {
            panic!("{failures:?}")
        };
        assert_eq!((list(local), list(remote)), (tsi.to_owned(), tsr.to_owned()));
    }
}
