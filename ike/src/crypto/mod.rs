//! The algorithms themselves. They take the names of algorithms from the registry (`negotiate::transform`, a
//! leaf) and implement `wire`'s seam for the SK payload; of our own rooms they need nothing else.

pub mod aead;
mod gcm;
pub mod kex;
pub mod prf;
pub mod puzzle;
pub mod sign;
