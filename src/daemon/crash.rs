//! The secret of Quick Crash Detection (RFC 6290 5.1): made once and kept where neither a crash nor a reboot takes it away, so that a
//! gateway that lost its SAs can tell its peers.

use std::io;
use std::path::Path;

use xvpn_ike::api::Random;
use xvpn_ike::config::Secret;
use zeroize::Zeroizing;

use super::lasting;

/// The secret of an earlier run, or a new one: not one that came here with the image of another machine, for who asks that one for a
/// token could end our SAs with it.
pub fn secret(dir: &Path, random: &mut dyn Random) -> io::Result<Secret> {
    secret_of(dir, &lasting::machine(), random)
}

fn secret_of(dir: &Path, machine: &[u8], random: &mut dyn Random) -> io::Result<Secret> {
    if let Some(octets) = lasting::read(dir, FILE, machine).filter(|octets| octets.len() == LENGTH) {
        return Ok(Secret::new(octets.to_vec()));
    }
    let mut octets = Zeroizing::new(vec![0; LENGTH]);
    random.fill(&mut octets);
    lasting::write(dir, FILE, machine, &octets)?;
    Ok(Secret::new(octets.to_vec()))
}

/// RFC 6290 5.1.
const LENGTH: usize = 32;
const FILE: &str = "crash.key";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

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
}
