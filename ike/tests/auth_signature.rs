//! AUTH by signature, each method: what is chosen for which peer, what is accepted, and what never is.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod pki;

use pki::Authority;
use xvpn_ike::auth::announcement::Announced;
use xvpn_ike::auth::signature::{
    HASHES, NoCommonAlgorithm, PeerVerifies, RsaPadding, SignatureError, sign, verify,
};
use xvpn_ike::crypto::sign::{Hash, SignatureAlgorithm, SigningKey, identifier};
use xvpn_ike::wire::payload::{AuthMethod, Authentication};

const OCTETS: &[u8] = b"the octets to be signed";

fn key(algorithm: &'static rcgen::SignatureAlgorithm) -> SigningKey {
    Authority::root("Root")
        .issue(&pki::host("gw.example"), algorithm)
        .signing_key()
}

fn modern() -> PeerVerifies {
    PeerVerifies {
        hashes: HASHES.to_vec(),
        ..PeerVerifies::default()
    }
}

/// What is chosen, by method and algorithm; and it verifies.
fn chosen(key: &SigningKey, padding: RsaPadding, peer: &PeerVerifies) -> (u8, String) {
    let (auth, algorithm) = sign(key, padding, peer, OCTETS).unwrap();
    let (_, verified) = verify(key.public(), peer.legacy, OCTETS, &auth).unwrap();
    assert_eq!(verified, algorithm);
    assert_eq!(
        verify(key.public(), peer.legacy, b"other octets", &auth).unwrap_err(),
        SignatureError::Wrong
    );
    (auth.method.0, algorithm.to_string())
}

#[test]
fn a_peer_that_speaks_rfc_7427_gets_a_signature_that_names_its_algorithm() {
    for (algorithm, name) in [
        (&rcgen::PKCS_RSA_SHA256, "rsa-sha256"),
        (&rcgen::PKCS_ECDSA_P256_SHA256, "ecdsa-sha256"),
        (&rcgen::PKCS_ECDSA_P384_SHA384, "ecdsa-sha384"),
        (&rcgen::PKCS_ECDSA_P521_SHA512, "ecdsa-sha512"),
        (&rcgen::PKCS_ED25519, "ed25519"),
    ] {
        assert_eq!(
            chosen(&key(algorithm), RsaPadding::Auto, &modern()),
            (14, name.to_owned())
        );
    }
}

#[test]
fn an_older_peer_gets_the_method_of_its_time() {
    let old = PeerVerifies::default();
    for (algorithm, method, name) in [
        (&rcgen::PKCS_RSA_SHA256, 1, "rsa-sha256"),
        (&rcgen::PKCS_ECDSA_P256_SHA256, 9, "ecdsa-p256"),
        (&rcgen::PKCS_ECDSA_P384_SHA384, 10, "ecdsa-p384"),
        (&rcgen::PKCS_ECDSA_P521_SHA512, 11, "ecdsa-p521"),
    ] {
        assert_eq!(
            chosen(&key(algorithm), RsaPadding::Auto, &old),
            (method, name.to_owned())
        );
    }
    // There was no Ed25519 then.
    assert_eq!(
        sign(&key(&rcgen::PKCS_ED25519), RsaPadding::Auto, &old, OCTETS).unwrap_err(),
        NoCommonAlgorithm
    );
}

#[test]
fn sha_1_is_for_peers_that_the_operator_calls_old_and_for_nobody_else() {
    let rsa = key(&rcgen::PKCS_RSA_SHA256);
    let old = PeerVerifies {
        legacy: true,
        ..PeerVerifies::default()
    };
    assert_eq!(chosen(&rsa, RsaPadding::Auto, &old), (1, "rsa-sha1".to_owned()));
    let (auth, _) = sign(&rsa, RsaPadding::Auto, &old, OCTETS).unwrap();
    assert_eq!(
        verify(rsa.public(), false, OCTETS, &auth).unwrap_err(),
        SignatureError::Wrong
    );
    // A peer that knows better gets better, however old it is called.
    let better = PeerVerifies {
        legacy: true,
        ..modern()
    };
    assert_eq!(
        chosen(&rsa, RsaPadding::Auto, &better),
        (14, "rsa-sha256".to_owned())
    );
    // And no signature that names SHA-1 is looked at, not even of an old peer.
    for weak in [
        SignatureAlgorithm::RsaPkcs1(Hash::Sha1),
        SignatureAlgorithm::rsa_pss(Hash::Sha1),
        SignatureAlgorithm::Ecdsa(Hash::Sha1),
    ] {
        let der = identifier(weak).unwrap();
        let data = [&[u8::try_from(der.len()).unwrap()][..], &der, &auth.data].concat();
        let auth = Authentication {
            method: AuthMethod::DIGITAL_SIGNATURE,
            data,
        };
        assert_eq!(
            verify(rsa.public(), true, OCTETS, &auth).unwrap_err(),
            SignatureError::Algorithm
        );
    }
}

