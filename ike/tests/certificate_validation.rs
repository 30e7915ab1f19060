//! Chains of certificates, good and bad, by the public door.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod pki;

use pki::{Authority, Holder, NOW, address, authority, host, time};
use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType};
use xvpn_ike::auth::identity::Identity;
use xvpn_ike::auth::x509::{Anchor, CertificateDer, CertificateError, Moment, Trust, Validated, validate};

fn judge_at(
    now: u64,
    chain: &[&CertificateDer<'static>],
    anchors: &[&Authority],
    identity: &str,
) -> Result<Validated, CertificateError> {
    let chain: Vec<_> = chain.iter().map(|der| (*der).clone()).collect();
    let anchors: Vec<Anchor> = anchors.iter().map(|authority| authority.anchor()).collect();
    let trust = Trust {
        anchors: &anchors,
        now: time(now),
    };
    validate(&chain, &identity.parse::<Identity>().unwrap(), &trust)
}

fn judge(
    chain: &[&CertificateDer<'static>],
    anchors: &[&Authority],
    identity: &str,
) -> Result<Validated, CertificateError> {
    judge_at(NOW, chain, anchors, identity)
}

fn issue(root: &Authority, change: impl FnOnce(&mut rcgen::CertificateParams)) -> Holder {
    let mut params = host("gw.example");
    change(&mut params);
    root.issue(&params, &rcgen::PKCS_ECDSA_P256_SHA256)
}

#[test]
fn accepts_a_certificate_of_a_trusted_authority() {
    let root = Authority::root("Root");
    let other = Authority::root("Other");
    let gw = root.host("gw.example");
    let validated = judge(&[&gw.der], &[&other, &root], "GW.example").unwrap();
    assert_eq!(&validated.key, gw.signing_key().public());
    assert_eq!(validated.subject, "O=Test, CN=gw.example");
    assert_eq!(validated.path.len(), 1);
    assert_eq!(validated.path[0].certificate, gw.der);
}

#[test]
fn finds_a_path_through_intermediate_authorities_in_any_order() {
    let root = Authority::root("Root");
    let middle = root.intermediate(authority("Middle"));
    let lower = middle.intermediate(authority("Lower"));
    let gw = lower.host("gw.example");
    for others in [[&middle.der, &lower.der], [&lower.der, &middle.der]] {
        let validated = judge(&[&gw.der, others[0], others[1]], &[&root], "gw.example").unwrap();
        assert_eq!(validated.path.len(), 3);
        assert_eq!(validated.path[1].certificate, lower.der);
    }
    assert!(matches!(
        judge(&[&gw.der, &lower.der], &[&root], "gw.example"),
        Err(CertificateError::UnknownIssuer { .. })
    ));
}

#[test]
fn every_kind_of_identity_is_looked_for_where_the_rfc_says() {
    let root = Authority::root("Root");
    let gw = issue(&root, |params| {
        params.subject_alt_names.push(address("192.0.2.7"));
        params.subject_alt_names.push(address("2001:db8::7"));
        let mail = SanType::Rfc822Name("ops@example.org".try_into().unwrap());
        params.subject_alt_names.push(mail);
    });
    for identity in [
        "gw.example",
        "192.0.2.7",
        "2001:db8::7",
        "OPS@example.org",
        "O=test, CN=GW.example",
    ] {
        assert!(judge(&[&gw.der], &[&root], identity).is_ok(), "{identity}");
    }
    for identity in [
        "gw2.example",
        "192.0.2.8",
        "root@example.org",
        "CN=gw.example",
        "keyid:gw.example",
    ] {
        let refusal = judge(&[&gw.der], &[&root], identity).unwrap_err();
        let CertificateError::WrongName { names, .. } = refusal else {
            panic!("{identity}: {refusal}");
        };
        assert!(names.contains(&"gw.example".to_owned()));
        assert!(names.contains(&"O=Test, CN=gw.example".to_owned()));
    }
}

#[test]
fn the_common_name_is_no_host_name_and_a_wildcard_is_no_pattern() {
    let root = Authority::root("Root");
    let bare = issue(&root, |params| params.subject_alt_names.clear());
    let wild = issue(&root, |params| {
        params.subject_alt_names = vec![SanType::DnsName("*.example".try_into().unwrap())];
    });
    for holder in [bare, wild] {
        assert!(matches!(
            judge(&[&holder.der], &[&root], "gw.example"),
            Err(CertificateError::WrongName { .. })
        ));
    }
}

#[test]
fn refuses_before_and_after_its_time() {
    let root = Authority::root("Root");
    let gw = issue(&root, |params| {
        params.not_before = rcgen::date_time_ymd(2026, 6, 1);
        params.not_after = rcgen::date_time_ymd(2026, 7, 1);
    });
    let at = |now| judge_at(now, &[&gw.der], &[&root], "gw.example").map(|_| ());
    let (june, july) = (1_780_272_000, 1_782_864_000);
    assert_eq!(
        at(june - 1),
        Err(CertificateError::NotYetValid {
            since: Moment(june),
            now: Moment(june - 1)
        })
    );
    assert_eq!(at(june), Ok(()));
    assert_eq!(at(july), Ok(()));
    let late = at(july + 1).unwrap_err();
    assert_eq!(
        late.to_string(),
        "a certificate expired on 2026-07-01T00:00:00Z (our clock says 2026-07-01T00:00:01Z)"
    );
}

#[test]
fn refuses_an_expired_authority_above_and_at_the_top() {
    let root = Authority::root("Root");
    let mut expired = authority("Middle");
    expired.not_after = rcgen::date_time_ymd(2025, 2, 1);
    let middle = root.intermediate(expired.clone());
    let gw = middle.host("gw.example");
    assert!(matches!(
        judge(&[&gw.der, &middle.der], &[&root], "gw.example"),
        Err(CertificateError::Expired { .. })
    ));
    let top = Authority::root_of(expired);
    let gw = top.host("gw.example");
    assert!(matches!(
        judge(&[&gw.der], &[&top], "gw.example"),
        Err(CertificateError::Expired { .. })
    ));
}

#[test]
fn refuses_who_was_issued_by_a_stranger_and_who_only_calls_itself_like_the_authority() {
    let root = Authority::root("Root");
    let stranger = Authority::root("Stranger").host("gw.example");
    let refusal = judge(&[&stranger.der], &[&root], "gw.example").unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "the certificate of O=Test, CN=gw.example was issued by O=Test, CN=Stranger, which leads to none of the trusted authorities"
    );
    let impostor = Authority::root("Root").host("gw.example");
    assert_eq!(
        judge(&[&impostor.der], &[&root], "gw.example").map(|_| ()),
        Err(CertificateError::BadSignature)
    );
}

#[test]
fn refuses_a_usage_that_is_not_ike() {
    let root = Authority::root("Root");
    let wrong = |holder: &Holder| {
        matches!(
            judge(&[&holder.der], &[&root], "gw.example"),
            Err(CertificateError::WrongUsage { .. })
        )
    };
    assert!(wrong(&issue(&root, |params| {
        params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    })));
    assert!(wrong(&issue(&root, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    })));
    assert!(wrong(&issue(&root, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    })));
    let good = [
        vec![],
        vec![ExtendedKeyUsagePurpose::Any],
        vec![ExtendedKeyUsagePurpose::CodeSigning, pki::ipsec_ike()],
        vec![ExtendedKeyUsagePurpose::ServerAuth],
        vec![ExtendedKeyUsagePurpose::ClientAuth],
    ];
    for usages in good {
        let holder = issue(&root, |params| {
            params.extended_key_usages = usages.clone();
            params.key_usages = vec![KeyUsagePurpose::ContentCommitment];
        });
        assert!(
            judge(&[&holder.der], &[&root], "gw.example").is_ok(),
            "{usages:?}"
        );
    }
    assert!(
        judge(
            &[&issue(&root, |p| p.key_usages.clear()).der],
            &[&root],
            "gw.example"
        )
        .is_ok()
    );
}

