//! `xvpn demo`: two clouds on this machine.

use clap::Args;

use super::{Exit, Global, complain};

/// Arguments of `xvpn demo`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Leaves everything running, and prints how to enter it
    #[arg(long)]
    keep: bool,
}

pub(super) fn demo(_global: &Global, _arguments: &Arguments) -> Exit {
    complain("the demo is not part of this build", "");
    Exit::Failed
}
