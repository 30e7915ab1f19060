//! Certificates (RFC 4945, RFC 5280): whether they are still good.

pub mod crl;
pub mod facts;
pub mod ocsp;
mod signed;
pub mod status;
