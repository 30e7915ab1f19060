//! AGGFRAG payloads, wanted by both sides or by one (RFC 9347 5.1, 6.1.4).

use xvpn_ike::api::{Output, Rekey};
use xvpn_ike::config::{Aggfrag, ConnectionConfig, Lifetime};
use xvpn_ike::error::Cause;
use xvpn_ike::message::{AuthResponse, ChildAnswer};
use xvpn_ike::testing::{Host, Pair, Who, config};
use xvpn_ike::wire::ExchangeType;
use xvpn_ike::wire::payload::{Notify, NotifyType};

use super::by_hand::{ByHand, Responder};
use super::rekey_child::rekey;
use super::{LATER, SOON};

const WHOLE_OR_NOT: Aggfrag = Aggfrag { reassembles: true };
const WHOLE_ONLY: Aggfrag = Aggfrag { reassembles: false };

fn with(who: Who, aggfrag: Option<Aggfrag>) -> ConnectionConfig {
    ConnectionConfig {
        child_aggfrag: aggfrag,
        ..config(who)
    }
}

fn pair(alice: Option<Aggfrag>, bob: Option<Aggfrag>) -> Pair {
    let mut pair = Pair::configured(with(Who::Alice, alice), with(Who::Bob, bob));
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    pair
}

/// What each SA of a host is: inbound, outbound.
fn modes(host: &Host) -> (Vec<Option<Aggfrag>>, Vec<Option<Aggfrag>>) {
    let inbound = host.inbound.values().map(|sa| sa.aggfrag);
    let outbound = host.outbound.values().map(|sa| sa.aggfrag);
    (inbound.collect(), outbound.collect())
}

/// One SA each way, of this mode.
fn has(host: &Host, mode: Option<Aggfrag>) -> bool {
    modes(host) == (vec![mode], vec![mode])
}

#[test]
fn both_sides_agree_and_a_new_sa_is_like_the_old_one_whoever_asks() {
    let mut pair = pair(Some(WHOLE_OR_NOT), Some(WHOLE_OR_NOT));
    assert!(has(&pair.alice, Some(WHOLE_OR_NOT)) && has(&pair.bob, Some(WHOLE_OR_NOT)));
    for who in [Who::Alice, Who::Bob] {
        let old = pair.alice.sending();
        rekey(&mut pair, who, Rekey::Child);
        pair.run_for(LATER);
        assert_ne!(pair.alice.sending(), old);
        assert!(has(&pair.alice, Some(WHOLE_OR_NOT)) && has(&pair.bob, Some(WHOLE_OR_NOT)));
    }
}

#[test]
fn each_side_hears_whether_the_other_puts_packets_together() {
    let pair = pair(Some(WHOLE_ONLY), Some(WHOLE_OR_NOT));
    assert!(has(&pair.alice, Some(WHOLE_OR_NOT)));
    assert!(has(&pair.bob, Some(WHOLE_ONLY)));
}

#[test]
fn a_side_that_does_not_want_them_is_not_made_to() {
    for (alice, bob) in [(Some(WHOLE_OR_NOT), None), (None, Some(WHOLE_OR_NOT))] {
        let mut pair = pair(alice, bob);
        assert!(has(&pair.alice, None) && has(&pair.bob, None));
        for who in [Who::Alice, Who::Bob] {
            rekey(&mut pair, who, Rekey::Child);
            pair.run_for(LATER);
            assert!(has(&pair.alice, None) && has(&pair.bob, None));
        }
        assert_eq!(pair.alice.failures(), []);
    }
}

