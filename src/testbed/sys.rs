//! The kernel calls that std has no word for: namespaces, signals, socket options. The only file of the test bed
//! with `unsafe` in it.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// Leaves the namespaces in `flags` (`CLONE_NEW*`) for new ones. `CLONE_NEWUSER` needs a single-threaded process.
pub(super) fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: takes an integer, touches no memory of ours.
    checked(unsafe { libc::unshare(flags) }).map(drop)
}

/// Moves the calling thread into the network namespace behind `namespace`.
pub(super) fn enter_network(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes an open descriptor and an integer.
    checked(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) }).map(drop)
}

/// Lets mounts made from here on stay in this mount namespace.
pub(super) fn make_mounts_private() -> io::Result<()> {
    let root = c"/";
    // SAFETY: the path is a NUL-terminated string that outlives the call; the other pointers may be null.
    checked(unsafe {
        let none = std::ptr::null();
        libc::mount(
            none,
            root.as_ptr(),
            none,
            libc::MS_REC | libc::MS_PRIVATE,
            none.cast(),
        )
    })
    .map(drop)
}

/// The child will run in `namespace`, in a process group of its own (so that Ctrl-C reaches only us), and will be
/// killed if the thread that starts it dies.
pub(super) fn start_in(command: &mut Command, namespace: RawFd, die_with_us: bool) {
    command.process_group(0);
    // SAFETY: only async-signal-safe system calls between fork and exec; the descriptor stays open in the parent.
    unsafe {
        command.pre_exec(move || {
            checked(libc::setns(namespace, libc::CLONE_NEWNET))?;
            if die_with_us {
                checked(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
            }
            Ok(())
        });
    }
}

/// Orphans among our descendants become our children, so that they can be found and ended.
pub(super) fn adopt_orphans() -> io::Result<()> {
    // SAFETY: integers only.
    checked(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) }).map(drop)
}

/// Sends `signal` to the process `pid`.
pub(super) fn signal(pid: u32, signal: libc::c_int) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: integers only.
    checked(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Sends `signal` to the process group that `pid` leads.
pub(super) fn signal_group(pid: u32, signal: libc::c_int) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: integers only.
    checked(unsafe { libc::killpg(pid, signal) }).map(drop)
}

/// Reaps `pid` if it is an ended child of ours (adopted ones included). True when it is gone.
pub(super) fn reap(pid: u32) -> bool {
    let Ok(id) = libc::pid_t::try_from(pid) else {
        return true;
    };
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    let reaped = unsafe { libc::waitpid(id, &raw mut status, libc::WNOHANG) };
    reaped == id || signal(pid, 0).is_err()
}

/// Our effective user and group.
pub(super) fn user_and_group() -> (u32, u32) {
    // SAFETY: no arguments, cannot fail.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// The index of the interface `name` in the calling thread's network namespace.
pub(super) fn interface_index(name: &str) -> io::Result<u32> {
    let name = CString::new(name).map_err(io::Error::other)?;
    // SAFETY: a NUL-terminated string that outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// Sets an integer socket option.
pub(super) fn set_option(socket: &impl AsRawFd, level: i32, option: i32, value: i32) -> io::Result<()> {
    let size = libc::socklen_t::try_from(size_of::<i32>()).map_err(io::Error::other)?;
    // SAFETY: pointer and length describe `value`, which outlives the call.
    checked(unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), size) })
        .map(drop)
}

/// Turns one offload of an interface on or off (`ETHTOOL_S*`, linux/ethtool.h).
pub(super) fn set_offload(socket: &impl AsRawFd, name: &str, command: u32, on: bool) -> io::Result<()> {
    ethtool(socket, name, &mut [command, u32::from(on)])
}

/// Performs an ethtool request (linux/ethtool.h) on the interface `name`; the answer is written over it.
pub(super) fn ethtool(socket: &impl AsRawFd, name: &str, words: &mut [u32]) -> io::Result<()> {
    // SAFETY: an all-zero ifreq is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, byte) in request
        .ifr_name
        .iter_mut()
        .take(libc::IFNAMSIZ - 1)
        .zip(name.bytes())
    {
        *slot = byte.cast_signed();
    }
    request.ifr_ifru.ifru_data = words.as_mut_ptr().cast();
    // SAFETY: the request and the words outlive the call, and the latter have the room that they say they have.
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) }).map(drop)
}

/// From now on SIGINT, SIGTERM and SIGHUP are remembered instead of ending us; see [`interrupted`].
pub(super) fn remember_interrupts() -> io::Result<()> {
    extern "C" fn remember(_: libc::c_int) {
        INTERRUPTED.store(true, Ordering::Relaxed);
    }
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: the handler only stores to an atomic; an all-zero sigaction is a valid one.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = remember as *const () as libc::sighandler_t;
            checked(libc::sigaction(signal, &raw const action, std::ptr::null_mut()))?;
        }
    }
    Ok(())
}

/// Whether one of the signals of [`remember_interrupts`] came.
pub(super) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Forgets that one came.
pub(super) fn forget_interrupt() {
    INTERRUPTED.store(false, Ordering::Relaxed);
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
const SIOCETHTOOL: libc::c_ulong = 0x8946;