#[test]
fn refuses_an_issuer_that_may_not_issue() {
    let root = Authority::root("Root");
    let refusal = |params: rcgen::CertificateParams| {
        let middle = root.intermediate(params);
        let gw = middle.host("gw.example");
        judge(&[&gw.der, &middle.der], &[&root], "gw.example").map(|_| ())
    };
    // A host that signs certificates like an authority.
    assert!(matches!(
        refusal(host("evil.example")),
        Err(CertificateError::Constraint { .. })
    ));
    let mut no_signing = authority("Middle");
    no_signing.key_usages = vec![KeyUsagePurpose::CrlSign];
    assert!(matches!(
        refusal(no_signing),
        Err(CertificateError::Constraint { .. })
    ));
    let mut short = authority("Short");
    short.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let short = root.intermediate(short);
    let lower = short.intermediate(authority("Lower"));
    let gw = lower.host("gw.example");
    assert!(matches!(
        judge(&[&gw.der, &lower.der, &short.der], &[&root], "gw.example"),
        Err(CertificateError::Constraint { .. })
    ));
}

#[test]
fn refuses_no_certificate_too_many_and_rubbish() {
    let root = Authority::root("Root");
    let gw = root.host("gw.example");
    assert_eq!(
        judge(&[], &[&root], "gw.example").map(|_| ()),
        Err(CertificateError::Missing)
    );
    let many = vec![&gw.der; 9];
    assert_eq!(
        judge(&many, &[&root], "gw.example").map(|_| ()),
        Err(CertificateError::TooMuch)
    );
    let large = CertificateDer::from(vec![0x30; 16 * 1024 + 1]);
    assert_eq!(
        judge(&[&gw.der, &large], &[&root], "gw.example").map(|_| ()),
        Err(CertificateError::TooMuch)
    );
    for len in (0..gw.der.len()).step_by(7) {
        let cut = CertificateDer::from(gw.der[..len].to_vec());
        assert!(matches!(
            judge(&[&cut], &[&root], "gw.example"),
            Err(CertificateError::Malformed { .. })
        ));
    }
}

#[test]
fn no_octet_of_a_certificate_can_be_changed() {
    let root = Authority::root("Root");
    let gw = root.host("gw.example");
    for at in 0..gw.der.len() {
        let mut changed = gw.der.to_vec();
        changed[at] ^= 1;
        let changed = CertificateDer::from(changed);
        assert!(judge(&[&changed], &[&root], "gw.example").is_err(), "octet {at}");
    }
}
