//! Fragments that no honest peer sends, and fragments of somebody who has no keys (RFC 7383 2.6, 5).

use std::time::Duration;

use xvpn_ike::api::{Event, Output};
use xvpn_ike::error::Ignore;
use xvpn_ike::testing::{Faults, Pair, Who, config};
use xvpn_ike::wire::{ExchangeType, PayloadType, Payloads, Plain};

use super::by_hand::ByHand;
use super::hostile::transmissions;
use super::kinds;

/// An initiator by hand that may send fragments, after IKE_SA_INIT: for Bob a half-open SA.
fn stranger() -> ByHand {
    ByHand::init_saying(
        Pair::new(11, Faults::NONE),
        0,
        &config(Who::Alice).ike_proposals,
        true,
    )
}

/// Its IKE_AUTH request, as octets in need of protection, in parts.
fn parts(peer: &ByHand, many: usize) -> (PayloadType, Vec<Vec<u8>>) {
    let plain = Plain::new(peer.header, &peer.auth_request().emit());
    let length = plain.inside().len().div_ceil(many);
    let parts: Vec<Vec<u8>> = plain.inside().chunks(length).map(<[u8]>::to_vec).collect();
    assert_eq!(parts.len(), many);
    (plain.first(), parts)
}

/// The same as sealed fragments.
fn fragments(peer: &mut ByHand, many: usize) -> Vec<Vec<u8>> {
    let (first, parts) = parts(peer, many);
    let total = u16::try_from(many).unwrap();
    (1..=total)
        .zip(parts)
        .map(|(number, part)| {
            let first = if number == 1 { first } else { PayloadType::NONE };
            peer.fragment((number, total), (first, &part), &[])
        })
        .collect()
}

/// Bob ignored it for this reason and did nothing else.
fn is_ignored(outputs: &[Output], why: Ignore) -> bool {
    matches!(outputs, [Output::Event(Event::Ignored { reason })] if *reason == why)
}

/// Bob stored it, and said nothing.
fn is_stored(outputs: &[Output]) -> bool {
    outputs.is_empty()
}

/// With it the message was complete: Bob has the connection now.
fn completes(outputs: &[Output]) -> bool {
    kinds(outputs).contains(&"ike established")
}

fn forged(genuine: &[u8]) -> Vec<u8> {
    let mut forged = genuine.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    forged
}

#[test]
fn fragments_may_come_in_any_order_and_twice() {
    let mut peer = stranger();
    let all = fragments(&mut peer, 4);
    for number in [3, 0, 2] {
        assert!(is_stored(&peer.give(&all[number])));
        // Again, and again with another seal around it: the first one counts.
        assert!(is_ignored(&peer.give(&all[number]), Ignore::Fragment));
    }
    let other = peer.fragment((1, 4), (PayloadType::NONE, b"something else"), &[]);
    assert!(is_ignored(&peer.give(&other), Ignore::Fragment));
    assert!(completes(&peer.give(&all[1])));
}

#[test]
fn impossible_numbers_are_ignored_and_displace_nothing() {
    let mut peer = stranger();
    let all = fragments(&mut peer, 3);
    assert!(is_stored(&peer.give(&all[0])));
    for numbers in [
        (0, 3),
        (4, 3),
        (u16::MAX, 3),
        (0, 0),
        (1, 0),
        (1, 129),
        (u16::MAX, u16::MAX),
        (0, u16::MAX),
    ] {
        let fragment = peer.fragment(numbers, (PayloadType::NONE, b"x"), &[]);
        assert!(is_ignored(&peer.give(&fragment), Ignore::Fragment), "{numbers:?}");
    }
    assert!(is_stored(&peer.give(&all[1])));
    assert!(completes(&peer.give(&all[2])));
}

