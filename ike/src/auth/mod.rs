//! Who the peer is and how it proves that (RFC 7296 2.15).

pub mod announcement;
pub mod identity;
pub mod method;
pub mod ppk;
pub mod psk;
pub(crate) mod resumption;
pub mod signature;
pub mod signed;
pub mod verified;
pub mod x509;
