//! Proposals as an operator writes them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

use xvpn_ike::negotiate::additional::AdditionalChoices;
use xvpn_ike::negotiate::proposal::{
    EspProposal, IkeProposal, ProposalErrorKind as Kind, default_esp, default_ike, legacy_esp, legacy_ike,
};
use xvpn_ike::negotiate::transform::{Additional, Encryption, Integrity, KeyExchangeMethod, Prf};

fn ike(text: &str) -> IkeProposal {
    text.parse().unwrap()
}

fn esp(text: &str) -> EspProposal {
    text.parse().unwrap()
}

fn refused(text: &str) -> (String, usize, Kind) {
    let error = text.parse::<IkeProposal>().unwrap_err();
    (error.token, error.offset, error.kind)
}

#[test]
fn reads_an_aead_proposal() {
    assert_eq!(
        ike("aes256gcm16-prfsha256-x25519"),
        IkeProposal {
            encryption: vec![Encryption::AesGcm16_256],
            integrity: vec![],
            prf: vec![Prf::HmacSha2_256],
            key_exchange: vec![KeyExchangeMethod::Curve25519],
            additional: AdditionalChoices::none(),
        }
    );
}

#[test]
fn takes_the_prf_from_the_integrity_algorithm_when_none_is_named() {
    assert_eq!(ike("aes128-sha256-modp2048").prf, [Prf::HmacSha2_256]);
    assert_eq!(
        ike("aes128-sha512-sha256-modp2048").prf,
        [Prf::HmacSha2_512, Prf::HmacSha2_256]
    );
    assert_eq!(ike("aes128-sha256-prfsha384-modp2048").prf, [Prf::HmacSha2_384]);
}

#[test]
fn reads_several_algorithms_of_one_kind_in_order_and_every_spelling() {
    let proposal = ike("AES_GCM_16_256-aes128gcm-PRF_HMAC_SHA2_512-curve25519-dh19-DH14");
    assert_eq!(
        proposal.to_string(),
        "aes256gcm16-aes128gcm16-prfsha512-x25519-ecp256-modp2048"
    );
    assert_eq!(proposal.to_string().parse(), Ok(proposal));
}

#[test]
fn a_child_proposal_has_no_esn_and_no_pfs_unless_it_says_so() {
    let proposal = esp("aes256gcm16");
    assert_eq!(
        (proposal.esn.as_slice(), proposal.key_exchange.as_slice()),
        (&[false][..], &[][..])
    );
    let proposal = esp("aes128-sha1-modp2048-esn-noesn");
    assert_eq!(proposal.esn, [true, false]);
    assert_eq!(proposal.integrity, [Integrity::HmacSha1_96]);
    assert_eq!(proposal.without_key_exchange().key_exchange, []);
    assert_eq!(proposal.to_string(), "aes128-sha1-modp2048-esn-noesn");
    assert_eq!(esp("aes256gcm16-noesn").to_string(), "aes256gcm16");
}

#[test]
fn the_defaults_and_the_legacy_lists_can_be_written_and_read_back() {
    for proposal in default_ike().into_iter().chain(legacy_ike()) {
        assert_eq!(ike(&proposal.to_string()), proposal);
    }
    for proposal in default_esp().into_iter().chain(legacy_esp()) {
        assert_eq!(esp(&proposal.to_string()), proposal);
    }
}

#[test]
fn nothing_legacy_is_offered_by_default() {
    assert!(!default_ike().iter().any(IkeProposal::is_legacy));
    assert!(!default_esp().iter().any(EspProposal::is_legacy));
    assert!(legacy_ike().iter().all(IkeProposal::is_legacy));
    assert!(legacy_esp().iter().all(EspProposal::is_legacy));
    assert_eq!(
        ike("aes128-sha1-modp1024").legacy_names(),
        ["sha1", "modp1024", "prfsha1"]
    );
    assert_eq!(esp("aes128-sha1-modp1024").legacy_names(), ["sha1", "modp1024"]);
    assert!(!ike("aes128-sha256-modp2048").is_legacy());
}

#[test]
fn says_which_word_is_wrong_where_it_is_and_what_was_meant() {
    let (token, offset, kind) = refused("aes256gcm16-prfsha255-x25519");
    assert_eq!((token.as_str(), offset), ("prfsha255", 12));
    assert_eq!(
        kind,
        Kind::Unknown {
            suggestion: Some("prfsha256")
        }
    );
    assert_eq!(
        kind.to_string(),
        "no algorithm of that name; did you mean `prfsha256`?"
    );
    assert_eq!(
        refused("aes256gcm16-prfsha256-x25518").2,
        Kind::Unknown {
            suggestion: Some("x25519")
        }
    );
    assert_eq!(
        refused("rot13-sha256-x25519").2,
        Kind::Unknown { suggestion: None }
    );
    assert_eq!(refused(" aes128 - sha257 - x25519").1, 10);
}

#[test]
fn explains_algorithms_that_exist_but_are_not_spoken() {
    let (token, offset, kind) = refused("3des-sha1-modp1024");
    assert_eq!((token.as_str(), offset), ("3des", 0));
    assert_eq!(
        kind.to_string(),
        "64-bit block ciphers are broken (Sweet32); use `aes128`"
    );
    assert!(matches!(
        refused("aes128-md5-modp2048").2,
        Kind::Unsupported { .. }
    ));
    assert!(matches!(
        refused("aes128-sha1-modp1536").2,
        Kind::Unsupported { .. }
    ));
}

