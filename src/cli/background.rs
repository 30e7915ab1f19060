//! Starts the daemon where none runs: `xvpn up` on a host without systemd, or before the service was enabled.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::terminal::Style;
use super::{Exit, Global, complain, complain_of};
use crate::admin::client::{Client, ClientError};
use crate::config::{self, Purpose};

/// Connects to the daemon, and starts it first if it does not run.
pub(super) fn connect_or_start(global: &Global, state_dir: &Path) -> Result<Client, Exit> {
    match Client::connect(state_dir) {
        Ok(client) => Ok(client),
        Err(ClientError::NoDaemon(_)) => start(global, state_dir),
        Err(error) => Err(complain_of(&error)),
    }
}

fn start(global: &Global, state_dir: &Path) -> Result<Client, Exit> {
    // What is wrong with the configuration is better said here, in colour, than found in a log.
    if let Err(report) = config::load(&global.config, Purpose::Run) {
        eprint!("{}", report.render(Style::stderr().is_coloured()));
        return Err(Exit::Configuration);
    }
    let (log_path, mut log, before) = open_log(state_dir).map_err(|error| {
        let remedy =
            "run the command as root, or set gateway.state_dir to a directory that this user can write";
        complain(
            &format!("cannot write to {}: {error}", state_dir.display()),
            remedy,
        );
        Exit::Failed
    })?;
    let mut child = spawn(global, &log).map_err(|error| {
        complain(
            &format!("cannot start the gateway: {error}"),
            "start it with `systemctl start xvpn` or `xvpn run`",
        );
        Exit::Failed
    })?;
    eprintln!(
        "no gateway was running: started one (process {}, log {})",
        child.id(),
        log_path.display()
    );
    match wait_for_socket(&mut child, state_dir) {
        Ok(client) => Ok(client),
        Err(Waited::Died(status)) => {
            let said = read_from(&mut log, before).unwrap_or_default();
            eprint!("{said}");
            complain(
                &format!("the gateway ended while it started ({status})"),
                if said.trim().is_empty() {
                    "run it in the foreground to see why: xvpn run"
                } else {
                    "correct what it says above"
                },
            );
            let configuration = status.code() == Some(Exit::Configuration as i32);
            Err(if configuration {
                Exit::Configuration
            } else {
                Exit::Failed
            })
        }
        Err(Waited::TooLong) => {
            let remedy = format!("see what it does: {}", log_path.display());
            complain(
                &format!(
                    "the gateway did not open its socket within {} s",
                    PATIENCE.as_secs()
                ),
                &remedy,
            );
            Err(Exit::Failed)
        }
        Err(Waited::Trouble(error)) => Err(complain_of(&error)),
    }
}

enum Waited {
    Died(ExitStatus),
    TooLong,
    Trouble(ClientError),
}

fn open_log(state_dir: &Path) -> io::Result<(PathBuf, File, u64)> {
    DirBuilder::new().recursive(true).mode(0o755).create(state_dir)?;
    let path = state_dir.join(LOG_NAME);
    let mut log = OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .mode(0o600)
        .open(&path)?;
    let end = log.seek(SeekFrom::End(0))?;
    Ok((path, log, end))
}

fn spawn(global: &Global, log: &File) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["run", "--detach", "--config"])
        .arg(std::path::absolute(&global.config)?);
    if let Some(filter) = &global.log {
        command.args(["--log", filter]);
    }
    // It must not keep a directory busy that the operator happens to stand in.
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?)
        .spawn()
}

fn wait_for_socket(child: &mut Child, state_dir: &Path) -> Result<Client, Waited> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        match Client::connect(state_dir) {
            Ok(client) => return Ok(client),
            Err(ClientError::NoDaemon(_)) => {}
            Err(error) => return Err(Waited::Trouble(error)),
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(Waited::Died(status));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(Waited::TooLong)
}

fn read_from(log: &mut File, offset: u64) -> io::Result<String> {
    log.seek(SeekFrom::Start(offset))?;
    let mut octets = Vec::new();
    log.take(LOG_SHOWN).read_to_end(&mut octets)?;
    Ok(String::from_utf8_lossy(&octets).into_owned())
}

const LOG_NAME: &str = "xvpn.log";
const LOG_SHOWN: u64 = 16 * 1024;
/// Commands that fetch keys may be slow.
const PATIENCE: Duration = Duration::from_secs(20);
