//! Certificates and keys of the configuration: what is accepted, and every mistake.

use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use xvpn::config::{Config, Purpose, diagnostic::Report};
use xvpn_ike::auth::method::{LocalAuth, RemoteAuth};

use super::Folder;

/// A certificate for `aws.example` that signs itself, and its key.
fn holder(folder: &Folder, name: &str, until: i32) {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![SanType::DnsName("aws.example".try_into().unwrap())];
    let certificate = params.self_signed(&key).unwrap();
    folder.write(&format!("{name}.pem"), &certificate.pem(), 0o644);
    folder.write(&format!("{name}.key"), &key.serialize_pem(), 0o600);
    folder.write(&format!("{name}.pub"), &key.public_key_pem(), 0o644);
}

fn folder() -> Folder {
    let folder = Folder::new();
    holder(&folder, "aws", 2099);
    holder(&folder, "old", 2021);
    folder.write("good.psk", "q7Zt0mWc4Vx9Ls2Hd8Rk1Yb6", 0o600);
    folder
}

fn load(folder: &Folder, local: &str, remote: &str, more: &str) -> Result<(Config, String), String> {
    let text = format!(
        "[[tunnel]]\nname = \"azure\"\n\
         local = {{ networks = [\"10.1.0.0/16\"]{local} }}\n\
         remote = {{ id = \"azure.example\", address = \"198.51.100.7\", networks = [\"10.2.0.0/16\"]{remote} }}\n{more}\n"
    );
    folder.write("xvpn.toml", &text, 0o600);
    let words = |report: &Report| report.render(false);
    match xvpn::config::load(&folder.0.join("xvpn.toml"), Purpose::Run) {
        Ok(loaded) => Ok((loaded.config, words(&loaded.warnings))),
        Err(report) => Err(words(&report)),
    }
}

const OURS: &str = ", certificate = \"aws.pem\", key = \"aws.key\"";
const THEIRS: &str = ", ca = \"aws.pem\"";

#[test]
fn both_sides_may_have_certificates_and_our_name_is_in_ours() {
    let (config, warnings) = load(&folder(), OURS, THEIRS, "").unwrap();
    assert_eq!(warnings, "");
    let tunnel = &config.tunnels[0];
    assert_eq!(tunnel.local_identity.to_string(), "aws.example");
    assert!(matches!(tunnel.local_auth, LocalAuth::Certificate { .. }));
    assert!(matches!(tunnel.remote_auth, RemoteAuth::Certificate { .. }));
    assert!(!format!("{config:?}").contains("PRIVATE"));
}

#[test]
fn a_public_key_is_a_file_or_its_base64() {
    let folder = folder();
    let pem = std::fs::read_to_string(folder.0.join("aws.pub")).unwrap();
    let base64: String = pem
        .lines()
        .filter(|line| !line.starts_with('-'))
        .map(str::trim)
        .collect();
    for written in ["aws.pub", &base64] {
        let remote = format!(", public_key = \"{written}\"");
        let (config, _) = load(&folder, ", id = \"aws.example\", key = \"aws.key\"", &remote, "").unwrap();
        let tunnel = &config.tunnels[0];
        assert!(matches!(tunnel.local_auth, LocalAuth::RawKey { .. }));
        let RemoteAuth::RawKey { keys } = &tunnel.remote_auth else {
            panic!("{written}");
        };
        assert_eq!(keys.len(), 1);
    }
}

#[test]
fn one_side_may_have_a_certificate_and_the_other_the_psk() {
    let psk = "psk = { file = \"good.psk\" }";
    let (config, _) = load(&folder(), OURS, "", psk).unwrap();
    assert!(matches!(config.tunnels[0].remote_auth, RemoteAuth::Psk { .. }));
    let (config, _) = load(&folder(), ", id = \"aws.example\"", THEIRS, psk).unwrap();
    assert!(matches!(config.tunnels[0].local_auth, LocalAuth::Psk { .. }));
    let (_, warnings) = load(&folder(), OURS, THEIRS, psk).unwrap();
    assert!(warnings.contains("unused-psk"), "{warnings}");
}

