//! Keys for `xvpn trace`: off unless an operator asks, for one at a time, for a limited time, and never in silence.

use std::time::{Duration, Instant};

use xvpn_ike::api::{Command, ExportedKeys, Input};

use super::status::ms;
use super::supervisor::Supervisor;
use super::wireshark;
use crate::admin::api::{ErrorKind, ErrorReport, KeyExport, Response};
use crate::admin::server::KeySink;

/// Somebody who is given the keys of all SAs.
#[derive(Debug)]
pub struct Export {
    sink: KeySink,
    until: Instant,
    rows: u64,
}

impl Export {
    /// Gives one row. An error: it is over, for this reason.
    fn give(&mut self, keys: &ExportedKeys) -> Result<(), &'static str> {
        if self.rows >= MOST_ROWS {
            return Err("there were too many");
        }
        self.rows += 1;
        let row = wireshark::row(keys);
        self.sink.rows.try_send(row).map_err(|error| match error {
            tokio::sync::mpsc::error::TrySendError::Full(_) => "it does not take them",
            tokio::sync::mpsc::error::TrySendError::Closed(_) => GONE,
        })
    }

    /// Why it is over, if it is.
    fn over(&self, now: Instant) -> Option<&'static str> {
        if self.sink.rows.is_closed() {
            Some(GONE)
        } else if now >= self.until {
            Some("its time is over")
        } else {
            None
        }
    }

    /// For the status.
    pub(super) fn report(&self, now: Instant) -> KeyExport {
        KeyExport {
            to: self.sink.to.clone(),
            left_ms: ms(self.until.saturating_duration_since(now)),
            rows: self.rows,
        }
    }
}

impl Supervisor {
    /// Begins to give keys.
    pub(super) fn export_keys(&mut self, seconds: u32, sink: Option<KeySink>) -> Response {
        let Some(sink) = sink else {
            let message = "there is no way for the keys to go";
            return Response::Error(ErrorReport::new(
                ErrorKind::Internal,
                message,
                "report this as a bug",
            ));
        };
        self.check_export();
        if let Some(export) = &self.export {
            let message = format!("the keys are given to {} already", export.sink.to);
            let remedy = "end that one first, or wait until its time is over (`xvpn status`)";
            return Response::Error(ErrorReport::new(ErrorKind::Busy, message, remedy));
        }
        let seconds = seconds.clamp(1, LONGEST);
        tracing::warn!(
            "EXPORTING KEYS: {} is given the keys of all IKE and ESP SAs for up to {seconds} s (xvpn trace); whoever has \
             them reads the traffic of every tunnel",
            sink.to
        );
        self.export = Some(Export {
            sink,
            until: Instant::now() + Duration::from_secs(seconds.into()),
            rows: 0,
        });
        self.handle(Input::Command(Command::ExportKeys(true)));
        Response::ExportingKeys { seconds }
    }

    /// Passes keys on. What nobody takes is forgotten.
    pub(super) fn give_keys(&mut self, keys: &ExportedKeys) {
        if let Some(Err(why)) = self.export.as_mut().map(|export| export.give(keys)) {
            self.end_export(why);
        }
    }

    /// Ends it when it is over.
    pub(super) fn check_export(&mut self) {
        if let Some(why) = self
            .export
            .as_ref()
            .and_then(|export| export.over(Instant::now()))
        {
            self.end_export(why);
        }
    }

    fn end_export(&mut self, why: &str) {
        if let Some(Export { sink, rows, .. }) = self.export.take() {
            tracing::warn!(
                "no longer exporting keys to {}: {why} ({rows} were given)",
                sink.to
            );
        }
        self.handle(Input::Command(Command::ExportKeys(false)));
    }
}

/// No export takes longer.
const LONGEST: u32 = 24 * 3600;
/// No export is larger: whoever floods us with first messages shall not fill a disk with the keys of half-open SAs.
const MOST_ROWS: u64 = 100_000;
const GONE: &str = "it is gone";