#[test]
fn further_child_sas_are_asked_about_each_for_itself() {
    let further = |who: Who, aggfrag| {
        let mut config = with(who, None);
        config.more_children = vec![xvpn_ike::config::ChildConfig {
            name: "voice".into(),
            esp_proposals: config.esp_proposals.clone(),
            local_selectors: vec![config.local_selectors[0]],
            remote_selectors: vec![config.remote_selectors[0]],
            lifetime: Lifetime::default(),
            resources: 0,
            aggfrag,
        }];
        let net = |text: &str| vec![text.parse::<ipnet::IpNet>().unwrap().into()];
        let (local, remote) = match who {
            Who::Alice => ("10.100.0.0/16", "10.101.0.0/16"),
            Who::Bob => ("10.101.0.0/16", "10.100.0.0/16"),
        };
        config.more_children[0].local_selectors = net(local);
        config.more_children[0].remote_selectors = net(remote);
        config
    };
    let alice = further(Who::Alice, Some(WHOLE_OR_NOT));
    let mut pair = Pair::configured(alice, further(Who::Bob, Some(WHOLE_OR_NOT)));
    pair.up(Who::Alice);
    pair.run_for(LATER);
    for host in [&pair.alice, &pair.bob] {
        let mut modes: Vec<_> = host.outbound.values().map(|sa| sa.aggfrag.is_some()).collect();
        modes.sort_unstable();
        assert_eq!(modes, [false, true]);
    }
}

/// What Bob, who wants AGGFRAG payloads, makes of the flags in a request.
fn answered(flags: &[u8], transport_mode: bool) -> Option<Notify> {
    let bob = with(Who::Bob, Some(WHOLE_OR_NOT));
    let mut mallory = ByHand::init_with(Pair::configured(config(Who::Alice), bob), 0);
    let mut request = mallory.auth_request();
    let offer = request.child.as_mut().unwrap();
    offer.aggfrag = Some(Notify::with_data(NotifyType::USE_AGGFRAG, flags.to_vec()));
    offer.transport_mode = transport_mode;
    let answer = mallory.ask(ExchangeType::IKE_AUTH, &request.emit());
    match AuthResponse::parse(&answer.chain().unwrap()).unwrap() {
        AuthResponse::Accepted(accepted) => match accepted.child {
            ChildAnswer::Accepted(offer) => offer.aggfrag,
            other => panic!("{other:?}"),
        },
        AuthResponse::Refused(notify) => panic!("{notify:?}"),
    }
}

/// "If any requirement flags are not understood or cannot be supported": it goes without.
#[test]
fn declines_congestion_control_and_unknown_flags_and_transport_mode() {
    assert_eq!(answered(&[0], false), Some(WHOLE_OR_NOT.notify()));
    assert_eq!(answered(&[1], false), Some(WHOLE_OR_NOT.notify()));
    for flags in [&[2_u8][..], &[3], &[0x40], &[], &[0, 0]] {
        assert_eq!(answered(flags, false), None, "{flags:?}");
    }
    assert_eq!(answered(&[0], true), None);
}

/// An answer without flags, or to what was not asked, is none that an SA can be made from.
#[test]
fn refuses_an_answer_without_flags_and_one_that_was_not_asked_for() {
    for (ours, flags) in [(Some(WHOLE_OR_NOT), vec![]), (None, vec![0])] {
        let mut responder = Responder::init_of(with(Who::Alice, ours));
        let mut accepted = responder.accepted("bob.example");
        if let ChildAnswer::Accepted(offer) = &mut accepted.child {
            offer.aggfrag = Some(Notify::with_data(NotifyType::USE_AGGFRAG, flags));
        }
        responder.answer(accepted);
        let alice = &responder.pair.alice;
        assert!(alice.outbound.is_empty() && alice.inbound.is_empty());
        let causes: Vec<_> = alice
            .failures()
            .iter()
            .map(|failure| failure.cause.clone())
            .collect();
        assert!(
            matches!(causes.as_slice(), [Cause::InvalidSyntax { detail, .. }, ..] if detail.contains("AGGFRAG")),
            "{causes:?}"
        );
    }
}

#[test]
fn the_operator_is_told() {
    let pair = pair(Some(WHOLE_OR_NOT), Some(WHOLE_ONLY));
    let told = pair.alice.outputs.iter().find_map(|output| match output {
        Output::Event(xvpn_ike::api::Event::ChildEstablished { child, .. }) => child.aggfrag,
        _ => None,
    });
    assert_eq!(told, Some(WHOLE_ONLY));
}
