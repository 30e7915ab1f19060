//! What `ike` tells of the tunnels: for the log, the status, the subscribers and systemd, and what follows from it.

use std::time::Instant;

use xvpn_ike::api::{CloseReason, Event};
use xvpn_ike::error::Side;

use super::status::connection_of;
use super::supervisor::Supervisor;
use super::{systemd, words};
use crate::admin::api::{Progress, TunnelState};

impl Supervisor {
    /// Tells it to whom it concerns, and does what follows.
    pub(super) fn on_event(&mut self, event: &Event) {
        let now = Instant::now();
        if let Event::Ignored { reason } = event {
            *self.ignored.entry(reason.name()).or_default() += 1;
            return;
        }
        self.claim_as_told(event);
        let id = connection_of(event);
        let Some((id, tunnel)) = id.and_then(|id| Some((id, self.tunnels.get_mut(&id)?))) else {
            self.on_stranger(event);
            return;
        };
        if let Event::StatusUnknown { doubt, .. } = event {
            let name = &tunnel.config.name;
            tracing::warn!(
                "tunnel {name}: the peer is accepted, but {doubt}; {}",
                doubt.remedy()
            );
        }
        if let Some(mut progress) = tunnel.on_event(event, now) {
            self.hints.take(self.sources.undelivered(), now);
            self.hints.take_tcp(self.sources.streams.take_refused(), now);
            self.hints.add_to(&mut progress, event);
            tunnel.amend(&progress);
            let loud = match event {
                Event::IkeEstablished { .. }
                | Event::ChildEstablished { .. }
                | Event::ChildFailed { .. }
                | Event::ReauthFailed { .. }
                | Event::Failed { .. } => true,
                Event::IkeClosed { .. } | Event::Moved { .. } | Event::Redirected { .. } => true,
                Event::ChildClosed { .. } | Event::Progress { .. } => false,
                Event::StatusUnknown { .. } | Event::Ignored { .. } => false,
            };
            self.publish(progress, loud);
        }
        match event {
            Event::IkeClosed {
                reason: CloseReason::Operator,
                ..
            } => self.bar(id),
            Event::Redirected {
                to, by: Side::Peer, ..
            } => self.seek_gateway(id, to.clone()),
            // The network or a name may have changed: the next attempt begins with a fresh look.
            Event::Failed { .. } => self.search(id),
            Event::Progress { .. }
            | Event::IkeEstablished { .. }
            | Event::ChildEstablished { .. }
            | Event::Moved { .. }
            | Event::Redirected { by: Side::Us, .. }
            | Event::ChildClosed { .. }
            | Event::ReauthFailed { .. }
            | Event::ChildFailed { .. }
            | Event::IkeClosed { .. }
            | Event::StatusUnknown { .. }
            | Event::Ignored { .. } => {}
        }
        self.tell_systemd();
    }

    fn claim_as_told(&mut self, event: &Event) {
        match event {
            Event::IkeEstablished { connection, ike } | Event::Moved { connection, ike, .. } => {
                self.claim(*connection, ike.path);
            }
            Event::IkeClosed { connection, .. } => self.sources.streams.claim(connection.0, None),
            Event::Progress { .. }
            | Event::ChildEstablished { .. }
            | Event::ChildClosed { .. }
            | Event::ChildFailed { .. }
            | Event::Failed { .. }
            | Event::ReauthFailed { .. }
            | Event::Redirected { .. }
            | Event::StatusUnknown { .. }
            | Event::Ignored { .. } => {}
        }
    }

    /// A negotiation that belongs to no tunnel: counted, and told in the log only now and then, for anyone can cause it.
    fn on_stranger(&mut self, event: &Event) {
        if let Event::Failed { failure, path, .. } = event {
            let count = self.ignored.entry("refused_stranger").or_default();
            *count += 1;
            if *count <= STRANGERS_LOGGED || count.is_multiple_of(1000) {
                let report = words::failure(failure, path, 0);
                tracing::warn!("refused a negotiation: {}; {}", report.message, report.remedy);
            }
        }
    }

    pub(super) fn publish(&self, progress: Progress, loud: bool) {
        match (progress.state, loud) {
            (TunnelState::Failed, true) => tracing::warn!("tunnel {}: {}", progress.tunnel, progress.message),
            (
                TunnelState::Down
                | TunnelState::Listening
                | TunnelState::Connecting
                | TunnelState::Established
                | TunnelState::Closing,
                true,
            ) => tracing::info!("tunnel {}: {}", progress.tunnel, progress.message),
            (_, false) => tracing::debug!("tunnel {}: {}", progress.tunnel, progress.message),
        }
        // Without subscribers nobody is told.
        drop(self.progress.send(progress));
    }

    pub(super) fn tell_systemd(&self) {
        if self.ending.is_none() {
            let up = self
                .tunnels
                .values()
                .filter(|tunnel| tunnel.established())
                .count();
            systemd::status(&format!("{up} of {} tunnels established", self.tunnels.len()));
        }
    }
}

/// Refused strangers told in full, before they are only counted.
const STRANGERS_LOGGED: u64 = 20;
