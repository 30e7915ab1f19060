//! What the kernel's ways to read, write and wait cost, each beside what the dataplane does, on this machine.
//!
//! `cargo bench --bench techniques` prints a table for each stage (`--part` for one of them). It makes network namespaces of
//! its own and leaves nothing. `benches/README.md` says how to read it, `docs/internals/packet-path.md` what came of it.

use std::io;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use xvpn::testbed::enter;

mod bed;
mod measure;
mod ring;
mod sys;
mod tun_read;
mod tun_write;
mod udp;
mod wake;

/// Costs of reading, writing and waiting, one technique beside the other.
#[derive(Parser)]
#[command(name = "techniques")]
struct Options {
    /// What to measure; everything unless given.
    #[arg(long = "part", value_enum, value_name = "PART")]
    parts: Vec<Part>,
    /// How often each is measured; the tables show medians.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// What `cargo bench` passes to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Part {
    TunRead,
    TunWrite,
    Send,
    Receive,
    Wake,
}

fn main() -> ExitCode {
    let options = Options::parse();
    // Before there is a second thread, which could not follow into the new namespaces.
    if let Err(refused) = enter() {
        eprintln!("techniques: {refused}");
        return ExitCode::FAILURE;
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("techniques: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    let bed = bed::Bed::build()?;
    let rounds = usize::from(options.rounds);
    println!(
        "ns per packet (a round trip, for waiting), medians of {rounds} rounds in turns; the CPU time is that of all threads."
    );
    println!(
        "The first two rows of a table are the same: what they differ by is noise, and so is whatever differs by less."
    );
    for part in [
        Part::TunRead,
        Part::TunWrite,
        Part::Send,
        Part::Receive,
        Part::Wake,
    ] {
        if !options.parts.is_empty() && !options.parts.contains(&part) {
            continue;
        }
        for size in [64, 1372] {
            match part {
                Part::TunRead => tun_read::run(&bed, size, rounds)?,
                Part::TunWrite => tun_write::run(&bed, size, rounds)?,
                Part::Send => udp::send(&bed, size, rounds)?,
                Part::Receive => udp::receive(&bed, size, rounds)?,
                Part::Wake => {}
            }
        }
        if part == Part::Wake {
            wake::run(&bed, rounds)?;
        }
    }
    Ok(())
}
