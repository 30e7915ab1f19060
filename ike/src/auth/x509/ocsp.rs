//! The Online Certificate Status Protocol (RFC 6960): a request for one certificate, and what a response says of it.
//!
//! A response is believed if the certificate's issuer signed it, or a responder to which that issuer itself gave a
//! certificate for this purpose (RFC 6960 4.2.2.2).

mod request;

use rustls_pki_types::UnixTime;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use x509_cert::der::asn1::{AnyRef, GeneralizedTime, ObjectIdentifier, OctetStringRef};
use x509_cert::der::{Decode, Reader, SliceReader, Tag};

use super::error::Moment;
use super::facts::{Facts, Issuer, read_extension};
use super::signed::{PublicKey, SignatureError, Signed, contents, optional};
use super::status::{Reason, Revocation, SKEW, Status, is_in_future};

pub use request::request;

/// Octets of a response at most.
pub const LONGEST_RESPONSE: usize = 64 * 1024;
/// Octets of a nonce that we send (RFC 9654 2.1).
pub const NONCE_LENGTH: usize = 32;

/// What a response says of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Good, revoked, or unknown to the responder.
    pub status: Status,
    /// Until when that holds.
    pub until: Moment,
    /// The certificate of the responder that signed it, if it is not the issuer itself and may have been revoked: whether
    /// it was is for the caller to find out (RFC 6960 4.2.2.2.1).
    pub responder: Option<Box<Facts>>,
}

/// A response is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OcspError {
    /// Too long.
    #[error("it has {0} octets, more than the {LONGEST_RESPONSE} that are read")]
    TooLong(usize),
    /// Not a response.
    #[error("it is not an OCSP response")]
    Malformed,
    /// The responder did not answer the question (RFC 6960 4.2.1).
    #[error("the responder refuses to answer: {}", refusal(*.0))]
    Refused(u8),
    /// It speaks of other certificates.
    #[error("it does not speak of this certificate")]
    OtherCertificate,
    /// Who signed it is neither the issuer nor a responder of the issuer.
    #[error(
        "its signer is neither the certificate's issuer nor a responder with a certificate of that issuer for OCSP signing"
    )]
    Responder,
    /// The signer did not sign it.
    #[error("{0}")]
    Signature(#[from] SignatureError),
    /// It answers another request.
    #[error("it has another nonce than the request")]
    Nonce,
    /// thisUpdate is in the future.
    #[error("it is not valid before {0}; check this host's clock")]
    NotYet(Moment),
    /// nextUpdate is past.
    #[error("it is out of date since {0}")]
    OutOfDate(Moment),
}

/// What `response` says of `subject`. `nonce`: the one of the request; a responder that signs in advance leaves it out
/// (RFC 9654 2.1), another one is refused.
pub fn read(
    response: &[u8],
    subject: &Facts,
    issuer: &Issuer,
    nonce: Option<&[u8]>,
    now: UnixTime,
) -> Result<Answer, OcspError> {
    if response.len() > LONGEST_RESPONSE {
        return Err(OcspError::TooLong(response.len()));
    }
    let basic = unwrap(response).map_err(malformed)??;
    let (signed, certificates) = read_basic(basic).map_err(malformed)?;
    let data = ResponseData::read(signed.content).map_err(malformed)?;
    let responder = data.verify(&signed, &certificates, issuer, now)?;
    if let (Some(sent), Some(received)) = (nonce, data.nonce)
        && sent != received
    {
        return Err(OcspError::Nonce);
    }
    let single = data
        .singles
        .iter()
        .find(|single| single.is_of(subject, issuer))
        .ok_or(OcspError::OtherCertificate)?;
    let (status, until) = single.answer(subject, now)?;
    Ok(Answer {
        status,
        until,
        responder: responder.map(Box::new),
    })
}

/// The frame around the BasicOCSPResponse (RFC 6960 4.2.1).
fn unwrap(response: &[u8]) -> x509_cert::der::Result<Result<&[u8], OcspError>> {
    let mut reader = SliceReader::new(response)?;
    let whole = contents(&mut reader, Tag::Sequence)?;
    reader.finish()?;
    let mut reader = SliceReader::new(whole)?;
    let status = contents(&mut reader, Tag::Enumerated)?;
    match status {
        [0] => {}
        [other] => return Ok(Err(OcspError::Refused(*other))),
        [..] => return Ok(Err(OcspError::Malformed)),
    }
    let Some(bytes) = optional(&mut reader, 0, true)? else {
        return Ok(Err(OcspError::Malformed));
    };
    let mut reader = SliceReader::new(bytes)?;
    let mut reader = SliceReader::new(contents(&mut reader, Tag::Sequence)?)?;
    if reader.decode::<ObjectIdentifier>()? != BASIC {
        return Ok(Err(OcspError::Malformed));
    }
    Ok(Ok(contents(&mut reader, Tag::OctetString)?))
}

