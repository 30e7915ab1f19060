//! What happens to a batch between two ports.

mod inbound;
mod outbound;

pub use inbound::Inbound;
pub use outbound::Outbound;
