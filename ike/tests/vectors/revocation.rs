//! Certificates, CRLs and OCSP responses made by OpenSSL 3.0; `revocation/make.sh` makes them anew.

use std::time::Duration;

use rustls_pki_types::UnixTime;
use xvpn_ike::auth::x509::facts::Facts;

/// The octets of one of the files.
macro_rules! file {
    ($name:literal) => {
        include_bytes!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/vectors/revocation/",
            $name
        ))
        .as_slice()
    };
}
pub(crate) use file;

/// A moment at which all is valid, some days later.
pub(crate) fn later(days: u64) -> UnixTime {
    let now: u64 = include_str!("revocation/now").trim().parse().expect("seconds");
    UnixTime::since_unix_epoch(Duration::from_secs(now + days * 24 * 3600))
}

/// The facts of a certificate.
pub(crate) fn facts(der: &[u8]) -> Facts {
    Facts::parse(der).expect("a certificate")
}
