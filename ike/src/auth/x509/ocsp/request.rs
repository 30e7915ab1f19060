//! An OCSP request for one certificate (RFC 6960 4.1), unsigned.

use sha1::{Digest, Sha1};

use super::super::facts::{Facts, Issuer};

/// The request, with a nonce (RFC 9654). The issuer is named by SHA-1, which every responder knows (RFC 5019 2.1.1); the
/// hash only finds the certificate, it protects nothing.
pub fn request(subject: &Facts, issuer: &Issuer, nonce: &[u8]) -> Vec<u8> {
    let certificate = element(
        SEQUENCE,
        &[
            &element(SEQUENCE, &[OID_SHA_1, &element(NULL, &[])]),
            &element(OCTET_STRING, &[&Sha1::digest(&issuer.name)]),
            &element(OCTET_STRING, &[&Sha1::digest(&issuer.key.octets)]),
            &element(INTEGER, &[&subject.serial]),
        ],
    );
    let list = element(SEQUENCE, &[&element(SEQUENCE, &[&certificate])]);
    let nonce = element(OCTET_STRING, &[&element(OCTET_STRING, &[nonce])]);
    let extensions = element(SEQUENCE, &[&element(SEQUENCE, &[OID_NONCE, &nonce])]);
    let content = element(SEQUENCE, &[&list, &element(REQUEST_EXTENSIONS, &[&extensions])]);
    element(SEQUENCE, &[&content])
}

/// Tag, length and contents in DER.
fn element(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let contents = contents.concat();
    let length = contents.len().to_be_bytes();
    let significant: Vec<u8> = length.iter().copied().skip_while(|octet| *octet == 0).collect();
    let mut out = vec![tag];
    match (significant.as_slice(), u8::try_from(significant.len())) {
        ([], _) => out.push(0),
        ([short], _) if *short < 0x80 => out.push(*short),
        (long, Ok(count)) => {
            out.push(0x80 | count);
            out.extend_from_slice(long);
        }
        // No length has more than eight octets.
        (_, Err(_)) => {}
    }
    out.extend_from_slice(&contents);
    out
}

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const NULL: u8 = 0x05;
const SEQUENCE: u8 = 0x30;
/// `[2]` EXPLICIT.
const REQUEST_EXTENSIONS: u8 = 0xa2;
/// 1.3.14.3.2.26
const OID_SHA_1: &[u8] = &[0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a];
/// 1.3.6.1.5.5.7.48.1.2
const OID_NONCE: &[u8] = &[0x06, 0x09, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x02];
