//! Every default, and nowhere else.

use std::time::Duration;

use xvpn_ike::config::{EncapsulationPolicy, TransportPolicy};
use xvpn_ike::negotiate::proposal::{self, EspProposal, IkeProposal};

use super::proposals::PostQuantum;
use super::{Offload, Spread, Start};

/// Where the configuration is. `conf.d/*.toml` beside it is read too.
pub const CONFIG_FILE: &str = "/etc/xvpn/xvpn.toml";
/// The folder of further files, beside the file.
pub const CONFIG_FOLDER: &str = "conf.d";

/// `gateway.listen`: every address of the host.
pub const LISTEN: [&str; 2] = ["0.0.0.0", "::"];
/// `gateway.queues`: one worker per core.
pub const QUEUES: usize = 0;
/// `gateway.offload`: all that the kernel has, but for what it is known to do wrong (`daemon/offload.rs`).
pub const OFFLOAD: Offload = Offload {
    tun: true,
    gso: true,
    gro: true,
};
/// `gateway.state_dir`.
pub const STATE_DIR: &str = "/run/xvpn";
/// `gateway.manage_sysctls`.
pub const MANAGE_SYSCTLS: bool = true;
/// `gateway.log`.
pub const LOG: &str = "info";

/// `post_quantum`.
pub(super) const POST_QUANTUM: PostQuantum = PostQuantum::Prefer;

/// `ike_proposals`, most wanted first. What these are is written down with the algorithms.
pub(super) fn ike_proposals(legacy: bool, post_quantum: PostQuantum) -> Vec<IkeProposal> {
    let mut proposals = match post_quantum {
        PostQuantum::Prefer => proposal::default_ike(),
        // What is for old peers cannot be what is asked for here.
        PostQuantum::Require => return proposal::post_quantum_ike(),
        PostQuantum::Off => proposal::classical_ike(),
    };
    if legacy {
        proposals.extend(proposal::legacy_ike());
    }
    proposals
}

/// `esp_proposals`, most wanted first.
pub fn esp_proposals(legacy: bool) -> Vec<EspProposal> {
    let mut proposals = proposal::default_esp();
    if legacy {
        proposals.extend(proposal::legacy_esp());
    }
    proposals
}

/// `encapsulation`: both sides of a cloud VPN usually sit behind 1:1 NAT, and clouds drop or slow raw ESP.
pub const ENCAPSULATION: EncapsulationPolicy = EncapsulationPolicy::Force;
/// `transport`: TCP makes everything slower, and the port has to be opened by somebody who wants it.
pub const TRANSPORT: TransportPolicy = TransportPolicy::Udp;
/// `udp_tries`: about three seconds.
pub const UDP_TRIES: u32 = 3;
/// `remote.tcp_port` (RFC 9329 2).
pub const TCP_PORT: u16 = 4500;
/// `start`, for a peer with an address.
pub const START: Start = Start::Up;
/// `start`, for a peer anywhere, or one that is sent elsewhere.
pub const START_ANY: Start = Start::Listen;
/// `liveness`.
pub const LIVENESS: Duration = Duration::from_secs(30);
/// `keepalive` (RFC 3948 4).
pub const KEEPALIVE: Duration = Duration::from_secs(20);
/// `child_lifetime`.
pub const CHILD_LIFETIME: Duration = Duration::from_secs(3600);
/// `per_resource`: AWS and others have one SA for each tunnel.
pub const PER_RESOURCE: u32 = 0;
/// `iptfs_delay`: nothing waits.
pub const IPTFS_DELAY: Duration = Duration::ZERO;
/// Outer packets of so many octets have room for an IPv6 packet of 1280, with any algorithm that is common and in UDP over IPv6.
pub const ROOM_FOR_IPV6: u16 = 1400;
/// `iptfs_fragments`.
pub const IPTFS_FRAGMENTS: bool = true;
/// `rekey_probe`.
pub const REKEY_PROBE: bool = false;
/// `ike_lifetime`.
pub const IKE_LIFETIME: Duration = Duration::from_secs(8 * 3600);
/// Between attempts: the first and the longest wait.
pub const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// `replay_window` in packets: a queue of the peer's that waits for a CPU between taking its sequence numbers and sending may be
/// overtaken by others for some milliseconds, at hundreds of packets each. RFC 4303 3.4.3 asks for 64.
pub const REPLAY_WINDOW: u32 = 4096;
/// `spread`.
pub const SPREAD: Spread = Spread::Auto;
/// What a peer's replay window is taken for of which nothing is known: the least that RFC 4303 3.4.3 allows, and what strongSwan and
/// the kernel have by default.
pub const LEAST_REPLAY_WINDOW: u32 = 32;
/// With `spread = "auto"` the flows are spread from this window on: half of it is four batches, so that queues need not wait
/// for each other's.
pub const SPREAD_FROM: u32 = 512;
/// `esn`.
pub const ESN: bool = true;
/// `path_mtu`.
pub const PATH_MTU: u16 = 1500;
/// `fragment_size`.
pub const FRAGMENT_SIZE: usize = xvpn_ike::config::FRAGMENT_SIZE;
/// `clamp_mss`.
pub const CLAMP_MSS: bool = true;
/// `mobike` (RFC 4555).
pub const MOBIKE: bool = true;
/// `gateway.static_nat`: what is before us may be any NAT.
pub const STATIC_NAT: bool = false;

/// `follow_redirect` (RFC 5685): whoever we are sent to must prove to be the same peer.
pub const FOLLOW_REDIRECT: bool = true;
/// `resumption` (RFC 5723): tickets cost forward secrecy, which is for the operator to give up.
pub const RESUMPTION: bool = false;
/// `copy_dscp`.
pub const COPY_DSCP: bool = true;
/// An interface's name is this and the tunnel's name.
pub const INTERFACE_PREFIX: &str = "xv-";
/// IFNAMSIZ without the terminating zero.
pub const INTERFACE_LENGTH: usize = 15;

/// Characters of a pre-shared key below which it is called weak.
pub const PSK_MIN_CHARACTERS: usize = 20;
/// Octets of a pre-shared key written as 0x or 0s below which it is called weak.
pub const PSK_MIN_OCTETS: usize = 16;
/// Different characters below which a pre-shared key is called weak.
pub const PSK_MIN_VARIETY: usize = 8;
/// How long a `psk.command` may take.
pub const PSK_COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// A PEM file larger than this is a wrong file.
pub const PEM_MAX_OCTETS: usize = 1 << 20;
/// A file of CRLs larger than this is a wrong file; one in DER may have a quarter (`xvpn_ike` reads no longer one).
pub const CRL_FILE_MAX_OCTETS: usize = 16 << 20;
/// A secret longer than this is a wrong file.
pub const PSK_MAX_OCTETS: usize = 4096;
