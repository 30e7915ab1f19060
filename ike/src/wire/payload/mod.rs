//! The bodies of the payloads: one file each, one section of RFC 7296 3 each.
//!
//! RESERVED fields are written as zero and ignored when read, as the RFC says everywhere; therefore
//! `emit(parse(x)) == x` holds for every `x` whose RESERVED fields are zero.

use super::malformed::Malformed;
use super::writer::Writer;

pub mod authentication;
pub mod certificate;
pub mod configuration;
pub mod delete;
pub mod identification;
pub mod key_exchange;
pub mod nonce;
pub mod notify;
pub mod protocol;
pub mod puzzle_solution;
pub mod redirect;
pub mod sa;
pub mod traffic_selector;
pub mod vendor_id;

pub use authentication::{AuthMethod, Authentication};
pub use certificate::{Certificate, CertificateEncoding, CertificateRequest};
pub use configuration::{Configuration, ConfigurationType};
pub use delete::Delete;
pub use identification::{IdType, Identification};
pub use key_exchange::KeyExchange;
pub use nonce::Nonce;
pub use notify::{Notify, NotifyType};
pub use protocol::ProtocolId;
pub use puzzle_solution::PuzzleSolution;
pub use redirect::{Fqdn, GatewayIdentity, Redirect};
pub use sa::{Attribute, AttributeValue, Proposal, SecurityAssociation, Transform, TransformType};
pub use traffic_selector::{Range, Selector, TrafficSelectors};
pub use vendor_id::VendorId;

/// What is behind a generic payload header.
pub trait Body: Sized {
    /// Reads a whole body. Offsets in errors count from its start.
    fn parse(body: &[u8]) -> Result<Self, Malformed>;
    /// Appends the body.
    fn emit(&self, out: &mut Writer);

    /// The body alone; AUTH covers the one of IDi and IDr (RFC 7296 2.15).
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::new();
        self.emit(&mut out);
        out.into_bytes()
    }
}
