//! The algorithms themselves. Names of algorithms come from the registry (`negotiate::transform`, a leaf); of
//! our own rooms nothing else is needed but the octets.

pub mod prf;
