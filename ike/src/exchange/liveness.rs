//! Is the peer still there? An empty INFORMATIONAL exchange (RFC 7296 1.4, 2.4).
//!
//! Anything that the peer alone can send is proof of life: a fresh IKE message, or an ESP packet that passed its
//! integrity check and window (the dataplane reports those). Only after silence is the peer asked.

use std::time::{Duration, Instant};

use crate::api::Reason;
use crate::state::Established;
use crate::timers::after;

use super::{Cx, mobike};

/// Notes a sign of life.
pub(crate) fn heard(established: &mut Established, now: Instant) {
    established.last_heard = established.last_heard.max(now);
    arm(established);
}

/// Sets the deadline of the next check.
pub(crate) fn arm(established: &mut Established) {
    if let Some(silence) = established.config.liveness.filter(|_| established.is_current()) {
        established.timers.set(
            Reason::Liveness,
            after(established.last_heard, silence.max(SHORTEST_SILENCE)),
        );
    }
}

/// The deadline has passed: asks, unless a request is on its way anyhow (which proves as much when it is answered).
pub(crate) fn on_timeout(cx: &mut Cx<'_>, established: &mut Established) {
    if established.ike.requests.is_free() {
        if established.is_mobile() && established.mobility.decides && established.ike.nat.nat_local {
            mobike::probe(cx, established);
        } else {
            established.ask_for_life(cx);
        }
    }
}

/// A peer is not asked more often, whatever the configuration says.
const SHORTEST_SILENCE: Duration = Duration::from_secs(1);
