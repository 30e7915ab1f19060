//! Two xvpn gateways, each in its cloud, with an eavesdropper between them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use xvpn::admin::api::{ChildStatus, TunnelState, TunnelStatus};
use xvpn::testbed::{
    Answer, Cloud, Gateway, Kind, Ping, Sniffer, TwoClouds, inventory, ping, wait_until, write_secret,
};

use super::runner::{Failure, Outcome, check};

/// What is particular about a test's two gateways.
#[derive(Clone)]
pub struct Plan {
    /// 1:1 NAT before the aws gateway.
    pub nat: bool,
    /// The outer path is IPv6.
    pub outer6: bool,
    /// The aws side.
    pub aws: Side,
    /// The azure side.
    pub azure: Side,
}

/// What is particular about one of them.
#[derive(Clone)]
pub struct Side {
    /// `local.id`, if it is not the side's name.
    pub id: Option<&'static str>,
    /// `remote.address`, if it is not the other side's.
    pub peer: Option<&'static str>,
    /// The pre-shared key.
    pub psk: &'static str,
    /// `local.networks`.
    pub local: Vec<String>,
    /// `remote.networks`.
    pub remote: Vec<String>,
    /// Further lines of `[gateway]`.
    pub gateway: String,
    /// Further lines of `[[tunnel]]`.
    pub tunnel: String,
}

impl Plan {
    /// The ordinary case: NAT, IPv4 outside, both families inside; aws waits for `xvpn up`, azure for aws.
    pub fn new() -> Self {
        let (aws, azure) = (networks(1), networks(2));
        let side = |local: &[String], remote: &[String], start: &str| Side {
            id: None,
            peer: None,
            psk: PSK,
            local: local.to_vec(),
            remote: remote.to_vec(),
            gateway: String::new(),
            tunnel: format!("start = \"{start}\"\n"),
        };
        Self {
            nat: true,
            outer6: false,
            aws: side(&aws, &azure, "manual"),
            azure: side(&azure, &aws, "listen"),
        }
    }

    /// Without NAT.
    pub fn without_nat(mut self) -> Self {
        self.nat = false;
        self
    }

    /// A further line of `[[tunnel]]` on both sides.
    pub fn both(mut self, line: &str) -> Self {
        for side in [&mut self.aws, &mut self.azure] {
            let _ = writeln!(side.tunnel, "{line}");
        }
        self
    }
}

fn networks(site: u8) -> Vec<String> {
    vec![format!("10.{site}.0.0/24"), format!("fd00:{site}::/64")]
}

/// The pair at work.
pub struct Pair<'a> {
    /// The machines.
    pub clouds: &'a TwoClouds,
    /// The aws gateway.
    pub aws: Gateway<'a>,
    /// The azure gateway.
    pub azure: Gateway<'a>,
    /// Listens on the public wire.
    pub wire: Sniffer,
    /// A folder for files of the test.
    pub folder: &'a Path,
}

