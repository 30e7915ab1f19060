//! The daemon: the one loop, and every change to the host.
