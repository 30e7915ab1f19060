//! The state of everything: the tunnels, their SAs, and what was counted.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{CipherReport, FailureReport, QueueReport, TunnelState, TunnelTotals};

/// Everything the daemon knows, without secrets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The contract's version.
    pub api: u32,
    /// The program's version.
    pub version: String,
    /// The daemon's process.
    pub pid: u32,
    /// Since it started.
    pub uptime_ms: u64,
    /// The configuration it runs with.
    pub config: PathBuf,
    /// UDP addresses it listens on.
    pub listen: Vec<SocketAddr>,
    /// Queues of every interface, one thread each.
    pub queues: u32,
    /// Every tunnel of the configuration, in its order.
    pub tunnels: Vec<TunnelStatus>,
    /// Packets refused by the dataplane, by reason; reasons never seen may be left out. The sum of what `queue_stages` and
    /// `control_discards` say.
    pub discards: Vec<Counter>,
    /// Of these, what no queue refused, but control of the dataplane.
    #[serde(default)]
    pub control_discards: Vec<Counter>,
    /// IKE datagrams that changed nothing, by reason; reasons never seen may be left out.
    pub ignored: Vec<Counter>,
    /// Changes made to the host that will be undone, in words.
    pub host_changes: Vec<String>,
    /// What the packet path of each queue costs and refuses.
    #[serde(default)]
    pub queue_stages: Vec<QueueReport>,
    /// Which library does which cipher of ESP; those not named here have one only.
    #[serde(default)]
    pub ciphers: Vec<CipherReport>,
    /// Who is being given the keys of all SAs at the moment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key_exports: Vec<KeyExport>,
}

/// Somebody who asked for the keys of all SAs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyExport {
    /// Who, in words: a process and a user.
    pub to: String,
    /// Milliseconds until it ends by itself.
    pub left_ms: u64,
    /// Rows given so far.
    pub rows: u64,
}

/// A named count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// What is counted.
    pub name: String,
    /// How often.
    pub count: u64,
}

/// One tunnel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TunnelStatus {
    /// Its name.
    pub name: String,
    /// How it is.
    pub state: TunnelState,
    /// Milliseconds since it came into this state.
    pub since_ms: u64,
    /// The operator wants it up.
    pub wanted: bool,
    /// The last failure since it was last established, if any.
    pub failure: Option<FailureReport>,
    /// Its interface.
    pub interface: String,
    /// The interface's MTU, 0 while there is none.
    pub mtu: u32,
    /// Who we are.
    pub local_id: String,
    /// Who the peer must be.
    pub remote_id: String,
    /// The peer as configured: an address, a name, or `any`.
    pub remote: String,
    /// Networks behind us, as configured.
    pub local_networks: Vec<String>,
    /// Networks behind the peer, as configured.
    pub remote_networks: Vec<String>,
    /// The IKE SA, if there is one.
    pub ike: Option<IkeStatus>,
    /// Its CHILD SAs.
    pub children: Vec<ChildStatus>,
    /// CHILD SAs of the configuration that an IKE SA has not got, or not yet.
    #[serde(default)]
    pub missing: Vec<MissingChild>,
    /// What it has carried and been through since the daemon started.
    #[serde(default)]
    pub totals: TunnelTotals,
}

/// A CHILD SA that is not there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MissingChild {
    /// Its name in the configuration.
    pub name: String,
    /// Why the last attempt came to nothing, if there was one.
    pub failure: Option<FailureReport>,
}

/// An IKE SA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IkeStatus {
    /// `initiator` or `responder`.
    pub role: String,
    /// The initiator's SPI, 16 hexadecimal digits.
    pub spi_i: String,
    /// The responder's SPI.
    pub spi_r: String,
    /// Such as `aes256gcm16-prfsha256-x25519`.
    pub suite: String,
    /// Our end of the outer path.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
    /// There is a NAT before us.
    pub nat_local: bool,
    /// There is a NAT before the peer.
    pub nat_remote: bool,
    /// The peer can be sent to another gateway.
    #[serde(default)]
    pub redirectable: bool,
    /// By what we proved who we are: `psk`, `certificate ecdsa-sha256`, `public-key ed25519`.
    #[serde(default)]
    pub local_auth: String,
    /// By what the peer did.
    #[serde(default)]
    pub remote_auth: String,
    /// Milliseconds since it was established.
    pub age_ms: u64,
}

/// A CHILD SA: a pair of ESP SAs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildStatus {
    /// Its name in the configuration.
    #[serde(default)]
    pub name: String,
    /// The queue or CPU that it is for; `None`: any (RFC 9611).
    #[serde(default)]
    pub resource: Option<u32>,
    /// Our SPI, 8 hexadecimal digits.
    pub spi_in: String,
    /// The peer's SPI.
    pub spi_out: String,
    /// Such as `aes256gcm16-esn`.
    pub suite: String,
    /// `udp` or `esp`.
    pub encapsulation: String,
    /// Networks behind us, as negotiated.
    pub local: Vec<String>,
    /// Networks behind the peer, as negotiated.
    pub remote: Vec<String>,
    /// Packets from the peer.
    pub packets_in: u64,
    /// Inner octets of them.
    pub bytes_in: u64,
    /// Packets to the peer.
    pub packets_out: u64,
    /// Inner octets of them.
    pub bytes_out: u64,
    /// Milliseconds since it was established.
    pub age_ms: u64,
    /// Milliseconds until it is replaced; 0 when that is under way.
    #[serde(default)]
    pub rekey_in_ms: u64,
    /// Inner octets in one direction until it is replaced, if they are limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rekey_in_bytes: Option<u64>,
    /// Packets in one direction until it is replaced, if they are limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rekey_in_packets: Option<u64>,
    /// Packets travel in AGGFRAG payloads (RFC 9347): when they leave, such as `aggregate` or `constant, 500/s`. Packets and octets are
    /// then those of the payloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iptfs: Option<String>,
}

impl TunnelStatus {
    /// The peer's address, if there is an IKE SA.
    pub fn peer(&self) -> Option<IpAddr> {
        self.ike.as_ref().map(|ike| ike.remote.ip())
    }
}
