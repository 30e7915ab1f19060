//! IKE_SESSION_RESUME (RFC 5723 4.3.2), the responder's part. The initiator's part and the picture: `resume`.
//!
//! Nothing is kept for who is refused. A ticket proves nothing about who shows it, for it was sent in the clear; AUTH does.

use std::sync::Arc;

use super::init_answer::{Half, nonce_len, response_header};
use super::resume::Past;
use super::traversal::{detected, encapsulation, nat_detection};
use super::{Cx, extensions};
use crate::api::{Path, Role};
use crate::auth::resumption;
use crate::auth::verified::Credentials;
use crate::config::{ConnectionConfig, ConnectionId};
use crate::message::{InitNotifies, ResumeAccepted, ResumeRequest, ResumeResponse, build_plain};
use crate::sa::ike_sa::{IkeSa, InitAgreement, Nonces};
use crate::sa::spis::{FirstMessage, Owner};
use crate::sa::ticket::{Serial, Session};
use crate::wire::Header;
use crate::wire::payload::Nonce;

/// A ticket that was shown, and is good so far.
#[derive(Debug)]
pub(crate) struct Presented {
    /// The connection that it is for.
    pub(crate) connection: ConnectionId,
    /// Its number.
    pub(crate) serial: Serial,
    /// The IKE SA that it was given for.
    pub(crate) past: Past,
    policy: [u8; 32],
}

impl Presented {
    /// It is for this connection, whose credentials are those of then.
    pub(crate) fn is_for(&self, config: &ConnectionConfig) -> bool {
        config.id == self.connection && fits(config, &self.policy)
    }

    /// RFC 5723 4.3.1: a ticket is used once, that is when an IKE SA was made by it. Whether it was not yet.
    pub(crate) fn spend(&self, cx: &mut Cx<'_>) -> bool {
        cx.tickets.spend(self.connection, self.serial)
    }
}

/// Who is to go elsewhere is told so by IKE_SA_INIT.
fn fits(config: &ConnectionConfig, policy: &[u8; 32]) -> bool {
    config.may_resume() && config.redirect_to.is_none() && resumption::policy(config) == *policy
}

/// A ticket, opened: the connection that it is for, and what it says. `None`: it is refused, for whatever reason.
pub(crate) struct Found {
    config: Arc<ConnectionConfig>,
    serial: Serial,
    session: Session,
}

impl Found {
    /// One of several half-open IKE SAs may be made by the same ticket, while nobody knows whose request is the genuine one.
    pub(crate) fn is_of(&self, presented: &Presented) -> bool {
        presented.connection == self.config.id && presented.serial == self.serial
    }
}

/// Opens the ticket. `candidates` are the connections that fit the addresses.
pub(crate) fn find(cx: &Cx<'_>, ticket: &[u8], candidates: &[Arc<ConnectionConfig>]) -> Option<Found> {
    if !candidates.iter().any(|config| config.may_resume()) {
        return None;
    }
    let now = cx.wall_clock?.as_secs();
    let (serial, session) = cx.tickets.open(now, ticket)?;
    let config = candidates.iter().find(|config| fits(config, &session.policy))?;
    cx.tickets.is_good(config.id, serial).then(|| Found {
        config: Arc::clone(config),
        serial,
        session,
    })
}

/// The responder's answer. `None` is a defect of ours.
pub(crate) fn answer(
    cx: &mut Cx<'_>,
    header: &Header,
    request: &ResumeRequest,
    path: Path,
    found: &Found,
    first: FirstMessage,
) -> Option<(Half, Presented)> {
    let (config, session) = (&found.config, &found.session);
    let nonce = cx.random_octets(nonce_len(session.suite.prf, &request.nonce, false));
    // RFC 5723 4.3.2: where there is a NAT is found out anew.
    let traversal = detected((header.initiator_spi.0, 0), path, &request.notifies);
    let spi_r = cx.spis.allocate_ike(Owner::HalfOpen, cx.random);
    let notifies = match traversal {
        Some(_) => nat_detection((header.initiator_spi.0, spi_r.0), path, config.encapsulation),
        None => InitNotifies::default(),
    };
    let mut accepted = ResumeAccepted {
        nonce: Nonce(nonce.clone()),
        notifies,
        vendor_ids: Vec::new(),
    };
    let features = extensions::answer_resumption(request, &mut accepted, config);
    let agreed = InitAgreement {
        role: Role::Responder,
        spi_i: header.initiator_spi,
        spi_r,
        path,
        suite: session.suite,
        nonces: Nonces {
            initiator: request.nonce.0.clone(),
            responder: nonce,
        },
        nat: traversal.unwrap_or_default(),
        encapsulation: encapsulation(path, traversal, config.encapsulation),
        features,
    };
    let Some(mut ike) = IkeSa::resumed(agreed, (&session.sk_d, session.ppk), config) else {
        cx.spis.release_ike(spi_r, None);
        return None;
    };
    cx.new_keys(&ike);
    ike.first = Some(first);
    cx.spis.remember(first, spi_r);
    let header = Header {
        responder_spi: spi_r,
        ..response_header(header)
    };
    let response = build_plain(&header, &ResumeResponse::Accepted(Box::new(accepted)).emit());
    let presented = Presented {
        connection: config.id,
        serial: found.serial,
        past: past(cx, session),
        policy: session.policy,
    };
    Some((Half { ike, response }, presented))
}

/// What the ticket says of the IKE SA that is gone.
fn past(cx: &Cx<'_>, session: &Session) -> Past {
    let now = cx.wall_clock.map_or(session.proven_at, |clock| clock.as_secs());
    let since = std::time::Duration::from_secs(now.saturating_sub(session.proven_at));
    Past {
        remote: session.remote.clone(),
        credentials: Credentials {
            // A clock that began after that has nothing to tell how old it is: then it counts from the configured time.
            shown: cx.now.checked_sub(since).unwrap_or(cx.now),
            valid_until: session.valid_until,
        },
        reauthentication: None,
    }
}
