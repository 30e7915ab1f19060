//! ASN.1 AlgorithmIdentifiers (RFC 7427 3 and appendix A, RFC 8420 3).

use x509_cert::der::asn1::{AnyRef, ContextSpecific, ObjectIdentifier};
use x509_cert::der::{Decode, Encode, Reader, SliceReader, Tag, TagMode, TagNumber, Tagged};
use x509_cert::spki::AlgorithmIdentifierRef;

use super::{Hash, SignatureAlgorithm};

const SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");
const RSA_SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.5");
const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const RSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const RSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const MGF1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");
const ECDSA_SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.1");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ECDSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// The AlgorithmIdentifier in DER. `None` for what only the methods before RFC 7427 speak.
pub fn identifier(algorithm: SignatureAlgorithm) -> Option<Vec<u8>> {
    let null = Some(AnyRef::NULL);
    let (oid, parameters) = match algorithm {
        SignatureAlgorithm::RsaPkcs1(hash) => (rsa(hash), null),
        SignatureAlgorithm::RsaPss(hash, salt) => return pss(hash, salt),
        SignatureAlgorithm::Ecdsa(hash) => (ecdsa(hash), None),
        SignatureAlgorithm::EcdsaFixed(_) => return None,
        SignatureAlgorithm::Ed25519 => (ED25519, None),
    };
    AlgorithmIdentifierRef { oid, parameters }.to_der().ok()
}

/// Reads an AlgorithmIdentifier. `None` for one we do not know, or a PSS whose two hashes are not the same.
pub fn from_identifier(der: &[u8]) -> Option<SignatureAlgorithm> {
    let AlgorithmIdentifierRef { oid, parameters } = AlgorithmIdentifierRef::from_der(der).ok()?;
    let algorithm = match oid {
        RSA_PSS => return read_pss(parameters?),
        RSA_SHA1 => SignatureAlgorithm::RsaPkcs1(Hash::Sha1),
        RSA_SHA256 => SignatureAlgorithm::RsaPkcs1(Hash::Sha256),
        RSA_SHA384 => SignatureAlgorithm::RsaPkcs1(Hash::Sha384),
        RSA_SHA512 => SignatureAlgorithm::RsaPkcs1(Hash::Sha512),
        ECDSA_SHA1 => SignatureAlgorithm::Ecdsa(Hash::Sha1),
        ECDSA_SHA256 => SignatureAlgorithm::Ecdsa(Hash::Sha256),
        ECDSA_SHA384 => SignatureAlgorithm::Ecdsa(Hash::Sha384),
        ECDSA_SHA512 => SignatureAlgorithm::Ecdsa(Hash::Sha512),
        ED25519 => SignatureAlgorithm::Ed25519,
        _ => return None,
    };
    // RFC 7427 A.1: NULL, but some leave it out; nothing else.
    parameters
        .is_none_or(|any| any == AnyRef::NULL)
        .then_some(algorithm)
}

const fn digest(hash: Hash) -> ObjectIdentifier {
    match hash {
        Hash::Sha1 => SHA1,
        Hash::Sha256 => SHA256,
        Hash::Sha384 => SHA384,
        Hash::Sha512 => SHA512,
    }
}

fn from_digest(der: AlgorithmIdentifierRef<'_>) -> Option<Hash> {
    if der.parameters.is_some_and(|any| any != AnyRef::NULL) {
        return None;
    }
    let hashes = [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512];
    hashes.into_iter().find(|hash| digest(*hash) == der.oid)
}

const fn rsa(hash: Hash) -> ObjectIdentifier {
    match hash {
        Hash::Sha1 => RSA_SHA1,
        Hash::Sha256 => RSA_SHA256,
        Hash::Sha384 => RSA_SHA384,
        Hash::Sha512 => RSA_SHA512,
    }
}

const fn ecdsa(hash: Hash) -> ObjectIdentifier {
    match hash {
        Hash::Sha1 => ECDSA_SHA1,
        Hash::Sha256 => ECDSA_SHA256,
        Hash::Sha384 => ECDSA_SHA384,
        Hash::Sha512 => ECDSA_SHA512,
    }
}

/// RFC 7427 A.4.3: every parameter is written, the trailer field too.
fn pss(hash: Hash, salt: u16) -> Option<Vec<u8>> {
    let inner = AlgorithmIdentifierRef {
        oid: digest(hash),
        parameters: Some(AnyRef::NULL),
    };
    let inner_der = inner.to_der().ok()?;
    let mask = AlgorithmIdentifierRef {
        oid: MGF1,
        parameters: Some(AnyRef::from_der(&inner_der).ok()?),
    };
    let mut fields = Vec::new();
    tagged(0, inner).encode_to_vec(&mut fields).ok()?;
    tagged(1, mask).encode_to_vec(&mut fields).ok()?;
    tagged(2, salt).encode_to_vec(&mut fields).ok()?;
    tagged(3, TRAILER).encode_to_vec(&mut fields).ok()?;
    let parameters = AnyRef::new(Tag::Sequence, &fields).ok()?;
    AlgorithmIdentifierRef {
        oid: RSA_PSS,
        parameters: Some(parameters),
    }
    .to_der()
    .ok()
}

