//! What authorities, responders and peers send: taken as a certificate, as a chain, as a CRL and as an OCSP response, each judged
//! against a genuine authority. Seeds: everything that OpenSSL made for the tests of `ike`.
#![no_main]
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use xvpn_ike::auth::identity::Identity;
use xvpn_ike::auth::x509::crl::Crl;
use xvpn_ike::auth::x509::facts::Facts;
use xvpn_ike::auth::x509::status::Status;
use xvpn_ike::auth::x509::{Anchor, CertificateDer, DistinguishedName, Leaf, Trust, UnixTime, ocsp, validate};

macro_rules! file {
    ($name:literal) => {
        include_bytes!(concat!("../../../ike/tests/vectors/revocation/", $name)).as_slice()
    };
}

fuzz_target!(|data: &[u8]| {
    let ca = Facts::parse(file!("ca.cert")).expect("a certificate");
    let issuer = ca.as_issuer();
    let (good, revoked) = (file!("good.cert"), file!("revoked.cert"));
    let [good_facts, revoked_facts] = [good, revoked].map(|der| Facts::parse(der).expect("a certificate"));
    let now: u64 = include_str!("../../../ike/tests/vectors/revocation/now").trim().parse().expect("seconds");
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now + 24 * 3600));

    if let Ok(facts) = Facts::parse(data) {
        let _ = (facts.serial_number(), facts.crl_urls().count(), facts.ocsp_urls().count());
        // Its own issuer, as a peer could have it.
        let own = facts.as_issuer();
        let _ = ocsp::read(file!("good.ocsp"), &facts, &own, None, now);
        let _ = ocsp::request(&facts, &own, &[7; 32]);
    }
    if let Ok(leaf) = Leaf::from_der(data) {
        let _ = (leaf.subject().to_string(), leaf.identities().len(), leaf.validity());
    }
    if let Ok(name) = DistinguishedName::from_der(data) {
        let _ = name.to_string();
        assert!(name.matches(&name));
    }
    let anchors = [file!("ca.cert"), data].map(|der| Anchor::from_der(der).ok());
    let anchors: Vec<Anchor> = anchors.into_iter().flatten().collect();
    let trust = Trust { anchors: &anchors, now };
    let alice = Identity::Fqdn("alice.example".into());
    for chain in [[data, good], [good, data]] {
        let chain = chain.map(CertificateDer::from);
        let _ = validate(&chain, &alice, &trust);
    }
    if let Ok(crl) = Crl::parse(data) {
        for facts in [&good_facts, &revoked_facts] {
            let revoked = matches!(crl.status(facts, &issuer, now), Ok(Status::Revoked(_)));
            assert!(!revoked || std::ptr::eq(facts, &revoked_facts), "nobody has revoked it");
        }
    }
    for facts in [&good_facts, &revoked_facts] {
        if let Ok(answer) = ocsp::read(data, facts, &issuer, None, now) {
            let good = std::ptr::eq(facts, &good_facts);
            assert!(!good || !matches!(answer.status, Status::Revoked(_)), "nobody has revoked it");
        }
    }
});
