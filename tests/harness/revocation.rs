//! Whoever tells whether a gateway's certificate was revoked: a CRL in a file or over HTTP, or OpenSSL's OCSP responder.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, CertificateRevocationListParams, CrlDistributionPoint, CustomExtension, Issuer,
    KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber,
};
use serde::Deserialize;
use xvpn::testbed::{Daemon, Namespace};

use super::pki::Authority;
use super::runner::{Failure, check};

/// Where it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusSource {
    /// In `ca.crl` among the files of whoever judges.
    CrlFile,
    /// By a web server that only whoever judges can reach, and the certificate names it.
    CrlHttp,
    /// By a responder that only whoever judges can reach.
    OcspHttp,
    /// By a responder that only the holder can reach, who brings its answer along (RFC 4806).
    OcspInBand,
}

/// What the authority knows of one side's certificate.
pub struct Record<'a> {
    /// The authority.
    pub authority: &'a Authority,
    /// Whose certificate.
    pub holder: &'a Namespace,
    /// Who judges it.
    pub judge: &'a Namespace,
    /// Where the judge looks for CRLs.
    pub crls: &'a Path,
    /// A folder for the responder's files.
    pub folder: &'a Path,
    /// The certificate was revoked.
    pub revoked: bool,
}

/// A server. It ends with this.
pub enum Service {
    /// Of a CRL.
    Web(Arc<AtomicBool>, Option<JoinHandle<()>>),
    /// Of OCSP: `openssl ocsp`, killed and reaped when this goes, and by the kernel should this process be killed.
    Responder(Daemon),
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Self::Web(ended, thread) = self {
            ended.store(true, Ordering::Relaxed);
            if let Some(thread) = thread.take() {
                // It has nothing left to do.
                let _ = thread.join();
            }
        }
    }
}

impl StatusSource {
    /// Lets a certificate say where it is told.
    pub fn name_in(self, params: &mut CertificateParams) {
        params.serial_number = Some(SerialNumber::from(SERIAL.to_vec()));
        match self {
            Self::CrlFile => {}
            Self::CrlHttp => params.crl_distribution_points.push(CrlDistributionPoint {
                uris: vec![format!("http://127.0.0.1:{PORT}/ca.crl")],
            }),
            Self::OcspHttp | Self::OcspInBand => {
                params.custom_extensions.push(CustomExtension::from_oid_content(
                    &[1, 3, 6, 1, 5, 5, 7, 1, 1],
                    access(&format!("http://127.0.0.1:{PORT}/")),
                ));
            }
        }
    }

    /// Tells it.
    pub fn serve(self, record: &Record<'_>) -> Result<Option<Service>, Failure> {
        match self {
            Self::CrlFile => {
                fs::create_dir_all(record.crls)?;
                fs::write(record.crls.join("ca.crl"), crl(record)?)?;
                Ok(None)
            }
            Self::CrlHttp => {
                let listener = record.judge.run(|| TcpListener::bind(("127.0.0.1", PORT)))??;
                Ok(Some(web(listener, crl(record)?)?))
            }
            Self::OcspHttp => responder(record, record.judge).map(Some),
            Self::OcspInBand => responder(record, record.holder).map(Some),
        }
    }
}

fn crl(record: &Record<'_>) -> Result<Vec<u8>, Failure> {
    let now = SystemTime::now();
    let revoked = RevokedCertParams {
        serial_number: SerialNumber::from(SERIAL.to_vec()),
        revocation_time: (now - DAY).into(),
        reason_code: Some(RevocationReason::KeyCompromise),
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: (now - DAY).into(),
        next_update: (now + DAY).into(),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: record.revoked.then_some(revoked).into_iter().collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let issuer = Issuer::from_params(&record.authority.params, &record.authority.key);
    Ok(params.signed_by(&issuer)?.der().to_vec())
}

/// Answers every request with these octets.
fn web(listener: TcpListener, octets: Vec<u8>) -> Result<Service, Failure> {
    listener.set_nonblocking(true)?;
    let ended = Arc::new(AtomicBool::new(false));
    let end = Arc::clone(&ended);
    let thread = std::thread::spawn(move || {
        while !end.load(Ordering::Relaxed) {
            match listener.accept() {
                // A client that goes away is not our business.
                Ok((stream, _)) => drop(answer(stream, &octets)),
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    });
    Ok(Service::Web(ended, Some(thread)))
}

fn answer(mut stream: TcpStream, octets: &[u8]) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut request = [0; 2048];
    let _ = stream.read(&mut request)?;
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/pkix-crl\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        octets.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(octets)
}

fn responder(record: &Record<'_>, machine: &Namespace) -> Result<Service, Failure> {
    let folder = record.folder;
    fs::create_dir_all(folder)?;
    let status = if record.revoked {
        "R\t401231235959Z\t260101000000Z,keyCompromise"
    } else {
        "V\t401231235959Z\t"
    };
    fs::write(
        folder.join("index.txt"),
        format!("{status}\t{SERIAL_TEXT}\tunknown\t/CN=holder\n"),
    )?;
    fs::write(folder.join("ca.pem"), record.authority.certificate.pem())?;
    fs::write(folder.join("ca.key"), record.authority.key.serialize_pem())?;
    let mut command = machine.command("openssl");
    command.args(["ocsp", "-port", &PORT.to_string()]);
    command.args(["-index", "index.txt", "-CA", "ca.pem"]);
    command.args(["-rsigner", "ca.pem", "-rkey", "ca.key", "-ndays", "1"]);
    command.current_dir(folder);
    let mut daemon = Daemon::start("openssl ocsp", command, &folder.join("log"))?;
    // It serves one client at a time: one that only looks whether it listens would keep it busy.
    let up = daemon.wait_for_log("waiting for", Duration::from_secs(10));
    check(up, format!("it does not listen:\n{}", daemon.log_tail(10)))?;
    Ok(Service::Responder(daemon))
}

/// AuthorityInfoAccess with one OCSP responder (RFC 5280 4.2.2.1).
fn access(url: &str) -> Vec<u8> {
    let element = |tag: u8, contents: &[u8]| {
        let length = u8::try_from(contents.len()).unwrap_or_default();
        [&[tag, length], contents].concat()
    };
    let method = [0x06, 8, 0x2b, 6, 1, 5, 5, 7, 0x30, 1];
    let location = element(0x86, url.as_bytes());
    element(0x30, &element(0x30, &[&method[..], &location].concat()))
}

const SERIAL: [u8; 2] = [0x10, 0x01];
const SERIAL_TEXT: &str = "1001";
const PORT: u16 = 8889;
const DAY: Duration = Duration::from_secs(24 * 3600);
