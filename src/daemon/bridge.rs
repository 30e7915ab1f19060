//! The only file that knows both cores: converts what `ike` says into what `dataplane` does, and back.
//!
//! Each core has its own words for SPIs, suites, selectors and paths, so that either can be rewritten or tested
//! alone. Every conversion here is a plain table.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use xvpn_dataplane as dp;
pub use xvpn_dataplane::Steering;
use xvpn_dataplane::esp::layout::Layout;
use xvpn_dataplane::ip::mtu::inner_mtu;
use xvpn_ike::api as ike;
use xvpn_ike::config::{Aggfrag, ConnectionId};
use xvpn_ike::negotiate::selector::TrafficSelector;
use xvpn_ike::negotiate::transform::{AesKey, Encryption, Integrity};

use super::sources::{Ports, Upward};
use super::tcp::{Ends, Streams, Twin};
use crate::config::defaults::{LEAST_REPLAY_WINDOW, REPLAY_WINDOW, SPREAD_FROM};
use crate::config::{Iptfs, Offload, Pace, Spread, TunnelConfig};

/// The running dataplane, in the words of `ike`.
pub struct Bridge {
    control: dp::Control,
    ports: Ports,
    tunnels: HashMap<ConnectionId, Known>,
}

/// What the dataplane needs to know of a tunnel and `ike` does not say each time.
struct Known {
    replay_window: u32,
    peer_replay_window: Option<u32>,
    spread: Spread,
    /// How each CHILD SA fills payloads, if it does, in their order.
    iptfs: Vec<Option<Iptfs>>,
}

impl Known {
    /// The peer's replay window, as far as known, and whether several queues may send to it on one SA.
    fn lane(&self, xvpn: bool) -> (u32, bool) {
        let unsaid = if xvpn { REPLAY_WINDOW } else { LEAST_REPLAY_WINDOW };
        let window = self.peer_replay_window.unwrap_or(unsaid);
        let spread = match self.spread {
            Spread::Auto => window >= SPREAD_FROM,
            Spread::On => true,
            Spread::Off => false,
        };
        (window, spread)
    }
}

/// What an output asks of the dataplane.
pub enum Effect {
    /// Be ready to receive.
    InstallInbound(ike::InstallInbound),
    /// Send with this from now on.
    InstallOutbound(ike::InstallOutbound),
    /// Forget one half.
    Remove(ike::Remove),
    /// The peer is elsewhere.
    SetPath(ConnectionId, ike::Path, ike::Encapsulation),
    /// Ask for the tunnel when a packet between these is there (ours, the peer's); `None`: never.
    Trap(ConnectionId, Option<(Vec<TrafficSelector>, Vec<TrafficSelector>)>),
}

/// Algorithms that the dataplane does not have. It has all that can be negotiated, so this is a defect.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the dataplane has no transform for {0:?}; please report this defect")]
pub struct Unbridgeable(ike::ChildSuite);

impl Bridge {
    /// Starts the dataplane: one thread per queue, its sockets at these addresses.
    pub fn start(
        queues: usize,
        offload: Offload,
        udp: Vec<SocketAddr>,
        ports: Ports,
        (own_ports, steering): (bool, Option<Steering>),
    ) -> io::Result<(Self, Upward)> {
        let Offload { tun, gso, gro } = offload;
        let started = dp::Control::start(&dp::Config {
            queues,
            udp,
            raw_esp: true,
            socket_buffer: SOCKET_BUFFER,
            tun_device: TUN_DEVICE.into(),
            offloads: dp::Offloads { tun, gso, gro },
            own_ports,
            steering,
        })?;
        let dp::Started {
            control,
            punts,
            ike,
            notes,
        } = started;
        notes.iter().for_each(|note| tracing::info!("{note}"));
        Ok((
            Self {
                control,
                ports,
                tunnels: HashMap::new(),
            },
            Upward { punts, nat_t: ike },
        ))
    }

    /// Opens the interface of a tunnel. Packets into it are refused until there is an SA.
    pub fn open_tunnel(&mut self, id: ConnectionId, tunnel: &TunnelConfig) -> io::Result<()> {
        let note = self.control.open_tunnel(&dp::TunnelSpec {
            id: tunnel_id(id),
            interface: tunnel.interface.clone(),
            path_mtu: tunnel.path_mtu,
            clamp_mss: tunnel.clamp_mss,
            copy_dscp: tunnel.copy_dscp,
        })?;
        if let Some(note) = note {
            tracing::info!("{note}");
        }
        let known = Known {
            replay_window: tunnel.replay_window,
            peer_replay_window: tunnel.peer_replay_window,
            spread: tunnel.spread,
            iptfs: tunnel.children.iter().map(|child| child.iptfs).collect(),
        };
        self.tunnels.insert(id, known);
        Ok(())
    }

