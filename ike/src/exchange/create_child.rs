//! CREATE_CHILD_SA (RFC 7296 1.3), the side that is asked: which of its three uses is it?

use super::{Cx, rekey_child, rekey_ike};
use crate::message::{CreateChildRequest, CreateChildResponse};
use crate::state::Established;
use crate::wire::payload::{Notify, NotifyType};
use crate::wire::{Chain, Malformed, Payloads};

/// Answers a request. A CHILD SA beside the first is refused with NO_ADDITIONAL_SAS (RFC 7296 1.3).
pub(crate) fn answer(
    cx: &mut Cx<'_>,
    established: &mut Established,
    chain: &Chain<'_>,
) -> Result<Payloads, Malformed> {
    Ok(match CreateChildRequest::parse(chain)? {
        CreateChildRequest::Child {
            rekeyed: Some(spi),
            child,
        } => rekey_child::answer(cx, established, spi, &child),
        CreateChildRequest::Child { rekeyed: None, .. } => refusal(NotifyType::NO_ADDITIONAL_SAS),
        CreateChildRequest::RekeyIke(wanted) => rekey_ike::answer(cx, established, &wanted),
    })
}

/// Answers a request on an IKE SA that we are about to delete (RFC 7296 2.25.2).
pub(crate) fn answer_closing(chain: &Chain<'_>) -> Result<Payloads, Malformed> {
    CreateChildRequest::parse(chain)?;
    Ok(refusal(NotifyType::TEMPORARY_FAILURE))
}

fn refusal(kind: NotifyType) -> Payloads {
    CreateChildResponse::Refused(Notify::new(kind)).emit()
}
