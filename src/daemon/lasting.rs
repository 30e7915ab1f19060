//! Secrets that outlive the process, in files of a directory that neither a crash nor a reboot takes away.
//!
//! A file that others could have read or written is not trusted, nor one that came here with the image of another machine.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::config::defaults::STATE_DIR;

/// Where they are: not in /run, which a reboot empties. A gateway with a state directory of its own has its secrets there: two
/// gateways must never have the same ones (RFC 6290 9.2).
pub fn directory(state_dir: &Path) -> PathBuf {
    if state_dir == Path::new(STATE_DIR) {
        PathBuf::from(LASTING_DIR)
    } else {
        state_dir.to_owned()
    }
}

/// What differs between two machines made from one image.
pub fn machine() -> Vec<u8> {
    fs::read(MACHINE_ID).unwrap_or_default()
}

/// What an earlier run has kept under this name.
pub fn read(dir: &Path, name: &str, machine: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let path = dir.join(name);
    let file = fs::symlink_metadata(&path).ok()?;
    let private = file.is_file() && file.mode() & 0o077 == 0 && file.uid() == nix::unistd::geteuid().as_raw();
    let octets = Zeroizing::new(fs::read(&path).ok().filter(|_| private)?);
    let secret = octets.strip_suffix(machine)?;
    Some(Zeroizing::new(secret.to_vec()))
}

/// Keeps it, whole or not at all: half a secret would be a guessable one.
pub fn write(dir: &Path, name: &str, machine: &[u8], secret: &[u8]) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let fresh = dir.join(format!("{name}.new"));
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(secret)?;
    file.write_all(machine)?;
    file.sync_all()?;
    fs::rename(&fresh, dir.join(name))
}

/// `StateDirectory=` of the systemd unit.
const LASTING_DIR: &str = "/var/lib/xvpn";
const MACHINE_ID: &str = "/etc/machine-id";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reboot_does_not_take_a_secret_away_and_no_two_gateways_share_it() {
        assert_eq!(directory(Path::new("/run/xvpn")), Path::new("/var/lib/xvpn"));
        assert_eq!(directory(Path::new("/run/other")), Path::new("/run/other"));
    }
}
