//! `xvpn completions SHELL`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Exit};

/// Arguments of `xvpn completions`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The shell
    shell: Shell,
}

pub(super) fn completions(arguments: &Arguments) -> Exit {
    clap_complete::generate(
        arguments.shell,
        &mut Cli::command(),
        "xvpn",
        &mut std::io::stdout(),
    );
    Exit::Success
}
