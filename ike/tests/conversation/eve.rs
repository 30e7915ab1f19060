//! Eve has everything on tape and may send anything: it changes nothing but a counter.

use std::time::Duration;

use xvpn_ike::api::{Event, Output, Path};
use xvpn_ike::testing::{EVE, InTransit, Pair, SeededRandom, Who, ip, path};

use super::{kinds, settled};

/// Everything that was ever sent, with who was meant to receive it.
fn tape(pair: &Pair) -> Vec<(Who, InTransit)> {
    let alice = path(Who::Alice, 500).local.ip();
    let to = |sent: &InTransit| {
        if sent.path.local.ip() == alice {
            Who::Alice
        } else {
            Who::Bob
        }
    };
    pair.net
        .tape
        .iter()
        .map(|sent| (to(sent), sent.clone()))
        .collect()
}

fn other(who: Who) -> Who {
    match who {
        Who::Alice => Who::Bob,
        Who::Bob => Who::Alice,
    }
}

/// The connection of before stands, and both still hear each other.
fn still_works(mut pair: Pair) {
    let before: Vec<_> = pair
        .alice
        .inbound
        .keys()
        .chain(pair.bob.inbound.keys())
        .copied()
        .collect();
    pair.run_for(Duration::from_secs(200));
    assert!(pair.has_settled());
    let after: Vec<_> = pair
        .alice
        .inbound
        .keys()
        .chain(pair.bob.inbound.keys())
        .copied()
        .collect();
    assert_eq!(before, after);
    assert_eq!((pair.alice.failures(), pair.bob.failures()), (vec![], vec![]));
}

fn only_counts(outputs: &[Output], what: &str) {
    assert_eq!(kinds(outputs), ["ignored"], "{what}");
}

/// A pair that has also talked after its handshake.
fn talkative() -> Pair {
    let mut pair = settled();
    pair.run_for(Duration::from_secs(100));
    pair
}

#[test]
fn replayed_datagrams_change_nothing() {
    let mut pair = talkative();
    for (who, sent) in tape(&pair) {
        for from in [
            sent.path,
            Path {
                remote: (ip(EVE), 500).into(),
                ..sent.path
            },
        ] {
            let outputs = pair.inject(who, from, &sent.bytes);
            // The last request of the peer is answered again, with the same octets as before.
            let again = match &outputs[..] {
                [Output::Transmit(answer)] => pair.net.tape.iter().any(|sent| sent.bytes == answer.bytes),
                _ => false,
            };
            assert!(again || kinds(&outputs) == ["ignored"], "{outputs:?}");
        }
    }
    still_works(pair);
}

#[test]
fn reflected_datagrams_change_nothing() {
    let mut pair = talkative();
    for (who, sent) in tape(&pair) {
        let outputs = pair.inject(other(who), path(other(who), 500), &sent.bytes);
        only_counts(&outputs, "reflected");
    }
    still_works(pair);
}

#[test]
fn truncated_datagrams_change_nothing() {
    let mut pair = talkative();
    for (who, sent) in tape(&pair) {
        for length in 0..sent.bytes.len() {
            let outputs = pair.inject(who, sent.path, &sent.bytes[..length]);
            only_counts(&outputs, "truncated");
        }
    }
    still_works(pair);
}

#[test]
fn datagrams_with_octets_behind_them_change_nothing() {
    let mut pair = talkative();
    for (who, mut sent) in tape(&pair) {
        sent.bytes.push(0);
        only_counts(&pair.inject(who, sent.path, &sent.bytes), "lengthened");
    }
    still_works(pair);
}

#[test]
fn flipped_bits_change_nothing() {
    let mut pair = talkative();
    for (who, sent) in tape(&pair) {
        // A flipped IKE_SA_INIT request is someone else's request: a half-open SA, which expires.
        if sent.bytes[18] == 34 && who == Who::Bob {
            continue;
        }
        for bit in 0..sent.bytes.len() * 8 {
            let mut bytes = sent.bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let outputs = pair.inject(who, sent.path, &bytes);
            // Flags and versions have bits without a meaning; a copy that differs only there, and only in the
            // clear, is caught by the ICV or is a response nobody awaits.
            only_counts(&outputs, &format!("bit {bit}"));
        }
    }
    still_works(pair);
}

#[test]
fn garbage_changes_nothing() {
    let mut pair = talkative();
    let mut random = SeededRandom::new(13);
    let header = pair.net.tape.last().unwrap().bytes.clone();
    for round in 0..4000usize {
        let length = usize::try_from(random.below(600)).unwrap();
        let mut bytes = vec![0; length];
        xvpn_ike::api::Random::fill(&mut random, &mut bytes);
        // Every other one begins as a message of this connection does.
        if round % 2 == 0 && length >= 28 {
            bytes[..28].copy_from_slice(&header[..28]);
            bytes[24..28].copy_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
            bytes[20..24].copy_from_slice(&u32::try_from(random.below(6)).unwrap().to_be_bytes());
        }
        for who in [Who::Alice, Who::Bob] {
            only_counts(&pair.inject(who, path(who, 500), &bytes), "garbage");
        }
    }
    still_works(pair);
}

#[test]
fn a_stranger_with_the_address_of_the_peer_is_not_taken_for_it() {
    let mut pair = talkative();
    // A well-formed request that Bob must refuse: the first one, with another cipher asked for.
    let (_, first) = tape(&pair).into_iter().find(|(who, _)| *who == Who::Bob).unwrap();
    let mut bytes = first.bytes.clone();
    let cipher = bytes
        .windows(4)
        .position(|octets| octets == [1, 0, 0, 20])
        .unwrap();
    bytes[cipher + 3] = 99;
    let outputs = pair.inject(Who::Bob, first.path, &bytes);
    let [
        Output::Transmit(_),
        Output::Event(Event::Failed { connection: None, .. }),
    ] = &outputs[..]
    else {
        panic!("{outputs:?}");
    };
    // And again: answered, but not told of a second time within the second.
    assert_eq!(kinds(&pair.inject(Who::Bob, first.path, &bytes)), ["transmit"]);
    // The refusal goes to Alice, who has not asked.
    pair.bob.clear();
    still_works(pair);
}
