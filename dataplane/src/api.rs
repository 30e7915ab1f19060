//! The doors of the room: what control tells the dataplane, and what it asks of it.
//!
//! Everything here is plain data. [`Command`]s cannot fail: keys arrive complete and of the right length,
//! SPIs are chosen by the caller.

mod aggfrag;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use zeroize::Zeroizing;

pub use crate::io::tun::Steering;
pub use aggfrag::{Aggregation, Pace};

/// The caller's name for a tunnel: one TUN interface, one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TunnelId(pub u32);

/// A Security Parameter Index (RFC 4303 2.1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Spi(pub u32);

impl fmt::Debug for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// The ESP transform of an SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// AES-GCM with a 16-octet ICV (RFC 4106), 128-bit key. Key: 16 + 4 octets of salt.
    AesGcm128,
    /// AES-GCM with a 16-octet ICV (RFC 4106), 256-bit key. Key: 32 + 4 octets of salt.
    AesGcm256,
    /// ChaCha20-Poly1305 (RFC 7634). Key: 32 + 4 octets of salt.
    ChaCha20Poly1305,
    /// As [`Suite::AesGcm128`], with an implicit IV (RFC 8750).
    AesGcm128Iiv,
    /// As [`Suite::AesGcm256`], with an implicit IV (RFC 8750).
    AesGcm256Iiv,
    /// As [`Suite::ChaCha20Poly1305`], with an implicit IV (RFC 8750).
    ChaCha20Poly1305Iiv,
    /// AES-CBC (RFC 3602) with HMAC (RFC 4868, RFC 2404); encrypt-then-MAC.
    AesCbc {
        /// 128 or 256.
        key_bits: u16,
        /// The HMAC.
        integrity: Integrity,
    },
    /// AES-CCM with an ICV of 8 octets (RFC 4309), legacy. Key: that of AES + 3 octets of salt.
    AesCcm8(AesKey),
    /// The same with an ICV of 12 octets.
    AesCcm12(AesKey),
    /// The same with an ICV of 16 octets.
    AesCcm16(AesKey),
    /// AES-GCM with an ICV of 8 octets (RFC 4106), legacy. Key: that of AES + 4 octets of salt.
    AesGcm8(AesKey),
    /// The same with an ICV of 12 octets.
    AesGcm12(AesKey),
    /// As [`Suite::AesCcm8`], with an implicit IV (RFC 8750).
    AesCcm8Iiv(AesKey),
}

/// The length of an AES key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AesKey {
    /// 128 bits.
    Bits128,
    /// 192 bits.
    Bits192,
    /// 256 bits.
    Bits256,
}

/// The HMAC of a [`Suite::AesCbc`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integrity {
    /// HMAC-SHA1-96 (RFC 2404), legacy. Key: 20 octets.
    HmacSha1_96,
    /// HMAC-SHA2-256-128 (RFC 4868). Key: 32 octets.
    HmacSha2_256_128,
    /// HMAC-SHA2-384-192 (RFC 4868). Key: 48 octets.
    HmacSha2_384_192,
    /// HMAC-SHA2-512-256 (RFC 4868). Key: 64 octets.
    HmacSha2_512_256,
}

/// Keys of one SA. Zeroized on drop, never printed.
#[derive(Clone)]
pub struct Keys {
    /// The cipher's key; for AEADs followed by the salt.
    pub encryption: Zeroizing<Vec<u8>>,
    /// The HMAC key; empty with an AEAD.
    pub integrity: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(..)")
    }
}

/// One traffic selector (RFC 7296 3.13.1, RFC 4301 4.4.1.1): a range of addresses, a protocol, a range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selector {
    /// First address, same family as `last`.
    pub first: IpAddr,
    /// Last address, included.
    pub last: IpAddr,
    /// IP protocol; 0 is any.
    pub protocol: u8,
    /// First port (or ICMP type and code).
    pub first_port: u16,
    /// Last port, included. 0..=65535 is any, and the only range that matches a packet whose ports cannot be read (a fragment).
    pub last_port: u16,
}

