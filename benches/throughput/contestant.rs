//! Who is measured, and how each is brought up on the bed and taken down.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use xvpn::testbed::{Daemon, Gateway, Namespace, Ping, ping, wait_until, write_secret};

use crate::bed::{Bed, Side};
use crate::{strongswan, wireguard};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// One row of the tables.
#[derive(Clone, Debug)]
pub(crate) struct Contestant {
    /// What the row is called.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// What it runs, once it was found.
    pub(crate) version: String,
    /// Which cipher it uses for data.
    pub(crate) cipher: &'static str,
}

/// How it is run.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// No tunnel: the hosts' networks are routed over the link between the gateways.
    Direct,
    /// xvpn: the program, lines for `[gateway]`, lines for the tunnel.
    Xvpn(PathBuf, &'static str, &'static str),
    /// A WireGuard in user space: the program and its arguments before the interface's name.
    WireGuard(PathBuf, &'static [&'static str]),
    /// strongSwan with ESP in user space, in this root folder.
    StrongSwan(PathBuf),
}

impl Contestant {
    /// All that there are; `Err` has the reason why one cannot be measured here. `ours` is the xvpn that was built
    /// for this run, `others` further ones, with labels.
    pub(crate) fn all(
        cache: &Path,
        ours: &Path,
        others: &[(String, PathBuf)],
    ) -> Vec<(String, Outcome<Self>)> {
        let direct = Self {
            name: "none".to_owned(),
            kind: Kind::Direct,
            version: "no tunnel".to_owned(),
            cipher: "none",
        };
        let mut all = vec![(direct.name.clone(), Ok(direct))];
        let builds = [(String::new(), ours.to_owned())];
        for (label, program) in builds.iter().chain(others) {
            for (row, gateway, tunnel, cipher) in XVPN {
                let name = if label.is_empty() {
                    row.to_owned()
                } else {
                    format!("{row}@{label}")
                };
                let kind = Kind::Xvpn(program.clone(), gateway, tunnel);
                all.push((name.clone(), Self::found(name, kind, cipher, program)));
            }
        }
        for (name, place, arguments) in WIREGUARD {
            let program = cache.join(place);
            let kind = Kind::WireGuard(program.clone(), arguments);
            let contestant = Self::found(name.to_owned(), kind, "ChaCha20-Poly1305", &program);
            all.push((name.to_owned(), contestant));
        }
        let root = cache.join("sid");
        let daemon = root.join("usr/sbin/charon-systemd");
        let kind = Kind::StrongSwan(root);
        let contestant = Self::found("strongswan".to_owned(), kind, "AES-256-GCM", &daemon);
        all.push(("strongswan".to_owned(), contestant));
        all
    }

    fn found(name: String, kind: Kind, cipher: &'static str, program: &Path) -> Outcome<Self> {
        if !program.exists() {
            return Err(format!(
                "there is no {}; benches/throughput/setup.sh installs it",
                program.display()
            )
            .into());
        }
        let version = match &kind {
            Kind::Direct => String::new(),
            Kind::Xvpn(..) | Kind::WireGuard(..) => said(Command::new(program).arg("--version"))?,
            Kind::StrongSwan(root) => said(Command::new("chroot").arg(root).args([
                "dpkg-query",
                "-W",
                "-f",
                "strongSwan ${Version}",
                "strongswan-swanctl",
            ]))?,
        };
        Ok(Self {
            name,
            kind,
            version,
            cipher,
        })
    }

    /// Brings it up on both gateways and waits until the hosts reach each other.
    pub(crate) fn start<'a>(&self, bed: &'a Bed, folder: &Path) -> Outcome<Running<'a>> {
        fs::create_dir_all(folder)?;
        let mut running = match &self.kind {
            Kind::Direct => {
                bed.route_directly()?;
                Running::Direct
            }
            Kind::Xvpn(program, gateway, tunnel) => {
                Running::Xvpn(Box::new(start_xvpn(bed, folder, program, gateway, tunnel)?))
            }
            Kind::WireGuard(program, arguments) => {
                Running::Daemons(wireguard::start(bed, folder, program, arguments)?)
            }
            Kind::StrongSwan(root) => Running::Daemons(strongswan::start(bed, folder, root)?),
        };
        let reached = bed.a.host.run(|| {
            wait_until(Duration::from_secs(10), || {
                let mut question = Ping::to(bed.b.host_address());
                question.patience = Duration::from_millis(300);
                ping(question).is_ok_and(|answer| answer.is_reply())
            })
        })?;
        if reached {
            return Ok(running);
        }
        let said = running.last_words();
        running.stop();
        Err(format!("it came up, but the hosts do not reach each other\n{said}").into())
    }
}