#[test]
fn only_hashes_that_the_peer_named_are_used() {
    let peer = |hashes: &[u16]| PeerVerifies {
        hashes: hashes.to_vec(),
        ..PeerVerifies::default()
    };
    let rsa = key(&rcgen::PKCS_RSA_SHA256);
    assert_eq!(
        chosen(&rsa, RsaPadding::Pss, &peer(&[4])),
        (14, "rsa-pss-sha512".to_owned())
    );
    // The hash of a curve is fixed for us; without it there is the method before RFC 7427.
    let p384 = key(&rcgen::PKCS_ECDSA_P384_SHA384);
    assert_eq!(
        chosen(&p384, RsaPadding::Auto, &peer(&[2])),
        (10, "ecdsa-p384".to_owned())
    );
    assert!(
        sign(
            &key(&rcgen::PKCS_ED25519),
            RsaPadding::Auto,
            &peer(&[2, 3, 4]),
            OCTETS
        )
        .is_err()
    );
}

#[test]
fn pss_is_used_where_the_peer_wants_it() {
    let rsa = key(&rcgen::PKCS_RSA_SHA256);
    let announcing = PeerVerifies {
        announced: Some(Announced::from_bytes(&Announced::signatures().to_bytes())),
        ..modern()
    };
    assert_eq!(chosen(&rsa, RsaPadding::Auto, &announcing).1, "rsa-pss-sha256");
    assert_eq!(chosen(&rsa, RsaPadding::Pkcs1, &announcing).1, "rsa-sha256");
    let known = PeerVerifies {
        pss: true,
        ..modern()
    };
    assert_eq!(chosen(&rsa, RsaPadding::Auto, &known).1, "rsa-pss-sha256");
}

#[test]
fn a_signature_of_another_kind_of_key_is_not_even_tried() {
    let (rsa, ed25519) = (key(&rcgen::PKCS_RSA_SHA256), key(&rcgen::PKCS_ED25519));
    let (auth, _) = sign(&ed25519, RsaPadding::Auto, &modern(), OCTETS).unwrap();
    assert_eq!(
        verify(rsa.public(), false, OCTETS, &auth).unwrap_err(),
        SignatureError::Algorithm
    );
    let p256 = key(&rcgen::PKCS_ECDSA_P256_SHA256);
    let (mut auth, _) = sign(&p256, RsaPadding::Auto, &PeerVerifies::default(), OCTETS).unwrap();
    auth.method = AuthMethod::ECDSA_384;
    assert_eq!(
        verify(p256.public(), false, OCTETS, &auth).unwrap_err(),
        SignatureError::Algorithm
    );
}

#[test]
fn data_that_is_cut_or_changed_is_refused_without_harm() {
    for algorithm in [
        &rcgen::PKCS_RSA_SHA256,
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ED25519,
    ] {
        let key = key(algorithm);
        let (auth, _) = sign(&key, RsaPadding::Pss, &modern(), OCTETS).unwrap();
        for len in 0..auth.data.len() {
            let cut = Authentication {
                data: auth.data[..len].to_vec(),
                ..auth.clone()
            };
            assert!(verify(key.public(), false, OCTETS, &cut).is_err(), "{len}");
        }
        for at in 0..auth.data.len() {
            let mut changed = auth.clone();
            changed.data[at] ^= 0x41;
            assert!(verify(key.public(), false, OCTETS, &changed).is_err(), "{at}");
        }
        for method in [0, 2, 3, 13, 255] {
            let other = Authentication {
                method: AuthMethod(method),
                ..auth.clone()
            };
            assert_eq!(
                verify(key.public(), true, OCTETS, &other).unwrap_err(),
                SignatureError::Method(AuthMethod(method))
            );
        }
    }
}
