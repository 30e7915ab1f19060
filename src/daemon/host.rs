//! Changes of the host: made in order, printed, remembered, and undone in reverse order.
//!
//! Nothing that was already so is touched, and so nothing of the operator's is ever undone.

use std::path::Path;

use super::ledger::{Change, Entry, Ledger, LedgerError};
use super::netlink::{Netlink, NetlinkError};
use super::route::Via;

/// Why a change of the host was not made.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The ledger cannot be kept; without it nothing is changed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The kernel refused.
    #[error(
        "{0}; run the daemon as root or with CAP_NET_ADMIN in this network namespace, and if it was, see what the kernel says: \
         `dmesg | tail`"
    )]
    Netlink(#[from] NetlinkError),
    /// Something of the operator's is in the way.
    #[error("cannot set {change}: {conflict}")]
    Conflict {
        /// The change that was wanted.
        change: Change,
        /// What is in its way, and the remedy.
        conflict: String,
    },
    /// A sysctl cannot be written.
    #[error(
        "cannot set {change}: {source}; set it on this machine (in a container: from outside) and write \
         `manage_sysctls = false` under [gateway]"
    )]
    Sysctl {
        /// The change that was wanted.
        change: Change,
        /// The error.
        source: std::io::Error,
    },
}

/// How a change stands to what is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is already so.
    Already,
    /// It is not so; if a value is replaced, this one.
    Wanting(Option<String>),
    /// Something else is in its place.
    Conflict(String),
}

/// The side of the kernel that can be changed. A seam for tests.
#[allow(async_fn_in_trait, reason = "one thread only; no future of it is ever sent")]
pub trait Kernel {
    /// How things stand.
    async fn look(&self, change: &Change) -> Result<Standing, HostError>;
    /// Makes the change.
    async fn perform(&self, change: &Change) -> Result<(), HostError>;
    /// Takes it back. What is gone already is no error; what someone else has changed since is left alone.
    async fn undo(&self, entry: &Entry) -> Result<(), HostError>;
}

/// The host, as changed by this daemon.
#[derive(Debug)]
pub struct Host<K> {
    kernel: K,
    ledger: Ledger,
}

impl<K: Kernel> Host<K> {
    /// Takes the state directory; refuses if another daemon has it.
    pub fn open(state_dir: &Path, kernel: K) -> Result<Self, HostError> {
        let ledger = Ledger::open(state_dir)?;
        if !ledger.entries.is_empty() {
            tracing::warn!(
                "an earlier daemon ended without undoing {} changes of this host; undoing those that are not wanted now",
                ledger.entries.len()
            );
        }
        Ok(Self { kernel, ledger })
    }

    /// Makes the host as wanted: undoes what is ours and no longer wanted, makes what is missing, in the order given.
    pub async fn settle(&mut self, wanted: Vec<Change>) -> Result<(), HostError> {
        self.undo_if(|change| !wanted.contains(change)).await?;
        let (mut to_make, mut fresh) = (Vec::new(), Vec::new());
        for change in wanted {
            match self.kernel.look(&change).await? {
                Standing::Already => {}
                Standing::Conflict(conflict) => return Err(HostError::Conflict { change, conflict }),
                Standing::Wanting(before) => {
                    // Ours, but someone took it away: what was before us is known already.
                    if !self.owns(&change) {
                        fresh.push(Entry {
                            change: change.clone(),
                            before,
                        });
                    }
                    to_make.push(change);
                }
            }
        }
        self.ledger.entries.extend(fresh);
        self.ledger.save()?;
        for change in to_make {
            self.kernel.perform(&change).await?;
            let entry = self.ledger.entries.iter().find(|entry| entry.change == change);
            match entry.and_then(|entry| entry.before.as_ref()) {
                Some(before) => tracing::info!("set {change} (was {before})"),
                None => tracing::info!("added {change}"),
            }
        }
        Ok(())
    }

    /// Undoes everything that is ours. Goes on after an error, and reports the first.
    pub async fn undo(&mut self) -> Result<(), HostError> {
        self.undo_if(|_| true).await
    }

    /// Was this change made by us, or by a daemon before us that crashed?
    pub fn owns(&self, change: &Change) -> bool {
        self.ledger.entries.iter().any(|entry| entry.change == *change)
    }

