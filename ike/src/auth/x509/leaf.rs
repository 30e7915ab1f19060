//! One certificate, read: whose it is, and since and until when.

use std::net::IpAddr;

use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{KeyUsage, SubjectAltName};

use super::distinguished::DistinguishedName;
use super::error::Moment;
use crate::auth::identity::Identity;
use crate::crypto::sign::{PublicKey, PublicKeyError};

/// A certificate, read and not yet believed.
#[derive(Clone, Debug)]
pub struct Leaf {
    subject: DistinguishedName,
    issuer: DistinguishedName,
    not_before: Moment,
    not_after: Moment,
    key: PublicKey,
    names: Vec<GeneralName>,
    usage: Option<KeyUsage>,
}

/// Octets are not a certificate that we use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// They do not parse.
    #[error("it is not an X.509 certificate: {0}")]
    Malformed(String),
    /// The key is of no use.
    #[error("its key cannot be used: {0}")]
    Key(#[from] PublicKeyError),
}

impl Leaf {
    /// Reads DER.
    pub fn from_der(der: &[u8]) -> Result<Self, LeafError> {
        let malformed = |error: x509_cert::der::Error| LeafError::Malformed(error.to_string());
        let certificate = Certificate::from_der(der).map_err(malformed)?;
        let tbs = certificate.tbs_certificate();
        let spki = tbs.subject_public_key_info().to_der().map_err(malformed)?;
        let names = tbs.get_extension::<SubjectAltName>().map_err(malformed)?;
        let usage = tbs.get_extension::<KeyUsage>().map_err(malformed)?;
        Ok(Self {
            subject: tbs.subject().into(),
            issuer: tbs.issuer().into(),
            not_before: Moment(tbs.validity().not_before.to_unix_duration().as_secs()),
            not_after: Moment(tbs.validity().not_after.to_unix_duration().as_secs()),
            key: PublicKey::from_spki(&spki)?,
            names: names.map(|(_, names)| names.0).unwrap_or_default(),
            usage: usage.map(|(_, usage)| usage),
        })
    }

    /// Its subject.
    pub fn subject(&self) -> &DistinguishedName {
        &self.subject
    }

    /// Who signed it.
    pub fn issuer(&self) -> &DistinguishedName {
        &self.issuer
    }

    /// The key it is for.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Its first and last second.
    pub fn validity(&self) -> (Moment, Moment) {
        (self.not_before, self.not_after)
    }

    pub(super) fn usage(&self) -> Option<&KeyUsage> {
        self.usage.as_ref()
    }

    /// Whether it is for this identity (RFC 4945 3.1): a subject alternative name of the kind of the identity, compared
    /// whole (a wildcard is a name like any other), or the subject for a distinguished name.
    pub fn is_for(&self, identity: &Identity) -> bool {
        match identity {
            Identity::Ipv4(address) => self.has_address(IpAddr::V4(*address)),
            Identity::Ipv6(address) => self.has_address(IpAddr::V6(*address)),
            Identity::Fqdn(wanted) => self.names.iter().any(|name| {
                matches!(name, GeneralName::DnsName(name) if name.as_str().eq_ignore_ascii_case(wanted))
            }),
            Identity::Rfc822(wanted) => self.names.iter().any(|name| {
                matches!(name, GeneralName::Rfc822Name(name) if name.as_str().eq_ignore_ascii_case(wanted))
            }),
            Identity::DerAsn1Dn(der) => DistinguishedName::from_der(der)
                .is_ok_and(|wanted| !wanted.is_empty() && wanted.matches(&self.subject)),
            // RFC 4945 3.1.7: nothing in a certificate corresponds to it.
            Identity::KeyId(_) => false,
        }
    }

    /// The identities it is for, for the operator: subject alternative names and the subject.
    pub fn identities(&self) -> Vec<Identity> {
        let mut identities: Vec<_> = self.names.iter().filter_map(identity).collect();
        if let Some(der) = self.subject.to_der().ok().filter(|_| !self.subject.is_empty()) {
            identities.push(Identity::DerAsn1Dn(der));
        }
        identities
    }

    fn has_address(&self, wanted: IpAddr) -> bool {
        self.names
            .iter()
            .any(|name| matches!(name, GeneralName::IpAddress(octets) if address(octets.as_bytes()) == Some(wanted)))
    }
}

fn identity(name: &GeneralName) -> Option<Identity> {
    match name {
        // The same rules as for what a peer writes: nothing that would forge lines of a log.
        GeneralName::DnsName(name) => Identity::from_wire(ID_FQDN, name.as_bytes()).ok(),
        GeneralName::Rfc822Name(name) => Identity::from_wire(ID_RFC822_ADDR, name.as_bytes()).ok(),
        GeneralName::IpAddress(octets) => address(octets.as_bytes()).map(Identity::from),
        GeneralName::OtherName(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EdiPartyName(_)
        | GeneralName::UniformResourceIdentifier(_)
        | GeneralName::RegisteredId(_) => None,
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from))
        .ok()
}

const ID_FQDN: u8 = 2;
const ID_RFC822_ADDR: u8 = 3;
