//! xvpn against strongSwan: every folder of `tests/scenarios/`, with every peer, NAT and initiator it names.

mod harness;

use std::process::ExitCode;

use harness::pair::Folder;
use harness::runner::{self, Failure, Job, Outcome, Reporter};
use harness::scenario::{self, Scenario, Side, Stage};
use harness::strongswan::{self, Kind, Peer};
use xvpn::testbed::{Sniffer, TwoClouds};

fn main() -> ExitCode {
    runner::main("XVPN_REQUIRE_INTEROP", 2, || {
        let scenarios = scenario::all()?;
        // A guest takes a while to boot: those first.
        let stages = [
            (Kind::Kernel, true),
            (Kind::Kernel, false),
            (Kind::User, true),
            (Kind::User, false),
        ];
        Ok(stages.map(|(kind, nat)| job(kind, nat, &scenarios)).into())
    })
}

/// Everything that can be played on one stage.
fn job(kind: Kind, nat: bool, scenarios: &[Scenario]) -> Job {
    let mut plays = Vec::new();
    for scenario in scenarios
        .iter()
        .filter(|s| s.peers.contains(&kind) && s.nat.contains(&nat))
    {
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
    (kind, root): (Kind, &std::path::Path),
    nat: bool,
) -> Outcome {
    if kind == Kind::User {
        strongswan::prepare_root(root)?;
    }
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
