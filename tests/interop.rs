//! xvpn against strongSwan: every folder of `tests/scenarios/`, with every peer, NAT and initiator it names.

mod harness;

use std::path::Path;
use std::process::ExitCode;

use harness::pair::{Folder, PATIENCE, ping_between};
use harness::runner::{self, Failure, Job, Outcome, Reporter, check};
use harness::scenario::{self, Scenario, Side, Stage};
use harness::strongswan::{Kind, Peer};
use xvpn::testbed::{Sniffer, TwoClouds};

fn main() -> ExitCode {
    runner::main("XVPN_REQUIRE_INTEROP", 8, || {
        let scenarios = scenario::all()?;
        // A guest takes a while to boot: those first.
        let stages = [
            (Kind::Kernel, true),
            (Kind::Kernel, false),
            (Kind::User, true),
            (Kind::User, false),
        ];
        // Plays wait most of the time: several stages of a kind stand side by side.
        let mut jobs = vec![rig_job()];
        for (kind, nat) in stages {
            let share = |first| scenarios.iter().skip(first).step_by(SHARES);
            jobs.extend((0..SHARES).map(|first| job(kind, nat, share(first))));
        }
        Ok(jobs)
    })
}

/// Those of the scenarios that can be played on one stage.
fn job<'a>(kind: Kind, nat: bool, scenarios: impl Iterator<Item = &'a Scenario>) -> Job {
    let mut plays = Vec::new();
    for scenario in scenarios.filter(|s| s.peers.contains(&kind) && s.nat.contains(&nat)) {
        for initiator in &scenario.initiators {
            let who = match initiator {
                Side::Xvpn => "xvpn",
                Side::Peer => "peer",
            };
            let wire = if nat { "nat" } else { "plain" };
            let name = format!("{}/{}/{wire}/{who}_initiates", scenario.name, kind.word());
            plays.push((name, scenario.clone(), *initiator));
        }
    }
    let names: Vec<_> = plays.iter().map(|(name, ..)| name.clone()).collect();
    Job {
        names: names.clone(),
        run: Box::new(move |reporter| match kind.root() {
            Err(why) => reporter.skip(&names, &why),
            Ok(root) => {
                if let Err(Failure(words)) = play_all(reporter, &plays, (kind, &root), nat) {
                    let stage = format!("the stage for {} ({})", names.join(", "), kind.word());
                    reporter.fail(&stage, &words);
                }
            }
        }),
    }
}

fn play_all(
    reporter: &Reporter<'_>,
    plays: &[(String, Scenario, Side)],
    (kind, root): (Kind, &Path),
    nat: bool,
) -> Outcome {
    let folder = Folder::new()?;
    let clouds = TwoClouds::build(nat)?;
    let peer = Peer::start(kind, root, &clouds.azure, &folder.0)?;
    let wire = Sniffer::start(&clouds.internet)?;
    let mut stage = Stage {
        clouds: &clouds,
        peer,
        wire,
    };
    for (name, scenario, initiator) in plays {
        reporter.test(name, || stage.play(scenario, *initiator));
    }
    Ok(())
}

/// strongSwan on both sides: if this fails, look at the rig first, not at xvpn.
fn rig_job() -> Job {
    let name = "rig/strongswan_meets_strongswan".to_owned();
    Job {
        names: vec![name.clone()],
        run: Box::new(move |reporter| match (Kind::User.root(), Kind::Kernel.root()) {
            (Ok(user), Ok(kernel)) => reporter.test(&name, || strongswan_meets_strongswan(&user, &kernel)),
            (Err(why), _) | (_, Err(why)) => reporter.skip(&[name], &why),
        }),
    }
}

fn strongswan_meets_strongswan(user: &Path, kernel: &Path) -> Outcome {
    let (aws_folder, azure_folder) = (Folder::new()?, Folder::new()?);
    let clouds = TwoClouds::build(true)?;
    let wire = Sniffer::start(&clouds.internet)?;
    let mut aws = Peer::start(Kind::User, user, &clouds.aws, &aws_folder.0)?;
    let mut azure = Peer::start(Kind::Kernel, kernel, &clouds.azure, &azure_folder.0)?;
    let base = include_str!("scenarios/base.conf");
    let here = "include base.conf\nconnections { site : base.site { children { net : base.net { } } } }\n";
    azure.load(&[("base.conf", base.into()), ("swanctl.conf", here.into())])?;
    // The same seen from the other side.
    let swap =
        |text: &str, one: &str, other: &str| text.replace(one, "\0").replace(other, one).replace('\0', other);
    let mut mirrored = swap(base, "10.1.0", "10.2.0");
    for (one, other) in [
        ("fd00:1:", "fd00:2:"),
        ("aws.", "azure."),
        ("203.0.113.10", "198.51.100.20"),
    ] {
        mirrored = swap(&mirrored, one, other);
    }
    let mirrored = mirrored.replace("local_addrs = 203.0.113.10", "local_addrs = 172.31.0.10");
    aws.load(&[("base.conf", mirrored), ("swanctl.conf", here.into())])?;
    let (success, said) = aws.initiate("net")?;
    check(success, format!("{said}\n{}\n{}", aws.log(), azure.log()))?;
    for v6 in [false, true] {
        let answer = ping_between(&clouds.aws, &clouds.azure, v6, PATIENCE)?;
        check(
            answer.is_reply(),
            format!("IPv6: {v6}: {answer:?}\n{}", azure.list()?),
        )?;
    }
    check(wire.seen().strangers().is_empty(), format!("{:?}", wire.seen()))
}

/// Stages of one kind, each of which plays its share of the scenarios.
const SHARES: usize = 3;
