//! CREATE_CHILD_SA (RFC 7296 1.3), the side that is asked: which of its three uses is it?

use super::{Cx, add_child, rekey_child, rekey_ike};
use crate::api::{Event, Spi};
use crate::error::{Cause, Exchange, Failure};
use crate::message::{CreateChildRequest, CreateChildResponse};
use crate::sa::pace::Permit;
use crate::state::Established;
use crate::wire::payload::{Notify, NotifyType};
use crate::wire::{Chain, Malformed, Payloads};

/// Answers a request. What is given besides is a CHILD SA that may send once the answer has left.
pub(crate) fn answer(
    cx: &mut Cx<'_>,
    established: &mut Established,
    chain: &Chain<'_>,
) -> Result<(Payloads, Option<Spi>), Malformed> {
    let request = CreateChildRequest::parse(chain)?;
    // RFC 7296 2.25: "not now" is understood, and costs nothing.
    if !may_make(cx, established) {
        return Ok((refusal(NotifyType::TEMPORARY_FAILURE), None));
    }
    Ok(match request {
        CreateChildRequest::Child {
            rekeyed: Some(spi),
            child,
        } => (rekey_child::answer(cx, established, spi, &child), None),
        CreateChildRequest::Child { rekeyed: None, child } => add_child::answer(cx, established, &child),
        CreateChildRequest::RekeyIke(wanted) => (rekey_ike::answer(cx, established, &wanted), None),
    })
}

/// Answers a request on an IKE SA that we are about to delete (RFC 7296 2.25.2).
pub(crate) fn answer_closing(chain: &Chain<'_>) -> Result<Payloads, Malformed> {
    CreateChildRequest::parse(chain)?;
    Ok(refusal(NotifyType::TEMPORARY_FAILURE))
}

/// A peer that asks all the time is slowed down, and the operator is told.
fn may_make(cx: &mut Cx<'_>, established: &mut Established) -> bool {
    match established.pace.take(cx.now) {
        Permit::Granted => true,
        Permit::Refused { news } => {
            if news && established.announced {
                cx.event(Event::Failed {
                    connection: Some(established.config.id),
                    path: established.ike.path,
                    failure: Failure::new(Exchange::CreateChildSa, Cause::TooOften),
                    retry_in: None,
                });
            }
            false
        }
    }
}

fn refusal(kind: NotifyType) -> Payloads {
    CreateChildResponse::Refused(Notify::new(kind)).emit()
}
