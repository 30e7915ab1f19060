//! Path validation (RFC 5280 6, RFC 4945 5).

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error, VerifiedPath};

use super::anchor::Anchor;
use super::error::{CertificateError, Moment};
use super::leaf::{Leaf, LeafError};
use super::usage::{ForIke, NO_PURPOSE, may_issue, may_sign};
use super::{LARGEST_CERTIFICATE, MOST_CERTIFICATES};
use crate::auth::identity::Identity;
use crate::crypto::sign::PublicKey;

/// What a chain is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Trust<'a> {
    /// The authorities that are trusted.
    pub anchors: &'a [Anchor],
    /// The time of day.
    pub now: UnixTime,
}

/// A certificate that is believed.
#[derive(Clone, Debug)]
pub struct Validated {
    /// The key of whom it is for.
    pub key: PublicKey,
    /// Whom it is for, as its subject says.
    pub subject: String,
    /// When the first certificate of the path expires.
    pub not_after: Moment,
    /// The path: the peer's certificate first, then who issued it, and so on. The trust anchor is not among them.
    pub path: Vec<Link>,
}

/// A certificate of the path, and who vouches for it.
#[derive(Clone, Debug)]
pub struct Link {
    /// The certificate in DER.
    pub certificate: CertificateDer<'static>,
    /// The issuer's subject in DER, without the outer tag and length.
    pub issuer: Vec<u8>,
    /// The issuer's SubjectPublicKeyInfo in DER.
    pub issuer_spki: Vec<u8>,
}