    /// Performs one effect; it is visible to the next batch of every queue. `streams` knows where the dataplane finds TCP
    /// connections.
    pub fn perform(&mut self, effect: Effect, streams: &Streams) -> Result<(), Unbridgeable> {
        let command = self.command(effect, streams)?;
        self.control.perform(command);
        Ok(())
    }

    /// The counts of every CHILD SA.
    pub fn usage(&self) -> Vec<ike::Usage> {
        self.control.usage().into_iter().map(usage).collect()
    }

    /// Every counter of the packet path.
    pub fn counts(&self) -> dp::Counts {
        self.control.counts()
    }

    /// The longest inner packet of a tunnel with its SA of now; `None` without one.
    pub fn inner_mtu(&self, id: ConnectionId) -> Option<u16> {
        self.control.inner_mtu(tunnel_id(id))
    }

    /// Why a queue ended although nobody stopped it; `None` while all is well.
    pub fn failure(&self) -> Option<String> {
        self.control.failure()
    }

    /// Stops the queues and closes all interfaces.
    pub fn stop(self) {
        if let Err(error) = self.control.stop() {
            tracing::warn!("a queue of the dataplane ended with an error: {error}");
        }
    }

    fn command(&mut self, effect: Effect, streams: &Streams) -> Result<dp::Command, Unbridgeable> {
        Ok(match effect {
            Effect::InstallInbound(sa) => {
                let replay_window = self
                    .tunnels
                    .get(&sa.connection)
                    .map_or(REPLAY_WINDOW, |known| known.replay_window);
                dp::Command::InstallInbound(Box::new(inbound(sa, replay_window)?))
            }
            Effect::InstallOutbound(sa) => {
                let path = path(sa.path, sa.encapsulation, &self.ports, streams);
                let known = self.tunnels.get(&sa.connection);
                let lane = known.map_or((LEAST_REPLAY_WINDOW, false), |known| known.lane(sa.xvpn));
                let iptfs = known.and_then(|known| *known.iptfs.get(sa.child.0)?);
                dp::Command::InstallOutbound(Box::new(outbound(sa, path, lane, iptfs)?))
            }
            Effect::Remove(ike::Remove {
                connection,
                direction,
                spi,
            }) => match direction {
                ike::Direction::Inbound => dp::Command::RemoveInbound(dp::Spi(spi.0)),
                ike::Direction::Outbound => {
                    dp::Command::RemoveOutbound(tunnel_id(connection), dp::Spi(spi.0))
                }
            },
            Effect::Trap(connection, armed) => {
                let trap = armed.map(|(local, remote)| {
                    Box::new(dp::Trap {
                        local: local.iter().map(selector).collect(),
                        remote: remote.iter().map(selector).collect(),
                    })
                });
                dp::Command::Trap(tunnel_id(connection), trap)
            }
            Effect::SetPath(connection, to, how) => {
                dp::Command::SetPath(tunnel_id(connection), path(to, how, &self.ports, streams))
            }
        })
    }
}

/// The longest inner packet whichever of its proposals a tunnel gets, in UDP: for its interface before there is an SA.
pub fn worst_inner_mtu(tunnel: &TunnelConfig, outer_ipv6: bool) -> Option<u16> {
    let all = tunnel.children.iter().flat_map(|child| &child.esp_proposals);
    let proposals = all.flat_map(|proposal| {
        let integrity = proposal
            .integrity
            .iter()
            .copied()
            .map(Some)
            .chain(proposal.integrity.is_empty().then_some(None));
        integrity.flat_map(|integrity| {
            proposal
                .encryption
                .iter()
                .map(move |encryption| (*encryption, integrity))
        })
    });
    let suites = proposals.filter_map(|(encryption, integrity)| {
        suite(&ike::ChildSuite {
            encryption,
            integrity,
            esn: true,
        })
        .ok()
    });
    let fits = |suite| {
        inner_mtu(
            Layout::of(suite),
            dp::Encapsulation::Udp,
            outer_ipv6,
            tunnel.path_mtu,
        )
    };
    let least = suites.map(fits).min();
    // In AGGFRAG payloads so much is left that no packet need be cut.
    let aggfrag = tunnel.children.iter().any(|child| child.iptfs.is_some());
    least.map(|mtu| {
        if aggfrag {
            mtu.saturating_sub(AGGFRAG_HEADER)
        } else {
            mtu
        }
    })
}

