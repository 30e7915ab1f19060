//! The judge, with what OpenSSL made and a network that is this test.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test may ask for one kind of output without naming all the others"
)]

use std::time::Duration;

use super::*;
use crate::api::Fetch;

macro_rules! file {
    ($name:literal) => {
        include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/vectors/revocation/",
            $name
        ))
        .as_slice()
    };
}

struct Zeros;

impl Random for Zeros {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill(0);
    }
}

/// A checker, a clock, and what the checker asked for.
struct Scene {
    checker: Checker,
    now: Instant,
    days: u64,
    rules: Rules,
    in_band: Vec<Vec<u8>>,
}

impl Scene {
    fn new(policy: Policy) -> Self {
        Self {
            checker: Checker::default(),
            now: crate::testing::Clock::new().now(),
            days: 1,
            rules: Rules {
                policy,
                crls: Vec::new(),
            },
            in_band: Vec::new(),
        }
    }

    fn with_crl(mut self, der: &[u8]) -> Self {
        self.rules.crls.push(Arc::new(Crl::parse(der).unwrap()));
        self
    }

    fn date(&self) -> UnixTime {
        let now: u64 = include_str!("../../../../tests/vectors/revocation/now")
            .trim()
            .parse()
            .unwrap();
        UnixTime::since_unix_epoch(Duration::from_secs(now + self.days * 24 * 3600))
    }

    fn check(&self, certificate: &[u8]) -> Verdict {
        self.check_with(certificate, true)
    }

    fn check_with(&self, certificate: &[u8], may_ask: bool) -> Verdict {
        let evidence = Evidence {
            rules: &self.rules,
            in_band: &self.in_band,
            may_ask,
        };
        self.checker
            .check(&[subject(certificate)], evidence, self.now, self.date())
    }

    /// Asks what the certificate makes it ask.
    fn ask(&mut self, certificate: &[u8]) -> Vec<Fetch> {
        let Verdict::Wanted(questions) = self.check(certificate) else {
            panic!("nothing is asked")
        };
        let mut fetches = Vec::new();
        let ids = self
            .checker
            .ask(questions, self.now, &mut Zeros, |output| match output {
                Output::Fetch(fetch) => fetches.push(fetch),
                other => panic!("{other:?}"),
            });
        assert!(!ids.is_empty() || fetches.is_empty());
        fetches
    }

    fn answer(&mut self, id: FetchId, result: Result<&[u8], &str>) {
        let date = self.date();
        assert!(self.checker.fetched(id, result, self.now, date));
    }
}

fn subject(certificate: &[u8]) -> Arc<Subject> {
    Arc::new(Subject {
        name: "CN=it".to_owned(),
        facts: Facts::parse(certificate).unwrap(),
        issuer: Facts::parse(file!("ca.cert")).unwrap().as_issuer(),
    })
}

fn accepted_without_doubt(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Accepted(doubts) if doubts.is_empty())
}

#[test]
fn a_crl_file_decides_without_the_network() {
    let scene = Scene::new(Policy::Require).with_crl(file!("complete.crl"));
    assert!(accepted_without_doubt(&scene.check(file!("good.cert"))));
    let Verdict::Refused(error) = scene.check(file!("revoked.cert")) else {
        panic!("not refused")
    };
    let words = error.to_string();
    assert!(words.contains("serial f0:01, revoked 20"), "{words}");
    assert!(
        words.ends_with("reason keyCompromise), says the CRL file"),
        "{words}"
    );
}

#[test]
fn ocsp_is_asked_first_and_the_crl_if_that_fails() {
    let mut scene = Scene::new(Policy::Require);
    let first = scene.ask(file!("good.cert")).remove(0);
    assert_eq!(first.url, "http://192.0.2.1:8080/ocsp");
    assert!(first.post.is_some());
    scene.answer(first.id, Err("connection refused"));
    let second = scene.ask(file!("good.cert")).remove(0);
    assert_eq!(second.url, "http://192.0.2.1/ca.crl");
    assert_eq!(second.post, None);
    scene.answer(second.id, Ok(file!("complete.crl")));
    assert!(accepted_without_doubt(&scene.check(file!("good.cert"))));
    // The same list answers for all others of the issuer.
    assert!(matches!(scene.check(file!("revoked.cert")), Verdict::Refused(_)));
}

