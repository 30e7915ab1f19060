//! Agreeing on a suite. Alice initiates, Bob responds.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

use xvpn_ike::api::Spi;
use xvpn_ike::negotiate::offer::{esp_answer, esp_offer, ike_answer, ike_offer};
use xvpn_ike::negotiate::proposal::{EspProposal, IkeProposal, default_esp, default_ike, legacy_ike};
use xvpn_ike::negotiate::select::{
    BadAnswer, ChildExchange, ChosenEsp, ChosenIke, Difference, accept_esp, accept_ike, select_esp,
    select_ike,
};
use xvpn_ike::negotiate::transform::TransformType as Kind;
use xvpn_ike::wire::payload::{
    Attribute, AttributeValue, Body, Proposal, ProtocolId, SecurityAssociation, Transform, TransformType,
};

fn ike(list: &[&str]) -> Vec<IkeProposal> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

fn esp(list: &[&str]) -> Vec<EspProposal> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

/// Offers go over the wire in these tests.
fn sent(sa: &SecurityAssociation) -> SecurityAssociation {
    SecurityAssociation::parse(&sa.to_bytes()).unwrap()
}

fn ike_between(alice: &[&str], bob: &[&str]) -> Result<(u8, String), String> {
    let (alice, bob) = (ike(alice), ike(bob));
    let chosen = select_ike(&bob, &sent(&ike_offer(&alice, None)))
        .map_err(|mismatch| mismatch.difference.to_string())?;
    let accepted = accept_ike(&alice, &sent(&ike_answer(&chosen, None))).unwrap();
    assert_eq!(accepted, chosen);
    Ok((chosen.number, chosen.suite.to_string()))
}

fn esp_between(alice: &[&str], bob: &[&str], exchange: ChildExchange) -> Result<(u8, String), String> {
    let (alice, bob) = (esp(alice), esp(bob));
    let offer = sent(&esp_offer(&alice, Spi(0x1000)));
    let chosen = select_esp(&bob, &offer, exchange).map_err(|mismatch| mismatch.difference.to_string())?;
    assert_eq!(chosen.spi, Spi(0x1000));
    let answer = sent(&esp_answer(&chosen, Spi(0x2000)));
    let accepted = accept_esp(&alice, &answer, exchange).unwrap();
    assert_eq!(
        (accepted.number, accepted.suite, accepted.spi),
        (chosen.number, chosen.suite, Spi(0x2000))
    );
    Ok((chosen.number, chosen.suite.to_string()))
}

fn ok(number: u8, suite: &str) -> Result<(u8, String), String> {
    Ok((number, suite.to_owned()))
}

#[test]
fn two_gateways_with_defaults_agree_on_the_first_of_everything() {
    let (offer, ours) = (ike_offer(&default_ike(), None), default_ike());
    let chosen = select_ike(&ours, &sent(&offer)).unwrap();
    assert_eq!(
        chosen.suite.to_string(),
        "aes256gcm16-prfsha256-x25519-ke1_mlkem768"
    );
    let offer = esp_offer(&default_esp(), Spi(0x1000));
    let chosen = select_esp(&default_esp(), &sent(&offer), ChildExchange::IkeAuth).unwrap();
    assert_eq!(chosen.suite.to_string(), "aes256gcm16iiv-esn");
}

/// RFC 8750 5, RFC 7296 3.3.6.
#[test]
fn a_peer_that_knows_no_implicit_iv_takes_the_same_cipher_with_an_explicit_one() {
    let offer = sent(&esp_offer(&default_esp(), Spi(0x1000)));
    assert!(offer.to_bytes().len() < 256, "the offer stays small");
    for (knows, takes) in [
        ("aes256gcm16-esn", "aes256gcm16-esn"),
        ("chacha20poly1305-noesn", "chacha20poly1305"),
        ("aes128gcm16-aes128gcm16iiv-esn", "aes128gcm16-esn"),
        ("aes128gcm16iiv-aes128gcm16-esn", "aes128gcm16iiv-esn"),
    ] {
        let chosen = select_esp(&esp(&[knows]), &offer, ChildExchange::IkeAuth).unwrap();
        assert_eq!(chosen.suite.to_string(), takes);
        let answer = sent(&esp_answer(&chosen, Spi(0x2000)));
        let accepted = accept_esp(&default_esp(), &answer, ChildExchange::IkeAuth).unwrap();
        assert_eq!(accepted.suite.to_string(), takes);
    }
}

