//! What stands once an exchange is done: keys, SAs, windows.

pub(crate) mod child;
pub(crate) mod datagrams;
pub(crate) mod features;
pub(crate) mod ike_sa;
pub mod int_auth;
pub mod keymat;
pub(crate) mod lifetime;
pub(crate) mod mobility;
pub(crate) mod pace;
pub(crate) mod reassembly;
pub(crate) mod spis;
pub(crate) mod ticket;
pub(crate) mod transmission;
pub(crate) mod window;
