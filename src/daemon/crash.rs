//! The secret of Quick Crash Detection (RFC 6290 5.1): made once and kept where neither a crash nor a reboot takes it away, so that a
//! gateway that lost its SAs can tell its peers.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use xvpn_ike::api::Random;
use xvpn_ike::config::Secret;
use zeroize::Zeroizing;

use crate::config::defaults::STATE_DIR;

/// Where the secret is. RFC 6290 5 wants it after a reboot, too, which empties /run. A gateway with a state directory of its own has
/// its secret there: two gateways must never have the same one (RFC 6290 9.2).
pub fn directory(state_dir: &Path) -> PathBuf {
    if state_dir == Path::new(STATE_DIR) {
        PathBuf::from(LASTING_DIR)
    } else {
        state_dir.to_owned()
    }
}

/// The secret of an earlier run, or a new one. A file that others could have read or written is not trusted, nor one that came here
/// with the image of another machine: who asks that one for a token could end our SAs with it.
pub fn secret(dir: &Path, random: &mut dyn Random) -> io::Result<Secret> {
    let machine = fs::read(MACHINE_ID).unwrap_or_default();
    secret_of(dir, &machine, random)
}

fn secret_of(dir: &Path, machine: &[u8], random: &mut dyn Random) -> io::Result<Secret> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let path = dir.join(FILE);
    if let Some(octets) = read(&path, machine) {
        return Ok(Secret::new(octets.to_vec()));
    }
    let mut octets = Zeroizing::new(vec![0; LENGTH]);
    random.fill(&mut octets);
    // Whole or not at all: half a secret would be a guessable one.
    let fresh = dir.join(FRESH);
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)?;
    file.write_all(&octets)?;
    file.write_all(machine)?;
    file.sync_all()?;
    fs::rename(&fresh, &path)?;
    Ok(Secret::new(octets.to_vec()))
}

fn read(path: &Path, machine: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let file = fs::symlink_metadata(path).ok()?;
    let private = file.is_file() && file.mode() & 0o077 == 0 && file.uid() == nix::unistd::geteuid().as_raw();
    let octets = Zeroizing::new(fs::read(path).ok().filter(|_| private)?);
    let (secret, of) = octets.split_at_checked(LENGTH)?;
    (of == machine).then(|| Zeroizing::new(secret.to_vec()))
}

/// RFC 6290 5.1.
const LENGTH: usize = 32;
/// `StateDirectory=` of the systemd unit.
const LASTING_DIR: &str = "/var/lib/xvpn";
/// What differs between two machines made from one image.
const MACHINE_ID: &str = "/etc/machine-id";
const FILE: &str = "crash.key";
const FRESH: &str = "crash.key.new";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    struct Counting(u8);

    impl Random for Counting {
        fn fill(&mut self, out: &mut [u8]) {
            self.0 += 1;
            out.fill(self.0);
        }
    }

    #[test]
    fn keeps_the_secret_over_restarts_unless_others_may_have_read_it() {
        let dir = std::env::temp_dir().join(format!("xvpn-crash-{}", std::process::id()));
        let mut random = Counting(0);
        let first = secret(&dir, &mut random).unwrap();
        assert_eq!(first.expose(), [1; LENGTH]);
        assert!(secret(&dir, &mut random).unwrap() == first);
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700);
        fs::set_permissions(dir.join(FILE), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(secret(&dir, &mut random).unwrap() != first);
        // The image of this machine became another one.
        let other = secret_of(&dir, b"another", &mut random).unwrap();
        assert!(other != first);
        assert!(secret_of(&dir, b"another", &mut random).unwrap() == other);
        fs::write(dir.join(FILE), [1; 7]).unwrap();
        assert_eq!(secret(&dir, &mut random).unwrap().expose().len(), LENGTH);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_reboot_does_not_take_the_secret_away_and_no_two_gateways_share_it() {
        assert_eq!(directory(Path::new("/run/xvpn")), Path::new("/var/lib/xvpn"));
        assert_eq!(directory(Path::new("/run/other")), Path::new("/run/other"));
    }
}
