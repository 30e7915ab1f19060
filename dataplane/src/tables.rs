//! The security associations and tunnels as the packet path sees them: immutable, replaced whole.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::api::{Path, Spi, Trap, TunnelId, TunnelSpec};
use crate::sa::{InboundSa, OutboundSa};
use crate::tunnel::Tunnel;

/// SAD and tunnels (the SPD of a route-based gateway is the list of outbound SAs of each tunnel).
///
/// Concurrency: immutable once published; each queue takes one snapshot per batch. What changes packet by packet
/// (sequence numbers, replay windows, usage, learnt path MTU) sits behind shared atomics and outlives a snapshot.
#[derive(Clone, Debug, Default)]
pub struct Tables {
    sad: HashMap<Spi, Arc<InboundSa>, BuildHasherDefault<IdHasher>>,
    tunnels: HashMap<TunnelId, Tunnel, BuildHasherDefault<IdHasher>>,
}

impl Tables {
    /// The inbound SA of an SPI (RFC 4301 4.1: our own SPIs are unique, so the SPI alone finds it).
    pub fn inbound(&self, spi: Spi) -> Option<&Arc<InboundSa>> {
        self.sad.get(&spi)
    }

    /// Every inbound SA, in no order.
    pub fn all_inbound(&self) -> impl Iterator<Item = &Arc<InboundSa>> {
        self.sad.values()
    }

    /// A tunnel.
    pub fn tunnel(&self, id: TunnelId) -> Option<&Tunnel> {
        self.tunnels.get(&id)
    }

    /// Every tunnel, in no order.
    pub fn tunnels(&self) -> impl Iterator<Item = &Tunnel> {
        self.tunnels.values()
    }

    /// A path was found to take less than was thought.
    pub fn lower_path_mtu(&self, tunnel: TunnelId, path_mtu: u16) {
        if let Some(tunnel) = self.tunnels.get(&tunnel) {
            tunnel.lower_path_mtu(path_mtu);
        }
    }

    /// Adds a tunnel; its SAs stay if it was there.
    pub fn open_tunnel(&mut self, spec: TunnelSpec) {
        let mut tunnel = Tunnel::new(spec);
        if let Some(old) = self.tunnels.remove(&tunnel.spec.id) {
            tunnel.outbound = old.outbound;
            tunnel.trap = old.trap;
        }
        self.tunnels.insert(tunnel.spec.id, tunnel);
    }

    /// Forgets a tunnel and all its SAs.
    pub fn close_tunnel(&mut self, id: TunnelId) {
        self.tunnels.remove(&id);
        self.sad.retain(|_, sa| sa.tunnel() != id);
    }

    /// Receive on this SA from now on.
    pub fn install_inbound(&mut self, sa: Arc<InboundSa>) {
        self.sad.insert(sa.spi(), sa);
    }

    /// Send with this SA from now on. False if its tunnel is not open: there is nothing to send.
    #[must_use]
    pub fn install_outbound(&mut self, sa: Arc<OutboundSa>, path: Path) -> bool {
        match self.tunnels.get_mut(&sa.tunnel()) {
            Some(tunnel) => {
                tunnel.install(sa, path);
                true
            }
            None => false,
        }
    }

    /// Forgets an inbound SA.
    pub fn remove_inbound(&mut self, spi: Spi) {
        self.sad.remove(&spi);
    }

    /// Forgets an outbound SA.
    pub fn remove_outbound(&mut self, tunnel: TunnelId, spi: Spi) {
        if let Some(tunnel) = self.tunnels.get_mut(&tunnel) {
            tunnel.remove(spi);
        }
    }

    /// Sets or takes away the trap of a tunnel.
    pub fn set_trap(&mut self, tunnel: TunnelId, trap: Option<Box<Trap>>) {
        if let Some(tunnel) = self.tunnels.get_mut(&tunnel) {
            tunnel.trap = trap.map(|trap| Arc::new(*trap));
        }
    }

    /// Another path for all SAs of a tunnel.
    pub fn set_path(&mut self, tunnel: TunnelId, path: Path) {
        if let Some(tunnel) = self.tunnels.get_mut(&tunnel) {
            for outbound in &mut tunnel.outbound {
                outbound.path = path;
            }
            tunnel.forget_path_mtu();
        }
    }
}

/// Spreads a 32-bit name of ours over the table (Fibonacci hashing).
///
/// No secret is needed: the keys of both maps are chosen by this gateway, never by a peer.
#[derive(Clone, Copy, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        let mixed = (self.0 ^ u64::from(value)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // hashbrown takes the bucket from the low and the tag from the high bits; a product is best mixed on top.
        self.0 = mixed ^ (mixed >> 32);
    }
}
