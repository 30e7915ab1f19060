//! Typed messages: "parse, don't validate".
//!
//! The highest of the three levels of a message: octets, payloads (`crate::wire`), messages (here). A value of a
//! type of this room has every payload its exchange demands, once where it must be once. Payloads and status
//! notifies that a message does not ask for are ignored, as RFC 7296 2.5 and 3.10.1 want it.
//!
//! The way in:  `Chain::parse_message` or [`open`] then [`Opened::chain`], then `X::parse(&chain)`.
//! The way out: `x.emit()`, then [`build_plain`] or [`seal`].

pub mod auth;
mod collect;
pub mod create_child;
pub mod follow_up;
pub mod informational;
pub mod init;
pub mod intermediate;
pub mod resume;

pub use auth::{AuthAccepted, AuthRequest, AuthResponse, ChildAnswer, ChildOffer};
pub use create_child::{CreateChildRequest, CreateChildResponse, NewChild, NewIke};
pub use follow_up::{FollowUpRequest, FollowUpResponse, link, link_notify};
pub use informational::Informational;
pub use init::{InitAccepted, InitNotifies, InitRequest, InitResponse};
pub use intermediate::{IntermediateRequest, IntermediateResponse};
pub use resume::{ResumeAccepted, ResumeRequest, ResumeResponse};

use crate::wire::payload::Notify;
pub use crate::wire::sealed::{OpenError, Opened, Protect, open, seal};
use crate::wire::writer::saturating_u32;
use crate::wire::{Header, PayloadType, Payloads, Writer};

/// Writes a message in the clear: IKE_SA_INIT, IKE_SESSION_RESUME, and answers outside of any IKE SA.
pub fn build_plain(header: &Header, payloads: &Payloads) -> Vec<u8> {
    let mut chain = Writer::new();
    payloads.emit(&mut chain);
    let mut out = Writer::new();
    header.emit(
        payloads.first(),
        saturating_u32(chain.len().saturating_add(Header::LEN)),
        &mut out,
    );
    out.bytes(chain.as_slice());
    out.into_bytes()
}

/// The payloads of a message that is nothing but one notify, such as most refusals are.
pub fn only_notify(notify: &Notify) -> Payloads {
    let mut payloads = Payloads::new();
    payloads.push(PayloadType::NOTIFY, notify);
    payloads
}
