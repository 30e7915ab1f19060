//! Octets written by hand from the figures of RFC 7296 3, and what they mean.

use std::net::{Ipv4Addr, Ipv6Addr};

use xvpn_ike::wire::payload::*;
use xvpn_ike::wire::{Body, Fault, Malformed};

/// Reads `octets` as a `T`, expects `value`, and expects `value` to be written as `octets`.
#[track_caller]
fn both_ways<T: Body + PartialEq + std::fmt::Debug>(octets: &[u8], value: T) {
    assert_eq!(T::parse(octets).expect("these octets are good"), value);
    assert_eq!(value.to_bytes(), octets);
}

#[track_caller]
fn refused<T: Body + std::fmt::Debug>(octets: &[u8]) -> Malformed {
    T::parse(octets).expect_err("these octets are wrong")
}

#[test]
fn reads_an_sa_of_two_proposals() {
    #[rustfmt::skip]
    let octets = [
        // Proposal 1 of IKE, no SPI, 3 transforms, 36 octets, another follows
        0x02, 0x00, 0x00, 0x24, 0x01, 0x01, 0x00, 0x03,
        0x03, 0x00, 0x00, 0x0c, 0x01, 0x00, 0x00, 0x14, 0x80, 0x0e, 0x01, 0x00, // ENCR_AES_GCM_16, 256 bits
        0x03, 0x00, 0x00, 0x08, 0x02, 0x00, 0x00, 0x05, // PRF_HMAC_SHA2_256
        0x00, 0x00, 0x00, 0x08, 0x04, 0x00, 0x00, 0x1f, // Curve25519
        // Proposal 2 of ESP, SPI c0ffee01, 2 transforms
        0x00, 0x00, 0x00, 0x1c, 0x02, 0x03, 0x04, 0x02, 0xc0, 0xff, 0xee, 0x01,
        0x03, 0x00, 0x00, 0x08, 0x01, 0x00, 0x00, 0x1c, // ENCR_CHACHA20_POLY1305
        0x00, 0x00, 0x00, 0x08, 0x05, 0x00, 0x00, 0x01, // ESN
    ];
    let proposals = vec![
        Proposal {
            number: 1,
            protocol: ProtocolId::IKE,
            spi: vec![],
            transforms: vec![
                Transform::with_key_length(TransformType::ENCRYPTION, 20, 256),
                Transform::new(TransformType::PRF, 5),
                Transform::new(TransformType::KEY_EXCHANGE, 31),
            ],
        },
        Proposal {
            number: 2,
            protocol: ProtocolId::ESP,
            spi: vec![0xc0, 0xff, 0xee, 0x01],
            transforms: vec![
                Transform::new(TransformType::ENCRYPTION, 28),
                Transform::new(TransformType::ESN, 1),
            ],
        },
    ];
    assert_eq!(proposals[0].transforms[0].key_length(), Some(256));
    assert!(!proposals[0].transforms[0].has_unknown_attribute());
    both_ways(&octets, SecurityAssociation { proposals });
}

#[test]
fn keeps_attributes_it_does_not_know() {
    #[rustfmt::skip]
    let octets = [
        0x00, 0x00, 0x00, 0x1b, 0x01, 0x01, 0x00, 0x01,
        0x00, 0x00, 0x00, 0x13, 0xf1, 0x00, 0x04, 0x00,
        0x80, 0x0e, 0x00, 0x80, // key length, 128 bits
        0x40, 0x01, 0x00, 0x03, 1, 2, 3, // private attribute, three octets
    ];
    let attributes = vec![
        Attribute {
            kind: Attribute::KEY_LENGTH,
            value: AttributeValue::Short(128),
        },
        Attribute {
            kind: 0x4001,
            value: AttributeValue::Long(vec![1, 2, 3]),
        },
    ];
    let transform = Transform {
        kind: TransformType(241),
        id: 1024,
        attributes,
    };
    assert!(transform.has_unknown_attribute());
    let proposal = Proposal {
        number: 1,
        protocol: ProtocolId::IKE,
        spi: vec![],
        transforms: vec![transform],
    };
    both_ways(
        &octets,
        SecurityAssociation {
            proposals: vec![proposal],
        },
    );
}

