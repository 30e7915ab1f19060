//! Between AUTH and its consequences: is the peer's certificate still good (RFC 5280 6.3, RFC 6960, RFC 4806)?
//!
//! The peer has shown a path to a trust anchor and the key; only now may it make us ask the network. While we ask, its
//! message is kept, and judged again, from the beginning, when the answer is there or does not come.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Cx;
use crate::api::{Event, FetchId, Path};
use crate::auth::method::{LocalAuth, RemoteAuth};
use crate::auth::x509::revocation::{Evidence, Policy, Subject, Verdict};
use crate::auth::x509::{Anchor, Link};
use crate::config::ConnectionConfig;
use crate::error::Cause;
use crate::wire::Opened;
use crate::wire::payload::{Certificate, CertificateEncoding};

/// A message of a peer of which the network is asked.
pub(crate) struct Deferred {
    /// The path it came by.
    pub(crate) path: Path,
    /// The message.
    pub(crate) opened: Opened,
    /// The answers it waits for.
    pub(crate) waits: BTreeSet<FetchId>,
    /// Since when the network is asked.
    pub(crate) since: Instant,
}

impl Deferred {
    /// Takes note of answers. `true` if none is awaited any more.
    pub(crate) fn is_ready(&mut self, done: &[FetchId]) -> bool {
        done.iter().for_each(|id| {
            self.waits.remove(id);
        });
        self.waits.is_empty()
    }

    /// The message, to be judged again.
    pub(crate) fn message(&self) -> (Path, Opened) {
        (self.path, self.opened.clone())
    }
}

/// Why the peer is not accepted now.
pub(crate) enum Halt {
    /// It is refused.
    Refused(Cause),
    /// These answers are awaited.
    Deferred(BTreeSet<FetchId>),
}

/// The path of a peer that signed with its certificate, and what it sent with it.
#[derive(Clone, Copy)]
pub(crate) struct Proven<'a> {
    /// The verified path; empty if the peer did not use a certificate.
    pub(crate) path: &'a [Link],
    /// CERT.
    pub(crate) certificates: &'a [Certificate],
    /// Since when the network is asked, if it was.
    pub(crate) asking_since: Option<Instant>,
    /// There is room to keep the message.
    pub(crate) may_wait: bool,
}

/// Judges the certificates. Doubts that the policy allows are told to the operator.
pub(crate) fn check(cx: &mut Cx<'_>, config: &ConnectionConfig, proven: Proven<'_>) -> Result<(), Halt> {
    let rules = &config.revocation;
    if rules.policy == Policy::Off || proven.path.is_empty() {
        return Ok(());
    }
    let (Some(path), Some(date)) = (Subject::of_path(proven.path), cx.wall_clock) else {
        let detail = "a certificate that was verified cannot be read";
        return Err(Halt::Refused(Cause::Internal { detail }));
    };
    let in_band: Vec<Vec<u8>> = proven
        .certificates
        .iter()
        .filter(|certificate| certificate.encoding == CertificateEncoding::OCSP_CONTENT)
        .take(MOST_RESPONSES)
        .map(|certificate| certificate.data.clone())
        .collect();
    let in_time = proven
        .asking_since
        .is_none_or(|since| cx.now.saturating_duration_since(since) < PATIENCE);
    let evidence = Evidence {
        rules,
        in_band: &in_band,
        may_ask: proven.may_wait && in_time,
    };
    match cx.checker.check(&path, evidence, cx.now, date) {
        Verdict::Accepted(doubts) => {
            for doubt in doubts {
                cx.event(Event::StatusUnknown {
                    connection: config.id,
                    doubt,
                });
            }
            Ok(())
        }
        Verdict::Refused(error) => Err(Halt::Refused(Cause::Revocation { error })),
        Verdict::Wanted(questions) => {
            let outputs = &mut *cx.outputs;
            let waits = cx
                .checker
                .ask(questions, cx.now, cx.random, |output| outputs.push_back(output));
            if waits.is_empty() {
                // There is no room for more questions; what was not asked counts as failed now.
                let without = Proven {
                    may_wait: false,
                    ..proven
                };
                return check(cx, config, without);
            }
            Err(Halt::Deferred(waits))
        }
    }
}

/// RFC 4806 4.2: the OCSP response for our own certificate. If none is at hand it is asked for, for the next time.
pub(crate) fn own_response(cx: &mut Cx<'_>, config: &ConnectionConfig) -> Option<Certificate> {
    let LocalAuth::Certificate { chain, .. } = &config.local_auth else {
        return None;
    };
    let anchors: &[Anchor] = match &config.remote_auth {
        RemoteAuth::Certificate { anchors } => anchors,
        RemoteAuth::Psk { .. } | RemoteAuth::RawKey { .. } => &[],
    };
    let subject = Subject::own(chain, anchors)?;
    let response = cx
        .wall_clock
        .and_then(|date| cx.checker.response_for(&subject, date));
    if response.is_none() {
        let outputs = &mut *cx.outputs;
        cx.checker
            .ask_about_own(&subject, cx.now, cx.random, |output| outputs.push_back(output));
    }
    response.map(|data| Certificate {
        encoding: CertificateEncoding::OCSP_CONTENT,
        data,
    })
}

/// OCSP responses of a peer that are looked at.
const MOST_RESPONSES: usize = 8;
/// The network is asked for no longer, all sources together: the peer waits for our answer meanwhile.
const PATIENCE: Duration = Duration::from_secs(12);