#[test]
fn every_mistake_is_named_and_comes_with_a_remedy() {
    let folder = folder();
    let key = std::fs::read_to_string(folder.0.join("aws.key")).unwrap();
    folder.write("open.key", &key, 0o640);
    folder.write("empty.pem", "nothing\n", 0o600);
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n";
    folder.write("locked.key", locked, 0o600);
    folder.write(
        "bad.pem",
        "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
        0o600,
    );
    let own = |certificate: &str, key: &str| format!(", certificate = \"{certificate}\", key = \"{key}\"");
    for (local, remote, code) in [
        (own("aws.pem", "old.key"), THEIRS, "key-mismatch"),
        (own("aws.pem", "open.key"), THEIRS, "readable-secret"),
        (own("aws.pem", "locked.key"), THEIRS, "encrypted-key"),
        (own("aws.pem", "empty.pem"), THEIRS, "pem-empty"),
        (own("empty.pem", "aws.key"), THEIRS, "pem-empty"),
        (own("none.pem", "aws.key"), THEIRS, "pem-unreadable"),
        (own("bad.pem", "aws.key"), THEIRS, "bad-certificate"),
        (", certificate = \"aws.pem\"".to_owned(), THEIRS, "missing-key"),
        (
            format!("{OURS}, id = \"other.example\""),
            THEIRS,
            "id-not-in-certificate",
        ),
        (format!("{OURS}, signature = \"rsa\""), THEIRS, "bad-choice"),
        (OURS.to_owned(), "", "missing-key"),
        (", id = \"aws.example\"".to_owned(), THEIRS, "missing-key"),
        (OURS.to_owned(), ", ca = []", "empty-list"),
        (
            OURS.to_owned(),
            ", ca = [\"aws.pem\", \"none.pem\"]",
            "pem-unreadable",
        ),
        (OURS.to_owned(), ", ca = \"aws.key\"", "pem-empty"),
        (OURS.to_owned(), ", public_key = \"aws.pem\"", "pem-empty"),
        (
            OURS.to_owned(),
            ", ca = \"aws.pem\", public_key = \"aws.pub\"",
            "two-ways",
        ),
    ] {
        let said = load(&folder, &local, remote, "").map(|_| ()).unwrap_err();
        assert!(
            said.contains(&format!("error[{code}]")),
            "{code}: {local} {remote}\n{said}"
        );
        assert!(said.contains("remedy: "), "{said}");
        assert!(!said.contains("psk` is missing"), "one error is enough:\n{said}");
    }
}

#[test]
fn an_expired_certificate_is_a_warning_to_run_and_an_error_to_check() {
    let folder = folder();
    let local = ", certificate = \"old.pem\", key = \"old.key\"";
    let (_, warnings) = load(&folder, local, THEIRS, "").unwrap();
    assert!(
        warnings.contains("the certificate expired on 2021-01-01T00:00:00Z"),
        "{warnings}"
    );
    let checked = xvpn::config::load(&folder.0.join("xvpn.toml"), Purpose::Check);
    assert!(
        checked
            .unwrap_err()
            .render(false)
            .contains("error[certificate-expired]")
    );
    let (_, warnings) = load(&folder, OURS, ", ca = \"old.pem\"", "").unwrap();
    assert!(warnings.contains("the authority CN=old expired"), "{warnings}");
}

#[test]
fn resumption_is_not_for_peers_whose_certificates_may_be_revoked() {
    let refused = load(&folder(), OURS, THEIRS, "resumption = true").unwrap_err();
    assert!(
        refused.contains("nobody would see that it was revoked"),
        "{refused}"
    );
    assert!(refused.contains("write revocation = \"off\""), "{refused}");
    let accepted = load(&folder(), OURS, THEIRS, "resumption = true\nrevocation = \"off\"");
    assert!(accepted.unwrap().0.tunnels[0].resumption);
    // Our own certificate does not matter to us.
    let accepted = load(&folder(), OURS, ", public_key = \"aws.pub\"", "resumption = true");
    assert!(accepted.unwrap().0.tunnels[0].resumption);
}

/// As long as this, and nothing in it: it takes no room on the disk.
fn hollow(folder: &Folder, name: &str, octets: u64) {
    folder.write(name, "", 0o600);
    let file = std::fs::File::options().write(true).open(folder.0.join(name));
    file.unwrap().set_len(octets).unwrap();
}

#[test]
fn a_file_that_is_too_large_is_refused_with_its_size_and_the_limit() {
    let folder = folder();
    hollow(&folder, "large.pem", (1 << 20) + 1);
    hollow(&folder, "large.crl", (16 << 20) + 1);
    let own = |certificate: &str, key: &str| format!(", certificate = \"{certificate}\", key = \"{key}\"");
    for (local, remote, more, parts) in [
        (
            own("large.pem", "aws.key"),
            THEIRS,
            "",
            ["large.pem", "1048577", "1048576"],
        ),
        (
            own("aws.pem", "large.pem"),
            THEIRS,
            "",
            ["large.pem", "1048577", "1048576"],
        ),
        (
            OURS.to_owned(),
            ", ca = \"large.pem\"",
            "",
            ["large.pem", "1048577", "1048576"],
        ),
        (
            OURS.to_owned(),
            THEIRS,
            "crl = [\"large.crl\"]",
            ["large.crl", "16777217", "16777216"],
        ),
        (
            OURS.to_owned(),
            THEIRS,
            "crl = [\"/dev/zero\"]",
            ["/dev/zero", "more than 16777216", "leave it out of `crl`"],
        ),
    ] {
        let said = load(&folder, &local, remote, more).map(|_| ()).unwrap_err();
        for part in parts {
            assert!(said.contains(part), "{part}:\n{said}");
        }
        assert!(said.contains("remedy: "), "{said}");
    }
}
