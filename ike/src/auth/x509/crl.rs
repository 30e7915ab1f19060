//! Certificate revocation lists (RFC 5280 5, 6.3).
//!
//! Only complete CRLs of the issuer itself are used: delta CRLs, indirect ones, and ones for some reasons or for
//! attribute certificates only are refused by name, for with less than the whole list nobody can be called good.

use rustls_pki_types::UnixTime;
use webpki::{BorrowedCertRevocationList, CertRevocationList, Error};
use x509_cert::der::{Decode, Reader, SliceReader, Tag};
use x509_cert::ext::pkix::crl::IssuingDistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::time::Time;

use super::error::Moment;
use super::facts::{Facts, Issuer};
use super::signed::{SignatureError, Signed, contents, optional};
use super::status::{Reason, Revocation, Status, is_in_future};

/// Octets of a CRL at most.
pub const LONGEST_CRL: usize = 4 * 1024 * 1024;

/// A CRL that parsed. Whether to believe it is asked anew for each certificate, of the certificate's issuer.
#[derive(Clone, PartialEq, Eq)]
pub struct Crl {
    der: Vec<u8>,
    issuer: Vec<u8>,
    this_update: Moment,
    next_update: Moment,
    scope: Scope,
}

/// Which of the issuer's certificates the CRL speaks of (RFC 5280 5.2.5).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Scope {
    only_user: bool,
    only_authorities: bool,
    /// Names of the distribution point; empty: all of the issuer's certificates.
    points: Vec<String>,
}

/// A CRL is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// Too long.
    #[error("it has {0} octets, more than the {LONGEST_CRL} that are read")]
    TooLong(usize),
    /// Not a CRL.
    #[error("it is not a CRL in DER form")]
    Malformed,
    /// Without the extensions of version 2 nobody can tell what it covers (RFC 5280 5.2 demands them).
    #[error(
        "it has no extensions (version 1); let the authority issue version 2 (openssl.cnf: `crl_extensions`, `crlnumber`)"
    )]
    Version,
    /// RFC 5280 5.1.2.5 demands nextUpdate.
    #[error("it does not say when the next one comes (nextUpdate)")]
    NoNextUpdate,
    /// A delta CRL (RFC 5280 5.2.4).
    #[error("it is a delta CRL, which is not supported; configure the complete one")]
    Delta,
    /// An indirect CRL (RFC 5280 5.2.5).
    #[error("it is an indirect CRL, which is not supported; configure that of the certificate's own issuer")]
    Indirect,
    /// For some reasons or attribute certificates only, or in another way we do not understand.
    #[error("it covers a part of the certificates in a way that is not supported")]
    Partial,
    /// Of somebody else than the certificate's issuer.
    #[error("it is not of the issuer of the certificate")]
    OtherIssuer,
    /// The issuer's, but for others of its certificates.
    #[error("it does not cover this certificate")]
    OtherScope,
    /// The issuer may not sign CRLs (RFC 5280 6.3.3 (f)).
    #[error("the issuer's certificate does not let it sign CRLs (key usage cRLSign)")]
    NoCrlSigner,
    /// The issuer did not sign it.
    #[error("{0}")]
    Signature(#[from] SignatureError),
    /// thisUpdate is in the future.
    #[error("it is not valid before {0}; check this host's clock")]
    NotYet(Moment),
    /// nextUpdate is past.
    #[error("it is out of date since {0}")]
    OutOfDate(Moment),
}

impl Crl {
    /// Reads a CRL in DER form.
    pub fn parse(der: &[u8]) -> Result<Self, CrlError> {
        if der.len() > LONGEST_CRL {
            return Err(CrlError::TooLong(der.len()));
        }
        let (issuer, this_update, next_update) = read_head(der).map_err(|_| CrlError::Malformed)??;
        let list = BorrowedCertRevocationList::from_der(der).map_err(from_webpki)?;
        // Entries that do not parse are found now, and not when one is looked for.
        (&list)
            .into_iter()
            .try_for_each(|entry| entry.map(drop).map_err(from_webpki))?;
        let list = CertRevocationList::from(list);
        let scope = match list.issuing_distribution_point() {
            None => Scope::default(),
            Some(octets) => Scope::read(octets)?,
        };
        Ok(Self {
            issuer,
            this_update: Moment(this_update.as_secs()),
            next_update: Moment(next_update.as_secs()),
            scope,
            der: der.to_vec(),
        })
    }

    /// How many octets it has.
    pub fn size(&self) -> usize {
        self.der.len()
    }

    /// When the next one is due.
    pub fn next_update(&self) -> Moment {
        self.next_update
    }

