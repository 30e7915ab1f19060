//! The secret of Quick Crash Detection (RFC 6290 5.1): made once, kept in the state directory, so that a gateway that crashed can
//! tell its peers.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use xvpn_ike::api::Random;
use xvpn_ike::config::Secret;
use zeroize::Zeroizing;

/// The secret of an earlier run, or a new one. A file that others could have read or written is not trusted.
pub fn secret(state_dir: &Path, random: &mut dyn Random) -> io::Result<Secret> {
    let path = state_dir.join(FILE);
    if let Some(octets) = read(&path) {
        return Ok(Secret::new(octets.to_vec()));
    }
    let mut octets = Zeroizing::new(vec![0; LENGTH]);
    random.fill(&mut octets);
    // Whole or not at all: half a secret would be a guessable one.
    let fresh = state_dir.join(FRESH);
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
    file.sync_all()?;
    fs::rename(&fresh, &path)?;
    Ok(Secret::new(octets.to_vec()))
}

fn read(path: &Path) -> Option<Zeroizing<Vec<u8>>> {
    let file = fs::symlink_metadata(path).ok()?;
    let private = file.is_file() && file.mode() & 0o077 == 0 && file.uid() == nix::unistd::geteuid().as_raw();
    let octets = Zeroizing::new(fs::read(path).ok().filter(|_| private)?);
    (octets.len() == LENGTH).then_some(octets)
}

/// RFC 6290 5.1.
const LENGTH: usize = 32;
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
        fs::create_dir_all(&dir).unwrap();
        let mut random = Counting(0);
        let first = secret(&dir, &mut random).unwrap();
        assert_eq!(first.expose(), [1; LENGTH]);
        assert!(secret(&dir, &mut random).unwrap() == first);
        fs::set_permissions(dir.join(FILE), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(secret(&dir, &mut random).unwrap() != first);
        fs::write(dir.join(FILE), [1; 7]).unwrap();
        assert_eq!(secret(&dir, &mut random).unwrap().expose().len(), LENGTH);
        fs::remove_dir_all(&dir).unwrap();
    }
}
