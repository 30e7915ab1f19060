//! A responder that takes up AGGFRAG payloads and demands congestion control of them, which is not done (RFC 9347 5.1, 6.1.4).
//!
//! ```text
//! Alice: SA, N(USE_AGGFRAG 00)                      -->
//!                                                   <--  SA, N(USE_AGGFRAG 02): the C flag
//! Alice: D(that CHILD SA)                           -->
//!                                                   <--  D(its other half)
//! Alice: CREATE_CHILD_SA, SA without USE_AGGFRAG    -->
//! ```

use std::time::Duration;

use xvpn_ike::api::{Event, Rekey, Spi};
use xvpn_ike::config::{Aggfrag, ChildConfig, ConnectionConfig, Lifetime};
use xvpn_ike::error::Cause;
use xvpn_ike::message::{ChildAnswer, CreateChildRequest, CreateChildResponse, Informational, NewChild};
use xvpn_ike::negotiate::offer::esp_offer;
use xvpn_ike::testing::{Host, Pair, Who, config};
use xvpn_ike::wire::payload::{Body, Nonce, Notify, NotifyType};
use xvpn_ike::wire::{ExchangeType, Opened};

use super::by_hand::Responder;
use super::count;
use super::rekey_child::rekey;

/// Of the notify after its generic header: no protocol, no SPI, 16442, the C flag.
const DEMAND: &[u8] = &[0, 0, 0x40, 0x3a, 0x02];
/// How every USE_AGGFRAG begins.
const USE_AGGFRAG: &[u8] = &[0, 0, 0x40, 0x3a];

fn demand() -> Notify {
    let demand = Notify::with_data(NotifyType::USE_AGGFRAG, vec![0x02]);
    assert_eq!(demand.to_bytes(), DEMAND);
    demand
}

fn alice() -> ConnectionConfig {
    ConnectionConfig {
        child_aggfrag: Some(Aggfrag { reassembles: true }),
        ..config(Who::Alice)
    }
}

/// What Bob answers, with an SPI of his.
fn accepting(child: &NewChild, spi: u32, aggfrag: Option<Notify>) -> CreateChildResponse {
    let mut accepted = child.clone();
    accepted.offer.sa = esp_offer(&config(Who::Bob).esp_proposals, Spi(spi));
    accepted.offer.aggfrag = aggfrag;
    accepted.nonce = Nonce(vec![3; 32]);
    CreateChildResponse::Child(accepted)
}

/// The octets inside Alice's last message.
fn octets(asked: &Opened) -> Vec<u8> {
    asked.unencrypted().unwrap()
}

fn asks_for_aggfrag(asked: &Opened) -> bool {
    octets(asked)
        .windows(USE_AGGFRAG.len())
        .any(|piece| piece == USE_AGGFRAG)
}

/// Alice's last message asks for a CHILD SA.
fn wanted(asked: &Opened) -> NewChild {
    let request = CreateChildRequest::parse(&asked.chain().unwrap()).unwrap();
    let CreateChildRequest::Child { child, .. } = request else {
        panic!("{request:?}")
    };
    child
}

fn spi_of(child: &NewChild) -> Vec<u8> {
    child.offer.sa.proposals[0].spi.clone()
}

/// Alice's last message deletes the CHILD SA that she would receive on by this SPI, and nothing else. Bob deletes the other half.
fn deletes(bob: &mut Responder, spi: &[u8], theirs: u32) {
    let asked = bob.last_of_alice();
    assert_eq!(asked.header().exchange, ExchangeType::INFORMATIONAL);
    // RFC 7296 3.11: the last payload, of 12 octets; ESP, SPIs of 4 octets, one of them.
    let delete = [&[0, 0, 0, 12, 3, 4, 0, 1], spi].concat();
    assert!(octets(&asked).ends_with(&delete), "{:02x?}", octets(&asked));
    assert_eq!(
        Informational::parse(&asked.chain().unwrap())
            .unwrap()
            .delete_esp
            .len(),
        1
    );
    bob.reply(&asked, &Informational::delete_esp(vec![theirs]).emit());
    bob.pair.run_for(Duration::from_millis(20));
}

fn told(alice: &Host) -> Vec<(&str, Cause, Option<Duration>)> {
    let failed = alice.events().filter_map(|event| match event {
        Event::ChildFailed {
            child,
            failure,
            retry_in,
            ..
        } => Some((child.as_str(), failure.cause.clone(), *retry_in)),
        _ => None,
    });
    failed.collect()
}

const DEMANDED: Cause = Cause::AggfragDemand { flags: 2 };

