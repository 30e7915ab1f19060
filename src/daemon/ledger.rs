//! The ledger: which changes of the host are ours, kept in a file so that a crash does not make them permanent.
//!
//! Every change is in the file, and the file on the disk, before the change is made. What a crashed daemon left is
//! found by the next one, which keeps what it wants itself and undoes the rest.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::route::Route;

/// One change of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A sysctl has this value.
    Sysctl {
        /// Its path below /proc/sys, such as `net/ipv4/ip_forward`.
        key: String,
        /// What it is set to.
        value: String,
    },
    /// An interface has this address.
    Address {
        /// Its name.
        interface: String,
        /// With its prefix length.
        address: IpNet,
    },
    /// The main table has this route.
    Route(Route),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sysctl { key, value } => write!(f, "sysctl {} = {value}", key.replace('/', ".")),
            Self::Address { interface, address } => write!(f, "address {address} on {interface}"),
            Self::Route(route) => write!(f, "route {route}"),
        }
    }
}

/// A change that is ours, and what was there before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The change.
    pub change: Change,
    /// The value it replaced, if it replaced one.
    pub before: Option<String>,
}

/// Why a ledger cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Another daemon lives.
    #[error(
        "another xvpn daemon{pid} already runs with the state directory {}; stop it (`systemctl stop xvpn`, or `kill` its \
         process), or give this one another `gateway.state_dir`", dir.display()
    )]
    Locked {
        /// ` (process 17)`, if it could be told.
        pid: String,
        /// The state directory.
        dir: PathBuf,
    },
    /// The directory or a file in it cannot be made, read or written.
    #[error("cannot {what} {}: {source}; `gateway.state_dir` must be a directory that this user may write", path.display())]
    Io {
        /// To do what.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
}

/// The changes that are ours, in the order they were made, and the lock that keeps other daemons away.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    /// The entries of this run and those it took over.
    pub entries: Vec<Entry>,
    place: Place,
    _lock: Flock<File>,
}

/// The file's contents.
#[derive(Serialize, Deserialize)]
struct Book {
    version: u32,
    place: Place,
    entries: Vec<Entry>,
}

/// Where changes are in force: they end with the boot, and belong to one network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    boot: String,
    namespace: String,
}

impl Ledger {
    /// Takes the state directory for this process alone and reads what an earlier run left.
    pub fn open(state_dir: &Path) -> Result<Self, LedgerError> {
        make_directory(state_dir)?;
        let lock = take_lock(state_dir)?;
        let path = state_dir.join("ledger.json");
        let place = Place::here();
        let entries = match fs::read(&path) {
            Ok(octets) => left_over(&octets, &place, &path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(source) => {
                return Err(LedgerError::Io {
                    what: "read",
                    path,
                    source,
                });
            }
        };
        Ok(Self {
            path,
            entries,
            place,
            _lock: lock,
        })
    }

    /// Brings the file to the disk; when this returns it survives a loss of power.
    pub fn save(&self) -> Result<(), LedgerError> {
        let io = |what, source| LedgerError::Io {
            what,
            path: self.path.clone(),
            source,
        };
        if self.entries.is_empty() {
            return match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io("remove", error)),
                Ok(()) | Err(_) => Ok(()),
            };
        }
        let book = Book {
            version: VERSION,
            place: self.place.clone(),
            entries: self.entries.clone(),
        };
        let octets = serde_json::to_vec_pretty(&book).map_err(|error| io("write", error.into()))?;
        let fresh = self.path.with_extension("new");
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&fresh)?;
            file.write_all(&octets)?;
            file.sync_all()?;
            fs::rename(&fresh, &self.path)?;
            self.path
                .parent()
                .map_or(Ok(()), |dir| File::open(dir)?.sync_all())
        };
        write().map_err(|error| io("write", error))
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // Still locked, so it is ours to remove. If it stays, the next daemon locks it.
        if let Some(dir) = self.path.parent() {
            drop(fs::remove_file(lock_path(dir)));
        }
    }
}

impl Place {
    fn here() -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .unwrap_or_default()
            .trim()
            .to_owned();
        let namespace = fs::read_link("/proc/self/ns/net")
            .map(|link| link.display().to_string())
            .unwrap_or_default();
        Self { boot, namespace }
    }
}

