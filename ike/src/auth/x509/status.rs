//! Is a certificate still good? What CRLs and OCSP responses say, in the same words (RFC 5280 5, RFC 6960 2.2).

use std::fmt;

use super::error::Moment;
use super::facts::hex;
use rustls_pki_types::UnixTime;

/// What the issuer says of one certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It was not revoked.
    Good,
    /// It was.
    Revoked(Revocation),
    /// The responder does not know it.
    Unknown,
}

/// When and why a certificate was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// Its serial number.
    pub serial: Vec<u8>,
    /// When.
    pub at: Moment,
    /// Why, if the issuer says.
    pub reason: Option<Reason>,
}

impl fmt::Display for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "serial {}, revoked {}", hex(&self.serial), self.at)?;
        match self.reason {
            Some(reason) => write!(f, ", reason {reason}"),
            None => f.write_str(", no reason given"),
        }
    }
}

/// CRLReason (RFC 5280 5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason(pub u8);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "unspecified",
            1 => "keyCompromise",
            2 => "cACompromise",
            3 => "affiliationChanged",
            4 => "superseded",
            5 => "cessationOfOperation",
            6 => "certificateHold",
            8 => "removeFromCRL",
            9 => "privilegeWithdrawn",
            10 => "aACompromise",
            other => return write!(f, "{other}"),
        })
    }
}

/// How far clocks may differ before something is not valid yet.
pub(super) const SKEW: u64 = 300;

/// It begins later than clocks may differ.
pub(super) fn is_in_future(begin: Moment, now: UnixTime) -> bool {
    begin.0 > now.as_secs().saturating_add(SKEW)
}