/// RFC 8750 7, 8: "not allowed" in IKE.
#[test]
fn passes_over_an_implicit_iv_that_is_offered_for_an_ike_sa() {
    let ours = ike(&["aes256gcm16-prfsha256-x25519"]);
    let implicit = Transform::with_key_length(TransformType::ENCRYPTION, 30, 256);
    let mut offer = ike_offer(&ours, None);
    offer.proposals[0].transforms.insert(0, implicit.clone());
    let chosen = select_ike(&ours, &sent(&offer)).unwrap();
    assert_eq!(chosen.suite.to_string(), "aes256gcm16-prfsha256-x25519");

    offer.proposals[0]
        .transforms
        .retain(|t| t.kind != TransformType::ENCRYPTION);
    offer.proposals[0].transforms.push(implicit);
    let refused = select_ike(&default_ike(), &sent(&offer)).unwrap_err();
    assert!(
        refused
            .difference
            .to_string()
            .contains("they offer encryption aes256gcm16iiv"),
        "{refused}"
    );
}

#[test]
fn the_responders_order_decides() {
    let alice = &[
        "aes128-sha1-modp1024",
        "aes128-aes256-sha256-sha512-modp2048-x25519",
    ];
    assert_eq!(
        ike_between(alice, &["aes256-aes128-sha512-sha256-x25519-modp2048"]),
        ok(2, "aes256-sha512-prfsha512-x25519")
    );
    let bob = &["chacha20poly1305-prfsha256-x25519", "aes128-sha1-modp1024"];
    assert_eq!(ike_between(alice, bob), ok(1, "aes128-sha1-prfsha1-modp1024"));
}

#[test]
fn algorithms_are_never_mixed_across_proposals() {
    let alice = &["aes128-sha256-modp2048", "aes256-sha512-x25519"];
    assert!(ike_between(alice, &["aes128-sha256-x25519"]).is_err());
}

#[test]
fn names_the_first_type_that_differs_with_both_sides_values() {
    let alice = &["aes256gcm16-prfsha256-modp1024"];
    let bob = &["aes256gcm16-prfsha256-x25519-ecp256"];
    assert_eq!(
        ike_between(alice, bob),
        Err("they offer DH modp1024, we accept x25519, ecp256".into())
    );
    assert_eq!(
        ike_between(&["aes128-sha1-modp2048"], &["aes256-sha1-modp2048"]),
        Err("they offer encryption aes128, we accept aes256".into())
    );
    assert_eq!(
        ike_between(&["aes128-sha1-modp2048"], &["aes128-sha256-modp2048"]),
        Err("they offer integrity sha1, we accept sha256".into())
    );
    assert_eq!(
        ike_between(&["aes128-sha256-prfsha1-modp2048"], &["aes128-sha256-modp2048"]),
        Err("they offer PRF prfsha1, we accept prfsha256".into())
    );
}

#[test]
fn the_mismatch_has_both_lists_and_blames_the_nearest_pair() {
    let alice = ike(&["aes128-sha1-modp1024", "aes256gcm16-prfsha256-ecp384"]);
    let mismatch = select_ike(
        &ike(&["aes256gcm16-prfsha256-x25519"]),
        &sent(&ike_offer(&alice, None)),
    )
    .unwrap_err();
    assert_eq!(
        mismatch.to_string(),
        "they offer DH ecp384, we accept x25519 (we accept aes256gcm16-prfsha256-x25519; \
         they offer aes128-prfsha1-sha1-modp1024, aes256gcm16-prfsha256-ecp384)"
    );
}

#[test]
fn names_what_the_peer_offers_even_if_we_do_not_speak_it() {
    let transforms = vec![
        Transform::new(TransformType::ENCRYPTION, 3),
        Transform::with_key_length(TransformType::ENCRYPTION, 12, 192),
        Transform::new(TransformType::PRF, 1),
        Transform::new(TransformType::INTEGRITY, 1),
        Transform::new(TransformType::KEY_EXCHANGE, 5),
        Transform::new(TransformType::KEY_EXCHANGE, 4711),
    ];
    let proposal = Proposal {
        number: 1,
        protocol: ProtocolId::IKE,
        spi: vec![],
        transforms,
    };
    let offer = SecurityAssociation {
        proposals: vec![proposal],
    };
    let mismatch = select_ike(&legacy_ike(), &offer).unwrap_err();
    assert_eq!(mismatch.offered, "3des-aes_192-prfmd5-md5-modp1536-DH4711");
    assert_eq!(
        mismatch.difference.to_string(),
        "they offer encryption 3des, aes_192, we accept aes256, aes128"
    );
}