/// How ESP travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encapsulation {
    /// In UDP between the ports of the path (RFC 3948).
    Udp,
    /// As IP protocol 50; the ports of the path mean nothing.
    None,
}

/// The outer path of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Our address and port.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// In UDP or not.
    pub encapsulation: Encapsulation,
}

/// The SA for what arrives.
#[derive(Clone, Debug)]
pub struct InboundSpec {
    /// Whose TUN gets the packets.
    pub tunnel: TunnelId,
    /// Our SPI.
    pub spi: Spi,
    /// Algorithms.
    pub suite: Suite,
    /// Keys.
    pub keys: Keys,
    /// 64-bit sequence numbers.
    pub esn: bool,
    /// Anti-replay window in packets; a multiple of 64, 64..=65536.
    pub replay_window: u32,
    /// Destinations that may arrive (the networks behind us).
    pub local: Vec<Selector>,
    /// Sources that may arrive (the networks behind the peer).
    pub remote: Vec<Selector>,
    /// It carries AGGFRAG payloads (RFC 9347) and nothing else.
    pub aggfrag: bool,
}

/// The SA for what leaves.
#[derive(Clone, Debug)]
pub struct OutboundSpec {
    /// Whose TUN the packets come from.
    pub tunnel: TunnelId,
    /// The peer's SPI.
    pub spi: Spi,
    /// Our SPI of the same CHILD SA, for usage reports.
    pub inbound_spi: Spi,
    /// Algorithms.
    pub suite: Suite,
    /// Keys.
    pub keys: Keys,
    /// 64-bit sequence numbers.
    pub esn: bool,
    /// Sources that may leave.
    pub local: Vec<Selector>,
    /// Destinations that may leave.
    pub remote: Vec<Selector>,
    /// Its place in the SPD (RFC 4301 4.4.1): of several that take a packet the lowest carries it, and of equals the newest.
    pub order: u32,
    /// Where it goes.
    pub path: Path,
    /// Which queues send on it, and from where.
    pub lane: Lane,
    /// It carries AGGFRAG payloads (RFC 9347) and nothing else.
    pub aggregation: Option<Aggregation>,
}

/// Which queues send on an SA, and from which port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    /// It is for one resource (RFC 9611): the queue that is `resource % queues` prefers it. `None`: for any queue that has none.
    pub resource: Option<u32>,
    /// Each queue sends on it from a UDP port of its own ([`Config::own_ports`]), as long as it takes the path it was made for:
    /// the peer receives ESP from any port, and nothing on the way minds.
    pub own_port: bool,
    /// The peer receives it on another queue than other SAs of ours. In UDP from a port that they share, where the kernel of the peer joins
    /// datagrams of both, it is used for want of another only.
    pub apart: bool,
    /// Its tunnel's flows are spread over all queues, not kept on one.
    pub spread: bool,
    /// The peer's replay window in packets, as far as known. When several queues send on the SA, no packet leaves half as late.
    /// 0: in order.
    pub window: u32,
}

/// A change of the tables. Performed in the order given; it is visible to the next batch of every queue.
#[derive(Clone, Debug)]
pub enum Command {
    /// Receive on this SA.
    InstallInbound(Box<InboundSpec>),
    /// Send with this SA; where several match a packet, by their order, and newest first among equals.
    InstallOutbound(Box<OutboundSpec>),
    /// Forget an inbound SA. Unknown: no effect.
    RemoveInbound(Spi),
    /// Forget an outbound SA of a tunnel. Unknown: no effect.
    RemoveOutbound(TunnelId, Spi),
    /// All outbound SAs of a tunnel take this path.
    SetPath(TunnelId, Path),
    /// Packets of a tunnel that match this and find no SA are asked for ([`Punted::Wanted`]) instead of refused with an ICMP
    /// error; `None`: refused.
    Trap(TunnelId, Option<Box<Trap>>),
}

