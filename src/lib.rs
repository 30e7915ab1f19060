//! The xvpn program: every side effect on the host is in this crate.