/// A connection and its tunnel have the same number.
fn tunnel_id(id: ConnectionId) -> dp::TunnelId {
    dp::TunnelId(id.0)
}

fn inbound(sa: ike::InstallInbound, replay_window: u32) -> Result<dp::InboundSpec, Unbridgeable> {
    Ok(dp::InboundSpec {
        tunnel: tunnel_id(sa.connection),
        spi: dp::Spi(sa.spi.0),
        suite: suite(&sa.suite)?,
        keys: keys(sa.keys),
        esn: sa.suite.esn,
        replay_window,
        local: sa.local.iter().map(selector).collect(),
        remote: sa.remote.iter().map(selector).collect(),
        aggfrag: sa.aggfrag.is_some(),
    })
}

fn outbound(
    sa: ike::InstallOutbound,
    path: dp::Path,
    (window, spread): (u32, bool),
    iptfs: Option<Iptfs>,
) -> Result<dp::OutboundSpec, Unbridgeable> {
    let aggregation = sa.aggfrag.map(|theirs| aggregation(theirs, iptfs));
    // Payloads are put in order within a window of their own, and a constant rate is kept by one queue.
    let window = aggregation.map_or(window, |_| window.min(AGGFRAG_WINDOW));
    let constant = aggregation.is_some_and(|of| matches!(of.pace, dp::Pace::Constant { .. }));
    Ok(dp::OutboundSpec {
        tunnel: tunnel_id(sa.connection),
        spi: dp::Spi(sa.spi.0),
        inbound_spi: dp::Spi(sa.inbound_spi.0),
        suite: suite(&sa.suite)?,
        keys: keys(sa.keys),
        esn: sa.suite.esn,
        local: sa.local.iter().map(selector).collect(),
        remote: sa.remote.iter().map(selector).collect(),
        // There are fewer of them than a u32 counts.
        order: u32::try_from(sa.child.0).unwrap_or(u32::MAX),
        path,
        lane: dp::Lane {
            resource: sa.resource,
            own_port: sa.any_port,
            apart: sa.apart,
            spread: spread && !constant,
            window,
        },
        aggregation,
    })
}

fn aggregation(theirs: Aggfrag, ours: Option<Iptfs>) -> dp::Aggregation {
    let at_hand = dp::Pace::AtHand {
        delay: Duration::ZERO,
    };
    dp::Aggregation {
        fragments: theirs.reassembles,
        size: ours.and_then(|iptfs| iptfs.size),
        // It is negotiated only where the configuration has it.
        pace: ours.map_or(at_hand, |iptfs| match iptfs.pace {
            Pace::AtHand { delay } => dp::Pace::AtHand { delay },
            Pace::Constant { per_second } => dp::Pace::Constant { per_second },
        }),
    }
}

fn suite(of: &ike::ChildSuite) -> Result<dp::Suite, Unbridgeable> {
    Ok(match (of.encryption, of.integrity) {
        (Encryption::AesGcm16_128, None) => dp::Suite::AesGcm128,
        (Encryption::AesGcm16_256, None) => dp::Suite::AesGcm256,
        (Encryption::ChaCha20Poly1305, None) => dp::Suite::ChaCha20Poly1305,
        (Encryption::AesGcm16Iiv128, None) => dp::Suite::AesGcm128Iiv,
        (Encryption::AesGcm16Iiv256, None) => dp::Suite::AesGcm256Iiv,
        (Encryption::ChaCha20Poly1305Iiv, None) => dp::Suite::ChaCha20Poly1305Iiv,
        (Encryption::AesCbc128, Some(hmac)) => dp::Suite::AesCbc {
            key_bits: 128,
            integrity: integrity(hmac),
        },
        (Encryption::AesCbc256, Some(hmac)) => dp::Suite::AesCbc {
            key_bits: 256,
            integrity: integrity(hmac),
        },
        (Encryption::AesCcm8(key), None) => dp::Suite::AesCcm8(aes_key(key)),
        (Encryption::AesCcm12(key), None) => dp::Suite::AesCcm12(aes_key(key)),
        (Encryption::AesCcm16(key), None) => dp::Suite::AesCcm16(aes_key(key)),
        (Encryption::AesGcm8(key), None) => dp::Suite::AesGcm8(aes_key(key)),
        (Encryption::AesGcm12(key), None) => dp::Suite::AesGcm12(aes_key(key)),
        (Encryption::AesCcm8Iiv(key), None) => dp::Suite::AesCcm8Iiv(aes_key(key)),
        // RFC 5282 8: an AEAD never has an integrity algorithm, another cipher always has one.
        (
            Encryption::AesGcm16_128
            | Encryption::AesGcm16_256
            | Encryption::ChaCha20Poly1305
            | Encryption::AesGcm16Iiv128
            | Encryption::AesGcm16Iiv256
            | Encryption::ChaCha20Poly1305Iiv
            | Encryption::AesCcm8(_)
            | Encryption::AesCcm12(_)
            | Encryption::AesCcm16(_)
            | Encryption::AesGcm8(_)
            | Encryption::AesGcm12(_)
            | Encryption::AesCcm8Iiv(_),
            Some(_),
        )
        | (Encryption::AesCbc128 | Encryption::AesCbc256, None) => return Err(Unbridgeable(of.clone())),
    })
}