#[test]
fn a_response_is_kept_until_its_next_update_and_then_asked_for_again() {
    let mut scene = Scene::new(Policy::Require);
    let fetch = scene.ask(file!("good.cert")).remove(0);
    scene.answer(fetch.id, Ok(file!("good.ocsp")));
    assert!(accepted_without_doubt(&scene.check(file!("good.cert"))));
    let own = scene
        .checker
        .response_for(&subject(file!("good.cert")), scene.date());
    assert_eq!(own.as_deref(), Some(file!("good.ocsp")));
    scene.days = 8;
    assert_eq!(scene.ask(file!("good.cert")).len(), 1);
    let own = scene
        .checker
        .response_for(&subject(file!("good.cert")), scene.date());
    assert_eq!(own, None);
}

#[test]
fn a_response_with_another_nonce_is_refused() {
    let mut scene = Scene::new(Policy::Require);
    let fetch = scene.ask(file!("good.cert")).remove(0);
    scene.answer(fetch.id, Ok(file!("good-nonce.ocsp")));
    // On to the CRL.
    assert_eq!(scene.ask(file!("good.cert"))[0].post, None);
}

#[test]
fn a_response_in_band_spares_the_network() {
    let mut scene = Scene::new(Policy::Require);
    scene.in_band.push(file!("good.ocsp").to_vec());
    assert!(accepted_without_doubt(&scene.check(file!("good.cert"))));
    // It says nothing of others.
    assert!(matches!(scene.check(file!("revoked.cert")), Verdict::Wanted(_)));
    scene.in_band.push(file!("revoked.ocsp").to_vec());
    let Verdict::Refused(error) = scene.check(file!("revoked.cert")) else {
        panic!("not refused")
    };
    assert!(
        error.to_string().ends_with("says the OCSP response of the peer"),
        "{error}"
    );
}

#[test]
fn nothing_known_is_for_the_policy_to_judge_and_names_what_was_tried() {
    for policy in [Policy::IfAvailable, Policy::Require] {
        let mut scene = Scene::new(policy);
        for _ in 0..2 {
            let fetch = scene.ask(file!("good.cert")).remove(0);
            scene.answer(fetch.id, Err("connection refused"));
        }
        let error = match scene.check(file!("good.cert")) {
            Verdict::Accepted(mut doubts) if policy == Policy::IfAvailable => doubts.remove(0),
            Verdict::Refused(error) if policy == Policy::Require => error,
            other => panic!("{policy:?}: {other:?}"),
        };
        let words = error.to_string();
        assert!(
            words.contains("OCSP at http://192.0.2.1:8080/ocsp: connection refused"),
            "{words}"
        );
        assert!(
            words.contains("the CRL at http://192.0.2.1/ca.crl: connection refused"),
            "{words}"
        );
        assert!(error.remedy().contains("revocation = \"if-available\""));
    }
}

#[test]
fn a_source_that_failed_is_asked_again_a_minute_later() {
    let mut scene = Scene::new(Policy::IfAvailable);
    for _ in 0..2 {
        let fetch = scene.ask(file!("good.cert")).remove(0);
        scene.answer(fetch.id, Err("connection refused"));
    }
    assert!(matches!(scene.check(file!("good.cert")), Verdict::Accepted(_)));
    scene.now += Duration::from_secs(61);
    assert_eq!(scene.ask(file!("good.cert")).len(), 1);
}

#[test]
fn a_crl_out_of_date_is_told_as_such_with_the_date() {
    let scene = Scene::new(Policy::Require).with_crl(file!("stale.crl"));
    let Verdict::Refused(error) = scene.check(file!("responder.cert")) else {
        panic!("not refused")
    };
    assert!(matches!(error, RevocationError::OutOfDate { .. }));
    assert!(
        error
            .to_string()
            .ends_with("the CRL file is out of date since 2024-02-01T00:00:00Z"),
        "{error}"
    );
    assert!(error.remedy().contains("issue a new CRL"), "{}", error.remedy());
}

