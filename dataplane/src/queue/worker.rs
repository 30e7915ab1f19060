//! The threads: one per queue.

use std::io;
use std::sync::Arc;

use super::punt::PuntReceiver;
use crate::api::{Config, TunnelId, TunnelSpec};
use crate::control::Shared;
use crate::io::udp::IkeSocket;

/// The running queue threads.
pub struct Workers(());

impl Workers {
    /// Binds the sockets and starts one thread per queue.
    pub fn start(_config: &Config, _shared: Arc<Shared>) -> io::Result<(Self, PuntReceiver, Vec<IkeSocket>)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Creates the TUN of a tunnel and gives each queue its descriptor.
    pub fn open_tunnel(&self, _spec: &TunnelSpec) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Closes a TUN.
    pub fn close_tunnel(&self, _id: TunnelId) {}

    /// Stops and joins the threads.
    pub fn stop(self) {}
}