#[test]
fn refuses_an_sa_whose_lengths_and_counts_disagree() {
    let one = |last: u8, length: u8, spi_size: u8, count: u8, tail: &[u8]| {
        refused::<SecurityAssociation>(&[&[last, 0, 0, length, 1, 1, spi_size, count][..], tail].concat())
            .fault
    };
    let transform = [0, 0, 0, 8, 1, 0, 0, 20];
    let length_fault = |fault| matches!(fault, Fault::Length { .. });
    let value_fault = |fault| matches!(fault, Fault::Value { .. });
    let truncated = |fault| matches!(fault, Fault::Truncated { .. });
    assert!(
        length_fault(one(0, 16, 0, 2, &transform)),
        "two transforms announced, one there"
    );
    assert!(
        length_fault(one(0, 16, 0, 0, &transform)),
        "none announced, one there"
    );
    assert!(length_fault(one(0, 3, 0, 0, &[])), "shorter than its header");
    assert!(truncated(one(0, 17, 0, 1, &transform)), "longer than the payload");
    assert!(
        truncated(one(2, 16, 0, 1, &transform)),
        "another proposal announced"
    );
    assert!(
        value_fault(one(1, 16, 0, 1, &transform)),
        "Last Substruc is 0 or 2"
    );
    assert!(
        value_fault(one(0, 16, 3, 1, &transform)),
        "no SPI has three octets"
    );
    assert!(
        value_fault(one(0, 16, 0, 1, &[3, 0, 0, 8, 1, 0, 0, 20])),
        "another transform announced"
    );
    assert!(matches!(one(0, 8, 0, 0, &[9]), Fault::Trailing { octets: 1, .. }));
    assert!(
        truncated(refused::<SecurityAssociation>(&[]).fault),
        "no proposal at all"
    );
}

#[test]
fn refuses_more_proposals_than_anyone_needs() {
    let octets: Vec<u8> = (0..=255)
        .flat_map(|number| [2, 0, 0, 8, number, 1, 0, 0])
        .collect();
    let error = refused::<SecurityAssociation>(&octets);
    assert_eq!(
        error.fault,
        Fault::TooMany {
            what: "proposals",
            limit: 64
        }
    );
}

#[test]
fn reads_the_small_payloads() {
    both_ways(
        &[0, 19, 0, 0, 1, 2, 3],
        KeyExchange {
            method: 19,
            data: vec![1, 2, 3],
        },
    );
    both_ways(
        &[2, 0, 0, 0, b'a', b'b'],
        Identification::new(IdType::FQDN, b"ab".to_vec()),
    );
    both_ways(
        &[4, 0x30],
        Certificate {
            encoding: CertificateEncoding::X509_SIGNATURE,
            data: vec![0x30],
        },
    );
    both_ways(
        &[4],
        CertificateRequest {
            encoding: CertificateEncoding::X509_SIGNATURE,
            authorities: vec![],
        },
    );
    both_ways(
        &[2, 0, 0, 0, 7, 8],
        Authentication {
            method: AuthMethod::PSK,
            data: vec![7, 8],
        },
    );
    both_ways(b"x", VendorId(b"x".to_vec()));
    both_ways(
        &[1, 0, 0, 0, 0, 1, 0, 0],
        Configuration {
            kind: ConfigurationType::REQUEST,
            attributes: vec![0, 1, 0, 0],
        },
    );
}

#[test]
fn keeps_the_reserved_octets_of_an_identity_because_auth_covers_them() {
    let octets = [1, 0xde, 0xad, 0xbe, 192, 0, 2, 1];
    assert_eq!(Identification::parse(&octets).unwrap().to_bytes(), octets);
}

#[test]
fn ignores_reserved_octets_elsewhere() {
    let ke = KeyExchange::parse(&[0, 19, 0xff, 0xff, 1]).unwrap();
    assert_eq!(ke.to_bytes(), [0, 19, 0, 0, 1]);
    let auth = Authentication::parse(&[2, 1, 2, 3, 9]).unwrap();
    assert_eq!(auth.to_bytes(), [2, 0, 0, 0, 9]);
}

#[test]
fn accepts_nonces_of_16_to_256_octets_only() {
    for (length, good) in [
        (0, false),
        (15, false),
        (16, true),
        (32, true),
        (256, true),
        (257, false),
    ] {
        assert_eq!(Nonce::parse(&[7; 257][..length]).is_ok(), good, "{length} octets");
    }
}

