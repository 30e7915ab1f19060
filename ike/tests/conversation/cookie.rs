//! Under load the responder keeps nothing for who does not return its cookie (RFC 7296 2.6).

use xvpn_ike::config::EndpointConfig;
use xvpn_ike::testing::{Faults, Pair, Who, config};

use super::{SOON, kinds};

fn wary() -> EndpointConfig {
    EndpointConfig {
        cookie_threshold: 0,
        ..EndpointConfig::default()
    }
}

#[test]
fn the_initiator_returns_the_cookie_and_connects() {
    let mut pair = Pair::with(3, Faults::NONE, wary(), config(Who::Alice), config(Who::Bob));
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    // The cookie, the IKE_SA_INIT response, then IKE_AUTH.
    assert_eq!(
        kinds(&pair.bob.outputs)[..4],
        ["transmit", "transmit", "install inbound", "transmit"]
    );
}

#[test]
fn a_cookie_and_another_group_together_do_not_stop_it() {
    let mut alice = config(Who::Alice);
    alice.ike_proposals = vec!["aes256gcm16-prfsha256-x25519-ecp256".parse().unwrap()];
    let mut bob = config(Who::Bob);
    bob.ike_proposals = vec!["aes256gcm16-prfsha256-ecp256".parse().unwrap()];
    let mut pair = Pair::with(3, Faults::NONE, wary(), alice, bob);
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
}

#[test]
fn who_does_not_return_it_costs_nothing() {
    let mut pair = Pair::with(3, Faults::NONE, wary(), config(Who::Alice), config(Who::Bob));
    pair.up(Who::Alice);
    pair.run_until(SOON, |pair| !pair.bob.outputs.is_empty());
    assert_eq!(
        pair.bob.endpoint.poll_timeout(),
        None,
        "no half-open SA waits to expire"
    );
}

#[test]
fn a_full_house_is_silent() {
    let full = EndpointConfig {
        max_half_open: 0,
        ..EndpointConfig::default()
    };
    let mut pair = Pair::with(3, Faults::NONE, full, config(Who::Alice), config(Who::Bob));
    pair.up(Who::Alice);
    pair.run_for(SOON);
    assert_eq!(
        pair.bob.outputs.len(),
        pair.bob.ignored(xvpn_ike::error::Ignore::HalfOpenFull)
    );
}
