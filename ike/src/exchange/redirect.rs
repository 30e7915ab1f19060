//! Redirects to another gateway (RFC 5685): the responder of the first IKE SA sends its initiator elsewhere.
//!
//! ```text
//! initiator                                                 gateway                another gateway
//!   SAi1, KEi, Ni, N(REDIRECT_SUPPORTED)           -->
//!                       <--  N(REDIRECT, other, Ni)                in IKE_SA_INIT, for everybody
//!                   or  <--  SK {IDr, AUTH, N(REDIRECT, other)}    in IKE_AUTH, once it is known who asks
//!                   or  <--  SK {N(REDIRECT, other)}               in INFORMATIONAL, while the IKE SA stands
//!   SAi1, KEi, Ni, N(REDIRECT_SUPPORTED), N(REDIRECTED_FROM)  -------------------->
//! ```
//!
//! The other gateway must prove to be the same peer, for nothing but the address has changed (RFC 5685 3). A redirect in
//! IKE_SA_INIT is not authenticated: who has seen our request can write one, and gains no more than that we ask there.

use std::sync::Arc;

use super::Cx;
use super::init::{Answer, Sent};
use crate::api::{Event, Role};
use crate::config::ConnectionConfig;
use crate::error::{Ignore, Side};
use crate::message::{ChildAnswer, Informational, InitNotifies, InitRequest};
use crate::sa::ike_sa::IkeSa;
use crate::state::{Established, Request};
use crate::wire::payload::{Body, GatewayIdentity, Notify, NotifyType, Redirect};

impl Sent {
    /// RFC 5685 3: without our nonce it is nobody's answer to our request.
    pub(super) fn read_redirect(&self, redirect: Redirect) -> Result<Answer, Ignore> {
        if redirect.nonce == self.nonce {
            Ok(Answer::Redirect(redirect.to))
        } else {
            Err(Ignore::Unasked)
        }
    }
}

/// RFC 5685 3, 9.3: the initiator says so, or has been redirected already.
pub(crate) fn is_supported(notifies: &InitNotifies) -> bool {
    let says = |notify: &Notify| {
        [NotifyType::REDIRECT_SUPPORTED, NotifyType::REDIRECTED_FROM].contains(&notify.kind)
    };
    notifies.other.iter().any(says)
}

/// The answer to an IKE_SA_INIT request if whoever asks is sent to the same place: before anything costly is done.
pub(crate) fn of_everybody(request: &InitRequest, candidates: &[Arc<ConnectionConfig>]) -> Option<Redirect> {
    let to = candidates.first()?.redirect_to.as_ref()?;
    let all = candidates
        .iter()
        .all(|config| config.redirect_to.as_ref() == Some(to));
    (all && is_supported(&request.notifies)).then(|| Redirect {
        to: to.clone(),
        nonce: request.nonce.0.clone(),
    })
}

/// Where the initiator is sent now that it is known who it is (RFC 5685 6).
pub(crate) fn of_peer(ike: &IkeSa, config: &ConnectionConfig) -> Option<GatewayIdentity> {
    let can = ike.features.redirect == Some(Role::Responder);
    config.redirect_to.clone().filter(|_| can)
}

/// The notify in a protected message, where the nonce must not be (RFC 5685 9.2).
pub(crate) fn notify(to: &GatewayIdentity) -> Notify {
    let redirect = Redirect {
        to: to.clone(),
        nonce: Vec::new(),
    };
    redirect.notify()
}

/// Where the responder sends us instead of making a CHILD SA, if it does.
pub(crate) fn instead(ike: &IkeSa, child: &ChildAnswer) -> Option<GatewayIdentity> {
    match child {
        ChildAnswer::Refused(notify) if ike.role == Role::Initiator => read(notify),
        ChildAnswer::Refused(_) | ChildAnswer::Accepted(_) | ChildAnswer::Absent => None,
    }
}

/// The peer's INFORMATIONAL request may send us elsewhere: the connection decides about it.
pub(crate) fn hear(established: &mut Established, notifies: &[Notify]) {
    // RFC 5685 10: only the responder redirects, and only the initiator of the first IKE SA, whatever it announced.
    let began = established.ike.features.redirect == Some(Role::Initiator) || established.mobility.decides;
    if began {
        established.redirected = notifies.iter().find_map(read);
    }
}

/// RFC 5685 5: tells the peer where to go. Whether it was told now.
pub(crate) fn tell(cx: &mut Cx<'_>, established: &mut Established) -> bool {
    if !established.is_idle() {
        return false;
    }
    let Some(to) = established.redirect_due.take() else {
        return false;
    };
    let message = Informational {
        notifies: vec![notify(&to)],
        ..Informational::default()
    };
    cx.event(Event::Redirected {
        connection: established.config.id,
        path: established.ike.path,
        to,
        by: Side::Us,
    });
    // RFC 5685 5: the answer says nothing; it is the peer that deletes the IKE SA when it stands elsewhere.
    established.request(cx, Request::Liveness, &message);
    true
}

fn read(notify: &Notify) -> Option<GatewayIdentity> {
    if notify.kind != NotifyType::REDIRECT {
        return None;
    }
    Redirect::parse(&notify.data).ok().map(|redirect| redirect.to)
}