#[test]
fn the_text_of_a_hostile_offer_is_short() {
    let transforms = (0..255)
        .map(|id| Transform::new(TransformType::ENCRYPTION, 1000 + id))
        .collect();
    let proposal = Proposal {
        number: 1,
        protocol: ProtocolId::IKE,
        spi: vec![],
        transforms,
    };
    let offer = SecurityAssociation {
        proposals: vec![proposal; 64],
    };
    assert!(select_ike(&default_ike(), &offer).unwrap_err().to_string().len() < 2000);
}

#[test]
fn refuses_proposals_with_unknown_types_and_transforms_with_unknown_attributes() {
    // RFC 7296 3.3.6.
    let ours = ike(&["aes256gcm16-prfsha256-x25519"]);
    let mut offer = ike_offer(&ours, None);
    offer.proposals[0]
        .transforms
        .push(Transform::new(TransformType(13), 36));
    assert_eq!(
        select_ike(&ours, &offer).unwrap_err().difference,
        Difference::UnknownType(13)
    );

    let mut offer = ike_offer(&ours, None);
    let attribute = Attribute {
        kind: 99,
        value: AttributeValue::Short(1),
    };
    offer.proposals[0].transforms[0].attributes.push(attribute);
    assert!(matches!(
        select_ike(&ours, &offer).unwrap_err().difference,
        Difference::Transform {
            kind: Kind::Encryption,
            ..
        }
    ));
}

#[test]
fn an_unknown_alternative_does_not_spoil_a_proposal() {
    let ours = ike(&["aes256gcm16-prfsha256-x25519"]);
    let mut offer = ike_offer(&ours, None);
    offer.proposals[0]
        .transforms
        .insert(0, Transform::new(TransformType::KEY_EXCHANGE, 4711));
    assert!(select_ike(&ours, &offer).is_ok());
}

#[test]
fn accepts_integrity_none_and_integrity_beside_an_aead_in_an_offer_but_answers_without() {
    let ours = esp(&["aes256gcm16"]);
    for id in [0, 12] {
        let mut offer = esp_offer(&ours, Spi(0x1000));
        offer.proposals[0]
            .transforms
            .push(Transform::new(TransformType::INTEGRITY, id));
        let chosen = select_esp(&ours, &offer, ChildExchange::IkeAuth).unwrap();
        assert_eq!(chosen.suite.integrity, None);
        let answer = esp_answer(
            &ChosenEsp {
                number: 1,
                ..chosen.clone()
            },
            Spi(0x2000),
        );
        assert!(
            answer.proposals[0]
                .transforms
                .iter()
                .all(|t| t.kind != TransformType::INTEGRITY)
        );
    }
}

#[test]
fn a_rekeyed_ike_sa_carries_its_spi_in_the_proposal() {
    let ours = ike(&["aes256gcm16-prfsha256-x25519"]);
    assert_eq!(
        select_ike(&ours, &sent(&ike_offer(&ours, Some(0x1122))))
            .unwrap()
            .spi,
        Some(0x1122)
    );
    let mut offer = ike_offer(&ours, None);
    offer.proposals[0].spi = vec![1, 2, 3, 4];
    assert_eq!(select_ike(&ours, &offer).unwrap_err().difference, Difference::Spi);
}

#[test]
fn a_child_sa_in_ike_auth_needs_no_common_group() {
    let (alice, bob) = (&["aes256gcm16-modp2048"], &["aes256gcm16-x25519"]);
    assert_eq!(
        esp_between(alice, bob, ChildExchange::IkeAuth),
        ok(1, "aes256gcm16")
    );
    assert_eq!(
        esp_between(alice, bob, ChildExchange::CreateChildSa),
        Err("they offer DH modp2048, we accept x25519".into())
    );
}

#[test]
fn pfs_is_used_in_create_child_sa_when_both_want_it_and_refused_when_one_does() {
    let (with, without) = (&["aes256gcm16-x25519"], &["aes256gcm16"]);
    let exchange = ChildExchange::CreateChildSa;
    assert_eq!(esp_between(with, with, exchange), ok(1, "aes256gcm16-x25519"));
    assert_eq!(esp_between(without, without, exchange), ok(1, "aes256gcm16"));
    assert_eq!(
        esp_between(with, without, exchange),
        Err("they offer DH x25519, we accept none".into())
    );
    assert_eq!(
        esp_between(without, with, exchange),
        Err("they offer DH none, we accept x25519".into())
    );
}

