//! Authorities and certificates made for a test.
#![allow(dead_code, clippy::unwrap_used, reason = "each test uses a part of it")]

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SignatureAlgorithm,
};
use xvpn_ike::auth::x509::{Anchor, CertificateDer, UnixTime};
use xvpn_ike::crypto::sign::{KeyFormat, SigningKey};

/// Within the validity of what is made here, unless told otherwise: 2026-01-01.
pub(crate) const NOW: u64 = 1_767_225_600;

/// An authority.
pub(crate) struct Authority {
    /// Its certificate.
    pub(crate) der: CertificateDer<'static>,
    params: CertificateParams,
    key: KeyPair,
}

/// Someone with a certificate.
pub(crate) struct Holder {
    /// The certificate.
    pub(crate) der: CertificateDer<'static>,
    /// Its key.
    pub(crate) key: KeyPair,
}

/// Parameters of a certificate for this name.
pub(crate) fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(2025, 1, 1);
    params.not_after = rcgen::date_time_ymd(2035, 1, 1);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Test");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// Parameters for this host name, for use with IKE.
pub(crate) fn host(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ipsec_ike()];
    params
}

/// id-kp-ipsecIKE.
pub(crate) fn ipsec_ike() -> ExtendedKeyUsagePurpose {
    ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 17])
}

/// A subject alternative name.
pub(crate) fn address(text: &str) -> SanType {
    SanType::IpAddress(text.parse::<IpAddr>().unwrap())
}

/// Parameters of an authority.
pub(crate) fn authority(common_name: &str) -> CertificateParams {
    let mut params = params(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    /// One that signs itself.
    pub(crate) fn root(common_name: &str) -> Self {
        Self::root_of(authority(common_name))
    }

    /// One that signs itself, with these parameters.
    pub(crate) fn root_of(params: CertificateParams) -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { der, params, key }
    }

    /// One below this.
    pub(crate) fn intermediate(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let der = params.signed_by(&key, &self.issuer()).unwrap().der().clone();
        Self { der, params, key }
    }

    /// A certificate and its key.
    pub(crate) fn issue(&self, params: &CertificateParams, algorithm: &'static SignatureAlgorithm) -> Holder {
        self.issue_for(params, KeyPair::generate_for(algorithm).unwrap())
    }

    /// A certificate for a key.
    pub(crate) fn issue_for(&self, params: &CertificateParams, key: KeyPair) -> Holder {
        let der = params.signed_by(&key, &self.issuer()).unwrap().der().clone();
        Holder { der, key }
    }

    /// An ECDSA certificate for a host.
    pub(crate) fn host(&self, name: &str) -> Holder {
        self.issue(&host(name), &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    /// As a trust anchor.
    pub(crate) fn anchor(&self) -> Anchor {
        Anchor::from_der(&self.der).unwrap()
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }
}

impl Holder {
    /// The private key.
    pub(crate) fn signing_key(&self) -> SigningKey {
        SigningKey::from_der(KeyFormat::Pkcs8, self.key.serialized_der()).unwrap()
    }
}

/// A time.
pub(crate) fn time(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}
