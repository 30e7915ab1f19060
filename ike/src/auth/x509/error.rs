//! Why a certificate is refused.

use std::fmt;
use std::time::Duration;

use x509_cert::der::DateTime;

use crate::auth::identity::Identity;

/// A time in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_unix_duration(Duration::from_secs(self.0)) {
            Ok(date) => write!(f, "{date}"),
            Err(_) => write!(f, "{} s after 1970", self.0),
        }
    }
}

/// Why a certificate is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// None was sent.
    #[error("the peer sent no certificate")]
    Missing,
    /// More than anybody needs, or too large.
    #[error("the peer sent too many certificates, or too large ones")]
    TooMuch,
    /// It does not parse, or an extension says what nobody understands.
    #[error("a certificate cannot be read: {detail}")]
    Malformed {
        /// What is wrong with it.
        detail: String,
    },
    /// The key in it is not one that we use.
    #[error("the key of the certificate is not accepted: {detail}")]
    Key {
        /// Why not.
        detail: String,
    },
    /// It, or one above it, is not valid yet.
    #[error("a certificate is not valid before {since} (our clock says {now})")]
    NotYetValid {
        /// From when on.
        since: Moment,
        /// What our clock says.
        now: Moment,
    },
    /// It, or one above it, is not valid any more.
    #[error("a certificate expired on {since} (our clock says {now})")]
    Expired {
        /// Its last second.
        since: Moment,
        /// What our clock says.
        now: Moment,
    },
    /// It does not name the identity (RFC 4945 3.1).
    #[error("the certificate is not for {identity}: it names {}", names.join(", "))]
    WrongName {
        /// Who the peer says it is.
        identity: Identity,
        /// Subject and subject alternative names.
        names: Vec<String>,
    },
    /// No path leads to one of the trust anchors.
    #[error(
        "the certificate of {subject} was issued by {issuer}, which leads to none of the trusted authorities"
    )]
    UnknownIssuer {
        /// Whose certificate.
        subject: String,
        /// Its issuer.
        issuer: String,
    },
    /// KeyUsage or ExtendedKeyUsage do not allow it (RFC 4945 5.1.3).
    #[error("the certificate is not meant for this use: {detail}")]
    WrongUsage {
        /// What it says.
        detail: &'static str,
    },
    /// A signature in the path is wrong.
    #[error("a signature among the certificates is wrong")]
    BadSignature,
    /// A signature in the path is of an algorithm that nobody should trust any more.
    #[error("a certificate is signed by an algorithm that is not accepted (SHA-1, or RSA below 2048 bits)")]
    WeakSignature,
    /// A constraint of an authority does not allow the path (RFC 5280 4.2.1.9, 4.2.1.10).
    #[error("an authority among the certificates may not issue this one: {detail}")]
    Constraint {
        /// Which.
        detail: &'static str,
    },
    /// Its authority took it back.
    #[error("the certificate of {subject} is revoked")]
    Revoked {
        /// Whose certificate.
        subject: String,
    },
    /// Nobody told us what time it is.
    #[error("the time of day is not known")]
    NoClock,
}
