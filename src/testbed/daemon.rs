//! A program under observation in a namespace: started, its log kept, asked to end, seen to end.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::{sys, wait_until};

/// A running child process with its log file. Killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

/// How a daemon ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// How long it took.
    pub after: Duration,
}

impl Daemon {
    /// Starts `command`; both its outputs are appended to `log`.
    pub fn start(name: &str, mut command: Command, log: &Path) -> io::Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let child = command.spawn()?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    /// Its name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Everything it logged.
    pub fn log(&self) -> String {
        fs::read(&self.log)
            .map(|octets| String::from_utf8_lossy(&octets).into_owned())
            .unwrap_or_default()
    }

    /// The last `lines` lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<_> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Waits until its log has `text`. False if it ended or patience is over.
    pub fn wait_for_log(&mut self, text: &str, patience: Duration) -> bool {
        wait_until(patience, || self.log().contains(text) || !self.is_running()) && self.log().contains(text)
    }

    /// Sends `signal` and waits for the end. `None`: it still runs after `patience`.
    pub fn end(&mut self, signal: i32, patience: Duration) -> io::Result<Option<Ended>> {
        let asked = Instant::now();
        sys::signal(self.pid(), signal)?;
        while asked.elapsed() < patience {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(Ended {
                    status,
                    after: asked.elapsed(),
                }));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(None)
    }
}

/// Ends and reaps the process `pid`, which some child of ours left behind. False if it still runs after `patience`.
pub fn end_orphan(pid: u32, signal: i32, patience: Duration) -> bool {
    // Gone already is well, too.
    let _ = sys::signal(pid, signal);
    wait_until(patience, || sys::reap(pid))
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // An ended child cannot be killed, and that is well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
