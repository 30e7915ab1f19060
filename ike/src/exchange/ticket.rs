//! Asking for a ticket, and giving one (RFC 5723 4.1, 4.2, 6.2). What it is good for: `resume`.
//!
//! ```text
//! IKE_AUTH, or INFORMATIONAL after a rekeying:
//!     SK {.., N(TICKET_REQUEST)}  -->
//!                                 <--  SK {.., N(TICKET_LT_OPAQUE)}
//!                                 or   SK {.., N(TICKET_NACK)}: none is given
//!                                 or   SK {.., N(TICKET_ACK)}: to be asked for again
//! ```
//!
//! Who began the first IKE SA asks, also after rekeyings that the other side began.

use std::fmt;
use std::time::{Duration, Instant};

use super::Cx;
use crate::api::CloseReason;
use crate::auth::identity::Identity;
use crate::auth::resumption;
use crate::auth::verified::Credentials;
use crate::auth::x509::{Leaf, Link};
use crate::config::ConnectionConfig;
use crate::message::Informational;
use crate::sa::ike_sa::IkeSa;
use crate::sa::ticket::{LONGEST, Serial, Session};
use crate::state::{Established, Request};
use crate::wire::Opened;
use crate::wire::payload::{Notify, NotifyType};

/// A ticket of the peer's. It belongs to the IKE SA that it came by, and goes with it (RFC 5723 6.2). Never printed.
#[derive(Clone)]
pub(crate) struct Ticket {
    /// What the peer wants to see.
    pub(crate) octets: Vec<u8>,
    /// Not to be shown from then on.
    pub(crate) expires: Instant,
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(..)")
    }
}

/// What became of our TICKET_REQUEST.
#[derive(Debug)]
pub(crate) enum Granted {
    /// This.
    Ticket(Ticket),
    /// It is to be asked for again (TICKET_ACK).
    Later,
    /// The peer gives none, or does not know what a ticket is.
    Nothing,
}

/// TICKET_REQUEST, if tickets are wanted.
pub(crate) fn request(config: &ConnectionConfig) -> Option<Notify> {
    config
        .may_resume()
        .then(|| Notify::new(NotifyType::TICKET_REQUEST))
}

/// The answer to that, in a protected message. What was not asked for is not taken.
pub(crate) fn learn(
    cx: &Cx<'_>,
    config: &ConnectionConfig,
    of: &Credentials,
    notifies: &[Notify],
) -> Granted {
    if !config.may_resume() {
        return Granted::Nothing;
    }
    for notify in notifies {
        match notify.kind {
            NotifyType::TICKET_ACK => return Granted::Later,
            NotifyType::TICKET_LT_OPAQUE => {
                // RFC 5723 7.1: seconds from now.
                let Some((seconds, octets)) = notify.data.split_first_chunk::<4>() else {
                    return Granted::Nothing;
                };
                if octets.is_empty() || octets.len() > LONGEST_OF_PEER {
                    return Granted::Nothing;
                }
                let theirs = Duration::from_secs(u32::from_be_bytes(*seconds).into());
                let lifetime = theirs.min(longest(cx, config, of));
                return Granted::Ticket(Ticket {
                    octets: octets.to_vec(),
                    expires: cx.now + lifetime,
                });
            }
            NotifyType(_) => {}
        }
    }
    Granted::Nothing
}

/// What we say to TICKET_REQUEST, and the number of the ticket that we give.
pub(crate) fn grant(
    cx: &mut Cx<'_>,
    ike: &IkeSa,
    config: &ConnectionConfig,
    (remote, of): (&Identity, &Credentials),
    asked: &[Notify],
) -> (Option<Notify>, Option<Serial>) {
    let asks = |notify: &Notify| notify.kind == NotifyType::TICKET_REQUEST;
    if !asked.iter().any(asks) {
        return (None, None);
    }
    match make(cx, ike, config, remote, of) {
        Some((notify, serial)) => (Some(notify), Some(serial)),
        None => (Some(Notify::new(NotifyType::TICKET_NACK)), None),
    }
}

