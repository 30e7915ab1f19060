//! What the tests with namespaces share: a runner (`harness = false`, because a process must be single-threaded to
//! enter a user namespace), pairs of gateways, and strongSwan as a peer.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test program uses its own part of this"
)]

pub mod flows;
pub mod guest;
pub mod pair;
pub mod pki;
pub mod revocation;
pub mod runner;
pub mod scenario;
pub mod strongswan;
