//! From the wire to the TUN.
//!
//! 1. (per batch) the caller takes one snapshot of the tables, once the batch is in hand
//! 2. (per packet) demux: ESP; IKE: punt; keepalive and rubbish: count
//! 3. (per packet) SPI -> inbound SA; unknown: hint to control
//! 4. (per packet) check the window, open in place, accept
//! 5. (per packet) parse the inner header, cut traffic flow padding, selectors both ways (RFC 4301 5.2)
//! 6. (per packet) ECN from outside to inside, MSS of a SYN
//!
//! On an SA with AGGFRAG payloads (RFC 9347) each of them is taken apart after stage 4 (`reassemble.rs`), and what was in it goes on.

use std::sync::Arc;
use std::time::Instant;

use super::reassemble::Waits;
use crate::api::{Encapsulation, Punted, Spi};
use crate::buffer::{Batch, Packet, Pool};
use crate::discard::Discard;
use crate::esp::demux::Datagram;
use crate::ip::icmp::Allowance;
use crate::ip::{Header, ecn, mtu, selector};
use crate::sa::InboundSa;
use crate::stats::QueueStats;
use crate::tables::Tables;

/// The inbound pipeline of one queue.
///
/// Concurrency: owned by one queue thread.
pub struct Inbound {
    pub(super) stats: Arc<QueueStats>,
    /// Of hints about unknown SPIs.
    hints: Allowance,
    pub(super) waits: Waits,
}

impl Inbound {
    /// A pipeline that counts into `stats`.
    pub fn new(stats: Arc<QueueStats>) -> Self {
        Self {
            stats,
            hints: Allowance::new(Instant::now()),
            waits: Waits::new(),
        }
    }

    /// Takes `from_wire` (each packet with `meta.path` and `meta.tos` as received). Inner packets go to `to_tun`
    /// with `meta.tunnel`; IKE messages and hints go to `punt`; the rest is counted and goes back to the pool.
    ///
    /// It stops when so much came out of AGGFRAG payloads that it should be sent first: the caller does that, and calls again while
    /// something is left.
    pub fn run(
        &mut self,
        now: Instant,
        tables: &Tables,
        from_wire: &mut Batch,
        to_tun: &mut Batch,
        punt: &mut dyn FnMut(Punted),
        pool: &mut Pool,
    ) {
        while let Some(mut packet) = from_wire.pop() {
            match self.receive(now, tables, &mut packet, punt) {
                Ok(Fate::Deliver) => to_tun.push(packet),
                Ok(Fate::Unpack(spi, sequence)) => {
                    self.unpack(now, tables, (spi, sequence), packet, to_tun, pool);
                    if to_tun.len() >= PLENTY {
                        return;
                    }
                }
                Ok(Fate::Punted) => pool.give(packet),
                Err(reason) => {
                    self.stats.discard(reason);
                    pool.give(packet);
                }
            }
        }
    }

    fn receive(
        &mut self,
        now: Instant,
        tables: &Tables,
        packet: &mut Packet,
        punt: &mut dyn FnMut(Punted),
    ) -> Result<Fate, Discard> {
        let path = packet.meta.path;
        match Datagram::parse(packet.octets(), path.encapsulation) {
            Datagram::Ike(message) => {
                punt(Punted::Ike {
                    local: path.local,
                    remote: path.remote,
                    bytes: message.to_vec(),
                });
                Ok(Fate::Punted)
            }
            Datagram::None(reason) => Err(reason),
            Datagram::Esp { spi, sequence: _ } => {
                if tables.inbound(spi).is_none() {
                    self.hint(now, spi, packet, punt);
                }
                deliver(tables, spi, packet)
            }
        }
    }

    /// Tells control, which may tell the peer (RFC 4301 5.2 3a leaves it to policy), but not at line rate.
    fn hint(&mut self, now: Instant, spi: Spi, packet: &Packet, punt: &mut dyn FnMut(Punted)) {
        if self.hints.take(now) {
            let mut remote = packet.meta.path.remote;
            match packet.meta.path.encapsulation {
                Encapsulation::Udp => {}
                Encapsulation::None => remote.set_port(0),
            }
            punt(Punted::UnknownSpi { spi, remote });
        }
    }
}

/// What came out of AGGFRAG payloads is sent when it is so much: there may be hundreds of packets in each, and each packet takes the
/// room of the longest. As many as a pool keeps.
pub(super) const PLENTY: usize = 4 * Batch::LIMIT;

enum Fate {
    Deliver,
    /// It is an AGGFRAG payload of this SA with this sequence number.
    Unpack(Spi, u64),
    Punted,
}

/// Stages 3 to 6, or 3 and 4, for one ESP packet.
fn deliver(tables: &Tables, spi: Spi, packet: &mut Packet) -> Result<Fate, Discard> {
    let sa = tables.inbound(spi).ok_or(Discard::UnknownSpi)?;
    let opened = sa.open(packet);
    // What was authentic and new counts as life of the peer, whatever was in it.
    if matches!(opened, Ok(_) | Err(Discard::DummyPacket)) {
        sa.usage().add(1, packet.len() as u64);
    }
    let sequence = opened?.sequence;
    if sa.is_aggfrag() {
        return Ok(Fate::Unpack(spi, sequence));
    }
    admit(tables, sa, packet)?;
    Ok(Fate::Deliver)
}

/// Stages 5 and 6 for one inner packet.
pub(super) fn admit(tables: &Tables, sa: &InboundSa, packet: &mut Packet) -> Result<(), Discard> {
    let header = Header::parse(packet.octets())?;
    packet.truncate(header.total_len);
    let selectors = sa.selectors();
    if !selector::permits_inbound(&selectors.local, &selectors.remote, &header) {
        return Err(Discard::InboundSelector);
    }
    let tos = ecn::decapsulate(header.tos, packet.meta.tos)?;
    if tos != header.tos {
        ecn::set_tos(packet.octets_mut(), tos);
    }
    if let Some(tunnel) = tables.tunnel(sa.tunnel())
        && tunnel.spec.clamp_mss
        && let Some(inner_mtu) = tunnel.inner_mtu()
    {
        mtu::clamp_mss(packet.octets_mut(), &header, inner_mtu);
    }
    packet.meta.tunnel = sa.tunnel();
    Ok(())
}
