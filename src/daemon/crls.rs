//! CRL files are looked into again when they change: whoever revokes a certificate shall not have to restart the gateway.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use xvpn_ike::api::{Command, Input};
use xvpn_ike::auth::x509::crl::Crl;
use xvpn_ike::config::ConnectionId;

use super::supervisor::Supervisor;
use crate::config::crls::{self, BadCrl};

/// The files as they were when they were last read.
#[derive(Debug, Default)]
pub struct CrlFiles {
    seen: BTreeMap<PathBuf, Option<Stamp>>,
    looked: Option<Instant>,
}

/// What changes with a file's contents.
type Stamp = (SystemTime, u64, u64);

impl CrlFiles {
    /// Whether it is time to look.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = self
            .looked
            .is_none_or(|at| now.saturating_duration_since(at) >= BETWEEN_LOOKS);
        if due {
            self.looked = Some(now);
        }
        due
    }

    /// The CRLs of these files, if one of them is not as it was; an error is told once for each change.
    fn changed(&mut self, paths: &[PathBuf]) -> Option<Result<Vec<Arc<Crl>>, BadCrl>> {
        let mut changed = false;
        for path in paths {
            let stamp = stamp(path);
            changed |= self.seen.insert(path.clone(), stamp) != Some(stamp);
        }
        let read = || {
            let crls = paths.iter().map(|path| crls::read(path));
            Ok(crls.collect::<Result<Vec<_>, _>>()?.concat())
        };
        changed.then(read)
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let file = fs::metadata(path).ok()?;
    Some((file.modified().ok()?, file.len(), file.ino()))
}

impl Supervisor {
    /// Once a minute: new CRLs count from the next negotiation on. Files that are of no use leave the old ones in force.
    pub(super) fn look_for_crls(&mut self) {
        if !self.crls.is_due(Instant::now()) {
            return;
        }
        let mut news: Vec<(ConnectionId, Vec<Arc<Crl>>)> = Vec::new();
        // Of each tunnel, as they were before any is looked at: tunnels may share files.
        let before = std::mem::take(&mut self.crls.seen);
        for (id, tunnel) in &mut self.tunnels {
            let mut files = CrlFiles {
                seen: before.clone(),
                looked: None,
            };
            let name = &tunnel.config.name;
            match files.changed(&tunnel.config.crl_files) {
                Some(Ok(crls)) if crls != tunnel.config.revocation.crls => {
                    tracing::info!("tunnel {name}: the CRL files have changed and were read again");
                    tunnel.config.revocation.crls.clone_from(&crls);
                    news.push((*id, crls));
                }
                Some(Err(error)) => {
                    let remedy = error.remedy();
                    tracing::warn!(
                        "tunnel {name}: {error}; the CRLs read before stay in force; remedy: {remedy}"
                    );
                }
                Some(Ok(_)) | None => {}
            }
            self.crls.seen.extend(files.seen);
        }
        for (connection, crls) in news {
            self.handle(Input::Command(Command::Crls { connection, crls }));
        }
    }
}

/// A revocation is not known earlier than by the next negotiation in any case.
const BETWEEN_LOOKS: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(name: &str) -> PathBuf {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("ike/tests/vectors/revocation");
        folder.join(name)
    }

    #[test]
    fn files_are_read_again_when_they_change_and_only_then() {
        let dir = std::env::temp_dir().join(format!("xvpn-crls-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (one, other) = (dir.join("one.crl"), dir.join("other.crl"));
        fs::copy(vector("complete.crl"), &one).unwrap();
        fs::copy(vector("point.crl"), &other).unwrap();
        let paths = [one.clone(), other.clone()];
        let mut files = CrlFiles::default();
        let first = files.changed(&paths).unwrap().unwrap();
        assert_eq!(first.len(), 2);
        assert!(files.changed(&paths).is_none());
        // Another one takes its place, as a careful script does it.
        fs::copy(vector("stale.crl"), dir.join("new")).unwrap();
        fs::rename(dir.join("new"), &one).unwrap();
        let second = files.changed(&paths).unwrap().unwrap();
        assert_ne!(first, second);
        assert!(files.changed(&paths).is_none());
        // Rubbish is told once, and so is a file that is gone.
        fs::write(&one, "rubbish").unwrap();
        assert!(matches!(files.changed(&paths), Some(Err(BadCrl::Useless { .. }))));
        assert!(files.changed(&paths).is_none());
        fs::remove_file(&one).unwrap();
        assert!(matches!(
            files.changed(&paths),
            Some(Err(BadCrl::Unreadable { .. }))
        ));
        assert!(files.changed(&paths).is_none());
        fs::copy(vector("complete.crl"), &one).unwrap();
        assert_eq!(files.changed(&paths).unwrap().unwrap(), first);
        fs::remove_dir_all(&dir).unwrap();
    }
}
