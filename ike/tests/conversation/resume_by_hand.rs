//! IKE_SESSION_RESUME and the IKE_AUTH behind it, key by key, with an initiator by hand (RFC 5723 4.3, 5.1).

use xvpn_ike::message::AuthResponse;
use xvpn_ike::testing::{Faults, Pair, Who, config};
use xvpn_ike::wire::payload::NotifyType;

use super::by_hand::ByHand;
use super::by_hand::resumption::Resumed;
use super::resume::{lasting, resuming};

fn with_ticket() -> (ByHand, Vec<u8>) {
    let (alice, bob) = (config(Who::Alice), resuming(Who::Bob));
    ByHand::with_ticket(Pair::with(11, Faults::NONE, lasting(1), alice, bob))
}

fn shown(by_hand: ByHand, ticket: &[u8], round: u64) -> Resumed {
    by_hand
        .resume(ticket, round)
        .unwrap_or_else(|_| panic!("the ticket is not taken"))
}

/// Whether Bob refuses the IKE SA, in one word.
fn is_refused(answer: &AuthResponse) -> bool {
    matches!(answer, AuthResponse::Refused(notify) if notify.kind == NotifyType::AUTHENTICATION_FAILED)
}

#[test]
fn keys_and_proofs_are_what_the_rfc_makes_of_the_old_sk_d() {
    let (by_hand, ticket) = with_ticket();
    let mut resumed = shown(by_hand, &ticket, 1);
    let request = resumed.auth_request("alice.example");
    let AuthResponse::Accepted(accepted) = resumed.ask(&request) else {
        panic!("refused");
    };
    assert_eq!(accepted.auth.data, resumed.auth_of_bob());
    assert!(accepted.certificates.is_empty());
    // The session before went without a word, and with it its CHILD SA.
    let pair = &resumed.by_hand.pair;
    assert_eq!(pair.bob.endpoint.spis_in_use(), (1, 1));
    assert_eq!((pair.bob.inbound.len(), pair.bob.outbound.len()), (1, 1));
}

#[test]
fn a_wrong_proof_is_refused_and_leaves_the_ticket_and_the_session_as_they_are() {
    let (by_hand, ticket) = with_ticket();
    let mut resumed = shown(by_hand, &ticket, 1);
    let mut request = resumed.auth_request("alice.example");
    request.auth.data[0] ^= 1;
    assert!(is_refused(&resumed.ask(&request)));
    // Bob goes on with the session that stands.
    assert_eq!(resumed.by_hand.pair.bob.inbound.len(), 1);
    // The keys of the first session are gone here, so that the same ticket can only be shown, not used.
    assert!(resumed.by_hand.resume(&ticket, 2).is_ok());
}

#[test]
fn the_proof_of_the_responder_is_none_for_the_initiator() {
    let (by_hand, ticket) = with_ticket();
    let mut resumed = shown(by_hand, &ticket, 1);
    let mut request = resumed.auth_request("alice.example");
    request.auth.data = resumed.auth_of_bob();
    assert!(is_refused(&resumed.ask(&request)));
}

#[test]
fn the_pre_shared_key_is_no_proof_for_who_shows_a_ticket() {
    let (by_hand, ticket) = with_ticket();
    let mut resumed = shown(by_hand, &ticket, 1);
    let request = resumed.by_hand.auth_request();
    assert!(is_refused(&resumed.ask(&request)));
}

#[test]
fn another_name_than_that_of_the_ticket_is_refused() {
    // It matches the configured name, which knows no upper and lower case, and is another all the same.
    for name in ["Alice.example", "carol.example"] {
        let (by_hand, ticket) = with_ticket();
        let mut resumed = shown(by_hand, &ticket, 1);
        let request = resumed.auth_request(name);
        assert!(is_refused(&resumed.ask(&request)), "{name}");
    }
}

#[test]
fn a_ticket_that_was_used_is_refused() {
    let (by_hand, ticket) = with_ticket();
    let mut resumed = shown(by_hand, &ticket, 1);
    let request = resumed.auth_request("alice.example");
    assert!(matches!(resumed.ask(&request), AuthResponse::Accepted(_)));
    let Err(Some(answer)) = resumed.by_hand.resume(&ticket, 2) else {
        panic!("taken twice");
    };
    assert_eq!(answer[34..36], 16412u16.to_be_bytes());
}