#[test]
fn the_first_child_sa_is_deleted_and_made_anew_without_them() {
    let mut bob = Responder::init_of(alice());
    let spi = bob.asked.child.as_ref().unwrap().sa.proposals[0].spi.clone();
    let mut accepted = bob.accepted("bob.example");
    let ChildAnswer::Accepted(offer) = &mut accepted.child else {
        panic!("none was asked for")
    };
    offer.aggfrag = Some(demand());
    bob.answer(accepted);
    deletes(&mut bob, &spi, 0x8765_4321);

    let asked = bob.last_of_alice();
    assert_eq!(asked.header().exchange, ExchangeType::CREATE_CHILD_SA);
    assert!(!asks_for_aggfrag(&asked));
    bob.reply(&asked, &accepting(&wanted(&asked), 0x1001, None).emit());
    let alice = &bob.pair.alice;
    let made: Vec<_> = alice.outbound.values().map(|sa| (sa.spi.0, sa.aggfrag)).collect();
    assert_eq!(made, [(0x1001, None)]);
    assert_eq!(count(alice, "ike closed"), 0);
    assert_eq!(count(alice, "child established"), 1);
    let first = told(alice);
    assert!(
        matches!(first.as_slice(), [(_, DEMANDED, Some(Duration::ZERO))]),
        "{first:?}"
    );
}

#[test]
fn a_further_child_sa_is_deleted_and_made_anew_without_them_and_the_first_stays() {
    let net = |text: &str| vec![text.parse::<ipnet::IpNet>().unwrap().into()];
    let mut config = config(Who::Alice);
    config.more_children = vec![ChildConfig {
        name: "voice".into(),
        esp_proposals: config.esp_proposals.clone(),
        local_selectors: net("10.11.0.0/16"),
        remote_selectors: net("10.12.0.0/16"),
        lifetime: Lifetime::default(),
        resources: 0,
        aggfrag: Some(Aggfrag { reassembles: true }),
    }];
    let mut bob = Responder::init_of(config);
    let accepted = bob.accepted("bob.example");
    bob.answer(accepted);
    let asked = bob.last_of_alice();
    assert!(asks_for_aggfrag(&asked));
    let voice = wanted(&asked);
    bob.reply(&asked, &accepting(&voice, 0x1001, Some(demand())).emit());
    deletes(&mut bob, &spi_of(&voice), 0x1001);

    let asked = bob.last_of_alice();
    assert_eq!(asked.header().exchange, ExchangeType::CREATE_CHILD_SA);
    assert!(!asks_for_aggfrag(&asked));
    bob.reply(&asked, &accepting(&wanted(&asked), 0x1002, None).emit());
    let alice = &bob.pair.alice;
    let mut made: Vec<_> = alice.outbound.values().map(|sa| sa.spi.0).collect();
    made.sort_unstable();
    assert_eq!(made, [0x1002, 0x8765_4321]);
    let failures = told(alice);
    assert!(
        matches!(failures.as_slice(), [("voice", DEMANDED, Some(Duration::ZERO))]),
        "{failures:?}"
    );
}

/// It answers so whatever it is asked: there is an end to it.
#[test]
fn a_peer_that_answers_what_was_not_asked_is_not_asked_again_at_once() {
    let mut bob = Responder::init_of(alice());
    let spi = bob.asked.child.as_ref().unwrap().sa.proposals[0].spi.clone();
    let mut accepted = bob.accepted("bob.example");
    if let ChildAnswer::Accepted(offer) = &mut accepted.child {
        offer.aggfrag = Some(demand());
    }
    bob.answer(accepted);
    deletes(&mut bob, &spi, 0x8765_4321);
    let asked = bob.last_of_alice();
    let again = wanted(&asked);
    bob.reply(&asked, &accepting(&again, 0x1001, Some(demand())).emit());
    deletes(&mut bob, &spi_of(&again), 0x1001);
    // The last that she said is the Delete.
    assert_eq!(bob.last_of_alice().header().exchange, ExchangeType::INFORMATIONAL);
    let failures = told(&bob.pair.alice);
    let [(_, DEMANDED, _), (_, Cause::InvalidSyntax { .. }, Some(wait))] = failures.as_slice() else {
        panic!("{failures:?}")
    };
    assert!(*wait >= Duration::from_secs(1), "{wait:?}");
}

#[test]
fn what_replaces_an_sa_is_deleted_and_the_old_one_stays_and_is_replaced_without_them() {
    let mut bob = Responder::init_of(alice());
    let accepted = bob.accepted("bob.example");
    bob.answer(accepted);
    assert!(bob.pair.alice.outbound.values().all(|sa| sa.aggfrag.is_some()));
    rekey(&mut bob.pair, Who::Alice, Rekey::Child);
    let asked = bob.last_of_alice();
    assert!(asks_for_aggfrag(&asked));
    let new = wanted(&asked);
    bob.reply(&asked, &accepting(&new, 0x1001, Some(demand())).emit());
    deletes(&mut bob, &spi_of(&new), 0x1001);
    let stands = |pair: &Pair| {
        pair.alice
            .outbound
            .values()
            .map(|sa| sa.spi.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(stands(&bob.pair), [0x8765_4321]);

    rekey(&mut bob.pair, Who::Alice, Rekey::Child);
    let asked = bob.last_of_alice();
    assert_eq!(asked.header().exchange, ExchangeType::CREATE_CHILD_SA);
    assert!(!asks_for_aggfrag(&asked));
    bob.reply(&asked, &accepting(&wanted(&asked), 0x1002, None).emit());
    let made = bob.pair.alice.outbound.values().find(|sa| sa.spi.0 == 0x1002);
    assert_eq!(made.unwrap().aggfrag, None);
}