/// A contestant at work.
pub(crate) enum Running<'a> {
    Direct,
    Xvpn(Box<[Gateway<'a>; 2]>),
    Daemons([Daemon; 2]),
}

impl Running<'_> {
    /// The processes of both gateways.
    pub(crate) fn pids(&self) -> [Vec<u32>; 2] {
        match self {
            Self::Direct => [vec![], vec![]],
            Self::Xvpn(gateways) => gateways
                .each_ref()
                .map(|gateway| gateway.pid().into_iter().collect()),
            Self::Daemons(daemons) => daemons.each_ref().map(|daemon| vec![daemon.pid()]),
        }
    }

    /// The end of both logs.
    pub(crate) fn last_words(&self) -> String {
        match self {
            Self::Direct => String::new(),
            Self::Xvpn(gateways) => gateways
                .each_ref()
                .map(|gateway| gateway.log_tail(10))
                .join("\n--\n"),
            Self::Daemons(daemons) => daemons
                .each_ref()
                .map(|daemon| daemon.log_tail(10))
                .join("\n--\n"),
        }
    }

    /// Takes it down. What does not go is killed.
    pub(crate) fn stop(&mut self) {
        let patience = Duration::from_secs(5);
        match self {
            Self::Direct => {}
            Self::Xvpn(gateways) => {
                for gateway in gateways.iter_mut() {
                    if gateway.stop(patience).is_err() {
                        // It is killed when dropped.
                    }
                }
            }
            Self::Daemons(daemons) => {
                for daemon in daemons.iter_mut() {
                    if daemon.end(libc::SIGTERM, patience).is_err() {
                        // It is killed when dropped.
                    }
                }
            }
        }
    }
}

fn start_xvpn<'a>(
    bed: &'a Bed,
    folder: &Path,
    program: &Path,
    gateway: &str,
    tunnel: &str,
) -> Outcome<[Gateway<'a>; 2]> {
    let key = said(Command::new(program).arg("genpsk"))?;
    let [a, b] = [(&bed.a, &bed.b, "manual"), (&bed.b, &bed.a, "listen")].map(|(side, other, start)| {
        let own = folder.join(side.name());
        fs::create_dir_all(&own)?;
        write_secret(&own.join("psk"), key.as_bytes())?;
        let text = configuration(side, other, start, gateway, tunnel);
        let mut gateway = Gateway::new(&side.gateway, program, &own, &text)?;
        gateway.start()?;
        Ok::<_, std::io::Error>(gateway)
    });
    let gateways = [a?, b?];
    let up = gateways[0].xvpn(&["up"])?;
    if up.status.success() {
        return Ok(gateways);
    }
    Err(format!(
        "`xvpn up` failed: {}{}",
        String::from_utf8_lossy(&up.stdout),
        String::from_utf8_lossy(&up.stderr)
    )
    .into())
}

/// What the README shows, plus what a row is about.
fn configuration(side: &Side, other: &Side, start: &str, gateway: &str, tunnel: &str) -> String {
    format!(
        r#"[gateway]
state_dir = "STATE_DIR"
{gateway}

[[tunnel]]
name = "peer"
psk = {{ file = "FOLDER/psk" }}
local = {{ id = "{own}.example", networks = ["{network}"] }}
remote = {{ address = "{address}", id = "{peer}.example", networks = ["{other_network}"] }}
start = "{start}"
{tunnel}
"#,
        own = side.name(),
        network = side.network(),
        peer = other.name(),
        address = other.public_address(),
        other_network = other.network(),
    )
}

/// Runs a command that has to succeed: what it prints, in one line.
pub(crate) fn said(command: &mut Command) -> Outcome<String> {
    let output = command.output()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    if output.status.success() {
        return Ok(text.lines().next().unwrap_or_default().trim().to_owned());
    }
    Err(format!("{command:?}: {}: {}", output.status, text.trim()).into())
}

/// Runs a command in a namespace; it has to succeed.
pub(crate) fn run_in(namespace: &Namespace, program: &str, arguments: &[&str]) -> Outcome {
    said(namespace.command(program).args(arguments)).map(drop)
}

/// The rows of xvpn: as the README has it, and with what differs.
const XVPN: [(&str, &str, &str, &str); 5] = [
    ("xvpn", "", "", "AES-256-GCM"),
    (
        "xvpn-aes128",
        "",
        r#"esp_proposals = ["aes128gcm16"]"#,
        "AES-128-GCM",
    ),
    ("xvpn-nogso", r#"offload = ["tun", "gro"]"#, "", "AES-256-GCM"),
    ("xvpn-native", "", r#"encapsulation = "auto""#, "AES-256-GCM"),
    ("xvpn-iptfs", "", r#"iptfs = "aggregate""#, "AES-256-GCM"),
];

/// The WireGuards: name, program below the cache, arguments.
const WIREGUARD: [(&str, &str, &[&str]); 3] = [
    ("wireguard-go", "sid/usr/bin/wireguard-go", &["-f"]),
    (
        "boringtun",
        "cargo/bin/boringtun-cli",
        &["-f", "--disable-drop-privileges", "-v", "error"],
    ),
    (
        "gotatun",
        "cargo/bin/gotatun",
        &["-f", "--disable-drop-privileges", "-v", "error"],
    ),
];
