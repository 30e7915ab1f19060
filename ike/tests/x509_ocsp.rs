//! OCSP responses made by OpenSSL: what they say, and which are not believed (RFC 6960).

#[path = "vectors/revocation.rs"]
mod revocation;

use revocation::{facts, file, later};
use xvpn_ike::auth::x509::facts::{Facts, Issuer};
use xvpn_ike::auth::x509::ocsp::{Answer, LONGEST_RESPONSE, OcspError, read, request};
use xvpn_ike::auth::x509::status::{Reason, Status};

fn ca() -> Issuer {
    facts(file!("ca.cert")).as_issuer()
}

fn good() -> Facts {
    facts(file!("good.cert"))
}

fn of_good(response: &[u8]) -> Result<Answer, OcspError> {
    read(response, &good(), &ca(), None, later(1))
}

fn status(response: &[u8]) -> Result<Status, OcspError> {
    of_good(response).map(|answer| answer.status)
}

/// OpenSSL's nonce is the last of its request.
fn nonce() -> Vec<u8> {
    let request = file!("good-nonce.req");
    request[request.len() - 16..].to_vec()
}

#[test]
fn our_request_is_that_of_openssl_octet_by_octet() {
    assert_eq!(request(&good(), &ca(), &nonce()), file!("good-nonce.req"));
}

#[test]
fn a_good_certificate_is_good_until_the_next_update() {
    let answer = of_good(file!("good.ocsp")).unwrap();
    assert_eq!(answer.status, Status::Good);
    let until = answer.until.0;
    assert!(until.abs_diff(later(7).as_secs()) < 60);
    assert!(matches!(
        read(file!("good.ocsp"), &good(), &ca(), None, later(8)),
        Err(OcspError::OutOfDate(_))
    ));
}

#[test]
fn the_certificate_may_be_named_by_sha_256() {
    assert_eq!(status(file!("good-sha256.ocsp")), Ok(Status::Good));
}

#[test]
fn a_revoked_certificate_is_told_with_date_and_reason_however_old_the_answer() {
    for days in [1, 100] {
        let revoked = facts(file!("revoked.cert"));
        let answer = read(file!("revoked.ocsp"), &revoked, &ca(), None, later(days)).unwrap();
        let Status::Revoked(revocation) = answer.status else {
            panic!("not revoked")
        };
        assert_eq!(revocation.reason, Some(Reason(1)));
        assert!(later(0).as_secs().abs_diff(revocation.at.0) < 60);
    }
}

#[test]
fn a_certificate_unknown_to_the_responder_is_unknown() {
    assert_eq!(status(file!("unknown.ocsp")), Ok(Status::Unknown));
}

#[test]
fn a_responder_with_a_certificate_of_the_issuer_for_it_is_believed() {
    assert_eq!(status(file!("delegated.ocsp")), Ok(Status::Good));
    let revoked = facts(file!("revoked.cert"));
    let answer = read(file!("delegated-by-key.ocsp"), &revoked, &ca(), None, later(1)).unwrap();
    assert!(matches!(answer.status, Status::Revoked(_)));
}

#[test]
fn another_gateway_of_the_same_issuer_is_no_responder() {
    assert_eq!(status(file!("usurped.ocsp")), Err(OcspError::Responder));
}

#[test]
fn another_issuer_of_the_same_name_is_no_responder() {
    let other = facts(file!("other.cert")).as_issuer();
    assert!(matches!(
        read(file!("good.ocsp"), &good(), &other, None, later(1)),
        Err(OcspError::Signature(_))
    ));
    assert!(matches!(
        read(file!("delegated.ocsp"), &good(), &other, None, later(1)),
        Err(OcspError::Responder)
    ));
}

#[test]
fn an_answer_for_another_certificate_is_none() {
    assert_eq!(status(file!("revoked.ocsp")), Err(OcspError::OtherCertificate));
}

#[test]
fn a_nonce_may_be_missing_but_not_differ() {
    let with = |response: &[u8], nonce: &[u8]| {
        read(response, &good(), &ca(), Some(nonce), later(1)).map(|answer| answer.status)
    };
    assert_eq!(with(file!("good-nonce.ocsp"), &nonce()), Ok(Status::Good));
    assert_eq!(with(file!("good.ocsp"), &nonce()), Ok(Status::Good));
    assert_eq!(with(file!("good-nonce.ocsp"), &[7; 16]), Err(OcspError::Nonce));
}

#[test]
fn without_a_next_update_the_answer_is_for_now_only() {
    let at = |now| read(file!("no-next-update.ocsp"), &good(), &ca(), None, now);
    assert_eq!(at(later(0)).map(|answer| answer.status), Ok(Status::Good));
    assert!(matches!(at(later(1)), Err(OcspError::OutOfDate(_))));
}

#[test]
fn a_refusal_of_the_responder_is_told_as_such() {
    let try_later = [0x30, 0x03, 0x0a, 0x01, 0x03];
    let error = status(&try_later).unwrap_err();
    assert_eq!(error, OcspError::Refused(3));
    assert!(error.to_string().contains("try later"), "{error}");
}

#[test]
fn an_octet_changed_anywhere_under_the_signature_is_noticed() {
    let whole = file!("good.ocsp");
    for at in 0..whole.len() {
        assert!(status(&whole[..at]).is_err(), "{at} octets");
        let mut changed = whole.to_vec();
        changed[at] ^= 0x01;
        // The certificates that come along are not signed, and not needed here.
        let certificates = whole.len() - file!("ca.cert").len() - 8;
        if at < certificates {
            assert!(status(&changed).is_err(), "octet {at}");
        }
    }
}

#[test]
fn more_octets_than_a_bound_are_not_read() {
    let long = vec![0x30; LONGEST_RESPONSE + 1];
    assert_eq!(status(&long), Err(OcspError::TooLong(LONGEST_RESPONSE + 1)));
}
