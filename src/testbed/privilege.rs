//! Getting a network of our own: as root by leaving the machine's, otherwise inside a user namespace.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;

use super::sys;

/// Leaves the machine's network and mount namespaces (and, without root, its user namespace) for private ones, and
/// makes sure that TUN interfaces can be made there. To be called while the process is single-threaded.
pub fn enter() -> Result<(), Refused> {
    let (user, group) = sys::user_and_group();
    let networks = libc::CLONE_NEWNET | libc::CLONE_NEWNS;
    if user == 0 {
        sys::unshare(networks).map_err(Refused::Namespaces)?;
    } else {
        sys::unshare(networks | libc::CLONE_NEWUSER).map_err(Refused::UserNamespaces)?;
        become_root(user, group).map_err(Refused::UserNamespaces)?;
    }
    sys::make_mounts_private().map_err(Refused::Namespaces)?;
    sys::adopt_orphans().map_err(Refused::Namespaces)?;
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(TUN)
        .map_err(Refused::Tun)?;
    Ok(())
}

/// Whether we are root on the machine itself, not only in a user namespace.
pub fn is_machine_root() -> bool {
    fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]))
}

/// user_namespaces(7): outside we stay who we are, inside we are root.
fn become_root(user: u32, group: u32) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}

/// Why this machine gives us no network of our own. `Display` says what to do about it.
#[derive(Debug)]
pub enum Refused {
    /// Root, but not allowed to make namespaces (a container without CAP_SYS_ADMIN).
    Namespaces(io::Error),
    /// Not root, and user namespaces are switched off or confined.
    UserNamespaces(io::Error),
    /// No TUN interfaces.
    Tun(io::Error),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespaces(error) => write!(
                f,
                "this machine does not let root make network namespaces ({error}).\n  \
                 In a container: start it with --privileged, or with --cap-add SYS_ADMIN --cap-add NET_ADMIN \
                 --device /dev/net/tun."
            ),
            Self::UserNamespaces(error) => {
                write!(
                    f,
                    "this machine does not let users make namespaces ({error}).\n  Either run it with sudo"
                )?;
                for (setting, value) in SETTINGS {
                    let path = format!("/proc/sys/{}", setting.replace('.', "/"));
                    if fs::read_to_string(path).is_ok_and(|now| now.trim() != value) {
                        write!(f, ", or allow it: sudo sysctl -w {setting}={value}")?;
                    }
                }
                f.write_str(".")
            }
            Self::Tun(error) if error.kind() == io::ErrorKind::PermissionDenied => write!(
                f,
                "{TUN} is not open to this user ({error}).\n  Either run it with sudo, or open it to all users, as \
                 most distributions do: sudo chmod 0666 {TUN}."
            ),
            Self::Tun(error) => write!(
                f,
                "{TUN} cannot be opened ({error}).\n  Load the module: sudo modprobe tun. In a container: start it \
                 with --device {TUN}."
            ),
        }
    }
}

impl std::error::Error for Refused {}

const TUN: &str = "/dev/net/tun";

/// Switches that keep users from making namespaces, with the value that allows it.
const SETTINGS: [(&str, &str); 2] = [
    ("kernel.unprivileged_userns_clone", "1"),
    ("kernel.apparmor_restrict_unprivileged_userns", "0"),
];
