//! `crl`: lists of certificates that are not good any more.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::PemObject;
use xvpn_ike::auth::x509::crl::Crl;
use xvpn_ike::auth::x509::revocation::{Policy, Rules};

use super::diagnostic::{Diagnostic, Report};
use super::secret::beside;
use super::source::At;

/// Reads the files. What is wrong is reported.
pub(super) fn load(policy: Policy, files: Option<&At<Vec<At<String>>>>, out: &mut Report) -> Rules {
    let mut crls = Vec::new();
    for at in files.into_iter().flat_map(|files| &files.value) {
        crls.extend(read_file(at, out));
    }
    if let Some(files) = files.filter(|_| policy == Policy::Off) {
        let title = "`crl` names files that nobody looks into";
        let remedy = "remove `revocation = \"off\"`, or remove `crl`";
        out.push(Diagnostic::warning("crl-unused", title, remedy).at(&files.span, "revocation is off"));
    }
    Rules { policy, crls }
}

fn read_file(at: &At<String>, out: &mut Report) -> Vec<Arc<Crl>> {
    let path = beside(&at.span, Path::new(&at.value), out);
    let mut wrong = |title: String, remedy: &str| {
        out.push(Diagnostic::error("bad-crl", title, remedy).at(&at.span, "this file"));
    };
    let octets = match std::fs::read(&path) {
        Ok(octets) => octets,
        Err(error) => {
            wrong(
                format!("cannot read {}: {error}", path.display()),
                "let the file be there and readable: a CRL in DER or PEM form",
            );
            return Vec::new();
        }
    };
    let mut crls = Vec::new();
    for der in ders(&octets) {
        match Crl::parse(&der) {
            Ok(crl) => crls.push(Arc::new(crl)),
            Err(error) => wrong(
                format!("{} is of no use: {error}", path.display()),
                "get the complete CRL (version 2, DER or PEM) from the authority that issued the peer's certificate",
            ),
        }
    }
    for crl in &crls {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        if crl.next_update().0 < now {
            let title = format!("{} is out of date since {}", path.display(), crl.next_update());
            let remedy = "get the new one from the authority; until then certificates that are not in the old one are of unknown status";
            out.push(Diagnostic::warning("crl-out-of-date", title, remedy).at(&at.span, "this file"));
        }
    }
    crls
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
