//! Authorities, certificates and keys of a scenario, made anew for each play: what is fixed would expire one day.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, SignatureAlgorithm,
};
use serde::Deserialize;
use xvpn::testbed::{TwoClouds, write_secret};

use super::revocation::{Record, Service, StatusSource};
use super::runner::Failure;

/// `[pki]` of a scenario.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pki {
    /// The keys of both gateways.
    pub key: Kind,
    /// There is an authority between the root and the certificates.
    #[serde(default)]
    pub intermediate: bool,
    /// What is wrong with our certificate.
    #[serde(default)]
    pub ours: Fault,
    /// What is wrong with the peer's.
    #[serde(default)]
    pub theirs: Fault,
    /// Where it is told whether the peer's was revoked.
    pub status: Option<StatusSource>,
    /// Where it is told whether ours was.
    pub our_status: Option<StatusSource>,
    /// These were revoked.
    #[serde(default)]
    pub revoked: bool,
}

/// A kind of key.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Rsa,
    Ecdsa256,
    Ecdsa384,
    Ecdsa521,
    Ed25519,
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// It expired yesterday.
    Expired,
    /// Its authority is not the one that is trusted.
    Stranger,
    /// It is for another name.
    Named,
}

impl Pki {
    /// Writes `aws.pem`, `aws.key`, `ca.pem` and `azure.pub` for us, and what strongSwan wants into its folders. What
    /// comes back answers for the authority as long as it lives.
    pub fn write(&self, ours: &Path, theirs: &Path, clouds: &TwoClouds) -> Result<Vec<Service>, Failure> {
        let root = Authority::new("Root", None)?;
        let middle = self
            .intermediate
            .then(|| Authority::new("Middle", Some(&root)))
            .transpose()?;
        let stranger = Authority::new("Stranger", None)?;
        let issuer = |fault| match fault {
            Fault::Stranger => &stranger,
            Fault::None | Fault::Expired | Fault::Named => middle.as_ref().unwrap_or(&root),
        };
        let (own, peers) = ((self.ours, self.our_status), (self.theirs, self.status));
        let aws = Holder::new("aws.example", self.key, own, issuer(self.ours))?;
        let azure = Holder::new("azure.example", self.key, peers, issuer(self.theirs))?;
        let between = middle
            .as_ref()
            .map(|middle| middle.certificate.pem())
            .unwrap_or_default();
        fs::write(ours.join("aws.pem"), format!("{}{between}", aws.certificate))?;
        write_secret(&ours.join("aws.key"), aws.key.as_bytes())?;
        fs::write(ours.join("ca.pem"), root.certificate.pem())?;
        fs::write(ours.join("azure.pub"), &azure.public)?;
        fs::write(theirs.join("x509/azure.pem"), &azure.certificate)?;
        write_secret(&theirs.join("private/azure.key"), azure.key.as_bytes())?;
        fs::write(theirs.join("x509ca/ca.pem"), root.certificate.pem())?;
        if !between.is_empty() {
            fs::write(theirs.join("x509ca/middle.pem"), between)?;
        }
        fs::write(theirs.join("pubkey/aws.pub"), &aws.public)?;
        fs::write(theirs.join("pubkey/azure.pub"), &azure.public)?;
        let (responder, own_responder) = (ours.join("responder"), ours.join("own-responder"));
        let (aws, azure) = (&clouds.aws.gateway, &clouds.azure.gateway);
        let record = |fault| Record {
            authority: issuer(fault),
            holder: azure,
            judge: aws,
            crls: ours,
            folder: &responder,
            revoked: self.revoked,
        };
        let of_theirs = self.status.map(|status| status.serve(&record(self.theirs)));
        let of_ours = self.our_status.map(|status| {
            status.serve(&Record {
                holder: aws,
                judge: azure,
                crls: &theirs.join("x509crl"),
                folder: &own_responder,
                ..record(self.ours)
            })
        });
        let services = [of_theirs, of_ours].into_iter().flatten();
        Ok(services
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .flatten()
            .collect())
    }
}

/// An authority.
pub struct Authority {
    pub(super) certificate: rcgen::Certificate,
    pub(super) params: CertificateParams,
    pub(super) key: KeyPair,
}

impl Authority {
    fn new(name: &str, above: Option<&Self>) -> Result<Self, Failure> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = match above {
            None => params.self_signed(&key)?,
            Some(above) => params.signed_by(&key, &Issuer::from_params(&above.params, &above.key))?,
        };
        Ok(Self {
            certificate,
            params,
            key,
        })
    }
}

struct Holder {
    certificate: String,
    key: String,
    public: String,
}

impl Holder {
    fn new(
        name: &str,
        kind: Kind,
        (fault, status): (Fault, Option<StatusSource>),
        issuer: &Authority,
    ) -> Result<Self, Failure> {
        let key = KeyPair::generate_for(kind.algorithm())?;
        let named = if fault == Fault::Named {
            "other.example"
        } else {
            name
        };
        let mut params = params(named);
        if fault == Fault::Expired {
            params.not_after = (SystemTime::now() - DAY).into();
        }
        params.subject_alt_names = vec![SanType::DnsName(named.try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 17])];
        if let Some(status) = status {
            status.name_in(&mut params);
        }
        let certificate = params.signed_by(&key, &Issuer::from_params(&issuer.params, &issuer.key))?;
        let private = match kind {
            Kind::Ed25519 => private_key_alone(&key)?,
            Kind::Rsa | Kind::Ecdsa256 | Kind::Ecdsa384 | Kind::Ecdsa521 => key.serialize_pem(),
        };
        Ok(Self {
            certificate: certificate.pem(),
            key: private,
            public: key.public_key_pem(),
        })
    }
}

impl Kind {
    fn algorithm(self) -> &'static SignatureAlgorithm {
        match self {
            Self::Rsa => &rcgen::PKCS_RSA_SHA256,
            Self::Ecdsa256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::Ecdsa384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            Self::Ecdsa521 => &rcgen::PKCS_ECDSA_P521_SHA512,
            Self::Ed25519 => &rcgen::PKCS_ED25519,
        }
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = (SystemTime::now() - 30 * DAY).into();
    params.not_after = (SystemTime::now() + 30 * DAY).into();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "xvpn tests");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// As OpenSSL and strongSwan write and read it: PKCS#8 version 1, without the public key (RFC 8410 7).
fn private_key_alone(key: &KeyPair) -> Result<String, Failure> {
    let der = key.serialized_der();
    let seed = der.get(16..48).ok_or("not the key that was expected")?;
    let prefix = [
        0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
    ];
    let text = base64(&[&prefix[..], seed].concat());
    Ok(format!(
        "-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n"
    ))
}

/// Of a multiple of three octets.
fn base64(octets: &[u8]) -> String {
    let letters: Vec<char> = ('A'..='Z')
        .chain('a'..='z')
        .chain('0'..='9')
        .chain(['+', '/'])
        .collect();
    let mut out = String::new();
    for three in octets.chunks(3) {
        let bits = three
            .iter()
            .fold(0_usize, |bits, octet| bits << 8 | usize::from(*octet));
        out.extend([18, 12, 6, 0].map(|shift| letters[bits >> shift & 63]));
    }
    out
}

const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
