//! strongSwan as the azure gateway: 6.1 with ESP in user space (kernel-libipsec) in a Debian sid root, or 5.9.8 with
//! a kernel's ESP in a User-Mode Linux guest. `tests/interop/setup.sh` makes both roots.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use serde::Deserialize;
use xvpn::testbed::{Cloud, Daemon, set_mtu, wait_until};

use super::guest::Guest;
use super::runner::{Failure, Outcome, check};

/// Which strongSwan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// 6.1, ESP in user space, always in UDP.
    User,
    /// 5.9.8, ESP in the kernel of a guest.
    Kernel,
}

impl Kind {
    /// Its word in names of tests.
    pub fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Kernel => "kernel",
        }
    }

    /// Its root folder, and what is missing if this machine cannot run it.
    pub fn root(self) -> Result<PathBuf, String> {
        let roots = std::env::var_os("XVPN_INTEROP_ROOT").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/interop"),
            PathBuf::from,
        );
        let root = roots.join(match self {
            Self::User => "sid",
            Self::Kernel => "bookworm",
        });
        let remedy = "run tests/interop/setup.sh";
        if !root.join("usr/sbin/swanctl").exists() {
            return Err(format!("there is no strongSwan in {}; {remedy}", root.display()));
        }
        if self == Self::Kernel && !Path::new("/usr/bin/linux.uml").exists() {
            return Err(format!("there is no User-Mode Linux; {remedy}"));
        }
        Ok(root)
    }
}

/// A running strongSwan in the place of a cloud's gateway.
pub struct Peer<'a> {
    cloud: &'a Cloud,
    folder: PathBuf,
    root: PathBuf,
    process: Process,
}

enum Process {
    User(Daemon),
    Kernel(Guest),
}

impl<'a> Peer<'a> {
    /// Starts it, without any connection. `folder` is for its files.
    pub fn start(kind: Kind, root: &Path, cloud: &'a Cloud, folder: &Path) -> Result<Self, Failure> {
        let etc = folder.join("etc");
        fs::create_dir_all(&etc)?;
        fs::write(etc.join("swanctl.conf"), "")?;
        for part in PARTS {
            fs::create_dir_all(etc.join(part))?;
        }
        let process = match kind {
            Kind::User => Process::User(start_in_chroot(root, cloud, folder)?),
            Kind::Kernel => {
                fs::write(
                    etc.join("strongswan.conf"),
                    include_str!("../interop/kernel.conf"),
                )?;
                Process::Kernel(Guest::boot(
                    root,
                    cloud,
                    ["198.51.100.1", "2001:db8:b::1"],
                    folder,
                )?)
            }
        };
        Ok(Self {
            cloud,
            folder: folder.to_owned(),
            root: root.to_owned(),
            process,
        })
    }

    /// Which it is.
    pub fn kind(&self) -> Kind {
        match self.process {
            Process::User(_) => Kind::User,
            Process::Kernel(_) => Kind::Kernel,
        }
    }

    /// Adds to its own settings, for the next negotiation.
    pub fn set(&mut self, settings: &str) -> Outcome {
        let path = self.folder.join("etc/strongswan.conf");
        let have = fs::read_to_string(&path)?;
        let base = have.split(ADDED).next().unwrap_or_default();
        let want = if settings.is_empty() {
            base.to_owned()
        } else {
            format!("{base}{ADDED}{settings}")
        };
        if want == have {
            return Ok(());
        }
        fs::write(&path, want)?;
        let (done, said) = self.swanctl("--reload-settings")?;
        check(done, format!("strongSwan does not read its settings:\n{said}"))
    }

    /// Removes the certificates and keys of the last scenario. The folder for those of the next.
    pub fn empty(&self) -> Result<PathBuf, Failure> {
        let etc = self.folder.join("etc");
        for part in PARTS {
            for entry in fs::read_dir(etc.join(part))? {
                fs::remove_file(entry?.path())?;
            }
        }
        Ok(etc)
    }

    /// Forgets all SAs and connections, and loads these.
    pub fn load(&mut self, files: &[(&str, String)]) -> Outcome {
        for (name, text) in files {
            fs::write(self.folder.join("etc").join(name), text)?;
        }
        self.terminate_all()?;
        // Connections that are not in the new files are unloaded, secrets only on demand.
        let (loaded, said) = self.swanctl("--load-all --clear")?;
        check(
            loaded,
            format!("strongSwan does not load its configuration:\n{said}"),
        )
    }

    /// Ends whatever SA there is, without waiting for an answer.
    pub fn terminate_all(&mut self) -> Outcome {
        for _ in 0..5 {
            if !self.list()?.contains(CONNECTION) {
                return Ok(());
            }
            self.swanctl("--terminate --ike site --force --timeout 2")?;
        }
        Err(Failure(format!("strongSwan keeps its SAs:\n{}", self.list()?)))
    }

