//! Ciphers for old peers: AES-CCM, and ICVs of 8 and 12 octets (RFC 4309, RFC 4106, RFC 5282).

use xvpn_ike::api::Rekey;
use xvpn_ike::config::ConnectionConfig;
use xvpn_ike::error::Cause;
use xvpn_ike::negotiate::proposal::{
    EspProposal, IkeProposal, default_esp, default_ike, legacy_esp, legacy_ike,
};
use xvpn_ike::negotiate::transform::{AesKey, Encryption};
use xvpn_ike::testing::{Pair, Who, config};

use super::rekey_child::rekey;
use super::{LATER, SOON, count};

fn legacy() -> impl Iterator<Item = Encryption> {
    Encryption::ALL.into_iter().filter(|e| e.is_legacy())
}

/// With the cipher for both SAs; one with an implicit IV for ESP alone (RFC 8750 7).
fn naming(who: Who, encryption: Encryption) -> ConnectionConfig {
    let mut config = config(who);
    let for_ike = if encryption.has_implicit_iv() {
        Encryption::AesCcm8(AesKey::Bits128)
    } else {
        encryption
    };
    config.ike_proposals = vec![format!("{for_ike}-prfsha256-x25519").parse().unwrap()];
    config.esp_proposals = vec![format!("{encryption}-esn").parse().unwrap()];
    config
}

#[test]
fn two_that_name_a_legacy_cipher_agree_on_it_and_replace_their_keys() {
    for encryption in legacy() {
        let mut pair = Pair::configured(naming(Who::Alice, encryption), naming(Who::Bob, encryption));
        pair.up(Who::Alice);
        assert!(pair.run_until(SOON, Pair::has_settled), "{encryption}");
        for what in [Rekey::Child, Rekey::Ike] {
            rekey(&mut pair, Who::Bob, what);
            pair.run_for(LATER);
            assert!(pair.has_settled() && pair.agree(), "{encryption} {what:?}");
        }
        let sa = pair.alice.outbound.values().next().unwrap();
        assert_eq!(sa.suite.encryption, encryption);
        // RFC 4309 7.1, RFC 4106 8.1: the key and the salt.
        assert_eq!(sa.keys.encryption.len(), encryption.key_len());
        assert!(sa.keys.integrity.is_empty());
        assert!(pair.alice.failures().is_empty() && pair.bob.failures().is_empty());
    }
}

#[test]
fn nobody_gets_a_legacy_cipher_who_does_not_name_it() {
    for encryption in legacy() {
        let mut bob = config(Who::Bob);
        // All that there is without a name, what is for SHA-1 peers included.
        bob.ike_proposals = default_ike().into_iter().chain(legacy_ike()).collect();
        bob.esp_proposals = default_esp().into_iter().chain(legacy_esp()).collect();
        let mut pair = Pair::configured(naming(Who::Alice, encryption), bob);
        pair.up(Who::Alice);
        pair.run_for(LATER);
        assert_eq!(count(&pair.bob, "child established"), 0, "{encryption}");
        let refused = pair.bob.failures();
        let Some(Cause::NoProposal { theirs, .. }) = refused.first().map(|failure| &failure.cause) else {
            panic!("{encryption}: {refused:?}");
        };
        let said = theirs.clone().unwrap_or_default();
        assert!(
            said.contains("ccm") || said.contains(encryption.name()),
            "named to the operator: {said}"
        );
    }
}

#[test]
fn one_that_names_both_gets_the_better_one_of_a_peer_that_has_it() {
    let mut alice = config(Who::Alice);
    alice.ike_proposals = vec!["aes128ccm8-aes256gcm16-prfsha256-x25519".parse().unwrap()];
    alice.esp_proposals = vec!["aes128gcm8-aes256gcm16-esn-noesn".parse().unwrap()];
    let mut pair = Pair::configured(alice, config(Who::Bob));
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    let sa = pair.alice.outbound.values().next().unwrap();
    assert_eq!(sa.suite.encryption, Encryption::AesGcm16_256);
}

#[test]
fn none_of_the_built_in_lists_has_one() {
    let ciphers = |proposals: Vec<IkeProposal>| proposals.into_iter().flat_map(|p| p.encryption);
    let for_ike: Vec<_> = ciphers(default_ike()).chain(ciphers(legacy_ike())).collect();
    let ciphers = |proposals: Vec<EspProposal>| proposals.into_iter().flat_map(|p| p.encryption);
    let for_esp: Vec<_> = ciphers(default_esp()).chain(ciphers(legacy_esp())).collect();
    assert!(!for_ike.iter().chain(&for_esp).any(|e| e.is_legacy()));
}
