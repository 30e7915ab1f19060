//! AUTH, made and verified (RFC 7296 2.15), and the certificates that go with it (RFC 7296 3.6, 3.7): the same for both
//! roles.

use rustls_pki_types::UnixTime;

use crate::auth::announcement::Announced;
use crate::auth::identity::Identity;
use crate::auth::method::{LocalAuth, RemoteAuth};
use crate::auth::psk::{self, Generation};
use crate::auth::signature::{self, PeerVerifies, SignatureError};
use crate::auth::signed::SignedOctets;
use crate::auth::verified::{AuthVerified, Means};
use crate::auth::x509::revocation::Policy;
use crate::auth::x509::{CertificateDer, CertificateError, Link, Trust, validate};
use crate::config::ConnectionConfig;
use crate::crypto::sign::PublicKey;
use crate::error::{Cause, Side};
use crate::sa::ike_sa::IkeSa;
use crate::wire::payload::{
    AuthMethod, Authentication, Certificate, CertificateEncoding, CertificateRequest, Notify, NotifyType,
};

/// AUTH of ours.
pub(crate) struct Proof {
    /// AUTH.
    pub(crate) auth: Authentication,
    /// CERT: ours first.
    pub(crate) certificates: Vec<Certificate>,
    /// How it was made.
    pub(crate) means: Means,
}

/// A peer that is believed.
pub(crate) struct Believed {
    /// The proof.
    pub(crate) proof: AuthVerified,
    /// By what.
    pub(crate) means: Means,
    /// The path of its certificate; empty if it used none. Whether it is still good is asked next (`status`).
    pub(crate) path: Vec<Link>,
}

/// What the peer shows.
#[derive(Clone, Copy)]
pub(crate) struct Shown<'a> {
    /// Who it says it is.
    pub(crate) identity: &'a Identity,
    /// AUTH.
    pub(crate) auth: &'a Authentication,
    /// CERT.
    pub(crate) certificates: &'a [Certificate],
}

/// Makes AUTH of ours. `announced`: how the peer would like it; `generation`: by which key, if there are two.
pub(crate) fn prove(
    ike: &IkeSa,
    config: &ConnectionConfig,
    signed: SignedOctets<'_>,
    announced: Option<Announced>,
    generation: Generation,
) -> Result<Proof, Cause> {
    let (key, padding, certificates) = match &config.local_auth {
        LocalAuth::Psk { secret, previous } => {
            let (secret, means) = match (generation, previous) {
                (Generation::Previous, Some(previous)) => (previous, Means::PreviousPsk),
                (Generation::Previous | Generation::Current, _) => (secret, Means::Psk),
            };
            return Ok(Proof {
                auth: Authentication {
                    method: AuthMethod::PSK,
                    data: psk::authentication_data(ike.suite.prf, secret, signed).to_vec(),
                },
                certificates: Vec::new(),
                means,
            });
        }
        // Sent whether the peer asked for it or not (RFC 7296 3.7 leaves that to us): one that knows it loses nothing.
        LocalAuth::Certificate {
            chain, key, padding, ..
        } => (key, *padding, chain.iter().map(x509).collect()),
        LocalAuth::RawKey { key, padding } => (key, *padding, vec![raw(key.public())]),
    };
    let peer = PeerVerifies {
        hashes: ike.features.signature_hashes.clone(),
        announced,
        pss: ike.features.xvpn,
        legacy: config.legacy_signatures,
    };
    let octets = signed.concatenated(ike.suite.prf);
    let (auth, algorithm) =
        signature::sign(key, padding, &peer, &octets).map_err(|_| Cause::NoCommonSignature {
            ours: key.public().kind().to_string(),
        })?;
    let means = match &config.local_auth {
        LocalAuth::RawKey { .. } => Means::RawKey(algorithm),
        LocalAuth::Certificate { .. } | LocalAuth::Psk { .. } => Means::Certificate(algorithm),
    };
    Ok(Proof {
        auth,
        certificates,
        means,
    })
}

