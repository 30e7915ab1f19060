//! Signatures against the vectors of RFC 4754 and RFC 8032, and keys as other programs write them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use xvpn_ike::crypto::sign::{
    Curve, Hash, KeyFormat, KeyKind, PublicKey, PublicKeyError, SignatureAlgorithm, SigningKey,
};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|digit| u8::try_from(digit).unwrap())
        .collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// A SubjectPublicKeyInfo of a point on a curve.
fn point(curve: Curve, gx: &str, gy: &str) -> PublicKey {
    let prefix = match curve {
        Curve::P256 => "3059301306072a8648ce3d020106082a8648ce3d030107034200 04",
        Curve::P384 => "3076301006072a8648ce3d020106052b81040022036200 04",
        Curve::P521 => "30819b301006072a8648ce3d020106052b810400230381860004",
    };
    PublicKey::from_spki(&[hex(prefix), hex(gx), hex(gy)].concat()).unwrap()
}

#[track_caller]
fn verifies(curve: Curve, gx: &str, gy: &str, r: &str, s: &str) {
    let key = point(curve, gx, gy);
    let mut signature = [hex(r), hex(s)].concat();
    let algorithm = SignatureAlgorithm::EcdsaFixed(curve);
    assert!(key.verify(algorithm, b"abc", &signature).is_ok());
    assert!(key.verify(algorithm, b"abd", &signature).is_err());
    signature[7] ^= 1;
    assert!(key.verify(algorithm, b"abc", &signature).is_err());
}

/// RFC 4754 8.1.
#[test]
fn verifies_the_example_on_p256() {
    verifies(
        Curve::P256,
        "2442A5CC 0ECD015F A3CA31DC 8E2BBC70 BF42D60C BCA20085 E0822CB0 4235E970",
        "6FC98BD7 E50211A4 A27102FA 3549DF79 EBCB4BF2 46B80945 CDDFE7D5 09BBFD7D",
        "CB28E099 9B9C7715 FD0A80D8 E47A7707 9716CBBF 917DD72E 97566EA1 C066957C",
        "86FA3BB4 E26CAD5B F90B7F81 899256CE 7594BB1E A0C89212 748BFF3B 3D5B0315",
    );
}

/// RFC 4754 8.2.
#[test]
fn verifies_the_example_on_p384() {
    verifies(
        Curve::P384,
        "96281BF8 DD5E0525 CA049C04 8D345D30 82968D10 FEDF5C5A CA0C64E6 465A97EA 5CE10C9D FEC21797 41571072 1F437922",
        "447688BA 94708EB6 E2E4D59F 6AB6D7ED FF9301D2 49FE49C3 3096655F 5D502FAD 3D383B91 C5E7EDAA 2B714CC9 9D5743CA",
        "FB017B91 4E291494 32D8BAC2 9A514640 B46F53DD AB2C6994 8084E293 0F1C8F7E 08E07C9C 63F2D21A 07DCB56A 6AF56EB3",
        "B263A130 5E057F98 4D38726A 1B468741 09F417BC A112674C 528262A4 0A629AF1 CBB9F516 CE0FA7D2 FF630863 A00E8B9F",
    );
}

/// RFC 4754 8.3.
#[test]
fn verifies_the_example_on_p521() {
    verifies(
        Curve::P521,
        "0151518F 1AF0F563 517EDD54 85190DF9 5A4BF57B 5CBA4CF2 A9A3F647 4725A35F 7AFE0A6D DEB8BEDB CD6A197E 592D4018 8901CECD 650699C9 B5E456AE A5ADD190 52A8",
        "006F3B14 2EA1BFFF 7E2837AD 44C9E4FF 6D2D34C7 3184BBAD 90026DD5 E6E85317 D9DF45CA D7803C6C 20035B2F 3FF63AFF 4E1BA64D 1C077577 DA3F4286 C58F0AEA E643",
        "0154FD38 36AF92D0 DCA57DD5 341D3053 988534FD E8318FC6 AAAAB68E 2E6F4339 B19F2F28 1A7E0B22 C269D93C F8794A92 78880ED7 DBB8D936 2CAEACEE 54432055 2251",
        "017705A7 030290D1 CEB605A9 A1BB03FF 9CDD521E 87A696EC 926C8C10 C8362DF4 97536710 1F67D1CF 9BCCBF2F 3D239534 FA509E70 AAC851AE 01AAC68D 62F86647 2660",
    );
}

