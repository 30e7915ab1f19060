//! `xvpn status`: how the tunnels are.

mod queues;
mod text;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::terminal::Style;
use super::{Exit, Global, complain, complain_of};
use crate::admin::api::{ErrorReport, StatusReport, TunnelState};
use crate::admin::client::{Client, ClientError};
use crate::config;

/// Arguments of `xvpn status`.
#[derive(Debug, Default, Args)]
pub(super) struct Arguments {
    /// Only this tunnel
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// For programs: the whole report as JSON
    #[arg(long)]
    json: bool,
    /// Shows what the packet path of each queue carries, costs and refuses, and which library does the ciphers, too
    #[arg(long)]
    queues: bool,
    /// Shows it again every second until interrupted
    #[arg(long)]
    watch: bool,
}

pub(super) fn status(global: &Global, arguments: &Arguments) -> Exit {
    let state_dir = config::state_dir(&global.config);
    loop {
        let report = match report(&state_dir, arguments) {
            Ok(report) => report,
            Err(error) => return complain_of(&error),
        };
        let shown = match show(&report, arguments) {
            Ok(text) => text,
            Err(error) => {
                complain(
                    &format!("cannot write the status as JSON: {error}"),
                    "report this as a bug",
                );
                return Exit::Failed;
            }
        };
        let clear = if arguments.watch && std::io::stdout().is_terminal() {
            "\x1b[H\x1b[2J"
        } else {
            ""
        };
        // A reader that went away (`| head`) has seen enough.
        if write!(std::io::stdout(), "{clear}{shown}")
            .and_then(|()| std::io::stdout().flush())
            .is_err()
            || !arguments.watch
        {
            return verdict(&report);
        }
        std::thread::sleep(EVERY);
    }
}

fn report(state_dir: &Path, arguments: &Arguments) -> Result<StatusReport, ClientError> {
    let mut report = Client::connect(state_dir)?.status()?;
    if let Some(name) = &arguments.name {
        let known: Vec<String> = report.tunnels.iter().map(|tunnel| tunnel.name.clone()).collect();
        report.tunnels.retain(|tunnel| tunnel.name == *name);
        if report.tunnels.is_empty() {
            return Err(ClientError::Refused(ErrorReport::unknown_tunnels(
                vec![name.clone()],
                known,
            )));
        }
    }
    Ok(report)
}

fn show(report: &StatusReport, arguments: &Arguments) -> serde_json::Result<String> {
    if arguments.json {
        // One line each when watching, so that a program can read them one by one.
        let text = if arguments.watch {
            serde_json::to_string(report)
        } else {
            serde_json::to_string_pretty(report)
        };
        return text.map(|text| text + "\n");
    }
    let mut text = text::render(report, Style::stdout());
    if arguments.queues {
        text += &queues::render(report, Style::stdout());
    }
    Ok(text)
}

fn verdict(report: &StatusReport) -> Exit {
    let missing = report
        .tunnels
        .iter()
        .any(|tunnel| tunnel.wanted && tunnel.state != TunnelState::Established);
    if missing {
        Exit::NotEstablished
    } else {
        Exit::Success
    }
}

const EVERY: Duration = Duration::from_secs(1);