/// What is signed, and the certificates that came with it.
fn read_basic(basic: &[u8]) -> x509_cert::der::Result<(Signed<'_>, Vec<&[u8]>)> {
    let mut reader = SliceReader::new(basic)?;
    let mut reader = SliceReader::new(contents(&mut reader, Tag::Sequence)?)?;
    let signed = Signed::read(&mut reader)?;
    let mut certificates = Vec::new();
    if let Some(list) = optional(&mut reader, 0, true)? {
        let mut list = SliceReader::new(list)?;
        let mut list = SliceReader::new(contents(&mut list, Tag::Sequence)?)?;
        while !list.is_finished() && certificates.len() < MOST_CERTIFICATES {
            certificates.push(list.tlv_bytes()?);
        }
    }
    Ok((signed, certificates))
}

/// Who answers (RFC 6960 4.2.1, ResponderID).
enum Responder<'a> {
    /// A Name, with its tag.
    Name(&'a [u8]),
    /// The SHA-1 hash of a key.
    Key(&'a [u8]),
}

impl Responder<'_> {
    fn is(&self, name: &[u8], key: &PublicKey) -> bool {
        match self {
            Self::Name(own) => *own == name,
            Self::Key(hash) => *hash == Sha1::digest(&key.octets).as_slice(),
        }
    }
}

/// RFC 6960 4.2.1, ResponseData.
struct ResponseData<'a> {
    responder: Responder<'a>,
    singles: Vec<Single<'a>>,
    nonce: Option<&'a [u8]>,
}

impl<'a> ResponseData<'a> {
    fn read(content: &'a [u8]) -> x509_cert::der::Result<Self> {
        let mut reader = SliceReader::new(content)?;
        let mut reader = SliceReader::new(contents(&mut reader, Tag::Sequence)?)?;
        // The version; there is only one.
        optional(&mut reader, 0, true)?;
        let responder = if let Some(name) = optional(&mut reader, 1, true)? {
            Responder::Name(name)
        } else {
            let hash = optional(&mut reader, 2, true)?.ok_or_else(|| Tag::Sequence.value_error())?;
            Responder::Key(<&OctetStringRef>::from_der(hash)?.as_bytes())
        };
        reader.decode::<GeneralizedTime>()?;
        let mut list = SliceReader::new(contents(&mut reader, Tag::Sequence)?)?;
        let mut singles = Vec::new();
        while !list.is_finished() && singles.len() < MOST_SINGLES {
            singles.push(Single::read(contents(&mut list, Tag::Sequence)?)?);
        }
        let mut nonce = None;
        if let Some(extensions) = optional(&mut reader, 1, true)? {
            let mut extensions = SliceReader::new(extensions)?;
            let mut extensions = SliceReader::new(contents(&mut extensions, Tag::Sequence)?)?;
            while !extensions.is_finished() {
                let (id, value) = extensions.sequence(read_extension)?;
                if id == NONCE {
                    nonce = Some(<&OctetStringRef>::from_der(value)?.as_bytes());
                }
            }
        }
        Ok(Self {
            responder,
            singles,
            nonce,
        })
    }

    /// RFC 6960 4.2.2.2: the issuer's own key, or a certificate that the issuer itself signed, for OCSP signing: that one,
    /// if it may have been revoked.
    fn verify(
        &self,
        signed: &Signed<'_>,
        certificates: &[&[u8]],
        issuer: &Issuer,
        now: UnixTime,
    ) -> Result<Option<Facts>, OcspError> {
        if self.responder.is(&issuer.name, &issuer.key) {
            signed.verify(&issuer.key)?;
            return Ok(None);
        }
        for der in certificates {
            let Ok(delegate) = Facts::parse(der) else { continue };
            let is_delegate = delegate.may_answer_ocsp && delegate.may_sign && delegate.issuer == issuer.name;
            if !is_delegate || !self.responder.is(&delegate.subject, &delegate.key) {
                continue;
            }
            let valid =
                !is_in_future(Moment(delegate.validity.0.as_secs()), now) && now <= delegate.validity.1;
            if valid && delegate_is_of(der, issuer) {
                signed.verify(&delegate.key)?;
                return Ok(Some(delegate).filter(|delegate| !delegate.is_not_asked_about));
            }
        }
        Err(OcspError::Responder)
    }
}

fn delegate_is_of(der: &[u8], issuer: &Issuer) -> bool {
    SliceReader::new(der)
        .and_then(|mut reader| reader.sequence(Signed::read))
        .is_ok_and(|signed| signed.verify(&issuer.key).is_ok())
}

