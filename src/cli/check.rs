//! `xvpn check`: everything that is wrong with the configuration, at once.

use clap::Args;

use super::terminal::Style;
use super::{Exit, Global};
use crate::config::{self, Purpose, TunnelConfig};

/// Arguments of `xvpn check`.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLE)]
pub(super) struct Arguments {
    /// Warnings count as errors
    #[arg(long)]
    strict: bool,
}

pub(super) fn check(global: &Global, arguments: &Arguments) -> Exit {
    let style = Style::stderr();
    match config::load(&global.config, Purpose::Check) {
        Err(report) => {
            eprint!("{}", report.render(style.is_coloured()));
            Exit::Configuration
        }
        Ok(loaded) => {
            eprint!("{}", loaded.warnings.render(style.is_coloured()));
            let tunnels: Vec<&str> = loaded
                .config
                .tunnels
                .iter()
                .map(|tunnel| tunnel.name.as_str())
                .collect();
            let count = tunnels.len();
            let names = if count == 0 {
                String::new()
            } else {
                format!(" ({})", tunnels.join(", "))
            };
            let plural = if count == 1 { "" } else { "s" };
            println!("{}: good, {count} tunnel{plural}{names}", global.config.display());
            loaded.config.tunnels.iter().for_each(say_preset);
            if arguments.strict && loaded.warnings.warnings() > 0 {
                Exit::Configuration
            } else {
                Exit::Success
            }
        }
    }
}

/// What the preset of a tunnel came to.
fn say_preset(tunnel: &TunnelConfig) {
    let Some(preset) = &tunnel.preset else { return };
    println!(
        "{}: preset \"{}\", for {}, sets",
        tunnel.name, preset.name, preset.gateway
    );
    for line in &preset.set {
        println!("    {line}");
    }
    for note in preset.notes {
        println!("  note: {note}");
    }
}

const EXAMPLE: &str = r#"An example, /etc/xvpn/xvpn.toml:

  [[tunnel]]
  name   = "azure"
  local  = { id = "aws.example", networks = ["10.1.0.0/16"] }
  remote = { id = "azure.example", address = "198.51.100.7", networks = ["10.2.0.0/16"] }
  psk    = { file = "/etc/xvpn/azure.psk" }

The key is made once, (umask 077; xvpn genpsk > /etc/xvpn/azure.psk), and copied to the other side, whose
configuration is the same with `local` and `remote` exchanged."#;
