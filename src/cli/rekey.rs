//! `xvpn rekey`: replaces the keys of tunnels now, without loss.

use clap::Args;

use super::{Exit, Global, complain_of};
use crate::admin::api::Request;
use crate::admin::client::Client;
use crate::config;

/// Arguments of `xvpn rekey`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Names of tunnels; none: all
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// The keys of the negotiation (IKE SA) instead of those of the packets (CHILD SA)
    #[arg(long)]
    ike: bool,
}

pub(super) fn rekey(global: &Global, arguments: &Arguments) -> Exit {
    let state_dir = config::state_dir(&global.config);
    let request = Request::Rekey {
        names: arguments.names.clone(),
        ike: arguments.ike,
    };
    match Client::connect(&state_dir).and_then(|mut client| client.command(request)) {
        Ok(names) => {
            names
                .iter()
                .for_each(|name| eprintln!("{name}: asks the peer for new keys"));
            Exit::Success
        }
        Err(error) => complain_of(&error),
    }
}
