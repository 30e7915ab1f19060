//! One folder of `tests/scenarios/`: `xvpn.toml` is ours, `swanctl.conf` the peer's own, `scenario.toml` says what is to
//! come of it.

mod renewal;

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use xvpn::admin::api::{TunnelState, TunnelStatus};
use xvpn::testbed::{
    Answer, Gateway, Kind as Frame, Sniffer, TwoClouds, inventory, make_file, send_file, wait_until,
    write_secret,
};

use super::flows::flow;
use super::pair::{Folder, PATIENCE, XVPN, ping_between, tunnel};
use super::pki::Pki;
use super::runner::{Failure, Outcome, check};
use super::strongswan::{Kind, Peer};

/// `scenario.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The folder's name.
    #[serde(skip)]
    pub name: String,
    /// What it shows, for readers.
    pub about: String,
    /// With which peers.
    pub peers: Vec<Kind>,
    /// With 1:1 NAT before our gateway, without, or each.
    pub nat: Vec<bool>,
    /// Who begins.
    #[serde(default = "both_sides")]
    pub initiators: Vec<Side>,
    /// Which families travel inside.
    #[serde(default = "both_families")]
    pub inside: Vec<Family>,
    /// Our log says this before anybody begins.
    pub awaits: Option<String>,
    /// Once it stands, both sides replace its SAs, one after the other.
    #[serde(default)]
    pub rekey: bool,
    /// Once it stands, the outer addresses of these change, and the same SAs go on.
    #[serde(default)]
    pub moves: Vec<Side>,
    /// Once it stands, a side authenticates anew, again and again, and pings pass meanwhile.
    #[serde(default)]
    pub reauthenticates: bool,
    /// The peer sends on a new SA before its answer leaves, so that at each change what we cannot know yet is lost.
    #[serde(default)]
    pub peer_sends_early: bool,
    /// Once it stands, our log says this within the first minute, and the tunnel goes on.
    pub warns: Option<String>,
    /// Once it stands, so many TCP streams at once; our two queues share the work.
    pub flows: Option<u16>,
    /// The certificates of both sides.
    pub pki: Option<Pki>,
    /// Further lines of strongSwan's own settings (strongswan.conf).
    #[serde(default)]
    pub strongswan: String,
    /// The CHILD SAs that the peer asks for if it begins, in its configuration's words.
    #[serde(default = "net")]
    pub peer_children: Vec<String>,
    /// How many CHILD SAs there are then.
    #[serde(default = "one")]
    pub children: usize,
    /// Once it stands, strongSwan's log says all of this.
    #[serde(default)]
    pub peer_says: Vec<String>,
    /// What is to come of it.
    pub expect: Expect,
}

/// Who begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Our gateway, by `xvpn up`.
    Xvpn,
    /// strongSwan, by `swanctl --initiate`.
    Peer,
}

/// What travels inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// What is to come of a scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Expect {
    /// A tunnel; status says this about it (what is left out may be anything).
    Established {
        /// The IKE suite.
        ike: Option<String>,
        /// The ESP suite.
        esp: Option<String>,
        /// `udp` or `esp`.
        encapsulation: Option<String>,
        /// The peer's networks as negotiated.
        remote: Option<Vec<String>>,
        /// By what we proved who we are.
        local_auth: Option<String>,
        /// By what the peer did.
        remote_auth: Option<String>,
    },
    /// No tunnel.
    Refused {
        /// `xvpn up` says all of this, if we begin.
        up: Words,
        /// Our log says all of this, if the peer begins.
        log: Words,
        /// strongSwan says this, if it begins.
        peer: String,
    },
}

/// What somebody is to say.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Words {
    /// This.
    One(String),
    /// All of this.
    All(Vec<String>),
}

impl Words {
    /// Whether it was said.
    fn are_in(&self, text: &str) -> bool {
        match self {
            Self::One(words) => text.contains(words.as_str()),
            Self::All(list) => list.iter().all(|words| text.contains(words.as_str())),
        }
    }
}

fn both_sides() -> Vec<Side> {
    vec![Side::Xvpn, Side::Peer]
}

