//! What a certificate may be used for (RFC 4945 5.1.3.2 and 5.1.3.12).

use webpki::{Error, ExtendedKeyUsageValidator, KeyPurposeIdIter};
use x509_cert::ext::pkix::KeyUsage;

use super::error::CertificateError;

/// ExtendedKeyUsage of every certificate in a path: absent, or one that IKE may use.
pub(super) struct ForIke;

impl ExtendedKeyUsageValidator for ForIke {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        let mut none = true;
        for purpose in purposes {
            let purpose = purpose?;
            none = false;
            if ACCEPTED
                .iter()
                .any(|accepted| purpose == webpki::KeyPurposeId::new(accepted))
            {
                return Ok(());
            }
        }
        if none {
            Ok(())
        } else {
            Err(Error::EmptyEkuExtension)
        }
    }
}

/// RFC 4945 5.1.3.2: if there is a KeyUsage, it must allow signatures.
pub(super) fn may_sign(usage: Option<&KeyUsage>) -> Result<(), CertificateError> {
    match usage {
        Some(usage) if !usage.digital_signature() && !usage.non_repudiation() => {
            Err(CertificateError::WrongUsage {
                detail: "its KeyUsage has neither digitalSignature nor nonRepudiation",
            })
        }
        Some(_) | None => Ok(()),
    }
}

/// RFC 5280 4.2.1.3: an authority with a KeyUsage must be allowed to sign certificates.
pub(super) fn may_issue(usage: Option<&KeyUsage>) -> Result<(), CertificateError> {
    match usage {
        Some(usage) if !usage.key_cert_sign() => Err(CertificateError::Constraint {
            detail: "its KeyUsage has no keyCertSign",
        }),
        Some(_) | None => Ok(()),
    }
}

/// What is said of an ExtendedKeyUsage that has none of the accepted ones.
pub(super) const NO_PURPOSE: &str =
    "its ExtendedKeyUsage has none of ipsecIKE, anyExtendedKeyUsage, serverAuth and clientAuth";

/// RFC 4945 5.1.3.12: id-kp-ipsecIKE and anyExtendedKeyUsage. The others are what certificates of gateways have in
/// practice: serverAuth, clientAuth, and iKEIntermediate, which older Windows and macOS ask for.
const ACCEPTED: [&[u8]; 5] = [
    &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x11],
    &[0x55, 0x1d, 0x25, 0x00],
    &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01],
    &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02],
    &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x08, 0x02, 0x02],
];
