//! What the two sides can agree on: algorithms, traffic, and whether there is a NAT between them.

pub mod additional;
pub mod aggfrag;
pub mod describe;
mod meet;
pub mod nat;
pub mod offer;
pub mod proposal;
pub mod select;
pub mod selector;
mod token;
pub mod transform;
