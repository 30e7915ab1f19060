//! The keys of SAs are told to an operator who asks for them, and to nobody else.

use xvpn_ike::api::{ChildSaKeys, Command, Direction, ExportedKeys, IkeSaKeys, Output, Rekey};
use xvpn_ike::negotiate::proposal::default_ike;
use xvpn_ike::testing::{Host, Pair, Who, config};

use super::rekey_child::rekey;
use super::{LATER, SOON, settled};

fn told(host: &Host) -> Vec<ExportedKeys> {
    let keys = |output: &Output| match output {
        Output::Keys(keys) => Some(keys.clone()),
        _ => None,
    };
    host.outputs.iter().filter_map(keys).collect()
}

fn ike(host: &Host) -> Vec<IkeSaKeys> {
    let ike = |keys| match keys {
        ExportedKeys::Ike(keys) => Some(keys),
        ExportedKeys::Child(_) => None,
    };
    told(host).into_iter().filter_map(ike).collect()
}

fn children(host: &Host, direction: Direction) -> Vec<ChildSaKeys> {
    let child = |keys| match keys {
        ExportedKeys::Child(keys) if keys.direction == direction => Some(keys),
        ExportedKeys::Child(_) | ExportedKeys::Ike(_) => None,
    };
    told(host).into_iter().filter_map(child).collect()
}

fn export(pair: &mut Pair) {
    for who in [Who::Alice, Who::Bob] {
        pair.command(who, Command::ExportKeys(true));
    }
}

/// What one receives with, the other sends with; and the keys are those that the dataplane was given.
fn assert_children_fit(pair: &Pair, count: usize) {
    for (from, to) in [(&pair.alice, &pair.bob), (&pair.bob, &pair.alice)] {
        let (sends, receives) = (
            children(from, Direction::Outbound),
            children(to, Direction::Inbound),
        );
        assert_eq!(sends.len(), count);
        for sent in &sends {
            let received = receives.iter().find(|keys| keys.spi == sent.spi).unwrap();
            assert_eq!((&sent.keys, &sent.suite), (&received.keys, &received.suite));
            assert!(sent.keys.encryption.len() == 36);
        }
        let newest = sends.last().unwrap();
        assert_eq!(from.outbound.get(&newest.spi).unwrap().keys, newest.keys);
    }
}

#[test]
fn nothing_is_told_to_who_did_not_ask() {
    let mut pair = Pair::configured(config(Who::Alice), config(Who::Bob));
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    rekey(&mut pair, Who::Alice, Rekey::Child);
    rekey(&mut pair, Who::Bob, Rekey::Ike);
    pair.run_for(LATER);
    assert_eq!((told(&pair.alice), told(&pair.bob)), (vec![], vec![]));
}

#[test]
fn what_stands_is_told_at_once_and_the_same_by_both_sides() {
    let mut pair = settled();
    export(&mut pair);
    assert_eq!(ike(&pair.alice).len(), 1);
    assert_eq!(ike(&pair.alice), ike(&pair.bob));
    assert_children_fit(&pair, 1);
}

#[test]
fn what_takes_the_place_of_an_sa_is_told_when_it_is_made() {
    let mut pair = settled();
    export(&mut pair);
    pair.alice.clear();
    pair.bob.clear();
    rekey(&mut pair, Who::Alice, Rekey::Child);
    pair.run_for(LATER);
    assert_children_fit(&pair, 1);
    assert_eq!(ike(&pair.alice), []);
    rekey(&mut pair, Who::Bob, Rekey::Ike);
    pair.run_for(LATER);
    assert_eq!(ike(&pair.alice).len(), 1);
    assert_eq!(ike(&pair.alice), ike(&pair.bob));
}

/// RFC 9370 2.2.2: the keys change between IKE_SA_INIT and IKE_AUTH.
#[test]
fn the_keys_of_every_stage_are_told_and_the_last_ones_last() {
    let with = |who| {
        let mut config = config(who);
        config.ike_proposals = default_ike();
        config
    };
    let mut pair = Pair::configured(with(Who::Alice), with(Who::Bob));
    export(&mut pair);
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    let keys = ike(&pair.alice);
    let [before, after] = keys.as_slice() else {
        panic!("{} stages", keys.len())
    };
    assert_eq!((before.spi_i, before.spi_r), (after.spi_i, after.spi_r));
    assert_ne!(before.initiator, after.initiator);
    assert_eq!(keys, ike(&pair.bob));
    // What stands is what was told last.
    pair.alice.clear();
    pair.command(Who::Alice, Command::ExportKeys(true));
    assert_eq!(ike(&pair.alice).as_slice(), std::slice::from_ref(after));
}

#[test]
fn nothing_is_told_any_more_when_it_is_over() {
    let mut pair = settled();
    export(&mut pair);
    for who in [Who::Alice, Who::Bob] {
        pair.command(who, Command::ExportKeys(false));
    }
    pair.alice.clear();
    rekey(&mut pair, Who::Alice, Rekey::Child);
    pair.run_for(LATER);
    assert_eq!(told(&pair.alice), []);
}

#[test]
fn what_is_told_is_never_printed() {
    let mut pair = settled();
    export(&mut pair);
    for keys in told(&pair.alice) {
        let printed = format!("{:?}", Output::Keys(keys));
        assert!(
            printed.contains("SaKeys(..)") && !printed.contains("["),
            "{printed}"
        );
    }
}