#[test]
fn refuses_an_integrity_algorithm_beside_an_aead() {
    let (token, offset, kind) = refused("aes256gcm16-sha256-x25519");
    assert_eq!(
        (token.as_str(), offset, kind),
        ("sha256", 12, Kind::IntegrityWithAead)
    );
    assert_eq!(refused("aes256gcm16-aes128-sha256-x25519").2, Kind::MixedCiphers);
}

#[test]
fn refuses_what_is_incomplete_or_out_of_place() {
    assert_eq!(refused("").2, Kind::Empty);
    assert_eq!(refused("aes128--x25519").1, 7);
    assert_eq!(refused("sha256-x25519").2, Kind::NoEncryption);
    assert_eq!(refused("aes128-x25519").2, Kind::NoIntegrity);
    assert_eq!(refused("aes256gcm16-x25519").2, Kind::NoPrf);
    assert_eq!(refused("aes128-sha256").2, Kind::NoKeyExchange);
    assert_eq!(refused("aes128-sha256-x25519-esn").2, Kind::EsnInIke);
    assert_eq!(refused("aes128-aes128-sha256-x25519").2, Kind::Twice);
    assert_eq!(
        "aes256gcm16-prfsha256".parse::<EspProposal>().unwrap_err().kind,
        Kind::PrfInEsp
    );
}

/// RFC 8750 7.
#[test]
fn refuses_an_implicit_iv_for_an_ike_sa_and_reads_it_for_esp() {
    let (token, offset, kind) = refused("aes256gcm16-aes256gcm16iiv-prfsha256-x25519");
    assert_eq!(
        (token.as_str(), offset, &kind),
        ("aes256gcm16iiv", 12, &Kind::ImplicitIvInIke)
    );
    assert!(
        kind.to_string().contains("; name the same without `iiv` here"),
        "a remedy"
    );
    assert_eq!(
        refused("chacha20poly1305iiv-prfsha256-x25519").2,
        Kind::ImplicitIvInIke
    );
    let proposal = esp("chacha20poly1305iiv-aes_gcm_16_iiv_128-esn");
    assert_eq!(proposal.to_string(), "chacha20poly1305iiv-aes128gcm16iiv-esn");
    assert!(!proposal.is_legacy());
}

#[test]
fn reads_additional_key_exchanges_and_writes_them_back() {
    let text = "aes256gcm16-prfsha384-x25519-ke1_mlkem768-ke1_none-ke2_ecp384";
    let proposal = ike(text);
    let choices: Vec<_> = Additional::ALL
        .into_iter()
        .map(|which| proposal.additional.of(which).to_vec())
        .collect();
    assert_eq!(
        choices.first().unwrap().as_slice(),
        [Some(KeyExchangeMethod::MlKem768), None]
    );
    assert_eq!(
        choices.get(1).unwrap().as_slice(),
        [Some(KeyExchangeMethod::Ecp384)]
    );
    assert_eq!(choices.get(2).unwrap().as_slice(), [None]);
    assert_eq!(proposal.to_string(), text);
    let text = "aes256gcm16-x25519-ke1_mlkem1024-esn";
    assert_eq!(esp(text).to_string(), text);
    assert!(
        ike("aes256gcm16-prfsha384-x25519-KE1_MLKEM768")
            .additional
            .requires_post_quantum()
    );
    assert!(!proposal.additional.requires_post_quantum() && proposal.additional.is_required());
}

#[test]
fn refuses_additional_key_exchanges_that_can_only_be_a_mistake() {
    let wrong = [
        ("x25519-ke1_x25519", Kind::SameKeyExchange),
        ("x25519-ke1_mlkem768-ke2_mlkem768", Kind::SameKeyExchange),
        ("x25519-ke1_mlkem768-ke1_mlkem768", Kind::Twice),
        ("x25519-ke2_mlkem768", Kind::AdditionalGap),
        ("x25519-ke1_mlkem768-ke3_ecp256", Kind::AdditionalGap),
        ("x25519-ke1_none", Kind::AdditionalNothing),
    ];
    for (text, kind) in wrong {
        let (token, _, found) = refused(&format!("aes256gcm16-prfsha256-{text}"));
        assert_eq!(found, kind, "{text}");
        assert!(token.starts_with("ke"), "{text}: {token}");
    }
    assert_eq!(
        refused("aes256gcm16-prfsha256-ke1_mlkem768").2,
        Kind::NoKeyExchange
    );
    assert_eq!(
        "aes256gcm16-ke1_mlkem768"
            .parse::<EspProposal>()
            .unwrap_err()
            .kind,
        Kind::AdditionalWithoutFirst
    );
    assert_eq!(
        refused("aes256gcm16-prfsha256-x25519-ke1_mlkem786").2,
        Kind::Unknown {
            suggestion: Some("mlkem768")
        }
    );
    // Too large for IKE_SA_INIT.
    assert!(matches!(
        refused("aes256gcm16-prfsha256-mlkem768").2,
        Kind::Unsupported { .. }
    ));
    assert_eq!(
        refused("aes256gcm16-prfsha256-x25519-ke8_mlkem768").2,
        Kind::Unknown { suggestion: None }
    );
}

#[test]
fn survives_any_text() {
    for text in [
        "-",
        "ä-ö",
        "aes128-\u{0}",
        "----",
        "aes256gcm16-prfsha256-x25519-",
    ] {
        assert!(text.parse::<IkeProposal>().is_err(), "{text:?}");
        assert!(text.parse::<EspProposal>().is_err(), "{text:?}");
    }
}
