//! Key derivation and AUTH.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

mod vectors;

use vectors::{hex, keymat};
use xvpn_ike::auth::psk;
use xvpn_ike::auth::signed::SignedOctets;
use xvpn_ike::config::Secret;
use xvpn_ike::negotiate::proposal::{EspSuite, IkeSuite};
use xvpn_ike::negotiate::transform::{AdditionalMethods, Encryption, Integrity, KeyExchangeMethod, Prf};
use xvpn_ike::sa::int_auth::IntAuth;
use xvpn_ike::sa::keymat::{ChildKeys, IkeKeys, Seeds, SharedSecrets};
use zeroize::Zeroizing;

const CBC: IkeSuite = IkeSuite {
    encryption: Encryption::AesCbc256,
    integrity: Some(Integrity::HmacSha2_256_128),
    prf: Prf::HmacSha2_256,
    key_exchange: KeyExchangeMethod::Curve25519,
    additional: AdditionalMethods::NONE,
};
const GCM: IkeSuite = IkeSuite {
    encryption: Encryption::AesGcm16_256,
    integrity: None,
    prf: Prf::HmacSha2_384,
    key_exchange: KeyExchangeMethod::Curve25519,
    additional: AdditionalMethods::NONE,
};
fn secrets() -> SharedSecrets {
    SharedSecrets::only(Zeroizing::new(SHARED.to_vec()))
}

const SHARED: [u8; 32] = [0x11; 32];
const NONCES: ([u8; 32], [u8; 32]) = ([0x22; 32], [0x33; 32]);
const SEEDS: Seeds<'static> = Seeds {
    nonce_i: &NONCES.0,
    nonce_r: &NONCES.1,
    spi_i: 0x0102_0304_0506_0708,
    spi_r: 0x1112_1314_1516_1718,
};

fn all(keys: &IkeKeys) -> Vec<Vec<u8>> {
    let keys = [
        &keys.sk_d,
        &keys.sk_ai,
        &keys.sk_ar,
        &keys.sk_ei,
        &keys.sk_er,
        &keys.sk_pi,
        &keys.sk_pr,
    ];
    keys.iter().map(|key| key.to_vec()).collect()
}

#[test]
fn ike_keys_agree_with_an_independent_computation() {
    assert_eq!(
        all(&IkeKeys::derive(&CBC, &SHARED, SEEDS).unwrap()),
        keymat::AES256_SHA256.map(hex)
    );
    assert_eq!(
        all(&IkeKeys::derive(&GCM, &SHARED, SEEDS).unwrap()),
        keymat::AES256GCM_SHA384.map(hex)
    );
}

#[test]
fn a_rekeyed_ike_sa_takes_its_seed_from_the_old_prf_and_its_keys_from_the_new_one() {
    let old = IkeKeys::derive(&CBC, &SHARED, SEEDS).unwrap();
    let new = IkeKeys::rekey(CBC.prf, &old.sk_d, &GCM, &secrets(), SEEDS).unwrap();
    assert_eq!(all(&new), keymat::REKEYED.map(hex));
}

#[test]
fn child_keys_come_initiator_first_and_encryption_before_integrity() {
    let sk_d = hex(keymat::AES256_SHA256[0]);
    let suite = EspSuite {
        encryption: Encryption::AesCbc128,
        integrity: Some(Integrity::HmacSha1_96),
        esn: false,
        key_exchange: None,
        additional: AdditionalMethods::NONE,
    };
    let nonces = (&NONCES.0[..], &NONCES.1[..]);
    let keys = ChildKeys::derive(CBC.prf, &sk_d, &suite, &SharedSecrets::none(), nonces).unwrap();
    let (i, r) = (&keys.initiator, &keys.responder);
    let keys = [&i.encryption, &i.integrity, &r.encryption, &r.integrity].map(|key| key.to_vec());
    assert_eq!(keys, keymat::CHILD.map(hex));
}

#[test]
fn child_keys_with_pfs_put_the_new_secret_before_the_nonces() {
    let sk_d = hex(keymat::AES256_SHA256[0]);
    let suite = EspSuite {
        encryption: Encryption::AesGcm16_256,
        integrity: None,
        esn: true,
        key_exchange: Some(KeyExchangeMethod::Curve25519),
        additional: AdditionalMethods::NONE,
    };
    let nonces = (&NONCES.0[..], &NONCES.1[..]);
    let keys = ChildKeys::derive(CBC.prf, &sk_d, &suite, &secrets(), nonces).unwrap();
    assert_eq!(
        [
            keys.initiator.encryption.to_vec(),
            keys.responder.encryption.to_vec()
        ],
        keymat::CHILD_PFS.map(hex)
    );
    assert!(keys.initiator.integrity.is_empty() && keys.responder.integrity.is_empty());
}

#[test]
fn the_ciphers_of_an_ike_sa_fit_its_keys() {
    for suite in [CBC, GCM] {
        assert!(
            IkeKeys::derive(&suite, &SHARED, SEEDS)
                .unwrap()
                .ciphers(&suite)
                .is_ok()
        );
    }
}

