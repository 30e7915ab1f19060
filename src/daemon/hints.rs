//! What ICMP says about messages that did not arrive: words for an operator, never a reason to act, for anyone can forge it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use xvpn_ike::api::{Event, Step};
use xvpn_ike::error::Cause;

use crate::admin::api::Progress;

/// The last word about every address that messages could not be delivered to.
#[derive(Debug, Default)]
pub struct Hints(BTreeMap<SocketAddr, (String, Instant)>);

impl Hints {
    /// Takes what the sockets were told.
    pub fn take(&mut self, found: Vec<(SocketAddr, io::Error)>, now: Instant) {
        self.0
            .retain(|_, (_, since)| now.saturating_duration_since(*since) < FRESH);
        for (remote, error) in found {
            self.note(remote, words(&error), now);
        }
    }

    /// Takes which TCP connections could not be opened.
    pub fn take_tcp(&mut self, found: Vec<(SocketAddr, io::Error)>, now: Instant) {
        for (remote, error) in found {
            self.note(remote, words_of_tcp(remote, &error), now);
        }
    }

    fn note(&mut self, remote: SocketAddr, words: String, now: Instant) {
        // Answers to forged senders come back undelivered too: the table stays small.
        if self.0.len() < KEPT || self.0.contains_key(&remote) {
            self.0.insert(remote, (words, now));
        }
    }

    /// Adds what is known to the news that a peer does not answer.
    pub fn add_to(&self, progress: &mut Progress, event: &Event) {
        let Some(remote) = silent(event) else { return };
        if let Some((hint, _)) = self.0.get(&remote) {
            progress.message = format!("{}; {hint}", progress.message);
            // News of another kind repeat the failure of an earlier attempt, which has its hint already.
            if let (Event::Failed { .. }, Some(failure)) = (event, &mut progress.failure) {
                failure.message = format!("{}; {hint}", failure.message);
            }
        }
    }
}

/// The peer that did not answer, if that is what the event says.
fn silent(event: &Event) -> Option<SocketAddr> {
    match event {
        Event::Progress { step, path, .. } => match step {
            Step::Retransmission { .. } => Some(path.remote),
            Step::InitResponse
            | Step::ResumeResponse
            | Step::TicketRefused
            | Step::IntermediateResponse
            | Step::AuthResponse
            | Step::AuthRequest
            | Step::PreviousKey
            | Step::DeleteResponse => None,
        },
        Event::Failed { failure, path, .. } => {
            matches!(failure.cause, Cause::NoResponse { .. }).then_some(path.remote)
        }
        Event::IkeEstablished { .. }
        | Event::ChildEstablished { .. }
        | Event::Moved { .. }
        | Event::Redirected { .. }
        | Event::ChildClosed { .. }
        | Event::ChildFailed { .. }
        | Event::ReauthFailed { .. }
        | Event::IkeClosed { .. }
        | Event::StatusUnknown { .. }
        | Event::Ignored { .. } => None,
    }
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "the enum is the standard library's"
)]
fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "its host answers that no IKE service runs there (ICMP port unreachable): start it".to_owned()
        }
        io::ErrorKind::HostUnreachable => {
            "a router or this host answers that no such host is there (ICMP host unreachable)".to_owned()
        }
        io::ErrorKind::NetworkUnreachable => {
            "a router answers that no way leads there (ICMP network unreachable)".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "a firewall answers that this is not allowed (ICMP prohibited, or a rule of this host)".to_owned()
        }
        _ => format!("the network answers: {error}"),
    }
}

#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "the enum is the standard library's"
)]
fn words_of_tcp(remote: SocketAddr, error: &io::Error) -> String {
    let port = remote.port();
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("its host answers that nobody listens on TCP port {port}: set `gateway.tcp_port` there")
        }
        io::ErrorKind::TimedOut => {
            format!("nothing answers on TCP port {port}: a firewall may drop it, as it may drop UDP")
        }
        _ => format!("a TCP connection to port {port} cannot be opened: {error}"),
    }
}

/// A hint older than this says nothing about now.
const FRESH: Duration = Duration::from_secs(120);
/// More peers than this at once are not remembered.
const KEPT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use xvpn_ike::api::Path;
    use xvpn_ike::config::ConnectionId;

    use crate::admin::api::TunnelState;

    fn repeated(remote: &str) -> Event {
        Event::Progress {
            connection: ConnectionId(0),
            step: Step::Retransmission { sent: 2 },
            path: Path {
                local: "192.0.2.1:500".parse().unwrap(),
                remote: remote.parse().unwrap(),
            },
        }
    }

    fn told(hints: &Hints, remote: &str) -> String {
        let mut progress = Progress {
            tunnel: "azure".into(),
            state: TunnelState::Connecting,
            message: "no answer".into(),
            failure: None,
        };
        hints.add_to(&mut progress, &repeated(remote));
        progress.message
    }

    #[test]
    fn says_that_no_service_runs_at_the_peer_until_that_is_old() {
        let (mut hints, now) = (Hints::default(), Instant::now());
        let refused = |remote: &str| {
            (
                remote.parse().unwrap(),
                io::Error::from(io::ErrorKind::ConnectionRefused),
            )
        };
        hints.take(vec![refused("192.0.2.2:500")], now);
        assert!(told(&hints, "192.0.2.2:500").contains("no IKE service runs there"));
        assert_eq!(told(&hints, "192.0.2.3:500"), "no answer");
        hints.take(vec![], now + FRESH);
        assert_eq!(told(&hints, "192.0.2.2:500"), "no answer");
    }
}
