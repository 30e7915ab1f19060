//! What a peer that is who it says it is can make a host do and keep: as much as it likes of what ends soon, and nothing that
//! ends the tunnel but its own word.

use std::time::Duration;

use xvpn_ike::api::{Command, Event, Input, Output, Rekey, Spi};
use xvpn_ike::error::Cause;
use xvpn_ike::message::{
    ChildOffer, CreateChildRequest, CreateChildResponse, Informational, NewChild, NewIke, Opened,
};
use xvpn_ike::negotiate::offer::{esp_offer, ike_offer};
use xvpn_ike::negotiate::selector::to_payload;
use xvpn_ike::testing::{Faults, Host, LINK, Pair, SeededRandom, Who, config};
use xvpn_ike::wire::ExchangeType;
use xvpn_ike::wire::payload::{KeyExchange, Nonce, NotifyType};

use super::by_hand::ByHand;
use super::rekey_child::rekey;
use super::{LATER, SOON, count};

/// What Mallory receives on at first.
pub(crate) const FIRST: u32 = 0x1234_5678;

/// A CHILD SA as Mallory wants it, in the place of another.
pub(crate) fn wanted(rekeyed: u32, new: u32, nonce: u8) -> CreateChildRequest {
    let config = config(Who::Alice);
    CreateChildRequest::Child {
        rekeyed: Some(rekeyed),
        child: NewChild {
            offer: ChildOffer {
                sa: esp_offer(&config.esp_proposals, Spi(new)),
                tsi: to_payload(&config.local_selectors),
                tsr: to_payload(&config.remote_selectors),
                transport_mode: false,
                no_tfc_padding: false,
                aggfrag: None,
            },
            nonce: Nonce(vec![nonce; 32]),
            ke: None,
            other: Vec::new(),
        },
    }
}

/// A CHILD SA that nobody asked for.
pub(crate) fn asked_child() -> NewChild {
    match wanted(FIRST, 0x4000, 9) {
        CreateChildRequest::Child { child, .. } => child,
        CreateChildRequest::RekeyIke(_) => unreachable!(),
    }
}

fn ask(mallory: &mut ByHand, request: &CreateChildRequest) -> CreateChildResponse {
    let answer = mallory.ask(ExchangeType::CREATE_CHILD_SA, &request.emit());
    response(&answer)
}

fn response(answer: &Opened) -> CreateChildResponse {
    CreateChildResponse::parse(&answer.chain().unwrap()).unwrap()
}

fn refusal(response: &CreateChildResponse) -> Option<NotifyType> {
    match response {
        CreateChildResponse::Refused(notify) => Some(notify.kind),
        CreateChildResponse::Child(_) | CreateChildResponse::RekeyIke(_) => None,
    }
}

/// How often the operator was told that somebody asks for too much.
fn told(host: &Host) -> usize {
    let too_often = host.failures();
    too_often
        .iter()
        .filter(|failure| failure.cause == Cause::TooOften)
        .count()
}

#[test]
fn a_thousand_wishes_to_replace_what_does_not_exist_are_refused_and_cost_nothing() {
    let mut mallory = ByHand::established();
    let before = mallory.pair.bob.endpoint.spis_in_use();
    for round in 0..1000_u32 {
        let answer = ask(&mut mallory, &wanted(0xdead_0000 + round, 0x2000 + round, 1));
        let kind = refusal(&answer).unwrap();
        let slowed_down = round >= 500 && kind == NotifyType::TEMPORARY_FAILURE;
        assert!(slowed_down || kind == NotifyType::CHILD_SA_NOT_FOUND, "{kind}");
        assert!(mallory.pair.bob.endpoint.audit().unwrap() < 10);
    }
    assert_eq!(mallory.pair.bob.endpoint.spis_in_use(), before);
    assert!(mallory.pair.bob.sending().is_some());
    assert_eq!(count(&mallory.pair.bob, "ike closed"), 0);
}

#[test]
fn a_peer_that_replaces_its_child_sa_without_end_is_slowed_down_and_the_operator_is_told() {
    let mut mallory = ByHand::established();
    let (mut newest, mut made) = (FIRST, 0);
    for round in 0..3000_u32 {
        // She never deletes one, and begins the next as soon as she has the answer.
        let answer = ask(&mut mallory, &wanted(newest, 0x2000 + round, 1));
        match refusal(&answer) {
            None => {
                newest = 0x2000 + round;
                made += 1;
            }
            Some(kind) => assert_eq!(kind, NotifyType::TEMPORARY_FAILURE),
        }
        let bob = &mallory.pair.bob;
        assert!(bob.inbound.len() <= 257 && bob.endpoint.audit().unwrap() < 10);
    }
    assert!((200..=560).contains(&made), "{made}");
    assert_eq!(told(&mallory.pair.bob), 1);
    assert_eq!(count(&mallory.pair.bob, "ike closed"), 0);
    assert!(mallory.pair.bob.sending().is_some(), "the tunnel stands");
}