#[test]
fn auth_agrees_with_an_independent_computation() {
    let keys = IkeKeys::derive(&CBC, &SHARED, SEEDS).unwrap();
    let signed = SignedOctets {
        message: b"IKE_SA_INIT",
        nonce: &NONCES.1,
        sk_p: &keys.sk_pi,
        rest_of_id: b"\x02\0\0\0gw.example.org",
        int_auth: &[],
    };
    let data = psk::authentication_data(CBC.prf, &Secret::new(b"secret".to_vec()), signed);
    assert_eq!(data.to_vec(), hex(keymat::AUTH));
}

#[test]
fn shows_no_keys_when_printed() {
    let keys = IkeKeys::derive(&CBC, &SHARED, SEEDS).unwrap();
    assert_eq!(format!("{keys:?}"), "IkeKeys(..)");
}

/// RFC 9370 2.2.2, written out once more with nothing but the PRF.
#[test]
fn an_additional_key_exchange_replaces_all_keys_of_an_ike_sa() {
    let first = IkeKeys::derive(&CBC, &SHARED, SEEDS).unwrap();
    let second = first.update(&CBC, &[0x77; 32], SEEDS).unwrap();
    let seed = CBC.prf.compute(&first.sk_d, &[&[0x77; 32], &NONCES.0, &NONCES.1]);
    let (spi_i, spi_r) = (SEEDS.spi_i.to_be_bytes(), SEEDS.spi_r.to_be_bytes());
    let parts: [&[u8]; 4] = [&NONCES.0, &NONCES.1, &spi_i, &spi_r];
    let keymat = CBC.prf.plus(&seed, &parts, 32 * 7).unwrap();
    let keys = [
        &second.sk_d,
        &second.sk_ai,
        &second.sk_ar,
        &second.sk_ei,
        &second.sk_er,
        &second.sk_pi,
        &second.sk_pr,
    ];
    for (key, expected) in keys.into_iter().zip(keymat.chunks(32)) {
        assert_eq!(key.as_slice(), expected);
    }
}

/// RFC 9370 2.2.4: SK(0) before the nonces, SK(1) to SK(n) behind.
#[test]
fn the_secrets_of_followup_exchanges_stand_behind_the_nonces() {
    let mut secrets = secrets();
    secrets.additional.push(Zeroizing::new(vec![0x88; 32]));
    secrets.additional.push(Zeroizing::new(vec![0x99; 48]));
    let sk_d = [0x44; 32];
    let suite = "aes256gcm16-x25519"
        .parse::<xvpn_ike::negotiate::proposal::EspProposal>()
        .unwrap();
    let suite = EspSuite {
        encryption: *suite.encryption.first().unwrap(),
        integrity: None,
        esn: false,
        key_exchange: Some(KeyExchangeMethod::Curve25519),
        additional: AdditionalMethods::NONE,
    };
    let nonces = (NONCES.0.as_slice(), NONCES.1.as_slice());
    let keys = ChildKeys::derive(CBC.prf, &sk_d, &suite, &secrets, nonces).unwrap();
    let seed: [&[u8]; 5] = [&SHARED, &NONCES.0, &NONCES.1, &[0x88; 32], &[0x99; 48]];
    let keymat = CBC.prf.plus(&sk_d, &seed, 72).unwrap();
    assert_eq!(keys.initiator.encryption.as_slice(), &keymat[..36]);
    assert_eq!(keys.responder.encryption.as_slice(), &keymat[36..]);

    let old = IkeKeys::derive(&CBC, &SHARED, SEEDS).unwrap();
    let new = IkeKeys::rekey(CBC.prf, &old.sk_d, &CBC, &secrets, SEEDS).unwrap();
    let skeyseed = CBC.prf.compute(&old.sk_d, &seed);
    let (spi_i, spi_r) = (SEEDS.spi_i.to_be_bytes(), SEEDS.spi_r.to_be_bytes());
    let parts: [&[u8]; 4] = [&NONCES.0, &NONCES.1, &spi_i, &spi_r];
    assert_eq!(
        new.sk_d.as_slice(),
        CBC.prf.plus(&skeyseed, &parts, 32).unwrap().as_slice()
    );
}

/// RFC 9242 3.3.2, written out once more with nothing but the PRF.
#[test]
fn int_auth_chains_the_messages_of_each_side() {
    let first = IkeKeys::derive(&CBC, &SHARED, SEEDS).unwrap();
    let second = first.update(&CBC, &SHARED, SEEDS).unwrap();
    let mut int_auth = IntAuth::default();
    assert!(int_auth.octets(1).is_empty());
    int_auth.add(CBC.prf, &first, b"request 1", b"response 1");
    int_auth.add(CBC.prf, &second, b"request 2", b"response 2");
    let chain = |one: &[u8], two: &[u8], message: &str| {
        let before = CBC.prf.compute(one, &[message.as_bytes(), b" 1"]);
        CBC.prf
            .compute(two, &[&before, message.as_bytes(), b" 2"])
            .to_vec()
    };
    let expected = [
        chain(&first.sk_pi, &second.sk_pi, "request"),
        chain(&first.sk_pr, &second.sk_pr, "response"),
        vec![0, 0, 0, 3],
    ];
    assert_eq!(int_auth.octets(3), expected.concat());
}
