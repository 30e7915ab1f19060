//! Sorting the payloads of a chain into slots.

use crate::wire::payload::{Body, Notify};
use crate::wire::{Chain, Fault, Malformed, Payload, PayloadType, Payloads};

/// Fills a slot that may be filled once.
pub(super) fn once<T: Body>(slot: &mut Option<T>, payload: &Payload<'_>) -> Result<(), Malformed> {
    if slot.is_some() {
        return Err(payload.fault(Fault::Duplicate(payload.kind)));
    }
    *slot = Some(payload.read()?);
    Ok(())
}

/// A slot that must have been filled.
pub(super) fn need<T>(slot: Option<T>, kind: PayloadType) -> Result<T, Malformed> {
    slot.ok_or_else(|| Malformed::missing(kind))
}

/// Every notify of a chain, with its payload for error messages.
pub(super) fn notifies<'c, 'a>(
    chain: &'c Chain<'a>,
) -> impl Iterator<Item = Result<(&'c Payload<'a>, Notify), Malformed>> {
    chain
        .iter()
        .filter(|payload| payload.kind == PayloadType::NOTIFY)
        .map(|payload| Ok((payload, payload.read::<Notify>()?)))
}

/// Notify data of a fixed length.
pub(super) fn fixed_data<const N: usize>(
    notify: &Notify,
    what: &'static str,
    payload: &Payload<'_>,
) -> Result<[u8; N], Malformed> {
    <[u8; N]>::try_from(notify.data.as_slice()).map_err(|_| {
        payload.fault(Fault::Length {
            what,
            length: notify.data.len(),
        })
    })
}

/// Appends a notify payload per element.
pub(super) fn push_notifies(payloads: &mut Payloads, notifies: &[Notify]) {
    payloads.push_all(PayloadType::NOTIFY, notifies);
}