#[test]
fn a_peer_that_replaces_its_ike_sa_without_end_is_slowed_down_and_the_operator_is_told() {
    let mut pair = super::settled();
    let mut most = (0, 0);
    for _ in 0..1500 {
        rekey(&mut pair, Who::Alice, Rekey::Ike);
        pair.run_for(Duration::from_millis(25));
        let bob = &pair.bob.endpoint;
        assert!(bob.audit().unwrap() < 12);
        most = most.max(bob.spis_in_use());
        pair.net.tape.clear();
        pair.alice.clear();
        assert!(pair.agree());
    }
    assert!(most <= (8, 1), "{most:?}");
    assert_eq!(told(&pair.bob), 1);
    assert_eq!(count(&pair.bob, "ike closed"), 0);
    pair.run_for(Duration::from_secs(200));
    assert!(pair.has_settled());
    assert_eq!(pair.bob.endpoint.spis_in_use(), (1, 1));
}

#[test]
fn heirs_that_nobody_uses_do_not_pile_up() {
    let mut mallory = ByHand::established();
    let config = config(Who::Alice);
    for round in 0..100 {
        let key = xvpn_ike::crypto::kex::KeyPair::generate(
            config.ike_proposals[0].key_exchange[0],
            &mut SeededRandom::new(round),
        )
        .unwrap();
        let request = CreateChildRequest::RekeyIke(NewIke {
            sa: ike_offer(&config.ike_proposals, Some(0x5000 + round)),
            nonce: Nonce(vec![3; 32]),
            ke: KeyExchange {
                method: key.method().id(),
                data: key.public().to_vec(),
            },
            other: Vec::new(),
        });
        let answer = ask(&mut mallory, &request);
        let accepted = matches!(answer, CreateChildResponse::RekeyIke(_));
        assert_eq!(accepted, round < 2);
        assert!(mallory.pair.bob.endpoint.spis_in_use() <= (3, 1));
    }
    // The old one goes on, and the others are forgotten.
    idle(&mut mallory, Duration::from_secs(100));
    assert_eq!(mallory.pair.bob.endpoint.spis_in_use(), (1, 1));
}

/// Lets time pass for Bob, and answers his liveness checks and deletes like a peer that has nothing to say.
pub(crate) fn idle(mallory: &mut ByHand, time: Duration) -> Vec<Informational> {
    let (mut asked, end) = (Vec::new(), mallory.pair.clock.now() + time);
    while let Some(due) = mallory.pair.bob.endpoint.poll_timeout().map(|(at, _)| at) {
        if due > end {
            break;
        }
        mallory.pair.clock.advance_to(due);
        let outputs = mallory.pair.bob.handle(due, Input::Timeout);
        for sent in super::hostile::transmissions(&outputs) {
            let Ok(opened) = mallory.open(&sent) else { continue };
            if opened.header().exchange == ExchangeType::INFORMATIONAL {
                asked.extend(Informational::parse(&opened.chain().unwrap()));
                mallory.respond(&opened, &Informational::default().emit());
            }
        }
    }
    mallory.pair.clock.advance_to(end);
    asked
}

#[test]
fn what_a_peer_replaces_and_never_deletes_is_deleted_for_it() {
    let mut mallory = ByHand::established();
    let old = *mallory.pair.bob.inbound.keys().next().unwrap();
    assert_eq!(refusal(&ask(&mut mallory, &wanted(FIRST, 0x2000, 1))), None);
    // Bob sends with the new one after a while, though she does not say that she receives on it.
    idle(&mut mallory, Duration::from_secs(61));
    assert_eq!(mallory.pair.bob.sending(), Some(Spi(0x2000)));
    let asked = idle(&mut mallory, Duration::from_secs(120));
    let deleted: Vec<u32> = asked.into_iter().flat_map(|message| message.delete_esp).collect();
    assert_eq!(deleted, [old.0]);
    assert_eq!(mallory.pair.bob.inbound.len(), 1);
    assert_eq!(mallory.pair.bob.endpoint.spis_in_use(), (1, 1));
}