#[test]
fn reads_notifies_with_and_without_spi() {
    both_ways(&[0, 0, 0x40, 0x00], Notify::new(NotifyType::INITIAL_CONTACT));
    both_ways(
        &[0, 0, 0, 17, 0, 14],
        Notify::with_data(NotifyType::INVALID_KE_PAYLOAD, vec![0, 14]),
    );
    let rekey = Notify::of_esp(NotifyType::REKEY_SA, 0x0102_0304);
    both_ways(&[3, 4, 0x40, 0x09, 1, 2, 3, 4], rekey.clone());
    assert_eq!(rekey.esp_spi(), Some(0x0102_0304));
    assert_eq!(Notify::new(NotifyType::REKEY_SA).esp_spi(), None);
    assert!(matches!(
        refused::<Notify>(&[3, 4, 0x40, 0x09, 1, 2, 3]).fault,
        Fault::Truncated { .. }
    ));
}

#[test]
fn names_notifies_and_knows_errors_from_statuses() {
    assert_eq!(NotifyType(38).to_string(), "TS_UNACCEPTABLE");
    assert_eq!(NotifyType(8192).to_string(), "error notify 8192");
    assert_eq!(NotifyType(40960).to_string(), "status notify 40960");
    assert!(NotifyType(16383).is_error() && !NotifyType(16384).is_error());
    assert_eq!(NotifyType::NAT_DETECTION_SOURCE_IP.0, 16388);
    assert_eq!(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED.0, 16430);
}

#[test]
fn reads_deletes() {
    both_ways(&[1, 0, 0, 0], Delete::Ike);
    both_ways(&[3, 4, 0, 2, 0, 0, 1, 0, 0, 0, 2, 0], Delete::Esp(vec![256, 512]));
    both_ways(&[2, 4, 0, 1, 0, 0, 1, 0], Delete::Ah(vec![256]));
    for wrong in [
        &[1u8, 8, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8][..],
        &[1, 0, 0, 1],
        &[1, 0, 0, 0, 0],
        &[3, 4, 0, 2, 0, 0, 1, 0],
        &[3, 4, 0, 0, 1],
        &[3, 4, 0xff, 0xff],
        &[3, 8, 0, 0],
        &[9, 4, 0, 0],
    ] {
        refused::<Delete>(wrong);
    }
}

#[test]
fn reads_traffic_selectors_of_both_families_and_keeps_others() {
    #[rustfmt::skip]
    let octets = [
        3, 0, 0, 0,
        7, 0, 0, 16, 0, 0, 0xff, 0xff, 10, 1, 0, 0, 10, 1, 255, 255,
        8, 6, 0, 40, 0, 80, 0, 80,
        0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        10, 0, 0, 6, b's', b'l',
    ];
    let v4 = Range::addresses(Ipv4Addr::new(10, 1, 0, 0), Ipv4Addr::new(10, 1, 255, 255));
    let v6 = Range {
        protocol: 6,
        start_port: 80,
        end_port: 80,
        start: "2001:db8::".parse::<Ipv6Addr>().unwrap(),
        end: "2001:db8::ffff:ffff:ffff:ffff".parse().unwrap(),
    };
    let label = Selector::Unknown {
        kind: 10,
        second: 0,
        data: b"sl".to_vec(),
    };
    both_ways(
        &octets,
        TrafficSelectors(vec![Selector::Ipv4(v4), Selector::Ipv6(v6), label]),
    );
}

#[test]
fn refuses_traffic_selectors_whose_lengths_and_counts_disagree() {
    let v4 = [7, 0, 0, 16, 0, 0, 0xff, 0xff, 10, 1, 0, 0, 10, 1, 255, 255];
    let with = |count: u8, selector: &[u8]| {
        refused::<TrafficSelectors>(&[&[count, 0, 0, 0][..], selector].concat()).fault
    };
    assert!(matches!(with(2, &v4), Fault::Truncated { .. }));
    assert!(matches!(with(0, &v4), Fault::Trailing { octets: 16, .. }));
    assert!(matches!(with(1, &[7, 0, 0, 3]), Fault::Length { length: 3, .. }));
    let mut long = v4.to_vec();
    long.push(0);
    long[3] = 17;
    assert!(
        matches!(with(1, &long), Fault::Trailing { octets: 1, .. }),
        "IPv4 selectors have 16 octets"
    );
}
