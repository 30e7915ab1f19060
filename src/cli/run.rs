//! `xvpn run`: the gateway itself.

use clap::Args;

use super::terminal::Style;
use super::{Exit, Global, complain};
use crate::config::{self, Config, Purpose};

/// Arguments of `xvpn run`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Leaves the terminal's session; `xvpn up` starts the gateway so
    #[arg(long, hide = true)]
    pub(super) detach: bool,
}

pub(super) fn run(global: &Global, arguments: &Arguments) -> Exit {
    if arguments.detach
        && let Err(error) = nix::unistd::setsid()
    {
        complain(
            &format!("cannot leave the session of the terminal: {error}"),
            "start it with `xvpn run` instead",
        );
        return Exit::Failed;
    }
    let loaded = match config::load(&global.config, Purpose::Run) {
        Ok(loaded) => loaded,
        Err(report) => {
            eprint!("{}", report.render(Style::stderr().is_coloured()));
            return Exit::Configuration;
        }
    };
    crate::log::init(global.log.as_deref().unwrap_or(&loaded.config.gateway.log));
    eprint!("{}", loaded.warnings.render(Style::stderr().is_coloured()));
    serve(loaded.config)
}

/// Runs the daemon until it is told to end.
fn serve(config: Config) -> Exit {
    match crate::daemon::run(config) {
        Ok(()) => Exit::Success,
        Err(error) => {
            complain(&error.to_string(), "");
            Exit::Failed
        }
    }
}
