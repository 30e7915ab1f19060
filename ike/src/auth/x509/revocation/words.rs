//! Doubts and refusals in the operator's words.

use std::fmt;

use super::RevocationError;

impl RevocationError {
    /// Something was tried.
    pub(super) fn is_worth_a_word(&self) -> bool {
        match self {
            Self::Unknown { tried, .. } => !tried.is_empty(),
            Self::Revoked { .. } | Self::OutOfDate { .. } => true,
        }
    }

    /// What the operator should do.
    pub fn remedy(&self) -> String {
        match self {
            Self::Revoked { .. } => {
                "give the peer a new certificate; if it was revoked by mistake, only its authority can help".into()
            }
            Self::OutOfDate { .. } => {
                "let the authority issue a new CRL (or OCSP response) and put it in place; check this host's clock".into()
            }
            Self::Unknown { tried, .. } if tried.is_empty() => {
                "name the authority's CRL with `crl = [\"…\"]`; or let certificates name a CRL or OCSP responder (http); or \
                 accept the risk with `revocation = \"if-available\"`"
                    .into()
            }
            Self::Unknown { .. } => {
                "see why the CRL or the responder cannot be had from this host (firewall, DNS, a route into the tunnel itself); \
                 or name a CRL file with `crl = [\"…\"]`; or accept the risk with `revocation = \"if-available\"`"
                    .into()
            }
        }
    }
}

impl fmt::Display for RevocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revoked {
                subject,
                revocation,
                source,
            } => write!(
                f,
                "the certificate of {subject} is revoked ({revocation}), says {source}"
            ),
            Self::OutOfDate {
                subject,
                serial,
                source,
                since,
            } => write!(
                f,
                "nobody can tell whether the certificate of {subject} (serial {serial}) is revoked: {source} is out of date \
                 since {since}"
            ),
            Self::Unknown {
                subject,
                serial,
                tried,
            } => {
                write!(
                    f,
                    "nobody can tell whether the certificate of {subject} (serial {serial}) is revoked: "
                )?;
                if tried.is_empty() {
                    f.write_str("there is no CRL of its authority, and it names none")
                } else {
                    f.write_str(&tried.join("; "))
                }
            }
        }
    }
}