#[test]
fn a_smaller_total_is_ignored_and_a_larger_one_starts_over() {
    let mut peer = stranger();
    let (three, two, four) = (
        fragments(&mut peer, 3),
        fragments(&mut peer, 2),
        fragments(&mut peer, 4),
    );
    assert!(is_stored(&peer.give(&three[0])));
    assert!(is_stored(&peer.give(&three[1])));
    // An older set, on its way for long.
    assert!(is_ignored(&peer.give(&two[0]), Ignore::Fragment));
    assert!(is_ignored(&peer.give(&two[1]), Ignore::Fragment));
    // A newer one: what was there of the older one is not mixed in.
    assert!(is_stored(&peer.give(&four[3])));
    assert!(is_ignored(&peer.give(&three[2]), Ignore::Fragment));
    for number in [0, 1] {
        assert!(is_stored(&peer.give(&four[number])));
    }
    assert!(completes(&peer.give(&four[2])));
}

#[test]
fn forged_fragments_displace_no_good_one() {
    let mut peer = stranger();
    let all = fragments(&mut peer, 3);
    for good in &all {
        // Before it and after it; of this set, of a larger one, and of a message in one piece.
        let larger = peer.fragment((1, 100), (PayloadType::NONE, b"x"), &[]);
        let whole = peer.sealed(ExchangeType::IKE_AUTH, &Payloads::new());
        for bad in [forged(good), forged(&larger), forged(&whole)] {
            assert!(is_ignored(&peer.give(&bad), Ignore::BadIcv));
        }
        let outputs = peer.give(good);
        assert!(is_stored(&outputs) || completes(&outputs));
    }
    assert_eq!(peer.pair.bob.inbound.len(), 1);
}

#[test]
fn the_numbers_are_protected() {
    let mut peer = stranger();
    let all = fragments(&mut peer, 3);
    // Whoever is on the way moves the second one to the third's place, or makes it the last of two.
    for (at, value) in [(33, 3), (35, 2)] {
        let mut moved = all[1].clone();
        assert_eq!(moved[32..36], [0, 2, 0, 3]);
        moved[at] = value;
        assert!(is_ignored(&peer.give(&moved), Ignore::BadIcv));
    }
    for fragment in &all[..2] {
        assert!(is_stored(&peer.give(fragment)));
    }
    assert!(completes(&peer.give(&all[2])));
}

#[test]
fn the_whole_message_takes_the_place_of_its_fragments() {
    let mut peer = stranger();
    let all = fragments(&mut peer, 3);
    assert!(is_stored(&peer.give(&all[0])));
    let message = peer.auth_request().emit();
    let whole = peer.sealed(ExchangeType::IKE_AUTH, &message);
    let outputs = peer.give(&whole);
    assert!(completes(&outputs));
    let [answer] = &transmissions(&outputs)[..] else {
        panic!("{outputs:?}");
    };
    // What is left of the fragments asks for the answer again, but only the first of them (RFC 7383 2.6.1).
    assert!(is_ignored(&peer.give(&all[1]), Ignore::Fragment));
    assert!(is_ignored(&peer.give(&forged(&all[0])), Ignore::BadIcv));
    assert_eq!(transmissions(&peer.give(&all[0])), std::slice::from_ref(answer));
}

#[test]
fn one_alone_is_a_whole_message_and_a_part_of_nothing_is_not() {
    let mut peer = stranger();
    let all = fragments(&mut peer, 1);
    assert!(completes(&peer.give(&all[0])));
    // The second half of a request whose first half never comes changes nothing, however long it waits.
    peer.header.message_id += 1;
    peer.header.exchange = ExchangeType::INFORMATIONAL;
    let half = peer.fragment((2, 2), (PayloadType::NONE, &[0; 100]), &[]);
    assert!(is_stored(&peer.give(&half)));
    assert!(is_ignored(&peer.give(&half), Ignore::Fragment));
    peer.pair.run_for(Duration::from_secs(41));
    // It was forgotten: it would be stored again; and a request in one piece is served.
    assert!(is_stored(&peer.give(&half)));
    let probe = peer.sealed(ExchangeType::INFORMATIONAL, &Payloads::new());
    assert_eq!(transmissions(&peer.give(&probe)).len(), 1);
}

