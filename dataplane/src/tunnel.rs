//! A tunnel: one TUN, one peer, its outbound SAs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::api::{Pace, Path, Spi, Trap, TunnelSpec};
use crate::buffer::{Backlog, MAX_LEN};
use crate::ip::mtu;
use crate::sa::OutboundSa;

/// One tunnel of a [`Tables`](crate::tables::Tables).
///
/// Concurrency: shared by all queues. Only the learnt path MTU changes in place.
#[derive(Clone, Debug)]
pub struct Tunnel {
    /// What the caller asked for.
    pub spec: TunnelSpec,
    /// In the order of the SPD, and newest first within one place: the first whose selectors match carries a packet.
    pub outbound: Vec<Outbound>,
    /// What it waits for, if it is made on demand.
    pub trap: Option<Arc<Trap>>,
    path_mtu: Arc<AtomicU16>,
}

/// An outbound SA and where it goes.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// The SA, shared with earlier and later tables: its sequence numbers go on.
    pub sa: Arc<OutboundSa>,
    /// Where it goes.
    pub path: Path,
    /// What waits for its turn, if it sends at a constant rate. It outlives the SA: what replaces it takes it over.
    pub backlog: Option<Arc<Backlog>>,
}

impl Tunnel {
    /// A tunnel without SAs: everything sent into it is refused.
    pub fn new(spec: TunnelSpec) -> Self {
        let path_mtu = Arc::new(AtomicU16::new(spec.path_mtu.max(MIN_PATH_MTU)));
        Self {
            spec,
            outbound: Vec::new(),
            trap: None,
            path_mtu,
        }
    }

    /// The longest outer packet, as learnt so far.
    pub fn path_mtu(&self) -> u16 {
        self.path_mtu.load(Ordering::Relaxed)
    }

    /// Takes a lower path MTU, but not below what IPv4 must carry: a forged ICMP must not stop the tunnel.
    pub fn lower_path_mtu(&self, mtu: u16) {
        self.path_mtu.fetch_min(mtu.max(MIN_PATH_MTU), Ordering::Relaxed);
    }

    /// A new path: what was learnt of the old one is forgotten.
    pub(crate) fn forget_path_mtu(&mut self) {
        self.path_mtu = Arc::new(AtomicU16::new(self.spec.path_mtu.max(MIN_PATH_MTU)));
    }

    /// Takes over from those of its place in the SPD, and from no other: new keys change nothing about who carries what
    /// (RFC 4301 4.4.1).
    pub(crate) fn install(&mut self, sa: Arc<OutboundSa>, path: Path) {
        self.outbound.retain(|other| other.sa.spi() != sa.spi());
        let before = |other: &Outbound| other.sa.order() < sa.order();
        let at = self.outbound.partition_point(before);
        let constant = sa
            .aggregation()
            .is_some_and(|of| matches!(of.pace, Pace::Constant { .. }));
        let mut same = self
            .outbound
            .iter()
            .filter(|other| other.sa.order() == sa.order());
        let backlog = constant.then(|| same.find_map(|other| other.backlog.clone()).unwrap_or_default());
        self.outbound.insert(at, Outbound { sa, path, backlog });
    }

    pub(crate) fn remove(&mut self, spi: Spi) {
        self.outbound.retain(|other| other.sa.spi() != spi);
    }

    /// The longest inner packet that the first SA carries on the path as known now. `None` without an SA.
    pub fn inner_mtu(&self) -> Option<u16> {
        self.outbound
            .first()
            .map(|outbound| outbound.inner_mtu(self.path_mtu()))
    }
}

impl Outbound {
    /// The longest inner packet on a path that takes outer packets of `path_mtu` octets.
    ///
    /// In AGGFRAG payloads it is the longest that need not be cut on a path that takes no longer ones; where packets may be cut, longer
    /// ones pass (RFC 9347 2.2.7).
    pub fn inner_mtu(&self, path_mtu: u16) -> u16 {
        let inner = mtu::inner_mtu(
            self.sa.layout(),
            self.path.encapsulation,
            self.path.remote.is_ipv6(),
            path_mtu,
        );
        match self.sa.aggregation() {
            None => inner,
            Some(aggregation) if aggregation.fragments => inner.saturating_sub(AGGFRAG_HEADER),
            Some(_) => u16::try_from(self.room(path_mtu))
                .unwrap_or(u16::MAX)
                .saturating_sub(AGGFRAG_HEADER),
        }
    }

    /// Octets of the longest AGGFRAG payload on such a path, its header included.
    pub fn room(&self, path_mtu: u16) -> usize {
        let size = self.sa.aggregation().and_then(|aggregation| aggregation.size);
        let (encapsulation, ipv6) = (self.path.encapsulation, self.path.remote.is_ipv6());
        let outer = size.map_or(path_mtu, |size| size.min(path_mtu));
        usize::from(mtu::inner_mtu(self.sa.layout(), encapsulation, ipv6, outer)).min(MAX_LEN)
    }
}

/// That of RFC 9347 6.1.1.
const AGGFRAG_HEADER: u16 = 4;

/// Below this nothing is learnt (the smallest MTU of IPv4 that is seen in practice, RFC 1191 7).
pub const MIN_PATH_MTU: u16 = 576;
