//! The command line: one verb, one file.

mod background;
mod check;
mod completions;
mod demo;
mod down;
mod genpsk;
mod metrics;
mod redirect;
mod rekey;
mod run;
mod status;
mod terminal;
mod trace;
mod unit;
mod up;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::admin::client::ClientError;
use crate::config::defaults;
use crate::config::suggest::nearest;

/// An IKEv2/IPsec VPN gateway that explains itself
#[derive(Debug, Parser)]
#[command(name = "xvpn", version, about, after_help = EXIT_CODES, arg_required_else_help = false)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Option<Verb>,
}

/// What every verb knows.
#[derive(Debug, Args)]
pub struct Global {
    /// The configuration; conf.d/*.toml beside it is read too
    #[arg(long, global = true, value_name = "FILE", env = "XVPN_CONFIG", default_value = defaults::CONFIG_FILE)]
    pub config: PathBuf,
    /// What to log: error, warn, info, debug, trace, or a filter such as info,xvpn_ike=debug
    #[arg(long, global = true, value_name = "FILTER", env = "XVPN_LOG", value_parser = log_filter)]
    pub log: Option<String>,
}

/// What to do. Without a verb: `status`.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs the gateway in the foreground (for systemd)
    Run(run::Arguments),
    /// Brings tunnels up and waits until they are; starts the gateway if it does not run
    Up(up::Arguments),
    /// Takes tunnels down and waits until they are
    Down(down::Arguments),
    /// Replaces the keys of tunnels now, without loss
    Rekey(rekey::Arguments),
    /// Sends the peers of tunnels to another gateway, to drain this one
    Redirect(redirect::Arguments),
    /// Shows how the tunnels are
    Status(status::Arguments),
    /// Prints the counters and states as OpenMetrics text, for a collector that reads files
    Metrics,
    /// Checks the configuration and says all that is wrong with it
    Check(check::Arguments),
    /// Makes a pre-shared key of 256 bits
    Genpsk,
    /// Builds two clouds on this machine, joins them by a tunnel, and proves that it works
    Demo(demo::Arguments),
    /// Exports the keys of all SAs, so that Wireshark and tshark decrypt what was captured
    Trace(trace::Arguments),
    /// Prints the systemd unit for this gateway
    Unit,
    /// Prints a completion script for a shell
    Completions(completions::Arguments),
}

/// How a command ended, as its exit status. Zero is success, 2 is clap's for arguments that it does not understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Success = 0,
    /// Not done; standard error says why.
    Failed = 1,
    /// No daemon runs.
    NoDaemon = 3,
    /// The configuration is wrong.
    Configuration = 4,
    /// `status`: a tunnel that shall be up is not.
    NotEstablished = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

const EXIT_CODES: &str = "\
Exit status:
  0  done (status: every tunnel that shall be up is established)
  1  not done; standard error says why
  2  arguments not understood
  3  the gateway does not run
  4  the configuration is wrong
  5  status: a tunnel that shall be up is not established

Without a verb: status.";

/// Reads the arguments and does what they say.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let global = &cli.global;
    let exit = match cli.verb {
        None => status::status(global, &status::Arguments::default()),
        Some(Verb::Status(arguments)) => status::status(global, &arguments),
        Some(Verb::Run(arguments)) => run::run(global, &arguments),
        Some(Verb::Up(arguments)) => up::up(global, &arguments),
        Some(Verb::Down(arguments)) => down::down(global, &arguments),
        Some(Verb::Rekey(arguments)) => rekey::rekey(global, &arguments),
        Some(Verb::Redirect(arguments)) => redirect::redirect(global, &arguments),
        Some(Verb::Check(arguments)) => check::check(global, &arguments),
        Some(Verb::Metrics) => metrics::metrics(global),
        Some(Verb::Genpsk) => genpsk::genpsk(),
        Some(Verb::Demo(arguments)) => demo::demo(global, &arguments),
        Some(Verb::Trace(arguments)) => trace::trace(global, &arguments),
        Some(Verb::Unit) => unit::unit(),
        Some(Verb::Completions(arguments)) => completions::completions(&arguments),
    };
    exit.into()
}

/// A daemon that logs nothing of what was asked for would only be noticed when its log is needed.
fn log_filter(text: &str) -> Result<String, String> {
    match crate::log::check_filter(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(error) => Err(format!(
            "{error}; write a level (error, warn, info, debug, trace), or info,xvpn_ike=debug"
        )),
    }
}

/// Says what went wrong and what to do, on standard error.
fn complain(message: &str, remedy: &str) {
    let style = terminal::Style::stderr();
    eprintln!("{}: {message}", style.bad("error"));
    if !remedy.is_empty() {
        eprintln!("  {}: {remedy}", style.strong("remedy"));
    }
}

/// Says why the daemon did not do it, and gives the exit status for it.
fn complain_of(error: &ClientError) -> Exit {
    let mut remedy = error.remedy();
    if let ClientError::Refused(report) = error {
        let known = || report.known.iter().map(String::as_str);
        if let Some((unknown, meant)) = report
            .unknown
            .iter()
            .find_map(|name| Some((name, nearest(name, known())?)))
        {
            remedy = format!("did you mean `{meant}` instead of `{unknown}`? {remedy}");
        }
    }
    complain(&error.to_string(), &remedy);
    match error {
        ClientError::NoDaemon(_) => Exit::NoDaemon,
        ClientError::Denied(_)
        | ClientError::Lost(_)
        | ClientError::NotUnderstood(_)
        | ClientError::Refused(_) => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_has_no_contradictions() {
        Cli::command().debug_assert();
    }
}
