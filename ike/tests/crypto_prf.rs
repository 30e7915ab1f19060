//! PRFs and integrity algorithms.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

mod vectors;

use vectors::{hex, rfc4231::HMAC};
use xvpn_ike::crypto::prf::PrfPlusExhausted;
use xvpn_ike::negotiate::transform::{Integrity, Prf};

#[test]
fn every_prf_agrees_with_rfc_4231_and_rfc_2202() {
    for [key, data, sha1, sha256, sha384, sha512] in HMAC {
        let prfs = [
            (Prf::HmacSha1, sha1),
            (Prf::HmacSha2_256, sha256),
            (Prf::HmacSha2_384, sha384),
            (Prf::HmacSha2_512, sha512),
        ];
        for (prf, expected) in prfs.into_iter().filter(|(_, expected)| !expected.is_empty()) {
            let data = hex(data);
            assert_eq!(prf.compute(&hex(key), &[&data]).to_vec(), hex(expected), "{prf}");
            let (head, tail) = data.split_at(3);
            assert_eq!(
                prf.compute(&hex(key), &[head, &[], tail]).to_vec(),
                hex(expected),
                "{prf} in parts"
            );
        }
    }
}

#[test]
fn every_integrity_algorithm_is_its_prf_truncated() {
    for integrity in Integrity::ALL {
        let icv = integrity.compute(b"key", &[b"da", b"ta"]);
        let whole = integrity.prf().compute(b"key", &[b"data"]);
        assert_eq!(icv.len(), integrity.icv_len());
        assert!(whole.starts_with(&icv));
        assert!(integrity.verify(b"key", &[b"data"], &icv));
        assert!(!integrity.verify(b"key", &[b"dato"], &icv));
        assert!(
            !integrity.verify(b"key", &[b"data"], &whole),
            "an ICV that is not truncated"
        );
        assert!(!integrity.verify(b"key", &[b"data"], &[]), "an empty ICV");
    }
}

#[test]
fn prf_plus_gives_255_blocks_and_no_more() {
    let longest = 255 * Prf::HmacSha1.output_len();
    assert_eq!(
        Prf::HmacSha1.plus(b"key", &[b"seed"], longest).unwrap().len(),
        longest
    );
    assert_eq!(
        Prf::HmacSha1.plus(b"key", &[b"seed"], longest + 1),
        Err(PrfPlusExhausted)
    );
    assert!(Prf::HmacSha1.plus(b"key", &[b"seed"], 0).unwrap().is_empty());
}
