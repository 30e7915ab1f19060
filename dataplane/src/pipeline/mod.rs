//! What happens to a batch between two ports.

pub mod aggregate;
mod inbound;
mod outbound;
pub mod pacer;
mod reassemble;

pub use inbound::Inbound;
pub use outbound::Outbound;
