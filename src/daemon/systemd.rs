//! What systemd is told (`sd_notify`); without systemd, nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;

/// Sockets and interfaces stand; packets and requests are taken.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// One line for `systemctl status`.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// The end has begun.
pub fn stopping() {
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("deleting SAs and undoing changes"),
    ]);
}

/// The loop still turns.
pub fn watchdog() {
    tell(&[NotifyState::Watchdog]);
}

/// How often the loop must prove that it turns, if systemd asked for it: half of the time after which it acts.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be told");
    }
}