fn make(
    cx: &mut Cx<'_>,
    ike: &IkeSa,
    config: &ConnectionConfig,
    remote: &Identity,
    of: &Credentials,
) -> Option<(Notify, Serial)> {
    if !config.may_resume() || config.redirect_to.is_some() {
        return None;
    }
    let now = cx.wall_clock?.as_secs();
    let lifetime = longest(cx, config, of);
    if lifetime < SHORTEST_LIFETIME {
        return None;
    }
    let session = Session {
        sk_d: ike.keys.sk_d.clone(),
        suite: ike.suite,
        ppk: ike.ppk,
        remote: remote.clone(),
        policy: resumption::policy(config),
        proven_at: now.saturating_sub(cx.now.saturating_duration_since(of.shown).as_secs()),
        valid_until: of.valid_until,
        expires: now.saturating_add(lifetime.as_secs()),
    };
    let (serial, ticket) = cx.tickets.seal(cx.random, now, &session)?;
    let mut data = u32::try_from(lifetime.as_secs()).ok()?.to_be_bytes().to_vec();
    data.extend(ticket);
    Some((Notify::with_data(NotifyType::TICKET_LT_OPAQUE, data), serial))
}

/// RFC 5723 6.2, 5: a ticket is good for no longer than an IKE SA, than the time to the next authentication, and than the
/// certificates.
fn longest(cx: &Cx<'_>, config: &ConnectionConfig, of: &Credentials) -> Duration {
    let since = cx.now.saturating_duration_since(of.shown);
    let authenticated = config.reauthentication.map(|time| time.saturating_sub(since));
    let valid = of.valid_until.map(|until| {
        let now = cx.wall_clock.map_or(until, |clock| clock.as_secs());
        Duration::from_secs(until.saturating_sub(now))
    });
    [Some(config.ike_lifetime), authenticated, valid]
        .into_iter()
        .flatten()
        .fold(LONGEST_LIFETIME, Duration::min)
}

/// The peer has shown its credentials now: by the path of its certificate, if it has one.
pub(crate) fn credentials(now: Instant, path: &[Link]) -> Credentials {
    let last = |link: &Link| {
        // It was read once already; one that cannot be read now is not good for any time.
        Leaf::from_der(&link.certificate).map_or(0, |leaf| leaf.validity().1.0)
    };
    Credentials {
        shown: now,
        valid_until: path.iter().map(last).min(),
    }
}

/// A peer asks for a ticket in an INFORMATIONAL request: one for each IKE SA, and none for who asks again.
pub(crate) fn answer(cx: &mut Cx<'_>, established: &mut Established, asked: &[Notify]) -> Option<Notify> {
    if established.issued.is_some() {
        let asks = asked
            .iter()
            .any(|notify| notify.kind == NotifyType::TICKET_REQUEST);
        return asks.then(|| Notify::new(NotifyType::TICKET_NACK));
    }
    let of = (&established.remote_identity, &established.credentials);
    let (notify, serial) = grant(cx, &established.ike, &established.config, of, asked);
    established.issued = serial;
    notify
}

/// RFC 5723 6.2: a new IKE SA has a new ticket. Whether it was asked for now.
pub(crate) fn ask_if_due(cx: &mut Cx<'_>, established: &mut Established) -> bool {
    if !established.ticket_due || !established.is_idle() {
        return false;
    }
    established.ticket_due = false;
    let Some(notify) = request(&established.config) else {
        return false;
    };
    let message = Informational {
        notifies: vec![notify],
        ..Informational::default()
    };
    established.request(cx, Request::Ticket, &message);
    true
}

/// The answer to that.
pub(crate) fn finish(cx: &Cx<'_>, established: &mut Established, opened: &Opened) {
    let message = opened.chain().and_then(|chain| Informational::parse(&chain));
    let notifies = message.map(|message| message.notifies).unwrap_or_default();
    match learn(cx, &established.config, &established.credentials, &notifies) {
        Granted::Ticket(ticket) => established.ticket = Some(ticket),
        // It was asked twice; that is enough until the next IKE SA.
        Granted::Later | Granted::Nothing => {}
    }
}

/// The IKE SA is deleted or replaced: the ticket that was given for it is void (RFC 5723 6.2). One whose peer does not answer
/// is not deleted: it is what tickets are for.
pub(crate) fn revoke(cx: &mut Cx<'_>, established: &mut Established, reason: CloseReason) {
    let void = match reason {
        CloseReason::Unreachable => false,
        CloseReason::Operator
        | CloseReason::Peer
        | CloseReason::Idle
        | CloseReason::Replaced
        | CloseReason::Error => true,
    };
    if let Some(serial) = established.issued.take().filter(|_| void) {
        cx.tickets.spend(established.config.id, serial);
    }
}

/// RFC 5723 6.2 wants an end. The keys of tickets are kept for longer than that.
const LONGEST_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Not worth the octets.
const SHORTEST_LIFETIME: Duration = Duration::from_secs(60);
/// A larger one would make the first message too large.
const LONGEST_OF_PEER: usize = LONGEST;