/// Verifies the peer's AUTH. `now` is the time of day.
pub(crate) fn verify(
    ike: &IkeSa,
    config: &ConnectionConfig,
    signed: SignedOctets<'_>,
    shown: Shown<'_>,
    now: Option<UnixTime>,
) -> Result<Believed, Cause> {
    let without_path = |proof, means| Believed {
        proof,
        means,
        path: Vec::new(),
    };
    let octets = || signed.concatenated(ike.suite.prf);
    let legacy = config.legacy_signatures;
    match &config.remote_auth {
        RemoteAuth::Psk { secret, previous } => {
            if shown.auth.method != AuthMethod::PSK {
                return Err(unsupported(shown.auth.method, config));
            }
            let keys = (secret, previous.as_ref());
            psk::verify_either(ike.suite.prf, keys, signed, &shown.auth.data)
                .map(|(proof, generation)| match generation {
                    Generation::Current => without_path(proof, Means::Psk),
                    Generation::Previous => without_path(proof, Means::PreviousPsk),
                })
                .map_err(|_| Cause::AuthenticationFailed {
                    refused_by: Side::Us,
                    identity: shown.identity.clone(),
                })
        }
        RemoteAuth::Certificate { anchors } => {
            must_sign(shown.auth.method, config)?;
            let refused = |error| Cause::Certificate {
                identity: shown.identity.clone(),
                error,
            };
            let now = now.ok_or_else(|| refused(CertificateError::NoClock))?;
            let trust = Trust { anchors, now };
            let validated = validate(&chain(shown.certificates), shown.identity, &trust).map_err(refused)?;
            let (proof, algorithm) = signature::verify(&validated.key, legacy, &octets(), shown.auth)
                .map_err(|error| bad_signature(error, shown.identity))?;
            Ok(Believed {
                proof,
                means: Means::Certificate(algorithm),
                path: validated.path,
            })
        }
        RemoteAuth::RawKey { keys } => {
            must_sign(shown.auth.method, config)?;
            let key = known(keys, shown)?;
            let octets = octets();
            let mut error = SignatureError::Wrong;
            for key in key {
                match signature::verify(key, legacy, &octets, shown.auth) {
                    Ok((proof, algorithm)) => return Ok(without_path(proof, Means::RawKey(algorithm))),
                    Err(wrong) => error = wrong,
                }
            }
            Err(bad_signature(error, shown.identity))
        }
    }
}

/// What we ask the peer to show, of all the connections that it may mean (RFC 7296 3.7, RFC 7670 3). Not more
/// authorities than `most`: it is a hint, and what is left out is asked for as "any".
pub(crate) fn certificate_requests<'a>(
    configs: impl Iterator<Item = &'a ConnectionConfig>,
    most: usize,
) -> Vec<CertificateRequest> {
    let mut authorities: Vec<[u8; 20]> = Vec::new();
    let (mut x509, mut raw, mut ocsp) = (false, false, false);
    for config in configs {
        match &config.remote_auth {
            RemoteAuth::Psk { .. } => {}
            RemoteAuth::RawKey { .. } => raw = true,
            RemoteAuth::Certificate { anchors } => {
                x509 = true;
                ocsp |= config.revocation.policy != Policy::Off;
                for anchor in anchors.iter() {
                    let fingerprint = anchor.fingerprint();
                    if !authorities.contains(&fingerprint) {
                        authorities.push(fingerprint);
                    }
                }
            }
        }
    }
    if authorities.len() > most {
        authorities.clear();
    }
    let request = |encoding, authorities: Vec<u8>| CertificateRequest {
        encoding,
        authorities,
    };
    let x509 = x509.then(|| request(CertificateEncoding::X509_SIGNATURE, authorities.concat()));
    let raw = raw.then(|| request(CertificateEncoding::RAW_PUBLIC_KEY, Vec::new()));
    // RFC 4806 3.1: without hashes, for we trust no responder but those of the authorities.
    let ocsp = ocsp.then(|| request(CertificateEncoding::OCSP_CONTENT, Vec::new()));
    x509.into_iter().chain(raw).chain(ocsp).collect()
}

