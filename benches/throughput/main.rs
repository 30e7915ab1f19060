//! Throughput, latency and cost of xvpn beside other VPNs in user space, in one run, on one machine.
//!
//! `benches/throughput/run.sh` installs the peers and runs it; `cargo bench --bench throughput -- --help` has the
//! options, `benches/README.md` the method. Nothing leaves the namespaces that it makes, and nothing of it stays.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use bed::{Bed, Profile};
use clap::Parser;
use contestant::{Contestant, Outcome, said};
use measure::{Sample, measure};
use options::Options;
use report::{Row, Run, Table};
use xvpn::testbed::{enter, interrupted, remember_interrupts};

mod bed;
mod contestant;
mod host;
mod measure;
mod options;
mod profiler;
mod report;
mod strongswan;
mod sys;
mod tcp;
mod udp;
mod wireguard;

fn main() -> ExitCode {
    let options = Options::parse();
    // Before there is a second thread, which could not follow into the new namespaces.
    if let Err(refused) = enter() {
        eprintln!("throughput: {refused}");
        return ExitCode::FAILURE;
    }
    match run(&options) {
        Ok(()) if interrupted() => ExitCode::from(130),
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("throughput: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Outcome {
    remember_interrupts()?;
    // Sockets and files of this run: in a /run that only we and what we start can see, and that goes with us.
    said(Command::new("mount").args(["-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"]))?;
    let folder = Path::new("/run/throughput");
    fs::create_dir_all(folder)?;
    let ours = Path::new(env!("CARGO_BIN_EXE_xvpn"));
    let (contestants, missing) = gather(options, ours)?;
    let mut run = Run {
        schema: 1,
        date: said(Command::new("date").args(["-u", "+%FT%RZ"]))?,
        xvpn: format!("{} ({})", said(Command::new(ours).arg("--version"))?, commit()),
        machine: host::Description::of_this_machine(),
        load_average_before: host::load_average(),
        load_average_after: String::new(),
        rounds: options.rounds(),
        seconds: options.time().as_secs(),
        tables: Vec::new(),
    };
    for profile in options.profiles() {
        let mut table = one_profile(options, profile, &contestants, folder);
        table.rows.extend(missing.iter().map(|(name, reason)| Row {
            name: name.clone(),
            not_here: Some(reason.clone()),
            ..Row::default()
        }));
        run.tables.push(table);
        if interrupted() {
            eprintln!("throughput: interrupted; what follows is what there was until then");
            break;
        }
    }
    run.load_average_after = host::load_average();
    println!("{}\n", run.preamble());
    for contestant in &contestants {
        println!(
            "- {}: {}, {}",
            contestant.name, contestant.version, contestant.cipher
        );
    }
    println!();
    for table in &run.tables {
        println!("{}", table.markdown());
    }
    let json = options.json.clone().unwrap_or_else(default_json);
    fs::write(&json, serde_json::to_string_pretty(&run)?)?;
    println!("every round: {}", json.display());
    Ok(())
}

/// Who can be measured, and who cannot and why.
#[expect(clippy::type_complexity, reason = "two lists")]
fn gather(options: &Options, ours: &Path) -> Outcome<(Vec<Contestant>, Vec<(String, String)>)> {
    let (mut here, mut missing) = (Vec::new(), Vec::new());
    let all = Contestant::all(&options.cache(), ours, &options.builds);
    for peer in &options.peers {
        if peer != options::ALL && !all.iter().any(|(name, _)| name == peer) {
            let names: Vec<_> = all.iter().map(|(name, _)| name.as_str()).collect();
            return Err(format!("there is no peer {peer}: {}", names.join(", ")).into());
        }
    }
    for (name, contestant) in all {
        if !options.wants_peer(&name) {
            continue;
        }
        match contestant {
            Ok(contestant) => here.push(contestant),
            Err(reason) => {
                eprintln!("throughput: {name} is NOT HERE: {reason}");
                missing.push((name, reason.to_string()));
            }
        }
    }
    Ok((here, missing))
}

/// Everybody in turn, round after round; each round begins with somebody else.
fn one_profile(options: &Options, profile: Profile, contestants: &[Contestant], folder: &Path) -> Table {
    let mut rows: BTreeMap<usize, Row> = BTreeMap::new();
    let mut hints = vec![[None; 2]; contestants.len()];
    for round in 0..options.rounds() {
        for step in 0..contestants.len() {
            if interrupted() {
                break;
            }
            let at = (step + round as usize) % contestants.len();
            let contestant = &contestants[at];
            eprintln!("{}, round {}: {}", profile.word(), round + 1, contestant.name);
            let row = rows.entry(at).or_insert_with(|| Row {
                name: contestant.name.clone(),
                version: contestant.version.clone(),
                cipher: contestant.cipher.to_owned(),
                ..Row::default()
            });
            let mut sample = Sample {
                foreign_load_percent: host::foreign_load(),
                ..Sample::default()
            };
            let own = folder.join(format!("{}-{round}-{at}", profile.word()));
            let outcome = one_contestant(options, profile, contestant, &own, &mut hints[at], &mut sample);
            row.rounds.push(sample);
            if let Err(error) = outcome
                && !interrupted()
            {
                eprintln!("{} FAILED: {error}", contestant.name);
                row.failures.push(format!("round {}: {error}", round + 1));
            }
        }
    }
    Table {
        profile,
        offloads: profile.offloads(),
        rows: rows.into_values().collect(),
    }
}

fn one_contestant(
    options: &Options,
    profile: Profile,
    contestant: &Contestant,
    folder: &Path,
    hints: &mut [Option<f64>; 2],
    sample: &mut Sample,
) -> Outcome {
    let bed = Bed::build(profile)?;
    let mut running = contestant.start(&bed, folder)?;
    let name = format!("{}-{}", profile.word(), contestant.name);
    let outcome = measure(&bed, &running.pids(), options, &name, hints, sample);
    let outcome = outcome.map_err(|error| format!("{error}\n{}", running.last_words()).into());
    running.stop();
    outcome
}

fn default_json() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("throughput.json")
}

fn commit() -> String {
    let tree = env!("CARGO_MANIFEST_DIR");
    let described = said(Command::new("git").args(["-C", tree, "describe", "--always", "--dirty"]));
    described.unwrap_or_else(|_| "no git".to_owned())
}
