//! Inner and outer IP: headers, selectors, MTU, ECN, the ICMP errors a gateway owes.

pub mod checksum;
pub mod ecn;
pub mod fragment;
pub mod header;
pub mod icmp;
pub mod mtu;
pub mod selector;
pub(crate) mod word;

pub use header::Header;
