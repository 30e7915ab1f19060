//! Two endpoints become one connection, and the order of what they do for it.

use xvpn_ike::testing::{Faults, Pair, Who, config};

use super::{SOON, kinds};

#[test]
fn two_endpoints_agree_on_keys_and_selectors() {
    let mut pair = Pair::new(1, Faults::NONE);
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    assert_eq!(pair.alice.failures(), []);
    assert_eq!(pair.bob.failures(), []);
}

#[test]
fn the_responder_installs_inbound_answers_and_then_installs_outbound() {
    let mut pair = Pair::new(1, Faults::NONE);
    pair.up(Who::Alice);
    pair.run_for(SOON);
    assert_eq!(
        kinds(&pair.bob.outputs),
        [
            "transmit",
            "install inbound",
            "transmit",
            "install outbound",
            "ike established",
            "child established"
        ]
    );
}

#[test]
fn the_initiator_installs_inbound_before_outbound() {
    let mut pair = Pair::new(1, Faults::NONE);
    pair.up(Who::Alice);
    pair.run_for(SOON);
    assert_eq!(
        kinds(&pair.alice.outputs),
        [
            "transmit",
            "awaits the answer to IKE_SA_INIT",
            "transmit",
            "awaits the answer to IKE_AUTH",
            "install inbound",
            "install outbound",
            "ike established",
            "child established",
        ]
    );
}

#[test]
fn several_selectors_are_narrowed_to_what_both_sides_have() {
    let (mut alice, mut bob) = (config(Who::Alice), config(Who::Bob));
    alice.local_selectors = nets(&["10.1.0.0/16", "10.3.0.0/16", "2001:db8:1::/48"]);
    bob.remote_selectors = nets(&["10.1.2.0/24", "10.3.0.0/16", "10.4.0.0/16"]);
    let mut pair = Pair::configured(alice, bob);
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    let local = pair.alice.outbound.values().next().map(|sa| sa.local.clone());
    assert_eq!(local, Some(nets(&["10.1.2.0/24", "10.3.0.0/16"])));
}

#[test]
fn every_cipher_carries_a_handshake() {
    for (ike, esp) in [
        ("aes128gcm16-prfsha256-x25519", "aes128gcm16"),
        ("chacha20poly1305-prfsha512-x25519", "chacha20poly1305-esn"),
        ("aes256-sha256-x25519", "aes256-sha256"),
        ("aes128-sha512-prfsha384-ecp256", "aes128-sha384-esn"),
    ] {
        let with = |who| {
            let mut config = config(who);
            config.ike_proposals = vec![ike.parse().unwrap()];
            config.esp_proposals = vec![esp.parse().unwrap()];
            config
        };
        let mut pair = Pair::configured(with(Who::Alice), with(Who::Bob));
        pair.up(Who::Bob);
        assert!(pair.run_until(SOON, Pair::has_settled), "{ike} {esp}");
    }
}

fn nets(list: &[&str]) -> Vec<xvpn_ike::negotiate::selector::TrafficSelector> {
    list.iter()
        .map(|net| net.parse::<ipnet::IpNet>().unwrap().into())
        .collect()
}
