//! X.509 certificates as IKEv2 uses them (RFC 7296 3.6, 3.7, RFC 4945, RFC 5280).
//!
//! [`validate`] is the one door: a chain as the peer sent it goes in, and what comes out has a path to a trust anchor,
//! is valid now, is meant for IKE and names the identity that the peer claims. Cheap checks come first; signatures are
//! verified last, and a bounded number of them.

mod anchor;
pub mod crl;
mod distinguished;
mod error;
pub mod facts;
mod leaf;
pub mod ocsp;
pub mod revocation;
mod signed;
pub mod status;
mod usage;
mod validate;

pub use anchor::{Anchor, AnchorError};
pub(crate) use distinguished::show;
pub use distinguished::{DistinguishedName, DnError};
pub use error::{CertificateError, Moment};
pub use leaf::{Leaf, LeafError};
pub use rustls_pki_types::{CertificateDer, UnixTime};
pub use validate::{Link, Trust, Validated, validate};

/// Certificates that a peer may send: the longest path has six, and a few may be superfluous.
pub const MOST_CERTIFICATES: usize = 8;
/// Octets of one certificate. The largest in use have a few thousand.
pub const LARGEST_CERTIFICATE: usize = 16 * 1024;