fn net() -> Vec<String> {
    vec!["net".into()]
}

fn one() -> usize {
    1
}

fn both_families() -> Vec<Family> {
    vec![Family::Ipv4, Family::Ipv6]
}

/// All scenarios, by name.
pub fn all() -> Result<Vec<Scenario>, Failure> {
    let mut scenarios = Vec::new();
    for entry in Path::new(FOLDER).read_dir()? {
        let path = entry?.path();
        let Ok(text) = fs::read_to_string(path.join("scenario.toml")) else {
            continue;
        };
        let mut scenario: Scenario = toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
        scenario.name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        scenarios.push(scenario);
    }
    scenarios.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(scenarios)
}

/// The stage on which scenarios are played one after the other: two clouds, strongSwan on the azure side.
pub struct Stage<'a> {
    /// The machines.
    pub clouds: &'a TwoClouds,
    /// The azure gateway.
    pub peer: Peer<'a>,
    /// Listens on the public wire.
    pub wire: Sniffer,
}

impl Stage<'_> {
    /// Plays one scenario. A failure comes with the last words of both sides.
    pub fn play(&mut self, scenario: &Scenario, initiator: Side) -> Outcome {
        let path = Path::new(FOLDER).join(&scenario.name);
        let base = fs::read_to_string(Path::new(FOLDER).join("base.conf"))?;
        let folder = Folder::new()?;
        fs::create_dir(folder.0.join("conf.d"))?;
        self.peer.set(&scenario.strongswan)?;
        let theirs = self.peer.empty()?;
        // It answers until the play is over.
        let _services = match &scenario.pki {
            Some(pki) => pki.write(&folder.0.join("conf.d"), &theirs, self.clouds)?,
            None => Vec::new(),
        };
        self.peer.load(&[
            ("base.conf", base),
            ("swanctl.conf", fs::read_to_string(path.join("swanctl.conf"))?),
        ])?;
        write_secret(
            &folder.0.join("conf.d/scenario.toml"),
            &fs::read(path.join("xvpn.toml"))?,
        )?;
        let before = self.clouds.aws.gateway.run(inventory)??;
        self.wire.take();
        let logged = self.peer.log().len();
        let mut xvpn = Gateway::new(&self.clouds.aws.gateway, Path::new(XVPN), &folder.0, GATEWAY)?;
        let outcome = self
            .act(scenario, initiator, &mut xvpn, &folder.0, logged)
            .and_then(|()| {
                let ended = xvpn.stop(Duration::from_secs(2))?;
                check(
                    ended.status.success(),
                    format!("xvpn ended with {}", ended.status),
                )?;
                let after = self.clouds.aws.gateway.run(inventory)??;
                let left: Vec<_> = after.symmetric_difference(&before).collect();
                check(left.is_empty(), format!("the host is not as it was: {left:?}"))
            });
        outcome.map_err(|Failure(words)| {
            let log = self.peer.log();
            let theirs: Vec<_> = log.get(logged..).unwrap_or(&log).lines().collect();
            let theirs = theirs[theirs.len().saturating_sub(40)..].join("\n");
            Failure(format!(
                "{words}\n-- xvpn:\n{}\n-- strongSwan:\n{theirs}",
                xvpn.log_tail(40)
            ))
        })
    }

    fn act(
        &mut self,
        scenario: &Scenario,
        initiator: Side,
        xvpn: &mut Gateway<'_>,
        folder: &Path,
        logged: usize,
    ) -> Outcome {
        xvpn.start()?;
        if let Some(words) = &scenario.awaits {
            let heard = wait_until(PATIENCE, || xvpn.log().contains(words.as_str()));
            check(heard, format!("our log is to say `{words}`"))?;
        }
        let (success, said) = self.begin(scenario, initiator, xvpn)?;
        match (&scenario.expect, initiator) {
            (Expect::Established { .. }, _) => {
                check(success, format!("it is not established:\n{said}"))?;
                self.carries_traffic(scenario, xvpn, folder)?;
                if let Some(count) = scenario.flows {
                    flow(&self.clouds.aws, &self.clouds.azure, count, xvpn)?;
                }
                for words in &scenario.peer_says {
                    let log = self.peer.log();
                    let said = log.get(logged..).unwrap_or(&log).contains(words.as_str());
                    check(said, format!("strongSwan's log is to say `{words}`"))?;
                }
                if scenario.rekey {
                    self.replace(scenario, xvpn)?;
                    self.carries_traffic(scenario, xvpn, folder)?;
                }
                for side in &scenario.moves {
                    self.moves(*side, scenario, xvpn, folder)?;
                }
                if scenario.reauthenticates {
                    self.reauthenticate(scenario, xvpn)?;
                    self.carries_traffic(scenario, xvpn, folder)?;
                }
                if let Some(words) = &scenario.warns {
                    let heard = wait_until(Duration::from_secs(55), || xvpn.log().contains(words.as_str()));
                    check(heard, format!("our log is to say `{words}`"))?;
                    self.carries_traffic(scenario, xvpn, folder)?;
                }
                self.part(initiator, xvpn)
            }
            (Expect::Refused { up, .. }, Side::Xvpn) => {
                let found = up.are_in(&said) && said.contains("remedy");
                check(
                    !success && found,
                    format!("`xvpn up` is to say {up:?}, but said:\n{said}"),
                )?;
                self.stays_refused(xvpn)
            }
            (Expect::Refused { log, peer, .. }, Side::Peer) => {
                check(
                    !success && said.contains(peer.as_str()),
                    format!("strongSwan is to say `{peer}`:\n{said}"),
                )?;
                let heard = wait_until(PATIENCE, || log.are_in(&xvpn.log()));
                check(heard, format!("our log is to say {log:?}"))?;
                self.stays_refused(xvpn)
            }
        }
    }

    fn begin(
        &mut self,
        scenario: &Scenario,
        initiator: Side,
        xvpn: &Gateway<'_>,
    ) -> Result<(bool, String), Failure> {
        match initiator {
            Side::Xvpn => {
                let output = xvpn.xvpn(&["up", "--timeout", "15"])?;
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                Ok((output.status.success(), said))
            }
            Side::Peer => self.initiate(scenario),
        }
    }

    fn initiate(&mut self, scenario: &Scenario) -> Result<(bool, String), Failure> {
        let mut outcome = (true, String::new());
        for child in &scenario.peer_children {
            outcome = self.peer.initiate(child)?;
            if !outcome.0 {
                break;
            }
        }
        Ok(outcome)
    }

    fn carries_traffic(&mut self, scenario: &Scenario, xvpn: &Gateway<'_>, folder: &Path) -> Outcome {
        check(
            xvpn.wait_for(TunnelState::Established, PATIENCE),
            "our status does not say established",
        )?;
        // Those beside the first follow at once.
        wait_until(PATIENCE, || {
            tunnel(xvpn).is_ok_and(|tunnel| tunnel.children.len() == scenario.children)
        });
        agrees(scenario, &tunnel(xvpn)?)?;
        let (aws, azure) = (&self.clouds.aws, &self.clouds.azure);
        let file = folder.join("file");
        self.wire.look_for(SECRET);
        let digest = make_file(&file, 1 << 20, SECRET)?;
        for family in &scenario.inside {
            let v6 = *family == Family::Ipv6;
            for (from, to) in [(aws, azure), (azure, aws)] {
                let mut answer = Answer::Silence;
                wait_until(PATIENCE, || {
                    answer =
                        ping_between(from, to, v6, Duration::from_millis(500)).unwrap_or(Answer::Silence);
                    answer.is_reply()
                });
                check(
                    answer.is_reply(),
                    format!("ping {} -> {}: {answer:?}", from.host.name(), to.host_address(v6)),
                )?;
                let transfer = send_file(&file, &from.host, &to.host, to.host_address(v6))
                    .map_err(|e| format!("TCP {} -> {}: {e}", from.host.name(), to.host_address(v6)))?;
                check(
                    transfer.digest == Some(digest),
                    format!("another file arrived: {transfer:?}"),
                )?;
            }
        }
        std::thread::sleep(Duration::from_millis(100));
        let seen = self.wire.seen();
        check(
            seen.strangers().is_empty() && seen.needles == 0,
            format!("on the public wire: {seen:?}"),
        )?;
        let Expect::Established {
            encapsulation: Some(word),
            ..
        } = &scenario.expect
        else {
            return Ok(());
        };
        let kind = if word == "esp" {
            Frame::Esp
        } else {
            Frame::EspInUdp
        };
        check(
            seen.count(&kind) > 0,
            format!("no {kind:?} on the public wire: {:?}", seen.frames),
        )
    }

    /// Whoever did not begin ends it, and the other side notices.
    fn part(&mut self, initiator: Side, xvpn: &Gateway<'_>) -> Outcome {
        match initiator {
            Side::Xvpn => {
                let (done, said) = self.peer.swanctl("--terminate --ike site --timeout 5")?;
                check(done, format!("strongSwan cannot delete: {said}"))?;
                let noticed = wait_until(PATIENCE, || {
                    tunnel(xvpn).is_ok_and(|t| t.children.is_empty() && t.state != TunnelState::Established)
                });
                check(noticed, "we did not notice that the peer deleted its SAs")
            }
            Side::Peer => {
                let output = xvpn.xvpn(&["down"])?;
                check(output.status.success(), String::from_utf8_lossy(&output.stderr))?;
                let mut left = String::new();
                let noticed = wait_until(PATIENCE, || {
                    left = self.peer.list().unwrap_or_else(|Failure(words)| words);
                    !left.contains("site:")
                });
                check(noticed, format!("strongSwan still has:\n{left}"))
            }
        }
    }

    fn stays_refused(&self, xvpn: &Gateway<'_>) -> Outcome {
        let children = tunnel(xvpn)?.children;
        check(children.is_empty(), format!("there is a CHILD SA: {children:?}"))?;
        let answer = ping_between(
            &self.clouds.aws,
            &self.clouds.azure,
            false,
            Duration::from_millis(200),
        )?;
        check(!answer.is_reply(), "a ping passes")?;
        let seen = self.wire.seen();
        check(
            seen.strangers().is_empty(),
            format!("on the public wire: {seen:?}"),
        )
    }
}

