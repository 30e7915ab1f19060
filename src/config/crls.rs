//! `crl`: lists of certificates that are not good any more.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject;
use xvpn_ike::auth::x509::crl::{Crl, CrlError};
use xvpn_ike::auth::x509::revocation::{Policy, Rules};

use super::credential::too_large;
use super::defaults::CRL_FILE_MAX_OCTETS;
use super::diagnostic::{Diagnostic, Report};
use super::secret::{beside, plain};
use super::source::At;

/// Reads the files. What is wrong is reported. With the rules come the files' paths, to be looked into again.
pub(super) fn load(
    policy: Policy,
    files: Option<&At<Vec<At<String>>>>,
    out: &mut Report,
) -> (Rules, Vec<PathBuf>) {
    let (mut crls, mut paths) = (Vec::new(), Vec::new());
    for at in files.into_iter().flat_map(|files| &files.value) {
        let path = beside(&at.span, Path::new(&at.value), out);
        match read(&path) {
            Ok(read) => {
                warn_of_age(&read, &path, at, out);
                crls.extend(read);
            }
            Err(error) => {
                let remedy = error.remedy();
                out.push(Diagnostic::error("bad-crl", error.to_string(), remedy).at(&at.span, "this file"));
            }
        }
        paths.push(path);
    }
    if let Some(files) = files.filter(|_| policy == Policy::Off) {
        let title = "`crl` names files that nobody looks into";
        let remedy = "remove `revocation = \"off\"`, or remove `crl`";
        out.push(Diagnostic::warning("crl-unused", title, remedy).at(&files.span, "revocation is off"));
    }
    (Rules { policy, crls }, paths)
}

/// A file that is no CRL.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadCrl {
    /// It cannot be read.
    #[error("cannot read {}: {}", path.display(), plain(source))]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is in it is of no use.
    #[error("{} is of no use: {source}", path.display())]
    Useless {
        /// Which.
        path: PathBuf,
        /// Why.
        source: CrlError,
    },
}

impl BadCrl {
    /// What the operator can do.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::FileTooLarge => {
                "let it have the CRLs of the peers' authorities only, or leave it out of `crl`: then CRLs and OCSP responses are fetched \
                 from where the certificates say"
            }
            Self::Unreadable { .. } => "let the file be there and readable: a CRL in DER or PEM form",
            Self::Useless { .. } => {
                "get the complete CRL (version 2, DER or PEM) from the authority that issued the peer's certificate"
            }
        }
    }
}

/// Reads the CRLs of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<Arc<Crl>>, BadCrl> {
    let octets = contents(path).map_err(|source| BadCrl::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let useless = |source| BadCrl::Useless {
        path: path.to_owned(),
        source,
    };
    ders(&octets)
        .iter()
        .map(|der| Crl::parse(der).map(Arc::new).map_err(useless))
        .collect()
}

/// Of a file that may grow while it is read, or have no end.
fn contents(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut octets = Vec::new();
    let limit = CRL_FILE_MAX_OCTETS as u64;
    (&mut file).take(limit + 1).read_to_end(&mut octets)?;
    if octets.len() > CRL_FILE_MAX_OCTETS {
        return Err(too_large(&file, CRL_FILE_MAX_OCTETS));
    }
    Ok(octets)
}

fn warn_of_age(crls: &[Arc<Crl>], path: &Path, at: &At<String>, out: &mut Report) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    for crl in crls.iter().filter(|crl| crl.next_update().0 < now) {
        let title = format!("{} is out of date since {}", path.display(), crl.next_update());
        let remedy = "get the new one from the authority; until then certificates that are not in the old one are of unknown status";
        out.push(Diagnostic::warning("crl-out-of-date", title, remedy).at(&at.span, "this file"));
    }
}

/// One in DER, or as many as there are in PEM.
fn ders(octets: &[u8]) -> Vec<Vec<u8>> {
    let in_pem: Vec<Vec<u8>> = CertificateRevocationListDer::pem_slice_iter(octets)
        .filter_map(Result::ok)
        .map(|der| der.as_ref().to_vec())
        .collect();
    if in_pem.is_empty() {
        vec![octets.to_vec()]
    } else {
        in_pem
    }
}
