//! Agreeing on additional key exchanges (RFC 9370 2.2.1). Alice initiates, Bob responds.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

use xvpn_ike::api::Spi;
use xvpn_ike::negotiate::offer::{esp_answer, esp_offer, ike_answer, ike_offer};
use xvpn_ike::negotiate::proposal::{EspProposal, IkeProposal};
use xvpn_ike::negotiate::select::{ChildExchange, accept_esp, accept_ike, select_esp, select_ike};
use xvpn_ike::wire::payload::{Body, SecurityAssociation, Transform, TransformType};

fn ike(list: &[&str]) -> Vec<IkeProposal> {
    list.iter()
        .map(|text| format!("aes256gcm16-prfsha256-{text}").parse().unwrap())
        .collect()
}

fn esp(list: &[&str]) -> Vec<EspProposal> {
    list.iter()
        .map(|text| format!("aes256gcm16-{text}").parse().unwrap())
        .collect()
}

/// Over the wire.
fn sent(sa: &SecurityAssociation) -> SecurityAssociation {
    SecurityAssociation::parse(&sa.to_bytes()).unwrap()
}

/// What Bob chooses and Alice accepts, or why Bob does not.
fn between(alice: &[&str], bob: &[&str]) -> Result<String, String> {
    let (alice, bob) = (ike(alice), ike(bob));
    let chosen =
        select_ike(&bob, &sent(&ike_offer(&alice, None))).map_err(|mismatch| mismatch.to_string())?;
    let accepted = accept_ike(&alice, &sent(&ike_answer(&chosen, None))).unwrap();
    assert_eq!(accepted.suite, chosen.suite);
    let text = chosen.suite.to_string();
    Ok(text.strip_prefix("aes256gcm16-prfsha256-").unwrap().to_owned())
}

#[test]
fn takes_what_both_want() {
    let hybrid = ["x25519-ke1_mlkem768"];
    assert_eq!(between(&hybrid, &hybrid).unwrap(), "x25519-ke1_mlkem768");
    assert_eq!(
        between(
            &["x25519-ke1_mlkem768-ke1_mlkem1024"],
            &["x25519-ke1_mlkem1024-ke1_mlkem768"]
        )
        .unwrap(),
        "x25519-ke1_mlkem1024"
    );
    assert_eq!(
        between(
            &["x25519-ke1_mlkem768-ke2_ecp384-ke3_mlkem1024"],
            &["x25519-ke1_mlkem768-ke2_ecp384-ke3_mlkem1024"]
        )
        .unwrap(),
        "x25519-ke1_mlkem768-ke2_ecp384-ke3_mlkem1024"
    );
}

#[test]
fn what_may_be_left_out_is_left_out_and_answered_with_none() {
    let (optional, plain) = (["x25519-ke1_mlkem768-ke1_none"], ["x25519"]);
    assert_eq!(between(&optional, &plain).unwrap(), "x25519");
    assert_eq!(between(&plain, &optional).unwrap(), "x25519");
    assert_eq!(between(&optional, &optional).unwrap(), "x25519-ke1_mlkem768");

    let chosen = select_ike(&ike(&plain), &ike_offer(&ike(&optional), None)).unwrap();
    let answer = ike_answer(&chosen, None);
    let [proposal] = answer.proposals.as_slice() else {
        panic!()
    };
    assert!(proposal.transforms.contains(&Transform::new(TransformType(6), 0)));
}

#[test]
fn a_gap_in_what_was_chosen_is_no_gap_in_what_takes_place() {
    let alice = ["x25519-ke1_mlkem768-ke1_none-ke2_ecp384"];
    let bob = ["x25519-ke1_mlkem1024-ke1_none-ke2_ecp384"];
    assert_eq!(between(&alice, &bob).unwrap(), "x25519-ke2_ecp384");
}

#[test]
fn says_what_is_missing_on_which_side() {
    let error = between(&["x25519"], &["x25519-ke1_mlkem768"]).unwrap_err();
    assert!(
        error.contains("they offer ke1 none, we accept mlkem768"),
        "{error}"
    );
    let error = between(&["x25519-ke1_mlkem768"], &["x25519"]).unwrap_err();
    assert!(
        error.contains("they offer ke1 mlkem768, we accept none"),
        "{error}"
    );
    assert!(error.contains("x25519-ke1_mlkem768"), "{error}");
}

#[test]
fn falls_back_to_the_proposal_without() {
    let both = ["x25519-ke1_mlkem768", "x25519"];
    assert_eq!(between(&both, &["x25519"]).unwrap(), "x25519");
    assert_eq!(between(&["x25519"], &both).unwrap(), "x25519");
    assert_eq!(between(&both, &both).unwrap(), "x25519-ke1_mlkem768");
}

#[test]
fn no_method_is_chosen_twice_whatever_is_offered() {
    let bob = ike(&["x25519-ke1_mlkem768-ke1_none-ke2_mlkem1024-ke2_none"]);
    let mut offer = ike_offer(&bob, None);
    let [proposal] = offer.proposals.as_mut_slice() else {
        panic!()
    };
    // Eve offers ML-KEM-768 in the place of the second as well.
    proposal.transforms.retain(|t| !(6..=12).contains(&t.kind.0));
    proposal.transforms.push(Transform::new(TransformType(6), 36));
    proposal.transforms.push(Transform::new(TransformType(7), 36));
    assert!(select_ike(&bob, &offer).is_err());
}

#[test]
fn alice_refuses_answers_that_she_did_not_offer() {
    let alice = ike(&["x25519-ke1_mlkem768-ke1_none"]);
    let good = ike_answer(&select_ike(&alice, &ike_offer(&alice, None)).unwrap(), None);
    assert!(accept_ike(&alice, &good).is_ok());
    for (kind, id) in [(6, 37), (7, 36), (6, 0), (12, 0)] {
        let mut bad = good.clone();
        let [proposal] = bad.proposals.as_mut_slice() else {
            panic!()
        };
        proposal.transforms.push(Transform::new(TransformType(kind), id));
        assert_eq!(accept_ike(&alice, &bad).is_ok(), kind == 12, "{kind} {id}");
    }
}

#[test]
fn a_child_sa_has_them_with_pfs_only_and_never_in_ike_auth() {
    let hybrid = esp(&["x25519-ke1_mlkem768"]);
    let offer = sent(&esp_offer(&hybrid, Spi(0x1000)));
    let chosen = select_esp(&hybrid, &offer, ChildExchange::CreateChildSa).unwrap();
    assert_eq!(chosen.suite.to_string(), "aes256gcm16-x25519-ke1_mlkem768");
    let answer = sent(&esp_answer(&chosen, Spi(0x2000)));
    let accepted = accept_esp(&hybrid, &answer, ChildExchange::CreateChildSa).unwrap();
    assert_eq!(accepted.suite, chosen.suite);
    let first = select_esp(&hybrid, &offer, ChildExchange::IkeAuth).unwrap();
    assert_eq!(first.suite.to_string(), "aes256gcm16");
    assert_eq!(
        hybrid.first().unwrap().without_key_exchange().to_string(),
        "aes256gcm16"
    );
    // PFS is not wanted here, so nothing can be added to it.
    assert!(select_esp(&esp(&["noesn"]), &offer, ChildExchange::CreateChildSa).is_err());
}