#[test]
fn esn_is_negotiated_and_its_absence_means_without() {
    let exchange = ChildExchange::IkeAuth;
    assert_eq!(
        esp_between(&["aes256gcm16-noesn-esn"], &["aes256gcm16-esn-noesn"], exchange),
        ok(1, "aes256gcm16-esn")
    );
    assert_eq!(
        esp_between(&["aes256gcm16-noesn"], &["aes256gcm16-esn"], exchange),
        Err("they offer ESN noesn, we accept esn".into())
    );
    let ours = esp(&["aes256gcm16-esn-noesn"]);
    let mut offer = esp_offer(&ours, Spi(0x1000));
    offer.proposals[0]
        .transforms
        .retain(|t| t.kind != TransformType::ESN);
    assert!(!select_esp(&ours, &offer, exchange).unwrap().suite.esn);
}

#[test]
fn refuses_ah_and_reserved_spis() {
    let ours = esp(&["aes256gcm16"]);
    let mut offer = esp_offer(&ours, Spi(0x1000));
    offer.proposals[0].protocol = ProtocolId::AH;
    let mismatch = select_esp(&ours, &offer, ChildExchange::IkeAuth).unwrap_err();
    assert_eq!(mismatch.difference.to_string(), "they offer AH");
    for spi in [0, 255] {
        let offer = esp_offer(&ours, Spi(spi));
        let mismatch = select_esp(&ours, &offer, ChildExchange::IkeAuth).unwrap_err();
        assert_eq!(mismatch.difference, Difference::Spi);
    }
}

#[test]
fn the_initiator_refuses_every_answer_that_is_not_one_of_its_offers() {
    let alice = ike(&["aes256-aes128-sha256-x25519-modp2048", "aes128-sha1-modp1024"]);
    let good = select_ike(&alice, &ike_offer(&alice, None)).unwrap();
    let answer = ike_answer(
        &ChosenIke {
            number: 1,
            ..good.clone()
        },
        None,
    );
    assert!(accept_ike(&alice, &answer).is_ok());

    // Eve answers with more than one proposal, with none, with numbers that were not sent.
    let twice = SecurityAssociation {
        proposals: [answer.proposals.clone(), answer.proposals.clone()].concat(),
    };
    assert_eq!(accept_ike(&alice, &twice), Err(BadAnswer::Count(2)));
    assert_eq!(
        accept_ike(&alice, &SecurityAssociation { proposals: vec![] }),
        Err(BadAnswer::Count(0))
    );
    for number in [0, 3, 255] {
        assert_eq!(
            accept_ike(
                &alice,
                &ike_answer(
                    &ChosenIke {
                        number,
                        ..good.clone()
                    },
                    None
                )
            ),
            Err(BadAnswer::Number(number))
        );
    }
    // With the algorithms of one proposal under the number of the other.
    assert!(matches!(
        accept_ike(
            &alice,
            &ike_answer(
                &ChosenIke {
                    number: 2,
                    ..good.clone()
                },
                None
            )
        ),
        Err(BadAnswer::NotOffered { .. })
    ));
    // With two algorithms of a type, and with none.
    let both = ike_offer(&alice[..1], None);
    assert!(matches!(
        accept_ike(&alice, &both),
        Err(BadAnswer::NotOne {
            kind: Kind::Encryption,
            ..
        })
    ));
    for kind in [
        TransformType::ENCRYPTION,
        TransformType::PRF,
        TransformType::INTEGRITY,
        TransformType::KEY_EXCHANGE,
    ] {
        let mut without = answer.clone();
        without.proposals[0].transforms.retain(|t| t.kind != kind);
        assert!(
            matches!(accept_ike(&alice, &without), Err(BadAnswer::NotOffered { .. })),
            "{kind:?}"
        );
    }
    // With an algorithm we did not offer at all.
    let mut foreign = answer.clone();
    foreign.proposals[0].transforms[0] = Transform::new(TransformType::ENCRYPTION, 3);
    assert!(
        accept_ike(&alice, &foreign)
            .unwrap_err()
            .to_string()
            .contains("they offer encryption 3des")
    );
}

#[test]
fn the_initiator_refuses_an_integrity_algorithm_with_an_aead() {
    let alice = ike(&["aes256gcm16-prfsha256-x25519"]);
    let good = select_ike(&alice, &ike_offer(&alice, None)).unwrap();
    let mut answer = ike_answer(
        &ChosenIke {
            number: 1,
            ..good.clone()
        },
        None,
    );
    answer.proposals[0]
        .transforms
        .push(Transform::new(TransformType::INTEGRITY, 12));
    assert!(matches!(
        accept_ike(&alice, &answer),
        Err(BadAnswer::NotOffered { .. })
    ));
    // NONE says the same as nothing.
    answer.proposals[0].transforms.pop();
    answer.proposals[0]
        .transforms
        .push(Transform::new(TransformType::INTEGRITY, 0));
    assert!(accept_ike(&alice, &answer).is_ok());
}