#[test]
fn fragments_of_other_messages_than_the_next_are_ignored() {
    let mut peer = stranger();
    for id in [0, 2, 3, u32::MAX] {
        peer.header.message_id = id;
        let early = peer.fragment((1, 2), (PayloadType::IDI, &[0; 64]), &[]);
        let outputs = peer.give(&early);
        assert!(
            is_ignored(&outputs, Ignore::OutOfWindow) || is_ignored(&outputs, Ignore::BadIcv),
            "{id}"
        );
    }
    // Nor those of another exchange than is due.
    peer.header.message_id = 1;
    peer.header.exchange = ExchangeType::CREATE_CHILD_SA;
    let early = peer.fragment((1, 2), (PayloadType::SA, &[0; 64]), &[]);
    assert!(is_ignored(&peer.give(&early), Ignore::UnexpectedState));
}

#[test]
fn who_did_not_agree_on_fragments_may_not_send_them() {
    let mut peer = ByHand::init();
    for fragment in fragments(&mut peer, 2) {
        assert!(is_ignored(&peer.give(&fragment), Ignore::BadIcv));
    }
    let message = peer.auth_request().emit();
    let whole = peer.sealed(ExchangeType::IKE_AUTH, &message);
    assert!(completes(&peer.give(&whole)));
}

#[test]
fn a_stranger_fills_32_kib_and_loses_all_by_more() {
    let mut peer = stranger();
    let all = fragments(&mut peer, 2);
    let content = [0; 1000];
    for number in 1..=32 {
        let fragment = peer.fragment((number, 100), (PayloadType::NONE, &content), &[]);
        assert!(is_stored(&peer.give(&fragment)), "{number}");
    }
    let fragment = peer.fragment((33, 100), (PayloadType::NONE, &content), &[]);
    assert!(is_ignored(&peer.give(&fragment), Ignore::Fragment));
    // Nothing is left of it: a set with a smaller total is taken now.
    assert!(is_stored(&peer.give(&all[0])));
    assert!(completes(&peer.give(&all[1])));
}

#[test]
fn what_stands_in_the_clear_before_a_fragment_counts_as_well() {
    let mut peer = stranger();
    let outside = vec![0; 40_000];
    // The first one's is kept, for AUTH covers it (RFC 9242 3.3.2).
    let fragment = peer.fragment((1, 100), (PayloadType::NONE, b"x"), &outside);
    assert!(is_ignored(&peer.give(&fragment), Ignore::Fragment));
    let fragment = peer.fragment((1, 100), (PayloadType::NONE, b"x"), &outside[..30_000]);
    assert!(is_stored(&peer.give(&fragment)));
    let fragment = peer.fragment((2, 100), (PayloadType::NONE, &[0; 3000]), &[]);
    assert!(is_ignored(&peer.give(&fragment), Ignore::Fragment));
    // The others' is not: of this there is no more than its one octet.
    for number in 1..=100 {
        let outside = if number == 1 { &[][..] } else { &outside[..] };
        let fragment = peer.fragment((number, 101), (PayloadType::NONE, b"x"), outside);
        assert!(is_stored(&peer.give(&fragment)), "{number}");
    }
}

#[test]
fn who_has_proven_itself_may_send_64_kib() {
    let mut peer = stranger();
    let all = fragments(&mut peer, 2);
    assert!(is_stored(&peer.give(&all[0])));
    assert!(completes(&peer.give(&all[1])));
    peer.header.message_id += 1;
    peer.header.exchange = ExchangeType::INFORMATIONAL;
    let content = [0; 1000];
    for number in 1..=65 {
        let fragment = peer.fragment((number, 100), (PayloadType::NONE, &content), &[]);
        assert!(is_stored(&peer.give(&fragment)), "{number}");
    }
    let fragment = peer.fragment((66, 100), (PayloadType::NONE, &content), &[]);
    assert!(is_ignored(&peer.give(&fragment), Ignore::Fragment));
}

#[test]
fn nonsense_in_good_fragments_is_answered_like_nonsense_in_one_piece() {
    let mut peer = stranger();
    for number in 1..=2 {
        let fragment = peer.fragment((number, 2), (PayloadType::IDI, &[0xff; 10]), &[]);
        let outputs = peer.give(&fragment);
        match number {
            1 => assert!(is_stored(&outputs)),
            _ => assert_eq!(transmissions(&outputs).len(), 1, "{outputs:?}"),
        }
    }
    assert_eq!(peer.pair.bob.inbound.len(), 0);
}
