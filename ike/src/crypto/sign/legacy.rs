//! RSASSA-PKCS1-v1_5 with SHA-1, signing (RFC 7296 3.8, RFC 8017 8.2 and 9.2): what a peer of 2012 wants. The library
//! verifies it but does not make it any more. Only where the operator calls the peer old.

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, Uint};
use sha1::{Digest, Sha1};
use x509_cert::der::asn1::{AnyRef, OctetStringRef, UintRef};
use x509_cert::der::{Reader, SliceReader};
use zeroize::{Zeroize, Zeroizing};

/// The modulus and the private exponent.
pub(super) struct Exponent {
    modulus: Vec<u8>,
    private: Zeroizing<Vec<u8>>,
}

impl Exponent {
    /// Of an RSAPrivateKey (RFC 8017 A.1.2). `None` for moduli of unusual lengths.
    pub(super) fn from_pkcs1(der: &[u8]) -> Option<Self> {
        let mut reader = SliceReader::new(der).ok()?;
        let (modulus, private) = reader
            .sequence(|fields: &mut SliceReader<'_>| {
                fields.decode::<u8>()?;
                let modulus = fields.decode::<UintRef<'_>>()?;
                fields.decode::<UintRef<'_>>()?;
                let private = fields.decode::<UintRef<'_>>()?;
                while !fields.is_finished() {
                    fields.decode::<AnyRef<'_>>()?;
                }
                Ok::<_, x509_cert::der::Error>((
                    modulus.as_bytes().to_vec(),
                    Zeroizing::new(private.as_bytes().to_vec()),
                ))
            })
            .ok()?;
        matches!(modulus.len(), 256 | 384 | 512).then_some(Self { modulus, private })
    }

    /// Signs. The exponentiation is in constant time; the message and the signature are no secrets.
    pub(super) fn sign_sha1(&self, message: &[u8]) -> Option<Vec<u8>> {
        let encoded = encode(message, self.modulus.len())?;
        match self.modulus.len() {
            256 => self.power::<{ crypto_bigint::U2048::LIMBS }>(&encoded),
            384 => self.power::<{ crypto_bigint::U3072::LIMBS }>(&encoded),
            512 => self.power::<{ crypto_bigint::U4096::LIMBS }>(&encoded),
            _ => None,
        }
    }

    fn power<const LIMBS: usize>(&self, base: &[u8]) -> Option<Vec<u8>> {
        let modulus = Uint::<LIMBS>::from_be_slice(&self.modulus);
        let params = FixedMontyParams::new_vartime(Option::<Odd<_>>::from(Odd::new(modulus))?);
        let mut octets = Zeroizing::new(vec![0; self.modulus.len()]);
        let start = octets.len().checked_sub(self.private.len())?;
        octets.get_mut(start..)?.copy_from_slice(&self.private);
        let mut exponent = Uint::<LIMBS>::from_be_slice(&octets);
        let base = FixedMontyForm::new(&Uint::<LIMBS>::from_be_slice(base), &params);
        let power = base.pow(&exponent).retrieve();
        exponent.zeroize();
        Some(power.to_be_bytes().as_slice().to_vec())
    }
}

/// The RSAPrivateKey within a PrivateKeyInfo (RFC 5958), if it is of an RSA key.
pub(super) fn pkcs1_in(pkcs8: &[u8]) -> Option<&[u8]> {
    let mut reader = SliceReader::new(pkcs8).ok()?;
    reader
        .sequence(|fields: &mut SliceReader<'_>| {
            fields.decode::<u8>()?;
            let algorithm = fields.decode::<x509_cert::spki::AlgorithmIdentifierRef<'_>>()?;
            let key = fields.decode::<&OctetStringRef>()?;
            while !fields.is_finished() {
                fields.decode::<AnyRef<'_>>()?;
            }
            Ok::<_, x509_cert::der::Error>((algorithm.oid == RSA_ENCRYPTION).then_some(key.as_bytes()))
        })
        .ok()?
}

/// EMSA-PKCS1-v1_5 (RFC 8017 9.2).
fn encode(message: &[u8], length: usize) -> Option<Vec<u8>> {
    let digest = Sha1::digest(message);
    let padding = length.checked_sub(3 + DIGEST_INFO.len() + digest.len())?;
    let mut encoded = vec![0, 1];
    encoded.resize(2 + padding, 0xff);
    encoded.push(0);
    encoded.extend_from_slice(&DIGEST_INFO);
    encoded.extend_from_slice(&digest);
    Some(encoded)
}

const RSA_ENCRYPTION: x509_cert::der::asn1::ObjectIdentifier =
    x509_cert::der::asn1::ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// DigestInfo of SHA-1, without the digest (RFC 8017 9.2, note 1).
const DIGEST_INFO: [u8; 15] = [
    0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14,
];
