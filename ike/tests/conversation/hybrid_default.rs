//! What is offered unless told otherwise: a post-quantum key exchange, in a first message that fits any path.

use xvpn_ike::config::ConnectionConfig;
use xvpn_ike::negotiate::proposal::{IkeProposal, classical_ike, default_ike, legacy_ike, post_quantum_ike};
use xvpn_ike::testing::{Pair, Who, config};

use super::SOON;
use super::intermediate::{agreed, headers};

fn with(who: Who, ike_proposals: Vec<IkeProposal>) -> ConnectionConfig {
    ConnectionConfig {
        ike_proposals,
        ..config(who)
    }
}

fn connected(alice: Vec<IkeProposal>, bob: Vec<IkeProposal>) -> Pair {
    let mut pair = Pair::configured(with(Who::Alice, alice), with(Who::Bob, bob));
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    assert_eq!((pair.alice.failures(), pair.bob.failures()), (vec![], vec![]));
    pair
}

#[test]
fn two_of_us_agree_on_x25519_and_ml_kem_768() {
    let pair = connected(default_ike(), default_ike());
    assert_eq!(agreed(&pair.alice), "x25519-ke1_mlkem768");
    assert_eq!(agreed(&pair.bob), "x25519-ke1_mlkem768");
}

#[test]
fn any_other_peer_connects_without_and_in_no_more_messages() {
    for (alice, bob) in [(default_ike(), classical_ike()), (classical_ike(), default_ike())] {
        let pair = connected(alice, bob);
        assert_eq!(agreed(&pair.alice), "x25519");
        assert_eq!(headers(&pair).len(), 4);
    }
}

#[test]
fn who_demands_it_gets_it_or_nothing() {
    let pair = connected(post_quantum_ike(), default_ike());
    assert_eq!(agreed(&pair.bob), "x25519-ke1_mlkem768");
    assert!(
        post_quantum_ike()
            .iter()
            .all(|p| p.additional.requires_post_quantum())
    );
    assert!(
        !classical_ike()
            .iter()
            .any(|p| p.additional.requires_post_quantum())
    );
    let mut pair = Pair::configured(
        with(Who::Alice, post_quantum_ike()),
        with(Who::Bob, classical_ike()),
    );
    pair.up(Who::Alice);
    assert!(!pair.run_until(SOON, Pair::has_settled));
}

/// IKE_SA_INIT cannot be fragmented (RFC 7383 2.1): IPv6's least MTU, its header, UDP's, the non-ESP marker.
#[test]
fn ike_sa_init_fits_into_the_smallest_path() {
    const ROOM: usize = 1280 - 40 - 8 - 4;
    let mut most = default_ike();
    most.extend(legacy_ike());
    for proposals in [default_ike(), most] {
        let pair = connected(proposals.clone(), proposals);
        for sent in pair.net.tape.iter().take(2) {
            assert!(sent.bytes.len() <= ROOM, "{} octets", sent.bytes.len());
            // And there is room for a cookie, and for the largest of our groups but one.
            assert!(sent.bytes.len() + 64 + 384 <= ROOM, "{} octets", sent.bytes.len());
        }
    }
}