/// RFC 4806 3.1: the peer wants to see an OCSP response for our certificate.
pub(crate) fn wants_ocsp(requests: &[CertificateRequest]) -> bool {
    requests
        .iter()
        .any(|request| request.encoding == CertificateEncoding::OCSP_CONTENT)
}

/// SUPPORTED_AUTH_METHODS of ours (RFC 9593), where the peer has to sign.
pub(crate) fn announcement<'a>(remotes: impl Iterator<Item = &'a RemoteAuth>) -> Option<Notify> {
    let mut announced = Announced::default();
    let mut signs = false;
    for remote in remotes {
        signs |= remote.signs();
        announced = announced.and(remote.announced());
    }
    signs.then(|| Notify::with_data(NotifyType::SUPPORTED_AUTH_METHODS, announced.to_bytes()))
}

/// SUPPORTED_AUTH_METHODS of the peer.
pub(crate) fn announced(notifies: &[Notify]) -> Option<Announced> {
    let data: Vec<u8> = notifies
        .iter()
        .filter(|notify| notify.kind == NotifyType::SUPPORTED_AUTH_METHODS)
        .flat_map(|notify| notify.data.iter().copied())
        .collect();
    (!data.is_empty()).then(|| Announced::from_bytes(&data))
}

fn x509(der: &CertificateDer<'static>) -> Certificate {
    Certificate {
        encoding: CertificateEncoding::X509_SIGNATURE,
        data: der.to_vec(),
    }
}

fn raw(key: &PublicKey) -> Certificate {
    Certificate {
        encoding: CertificateEncoding::RAW_PUBLIC_KEY,
        data: key.spki().to_vec(),
    }
}

/// RFC 7296 3.6: the first certificate is the peer's.
fn chain(certificates: &[Certificate]) -> Vec<CertificateDer<'_>> {
    certificates
        .iter()
        .filter(|certificate| certificate.encoding == CertificateEncoding::X509_SIGNATURE)
        .map(|certificate| CertificateDer::from(certificate.data.as_slice()))
        .collect()
}

/// The keys of the peer that may have signed: the one it shows (RFC 7670 3), or any if it shows none.
fn known<'a>(keys: &'a [PublicKey], shown: Shown<'_>) -> Result<Vec<&'a PublicKey>, Cause> {
    let sent = shown
        .certificates
        .iter()
        .find(|certificate| certificate.encoding == CertificateEncoding::RAW_PUBLIC_KEY);
    let Some(sent) = sent else {
        return Ok(keys.iter().collect());
    };
    let key = keys.iter().find(|key| key.spki() == sent.data);
    key.map(|key| vec![key]).ok_or_else(|| Cause::UnknownKey {
        identity: shown.identity.clone(),
    })
}

fn must_sign(method: AuthMethod, config: &ConnectionConfig) -> Result<(), Cause> {
    match method {
        AuthMethod::RSA
        | AuthMethod::ECDSA_256
        | AuthMethod::ECDSA_384
        | AuthMethod::ECDSA_521
        | AuthMethod::DIGITAL_SIGNATURE => Ok(()),
        AuthMethod(_) => Err(unsupported(method, config)),
    }
}

fn unsupported(method: AuthMethod, config: &ConnectionConfig) -> Cause {
    Cause::UnsupportedAuthMethod {
        method: method.0,
        wanted: if config.remote_auth.signs() {
            "a signature"
        } else {
            "a pre-shared key"
        },
    }
}

fn bad_signature(error: SignatureError, identity: &Identity) -> Cause {
    Cause::BadSignature {
        identity: identity.clone(),
        error,
    }
}
