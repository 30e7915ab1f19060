//! CRLs made by OpenSSL: what they say, and which are not believed (RFC 5280 5, 6.3).

#[path = "vectors/revocation.rs"]
mod revocation;

use revocation::{facts, file, later};
use xvpn_ike::auth::x509::crl::{Crl, CrlError, LONGEST_CRL};
use xvpn_ike::auth::x509::facts::{Facts, Issuer};
use xvpn_ike::auth::x509::status::{Reason, Status};

fn ca() -> Issuer {
    facts(file!("ca.cert")).as_issuer()
}

fn good() -> Facts {
    facts(file!("good.cert"))
}

fn status(crl: &[u8], subject: &Facts, days: u64) -> Result<Status, CrlError> {
    Crl::parse(crl)?.status(subject, &ca(), later(days))
}

#[test]
fn a_certificate_that_is_not_in_the_list_is_good() {
    assert_eq!(status(file!("complete.crl"), &good(), 1), Ok(Status::Good));
}

#[test]
fn a_revoked_certificate_is_told_with_serial_date_and_reason() {
    let Ok(Status::Revoked(revocation)) = status(file!("complete.crl"), &facts(file!("revoked.cert")), 1)
    else {
        panic!("not revoked")
    };
    assert_eq!(revocation.serial, [0, 0xf0, 0x01]);
    assert_eq!(revocation.reason, Some(Reason(1)));
    let age = later(0).as_secs().abs_diff(revocation.at.0);
    assert!(age < 60, "{revocation}");
    let words = revocation.to_string();
    assert!(words.starts_with("serial f0:01, revoked 20"), "{words}");
    assert!(words.ends_with("reason keyCompromise"), "{words}");
}

#[test]
fn a_reason_need_not_be_given() {
    let Ok(Status::Revoked(revocation)) = status(file!("complete.crl"), &facts(file!("held.cert")), 1) else {
        panic!("not revoked")
    };
    assert_eq!(revocation.reason, None);
}

#[test]
fn a_list_that_is_out_of_date_calls_nobody_good_but_still_revokes() {
    assert!(matches!(
        status(file!("stale.crl"), &good(), 0),
        Err(CrlError::OutOfDate(_))
    ));
    assert!(matches!(
        status(file!("complete.crl"), &good(), 31),
        Err(CrlError::OutOfDate(_))
    ));
    assert!(matches!(
        status(file!("stale.crl"), &facts(file!("revoked.cert")), 0),
        Ok(Status::Revoked(_))
    ));
}

#[test]
fn a_list_of_the_future_says_nothing_yet() {
    let error = status(file!("early.crl"), &facts(file!("revoked.cert")), 0).unwrap_err();
    assert!(matches!(error, CrlError::NotYet(_)));
    assert!(error.to_string().contains("2049-01-01T00:00:00Z"), "{error}");
}

#[test]
fn a_list_signed_by_another_key_of_the_same_name_is_not_believed() {
    assert!(matches!(
        status(file!("forged.crl"), &facts(file!("revoked.cert")), 0),
        Err(CrlError::Signature(_))
    ));
}

#[test]
fn an_octet_changed_anywhere_is_noticed() {
    let whole = file!("complete.crl");
    let revoked = facts(file!("revoked.cert"));
    for at in 0..whole.len() {
        let mut changed = whole.to_vec();
        changed[at] ^= 0x01;
        assert!(status(&changed, &revoked, 0).is_err(), "octet {at}");
        assert!(status(&whole[..at], &revoked, 0).is_err(), "{at} octets");
    }
}

#[test]
fn an_issuer_that_may_not_sign_lists_signs_none() {
    let issuer = facts(file!("no-crl-sign.cert")).as_issuer();
    let crl = Crl::parse(file!("complete.crl")).unwrap();
    assert_eq!(crl.status(&good(), &issuer, later(0)), Err(CrlError::NoCrlSigner));
}

#[test]
fn a_list_of_another_issuer_says_nothing() {
    let crl = Crl::parse(file!("complete.crl")).unwrap();
    assert_eq!(
        crl.status(&good(), &facts(file!("responder.cert")).as_issuer(), later(0)),
        Err(CrlError::OtherIssuer)
    );
}

#[test]
fn lists_that_are_not_complete_are_refused_by_name() {
    for (crl, error) in [
        (file!("delta.crl"), CrlError::Delta),
        (file!("indirect.crl"), CrlError::Indirect),
        (file!("reasons.crl"), CrlError::Partial),
        (file!("version1.crl"), CrlError::Version),
    ] {
        assert_eq!(Crl::parse(crl), Err(error));
    }
}

#[test]
fn a_list_for_a_distribution_point_is_for_the_certificates_that_name_it() {
    assert_eq!(status(file!("point.crl"), &good(), 0), Ok(Status::Good));
    assert_eq!(
        status(file!("elsewhere.crl"), &good(), 0),
        Err(CrlError::OtherScope)
    );
    // It is for authorities only, which a gateway is not.
    assert_eq!(
        status(file!("authorities.crl"), &good(), 0),
        Err(CrlError::OtherScope)
    );
}

#[test]
fn more_octets_than_a_bound_are_not_read() {
    let long = vec![0x30; LONGEST_CRL + 1];
    assert_eq!(Crl::parse(&long), Err(CrlError::TooLong(LONGEST_CRL + 1)));
}

#[test]
fn only_what_can_be_fetched_over_http_is_fetched() {
    let good = good();
    assert_eq!(good.crl_urls().collect::<Vec<_>>(), ["http://192.0.2.1/ca.crl"]);
    assert_eq!(
        good.ocsp_urls().collect::<Vec<_>>(),
        ["http://192.0.2.1:8080/ocsp"]
    );
}