/// RFC 6960 4.2.1, SingleResponse.
struct Single<'a> {
    hash: ObjectIdentifier,
    issuer_name: &'a [u8],
    issuer_key: &'a [u8],
    serial: &'a [u8],
    status: SingleStatus,
    this_update: UnixTime,
    next_update: Option<UnixTime>,
}

enum SingleStatus {
    Good,
    Revoked(UnixTime, Option<Reason>),
    Unknown,
}

impl<'a> Single<'a> {
    fn read(content: &'a [u8]) -> x509_cert::der::Result<Self> {
        let mut reader = SliceReader::new(content)?;
        let mut id = SliceReader::new(contents(&mut reader, Tag::Sequence)?)?;
        let mut algorithm = SliceReader::new(contents(&mut id, Tag::Sequence)?)?;
        let hash = algorithm.decode()?;
        let issuer_name = contents(&mut id, Tag::OctetString)?;
        let issuer_key = contents(&mut id, Tag::OctetString)?;
        let serial = contents(&mut id, Tag::Integer)?;
        let status = if optional(&mut reader, 0, false)?.is_some() {
            SingleStatus::Good
        } else if let Some(revoked) = optional(&mut reader, 1, true)? {
            let mut revoked = SliceReader::new(revoked)?;
            let at: GeneralizedTime = revoked.decode()?;
            let reason = match optional(&mut revoked, 0, true)? {
                Some(reason) => AnyRef::from_der(reason)?.value().first().copied().map(Reason),
                None => None,
            };
            SingleStatus::Revoked(time(at), reason)
        } else {
            optional(&mut reader, 2, false)?.ok_or_else(|| Tag::Sequence.value_error())?;
            SingleStatus::Unknown
        };
        let this_update = time(reader.decode()?);
        let next_update = match optional(&mut reader, 0, true)? {
            Some(next) => Some(time(GeneralizedTime::from_der(next)?)),
            None => None,
        };
        Ok(Self {
            hash,
            issuer_name,
            issuer_key,
            serial,
            status,
            this_update,
            next_update,
        })
    }

    /// RFC 6960 4.1.1, CertID: by SHA-1 or SHA-256, as the responder likes.
    fn is_of(&self, subject: &Facts, issuer: &Issuer) -> bool {
        let of = |name: &[u8], key: &[u8]| self.issuer_name == name && self.issuer_key == key;
        let (name, key) = (&issuer.name, &issuer.key.octets);
        let same_issuer = match self.hash {
            SHA_1 => of(&Sha1::digest(name), &Sha1::digest(key)),
            SHA_256 => of(&Sha256::digest(name), &Sha256::digest(key)),
            _ => false,
        };
        same_issuer && subject.issuer == issuer.name && self.serial == subject.serial
    }

    fn answer(&self, subject: &Facts, now: UnixTime) -> Result<(Status, Moment), OcspError> {
        if is_in_future(Moment(self.this_update.as_secs()), now) {
            return Err(OcspError::NotYet(Moment(self.this_update.as_secs())));
        }
        // RFC 6960 4.2.2.1: without nextUpdate there is always something newer.
        let until = self.next_update.unwrap_or_else(|| {
            UnixTime::since_unix_epoch(std::time::Duration::from_secs(
                self.this_update.as_secs().saturating_add(SKEW),
            ))
        });
        let revoked = |at: UnixTime, reason| {
            Status::Revoked(Revocation {
                serial: subject.serial.clone(),
                at: Moment(at.as_secs()),
                reason,
            })
        };
        let status = match self.status {
            SingleStatus::Revoked(at, reason) => revoked(at, reason),
            // What was revoked stays so; anything else may have changed since.
            SingleStatus::Good | SingleStatus::Unknown if now > until => {
                return Err(OcspError::OutOfDate(Moment(until.as_secs())));
            }
            SingleStatus::Good => Status::Good,
            SingleStatus::Unknown => Status::Unknown,
        };
        Ok((status, Moment(until.as_secs())))
    }
}

fn time(at: GeneralizedTime) -> UnixTime {
    UnixTime::since_unix_epoch(at.to_unix_duration())
}

fn malformed(_: x509_cert::der::Error) -> OcspError {
    OcspError::Malformed
}

/// OCSPResponseStatus.
fn refusal(status: u8) -> &'static str {
    match status {
        1 => "it calls our request malformed",
        2 => "it has an internal error",
        3 => "it asks to try later",
        5 => "it wants signed requests, which we do not send",
        6 => "it is not authorized to answer for this certificate",
        _ => "for an unknown reason",
    }
}

/// Certificates of responders looked at.
const MOST_CERTIFICATES: usize = 8;
/// Answers looked at.
const MOST_SINGLES: usize = 16;

const BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
const NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2");
const SHA_1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