const fn tagged<T>(number: u32, value: T) -> ContextSpecific<T> {
    ContextSpecific {
        tag_number: TagNumber(number),
        tag_mode: TagMode::Explicit,
        value,
    }
}

/// RFC 8017 A.2.3. What is left out has SHA-1 for its default, which nobody wants.
fn read_pss(parameters: AnyRef<'_>) -> Option<SignatureAlgorithm> {
    if parameters.tag() != Tag::Sequence {
        return None;
    }
    let mut reader = SliceReader::new(parameters.value()).ok()?;
    let hash = ContextSpecific::<AlgorithmIdentifierRef<'_>>::decode(&mut reader).ok()?;
    let mask = ContextSpecific::<AlgorithmIdentifierRef<'_>>::decode(&mut reader).ok()?;
    let salt = ContextSpecific::<u16>::decode(&mut reader).ok()?;
    if !reader.is_finished() {
        let trailer = ContextSpecific::<u8>::decode(&mut reader).ok()?;
        if trailer.tag_number != TagNumber(3) || trailer.value != TRAILER || !reader.is_finished() {
            return None;
        }
    }
    let numbers = [hash.tag_number, mask.tag_number, salt.tag_number];
    if numbers != [TagNumber(0), TagNumber(1), TagNumber(2)] || mask.value.oid != MGF1 {
        return None;
    }
    let mask_hash = mask
        .value
        .parameters?
        .decode_as::<AlgorithmIdentifierRef<'_>>()
        .ok()?;
    let hash = from_digest(hash.value)?;
    (from_digest(mask_hash)? == hash).then_some(SignatureAlgorithm::RsaPss(hash, salt.value))
}

/// trailerFieldBC.
const TRAILER: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7427 A.4.3.
    const PSS_SHA256: [u8; 72] = [
        0x30, 0x46, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x39, 0xa0, 0x0f,
        0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0xa1, 0x1c,
        0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0d, 0x06, 0x09,
        0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0xa2, 0x03, 0x02, 0x01, 0x20, 0xa3,
        0x03, 0x02, 0x01, 0x01,
    ];

    #[test]
    fn writes_what_the_rfcs_write() {
        let pss = SignatureAlgorithm::rsa_pss(Hash::Sha256);
        assert_eq!(identifier(pss).unwrap(), PSS_SHA256);
        // RFC 7427 A.1.2, A.3.2; RFC 8420 appendix A.
        let rsa = [
            0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00,
        ];
        assert_eq!(
            identifier(SignatureAlgorithm::RsaPkcs1(Hash::Sha256)).unwrap(),
            rsa
        );
        let ecdsa = [
            0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02,
        ];
        assert_eq!(
            identifier(SignatureAlgorithm::Ecdsa(Hash::Sha256)).unwrap(),
            ecdsa
        );
        let ed25519 = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
        assert_eq!(identifier(SignatureAlgorithm::Ed25519).unwrap(), ed25519);
    }

    #[test]
    fn reads_back_what_it_writes() {
        for hash in [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512] {
            for algorithm in [
                SignatureAlgorithm::RsaPkcs1(hash),
                SignatureAlgorithm::rsa_pss(hash),
                SignatureAlgorithm::RsaPss(hash, 7),
                SignatureAlgorithm::Ecdsa(hash),
                SignatureAlgorithm::Ed25519,
            ] {
                let der = identifier(algorithm).unwrap();
                assert_eq!(from_identifier(&der), Some(algorithm));
            }
        }
    }

    #[test]
    fn reads_a_pss_without_its_trailer_field_and_refuses_one_of_two_hashes() {
        // As some write it: DER leaves defaults out.
        let mut short = PSS_SHA256[..67].to_vec();
        (short[1], short[14]) = (0x41, 0x34);
        assert_eq!(
            from_identifier(&short),
            Some(SignatureAlgorithm::rsa_pss(Hash::Sha256))
        );
        let mut mixed = PSS_SHA256;
        mixed[59] = 3;
        assert_eq!(from_identifier(&mixed), None);
        for len in 0..PSS_SHA256.len() {
            assert_eq!(from_identifier(&PSS_SHA256[..len]), None);
        }
        // Without parameters the hash would be SHA-1.
        let bare = [
            0x30, 0x0b, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a,
        ];
        assert_eq!(from_identifier(&bare), None);
    }
}
