//! Inner and outer IP: headers, selectors, MTU, ECN, the ICMP errors a gateway owes.

pub mod header;
