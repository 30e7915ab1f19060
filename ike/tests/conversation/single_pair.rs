//! Peers that want SAs for single pairs of selectors (SINGLE_PAIR_REQUIRED, RFC 7296 2.9), and peers that want no more
//! SAs (NO_ADDITIONAL_SAS, RFC 7296 1.3).

use std::time::Duration;

use xvpn_ike::api::Event;
use xvpn_ike::config::ConnectionConfig;
use xvpn_ike::error::Cause;
use xvpn_ike::message::{ChildAnswer, CreateChildRequest, CreateChildResponse, NewChild};
use xvpn_ike::negotiate::offer::esp_offer;
use xvpn_ike::negotiate::selector::{TrafficSelector, from_payload, list, to_payload};
use xvpn_ike::testing::{Who, config, ip};
use xvpn_ike::wire::payload::{Nonce, Notify, NotifyType};
use xvpn_ike::wire::{ExchangeType, Opened};

use super::by_hand::{ByHand, Responder};
use super::count;

fn net(text: &str) -> TrafficSelector {
    text.parse::<ipnet::IpNet>().unwrap().into()
}

/// The CHILD SA that a request asks for.
fn wanted(asked: &Opened) -> NewChild {
    let request = CreateChildRequest::parse(&asked.chain().unwrap()).unwrap();
    let CreateChildRequest::Child { rekeyed: None, child } = request else {
        panic!("{request:?}")
    };
    child
}

fn selectors(child: &NewChild) -> (String, String) {
    let text = |payload| list(&from_payload(payload));
    (text(&child.offer.tsi), text(&child.offer.tsr))
}

/// The same child with an SPI of the test's, as Bob would accept it.
fn accepting(child: &NewChild, spi: u32) -> CreateChildResponse {
    let mut accepted = child.clone();
    accepted.offer.sa = esp_offer(&config(Who::Bob).esp_proposals, xvpn_ike::api::Spi(spi));
    accepted.nonce = Nonce(vec![3; 32]);
    CreateChildResponse::Child(accepted)
}

#[test]
fn whoever_wants_single_pairs_is_asked_for_each() {
    let mut bob = Responder::init_of(ConnectionConfig {
        remote_selectors: vec![net("10.2.0.0/16"), net("10.3.0.0/16")],
        ..config(Who::Alice)
    });
    let mut accepted = bob.accepted("bob.example");
    accepted.child = ChildAnswer::Refused(Notify::new(NotifyType::SINGLE_PAIR_REQUIRED));
    bob.answer(accepted);
    // The IKE SA stands, and the pairs are asked for one after the other.
    for (spi, remote) in [(0x1001, "10.2.0.0/16"), (0x1002, "10.3.0.0/16")] {
        let asked = bob.last_of_alice();
        let child = wanted(&asked);
        assert_eq!(selectors(&child), ("10.1.0.0/16".to_owned(), remote.to_owned()));
        let answer = accepting(&child, spi);
        bob.reply(&asked, &answer.emit());
        let mut sas = bob.pair.alice.outbound.values();
        let made = sas.find(|sa| sa.spi.0 == spi).unwrap();
        assert_eq!(list(&made.remote), remote);
    }
    assert_eq!(bob.pair.alice.outbound.len(), 2);
    assert_eq!(count(&bob.pair.alice, "ike closed"), 0);
    assert_eq!(count(&bob.pair.alice, "child established"), 2);
}

/// There is nothing that could be cut into pairs: asking again in the same way would never end.
#[test]
fn a_single_pair_that_is_refused_as_none_is_told_as_selectors() {
    let mut bob = Responder::init();
    let mut accepted = bob.accepted("bob.example");
    accepted.child = ChildAnswer::Refused(Notify::new(NotifyType::SINGLE_PAIR_REQUIRED));
    bob.answer(accepted);
    let failures = bob.pair.alice.failures();
    assert!(
        matches!(
            failures.first().map(|failure| &failure.cause),
            Some(Cause::SelectorMismatch { .. })
        ),
        "{failures:?}"
    );
    assert!(bob.pair.alice.is_bare());
}

/// The CHILD SAs of one IKE SA are bounded; whoever asks for more hears it, and loses none.
#[test]
fn a_peer_that_wants_ever_more_child_sas_is_told_when_it_is_enough() {
    let mut by_hand = ByHand::established();
    let mut made = 1;
    for number in 0..200_u8 {
        let mut offer = by_hand.auth_request().child.unwrap();
        let address = ip(&format!("10.1.1.{number}"));
        offer.tsi = to_payload(&[TrafficSelector::range(address, address).unwrap()]);
        offer.sa = esp_offer(
            &config(Who::Bob).esp_proposals,
            xvpn_ike::api::Spi(0x2000 + u32::from(number)),
        );
        let child = NewChild {
            offer,
            nonce: Nonce(vec![number; 32]),
            ke: None,
            other: Vec::new(),
        };
        let request = CreateChildRequest::Child { rekeyed: None, child };
        let answer = by_hand.ask(ExchangeType::CREATE_CHILD_SA, &request.emit());
        let response = CreateChildResponse::parse(&answer.chain().unwrap()).unwrap();
        match response {
            CreateChildResponse::Child(_) => made += 1,
            CreateChildResponse::Refused(notify) => {
                assert_eq!(notify, Notify::new(NotifyType::NO_ADDITIONAL_SAS));
            }
            CreateChildResponse::RekeyIke(_) => panic!("an IKE SA"),
        }
    }
    assert_eq!(made, 96);
    assert_eq!(by_hand.pair.bob.inbound.len(), 96);
    assert_eq!(count(&by_hand.pair.bob, "ike closed"), 0);
}

#[test]
fn a_peer_that_has_enough_is_not_asked_again_soon() {
    let mut alice = config(Who::Alice);
    alice.more_children = vec![xvpn_ike::config::ChildConfig {
        name: "voice".into(),
        esp_proposals: alice.esp_proposals.clone(),
        local_selectors: vec![net("10.11.0.0/16")],
        remote_selectors: vec![net("10.12.0.0/16")],
        lifetime: xvpn_ike::config::Lifetime::default(),
        resources: 0,
        aggfrag: None,
    }];
    let mut bob = Responder::init_of(alice);
    let accepted = bob.accepted("bob.example");
    bob.answer(accepted);
    let asked = bob.last_of_alice();
    assert_eq!(
        selectors(&wanted(&asked)),
        ("10.11.0.0/16".to_owned(), "10.12.0.0/16".to_owned())
    );
    let enough = CreateChildResponse::Refused(Notify::new(NotifyType::NO_ADDITIONAL_SAS));
    bob.reply(&asked, &enough.emit());
    let told: Vec<_> = bob
        .pair
        .alice
        .events()
        .filter_map(|event| match event {
            Event::ChildFailed {
                child,
                failure,
                retry_in,
                ..
            } => Some((child.as_str(), failure.clone(), *retry_in)),
            _ => None,
        })
        .collect();
    let [("voice", failure, Some(retry_in))] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!(
        failure.cause,
        Cause::PeerNotify {
            notify: NotifyType::NO_ADDITIONAL_SAS
        }
    );
    assert!(
        failure.remedy().contains("`[[tunnel.child]]`"),
        "{}",
        failure.remedy()
    );
    // The longest wait of all, not the first.
    assert!(*retry_in >= Duration::from_secs(45), "{retry_in:?}");
    assert_eq!(bob.pair.alice.outbound.len(), 1);
    assert_eq!(count(&bob.pair.alice, "ike closed"), 0);
}
