//! What a certification authority or a responder signed: the frame that certificates, CRLs and OCSP responses share
//! (RFC 5280 4.1.1, 5.1.1; RFC 6960 4.2.1).
//!
//! ```text
//! SEQUENCE { toBeSigned, signatureAlgorithm AlgorithmIdentifier, signature BIT STRING, ... }
//! ```

use webpki::ALL_VERIFICATION_ALGS;
use x509_cert::der::asn1::{AnyRef, BitStringRef};
use x509_cert::der::{Reader, SliceReader, Tag, TagNumber, Tagged};

/// The frame, lent from the octets it was read from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signed<'a> {
    /// The part that is signed, with its tag.
    pub(super) content: &'a [u8],
    /// The contents of the AlgorithmIdentifier.
    algorithm: &'a [u8],
    /// The signature's octets.
    signature: &'a [u8],
}

/// A public key, as it stands in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PublicKey {
    /// The contents of the AlgorithmIdentifier.
    pub(super) algorithm: Vec<u8>,
    /// The octets of subjectPublicKey.
    pub(super) octets: Vec<u8>,
}

/// A signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Of a kind that is not supported, or no longer (MD5, SHA-1, keys below 2048 bits).
    #[error("it is signed by an algorithm that is not supported")]
    Algorithm,
    /// Wrong.
    #[error("its signature is wrong")]
    Wrong,
}

impl<'a> Signed<'a> {
    /// Reads the three elements; what follows them in the sequence is left to the caller.
    pub(super) fn read(reader: &mut SliceReader<'a>) -> x509_cert::der::Result<Self> {
        let content = reader.tlv_bytes()?;
        let algorithm = contents(reader, Tag::Sequence)?;
        let signature = reader.decode::<BitStringRef<'a>>()?;
        let whole = signature.as_bytes().ok_or_else(|| Tag::BitString.value_error())?;
        Ok(Self {
            content,
            algorithm,
            signature: whole,
        })
    }

    /// Verifies the signature by the algorithms that chains are verified by.
    pub(super) fn verify(&self, key: &PublicKey) -> Result<(), SignatureError> {
        let mut known = false;
        for candidate in ALL_VERIFICATION_ALGS {
            let fits = candidate.signature_alg_id().as_ref() == self.algorithm
                && candidate.public_key_alg_id().as_ref() == key.algorithm;
            if !fits {
                continue;
            }
            known = true;
            if candidate
                .verify_signature(&key.octets, self.content, self.signature)
                .is_ok()
            {
                return Ok(());
            }
        }
        Err(if known {
            SignatureError::Wrong
        } else {
            SignatureError::Algorithm
        })
    }
}

/// The contents of the next element, which has this tag.
pub(super) fn contents<'a>(reader: &mut SliceReader<'a>, tag: Tag) -> x509_cert::der::Result<&'a [u8]> {
    let element = reader.decode::<AnyRef<'a>>()?;
    element.tag().assert_eq(tag)?;
    Ok(element.value())
}

/// The contents of the element `[number]`, if it is the next.
pub(super) fn optional<'a>(
    reader: &mut SliceReader<'a>,
    number: u32,
    constructed: bool,
) -> x509_cert::der::Result<Option<&'a [u8]>> {
    let wanted = Tag::ContextSpecific {
        constructed,
        number: TagNumber(number),
    };
    if reader.is_finished() || Tag::peek(reader)? != wanted {
        return Ok(None);
    }
    contents(reader, wanted).map(Some)
}
