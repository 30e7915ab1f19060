//! What an IKE SA knows of both sides' addresses (RFC 4555), besides the path that it uses.

use std::net::{IpAddr, SocketAddr};

use crate::api::Path;

/// The addresses, and what is still to be said about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mobility {
    /// RFC 4555 2.2: we are the side that made the first IKE SA of this line, so the path is ours to choose.
    pub(crate) decides: bool,
    /// Where else the peer says that it can be reached.
    pub(crate) peer: Vec<IpAddr>,
    /// Where else we can be reached.
    pub(crate) own: Vec<IpAddr>,
    /// The peer is to be told of the path ("pending_update").
    pub(crate) update: bool,
    /// The peer is to be told of our addresses.
    pub(crate) announce: bool,
    /// The peer is to show that it receives at the new end of the path before ESP goes there (RFC 4555 3.7).
    pub(crate) check: bool,
    /// The last path that worked.
    pub(crate) previous: Option<Path>,
    /// What the peer saw of us last (NAT_DETECTION_DESTINATION_IP).
    pub(crate) seen: Option<[u8; 20]>,
    /// How often in a row the peer has found a NAT that we have forbidden.
    pub(crate) forbidden_nats: u8,
}

impl Mobility {
    /// Something is to be said.
    pub(crate) fn speaks(&self) -> bool {
        self.update || self.announce || self.check
    }

    /// Takes the peer's list: it replaces the old one (RFC 4555 3.6).
    pub(crate) fn learn(&mut self, addresses: Vec<IpAddr>) {
        self.peer = addresses;
        self.peer
            .retain(|address| !address.is_unspecified() && !address.is_multicast());
        self.peer.truncate(MOST_ADDRESSES);
    }

    /// The `turn`th of the paths that may work when this one does not: the peer's other addresses, from an address of
    /// the same family.
    pub(crate) fn detour(&self, path: Path, turn: u32) -> Path {
        let mut ways = vec![path];
        for remote in self.peer.iter().filter(|remote| **remote != path.remote.ip()) {
            let same = |own: &&IpAddr| own.is_ipv4() == remote.is_ipv4();
            let current = path.local.ip();
            let local = Some(&current).filter(same).or_else(|| self.own.iter().find(same));
            ways.extend(local.map(|local| Path {
                local: SocketAddr::new(*local, path.local.port()),
                remote: SocketAddr::new(*remote, path.remote.port()),
            }));
        }
        let turn = usize::try_from(turn).unwrap_or(0) % ways.len();
        ways.get(turn).copied().unwrap_or(path)
    }
}

/// Addresses of one side that are remembered.
pub(crate) const MOST_ADDRESSES: usize = 8;
