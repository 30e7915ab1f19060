//! What of a certificate matters to whoever asks whether it is still good (RFC 5280 4.1, 4.2.1.13, 4.2.2.1).
//!
//! The chain was verified before: nothing here decides whether to believe a certificate.

use rustls_pki_types::UnixTime;
use x509_cert::der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, OctetStringRef};
use x509_cert::der::{Decode, Encode, Reader, SliceReader, Tag};
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{AuthorityInfoAccessSyntax, CrlDistributionPoints, ExtendedKeyUsage, KeyUsage};
use x509_cert::time::Validity;

use super::signed::{PublicKey, Signed, contents, optional};

/// The certificate does not parse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate is malformed")]
pub struct MalformedCertificate;

/// Who issued a certificate, as the verified path says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    /// Its Name, with its tag.
    pub(super) name: Vec<u8>,
    /// Its key.
    pub(super) key: PublicKey,
    /// Its key usage lets it sign CRLs, as far as that is known.
    pub(super) may_sign_crls: bool,
}

/// The facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Contents of serialNumber.
    pub(super) serial: Vec<u8>,
    /// The issuer's Name, with its tag.
    pub(super) issuer: Vec<u8>,
    /// The subject's Name, with its tag.
    pub(super) subject: Vec<u8>,
    /// The key.
    pub(super) key: PublicKey,
    /// When it is valid.
    pub(super) validity: (UnixTime, UnixTime),
    /// It may issue certificates.
    pub(super) is_authority: bool,
    /// id-kp-OCSPSigning is among its extended key usages.
    pub(super) may_answer_ocsp: bool,
    /// A responder's certificate of which nobody asks whether it was revoked (RFC 6960 4.2.2.2.1).
    pub(super) is_not_asked_about: bool,
    /// Key usage, if there, says that it signs.
    pub(super) may_sign: bool,
    /// Key usage, if there, says that it signs CRLs.
    pub(super) may_sign_crls: bool,
    /// Where its issuer's CRL is, by whatever scheme.
    pub(super) points: Vec<String>,
    /// Where its issuer's OCSP responder is.
    responders: Vec<String>,
}

impl Issuer {
    /// From the contents of its Name and from its SubjectPublicKeyInfo, with or without the outer tag: trust anchors come
    /// without.
    pub(super) fn from_parts(
        name: &[u8],
        spki: &[u8],
        may_sign_crls: bool,
    ) -> Result<Self, MalformedCertificate> {
        let key = read_spki(spki).map_err(|_| MalformedCertificate)?;
        let name = AnyRef::new(Tag::Sequence, name)
            .and_then(|name| name.to_der())
            .map_err(|_| MalformedCertificate)?;
        Ok(Self {
            name,
            key,
            may_sign_crls,
        })
    }
}

impl Facts {
    /// Reads a certificate.
    pub fn parse(der: &[u8]) -> Result<Self, MalformedCertificate> {
        Self::read(der).map_err(|_| MalformedCertificate)
    }

    /// The same one as an issuer of others.
    pub fn as_issuer(&self) -> Issuer {
        Issuer {
            name: self.subject.clone(),
            key: self.key.clone(),
            may_sign_crls: self.may_sign_crls,
        }
    }

    /// The serial number as operators know it from `openssl x509`.
    pub fn serial_number(&self) -> String {
        hex(&self.serial)
    }

    /// The URLs of its issuer's CRL that can be fetched, at most a few.
    pub fn crl_urls(&self) -> impl Iterator<Item = &str> {
        self.points
            .iter()
            .map(String::as_str)
            .filter(is_http)
            .take(MOST_URLS)
    }

    /// The URLs of its issuer's OCSP responders that can be asked, at most a few.
    pub fn ocsp_urls(&self) -> impl Iterator<Item = &str> {
        self.responders
            .iter()
            .map(String::as_str)
            .filter(is_http)
            .take(MOST_URLS)
    }

    fn read(der: &[u8]) -> x509_cert::der::Result<Self> {
        let mut reader = SliceReader::new(der)?;
        let signed = reader.sequence(Signed::read)?;
        reader.finish()?;
        let mut reader = SliceReader::new(signed.content)?;
        let mut tbs = SliceReader::new(contents(&mut reader, Tag::Sequence)?)?;
        optional(&mut tbs, 0, true)?;
        let serial = contents(&mut tbs, Tag::Integer)?.to_vec();
        contents(&mut tbs, Tag::Sequence)?;
        let issuer = tbs.tlv_bytes()?.to_vec();
        let validity: Validity = tbs.decode()?;
        let subject = tbs.tlv_bytes()?.to_vec();
        let key = tbs.sequence(read_key)?;
        let at = |time: x509_cert::time::Time| UnixTime::since_unix_epoch(time.to_unix_duration());
        let mut facts = Self {
            serial,
            issuer,
            subject,
            key,
            validity: (at(validity.not_before), at(validity.not_after)),
            is_authority: false,
            may_answer_ocsp: false,
            is_not_asked_about: false,
            may_sign: true,
            may_sign_crls: true,
            points: Vec::new(),
            responders: Vec::new(),
        };
        // The unique identifiers.
        optional(&mut tbs, 1, false)?;
        optional(&mut tbs, 2, false)?;
        if let Some(extensions) = optional(&mut tbs, 3, true)? {
            let mut reader = SliceReader::new(extensions)?;
            let mut extensions = SliceReader::new(contents(&mut reader, Tag::Sequence)?)?;
            while !extensions.is_finished() {
                let (id, value) = extensions.sequence(read_extension)?;
                facts.remember(id, value)?;
            }
        }
        Ok(facts)
    }

