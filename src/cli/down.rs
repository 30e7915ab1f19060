//! `xvpn down`: takes tunnels down and waits until they are.

use std::time::{Duration, Instant};

use clap::Args;

use super::terminal::Style;
use super::{Exit, Global, complain, complain_of};
use crate::admin::api::{Request, TunnelState};
use crate::admin::client::{Client, ClientError};
use crate::config;

/// Arguments of `xvpn down`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Names of tunnels; none: all
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Seconds to wait until they are down
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    timeout: u64,
}

pub(super) fn down(global: &Global, arguments: &Arguments) -> Exit {
    let state_dir = config::state_dir(&global.config);
    match Client::connect(&state_dir).and_then(|mut client| ask(&mut client, arguments)) {
        Ok(exit) => exit,
        Err(error) => complain_of(&error),
    }
}

fn ask(client: &mut Client, arguments: &Arguments) -> Result<Exit, ClientError> {
    let deadline = Instant::now() + Duration::from_secs(arguments.timeout);
    let mut pending = client.command(Request::Down {
        names: arguments.names.clone(),
    })?;
    let style = Style::stderr();
    loop {
        let tunnels = client.status()?.tunnels;
        pending.retain(|name| {
            let up = tunnels
                .iter()
                .any(|tunnel| tunnel.name == *name && tunnel.state != TunnelState::Down);
            if !up {
                eprintln!("{name}: {}", style.strong("down"));
            }
            up
        });
        if pending.is_empty() {
            return Ok(Exit::Success);
        }
        if Instant::now() >= deadline {
            let message = format!("not down after {} s: {}", arguments.timeout, pending.join(", "));
            complain(
                &message,
                "the peer does not answer the delete; it is given up in a while, see `xvpn status`",
            );
            return Ok(Exit::Failed);
        }
        std::thread::sleep(LOOK);
    }
}

/// Between looks at the state.
const LOOK: Duration = Duration::from_millis(50);
