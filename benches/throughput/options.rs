//! What is asked for on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::bed::Profile;

/// Throughput, latency and cost of xvpn and of other VPNs in user space, side by side on one machine.
#[derive(Debug, Parser)]
#[command(name = "throughput")]
pub(crate) struct Options {
    /// How large packets may be on the links; all three profiles unless given.
    #[arg(long = "profile", value_enum, value_name = "PROFILE")]
    pub(crate) profiles: Vec<Profile>,
    /// Whom to measure, for instance xvpn and wireguard-go; unless given, everybody, but of xvpn only its defaults. "all": its variants,
    /// too.
    #[arg(long = "peer", value_name = "NAME")]
    pub(crate) peers: Vec<String>,
    /// What to measure; everything unless given.
    #[arg(long = "part", value_enum, value_name = "PART")]
    pub(crate) parts: Vec<Part>,
    /// How long each TCP run is measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: u64,
    /// How often everything is measured; the tables show medians.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// One round of two seconds: for a first look, never for a comparison.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Another xvpn to measure in the same run; its rows are called xvpn@LABEL.
    #[arg(long = "xvpn", value_name = "LABEL=PROGRAM", value_parser = labelled)]
    pub(crate) builds: Vec<(String, PathBuf)>,
    /// Where `setup.sh` put the peers.
    #[arg(long, env = "XVPN_BENCH_CACHE", value_name = "FOLDER")]
    pub(crate) cache: Option<PathBuf>,
    /// Where the figures of each round go.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Has `perf` tell where the gateways' time goes in one more TCP run of each, into this folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) perf: Option<PathBuf>,
    /// What `cargo bench` passes to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A kind of measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Round trips, idle and under load.
    Ping,
    /// TCP streams.
    Tcp,
    /// UDP packets per second.
    Udp,
}

impl Options {
    pub(crate) fn wants(&self, part: Part) -> bool {
        self.parts.is_empty() || self.parts.contains(&part)
    }

    pub(crate) fn profiles(&self) -> Vec<Profile> {
        if self.profiles.is_empty() {
            return vec![Profile::Super, Profile::Wire, Profile::Plain];
        }
        self.profiles.clone()
    }

    pub(crate) fn rounds(&self) -> u32 {
        if self.quick { 1 } else { self.rounds }
    }

    pub(crate) fn time(&self) -> Duration {
        Duration::from_secs(if self.quick { 2 } else { self.seconds })
    }

    pub(crate) fn pings(&self) -> usize {
        if self.quick { 50 } else { 300 }
    }

    /// Whether the row `name` is wanted. `xvpn` means that row of every build.
    pub(crate) fn wants_peer(&self, name: &str) -> bool {
        let row = name.split('@').next().unwrap_or_default();
        if self.peers.is_empty() {
            return !row.starts_with("xvpn-");
        }
        let wanted = |peer: &String| [name, row, ALL].contains(&peer.as_str());
        self.peers.iter().any(wanted)
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.cache.clone().unwrap_or_else(|| {
            let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
            let caches =
                std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
            caches.join("xvpn-bench")
        })
    }
}

/// The name of all peers.
pub(crate) const ALL: &str = "all";

fn labelled(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((label, program)) if !label.is_empty() => std::fs::canonicalize(program)
            .map(|program| (label.to_owned(), program))
            .map_err(|error| format!("{program}: {error}")),
        Some(_) | None => Err("write LABEL=PROGRAM".to_owned()),
    }
}
