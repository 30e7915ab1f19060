//! `xvpn metrics`: what `gateway.metrics` serves, without HTTP: for a textfile collector.

use std::io::Write;

use super::{Exit, Global, complain_of};
use crate::admin::client::Client;
use crate::admin::metrics::render;
use crate::config;

/// Prints the status as OpenMetrics text.
pub(super) fn metrics(global: &Global) -> Exit {
    let state_dir = config::state_dir(&global.config);
    match Client::connect(&state_dir).and_then(|mut client| client.status()) {
        Ok(status) => {
            // A reader that went away has seen enough.
            let _ = std::io::stdout().write_all(render(&status).as_bytes());
            Exit::Success
        }
        Err(error) => complain_of(&error),
    }
}
