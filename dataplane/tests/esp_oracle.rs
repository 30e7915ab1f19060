//! ESP packets against ones composed here, by hand and with other implementations of the ciphers.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test or bench fails by panicking"
)]

mod fixture;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm};
use cbc::cipher::{Array, BlockCipherEncrypt};
use chacha20poly1305::ChaCha20Poly1305;
use fixture::{SPI, SUITES, ccm, hex, inbound_spec, keys, packet, pair, seal, v4};
use hmac::{Hmac, Mac};
use proptest::prelude::*;
use xvpn_dataplane::sa::{InboundSa, OutboundSa};
use xvpn_dataplane::{AesKey, Discard, Integrity, Suite};

/// Composes an ESP packet around `payload` (already padded, with trailer).
fn compose(suite: Suite, seq: u64, esn: bool, iv: &[u8], payload: &[u8]) -> Vec<u8> {
    let low = u32::try_from(seq & 0xffff_ffff).unwrap();
    let mut esp = [SPI.0.to_be_bytes(), low.to_be_bytes()].concat();
    let keys = keys(suite);
    let aad = if esn {
        [&SPI.0.to_be_bytes()[..], &seq.to_be_bytes()].concat()
    } else {
        esp.clone()
    };
    esp.extend(iv);
    // RFC 8750 4: figures 1 and 2 in one.
    let implicit = seq.to_be_bytes();
    let iv = if iv.is_empty() { &implicit } else { iv };
    match suite {
        Suite::AesGcm128 | Suite::AesGcm128Iiv => {
            esp.extend(aead::<Aes128Gcm>(&keys.encryption, &aad, iv, payload))
        }
        Suite::AesGcm256 | Suite::AesGcm256Iiv => {
            esp.extend(aead::<Aes256Gcm>(&keys.encryption, &aad, iv, payload))
        }
        Suite::ChaCha20Poly1305 | Suite::ChaCha20Poly1305Iiv => {
            esp.extend(aead::<ChaCha20Poly1305>(&keys.encryption, &aad, iv, payload))
        }
        Suite::AesCbc { key_bits: 128, .. } => {
            esp.extend(cbc_by_hand::<aes::Aes128>(&keys.encryption, iv, payload))
        }
        Suite::AesCbc { .. } => esp.extend(cbc_by_hand::<aes::Aes256>(&keys.encryption, iv, payload)),
        Suite::AesCcm8(key) | Suite::AesCcm8Iiv(key) => {
            esp.extend(ccm_by_hand(key, &keys.encryption, &aad, iv, payload, 8))
        }
        Suite::AesCcm12(key) => esp.extend(ccm_by_hand(key, &keys.encryption, &aad, iv, payload, 12)),
        Suite::AesCcm16(key) => esp.extend(ccm_by_hand(key, &keys.encryption, &aad, iv, payload, 16)),
        Suite::AesGcm8(key) => esp.extend(gcm_cut(key, &keys.encryption, &aad, iv, payload, 8)),
        Suite::AesGcm12(key) => esp.extend(gcm_cut(key, &keys.encryption, &aad, iv, payload, 12)),
    }
    if let Suite::AesCbc { integrity, .. } = suite {
        let mut input = esp.clone();
        if esn {
            input.extend(&seq.to_be_bytes()[..4]);
        }
        esp.extend(match integrity {
            Integrity::HmacSha1_96 => mac::<Hmac<sha1::Sha1>>(&keys.integrity, &input, 12),
            Integrity::HmacSha2_256_128 => mac::<Hmac<sha2::Sha256>>(&keys.integrity, &input, 16),
            Integrity::HmacSha2_384_192 => mac::<Hmac<sha2::Sha384>>(&keys.integrity, &input, 24),
            Integrity::HmacSha2_512_256 => mac::<Hmac<sha2::Sha512>>(&keys.integrity, &input, 32),
        });
    }
    esp
}

fn aead<A: KeyInit + Aead>(key: &[u8], aad: &[u8], iv: &[u8], msg: &[u8]) -> Vec<u8> {
    let (key, salt) = key.split_at(key.len() - 4);
    let nonce = [salt, iv].concat();
    let nonce = nonce.as_slice().try_into().unwrap();
    A::new_from_slice(key)
        .unwrap()
        .encrypt(nonce, Payload { msg, aad })
        .unwrap()
}