#[test]
fn nobody_is_asked_twice_at_the_same_time() {
    let mut scene = Scene::new(Policy::Require);
    assert_eq!(scene.ask(file!("good.cert")).len(), 1);
    assert_eq!(scene.ask(file!("good.cert")).len(), 0);
    // Of another certificate the responder knows something else.
    assert_eq!(scene.ask(file!("revoked.cert")).len(), 1);
}

#[test]
fn a_question_that_nobody_answers_is_given_up() {
    let mut scene = Scene::new(Policy::Require);
    let fetch = scene.ask(file!("good.cert")).remove(0);
    let deadline = scene.checker.next_deadline().unwrap();
    assert!(scene.checker.expire(scene.now).is_empty());
    assert_eq!(scene.checker.expire(deadline), [fetch.id]);
    assert_eq!(scene.checker.next_deadline(), None);
    // A late answer is nobody's.
    let date = scene.date();
    assert!(
        !scene
            .checker
            .fetched(fetch.id, Ok(file!("good.ocsp")), deadline, date)
    );
}

#[test]
fn without_leave_to_ask_the_policy_judges_at_once() {
    let scene = Scene::new(Policy::Require);
    assert!(matches!(
        scene.check_with(file!("good.cert"), false),
        Verdict::Refused(RevocationError::Unknown { .. })
    ));
}

#[test]
fn answers_of_any_length_fill_no_more_than_a_bounded_cache() {
    let mut scene = Scene::new(Policy::Require);
    let good = subject(file!("good.cert"));
    for round in 0..300u32 {
        let mut other = subject(file!("good.cert"));
        let mut facts = other.facts.clone();
        facts.serial = round.to_be_bytes().to_vec();
        other = Arc::new(Subject {
            facts,
            name: String::new(),
            issuer: good.issuer.clone(),
        });
        let evidence = Evidence {
            rules: &scene.rules,
            in_band: &[],
            may_ask: true,
        };
        let date = scene.date();
        let Verdict::Wanted(questions) = scene.checker.check(&[other], evidence, scene.now, date) else {
            panic!("nothing is asked")
        };
        let mut ids = Vec::new();
        scene.checker.ask(questions, scene.now, &mut Zeros, |output| {
            if let Output::Fetch(fetch) = output {
                ids.push(fetch.id);
            }
        });
        // The first 32 stay under way.
        assert_eq!(ids.len(), usize::from(round < 32));
    }
    assert_eq!(scene.checker.store.failures_of(&good, scene.now).len(), 0);
}

#[test]
fn a_responder_whose_own_certificate_is_revoked_is_not_believed() {
    // The CRL is too old to call anybody good, but what it revokes stays revoked.
    let judged = |response: &[u8], crl: Option<&[u8]>| {
        let mut scene = Scene::new(Policy::Require);
        scene.in_band.push(response.to_vec());
        let scene = match crl {
            Some(crl) => scene.with_crl(crl),
            None => scene,
        };
        scene.check_with(file!("good.cert"), false)
    };
    let list = file!("responders.crl");
    assert!(matches!(
        judged(file!("delegated.ocsp"), None),
        Verdict::Accepted(_)
    ));
    assert!(matches!(
        judged(file!("delegated.ocsp"), Some(list)),
        Verdict::Refused(_)
    ));
    // RFC 6960 4.2.2.2.1: of this one its authority says that nobody need ask (id-pkix-ocsp-nocheck).
    assert!(matches!(
        judged(file!("delegated-unchecked.ocsp"), Some(list)),
        Verdict::Accepted(_)
    ));
    // And of the authority's own signature nobody asks.
    assert!(matches!(
        judged(file!("good.ocsp"), Some(list)),
        Verdict::Accepted(_)
    ));
}
