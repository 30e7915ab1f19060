//! One xvpn gateway in a namespace: its configuration, its daemon, the commands an operator would type there.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::admin::api::{StatusReport, TunnelState, socket_path};
use crate::admin::client::Client;

use super::daemon::{Daemon, Ended};
use super::namespace::Namespace;
use super::{signal, wait_until};

/// A gateway: files in a directory of its own, and a daemon once it is started.
#[derive(Debug)]
pub struct Gateway<'a> {
    /// The machine it runs on.
    pub machine: &'a Namespace,
    program: PathBuf,
    folder: PathBuf,
    daemon: Option<Daemon>,
}

impl<'a> Gateway<'a> {
    /// Writes `configuration`, in which `STATE_DIR` stands for the state directory and `FOLDER` for the folder of
    /// the configuration, to `folder`; `program` is the xvpn to run.
    pub fn new(
        machine: &'a Namespace,
        program: &Path,
        folder: &Path,
        configuration: &str,
    ) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let gateway = Self {
            machine,
            program: program.to_owned(),
            folder: folder.to_owned(),
            daemon: None,
        };
        gateway.configure(configuration)?;
        Ok(gateway)
    }

    /// Writes another configuration in the place of the first.
    pub fn configure(&self, configuration: &str) -> io::Result<()> {
        let text = configuration
            .replace("STATE_DIR", &self.state_dir().display().to_string())
            .replace("FOLDER", &self.folder.display().to_string());
        write_secret(&self.configuration(), text.as_bytes())
    }

    /// Where its configuration is.
    pub fn configuration(&self) -> PathBuf {
        self.folder.join("xvpn.toml")
    }

    /// Where it keeps its control socket and ledger.
    pub fn state_dir(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Starts `xvpn run` and waits until it takes commands.
    pub fn start(&mut self) -> io::Result<()> {
        let mut command = self.machine.command(&self.program);
        command.arg("run").arg("--config").arg(self.configuration());
        let mut daemon = Daemon::start(self.machine.name(), command, &self.folder.join("log"))?;
        let socket = socket_path(&self.state_dir());
        let ready = wait_until(Duration::from_secs(10), || {
            UnixStream::connect(&socket).is_ok() || !daemon.is_running()
        });
        let running = daemon.is_running();
        self.daemon = Some(daemon);
        if ready && running {
            return Ok(());
        }
        let trouble = if running {
            "takes no commands"
        } else {
            "ended at once"
        };
        Err(io::Error::other(format!(
            "the gateway on {} {trouble}:\n{}",
            self.machine.name(),
            self.log_tail(20)
        )))
    }

    /// Runs `xvpn ARGUMENTS` there and waits for it.
    pub fn xvpn(&self, arguments: &[&str]) -> io::Result<Output> {
        let mut command = self.machine.command(&self.program);
        command.args(arguments).arg("--config").arg(self.configuration());
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let pid = child.id();
        let (done, ended) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            if ended.recv_timeout(COMMAND_PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                // It hangs. That it ends without success is what the caller will see.
                let _ = signal(pid, libc::SIGKILL);
            }
        });
        let output = child.wait_with_output();
        drop(done);
        output
    }

    /// What the daemon says about itself.
    pub fn status(&self) -> io::Result<StatusReport> {
        Client::connect(&self.state_dir())
            .and_then(|mut client| client.status())
            .map_err(io::Error::other)
    }

    /// Waits until its (first) tunnel is in `state`. False if patience is over.
    pub fn wait_for(&self, state: TunnelState, patience: Duration) -> bool {
        wait_until(patience, || {
            self.status()
                .is_ok_and(|status| status.tunnels.first().is_some_and(|tunnel| tunnel.state == state))
        })
    }

    /// The daemon's process.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Daemon::pid)
    }

    /// Whether the daemon runs.
    pub fn is_running(&mut self) -> bool {
        self.daemon.as_mut().is_some_and(Daemon::is_running)
    }

    /// Asks the daemon to end. An error if it does not within `patience`.
    pub fn stop(&mut self, patience: Duration) -> io::Result<Ended> {
        let name = self.machine.name();
        let mut daemon = self
            .daemon
            .take()
            .ok_or_else(|| io::Error::other(format!("{name} was not started")))?;
        let ended = daemon.end(libc::SIGTERM, patience)?;
        ended.ok_or_else(|| {
            io::Error::other(format!(
                "{name} still runs {patience:?} after SIGTERM:\n{}",
                daemon.log_tail(20)
            ))
        })
    }

    /// Ends the daemon as a crash would.
    pub fn crash(&mut self) -> io::Result<()> {
        match self.daemon.take() {
            Some(mut daemon) => {
                signal(daemon.pid(), libc::SIGKILL)?;
                daemon.end(libc::SIGKILL, Duration::from_secs(5)).map(drop)
            }
            None => Ok(()),
        }
    }

    /// Everything its daemons logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The last lines of that.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.log();
        let all: Vec<_> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// Resident memory of the daemon in KiB.
    pub fn resident_memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.split_whitespace().next()?.parse().ok()
    }
}

/// Writes a file that only its owner may read.
pub fn write_secret(path: &Path, octets: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(octets)
}

/// No command takes longer.
const COMMAND_PATIENCE: Duration = Duration::from_secs(90);