/// NIST SP 800-38D 7.1: a shorter ICV is the front of the one of 16 octets.
fn gcm_cut(key: AesKey, octets: &[u8], aad: &[u8], iv: &[u8], payload: &[u8], icv: usize) -> Vec<u8> {
    let mut sealed = match key {
        AesKey::Bits128 => aead::<Aes128Gcm>(octets, aad, iv, payload),
        AesKey::Bits192 => aead::<AesGcm<aes::Aes192, aes_gcm::aead::consts::U12>>(octets, aad, iv, payload),
        AesKey::Bits256 => aead::<Aes256Gcm>(octets, aad, iv, payload),
    };
    sealed.truncate(payload.len() + icv);
    sealed
}

/// RFC 4309 4: three octets of salt.
fn ccm_by_hand(key: AesKey, octets: &[u8], aad: &[u8], iv: &[u8], payload: &[u8], icv: usize) -> Vec<u8> {
    let (octets, salt) = octets.split_at(octets.len() - 3);
    let nonce = [salt, iv].concat();
    match key {
        AesKey::Bits128 => ccm::seal::<aes::Aes128>(octets, &nonce, aad, payload, icv),
        AesKey::Bits192 => ccm::seal::<aes::Aes192>(octets, &nonce, aad, payload, icv),
        AesKey::Bits256 => ccm::seal::<aes::Aes256>(octets, &nonce, aad, payload, icv),
    }
}

/// RFC 3610 8, packet vectors 1 and 7: what is done by hand is done right.
#[test]
fn ccm_by_hand_agrees_with_rfc_3610() {
    let (key, nonce) = (
        hex("c0c1c2c3c4c5c6c7c8c9cacbcccdcecf"),
        hex("00000003020100a0a1a2a3a4a5"),
    );
    let packet: Vec<u8> = (0..31).collect();
    assert_eq!(
        ccm::seal::<aes::Aes128>(&key, &nonce, &packet[..8], &packet[8..], 8),
        hex("588c979a61c663d2f066d0c2c0f989806d5f6b61dac38417e8d12cfdf926e0")
    );
    let nonce = hex("00000009080706a0a1a2a3a4a5");
    assert_eq!(
        ccm::seal::<aes::Aes128>(&key, &nonce, &packet[..8], &packet[8..], 10),
        hex("0135d1b2c95f41d5d1d4fec185d166b8094e999dfed96c048c56602c97acbb7490")
    );
}

/// RFC 3602 2: each block is combined with the ciphertext of the one before.
fn cbc_by_hand<C: BlockCipherEncrypt + KeyInit>(key: &[u8], iv: &[u8], payload: &[u8]) -> Vec<u8> {
    let cipher = C::new_from_slice(key).unwrap();
    let (mut before, mut out) = (iv.to_vec(), Vec::new());
    for block in payload.chunks(16) {
        let mixed: Vec<u8> = block.iter().zip(&before).map(|(a, b)| a ^ b).collect();
        let mut mixed: Array<u8, C::BlockSize> = mixed.as_slice().try_into().unwrap();
        cipher.encrypt_block(&mut mixed);
        before = mixed.to_vec();
        out.extend(&before);
    }
    out
}

fn mac<M: Mac + KeyInit>(key: &[u8], input: &[u8], len: usize) -> Vec<u8> {
    let mut mac = <M as KeyInit>::new_from_slice(key).unwrap();
    mac.update(input);
    mac.finalize().into_bytes()[..len].to_vec()
}

/// Pads to the block of the suite and ends with the next header.
fn pad(suite: Suite, inner: &[u8], next_header: u8) -> Vec<u8> {
    let block = if matches!(suite, Suite::AesCbc { .. }) {
        16
    } else {
        4
    };
    let mut payload = inner.to_vec();
    let mut count = 0;
    while !(payload.len() + 2).is_multiple_of(block) {
        count += 1;
        payload.push(count);
    }
    payload.extend([count, next_header]);
    payload
}

fn iv_len(suite: Suite) -> usize {
    match suite {
        Suite::AesGcm128 | Suite::AesGcm256 | Suite::ChaCha20Poly1305 => 8,
        Suite::AesGcm128Iiv | Suite::AesGcm256Iiv | Suite::ChaCha20Poly1305Iiv | Suite::AesCcm8Iiv(_) => 0,
        Suite::AesCcm8(_) | Suite::AesCcm12(_) | Suite::AesCcm16(_) => 8,
        Suite::AesGcm8(_) | Suite::AesGcm12(_) => 8,
        Suite::AesCbc { .. } => 16,
    }
}

