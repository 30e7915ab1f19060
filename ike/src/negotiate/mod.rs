//! What the two sides can agree on: algorithms, traffic, and whether there is a NAT between them.

pub mod nat;
pub mod proposal;
pub mod selector;
mod token;
pub mod transform;