/// What a tunnel that is made on demand waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trap {
    /// Sources.
    pub local: Vec<Selector>,
    /// Destinations.
    pub remote: Vec<Selector>,
}

/// A tunnel interface to open.
#[derive(Clone, Debug)]
pub struct TunnelSpec {
    /// The caller's name for it.
    pub id: TunnelId,
    /// The interface's name, at most 15 octets.
    pub interface: String,
    /// The MTU of the outer path in octets, before anything better is learnt; usually 1500.
    pub path_mtu: u16,
    /// Clamp the MSS of TCP SYNs, both ways, to what the path and the SA allow.
    pub clamp_mss: bool,
    /// Copy DSCP from the inner to the outer header.
    pub copy_dscp: bool,
}

/// What the dataplane needs to start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Worker threads, and queues of every TUN; at least 1.
    pub queues: usize,
    /// UDP addresses to bind, usually `0.0.0.0:4500` and `[::]:4500`.
    pub udp: Vec<SocketAddr>,
    /// Open raw sockets for IP protocol 50 too (needs CAP_NET_RAW).
    pub raw_esp: bool,
    /// Socket buffer to ask for, in octets.
    pub socket_buffer: usize,
    /// `/dev/net/tun`.
    pub tun_device: PathBuf,
    /// What the kernel may do for many packets at once.
    pub offloads: Offloads,
    /// Give each queue a UDP port of its own to send from ([`Lane::own_port`]).
    pub own_ports: bool,
    /// Keeps the flows of every TUN on their queues; `None`: the kernel moves a flow to where its replies are
    /// written.
    pub steering: Option<Steering>,
}

/// What the kernel is asked to do for many packets at once. A kernel that does not have one of these works without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offloads {
    /// TUNSETOFFLOAD: super-packets and unfinished checksums from and to the TUN.
    pub tun: bool,
    /// UDP_SEGMENT: several ESP packets in one call, cut by the kernel or the network card.
    pub gso: bool,
    /// UDP_GRO: several ESP packets of one flow from one call.
    pub gro: bool,
}

impl Default for Offloads {
    fn default() -> Self {
        Self {
            tun: true,
            gso: true,
            gro: true,
        }
    }
}

/// One of the [`Offloads`] that turned out not to work only when it was used, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// Super-packets to a tunnel's interface.
    Tun {
        /// Whose interface.
        tunnel: TunnelId,
        /// Those of UDP; else those of TCP.
        udp: bool,
    },
    /// UDP_SEGMENT.
    Gso {
        /// To whom.
        remote: IpAddr,
    },
}

/// Counts of one CHILD SA since installation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Inner octets in.
    pub inbound_bytes: u64,
    /// Packets in that passed ICV and window.
    pub inbound_packets: u64,
    /// Inner octets out.
    pub outbound_bytes: u64,
    /// Packets out.
    pub outbound_packets: u64,
}

/// Usage of one CHILD SA with its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaUsage {
    /// The tunnel.
    pub tunnel: TunnelId,
    /// Our SPI of it.
    pub inbound_spi: Spi,
    /// The counts.
    pub usage: Usage,
}

/// What the dataplane hands up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Punted {
    /// An IKE message found on the NAT-T port, without its non-ESP marker (RFC 3948 2.2).
    Ike {
        /// The address and port it was sent to.
        local: SocketAddr,
        /// From where.
        remote: SocketAddr,
        /// The message.
        bytes: Vec<u8>,
    },
    /// The kernel refused this several times; the queue does without it for some minutes.
    Refused(Refused),
    /// A packet that sprang the trap of a tunnel. Rate-limited.
    Wanted {
        /// The tunnel.
        tunnel: TunnelId,
    },
    /// ESP with an SPI that no SA has. Rate-limited.
    UnknownSpi {
        /// The SPI.
        spi: Spi,
        /// From where; the port is 0 without UDP.
        remote: SocketAddr,
    },
}