#[test]
fn seals_exactly_what_other_implementations_compose() {
    for suite in SUITES {
        for (esn, last) in [(false, 0), (true, 0), (true, 0x1234_5678_ffff_fff0)] {
            let alice = OutboundSa::after(&fixture::outbound_spec(suite, esn), last).unwrap();
            for (seq, len) in (last + 1..).zip(40..80) {
                let sealed = seal(&alice, &v4(len));
                let iv = &sealed.octets()[8..8 + iv_len(suite)];
                let expected = compose(suite, seq, esn, iv, &pad(suite, &v4(len), 4));
                assert_eq!(sealed.octets(), expected, "{suite:?} {esn} {seq} {len}");
            }
        }
    }
}

/// Bob's verdict on an authentic packet with this payload.
fn verdict(suite: Suite, payload: &[u8]) -> Result<Vec<u8>, Discard> {
    let bob = InboundSa::new(&inbound_spec(suite, false)).unwrap();
    let mut esp = packet(&compose(suite, 9, false, &vec![0x5a; iv_len(suite)], payload));
    let opened = bob.open(&mut esp).map(|_| esp.octets().to_vec());
    assert_eq!(bob.window().highest(), 9, "authentic");
    opened
}

#[test]
fn opens_what_other_implementations_compose() {
    for suite in SUITES {
        assert_eq!(verdict(suite, &pad(suite, &v4(61), 4)), Ok(v4(61)), "{suite:?}");
    }
}

#[test]
fn accepts_traffic_flow_padding_behind_the_inner_packet() {
    for suite in SUITES {
        let longer = [v4(61), vec![0; 500]].concat();
        assert_eq!(verdict(suite, &pad(suite, &longer, 4)), Ok(longer), "{suite:?}");
    }
}

#[test]
fn refuses_an_authentic_packet_with_wrong_padding_or_next_header() {
    for suite in SUITES {
        let good = pad(suite, &v4(61), 4);
        let end = good.len();
        let mut wrong = good.clone();
        wrong[end - 3] ^= 1;
        assert_eq!(verdict(suite, &wrong), Err(Discard::BadPadding), "{suite:?}");
        let mut long = good.clone();
        long[end - 2] = 255;
        assert_eq!(verdict(suite, &long), Err(Discard::BadPadding), "{suite:?}");
        assert_eq!(verdict(suite, &pad(suite, &v4(61), 17)), Err(Discard::NextHeader));
        assert_eq!(
            verdict(suite, &pad(suite, &v4(61), 59)),
            Err(Discard::DummyPacket)
        );
        assert_eq!(
            verdict(suite, &pad(suite, &v4(61), 41)),
            Err(Discard::MalformedInner)
        );
        assert_eq!(verdict(suite, &pad(suite, &[], 4)), Err(Discard::MalformedInner));
    }
}

#[test]
fn refuses_an_authentic_cbc_packet_that_is_no_multiple_of_a_block() {
    let suite = Suite::AesCbc {
        key_bits: 128,
        integrity: Integrity::HmacSha2_256_128,
    };
    let (_, bob) = pair(suite, false);
    let mut esp = [SPI.0.to_be_bytes(), 1_u32.to_be_bytes()].concat();
    esp.extend([0x5a; 16 + 17]);
    let icv = mac::<Hmac<sha2::Sha256>>(&keys(suite).integrity, &esp, 16);
    esp.extend(icv);
    assert_eq!(bob.open(&mut packet(&esp)), Err(Discard::BadPadding));
}

proptest! {
    #[test]
    fn any_payload_and_sequence_number_open_alike(
        suite in 0..SUITES.len(), seq in 1..u64::from(u32::MAX), esn: bool,
        tail in proptest::collection::vec(any::<u8>(), 0..300), iv in any::<[u8; 16]>(),
    ) {
        let suite = SUITES[suite];
        let inner = [v4(40), tail].concat();
        let bob = InboundSa::after(&inbound_spec(suite, esn), seq - 1).unwrap();
        let esp = compose(suite, seq, esn, &iv[..iv_len(suite)], &pad(suite, &inner, 4));
        let mut packet = packet(&esp);
        prop_assert_eq!(bob.open(&mut packet).map(|opened| opened.sequence), Ok(seq));
        prop_assert_eq!(packet.octets(), inner);
    }
}
