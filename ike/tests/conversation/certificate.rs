//! Certificates and public keys instead of a pre-shared key (RFC 7427, RFC 4945, RFC 7670).

use std::sync::Arc;
use std::time::Duration;

use rcgen::SignatureAlgorithm as KeyAlgorithm;
use xvpn_ike::api::{Event, IkeFacts, Input, Output};
use xvpn_ike::auth::method::{LocalAuth, RemoteAuth};
use xvpn_ike::auth::signature::{RsaPadding, SignatureError};
use xvpn_ike::auth::x509::CertificateError;
use xvpn_ike::config::{ConnectionConfig, Secret};
use xvpn_ike::error::{Cause, Side};
use xvpn_ike::message::InitResponse;
use xvpn_ike::testing::{Host, Pair, SECRET, WALL_CLOCK, Who, config, name};

use xvpn_ike::wire::Chain;
use xvpn_ike::wire::payload::{CertificateEncoding, CertificateRequest};

use super::SOON;
use super::pki::{Authority, Holder, host};

/// Alice and Bob with certificates of one authority.
pub(super) fn certified(
    root: &Authority,
    alice: &Holder,
    bob: &Holder,
) -> (ConnectionConfig, ConnectionConfig) {
    let side = |who, holder: &Holder| {
        let mut config = config(who);
        config.local_auth = certificate(holder, &[]);
        config.remote_auth = trusting(root);
        config
    };
    (side(Who::Alice, alice), side(Who::Bob, bob))
}

pub(super) fn certificate(holder: &Holder, others: &[&Authority]) -> LocalAuth {
    let others = others.iter().map(|authority| authority.der.clone());
    LocalAuth::Certificate {
        chain: std::iter::once(holder.der.clone()).chain(others).collect(),
        key: Arc::new(holder.signing_key()),
        padding: RsaPadding::Auto,
    }
}

pub(super) fn raw(holder: &Holder) -> LocalAuth {
    LocalAuth::RawKey {
        key: Arc::new(holder.signing_key()),
        padding: RsaPadding::Auto,
    }
}

pub(super) fn knowing(holder: &Holder) -> RemoteAuth {
    RemoteAuth::RawKey {
        keys: [holder.signing_key().public().clone()].into(),
    }
}

fn trusting(root: &Authority) -> RemoteAuth {
    RemoteAuth::Certificate {
        anchors: [root.anchor()].into(),
    }
}

fn facts(host: &Host) -> Option<&IkeFacts> {
    host.events().find_map(|event| match event {
        Event::IkeEstablished { ike, .. } => Some(ike),
        _ => None,
    })
}

fn means(host: &Host) -> String {
    let facts = facts(host).unwrap();
    format!("{} / {}", facts.local_auth.unwrap(), facts.remote_auth.unwrap())
}

fn cause(host: &Host) -> Cause {
    host.failures()
        .first()
        .map(|failure| failure.cause.clone())
        .unwrap()
}

/// What becomes of an attempt of Alice: Alice's and Bob's reasons.
fn refused(alice: ConnectionConfig, bob: ConnectionConfig) -> (Cause, Cause) {
    let mut pair = Pair::configured(alice, bob);
    pair.up(Who::Alice);
    pair.run_for(SOON);
    assert!(pair.alice.is_bare() && pair.bob.is_bare());
    (cause(&pair.alice), cause(&pair.bob))
}