fn agrees(scenario: &Scenario, tunnel: &TunnelStatus) -> Outcome {
    let Expect::Established {
        ike,
        esp,
        encapsulation,
        remote,
        local_auth,
        remote_auth,
    } = &scenario.expect
    else {
        return Ok(());
    };
    check(
        tunnel.children.len() == scenario.children && tunnel.missing.is_empty(),
        format!(
            "{} CHILD SAs, missing: {:?}",
            tunnel.children.len(),
            tunnel.missing
        ),
    )?;
    let Some(child) = tunnel.children.first() else {
        return Ok(());
    };
    let same = |what: &str, wanted: &Option<String>, got: &str| {
        check(
            wanted.as_ref().is_none_or(|w| w == got),
            format!("status: {what} is {got}, not {wanted:?}"),
        )
    };
    same(
        "the IKE suite",
        ike,
        tunnel.ike.as_ref().map_or("none", |ike| &ike.suite),
    )?;
    let ike = tunnel.ike.as_ref();
    same("our proof", local_auth, ike.map_or("none", |ike| &ike.local_auth))?;
    same(
        "the peer's proof",
        remote_auth,
        ike.map_or("none", |ike| &ike.remote_auth),
    )?;
    same("the ESP suite", esp, &child.suite)?;
    same("the encapsulation", encapsulation, &child.encapsulation)?;
    let networks = remote.as_ref().is_none_or(|remote| *remote == child.remote);
    check(
        networks,
        format!(
            "status: the peer's networks are {:?}, not {remote:?}",
            child.remote
        ),
    )
}

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scenarios");
/// The part of the configuration that all scenarios share; `conf.d` has theirs.
const GATEWAY: &str = "[gateway]\nstate_dir = \"STATE_DIR\"\nlog = \"info,xvpn_ike=debug,xvpn=debug\"\n";
const SECRET: &[u8] = b"xvpn interop: this text must never be seen on the public wire";
