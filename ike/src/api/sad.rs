//! The entries of the SAD (RFC 4301 4.4.2) as the dataplane is to have them: one for each direction of a CHILD SA.

use std::fmt;

use zeroize::Zeroizing;

use super::Path;
use crate::config::{Aggfrag, ChildId, ConnectionId};
use crate::negotiate::selector::TrafficSelector;
use crate::negotiate::transform::{Encryption, Integrity};

/// A Security Parameter Index of ESP (RFC 4303 2.1); never 0..=255.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spi(pub u32);

impl fmt::Debug for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Display for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// Key material of one direction of a CHILD SA (RFC 7296 2.17). Zeroized on drop, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SaKeys {
    /// The cipher's key; for AEADs followed by the salt (4 octets), as KEYMAT has it.
    pub encryption: Zeroizing<Vec<u8>>,
    /// The integrity key; empty with an AEAD.
    pub integrity: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for SaKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SaKeys(..)")
    }
}

/// What both directions of a CHILD SA have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildSuite {
    /// The cipher, with its key length.
    pub encryption: Encryption,
    /// The integrity algorithm; `None` with an AEAD.
    pub integrity: Option<Integrity>,
    /// Extended (64-bit) sequence numbers (RFC 4303 2.2.1).
    pub esn: bool,
}

/// How ESP travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// In UDP, between the ports of the path (RFC 3948).
    Udp,
    /// As IP protocol 50; the ports of the path mean nothing.
    None,
    /// In the TCP connection of the path, beside IKE (RFC 9329).
    Tcp,
}

/// The inbound half of a new CHILD SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallInbound {
    /// The connection it belongs to.
    pub connection: ConnectionId,
    /// Our SPI, chosen by us.
    pub spi: Spi,
    /// Algorithms.
    pub suite: ChildSuite,
    /// Keys of this direction.
    pub keys: SaKeys,
    /// The networks behind us: the destinations of what arrives.
    pub local: Vec<TrafficSelector>,
    /// The networks behind the peer: the sources of what arrives.
    pub remote: Vec<TrafficSelector>,
    /// In UDP or not.
    pub encapsulation: Encapsulation,
    /// The outer path.
    pub path: Path,
    /// The queue or CPU that it is for; `None`: any (RFC 9611).
    pub resource: Option<u32>,
    /// It carries AGGFRAG payloads (RFC 9347). What is here is what the peer does with them.
    pub aggfrag: Option<Aggfrag>,
}

/// The outbound half of a new CHILD SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallOutbound {
    /// The connection it belongs to.
    pub connection: ConnectionId,
    /// The peer's SPI.
    pub spi: Spi,
    /// Our SPI of the same CHILD SA.
    pub inbound_spi: Spi,
    /// Algorithms.
    pub suite: ChildSuite,
    /// Keys of this direction.
    pub keys: SaKeys,
    /// The networks behind us: the sources of what leaves.
    pub local: Vec<TrafficSelector>,
    /// The networks behind the peer: the destinations of what leaves.
    pub remote: Vec<TrafficSelector>,
    /// In UDP or not.
    pub encapsulation: Encapsulation,
    /// The outer path.
    pub path: Path,
    /// The queue or CPU that it is for; `None`: any (RFC 9611).
    pub resource: Option<u32>,
    /// Its entry of the SPD: of several SAs that take a packet the one of the lowest carries it, and of one entry's the newest
    /// (RFC 4301 4.4.1).
    pub child: ChildId,
    /// The peer is an xvpn, too.
    pub xvpn: bool,
    /// The peer receives it on another queue than other SAs of ours. In UDP from a port that they share it is to be used for want of another
    /// only: the kernel of the peer may join datagrams of both, and the order of a flow would not be kept.
    pub apart: bool,
    /// ESP may come to the peer from any UDP port of ours: it said so, and there is no NAT before either side.
    pub any_port: bool,
    /// It carries AGGFRAG payloads (RFC 9347). What is here is what the peer does with them.
    pub aggfrag: Option<Aggfrag>,
}

/// Which half of a CHILD SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the peer.
    Inbound,
    /// To the peer.
    Outbound,
}

/// The half of a CHILD SA to forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remove {
    /// The connection it belonged to.
    pub connection: ConnectionId,
    /// Inbound or outbound.
    pub direction: Direction,
    /// Our SPI if inbound, the peer's if outbound.
    pub spi: Spi,
}
