//! A User-Mode Linux guest in the place of a gateway: a kernel of its own, with the kernel's ESP (which the machine
//! that runs the tests need not have). Its root is a plain folder over hostfs; its interfaces are those of the
//! gateway's namespace, over raw sockets.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use xvpn::testbed::{Cloud, Daemon, drop_addresses, plain_wire, signal_group, wait_until};

use super::runner::{Failure, check};

/// A running guest.
pub struct Guest {
    folder: PathBuf,
    commands: usize,
    process: Daemon,
}

impl Guest {
    /// Boots the guest from the root folder `root` in the place of `cloud`'s gateway. `folder` is shared with it;
    /// `folder/etc` has its configuration. See tests/interop/guest.sh.
    pub fn boot(root: &Path, cloud: &Cloud, router: [&str; 2], folder: &Path) -> Result<Self, Failure> {
        // The namespace is only the guest's network card now.
        cloud
            .gateway
            .run(|| ["wan", "lan"].into_iter().try_for_each(drop_addresses))??;
        cloud
            .gateway
            .run(|| ["wan", "lan"].into_iter().try_for_each(plain_wire))??;
        cloud.host.run(|| plain_wire("eth0"))??;
        fs::write(folder.join("setup"), setup(cloud, router))?;
        fs::create_dir_all(folder.join("memory"))?;
        let first = root.join("sbin/xvpn-guest");
        let script = include_str!("../interop/guest.sh");
        // Several guests may boot at once: written only if it is another one.
        if fs::read_to_string(&first).ok().as_deref() != Some(script) {
            let part = root.join(format!(
                "sbin/xvpn-guest.{}",
                cloud.gateway.path().display().to_string().replace('/', "-")
            ));
            fs::write(&part, script)?;
            fs::set_permissions(&part, fs::Permissions::from_mode(0o755))?;
            fs::rename(&part, &first)?;
        }
        let mut command = cloud.gateway.command(UML);
        command.args([
            "mem=192M",
            "root=/dev/root",
            "rootfstype=hostfs",
            "ro",
            "init=/sbin/xvpn-guest",
            "quiet",
        ]);
        command
            .arg(format!("rootflags={}", root.display()))
            .arg(format!("xvpn_dir={}", folder.display()));
        command.args(
            ["wan", "lan"]
                .iter()
                .zip(0..)
                .map(|(interface, number)| format!("vec{number}:transport=raw,ifname={interface},depth=128")),
        );
        command
            .args(["con=null", "con0=null,fd:1"])
            .env("TMPDIR", folder.join("memory"));
        let process = Daemon::start("guest", command, &folder.join("console"))?;
        let mut guest = Self {
            folder: folder.to_owned(),
            commands: 0,
            process,
        };
        let ready = folder.join("ready");
        let up = wait_until(BOOT, || ready.exists() || !guest.process.is_running());
        let said = || format!("{}\n{}", guest.process.log_tail(20), guest.log());
        check(
            up && ready.exists(),
            format!("the guest does not come up:\n{}", said()),
        )?;
        Ok(guest)
    }

    /// Runs a shell command in the guest: whether it succeeded, and what it printed.
    pub fn run(&mut self, command: &str) -> Result<(bool, String), Failure> {
        self.commands += 1;
        let path = |stem: &str| self.folder.join(format!("{stem}.{}", self.commands));
        fs::write(path("new"), command)?;
        fs::rename(path("new"), path("cmd"))?;
        let answer = path("out");
        check(
            wait_until(PATIENCE, || answer.exists()),
            format!("the guest does not answer `{command}`"),
        )?;
        let text = fs::read_to_string(answer)?;
        let (said, status) = text.trim_end().rsplit_once("status ").unwrap_or((&text, "1"));
        Ok((status == "0", said.to_owned()))
    }

    /// The log of its IKE daemon.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = fs::write(self.folder.join("halt"), "");
        // Its processes are processes here; they are gone when it halts.
        if !wait_until(Duration::from_secs(5), || !self.process.is_running()) {
            let _ = signal_group(self.process.pid(), libc::SIGKILL);
        }
    }
}

fn setup(cloud: &Cloud, [router4, router6]: [&str; 2]) -> String {
    let (lan4, lan6) = (cloud.network4.hosts().next(), cloud.network6.hosts().nth(1));
    let address = |lan: Option<String>| lan.unwrap_or_default();
    format!(
        "ip addr add {}/24 dev vec0\nip addr add {}/64 dev vec0 nodad\nip link set vec0 up\n\
         ip addr add {}/24 dev vec1\nip addr add {}/64 dev vec1 nodad\nip link set vec1 up\n\
         ip route add default via {router4}\nip -6 route add default via {router6}\n",
        cloud.own4,
        cloud.public6,
        address(lan4.map(|a| a.to_string())),
        address(lan6.map(|a| a.to_string())),
    )
}

const UML: &str = "/usr/bin/linux.uml";
const BOOT: Duration = Duration::from_secs(90);
const PATIENCE: Duration = Duration::from_secs(30);