fn aes_key(of: AesKey) -> dp::AesKey {
    match of {
        AesKey::Bits128 => dp::AesKey::Bits128,
        AesKey::Bits192 => dp::AesKey::Bits192,
        AesKey::Bits256 => dp::AesKey::Bits256,
    }
}

fn integrity(of: Integrity) -> dp::Integrity {
    match of {
        Integrity::HmacSha1_96 => dp::Integrity::HmacSha1_96,
        Integrity::HmacSha2_256_128 => dp::Integrity::HmacSha2_256_128,
        Integrity::HmacSha2_384_192 => dp::Integrity::HmacSha2_384_192,
        Integrity::HmacSha2_512_256 => dp::Integrity::HmacSha2_512_256,
    }
}

fn keys(of: ike::SaKeys) -> dp::Keys {
    dp::Keys {
        encryption: of.encryption,
        integrity: of.integrity,
    }
}

fn selector(of: &TrafficSelector) -> dp::Selector {
    dp::Selector {
        first: of.start,
        last: of.end,
        protocol: of.protocol,
        first_port: of.start_port,
        last_port: of.end_port,
    }
}

fn encapsulation(of: ike::Encapsulation) -> dp::Encapsulation {
    match of {
        ike::Encapsulation::Udp => dp::Encapsulation::Udp,
        ike::Encapsulation::None => dp::Encapsulation::None,
        // To the dataplane a TCP connection is a peer in UDP.
        ike::Encapsulation::Tcp => dp::Encapsulation::Udp,
    }
}

fn path(of: ike::Path, how: ike::Encapsulation, ports: &Ports, streams: &Streams) -> dp::Path {
    match how {
        ike::Encapsulation::Udp | ike::Encapsulation::None => direct(of, encapsulation(how), ports),
        ike::Encapsulation::Tcp => through(
            of,
            streams.twin(Ends {
                local: of.local,
                remote: of.remote,
            }),
        ),
    }
}

/// Through a TCP connection; while there is none, to where nothing can be sent.
fn through(of: ike::Path, twin: Option<Twin>) -> dp::Path {
    let nowhere = Twin {
        gateway: SocketAddr::new(of.local.ip(), 0),
        twin: SocketAddr::new(of.local.ip(), 0),
    };
    let Twin { gateway, twin } = twin.unwrap_or(nowhere);
    dp::Path {
        local: gateway,
        remote: twin,
        encapsulation: encapsulation(ike::Encapsulation::Tcp),
    }
}

fn direct(of: ike::Path, encapsulation: dp::Encapsulation, ports: &Ports) -> dp::Path {
    let local = SocketAddr::new(of.local.ip(), ports.bound(of.local.port()));
    dp::Path {
        local,
        remote: of.remote,
        encapsulation,
    }
}

fn usage(of: dp::SaUsage) -> ike::Usage {
    ike::Usage {
        connection: ConnectionId(of.tunnel.0),
        inbound_spi: ike::Spi(of.inbound_spi.0),
        inbound_bytes: of.usage.inbound_bytes,
        inbound_packets: of.usage.inbound_packets,
        outbound_bytes: of.usage.outbound_bytes,
        outbound_packets: of.usage.outbound_packets,
    }
}

/// Asked of the kernel for every socket of a queue: more than one TCP connection has under way with the kernel's usual limits, so
/// that one alone seldom overruns it; and no more than some milliseconds of 10 Gbit/s.
const SOCKET_BUFFER: usize = 8 << 20;
/// That of RFC 9347 6.1.1.
const AGGFRAG_HEADER: u16 = 4;
/// As many payloads another xvpn puts in order (`dataplane/src/esp/reassembly.rs`).
const AGGFRAG_WINDOW: u32 = 64;
const TUN_DEVICE: &str = "/dev/net/tun";

#[cfg(test)]
#[path = "bridge_tests.rs"]
mod tests;
