//! Certificates and keys in PEM files. Private keys are zeroized on the way and never printed.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::{PemObject, SectionKind};
use xvpn_ike::auth::x509::{Anchor, CertificateDer, Leaf};
use xvpn_ike::crypto::sign::{KeyFormat, PublicKey, SigningKey};
use zeroize::Zeroizing;

use super::defaults;
use super::diagnostic::{Diagnostic, Report};
use super::secret::{OTHERS, beside, plain};
use super::source::{At, Span};

/// Reads a certificate, and those that stand behind it in the file.
pub(super) fn chain(at: &At<String>, out: &mut Report) -> Option<(Vec<CertificateDer<'static>>, Leaf)> {
    let (path, text) = read(at, out)?;
    let certificates = sections(&text, SectionKind::Certificate);
    let Some(first) = certificates.first() else {
        return nothing(&path, "certificate", "BEGIN CERTIFICATE", at, out);
    };
    match Leaf::from_der(first) {
        Ok(leaf) => {
            let chain = certificates.iter().map(|der| CertificateDer::from(der.to_vec()));
            Some((chain.collect(), leaf))
        }
        Err(error) => {
            let title = format!("the certificate in {} cannot be used", path.display());
            let remedy = "look at it with `openssl x509 -text`; RSA from 2048 bits on, ECDSA on P-256, P-384 or P-521, and Ed25519 are spoken";
            out.push(Diagnostic::error("bad-certificate", title, remedy).at(&at.span, error.to_string()));
            None
        }
    }
}

/// Reads the certificates of authorities.
pub(super) fn anchors(at: &At<String>, out: &mut Report) -> Option<Vec<Anchor>> {
    let (path, text) = read(at, out)?;
    let certificates = sections(&text, SectionKind::Certificate);
    if certificates.is_empty() {
        return nothing(&path, "certificate", "BEGIN CERTIFICATE", at, out);
    }
    let mut anchors = Vec::new();
    for der in &certificates {
        match Anchor::from_der(der) {
            Ok(anchor) => anchors.push(anchor),
            Err(error) => {
                let title = format!("a certificate in {} cannot be used", path.display());
                let remedy =
                    "look at it with `openssl x509 -text`, and put the authority's own certificate there";
                out.push(Diagnostic::error("bad-certificate", title, remedy).at(&at.span, error.to_string()));
                return None;
            }
        }
    }
    Some(anchors)
}

/// Reads a private key.
pub(super) fn private_key(at: &At<String>, out: &mut Report) -> Option<SigningKey> {
    let path = beside(&at.span, Path::new(&at.value), out);
    let (mut file, mode) = open(&path, &at.span, out)?;
    if mode & OTHERS != 0 {
        let title = format!("others than its owner may read {}", path.display());
        let remedy = format!(
            "chmod 600 {}; if others could log in here, make a new key and a new certificate too",
            path.display()
        );
        let label = format!("has mode {:04o}", mode & 0o7777);
        out.push(Diagnostic::error("readable-secret", title, remedy).at(&at.span, label));
        return None;
    }
    let text = contents(&mut file, &path, &at.span, out)?;
    let kinds = [
        (SectionKind::PrivateKey, KeyFormat::Pkcs8),
        (SectionKind::RsaPrivateKey, KeyFormat::Pkcs1),
        (SectionKind::EcPrivateKey, KeyFormat::Sec1),
    ];
    let found = kinds
        .into_iter()
        .find_map(|(kind, format)| Some((format, sections(&text, kind).into_iter().next()?)));
    let Some((format, der)) = found else {
        if find(&text, b"ENCRYPTED") {
            let title = format!("the private key in {} is encrypted", path.display());
            let remedy = "nobody is there to type its password when a gateway starts; decrypt it: openssl pkey -in FILE -out NEW (umask 077)";
            out.push(Diagnostic::error("encrypted-key", title, remedy).at(&at.span, "needs a password"));
            return None;
        }
        return nothing(&path, "private key", "BEGIN PRIVATE KEY", at, out);
    };
    match SigningKey::from_der(format, &der) {
        Ok(key) => Some(key),
        Err(error) => {
            let title = format!("the private key in {} cannot be used", path.display());
            let remedy = "use RSA from 2048 bits on, ECDSA on P-256, P-384 or P-521, or Ed25519";
            out.push(Diagnostic::error("bad-key", title, remedy).at(&at.span, error.to_string()));
            None
        }
    }
}

