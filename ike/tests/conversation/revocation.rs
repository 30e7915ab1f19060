//! Certificates that may have been revoked: what is asked, what waits for it, and what comes of it (RFC 6960, RFC 4806,
//! RFC 5280 6.3). Certificates, CRLs and OCSP responses are OpenSSL's; the network is this test.

use std::sync::Arc;
use std::time::Duration;

use xvpn_ike::api::{Command, Event, Fetch, FetchId, Input, Output};
use xvpn_ike::auth::method::{LocalAuth, RemoteAuth};
use xvpn_ike::auth::signature::RsaPadding;
use xvpn_ike::auth::x509::crl::Crl;
use xvpn_ike::auth::x509::revocation::{Policy, RevocationError, Rules};
use xvpn_ike::auth::x509::{Anchor, CertificateDer};
use xvpn_ike::config::ConnectionConfig;
use xvpn_ike::crypto::sign::{KeyFormat, SigningKey};
use xvpn_ike::error::{Cause, Ignore};
use xvpn_ike::testing::{Host, LINK, Pair, Who, config, name};

use super::SOON;

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

const RESPONDER: &str = "http://192.0.2.1:8080/ocsp";
const LIST: &str = "http://192.0.2.1/ca.crl";

/// `who` shows a certificate, of which the other one wants to know so much.
fn scene(who: Who, certificate: &[u8], key: &[u8], policy: Policy) -> (ConnectionConfig, ConnectionConfig) {
    let (mut alice, mut bob) = (config(Who::Alice), config(Who::Bob));
    let (shows, judges) = match who {
        Who::Alice => (&mut alice, &mut bob),
        Who::Bob => (&mut bob, &mut alice),
    };
    shows.local_auth = LocalAuth::Certificate {
        chain: [CertificateDer::from(certificate.to_vec())].into(),
        key: Arc::new(SigningKey::from_der(KeyFormat::Pkcs8, key).unwrap()),
        padding: RsaPadding::Auto,
    };
    // The name that is in the certificate.
    shows.local_identity = name("alice.example");
    shows.revocation.policy = Policy::Off;
    judges.remote_identity = name("alice.example");
    judges.local_identity = name("bob.example");
    shows.remote_identity = name("bob.example");
    judges.remote_auth = RemoteAuth::Certificate {
        anchors: [Anchor::from_der(file!("ca.cert")).unwrap()].into(),
    };
    judges.revocation.policy = policy;
    (alice, bob)
}

fn pair((alice, bob): (ConnectionConfig, ConnectionConfig)) -> Pair {
    let mut pair = Pair::configured(alice, bob);
    let now = include_str!("../vectors/revocation/now").trim().parse().unwrap();
    for who in [Who::Alice, Who::Bob] {
        pair.input(who, Input::WallClock(Duration::from_secs(now)));
    }
    pair
}

/// Alice has shown a revoked certificate to Bob.
pub(super) fn revoked_pair() -> Pair {
    let (cert, key) = (file!("revoked.cert"), file!("revoked.key"));
    let mut pair = pair(scene(Who::Alice, cert, key, Policy::IfAvailable));
    pair.up(Who::Alice);
    pair.run_for(Duration::from_millis(200));
    let id = fetches(&pair.bob)[0].id;
    answer(&mut pair, Who::Bob, id, Ok(file!("revoked.ocsp")));
    pair.run_for(SOON);
    pair
}

/// Alice shows a good certificate to Bob.
fn alice_shows_a_good_one(policy: Policy) -> Pair {
    pair(scene(Who::Alice, file!("good.cert"), file!("good.key"), policy))
}

fn fetches(host: &Host) -> Vec<Fetch> {
    let fetch = |output: &Output| match output {
        Output::Fetch(fetch) => Some(fetch.clone()),
        _ => None,
    };
    host.outputs.iter().filter_map(fetch).collect()
}

fn urls(host: &Host) -> Vec<String> {
    fetches(host).into_iter().map(|fetch| fetch.url).collect()
}

fn answer(pair: &mut Pair, who: Who, id: FetchId, result: Result<&[u8], &str>) {
    pair.input(who, Input::Fetched { id, result });
}

fn doubts(host: &Host) -> Vec<RevocationError> {
    let doubt = |event: &Event| match event {
        Event::StatusUnknown { doubt, .. } => Some(doubt.clone()),
        _ => None,
    };
    host.events().filter_map(doubt).collect()
}