    /// What it says of `subject`, after its signature was verified by the key of `issuer`. A revoked certificate stays
    /// revoked, however old the CRL is; anything else is only told by a CRL that is not out of date.
    pub fn status(&self, subject: &Facts, issuer: &Issuer, now: UnixTime) -> Result<Status, CrlError> {
        if self.issuer != subject.issuer || self.issuer != issuer.name {
            return Err(CrlError::OtherIssuer);
        }
        if !self.scope.covers(subject) {
            return Err(CrlError::OtherScope);
        }
        if !issuer.may_sign_crls {
            return Err(CrlError::NoCrlSigner);
        }
        let mut reader = SliceReader::new(&self.der).map_err(|_| CrlError::Malformed)?;
        let signed = reader
            .sequence(Signed::read)
            .map_err(|_: x509_cert::der::Error| CrlError::Malformed)?;
        signed.verify(&issuer.key)?;
        if is_in_future(self.this_update, now) {
            return Err(CrlError::NotYet(self.this_update));
        }
        let list = BorrowedCertRevocationList::from_der(&self.der).map_err(from_webpki)?;
        let found = CertRevocationList::from(list)
            .find_serial(&subject.serial)
            .map_err(from_webpki)?
            .map(|entry| Revocation {
                serial: entry.serial_number.to_vec(),
                at: Moment(entry.revocation_date.as_secs()),
                reason: entry.reason_code.map(|reason| Reason(reason as u8)),
            });
        match found {
            Some(revocation) => Ok(Status::Revoked(revocation)),
            None if now.as_secs() > self.next_update.0 => Err(CrlError::OutOfDate(self.next_update)),
            None => Ok(Status::Good),
        }
    }
}

impl std::fmt::Debug for Crl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Crl({} octets, until {})", self.der.len(), self.next_update)
    }
}

impl Scope {
    fn read(octets: &[u8]) -> Result<Self, CrlError> {
        let point = IssuingDistributionPoint::from_der(octets).map_err(|_| CrlError::Malformed)?;
        if point.indirect_crl {
            return Err(CrlError::Indirect);
        }
        if point.only_some_reasons.is_some() || point.only_contains_attribute_certs {
            return Err(CrlError::Partial);
        }
        let points = match point.distribution_point {
            None => Vec::new(),
            Some(DistributionPointName::FullName(names)) => names.iter().filter_map(uri).collect(),
            Some(DistributionPointName::NameRelativeToCRLIssuer(_)) => return Err(CrlError::Partial),
        };
        Ok(Self {
            only_user: point.only_contains_user_certs,
            only_authorities: point.only_contains_ca_certs,
            points,
        })
    }

    /// RFC 5280 6.3.3 (b): a CRL that names its distribution point is for the certificates that name it too.
    fn covers(&self, subject: &Facts) -> bool {
        let named = self.points.is_empty() || self.points.iter().any(|point| subject.points.contains(point));
        named && !(self.only_user && subject.is_authority) && (!self.only_authorities || subject.is_authority)
    }
}

fn uri(name: &GeneralName) -> Option<String> {
    if let GeneralName::UniformResourceIdentifier(uri) = name {
        Some(uri.as_str().to_owned())
    } else {
        None
    }
}

type Head = (Vec<u8>, UnixTime, UnixTime);

/// Version, issuer, thisUpdate and nextUpdate (RFC 5280 5.1.2).
fn read_head(der: &[u8]) -> x509_cert::der::Result<Result<Head, CrlError>> {
    let mut reader = SliceReader::new(der)?;
    let signed = reader.sequence(Signed::read)?;
    reader.finish()?;
    let mut reader = SliceReader::new(signed.content)?;
    let mut tbs = SliceReader::new(contents(&mut reader, Tag::Sequence)?)?;
    if Tag::peek(&tbs)? != Tag::Integer {
        return Ok(Err(CrlError::Version));
    }
    contents(&mut tbs, Tag::Integer)?;
    contents(&mut tbs, Tag::Sequence)?;
    let issuer = tbs.tlv_bytes()?.to_vec();
    let this_update: Time = tbs.decode()?;
    let dated = !tbs.is_finished() && matches!(Tag::peek(&tbs)?, Tag::UtcTime | Tag::GeneralizedTime);
    if !dated {
        return Ok(Err(CrlError::NoNextUpdate));
    }
    let next_update: Time = tbs.decode()?;
    if !tbs.is_finished() && Tag::peek(&tbs)? == Tag::Sequence {
        contents(&mut tbs, Tag::Sequence)?;
    }
    if optional(&mut tbs, 0, true)?.is_none() {
        return Ok(Err(CrlError::Version));
    }
    let at = |time: Time| UnixTime::since_unix_epoch(time.to_unix_duration());
    Ok(Ok((issuer, at(this_update), at(next_update))))
}

fn from_webpki(error: Error) -> CrlError {
    let partial = [
        Error::UnsupportedCrlIssuingDistributionPoint,
        Error::UnsupportedRevocationReasonsPartitioning,
        Error::UnsupportedRevocationReason,
        Error::UnsupportedCriticalExtension,
    ];
    if error == Error::UnsupportedDeltaCrl {
        CrlError::Delta
    } else if error == Error::UnsupportedIndirectCrl {
        CrlError::Indirect
    } else if error == Error::UnsupportedCrlVersion {
        CrlError::Version
    } else if partial.contains(&error) {
        CrlError::Partial
    } else {
        CrlError::Malformed
    }
}
