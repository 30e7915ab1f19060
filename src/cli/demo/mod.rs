//! `xvpn demo`: two clouds on this machine, joined by a tunnel, and the proof that it works.

mod act;
mod files;
mod proof;
mod screen;

use clap::Args;

use super::{Exit, Global, complain};
use crate::testbed;

/// Arguments of `xvpn demo`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Leaves everything running until Ctrl-C, and prints how to enter each machine
    #[arg(long)]
    keep: bool,
    /// How long to measure the throughput, each way
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
}

/// Runs the demo. The process must have a single thread.
pub(super) fn demo(_global: &Global, arguments: &Arguments) -> Exit {
    if let Err(refused) = testbed::enter() {
        complain(&refused.to_string(), "");
        return Exit::Failed;
    }
    match act::play(arguments) {
        Ok(()) => Exit::Success,
        Err(trouble) => {
            complain(&trouble.message, &trouble.remedy);
            Exit::Failed
        }
    }
}