    /// The changes in force, in words.
    pub fn changes(&self) -> Vec<String> {
        let words = |entry: &Entry| match &entry.before {
            Some(before) => format!("{} (was {before})", entry.change),
            None => entry.change.to_string(),
        };
        self.ledger.entries.iter().map(words).collect()
    }

    async fn undo_if(&mut self, unwanted: impl Fn(&Change) -> bool) -> Result<(), HostError> {
        let (mut kept, mut first) = (Vec::new(), None);
        for entry in self.ledger.entries.drain(..).rev() {
            if !unwanted(&entry.change) {
                kept.push(entry);
                continue;
            }
            match self.kernel.undo(&entry).await {
                Ok(()) => tracing::info!("undone: {}", entry.change),
                Err(error) => {
                    tracing::warn!("cannot undo {}: {error}", entry.change);
                    first.get_or_insert(error);
                    kept.push(entry);
                }
            }
        }
        kept.reverse();
        self.ledger.entries = kept;
        self.ledger.save()?;
        first.map_or(Ok(()), Err)
    }
}

impl Kernel for Netlink {
    async fn look(&self, change: &Change) -> Result<Standing, HostError> {
        match change {
            Change::Sysctl { key, value } => match std::fs::read_to_string(sysctl_path(key)) {
                Ok(found) if found.trim() == value => Ok(Standing::Already),
                Ok(found) => Ok(Standing::Wanting(Some(found.trim().to_owned()))),
                Err(source) => Err(HostError::Sysctl {
                    change: change.clone(),
                    source,
                }),
            },
            // Only ever on our own interface, which was made a moment ago.
            Change::Address { .. } => Ok(Standing::Wanting(None)),
            Change::Route(wanted) => {
                let found = self.routes_to(wanted.destination).await?;
                if found
                    .iter()
                    .any(|route| route.metric == wanted.metric && same_way(&route.via, &wanted.via))
                {
                    return Ok(Standing::Already);
                }
                let rival = found.into_iter().find(|route| match wanted.via {
                    Via::Unreachable => route.metric == wanted.metric,
                    Via::Interface { .. } => route.metric <= wanted.metric,
                });
                Ok(rival.map_or(Standing::Wanting(None), |route| {
                    Standing::Conflict(format!(
                        "the route {route} is there already and would win; delete it (`ip route del {}`), or take {} \
                         from this tunnel's `remote.networks`, or set a lower `metric`",
                        route.destination, route.destination
                    ))
                }))
            }
        }
    }

    async fn perform(&self, change: &Change) -> Result<(), HostError> {
        match change {
            Change::Sysctl { key, value } => {
                std::fs::write(sysctl_path(key), value).map_err(|source| HostError::Sysctl {
                    change: change.clone(),
                    source,
                })
            }
            Change::Address { interface, address } => Ok(self.add_address(interface, *address).await?),
            Change::Route(route) => Ok(self.add_route(route).await?),
        }
    }

    async fn undo(&self, entry: &Entry) -> Result<(), HostError> {
        match &entry.change {
            Change::Sysctl { key, value } => {
                let current = std::fs::read_to_string(sysctl_path(key)).unwrap_or_default();
                let Some(before) = entry.before.as_ref().filter(|_| current.trim() == value) else {
                    // Gone with its interface, or set by someone else since: no longer ours.
                    return Ok(());
                };
                std::fs::write(sysctl_path(key), before).map_err(|source| HostError::Sysctl {
                    change: entry.change.clone(),
                    source,
                })
            }
            Change::Address { interface, address } => Ok(self.delete_address(interface, *address).await?),
            Change::Route(route) => Ok(self.delete_route(route).await?),
        }
    }
}

/// The path of a sysctl; `key` has slashes.
pub fn sysctl_path(key: &str) -> String {
    format!("/proc/sys/{key}")
}

fn same_way(found: &Via, wanted: &Via) -> bool {
    match (found, wanted) {
        (Via::Unreachable, Via::Unreachable) => true,
        (
            Via::Interface {
                name: a, gateway: b, ..
            },
            Via::Interface {
                name: c, gateway: d, ..
            },
        ) => a == c && b == d,
        (Via::Unreachable, Via::Interface { .. }) | (Via::Interface { .. }, Via::Unreachable) => false,
    }
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