/// RFC 8032 7.1, test 1.
#[test]
fn makes_the_example_of_ed25519() {
    // As OpenSSL writes it: the private key alone (RFC 8410 7).
    let secret = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let der = [hex("302e020100300506032b657004220420"), hex(secret)].concat();
    let key = SigningKey::from_der(KeyFormat::Pkcs8, &der).unwrap();
    assert_eq!(key.public().kind(), KeyKind::Ed25519);
    let signature = key.sign(SignatureAlgorithm::Ed25519, b"").unwrap();
    let expected = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b";
    assert_eq!(signature, hex(expected));
    assert!(
        key.public()
            .verify(SignatureAlgorithm::Ed25519, b"", &signature)
            .is_ok()
    );
    assert!(
        key.public()
            .verify(SignatureAlgorithm::Ed25519, b"x", &signature)
            .is_err()
    );
}

fn rsa() -> (rcgen::KeyPair, SigningKey) {
    let pair = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let key = SigningKey::from_der(KeyFormat::Pkcs8, pair.serialized_der()).unwrap();
    (pair, key)
}

#[test]
fn what_an_rsa_key_signs_it_verifies_and_nothing_else() {
    let (_, key) = rsa();
    let mut made = Vec::new();
    for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
        made.push(SignatureAlgorithm::RsaPkcs1(hash));
        made.push(SignatureAlgorithm::rsa_pss(hash));
    }
    // The old way, made by our own exponentiation and verified by the library's.
    made.push(SignatureAlgorithm::RsaPkcs1(Hash::Sha1));
    for algorithm in &made {
        let signature = key.sign(*algorithm, b"octets").unwrap();
        assert_eq!(signature.len(), 256);
        for other in &made {
            assert_eq!(
                key.public().verify(*other, b"octets", &signature).is_ok(),
                other == algorithm,
                "{algorithm} as {other}"
            );
        }
        assert!(key.public().verify(*algorithm, b"octetz", &signature).is_err());
    }
    assert_eq!(key.sign(SignatureAlgorithm::Ed25519, b""), None);
    assert_eq!(key.sign(SignatureAlgorithm::rsa_pss(Hash::Sha1), b""), None);
}

#[test]
fn the_salt_of_a_pss_is_the_one_that_was_named() {
    let (_, key) = rsa();
    let signature = key.sign(SignatureAlgorithm::rsa_pss(Hash::Sha256), b"x").unwrap();
    for salt in [0, 20, 31, 33, 64, 300, u16::MAX] {
        let other = SignatureAlgorithm::RsaPss(Hash::Sha256, salt);
        assert!(key.public().verify(other, b"x", &signature).is_err(), "{salt}");
    }
}

#[test]
fn what_an_ecdsa_key_signs_it_verifies_in_both_forms() {
    for (algorithm, curve) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, Curve::P256),
        (&rcgen::PKCS_ECDSA_P384_SHA384, Curve::P384),
        (&rcgen::PKCS_ECDSA_P521_SHA512, Curve::P521),
    ] {
        let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let key = SigningKey::from_der(KeyFormat::Pkcs8, pair.serialized_der()).unwrap();
        assert_eq!(key.public().kind(), KeyKind::Ecdsa(curve));
        let asn1 = SignatureAlgorithm::Ecdsa(curve.hash());
        let fixed = SignatureAlgorithm::EcdsaFixed(curve);
        for (made, other) in [(asn1, fixed), (fixed, asn1)] {
            let signature = key.sign(made, b"octets").unwrap();
            assert!(key.public().verify(made, b"octets", &signature).is_ok());
            assert!(key.public().verify(other, b"octets", &signature).is_err());
        }
    }
}

#[test]
fn refuses_small_keys_and_rubbish() {
    assert_eq!(PublicKey::from_spki(b"rubbish"), Err(PublicKeyError::Malformed));
    // RSA with a modulus of 1024 bits.
    let modulus = [
        &[0x02, 0x81, 0x81, 0x00, 0xc1][..],
        &[0x55; 127],
        &[0x02, 0x03, 1, 0, 1],
    ]
    .concat();
    let pkcs1 = [&[0x30, 0x81, 0x89][..], &modulus].concat();
    let spki = [&hex("30819f300d06092a864886f70d010101050003818d00")[..], &pkcs1].concat();
    assert_eq!(PublicKey::from_spki(&spki), Err(PublicKeyError::Size(1024)));
    for format in [KeyFormat::Pkcs8, KeyFormat::Pkcs1, KeyFormat::Sec1] {
        assert!(SigningKey::from_der(format, b"rubbish").is_err());
        assert!(SigningKey::from_der(format, &[]).is_err());
    }
}

#[test]
fn a_key_is_never_printed() {
    let (_, key) = rsa();
    assert_eq!(format!("{key:?}"), "SigningKey(RSA-2048, ..)");
}