#[test]
fn key_exchanges_that_a_peer_begins_and_never_goes_on_with_do_not_pile_up() {
    let hybrid = |who| xvpn_ike::config::ConnectionConfig {
        esp_proposals: vec!["aes256gcm16-esn-x25519-ke1_mlkem768".parse().unwrap()],
        ..config(who)
    };
    let endpoint = xvpn_ike::config::EndpointConfig::default();
    let pair = Pair::with(11, Faults::NONE, endpoint, hybrid(Who::Alice), hybrid(Who::Bob));
    let mut mallory = ByHand::established_with(pair);
    let key = xvpn_ike::crypto::kex::KeyPair::generate(
        config(Who::Alice).ike_proposals[0].key_exchange[0],
        &mut SeededRandom::new(4),
    )
    .unwrap();
    for round in 0..100 {
        let CreateChildRequest::Child { rekeyed, mut child } = wanted(FIRST, 0x2000 + round, 1) else {
            unreachable!()
        };
        child.offer.sa = esp_offer(&hybrid(Who::Alice).esp_proposals, Spi(0x2000 + round));
        child.ke = Some(KeyExchange {
            method: key.method().id(),
            data: key.public().to_vec(),
        });
        let answer = ask(&mut mallory, &CreateChildRequest::Child { rekeyed, child });
        let CreateChildResponse::Child(answer) = answer else {
            panic!("{answer:?}")
        };
        let more = |n: &xvpn_ike::wire::payload::Notify| n.kind == NotifyType::ADDITIONAL_KEY_EXCHANGE;
        assert!(answer.other.iter().any(more));
        assert_eq!(mallory.pair.bob.endpoint.spis_in_use(), (1, 2));
        assert!(mallory.pair.bob.endpoint.audit().unwrap() < 10);
    }
    idle(&mut mallory, Duration::from_secs(21));
    assert_eq!(mallory.pair.bob.endpoint.spis_in_use(), (1, 1));
    assert!(mallory.pair.bob.sending().is_some());
}

#[test]
fn a_peer_that_begins_anew_without_end_does_not_pile_up_child_sas() {
    let mut pair = Pair::new(11, Faults::NONE);
    for round in 0..400 {
        let mut mallory = ByHand::init_with(pair, round.into());
        let mut message = mallory.auth_request();
        let child = message.child.as_mut().unwrap();
        child.sa = esp_offer(&config(Who::Alice).esp_proposals, Spi(0x2000 + round));
        mallory.ask(ExchangeType::IKE_AUTH, &message.emit());
        pair = mallory.pair;
        assert!(pair.bob.inbound.len() <= 260, "{}", pair.bob.inbound.len());
        pair.bob.endpoint.audit().unwrap();
        pair.bob.clear();
    }
}

#[test]
fn deletes_of_everything_without_end_leave_nothing_behind() {
    let mut mallory = ByHand::established();
    for round in 0..200 {
        let everything = Informational::delete_esp((0..400).map(|spi| spi + round).collect());
        let answer = mallory.ask(ExchangeType::INFORMATIONAL, &everything.emit());
        let answer = Informational::parse(&answer.chain().unwrap()).unwrap();
        assert_eq!(answer.delete_esp, [], "none of these is ours");
    }
    assert!(mallory.pair.bob.sending().is_some());
    // Her own is, and with the only CHILD SA the IKE SA goes.
    let only = Informational::delete_esp(vec![FIRST, FIRST, 7]);
    let answer = mallory.ask(ExchangeType::INFORMATIONAL, &only.emit());
    let answer = Informational::parse(&answer.chain().unwrap()).unwrap();
    assert_eq!(answer.delete_esp.len(), 1);
    idle(&mut mallory, Duration::from_secs(100));
    assert!(mallory.pair.bob.is_bare());
    assert_eq!(mallory.pair.bob.endpoint.spis_in_use(), (0, 0));
}

#[test]
fn a_peer_that_comes_and_goes_without_end_leaves_nothing_behind() {
    let mut pair = super::settled();
    for _ in 0..300 {
        pair.down(Who::Alice);
        pair.run_for(SOON / 2);
        pair.up(Who::Alice);
        pair.run_for(SOON);
        assert!(pair.bob.endpoint.audit().unwrap() < 10);
        assert!(pair.bob.endpoint.spis_in_use() <= (3, 3));
        pair.net.tape.clear();
        pair.alice.clear();
        pair.bob.clear();
    }
    pair.run_for(LATER);
    assert!(pair.has_settled());
    assert_eq!(pair.bob.endpoint.spis_in_use(), (1, 1));
}

/// Bob wants to replace an SA: his request.
pub(crate) fn asked(mallory: &mut ByHand, what: Rekey) -> Opened {
    let command = Command::Rekey {
        connection: LINK,
        what,
    };
    let now = mallory.pair.clock.now();
    let outputs = mallory.pair.bob.handle(now, Input::Command(command));
    sent(mallory, &outputs).remove(0)
}

/// What Bob says.
pub(crate) fn sent(mallory: &ByHand, outputs: &[Output]) -> Vec<Opened> {
    let sent = super::hostile::transmissions(outputs);
    sent.iter().map(|bytes| mallory.open(bytes).unwrap()).collect()
}

/// What the operator of Bob's side was told went wrong, and whether it will be tried again.
pub(crate) fn failed(host: &Host) -> Vec<(Cause, bool)> {
    let of = |event: &Event| match event {
        Event::Failed {
            failure, retry_in, ..
        } => Some((failure.cause.clone(), retry_in.is_some())),
        _ => None,
    };
    host.events().filter_map(of).collect()
}
