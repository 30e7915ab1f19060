//! What the daemon may do, checked before it tries, and what it gives up.

use caps::{CapSet, Capability};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};

/// A capability the daemon lacks, and what it is wanted for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "xvpn run lacks {capability}, which it needs to {purpose}; start it as root (`sudo xvpn run`), by \
     deploy/systemd/xvpn.service, or once give the binary its capabilities: \
     `sudo setcap cap_net_admin,cap_net_raw,cap_net_bind_service+ep PATH`"
)]
pub struct Missing {
    capability: String,
    purpose: &'static str,
}

/// Checks for every capability a daemon needs. The low ports matter only if `low_ports` are wanted.
pub fn check(low_ports: bool) -> Result<(), Missing> {
    for (capability, purpose) in NEEDED {
        let wanted = low_ports || capability != Capability::CAP_NET_BIND_SERVICE;
        // A capability that cannot be read is tried, and the kernel has the last word.
        if wanted && !caps::has_cap(None, CapSet::Effective, capability).unwrap_or(true) {
            return Err(Missing {
                capability: capability.to_string(),
                purpose,
            });
        }
    }
    Ok(())
}

/// Nothing that holds keys is ever written to a core dump or read by another process of the same user, and no
/// program started from here gains privileges. Returns what could not be had, in words.
pub fn harden() -> Vec<String> {
    let core = setrlimit(Resource::RLIMIT_CORE, 0, 0)
        .err()
        .map(|error| format!("cannot forbid core dumps: {error}"));
    let dump = prctl::set_dumpable(false)
        .err()
        .map(|error| format!("cannot forbid tracing: {error}"));
    let privs = prctl::set_no_new_privs()
        .err()
        .map(|error| format!("cannot forbid new privileges: {error}"));
    [core, dump, privs].into_iter().flatten().collect()
}

/// Gives up every capability of this thread that the daemon does not need once it runs, for good. To be called
/// after the configuration was read and before any thread is started, so that all threads inherit it.
pub fn drop_others() -> Result<(), caps::errors::CapsError> {
    let wanted: caps::CapsHashSet = NEEDED
        .into_iter()
        .map(|(capability, _)| capability)
        .chain(KEPT)
        .collect();
    let held = caps::read(None, CapSet::Permitted)?;
    let kept: caps::CapsHashSet = held.intersection(&wanted).copied().collect();
    caps::clear(None, CapSet::Ambient)?;
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    caps::set(None, CapSet::Inheritable, &caps::CapsHashSet::new())
}

const NEEDED: [(Capability, &str); 3] = [
    (
        Capability::CAP_NET_ADMIN,
        "open TUN interfaces and set addresses and routes",
    ),
    (
        Capability::CAP_NET_RAW,
        "send and receive ESP without UDP (IP protocol 50)",
    ),
    (Capability::CAP_NET_BIND_SERVICE, "listen on UDP 500"),
];

/// Root in a user namespace, or a state directory of another user's: files are written by capability.
const KEPT: [Capability; 1] = [Capability::CAP_DAC_OVERRIDE];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_a_missing_capability_is_for_and_what_to_do() {
        let error = Missing {
            capability: "CAP_NET_ADMIN".into(),
            purpose: NEEDED[0].1,
        }
        .to_string();
        assert!(
            error.contains("CAP_NET_ADMIN") && error.contains("TUN") && error.contains("sudo"),
            "{error}"
        );
    }
}
