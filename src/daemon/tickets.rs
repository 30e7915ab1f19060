//! The keys that seal the tickets of session resumption (RFC 5723 6.1, 6.2): a new one every day, and the one before opens what it has
//! sealed, for no ticket is good for longer than a day. They are kept on the disk, or a gateway that crashed could resume nothing; an
//! old one is overwritten there, and what it had sealed is lost with it.

use std::io;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use xvpn_ike::api::{Command, Input, Random};
use xvpn_ike::config::Secret;
use zeroize::Zeroizing;

use super::connection::OsRandom;
use super::lasting;
use super::supervisor::Supervisor;

/// The keys, the newest first.
#[derive(Debug)]
pub struct TicketKeys {
    dir: PathBuf,
    machine: Vec<u8>,
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    /// In seconds since 1970.
    made: u64,
    secret: Secret,
}

impl TicketKeys {
    /// Those of an earlier run, as far as they are still of use.
    pub fn open(dir: PathBuf) -> Self {
        Self::of(dir, lasting::machine())
    }

    fn of(dir: PathBuf, machine: Vec<u8>) -> Self {
        let kept = lasting::read(&dir, FILE, &machine).unwrap_or_default();
        let (records, rest) = kept.as_chunks::<RECORD>();
        let whole = rest.is_empty() && records.len() <= KEPT;
        let key = |record: &[u8; RECORD]| {
            let (made, secret) = record.split_first_chunk::<8>()?;
            Some(Key {
                made: u64::from_be_bytes(*made),
                secret: Secret::new(secret.to_vec()),
            })
        };
        let keys = records.iter().filter_map(key).filter(|_| whole).collect();
        Self { dir, machine, keys }
    }

    /// What the protocol needs of them.
    pub fn secrets(&self) -> Vec<Secret> {
        self.keys.iter().map(|key| key.secret.clone()).collect()
    }

    /// Makes a new key if it is time. Whether there is one. A key that cannot be kept on the disk is used all the same: what it seals is
    /// lost when the gateway ends.
    pub fn rotate(&mut self, now: u64, random: &mut dyn Random) -> (bool, io::Result<()>) {
        let before = self.keys.len();
        // A clock that was wrong when a key was made, or is now, must not keep that key for ever.
        self.keys.retain(|key| now.abs_diff(key.made) < 2 * PERIOD);
        let fresh = |key: &Key| now.abs_diff(key.made) < PERIOD;
        if self.keys.first().is_some_and(fresh) && self.keys.len() == before {
            return (false, Ok(()));
        }
        if !self.keys.first().is_some_and(fresh) {
            let mut octets = Zeroizing::new(vec![0; LENGTH]);
            random.fill(&mut octets);
            let secret = Secret::new(octets.to_vec());
            self.keys.insert(0, Key { made: now, secret });
            self.keys.truncate(KEPT);
        }
        (true, self.keep())
    }

    fn keep(&self) -> io::Result<()> {
        let mut octets = Zeroizing::new(Vec::with_capacity(KEPT * RECORD));
        for key in &self.keys {
            octets.extend(key.made.to_be_bytes());
            octets.extend_from_slice(key.secret.expose());
        }
        lasting::write(&self.dir, FILE, &self.machine, &octets)
    }
}

impl Supervisor {
    /// Gives the protocol the keys of the tickets, those of an earlier run or new ones, if there are tickets at all.
    pub(super) fn begin_with_ticket_keys(&mut self) {
        self.rotate_ticket_keys();
        self.give_ticket_keys();
    }

    /// Replaces the key of the tickets once a day.
    pub(super) fn rotate_ticket_keys(&mut self) {
        let Some(keys) = &mut self.ticket_keys else {
            return;
        };
        let (Ok(now), Ok(mut random)) = (SystemTime::now().duration_since(UNIX_EPOCH), OsRandom::open())
        else {
            return;
        };
        let (changed, kept) = keys.rotate(now.as_secs(), &mut random);
        if let Err(error) = kept {
            tracing::warn!(
                "cannot keep the key of the tickets in {} ({error}): after a restart peers will begin anew; let this user write there",
                keys.dir.display()
            );
        }
        if changed {
            self.give_ticket_keys();
        }
    }

    fn give_ticket_keys(&mut self) {
        if let Some(secrets) = self.ticket_keys.as_ref().map(TicketKeys::secrets) {
            self.handle(Input::Command(Command::TicketKeys(secrets)));
        }
    }
}

/// In seconds: longer than the usual IKE SA lives (RFC 5723 6.2), and as long as a ticket is good at most.
const PERIOD: u64 = 24 * 3600;
/// The one that seals and the one before.
const KEPT: usize = 2;
const LENGTH: usize = 32;
const RECORD: usize = 8 + LENGTH;
const FILE: &str = "ticket.key";

#[cfg(test)]
mod tests {
    use super::*;

    struct Counting(u8);

    impl Random for Counting {
        fn fill(&mut self, out: &mut [u8]) {
            self.0 += 1;
            out.fill(self.0);
        }
    }

    fn numbers(keys: &TicketKeys) -> Vec<u8> {
        let first = |secret: &Secret| secret.expose().first().copied();
        keys.secrets().iter().filter_map(first).collect()
    }

    #[test]
    fn a_key_seals_for_a_day_opens_for_another_and_is_gone_then() {
        let dir = std::env::temp_dir().join(format!("xvpn-tickets-{}", std::process::id()));
        let (machine, mut random, day) = (b"machine".to_vec(), Counting(0), PERIOD);
        let now = 1_767_225_600;
        let open = |machine: &[u8]| TicketKeys::of(dir.clone(), machine.to_vec());
        let mut keys = open(&machine);
        assert!(numbers(&keys).is_empty());
        assert!(keys.rotate(now, &mut random).0);
        assert!(!keys.rotate(now + day - 1, &mut random).0);
        assert!(keys.rotate(now + day, &mut random).0);
        assert_eq!(numbers(&keys), [2, 1]);
        // After a crash they are there, for this machine.
        assert_eq!(numbers(&open(&machine)), [2, 1]);
        assert!(numbers(&open(b"image")).is_empty());
        // The older one goes when it is two days old, from the disk too.
        assert!(keys.rotate(now + 2 * day, &mut random).0);
        assert_eq!(numbers(&open(&machine)), [3, 2]);
        let mut late = open(&machine);
        assert!(late.rotate(now + 10 * day, &mut random).0);
        assert_eq!(numbers(&open(&machine)), [4]);
        // A clock that was set back by years makes a new one, too.
        assert!(late.rotate(now - 1000 * day, &mut random).0);
        assert_eq!(numbers(&late), [5]);
        // Where nothing can be kept the key is used all the same.
        let mut nowhere = TicketKeys::of("/proc/nowhere".into(), machine);
        let (changed, kept) = nowhere.rotate(now, &mut random);
        assert!(changed && kept.is_err() && numbers(&nowhere) == [6]);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