    fn remember(&mut self, id: ObjectIdentifier, value: &[u8]) -> x509_cert::der::Result<()> {
        match id {
            BASIC_CONSTRAINTS => {
                self.is_authority = x509_cert::ext::pkix::BasicConstraints::from_der(value)?.ca;
            }
            KEY_USAGE => {
                let usage = KeyUsage::from_der(value)?;
                self.may_sign = usage.digital_signature();
                self.may_sign_crls = usage.crl_sign();
            }
            EXTENDED_KEY_USAGE => {
                self.may_answer_ocsp = ExtendedKeyUsage::from_der(value)?.0.contains(&OCSP_SIGNING);
            }
            OCSP_NO_CHECK => self.is_not_asked_about = true,
            CRL_DISTRIBUTION_POINTS => {
                for point in CrlDistributionPoints::from_der(value)?.0 {
                    // A CRL of another issuer or for some reasons only is not one that we could use (RFC 5280 6.3.3).
                    if let (Some(DistributionPointName::FullName(names)), None, None) =
                        (&point.distribution_point, &point.reasons, &point.crl_issuer)
                    {
                        names.iter().for_each(|name| push_url(&mut self.points, name));
                    }
                }
            }
            AUTHORITY_INFO_ACCESS => {
                for access in AuthorityInfoAccessSyntax::from_der(value)?.0 {
                    if access.access_method == OCSP {
                        push_url(&mut self.responders, &access.access_location);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn read_spki(spki: &[u8]) -> x509_cert::der::Result<PublicKey> {
    let mut reader = SliceReader::new(spki)?;
    let first = contents(&mut reader, Tag::Sequence)?;
    if reader.is_finished() {
        read_key(&mut SliceReader::new(first)?)
    } else {
        read_key(&mut SliceReader::new(spki)?)
    }
}

fn read_key(reader: &mut SliceReader<'_>) -> x509_cert::der::Result<PublicKey> {
    let algorithm = contents(reader, Tag::Sequence)?.to_vec();
    let bits = reader.decode::<BitStringRef<'_>>()?;
    let octets = bits.as_bytes().ok_or_else(|| Tag::BitString.value_error())?;
    Ok(PublicKey {
        algorithm,
        octets: octets.to_vec(),
    })
}

/// One Extension: its name and the octets of its value (RFC 5280 4.1.2.9).
pub(super) fn read_extension<'a>(
    reader: &mut SliceReader<'a>,
) -> x509_cert::der::Result<(ObjectIdentifier, &'a [u8])> {
    let id = reader.decode()?;
    if !reader.is_finished() && Tag::peek(reader)? == Tag::Boolean {
        contents(reader, Tag::Boolean)?;
    }
    let value: &OctetStringRef = reader.decode()?;
    Ok((id, value.as_bytes()))
}

fn push_url(urls: &mut Vec<String>, name: &GeneralName) {
    if let GeneralName::UniformResourceIdentifier(uri) = name
        && uri.as_str().len() <= LONGEST_URL
        && urls.len() < MOST_NAMES
    {
        urls.push(uri.as_str().to_owned());
    }
}

/// RFC 5280 8: `https:` and `ldap:` would need a chain of their own to be verified, and are not followed.
fn is_http(url: &&str) -> bool {
    let scheme = url.get(..HTTP.len());
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(HTTP)) && url.is_ascii()
}

/// The octets of a serial number as hexadecimal digits, with a colon between every two.
pub(super) fn hex(octets: &[u8]) -> String {
    let digits = match octets {
        // An INTEGER whose first digit would look like a sign.
        [0, rest @ ..] if !rest.is_empty() => rest,
        [..] => octets,
    };
    let octets: Vec<String> = digits.iter().map(|octet| format!("{octet:02x}")).collect();
    octets.join(":")
}

/// URLs of one kind that are asked for a certificate.
const MOST_URLS: usize = 2;
/// URLs of one kind that are kept of a certificate.
const MOST_NAMES: usize = 16;
/// The scheme that is spoken.
const HTTP: &str = "http://";
/// Octets of a URL.
const LONGEST_URL: usize = 1024;

const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
const CRL_DISTRIBUTION_POINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.31");
const AUTHORITY_INFO_ACCESS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.1");
const OCSP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1");
const OCSP_NO_CHECK: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.5");
const OCSP_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9");
