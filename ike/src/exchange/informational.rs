//! INFORMATIONAL, the side that is asked (RFC 7296 1.4): deletes, errors, signs of life.

use super::auth::auth_lifetime;
use super::{Cx, collision, crash, mobike, redirect, ticket};
use crate::api::Path;
use crate::error::{Cause, Exchange, Failure, Side};
use crate::message::Informational;
use crate::sa::child::ChildSa;
use crate::state::{Ending, Established};
use crate::wire::payload::NotifyType;
use crate::wire::{Chain, Malformed, Payloads};

/// What a request asks for, and what is to be done once it is answered.
pub(crate) struct Asked {
    /// The response.
    pub(crate) answer: Payloads,
    /// CHILD SAs to remove after the response, because nothing takes their place.
    pub(crate) removed: Vec<ChildSa>,
    /// The end of the IKE SA, if it is one.
    pub(crate) ending: Option<Ending>,
}

/// Reads a request and writes the response. Unknown notifies are ignored (RFC 7296 3.10.1).
pub(crate) fn answer(
    cx: &mut Cx<'_>,
    established: &mut Established,
    path: Path,
    chain: &Chain<'_>,
) -> Result<Asked, Malformed> {
    let message = Informational::parse(chain)?;
    if message.delete_ike {
        // RFC 7296 1.4.1: the response to deleting the IKE SA is empty; CHILD SAs go with it.
        let answer = Informational::default().emit();
        return Ok(Asked {
            answer,
            removed: Vec::new(),
            ending: Some(Ending::PeerDeleted),
        });
    }
    if let Some(cause) = fatal(established, &message) {
        let answer = Informational::default().emit();
        let failure = Failure::new(Exchange::Informational, cause);
        return Ok(Asked {
            answer,
            removed: Vec::new(),
            ending: Some(Ending::Failed(failure)),
        });
    }
    if let Some(token) = crash::learn(&message.notifies) {
        established.token = Some(token);
    }
    if let Some(lifetime) = auth_lifetime(&message.notifies) {
        established.learn_auth_lifetime(cx, lifetime);
    }
    redirect::hear(established, &message.notifies);
    let (named, removed) = collision::deleted_by_peer(cx, established, &message.delete_esp);
    let mut notifies = mobike::answer(cx, established, path, &message);
    notifies.extend(ticket::answer(cx, established, &message.notifies));
    // RFC 7296 1.4.1: what is being deleted from both sides at once is in neither response.
    let answer = Informational {
        notifies,
        ..Informational::delete_esp(named)
    };
    let answer = answer.emit();
    let ending = (!removed.is_empty() && !established.outlives_children()).then_some(Ending::NoChild);
    Ok(Asked {
        answer,
        removed,
        ending,
    })
}

/// RFC 7296 2.21.2 and 2.21.3: the peer gives up the IKE SA for an error in our messages.
fn fatal(established: &Established, message: &Informational) -> Option<Cause> {
    message.notifies.iter().find_map(|notify| match notify.kind {
        NotifyType::AUTHENTICATION_FAILED if established.config.local_auth.signs() => {
            Some(Cause::CredentialRefused {
                identity: established.config.local_identity.clone(),
            })
        }
        NotifyType::AUTHENTICATION_FAILED => Some(Cause::AuthenticationFailed {
            refused_by: Side::Peer,
            identity: established.config.local_identity.clone(),
        }),
        NotifyType::INVALID_SYNTAX => Some(Cause::from_notify(NotifyType::INVALID_SYNTAX)),
        NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD => Some(Cause::UnsupportedCritical {
            refused_by: Side::Peer,
            payload: notify.data.first().copied().unwrap_or_default(),
        }),
        NotifyType(_) => None,
    })
}
