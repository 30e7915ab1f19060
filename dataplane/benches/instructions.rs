//! Instructions of each stage of the packet path, counted by callgrind: for comparing commits on a machine whose clock says nothing.
//!
//! ```text
//! cargo bench -p xvpn-dataplane --bench instructions [-- [--quick] [--top N] [--suite NAME] [STAGE]..]
//! ```
//!
//! It runs itself in valgrind, once for each stage and size. Only the stage is counted, not what is put in place for it.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test or bench fails by panicking"
)]

mod bed;

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use bed::{Bed, PACKETS, Stage};
use clap::Parser;
use xvpn_dataplane::Suite;
use xvpn_dataplane::sa::backend::{self, Library};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [inside, stage, suite, octets, rounds] = &arguments[..]
        && inside == INSIDE
    {
        count(stage, suite, octets, rounds);
        return ExitCode::SUCCESS;
    }
    match Plan::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("instructions: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Within valgrind: the stage, again and again.
fn count(stage: &str, suite: &str, octets: &str, rounds: &str) {
    let find = |name: &str| Stage::ALL.into_iter().find(|stage| stage.name() == name);
    let stage = find(stage).unwrap();
    // By time, in an emulation, the one or the other would be chosen.
    backend::settle(Library::Ring);
    let mut bed = Bed::new(self::suite(suite).unwrap(), octets.parse().unwrap());
    // The first batches allocate; that is not what a packet costs.
    for _ in 0..2 {
        bed.prepare(stage);
        assert_eq!(bed.run(stage), PACKETS);
    }
    for _ in 0..rounds.parse().unwrap() {
        bed.prepare(stage);
        assert_eq!(counted(&mut bed, stage), PACKETS);
    }
}

/// What callgrind counts: found by its name.
#[inline(never)]
fn counted(bed: &mut Bed, stage: Stage) -> usize {
    std::hint::black_box(bed.run(stage))
}

/// Instructions of each stage of the packet path, counted by callgrind.
#[derive(Parser)]
#[command(name = "instructions")]
struct Plan {
    /// The stages; all unless given.
    #[arg(value_parser = stage)]
    stages: Vec<Stage>,
    /// The cipher.
    #[arg(long, default_value = "aes128gcm16", value_parser = ["aes128gcm16", "aes256gcm16", "chacha20poly1305"])]
    suite: String,
    /// One round instead of 32: to see that it works.
    #[arg(long)]
    quick: bool,
    /// So many functions of each stage, the most expensive first.
    #[arg(long, default_value_t = 0)]
    top: usize,
    /// What `cargo bench` passes to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn stage(name: &str) -> Result<Stage, String> {
    let names = || Stage::ALL.map(Stage::name).join(", ");
    let found = Stage::ALL.into_iter().find(|stage| stage.name() == name);
    found.ok_or_else(|| format!("the stages are {}", names()))
}

/// Where callgrind writes: beside this program.
fn folder() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    program.with_file_name("callgrind")
}

impl Plan {
    fn rounds(&self) -> usize {
        if self.quick { 1 } else { 32 }
    }

    fn stages(&self) -> &[Stage] {
        if self.stages.is_empty() {
            &Stage::ALL
        } else {
            &self.stages
        }
    }

    fn run(&self) -> Result<(), String> {
        std::fs::create_dir_all(folder()).map_err(|error| error.to_string())?;
        println!(
            "instructions per packet, {}, ring, batches of {PACKETS}, {}",
            self.suite,
            version()?
        );
        println!("| stage | {LONG} octets | {SHORT} octets | per octet |");
        println!("|---|---|---|---|");
        for stage in self.stages() {
            let [long, short] = [self.counted(*stage, LONG)?, self.counted(*stage, SHORT)?];
            let octet = (long - short) / f64::from(LONG - SHORT);
            println!("| `{}` | {long:.0} | {short:.0} | {octet:.2} |", stage.name());
        }
        if self.top > 0 {
            for stage in self.stages() {
                self.annotate(*stage)?;
            }
        }
        Ok(())
    }

    /// Instructions per packet.
    fn counted(&self, stage: Stage, octets: u32) -> Result<f64, String> {
        let out = self.file(stage, octets);
        let output = Command::new("valgrind")
            .args([
                "--tool=callgrind",
                "--collect-atstart=no",
                "--toggle-collect=*instructions::counted*",
            ])
            .arg(format!("--callgrind-out-file={}", out.display()))
            .arg(std::env::current_exe().map_err(|error| error.to_string())?)
            .args([INSIDE, stage.name(), &self.suite])
            .args([octets.to_string(), self.rounds().to_string()])
            .stdout(Stdio::null())
            .output()
            .map_err(|error| format!("valgrind: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(format!("{} at {octets} octets:\n{said}", stage.name()));
        }
        let collected = said.lines().find_map(|line| line.split_once("Collected : "));
        let total: f64 = collected
            .and_then(|(_, number)| number.trim().parse().ok())
            .filter(|total| *total > 0.0)
            .ok_or(format!("valgrind counted nothing:\n{said}"))?;
        // Both are far below 2^52.
        #[allow(clippy::cast_precision_loss, reason = "small numbers")]
        let packets = (self.rounds() * PACKETS) as f64;
        Ok(total / packets)
    }

    /// The functions that took most, at the longer of the lengths.
    fn annotate(&self, stage: Stage) -> Result<(), String> {
        let out = self.file(stage, LONG);
        let output = Command::new("callgrind_annotate")
            .args(["--auto=no", "--threshold=99.9"])
            .arg(out)
            .output()
            .map_err(|error| format!("callgrind_annotate: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        println!(
            "\n{}, {LONG} octets, instructions in {} batches:",
            stage.name(),
            self.rounds()
        );
        let table = said.lines().skip_while(|line| !line.contains("file:function"));
        let functions = table.skip(2).filter(|line| !line.trim().is_empty());
        for line in functions.take(self.top) {
            println!("{line}");
        }
        Ok(())
    }

    fn file(&self, stage: Stage, octets: u32) -> PathBuf {
        folder().join(format!("{}.{octets}.out", stage.name()))
    }
}

fn version() -> Result<String, String> {
    let missing = "valgrind is not here: apt-get install valgrind, or what your system calls it";
    let output = Command::new("valgrind")
        .arg("--version")
        .output()
        .map_err(|_| missing)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn suite(name: &str) -> Option<Suite> {
    match name {
        "aes128gcm16" => Some(Suite::AesGcm128),
        "aes256gcm16" => Some(Suite::AesGcm256),
        "chacha20poly1305" => Some(Suite::ChaCha20Poly1305),
        _ => None,
    }
}

const INSIDE: &str = "--inside-valgrind";
/// What fits a path MTU of 1,500.
const LONG: u32 = 1438;
/// Little more than headers.
const SHORT: u32 = 64;
