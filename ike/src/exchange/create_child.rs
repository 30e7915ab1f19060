//! CREATE_CHILD_SA (RFC 7296 1.3): not spoken yet, and refused by the book.

use super::Cx;
use crate::message::{CreateChildRequest, CreateChildResponse};
use crate::wire::payload::{Notify, NotifyType};
use crate::wire::{Chain, Malformed, Payloads};

/// Answers a request: NO_ADDITIONAL_SAS, which the peer takes as "not on this IKE SA" (RFC 7296 1.3), or
/// TEMPORARY_FAILURE while we are about to delete the IKE SA (RFC 7296 2.25.2).
pub(crate) fn answer(_cx: &mut Cx<'_>, chain: &Chain<'_>, closing: bool) -> Result<Payloads, Malformed> {
    CreateChildRequest::parse(chain)?;
    let kind = if closing {
        NotifyType::TEMPORARY_FAILURE
    } else {
        NotifyType::NO_ADDITIONAL_SAS
    };
    Ok(CreateChildResponse::Refused(Notify::new(kind)).emit())
}