    /// Initiates a CHILD SA: whether it succeeded, and what was said about it.
    pub fn initiate(&mut self, child: &str) -> Result<(bool, String), Failure> {
        self.swanctl(&format!("--initiate --child {child} --timeout 10"))
    }

    /// Its SAs, in its words.
    pub fn list(&mut self) -> Result<String, Failure> {
        Ok(self.swanctl("--list-sas")?.1)
    }

    /// Runs `swanctl`: whether it succeeded, and what it printed.
    pub fn swanctl(&mut self, arguments: &str) -> Result<(bool, String), Failure> {
        match &mut self.process {
            Process::Kernel(guest) => guest.run(&format!("swanctl {arguments}")),
            Process::User(_) => {
                // Should strongSwan hang, the test shall not.
                let mut command = in_chroot(&self.root, self.cloud, &self.folder, "timeout");
                command.args(["30", "swanctl"]);
                command
                    .args(arguments.split(' '))
                    .arg("--uri")
                    .arg(socket(&self.folder));
                let output = command.output()?;
                let said = [output.stdout, output.stderr].concat();
                Ok((
                    output.status.success(),
                    String::from_utf8_lossy(&said).into_owned(),
                ))
            }
        }
    }

    /// Everything it logged.
    pub fn log(&self) -> String {
        match &self.process {
            Process::User(daemon) => daemon.log(),
            Process::Kernel(guest) => guest.log(),
        }
    }
}

impl Drop for Peer<'_> {
    fn drop(&mut self) {
        if let Process::User(daemon) = &mut self.process {
            // It is killed afterwards in any case.
            let _ = daemon.end(libc::SIGTERM, Duration::from_secs(3));
        }
    }
}

/// Makes the machine's /proc, /dev, /sys and temporary folder visible in the root, once. The mounts vanish with this
/// process, which has a mount namespace of its own.
fn prepare_root(root: &Path) -> Outcome {
    static PREPARED: Mutex<bool> = Mutex::new(false);
    let mut prepared = PREPARED.lock().map_err(|_| "another thread failed at it")?;
    if *prepared {
        return Ok(());
    }
    let temporary = std::env::temp_dir();
    for path in [
        Path::new("/proc"),
        Path::new("/dev"),
        Path::new("/sys"),
        &temporary,
    ] {
        let inside = root.join(path.strip_prefix("/")?);
        fs::create_dir_all(&inside)?;
        let status = Command::new("mount")
            .arg("--rbind")
            .arg(path)
            .arg(&inside)
            .status()?;
        check(
            status.success(),
            format!("cannot mount {} on {}", path.display(), inside.display()),
        )?;
    }
    *prepared = true;
    Ok(())
}

fn start_in_chroot(root: &Path, cloud: &Cloud, folder: &Path) -> Result<Daemon, Failure> {
    prepare_root(root)?;
    let settings = include_str!("../interop/user.conf").replace("@SOCKET@", &socket(folder));
    fs::write(folder.join("etc/strongswan.conf"), settings)?;
    let command = in_chroot(root, cloud, folder, "charon-systemd");
    let mut daemon = Daemon::start("strongSwan", command, &folder.join("log"))?;
    let ready = folder.join("vici");
    let up = wait_until(Duration::from_secs(20), || ready.exists() || !daemon.is_running());
    check(
        up && ready.exists(),
        format!("strongSwan does not start:\n{}", daemon.log_tail(20)),
    )?;
    // kernel-libipsec does not lower the MTU of its interface by what ESP in UDP takes.
    cloud.gateway.run(|| set_mtu("ipsec0", 1400))??;
    Ok(daemon)
}

fn in_chroot(root: &Path, cloud: &Cloud, folder: &Path, program: &str) -> Command {
    let mut command = cloud.gateway.command("chroot");
    command.arg(root).arg(program);
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
        .env("STRONGSWAN_CONF", folder.join("etc/strongswan.conf"))
        .env("SWANCTL_DIR", folder.join("etc"));
    command
}

fn socket(folder: &Path) -> String {
    format!("unix://{}", folder.join("vici").display())
}

/// What stands before the settings of a scenario.
const ADDED: &str = "# of the scenario\n";
/// How a listed SA begins: with the name of the connection.
const CONNECTION: &str = "site:";

/// Folders that swanctl looks into, and complains about if they are not there.
const PARTS: [&str; 12] = [
    "bliss", "ecdsa", "pkcs12", "pkcs8", "private", "pubkey", "rsa", "x509", "x509aa", "x509ac", "x509ca",
    "x509crl",
];