fn left_over(octets: &[u8], here: &Place, path: &Path) -> Vec<Entry> {
    match serde_json::from_slice::<Book>(octets) {
        Ok(book) if book.place == *here && book.version == VERSION => book.entries,
        // After a boot, or in another network namespace, those changes do not exist.
        Ok(_) => Vec::new(),
        Err(error) => {
            tracing::warn!(
                "{} cannot be read ({error}); if an earlier daemon crashed, look for its routes with `ip route`",
                path.display()
            );
            Vec::new()
        }
    }
}

fn make_directory(state_dir: &Path) -> Result<(), LedgerError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(state_dir);
    made.map_err(|source| LedgerError::Io {
        what: "create",
        path: state_dir.to_owned(),
        source,
    })
}

fn take_lock(state_dir: &Path) -> Result<Flock<File>, LedgerError> {
    let path = lock_path(state_dir);
    let io = |what, source| LedgerError::Io {
        what,
        path: path.clone(),
        source,
    };
    loop {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let file = options.open(&path).map_err(|error| io("open", error))?;
        // The kernel lets go of it when the process ends, in whatever way: a stale lock cannot be.
        let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((file, nix::errno::Errno::EWOULDBLOCK)) => return Err(locked(file, state_dir)),
            Err((_, errno)) => return Err(io("lock", errno.into())),
        };
        // A daemon that ends removes the file: what was locked must still be what others will find.
        let held = lock.metadata().map_err(|error| io("read", error))?;
        if !fs::metadata(&path).is_ok_and(|found| found.ino() == held.ino()) {
            continue;
        }
        let written = lock
            .set_len(0)
            .and_then(|()| writeln!(*lock, "{}", std::process::id()));
        written.map_err(|error| io("write", error))?;
        return Ok(lock);
    }
}

fn locked(mut file: File, state_dir: &Path) -> LedgerError {
    let mut text = String::new();
    let read = file.read_to_string(&mut text);
    let pid = read.ok().and_then(|_| text.trim().parse::<u32>().ok());
    let pid = pid.map(|pid| format!(" (process {pid})")).unwrap_or_default();
    LedgerError::Locked {
        pid,
        dir: state_dir.to_owned(),
    }
}

fn lock_path(state_dir: &Path) -> PathBuf {
    state_dir.join("lock")
}

const VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh_dir(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("xvpn-ledger-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        dir
    }

    fn entry() -> Entry {
        let change = Change::Sysctl {
            key: "net/ipv4/ip_forward".into(),
            value: "1".into(),
        };
        Entry {
            change,
            before: Some("0".into()),
        }
    }

    #[test]
    fn what_was_saved_is_found_by_the_next_run() {
        let dir = fresh_dir("found");
        let mut ledger = Ledger::open(&dir).unwrap();
        ledger.entries.push(entry());
        ledger.save().unwrap();
        drop(ledger);
        assert_eq!(Ledger::open(&dir).unwrap().entries, [entry()]);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn refuses_a_second_daemon_and_names_the_first() {
        let dir = fresh_dir("second");
        let _first = Ledger::open(&dir).unwrap();
        let error = Ledger::open(&dir).unwrap_err().to_string();
        assert!(
            error.contains(&format!("process {}", std::process::id())),
            "{error}"
        );
        assert!(error.contains("stop it"), "{error}");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn changes_of_another_boot_or_namespace_are_not_ours_to_undo() {
        let here = Place {
            boot: "a".into(),
            namespace: "net:[1]".into(),
        };
        let book = |place| {
            serde_json::to_vec(&Book {
                version: VERSION,
                place,
                entries: vec![entry()],
            })
            .unwrap()
        };
        let path = Path::new("ledger.json");
        assert_eq!(left_over(&book(here.clone()), &here, path), [entry()]);
        let rebooted = Place {
            boot: "b".into(),
            ..here.clone()
        };
        assert!(left_over(&book(rebooted), &here, path).is_empty());
        let elsewhere = Place {
            namespace: "net:[2]".into(),
            ..here.clone()
        };
        assert!(left_over(&book(elsewhere), &here, path).is_empty());
        assert!(left_over(b"{ torn", &here, path).is_empty());
    }
}