fn why(host: &Host) -> RevocationError {
    match host.failures().swap_remove(0).cause {
        Cause::Revocation { error } => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_peer_waits_until_the_responder_has_answered() {
    let mut pair = alice_shows_a_good_one(Policy::Require);
    pair.up(Who::Alice);
    pair.run_for(Duration::from_secs(3));
    assert_eq!(urls(&pair.bob), [RESPONDER]);
    assert!(pair.bob.is_bare());
    // She has asked again and again meanwhile, and made him ask nobody again.
    assert!(pair.bob.ignored(Ignore::AwaitingStatus) > 0);
    let id = fetches(&pair.bob)[0].id;
    answer(&mut pair, Who::Bob, id, Ok(file!("good.ocsp")));
    assert!(pair.run_until(SOON, Pair::has_settled));
    assert!(doubts(&pair.bob).is_empty());
}

#[test]
fn the_next_handshake_needs_no_answer_any_more() {
    let mut pair = alice_shows_a_good_one(Policy::Require);
    pair.up(Who::Alice);
    pair.run_for(Duration::from_millis(200));
    let id = fetches(&pair.bob)[0].id;
    answer(&mut pair, Who::Bob, id, Ok(file!("good.ocsp")));
    assert!(pair.run_until(SOON, Pair::has_settled));
    pair.down(Who::Alice);
    pair.run_for(SOON);
    pair.bob.clear();
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    assert!(fetches(&pair.bob).is_empty());
}

#[test]
fn a_revoked_certificate_is_refused_with_date_and_reason() {
    let pair = revoked_pair();
    let words = why(&pair.bob).to_string();
    assert!(
        words.contains("serial f0:01, revoked 20") && words.contains("reason keyCompromise"),
        "{words}"
    );
    assert!(pair.bob.is_bare() && pair.alice.is_bare());
    assert!(matches!(
        pair.alice.failures()[0].cause,
        Cause::CredentialRefused { .. }
    ));
}

#[test]
fn a_crl_file_answers_at_once() {
    for (certificate, key, good) in [
        (file!("good.cert"), file!("good.key"), true),
        (file!("revoked.cert"), file!("revoked.key"), false),
    ] {
        let (alice, mut bob) = scene(Who::Alice, certificate, key, Policy::Require);
        bob.revocation = Rules {
            policy: Policy::Require,
            crls: vec![Arc::new(Crl::parse(file!("complete.crl")).unwrap())],
        };
        let mut pair = pair((alice, bob));
        pair.up(Who::Alice);
        assert_eq!(pair.run_until(SOON, Pair::has_settled), good);
        assert!(fetches(&pair.bob).is_empty());
        if !good {
            assert!(matches!(why(&pair.bob), RevocationError::Revoked { .. }));
        }
    }
}

#[test]
fn crls_that_come_later_count_for_the_next_negotiation() {
    let (alice, bob) = scene(
        Who::Alice,
        file!("revoked.cert"),
        file!("revoked.key"),
        Policy::Require,
    );
    let mut pair = pair((alice, bob));
    let crls = vec![Arc::new(Crl::parse(file!("complete.crl")).unwrap())];
    let connection = LINK;
    pair.command(Who::Bob, Command::Crls { connection, crls });
    pair.up(Who::Alice);
    assert!(!pair.run_until(SOON, Pair::has_settled));
    assert!(matches!(why(&pair.bob), RevocationError::Revoked { .. }));
    assert!(fetches(&pair.bob).is_empty());
}

#[test]
fn silence_is_for_the_policy_to_judge() {
    for policy in [Policy::IfAvailable, Policy::Require] {
        let mut pair = alice_shows_a_good_one(policy);
        pair.up(Who::Alice);
        // Nobody ever tells what came of it: responder and list are given up one after the other.
        let settled = pair.run_until(Duration::from_secs(20), Pair::has_settled);
        assert_eq!(urls(&pair.bob)[..2], [RESPONDER, LIST]);
        let doubt = match policy {
            Policy::IfAvailable => {
                assert!(settled);
                doubts(&pair.bob).swap_remove(0)
            }
            Policy::Require | Policy::Off => {
                assert!(!settled);
                why(&pair.bob)
            }
        };
        let words = doubt.to_string();
        assert!(
            words.contains("OCSP at http://192.0.2.1:8080/ocsp: no answer in time"),
            "{words}"
        );
        assert!(
            words.contains("the CRL at http://192.0.2.1/ca.crl: no answer in time"),
            "{words}"
        );
    }
}

#[test]
fn a_stranger_makes_us_ask_nobody() {
    // With a certificate of somebody else's authority.
    let (alice, mut bob) = scene(Who::Alice, file!("good.cert"), file!("good.key"), Policy::Require);
    bob.remote_auth = RemoteAuth::Certificate {
        anchors: [Anchor::from_der(file!("other.cert")).unwrap()].into(),
    };
    let mut strange = pair((alice, bob));
    strange.up(Who::Alice);
    strange.run_for(SOON);
    assert!(!strange.bob.failures().is_empty());
    assert!(fetches(&strange.bob).is_empty());
    // With a good certificate, and the key of another.
    let mut thief = pair(scene(
        Who::Alice,
        file!("good.cert"),
        file!("revoked.key"),
        Policy::Require,
    ));
    thief.up(Who::Alice);
    thief.run_for(SOON);
    assert!(!thief.bob.failures().is_empty());
    assert!(fetches(&thief.bob).is_empty());
}

#[test]
fn an_initiator_waits_as_well_as_a_responder() {
    for (response, good) in [(file!("good.ocsp"), true), (file!("usurped.ocsp"), false)] {
        let mut pair = pair(scene(
            Who::Bob,
            file!("good.cert"),
            file!("good.key"),
            Policy::Require,
        ));
        pair.up(Who::Alice);
        pair.run_for(Duration::from_secs(2));
        assert_eq!(urls(&pair.alice), [RESPONDER]);
        assert!(pair.alice.is_bare());
        let id = fetches(&pair.alice)[0].id;
        answer(&mut pair, Who::Alice, id, Ok(response));
        if good {
            assert!(pair.run_until(SOON, Pair::has_settled));
        } else {
            let id = fetches(&pair.alice)[1].id;
            answer(&mut pair, Who::Alice, id, Err("connection refused"));
            pair.run_for(Duration::from_secs(1));
            assert!(pair.alice.is_bare());
            let words = why(&pair.alice).to_string();
            assert!(
                words.contains("its signer is neither the certificate's issuer"),
                "{words}"
            );
        }
    }
}

#[test]
fn an_ocsp_response_travels_with_the_certificate_if_the_peer_asks_for_one() {
    for who in [Who::Alice, Who::Bob] {
        let (mut alice, mut bob) = scene(who, file!("good.cert"), file!("good.key"), Policy::Require);
        // Whoever shows it asks about it beforehand, and knows its own issuer.
        let shows = match who {
            Who::Alice => &mut alice,
            Who::Bob => &mut bob,
        };
        shows.revocation.policy = Policy::IfAvailable;
        let LocalAuth::Certificate { chain, .. } = &mut shows.local_auth else {
            panic!("no certificate")
        };
        *chain = [file!("good.cert"), file!("ca.cert")]
            .map(|der| CertificateDer::from(der.to_vec()))
            .into();
        // Bob's answer to IKE_SA_INIT must not be longer than the request, or he leaves out what he would like.
        alice.ike_proposals.extend(alice.ike_proposals.clone());
        let mut pair = pair((alice, bob));
        assert_eq!(urls(pair.host(who)), [RESPONDER]);
        let id = fetches(pair.host(who))[0].id;
        answer(&mut pair, who, id, Ok(file!("good.ocsp")));
        pair.up(Who::Alice);
        assert!(pair.run_until(SOON, Pair::has_settled), "{who:?}");
        assert_eq!(
            fetches(&pair.alice).len() + fetches(&pair.bob).len(),
            1,
            "{who:?}"
        );
    }
}

#[test]
fn nobody_asks_when_revocation_is_off() {
    let mut pair = pair(scene(
        Who::Alice,
        file!("revoked.cert"),
        file!("revoked.key"),
        Policy::Off,
    ));
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    assert!(fetches(&pair.bob).is_empty() && doubts(&pair.bob).is_empty());
}

#[test]
fn an_operator_who_gives_up_meanwhile_is_obeyed() {
    let mut pair = alice_shows_a_good_one(Policy::Require);
    pair.up(Who::Alice);
    pair.run_for(Duration::from_millis(200));
    let id = fetches(&pair.bob)[0].id;
    pair.down(Who::Bob);
    answer(&mut pair, Who::Bob, id, Ok(file!("good.ocsp")));
    pair.run_for(Duration::from_secs(60));
    assert!(pair.bob.is_bare());
    assert_eq!(pair.bob.endpoint.spis_in_use(), (0, 0));
}
