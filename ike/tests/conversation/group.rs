//! The initiator guesses the wrong key exchange group (RFC 7296 1.2, INVALID_KE_PAYLOAD).

use xvpn_ike::error::Cause;
use xvpn_ike::testing::{Pair, Who, config};

use super::{LATER, SOON};

#[test]
fn it_tries_again_with_the_group_that_the_responder_wants() {
    let mut alice = config(Who::Alice);
    alice.ike_proposals = vec!["aes256gcm16-prfsha256-x25519-ecp384".parse().unwrap()];
    let mut bob = config(Who::Bob);
    bob.ike_proposals = vec!["aes256gcm16-prfsha256-ecp384".parse().unwrap()];
    let mut pair = Pair::configured(alice, bob);
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    assert_eq!((pair.alice.failures(), pair.bob.failures()), (vec![], vec![]));
}

#[test]
fn a_group_that_is_not_ours_is_named_in_the_failure() {
    let mut pair = Pair::configured(config(Who::Alice), config(Who::Bob));
    let outputs = pair.command(Who::Alice, xvpn_ike::api::Command::Up(xvpn_ike::testing::LINK));
    pair.net.clear();
    pair.net.faults.loss = 100;
    let reply = super::unprotected::answer(&outputs, xvpn_ike::message::InitResponse::InvalidKe(14));
    pair.inject(Who::Alice, xvpn_ike::testing::path(Who::Alice, 500), &reply);
    pair.run_for(LATER);
    let first = pair.alice.failures().first().map(|failure| failure.cause.clone());
    assert_eq!(
        first,
        Some(Cause::InvalidKeyExchange {
            wanted: 14,
            ours: "aes256gcm16-prfsha256-x25519".into()
        })
    );
}
