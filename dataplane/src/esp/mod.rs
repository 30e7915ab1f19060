//! ESP as octets (RFC 4303) and its way in UDP (RFC 3948). No keys here: those are in [`sa`](crate::sa).

pub mod aggfrag;
pub mod demux;
pub mod layout;
pub mod padding;
pub mod reassembly;
