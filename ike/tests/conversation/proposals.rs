//! No algorithm in common: for the IKE SA, and for the CHILD SA.

use std::time::Duration;

use xvpn_ike::error::{Cause, Exchange, Negotiated, Side};
use xvpn_ike::testing::{Pair, Who, config};

use super::{LATER, SOON, count};

#[test]
fn without_a_common_ike_proposal_both_sides_say_so() {
    let mut bob = config(Who::Bob);
    bob.ike_proposals = vec!["aes256-sha256-ecp256".parse().unwrap()];
    let mut pair = Pair::configured(config(Who::Alice), bob);
    pair.up(Who::Alice);
    pair.run_for(SOON);
    let seen = pair.bob.failures();
    assert!(matches!(
        &seen[..],
        [failure] if failure.exchange == Exchange::IkeSaInit && matches!(
            &failure.cause,
            Cause::NoProposal { of: Negotiated::Ike, refused_by: Side::Us, theirs: Some(_), .. }
        )
    ));
    assert_eq!(
        pair.alice.failures(),
        [],
        "an unprotected refusal is only a suspicion at first"
    );
    pair.run_for(Duration::from_millis(200));
    let failures = pair.alice.failures();
    let Some(Cause::NoProposal {
        of, refused_by, ours, ..
    }) = failures.first().map(|f| &f.cause)
    else {
        panic!("{failures:?}");
    };
    assert_eq!((*of, *refused_by), (Negotiated::Ike, Side::Peer));
    assert_eq!(ours, "aes256gcm16-prfsha256-x25519");
    assert!(failures[0].remedy().contains("`ike_proposals`"));
}

#[test]
fn without_a_common_esp_proposal_both_sides_say_so_and_nothing_is_left() {
    let mut bob = config(Who::Bob);
    bob.esp_proposals = vec!["aes256-sha256".parse().unwrap()];
    let mut pair = Pair::configured(config(Who::Alice), bob);
    pair.up(Who::Alice);
    pair.run_for(SOON);
    let cause = |host: &xvpn_ike::testing::Host| host.failures().first().map(|f| f.cause.clone());
    assert!(matches!(
        cause(&pair.alice),
        Some(Cause::NoProposal {
            of: Negotiated::Child,
            refused_by: Side::Peer,
            ..
        })
    ));
    assert!(matches!(
        cause(&pair.bob),
        Some(Cause::NoProposal {
            of: Negotiated::Child,
            refused_by: Side::Us,
            theirs: Some(_),
            ..
        })
    ));
    pair.down(Who::Alice);
    pair.run_for(LATER);
    assert!(pair.alice.is_bare() && pair.bob.is_bare());
    assert_eq!(count(&pair.bob, "ike established"), 0);
    assert_eq!(
        pair.bob.endpoint.poll_timeout(),
        None,
        "nothing is waited for any more"
    );
}
