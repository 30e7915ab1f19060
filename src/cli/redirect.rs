//! `xvpn redirect`: sends the peers of tunnels to another gateway, to drain this one (RFC 5685).

use clap::Args;

use super::{Exit, Global, complain_of};
use crate::admin::api::{Request, TunnelStatus};
use crate::admin::client::{Client, ClientError};
use crate::config;

/// Arguments of `xvpn redirect`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Names of tunnels; none: all
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// The other gateway: an address or a DNS name by which the peers reach it
    #[arg(long, value_name = "GATEWAY", required_unless_present = "stop")]
    to: Option<String>,
    /// Serve the peers here again
    #[arg(long, conflicts_with = "to")]
    stop: bool,
}

pub(super) fn redirect(global: &Global, arguments: &Arguments) -> Exit {
    let state_dir = config::state_dir(&global.config);
    match ask(&state_dir, arguments) {
        Ok(lines) => {
            lines.iter().for_each(|line| eprintln!("{line}"));
            Exit::Success
        }
        Err(error) => complain_of(&error),
    }
}

fn ask(state_dir: &std::path::Path, arguments: &Arguments) -> Result<Vec<String>, ClientError> {
    let mut client = Client::connect(state_dir)?;
    let names = client.command(Request::Redirect {
        names: arguments.names.clone(),
        to: arguments.to.clone(),
    })?;
    let tunnels = client.status()?.tunnels;
    let find = |name: &String| tunnels.iter().find(|tunnel| tunnel.name == *name);
    Ok(names
        .iter()
        .map(|name| format!("{name}: {}", words(find(name), arguments.to.as_deref())))
        .collect())
}

fn words(tunnel: Option<&TunnelStatus>, to: Option<&str>) -> String {
    let Some(to) = to else {
        return "serves its peer here again".to_owned();
    };
    let ike = tunnel.and_then(|tunnel| tunnel.ike.as_ref());
    match ike {
        None => format!("will send its peer to {to} when it comes"),
        Some(ike) if ike.redirectable => format!("sends its peer to {to}"),
        Some(_) => format!(
            "its peer stays, for it cannot be redirected (it does not speak RFC 5685, or this gateway began); when it \
             comes anew it is sent to {to}, if it can be; `xvpn down` ends it now"
        ),
    }
}