#[test]
fn every_kind_of_key_proves_who_one_is() {
    let root = Authority::root("Root");
    let kinds: [(&'static KeyAlgorithm, &str); 5] = [
        (&rcgen::PKCS_RSA_SHA256, "certificate rsa-pss-sha256"),
        (&rcgen::PKCS_ECDSA_P256_SHA256, "certificate ecdsa-sha256"),
        (&rcgen::PKCS_ECDSA_P384_SHA384, "certificate ecdsa-sha384"),
        (&rcgen::PKCS_ECDSA_P521_SHA512, "certificate ecdsa-sha512"),
        (&rcgen::PKCS_ED25519, "certificate ed25519"),
    ];
    for (algorithm, shown) in kinds {
        let alice = root.issue(&host("alice.example"), algorithm);
        let bob = root.issue(&host("bob.example"), &rcgen::PKCS_ED25519);
        let (alice, bob) = certified(&root, &alice, &bob);
        let mut pair = Pair::configured(alice, bob);
        pair.up(Who::Alice);
        assert!(pair.run_until(SOON, Pair::has_settled), "{shown}");
        assert_eq!(means(&pair.alice), format!("{shown} / certificate ed25519"));
        assert_eq!(means(&pair.bob), format!("certificate ed25519 / {shown}"));
    }
}

#[test]
fn an_rsa_key_pads_as_the_operator_says() {
    let root = Authority::root("Root");
    let alice = root.issue(&host("alice.example"), &rcgen::PKCS_RSA_SHA256);
    let bob = root.host("bob.example");
    for (wanted, shown) in [
        (RsaPadding::Pkcs1, "certificate rsa-sha256"),
        (RsaPadding::Pss, "certificate rsa-pss-sha256"),
    ] {
        let (mut alice, bob) = certified(&root, &alice, &bob);
        if let LocalAuth::Certificate { padding, .. } = &mut alice.local_auth {
            *padding = wanted;
        }
        let mut pair = Pair::configured(alice, bob);
        pair.up(Who::Alice);
        assert!(pair.run_until(SOON, Pair::has_settled));
        assert_eq!(facts(&pair.bob).unwrap().remote_auth.unwrap().to_string(), shown);
    }
}

#[test]
fn a_chain_leads_to_the_authority_that_the_peer_trusts() {
    let root = Authority::root("Root");
    let middle = root.intermediate(super::pki::authority("Middle"));
    let alice = middle.host("alice.example");
    let (mut configured, bob) = certified(&root, &alice, &root.host("bob.example"));
    configured.local_auth = certificate(&alice, &[&middle]);
    let mut pair = Pair::configured(configured.clone(), bob.clone());
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    // Without the one between, nothing leads there.
    configured.local_auth = certificate(&alice, &[]);
    let (ours, theirs) = refused(configured, bob);
    assert!(matches!(ours, Cause::CredentialRefused { .. }), "{ours}");
    assert!(matches!(
        theirs,
        Cause::Certificate {
            error: CertificateError::UnknownIssuer { .. },
            ..
        }
    ));
}

#[test]
fn each_side_may_prove_itself_in_its_own_way() {
    let root = Authority::root("Root");
    let holder = root.host("alice.example");
    let secret = Secret::new(SECRET.to_vec());
    let (mut alice, mut bob) = (config(Who::Alice), config(Who::Bob));
    alice.local_auth = certificate(&holder, &[]);
    alice.remote_auth = RemoteAuth::Psk {
        secret: secret.clone(),
        previous: None,
    };
    bob.local_auth = LocalAuth::Psk {
        secret,
        previous: None,
    };
    bob.remote_auth = trusting(&root);
    for first in [Who::Alice, Who::Bob] {
        let mut pair = Pair::configured(alice.clone(), bob.clone());
        pair.up(first);
        assert!(pair.run_until(SOON, Pair::has_settled));
        assert_eq!(means(&pair.alice), "certificate ecdsa-sha256 / psk");
        assert_eq!(means(&pair.bob), "psk / certificate ecdsa-sha256");
    }
}

#[test]
fn a_pre_shared_key_is_no_certificate_and_a_certificate_no_pre_shared_key() {
    let root = Authority::root("Root");
    let (alice, bob) = certified(&root, &root.host("alice.example"), &root.host("bob.example"));
    let (_, theirs) = refused(config(Who::Alice), bob);
    assert_eq!(
        theirs,
        Cause::UnsupportedAuthMethod {
            method: 2,
            wanted: "a signature"
        }
    );
    let (_, theirs) = refused(alice, config(Who::Bob));
    assert_eq!(
        theirs,
        Cause::UnsupportedAuthMethod {
            // A peer without signatures announces no hashes for them.
            method: 9,
            wanted: "a pre-shared key"
        }
    );
}

#[test]
fn raw_public_keys_need_no_authority() {
    let root = Authority::root("Nobody asks");
    for algorithm in [
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_RSA_SHA256,
    ] {
        let (a, b) = (
            root.issue(&host("a"), algorithm),
            root.issue(&host("b"), &rcgen::PKCS_ED25519),
        );
        let (mut alice, mut bob) = (config(Who::Alice), config(Who::Bob));
        (alice.local_auth, alice.remote_auth) = (raw(&a), knowing(&b));
        (bob.local_auth, bob.remote_auth) = (raw(&b), knowing(&a));
        let mut pair = Pair::configured(alice.clone(), bob.clone());
        pair.up(Who::Alice);
        assert!(pair.run_until(SOON, Pair::has_settled));
        assert!(means(&pair.alice).ends_with(" / public-key ed25519"));
        // Another key.
        alice.local_auth = raw(&root.issue(&host("a"), algorithm));
        let (_, theirs) = refused(alice, bob);
        assert!(matches!(theirs, Cause::UnknownKey { .. }), "{theirs}");
    }
}

#[test]
fn a_certificate_without_its_key_proves_nothing() {
    let root = Authority::root("Root");
    let (real, eve) = (root.host("alice.example"), root.host("eve.example"));
    let (mut alice, bob) = certified(&root, &real, &root.host("bob.example"));
    alice.local_auth = LocalAuth::Certificate {
        chain: [real.der.clone()].into(),
        key: Arc::new(eve.signing_key()),
        padding: RsaPadding::Auto,
    };
    let (ours, theirs) = refused(alice, bob);
    assert_eq!(
        theirs,
        Cause::BadSignature {
            identity: name("alice.example"),
            error: SignatureError::Wrong
        }
    );
    assert_eq!(
        ours,
        Cause::CredentialRefused {
            identity: name("alice.example")
        }
    );
}

#[test]
fn nobody_is_believed_to_be_whom_the_certificate_does_not_name() {
    let root = Authority::root("Root");
    // Eve has a good certificate, and says that she is Alice.
    let (alice, bob) = certified(&root, &root.host("eve.example"), &root.host("bob.example"));
    let (_, theirs) = refused(alice, bob);
    let Cause::Certificate {
        error: CertificateError::WrongName { identity, names },
        ..
    } = theirs
    else {
        panic!("{theirs}");
    };
    assert_eq!(identity, name("alice.example"));
    assert!(names.contains(&"eve.example".to_owned()));
}

#[test]
fn an_initiator_refuses_a_responder_of_another_authority_and_tells_it() {
    let (root, other) = (Authority::root("Root"), Authority::root("Other"));
    let (alice, mut bob) = certified(&root, &root.host("alice.example"), &root.host("bob.example"));
    bob.local_auth = certificate(&other.host("bob.example"), &[]);
    let mut pair = Pair::configured(alice, bob);
    pair.up(Who::Alice);
    pair.run_for(Duration::from_millis(500));
    assert!(matches!(
        cause(&pair.alice),
        Cause::Certificate {
            error: CertificateError::UnknownIssuer { .. },
            ..
        }
    ));
    // Bob believed Alice, and has heard of it.
    assert!(pair.bob.is_bare());
    assert!(matches!(
        cause(&pair.bob),
        Cause::AuthenticationFailed {
            refused_by: Side::Peer,
            ..
        } | Cause::CredentialRefused { .. }
            | Cause::PeerNotify { .. }
            | Cause::Deleted
    ));
}

#[test]
fn a_certificate_is_judged_by_the_time_of_day_and_not_without() {
    let root = Authority::root("Root");
    let mut params = host("alice.example");
    params.not_after = rcgen::date_time_ymd(2026, 1, 2);
    let alice = root.issue(&params, &rcgen::PKCS_ED25519);
    let (alice, bob) = certified(&root, &alice, &root.host("bob.example"));
    let mut pair = Pair::configured(alice.clone(), bob.clone());
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    // It goes on by the clock that Bob was told of once.
    let mut pair = Pair::configured(alice.clone(), bob.clone());
    pair.run_for(Duration::from_secs(25 * 3600));
    pair.up(Who::Alice);
    pair.run_for(Duration::from_secs(5));
    assert!(matches!(
        cause(&pair.bob),
        Cause::Certificate {
            error: CertificateError::Expired { .. },
            ..
        }
    ));
    // And a clock that is set is believed.
    let mut pair = Pair::configured(alice, bob);
    let later = WALL_CLOCK + Duration::from_secs(25 * 3600);
    pair.input(Who::Bob, Input::WallClock(later));
    pair.up(Who::Alice);
    pair.run_for(Duration::from_secs(5));
    assert!(
        cause(&pair.bob)
            .to_string()
            .contains("expired on 2026-01-02T00:00:00Z")
    );
}

#[test]
fn the_successor_of_an_ike_sa_keeps_the_proofs() {
    let root = Authority::root("Root");
    let (mut alice, bob) = certified(&root, &root.host("alice.example"), &root.host("bob.example"));
    alice.ike_lifetime = Duration::from_secs(600);
    let mut pair = Pair::configured(alice, bob);
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    pair.alice.clear();
    pair.run_for(Duration::from_secs(700));
    assert_eq!(
        means(&pair.alice),
        "certificate ecdsa-sha256 / certificate ecdsa-sha256"
    );
}

#[test]
fn a_responder_asks_for_certificates_of_its_authorities_within_the_size_of_the_request() {
    let root = Authority::root("Root");
    let (alice, bob) = certified(&root, &root.host("alice.example"), &root.host("bob.example"));
    let mut alice = alice;
    // What is not chosen leaves room in the response.
    alice.ike_proposals.extend("aes256-sha256-modp2048".parse().ok());
    let mut crowded = bob.clone();
    let many: Vec<_> = (0..12)
        .map(|n| Authority::root(&format!("Root {n}")).anchor())
        .collect();
    crowded.remote_auth = RemoteAuth::Certificate {
        anchors: many.into_iter().chain([root.anchor()]).collect(),
    };
    for (bob, named) in [(bob, 1), (crowded, 0)] {
        let mut pair = Pair::configured(alice.clone(), bob);
        pair.up(Who::Alice);
        assert!(pair.run_until(SOON, Pair::has_settled));
        let (request, response) = (first_message(&pair.alice), first_message(&pair.bob));
        assert!(
            response.len() <= request.len(),
            "{} > {}",
            response.len(),
            request.len()
        );
        let (_, chain) = Chain::parse_message(&response).unwrap();
        let InitResponse::Accepted(accepted) = InitResponse::parse(&chain).unwrap() else {
            panic!("refused");
        };
        assert_eq!(accepted.notifies.signature_hash_algorithms, [2, 3, 4, 5]);
        // More authorities than there is room for: any will do.
        let mut asked = accepted.certificate_requests.iter();
        let asked = asked
            .find(|request| request.encoding == CertificateEncoding::X509_SIGNATURE)
            .expect("a request for certificates");
        assert_eq!(asked.authorities.len(), named * 20);
        if named == 1 {
            assert_eq!(asked.authorities, root.anchor().fingerprint());
        }
    }
}

#[test]
fn there_is_room_for_a_request_beside_the_smallest_of_negotiations() {
    let root = Authority::root("Root");
    let (alice, bob) = certified(&root, &root.host("alice.example"), &root.host("bob.example"));
    let mut pair = Pair::configured(alice, bob);
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    let (request, response) = (first_message(&pair.alice), first_message(&pair.bob));
    assert!(response.len() <= request.len());
    let (_, chain) = Chain::parse_message(&response).unwrap();
    let InitResponse::Accepted(accepted) = InitResponse::parse(&chain).unwrap() else {
        panic!("refused");
    };
    let asked = |request: &CertificateRequest| request.encoding == CertificateEncoding::X509_SIGNATURE;
    assert!(accepted.certificate_requests.iter().any(asked));
}

fn first_message(host: &Host) -> Vec<u8> {
    let sent = host.outputs.iter().find_map(|output| match output {
        Output::Transmit(transmit) => Some(transmit.bytes.clone()),
        _ => None,
    });
    sent.unwrap()
}
