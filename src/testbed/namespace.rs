//! Network namespaces: a machine for the price of a descriptor.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use super::{link, sys};

/// A network namespace. It lives as long as this value or a process in it does.
///
/// Concurrency: shared freely; every [`run`](Self::run) has a thread of its own.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    descriptor: File,
}

impl Namespace {
    /// A new, empty namespace with its loopback up.
    pub fn new(name: &str) -> io::Result<Self> {
        let descriptor = on_a_thread(|| {
            sys::unshare(libc::CLONE_NEWNET)?;
            link::set_up("lo")?;
            // Nobody else is on these wires: no second of waiting for link-local addresses.
            link::set_sysctl("net/ipv6/conf/all/accept_dad", "0")?;
            link::set_sysctl("net/ipv6/conf/default/accept_dad", "0")?;
            File::open("/proc/thread-self/ns/net")
        })?;
        Ok(Self {
            name: name.to_owned(),
            descriptor,
        })
    }

    /// What we call it; the kernel does not know.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` inside: sockets it opens and sysctls it writes belong to this namespace. Fails only if the
    /// namespace cannot be entered.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_a_thread(|| {
            sys::enter_network(self.descriptor.as_fd())?;
            Ok(work())
        })
    }

    /// Starts `work` inside on a thread that is not waited for.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<thread::JoinHandle<io::Result<T>>> {
        let descriptor = self.descriptor.try_clone()?;
        Ok(thread::spawn(move || {
            sys::enter_network(descriptor.as_fd())?;
            Ok(work())
        }))
    }

    /// A command that will run inside, in its own process group. It is killed when the calling thread ends, so
    /// that an aborted run leaves no process behind.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        sys::start_in(&mut command, self.descriptor.as_raw_fd(), true);
        command
    }

    /// Where `nsenter --net=PATH` finds it while this process lives.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.descriptor.as_raw_fd()).into()
    }

    /// The descriptor that keeps it alive.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let worker = scope.spawn(work);
        worker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