/// Judges a chain as a peer sent it: its own certificate first, the others in any order.
///
/// # Errors
///
/// Why it is refused. Signatures are verified only if nothing cheaper is in the way.
pub fn validate(
    chain: &[CertificateDer<'_>],
    identity: &Identity,
    trust: &Trust<'_>,
) -> Result<Validated, CertificateError> {
    let (first, others) = chain.split_first().ok_or(CertificateError::Missing)?;
    if chain.len() > MOST_CERTIFICATES || chain.iter().any(|der| der.len() > LARGEST_CERTIFICATE) {
        return Err(CertificateError::TooMuch);
    }
    let leaf = Leaf::from_der(first).map_err(unreadable)?;
    within(&leaf, trust.now)?;
    may_sign(leaf.usage())?;
    if !leaf.is_for(identity) {
        return Err(CertificateError::WrongName {
            identity: identity.clone(),
            names: leaf
                .identities()
                .iter()
                .take(MOST_NAMES)
                .map(ToString::to_string)
                .collect(),
        });
    }
    let entity = EndEntityCert::try_from(first).map_err(|error| refused(&error, &leaf))?;
    let anchors: Vec<TrustAnchor<'_>> = trust
        .anchors
        .iter()
        .filter(|anchor| within(anchor.certificate(), trust.now).is_ok())
        .map(|anchor| anchor.trusted().clone())
        .collect();
    let path = entity
        .verify_for_usage(ALGORITHMS, &anchors, others, trust.now, ForIke, None, None)
        .map_err(|error| expired_anchor(&leaf, trust, refused(&error, &leaf)))?;
    let mut not_after = leaf.validity().1;
    for issuer in path.intermediate_certificates() {
        let issuer = Leaf::from_der(&issuer.der()).map_err(unreadable)?;
        may_issue(issuer.usage())?;
        not_after = not_after.min(issuer.validity().1);
    }
    Ok(Validated {
        key: leaf.key().clone(),
        subject: leaf.subject().to_string(),
        not_after,
        path: links(&path),
    })
}

fn links(path: &VerifiedPath<'_>) -> Vec<Link> {
    let entity = path.end_entity();
    let mut issuers: Vec<(Vec<u8>, Vec<u8>)> = path
        .intermediate_certificates()
        .map(|issuer| {
            let spki = issuer.subject_public_key_info();
            (issuer.subject().to_vec(), spki.as_ref().to_vec())
        })
        .collect();
    let anchor = path.anchor();
    issuers.push((
        anchor.subject.as_ref().to_vec(),
        anchor.subject_public_key_info.as_ref().to_vec(),
    ));
    let certificates = std::iter::once(entity.der())
        .chain(path.intermediate_certificates().map(|issuer| issuer.der()))
        .map(CertificateDer::into_owned);
    certificates
        .zip(issuers)
        .map(|(certificate, (issuer, issuer_spki))| Link {
            certificate,
            issuer,
            issuer_spki,
        })
        .collect()
}

/// RFC 5280 4.1.2.5.
fn within(leaf: &Leaf, now: UnixTime) -> Result<(), CertificateError> {
    let now = Moment(now.as_secs());
    let (since, until) = leaf.validity();
    if now < since {
        return Err(CertificateError::NotYetValid { since, now });
    }
    if now > until {
        return Err(CertificateError::Expired { since: until, now });
    }
    Ok(())
}

/// An authority that is trusted but has expired is worth other words than one that is not known.
fn expired_anchor(leaf: &Leaf, trust: &Trust<'_>, error: CertificateError) -> CertificateError {
    let CertificateError::UnknownIssuer { .. } = &error else {
        return error;
    };
    let issuer = trust
        .anchors
        .iter()
        .find(|anchor| anchor.certificate().subject().matches(leaf.issuer()));
    issuer
        .and_then(|anchor| within(anchor.certificate(), trust.now).err())
        .unwrap_or(error)
}

fn unreadable(error: LeafError) -> CertificateError {
    match error {
        LeafError::Malformed(detail) => CertificateError::Malformed { detail },
        LeafError::Key(error) => CertificateError::Key {
            detail: error.to_string(),
        },
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library's errors, which grow; what is not named here is of the certificate's form"
)]
fn refused(error: &Error, leaf: &Leaf) -> CertificateError {
    match error {
        Error::CertExpired { time, not_after } => CertificateError::Expired {
            since: Moment(not_after.as_secs()),
            now: Moment(time.as_secs()),
        },
        Error::CertNotValidYet { time, not_before } => CertificateError::NotYetValid {
            since: Moment(not_before.as_secs()),
            now: Moment(time.as_secs()),
        },
        Error::UnknownIssuer => CertificateError::UnknownIssuer {
            subject: leaf.subject().to_string(),
            issuer: leaf.issuer().to_string(),
        },
        Error::EmptyEkuExtension | Error::RequiredEkuNotFoundContext(_) => {
            CertificateError::WrongUsage { detail: NO_PURPOSE }
        }
        Error::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => CertificateError::WeakSignature,
        Error::CertRevoked => CertificateError::Revoked {
            subject: leaf.subject().to_string(),
        },
        Error::CaUsedAsEndEntity => CertificateError::WrongUsage {
            detail: "it is the certificate of an authority",
        },
        Error::EndEntityUsedAsCa => CertificateError::Constraint {
            detail: "it is no authority",
        },
        Error::PathLenConstraintViolated | Error::MaximumPathDepthExceeded => CertificateError::Constraint {
            detail: "the path is too long",
        },
        Error::NameConstraintViolation => CertificateError::Constraint {
            detail: "the name is outside of its name constraints",
        },
        Error::MaximumPathBuildCallsExceeded
        | Error::MaximumSignatureChecksExceeded
        | Error::MaximumNameConstraintComparisonsExceeded => CertificateError::TooMuch,
        other => CertificateError::Malformed {
            detail: other.to_string(),
        },
    }
}

/// Names of a certificate that are shown.
const MOST_NAMES: usize = 8;
/// What a certificate may be signed with: SHA-2 and RSA from 2048 bits on.
const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    webpki::aws_lc_rs::ECDSA_P256_SHA256,
    webpki::aws_lc_rs::ECDSA_P256_SHA384,
    webpki::aws_lc_rs::ECDSA_P256_SHA512,
    webpki::aws_lc_rs::ECDSA_P384_SHA256,
    webpki::aws_lc_rs::ECDSA_P384_SHA384,
    webpki::aws_lc_rs::ECDSA_P384_SHA512,
    webpki::aws_lc_rs::ECDSA_P521_SHA256,
    webpki::aws_lc_rs::ECDSA_P521_SHA384,
    webpki::aws_lc_rs::ECDSA_P521_SHA512,
    webpki::aws_lc_rs::ED25519,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA256,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA384,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA512,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA256_ABSENT_PARAMS,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA384_ABSENT_PARAMS,
    webpki::aws_lc_rs::RSA_PKCS1_2048_8192_SHA512_ABSENT_PARAMS,
    webpki::aws_lc_rs::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    webpki::aws_lc_rs::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    webpki::aws_lc_rs::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];
