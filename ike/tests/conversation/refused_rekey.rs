//! A peer that does not let SAs be replaced: the operator hears of it at once, the old one goes on, and nobody is told
//! every minute (RFC 7296 1.3.3, 2.25).

use std::time::Duration;

use xvpn_ike::api::{Event, Rekey};
use xvpn_ike::config::ConnectionConfig;
use xvpn_ike::error::{Blame, Cause, Exchange, Failure, Negotiated, Side};
use xvpn_ike::testing::{Host, Pair, Who, config};
use xvpn_ike::wire::payload::NotifyType;

use super::rekey_child::rekey;
use super::{SOON, count};

const MINUTE: Duration = Duration::from_secs(60);

/// Alice probes; the two have these for CHILD SAs.
pub(super) fn with(alice: &str, bob: &str) -> Pair {
    let with = |who, esp: &str, rekey_probe| ConnectionConfig {
        esp_proposals: vec![esp.parse().unwrap()],
        rekey_probe,
        ..config(who)
    };
    let mut pair = Pair::configured(with(Who::Alice, alice, true), with(Who::Bob, bob, false));
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    pair
}

fn told(host: &Host) -> Vec<(Failure, Option<Duration>)> {
    host.events()
        .filter_map(|event| match event {
            Event::Failed {
                failure, retry_in, ..
            } => Some((failure.clone(), *retry_in)),
            _ => None,
        })
        .collect()
}

/// What was told, once.
fn only(host: &Host) -> (Failure, Option<Duration>) {
    let mut told = told(host);
    assert_eq!(told.len(), 1, "{told:?}");
    told.remove(0)
}

#[test]
fn a_probe_replaces_the_first_child_sa_within_fifteen_seconds_and_no_other() {
    let mut pair = with("aes256gcm16-x25519-esn", "aes256gcm16-x25519-esn");
    let first = pair.alice.sending();
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.alice.sending(), first);
    pair.run_for(Duration::from_secs(10));
    assert_ne!(pair.alice.sending(), first);
    pair.run_for(Duration::from_secs(10));
    let second = pair.alice.sending();
    assert!(pair.has_settled());
    pair.run_for(Duration::from_secs(2000));
    assert_eq!(pair.alice.sending(), second);
    assert_eq!((pair.alice.failures(), pair.bob.failures()), (vec![], vec![]));
}

#[test]
fn without_a_probe_nothing_is_replaced_early() {
    let mut pair = super::settled();
    let first = pair.alice.sending();
    pair.run_for(Duration::from_secs(2000));
    assert_eq!(pair.alice.sending(), first);
}

#[test]
fn both_sides_hear_in_the_first_minute_that_perfect_forward_secrecy_differs() {
    for (ours, theirs) in [
        ("aes256gcm16-esn", "aes256gcm16-x25519-esn"),
        ("aes256gcm16-x25519-esn", "aes256gcm16-esn"),
    ] {
        let mut pair = with(ours, theirs);
        let old = pair.alice.sending();
        pair.run_for(MINUTE);
        assert!(
            pair.has_settled() && pair.alice.sending() == old,
            "the old one goes on"
        );

        let (failure, retry_in) = only(&pair.alice);
        let retry_in = retry_in.unwrap();
        assert!(retry_in >= Duration::from_secs(45) && retry_in <= Duration::from_secs(75));
        assert_eq!(
            (failure.exchange, failure.blame),
            (Exchange::CreateChildSa, Blame::Operator)
        );
        assert_eq!(
            failure.cause,
            Cause::RekeyRefused {
                of: Negotiated::Child,
                refused_by: Side::Peer,
                notify: NotifyType::NO_PROPOSAL_CHOSEN,
                ours: ours.into(),
                theirs: None,
                difference: None,
                group: ours.contains("x25519"),
            }
        );
        let remedy = failure.remedy();
        assert!(remedy.contains("probably a PFS mismatch") && remedy.contains("`esp_proposals` here"));

        let (failure, retry_in) = only(&pair.bob);
        assert_eq!(retry_in, None);
        let said = failure.to_string();
        assert!(
            said.contains("we refuse to let the peer replace the CHILD SA"),
            "{said}"
        );
        assert!(
            said.contains(&format!("we accept {theirs}, the peer offers {ours}")),
            "{said}"
        );
    }
}

#[test]
fn a_refusal_every_minute_is_reported_once_an_hour() {
    let mut pair = with("aes256gcm16-esn", "aes256gcm16-x25519-esn");
    pair.run_for(MINUTE * 45);
    assert_eq!((told(&pair.alice).len(), told(&pair.bob).len()), (1, 1));
    assert_eq!(count(&pair.alice, "ike closed"), 0);
}

#[test]
fn the_group_that_the_peer_insists_on_is_named() {
    let mut pair = with("aes256gcm16-x25519-esn", "aes256gcm16-ecp384-esn");
    pair.run_for(MINUTE);
    let (failure, _) = only(&pair.bob);
    assert!(failure.to_string().contains("ecp384"), "{failure}");
}

#[test]
fn what_was_refused_before_the_ike_sa_was_replaced_is_no_news_behind_it() {
    let mut pair = with("aes256gcm16-esn", "aes256gcm16-x25519-esn");
    pair.run_for(MINUTE);
    rekey(&mut pair, Who::Alice, Rekey::Ike);
    pair.run_for(MINUTE * 3);
    assert_eq!(count(&pair.alice, "ike established"), 2);
    assert_eq!(told(&pair.alice).len(), 1);
}