/// Reads a public key: a PEM file, or the base64 of a SubjectPublicKeyInfo as it stands in one.
pub(super) fn public_key(at: &At<String>, out: &mut Report) -> Option<PublicKey> {
    let der = if is_base64(&at.value) {
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            at.value
        );
        sections(pem.as_bytes(), SectionKind::PublicKey).pop()
    } else {
        let (path, text) = read(at, out)?;
        match sections(&text, SectionKind::PublicKey).pop() {
            Some(der) => Some(der),
            None => return nothing(&path, "public key", "BEGIN PUBLIC KEY", at, out),
        }
    };
    let key = der.map(|der| PublicKey::from_spki(&der));
    let label = match key {
        Some(Ok(key)) => return Some(key),
        Some(Err(error)) => error.to_string(),
        None => "not base64".to_owned(),
    };
    let remedy = "name a PEM file, or write what stands between its two lines; openssl pkey -in KEY -pubout makes it of a private key";
    out.push(Diagnostic::error("bad-key", "the public key cannot be used", remedy).at(&at.span, label));
    None
}

fn read(at: &At<String>, out: &mut Report) -> Option<(PathBuf, Zeroizing<Vec<u8>>)> {
    let path = beside(&at.span, Path::new(&at.value), out);
    let (mut file, _) = open(&path, &at.span, out)?;
    let text = contents(&mut file, &path, &at.span, out)?;
    Some((path, text))
}

/// The open file and its mode: of the file, not of the name, which could be exchanged in between.
fn open(path: &Path, span: &Span, out: &mut Report) -> Option<(File, u32)> {
    let opened = File::open(path).and_then(|file| {
        let mode = file.metadata()?.mode();
        Ok((file, mode))
    });
    opened.map_or_else(|error| unreadable(path, &error, span, out), Some)
}

fn contents(file: &mut File, path: &Path, span: &Span, out: &mut Report) -> Option<Zeroizing<Vec<u8>>> {
    let most = defaults::PEM_MAX_OCTETS;
    // Allocated once: a growing buffer would leave copies of a secret behind.
    let mut octets = Zeroizing::new(Vec::with_capacity(most + 1));
    let taken = (&mut *file).take(most as u64 + 1).read_to_end(&mut octets);
    match taken {
        Ok(length) if length > most => {
            let error = too_large(file, most);
            unreadable(path, &error, span, out)
        }
        Ok(_) => Some(octets),
        Err(error) => unreadable(path, &error, span, out),
    }
}

/// The refusal of a file of which more was read than may be.
pub(super) fn too_large(file: &File, most: usize) -> io::Error {
    let written = file.metadata().map_or(0, |metadata| metadata.len());
    // A device has no size, and a file may have become shorter since.
    let size = match written > most as u64 {
        true => written.to_string(),
        false => format!("more than {most}"),
    };
    let text = format!("it has {size} octets, and no file of its kind may have more than {most}");
    io::Error::new(io::ErrorKind::FileTooLarge, text)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the standard library's enum, which grows"
)]
fn unreadable<T>(path: &Path, error: &io::Error, span: &Span, out: &mut Report) -> Option<T> {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => {
            "correct the name (a relative one is meant beside the configuration), or put the file there"
        }
        io::ErrorKind::PermissionDenied => "run xvpn as root, or as the owner of the file",
        io::ErrorKind::FileTooLarge => {
            "see whether it is the right file; of a bundle leave in what is needed: our own chain, or the authorities of the peers"
        }
        _ => "put a PEM file there",
    };
    let title = format!("cannot read {}: {}", path.display(), plain(error));
    out.push(Diagnostic::error("pem-unreadable", title, remedy).at(span, "named here"));
    None
}

fn nothing<T>(path: &Path, what: &str, mark: &str, at: &At<String>, out: &mut Report) -> Option<T> {
    let title = format!("there is no {what} in {}", path.display());
    let remedy = format!("put it there in PEM: text that begins with -----{mark}-----");
    out.push(Diagnostic::error("pem-empty", title, remedy).at(&at.span, "named here"));
    None
}

/// The contents of all sections of one kind.
fn sections(text: &[u8], wanted: SectionKind) -> Vec<Zeroizing<Vec<u8>>> {
    let all = <(SectionKind, Vec<u8>)>::pem_slice_iter(text).filter_map(Result::ok);
    all.map(|(kind, der)| (kind, Zeroizing::new(der)))
        .filter(|(kind, _)| *kind == wanted)
        .map(|(_, der)| der)
        .take(MOST_SECTIONS)
        .collect()
}

/// The base64 of a SEQUENCE begins with an M, and has no dots as names of files have.
fn is_base64(text: &str) -> bool {
    text.len() >= SHORTEST_SPKI && text.starts_with('M') && !text.contains('.')
}

fn find(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|piece| piece == word)
}

/// The base64 of the shortest SubjectPublicKeyInfo there is, of Ed25519, without padding.
const SHORTEST_SPKI: usize = 59;
/// Certificates of one file: a whole bundle of authorities, and not more.
const MOST_SECTIONS: usize = 512;