/// Builds the clouds of a plan, configures both gateways (not started yet), and runs a test on them. A failure comes
/// with the last words of both.
pub fn with_pair(plan: &Plan, test: impl FnOnce(&mut Pair<'_>) -> Outcome) -> Outcome {
    let folder = Folder::new()?;
    let clouds = TwoClouds::build(plan.nat)?;
    let make = |name: &str, other: &Cloud, side: &Side| {
        let address = other.public_address(plan.outer6);
        let peer = if name == "aws" { "azure" } else { "aws" };
        let path = folder.0.join(name);
        fs::create_dir_all(&path)?;
        write_secret(&path.join("psk"), side.psk.as_bytes())?;
        let address = side.peer.map_or_else(|| address.to_string(), str::to_owned);
        let text = configuration(name, peer, &address, side);
        Ok::<_, Failure>((path, text))
    };
    let (aws_path, aws) = make("aws", &clouds.azure, &plan.aws)?;
    let (azure_path, azure) = make("azure", &clouds.aws, &plan.azure)?;
    let mut pair = Pair {
        clouds: &clouds,
        aws: Gateway::new(&clouds.aws.gateway, Path::new(XVPN), &aws_path, &aws)?,
        azure: Gateway::new(&clouds.azure.gateway, Path::new(XVPN), &azure_path, &azure)?,
        wire: Sniffer::start(&clouds.internet)?,
        folder: &folder.0,
    };
    test(&mut pair).map_err(|Failure(words)| {
        let mut words = words;
        for gateway in [&pair.aws, &pair.azure] {
            let _ = write!(
                words,
                "\n-- {}:\n{}",
                gateway.machine.name(),
                gateway.log_tail(30)
            );
        }
        Failure(words)
    })
}

fn configuration(own: &str, peer: &str, address: &str, side: &Side) -> String {
    let id = side.id.map_or_else(|| format!("{own}.example"), str::to_owned);
    format!(
        r#"[gateway]
state_dir = "STATE_DIR"
log = "info,xvpn_ike=debug,xvpn=debug"
{}
[[tunnel]]
name = "{peer}"
local = {{ id = "{id}", networks = {:?} }}
remote = {{ id = "{peer}.example", address = "{address}", networks = {:?} }}
psk = {{ file = "FOLDER/psk" }}
{}"#,
        side.gateway, side.local, side.remote, side.tunnel
    )
}

impl Pair<'_> {
    /// Starts both daemons.
    pub fn start(&mut self) -> Outcome {
        self.aws.start()?;
        Ok(self.azure.start()?)
    }

    /// Starts both and brings the tunnel up from the aws side.
    pub fn establish(&mut self) -> Outcome {
        self.start()?;
        self.up()
    }

    /// `xvpn up` on the aws side, until both sides are established.
    pub fn up(&self) -> Outcome {
        let output = self.aws.xvpn(&["up", "--timeout", "20"])?;
        check(
            output.status.success(),
            format!("xvpn up: {}", String::from_utf8_lossy(&output.stderr)),
        )?;
        let there = self.azure.wait_for(TunnelState::Established, PATIENCE);
        check(there, "the azure side is not established")
    }

    /// `xvpn up` on the aws side, which is to fail; what it says.
    pub fn up_in_vain(&self) -> Result<String, Failure> {
        let output = self.aws.xvpn(&["up", "--timeout", "15"])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        check(!output.status.success(), format!("xvpn up succeeded: {said}"))?;
        Ok(said)
    }

    /// The hosts reach each other with both families, both ways.
    pub fn pings_pass(&self) -> Outcome {
        for v6 in [false, true] {
            self.ping_passes(v6)?;
        }
        Ok(())
    }

    /// The hosts reach each other with one family, both ways.
    pub fn ping_passes(&self, v6: bool) -> Outcome {
        for (from, to) in self.directions() {
            // The responder's dataplane may be a moment behind the initiator's.
            let mut answer = Answer::Silence;
            wait_until(PATIENCE, || {
                answer = ping_between(from, to, v6, Duration::from_millis(500)).unwrap_or(Answer::Silence);
                answer.is_reply()
            });
            let words = || format!("{} -> {}: {answer:?}", from.host.name(), to.host_address(v6));
            check(answer.is_reply(), words())?;
        }
        Ok(())
    }

    /// A ping from aws to azure is not answered.
    pub fn ping_is_refused(&self, v6: bool) -> Outcome {
        let answer = ping_between(
            &self.clouds.aws,
            &self.clouds.azure,
            v6,
            Duration::from_millis(400),
        )?;
        check(!answer.is_reply(), format!("answered: {answer:?}"))
    }

    /// From aws to azure and back.
    pub fn directions(&self) -> [(&Cloud, &Cloud); 2] {
        [
            (&self.clouds.aws, &self.clouds.azure),
            (&self.clouds.azure, &self.clouds.aws),
        ]
    }

    /// Nothing but IKE and ESP was seen on the public wire.
    pub fn wire_is_clean(&self) -> Outcome {
        std::thread::sleep(Duration::from_millis(150));
        let strangers = self.wire.seen().strangers();
        check(strangers.is_empty(), format!("on the public wire: {strangers:?}"))
    }

    /// ESP on the public wire was only of this kind.
    pub fn wire_carries(&self, kind: &Kind) -> Outcome {
        self.wire_is_clean()?;
        let seen = self.wire.seen();
        let other = if *kind == Kind::Esp {
            Kind::EspInUdp
        } else {
            Kind::Esp
        };
        check(
            seen.count(kind) > 0 && seen.count(&other) == 0,
            format!("expected {kind:?}: {:?}", seen.frames),
        )
    }

    /// Both gateways end on SIGTERM within two seconds and leave nothing of what `before` has not.
    pub fn ends_cleanly(&mut self, before: &[std::collections::BTreeSet<String>; 2]) -> Outcome {
        for (gateway, before) in [&mut self.aws, &mut self.azure].into_iter().zip(before) {
            let ended = gateway.stop(Duration::from_secs(2))?;
            check(
                ended.status.success(),
                format!("{} ended with {}", gateway.machine.name(), ended.status),
            )?;
            let after = gateway.machine.run(inventory)??;
            let left: Vec<_> = after.symmetric_difference(before).collect();
            check(
                left.is_empty(),
                format!("{} is not as it was: {left:?}", gateway.machine.name()),
            )?;
        }
        Ok(())
    }

    /// What both gateways' machines look like now.
    pub fn inventories(&self) -> Result<[std::collections::BTreeSet<String>; 2], Failure> {
        let of = |gateway: &Gateway<'_>| Ok::<_, Failure>(gateway.machine.run(inventory)??);
        Ok([of(&self.aws)?, of(&self.azure)?])
    }
}

/// The only tunnel of a gateway.
pub fn tunnel(gateway: &Gateway<'_>) -> Result<TunnelStatus, Failure> {
    let mut status = gateway.status()?;
    // A second one beside it is there for what the scenario shows.
    if status.tunnels.len() > 1 {
        status.tunnels.retain(|tunnel| tunnel.name == "azure");
    }
    check(
        status.tunnels.len() == 1,
        format!("{} tunnels", status.tunnels.len()),
    )?;
    Ok(status.tunnels.remove(0))
}

/// The only CHILD SA of the only tunnel of a gateway.
pub fn child(gateway: &Gateway<'_>) -> Result<ChildStatus, Failure> {
    let mut tunnel = tunnel(gateway)?;
    check(
        tunnel.children.len() == 1,
        format!("{} CHILD SAs", tunnel.children.len()),
    )?;
    Ok(tunnel.children.remove(0))
}

/// One ping from host to host.
pub fn ping_between(from: &Cloud, to: &Cloud, v6: bool, patience: Duration) -> Result<Answer, Failure> {
    Ok(from.host.run(|| {
        ping(Ping {
            patience,
            ..Ping::to(to.host_address(v6))
        })
    })??)
}

/// A folder for one test, removed when dropped.
pub struct Folder(pub PathBuf);

impl Folder {
    /// A new one below the temporary folder.
    pub fn new() -> std::io::Result<Self> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("xvpn-test-{}-{number}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How long what should happen at once may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// The program under test.
pub const XVPN: &str = env!("CARGO_BIN_EXE_xvpn");
const PSK: &str = "vZ3q8Nn1yT6sWb0rKp5XcJ7uEd2Lm4Ha";
