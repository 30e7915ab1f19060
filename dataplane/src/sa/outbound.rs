//! An outbound SA: reserves sequence numbers, seals.

use std::fmt;

use super::aead::Transform;
use super::departure::{Departure, Departures};
use super::{BadKeys, Selectors, Sequence, SequenceBlock, UsageCounter};
use crate::api::{Aggregation, Encapsulation, Lane, OutboundSpec, Path, Spi, TunnelId};
use crate::buffer::Packet;
use crate::discard::Discard;
use crate::esp::layout::{Layout, TRAILER};
use crate::esp::{aggfrag, padding};
use crate::ip::header;

/// What is needed to send on one CHILD SA. Where to send is not part of it: paths change, SAs stay.
///
/// Concurrency: shared by all queues; sequence numbers and usage are atomics.
pub struct OutboundSa {
    tunnel: TunnelId,
    spi: Spi,
    inbound_spi: Spi,
    esn: bool,
    selectors: Selectors,
    order: u32,
    transform: Transform,
    sequence: Sequence,
    departures: Departures,
    usage: UsageCounter,
    lane: Lane,
    made_for: Path,
    aggregation: Option<Aggregation>,
}

impl OutboundSa {
    /// An SA that has sent nothing yet.
    pub fn new(spec: &OutboundSpec) -> Result<Self, BadKeys> {
        Ok(Self {
            tunnel: spec.tunnel,
            spi: spec.spi,
            inbound_spi: spec.inbound_spi,
            esn: spec.esn,
            selectors: Selectors {
                local: spec.local.clone(),
                remote: spec.remote.clone(),
            },
            order: spec.order,
            transform: Transform::new(spec.suite, &spec.keys)?,
            sequence: Sequence::new(spec.esn),
            departures: Departures::new(spec.lane.window, 1),
            usage: UsageCounter::default(),
            lane: spec.lane,
            made_for: spec.path,
            aggregation: spec.aggregation,
        })
    }

    /// The same, with `last` as the last sequence number used. For tests near the end of the numbers.
    pub fn after(spec: &OutboundSpec, last: u64) -> Result<Self, BadKeys> {
        Ok(Self {
            sequence: Sequence::after(last, spec.esn),
            ..Self::new(spec)?
        })
    }

    /// The same, shared by so many queues.
    pub fn shared_by(mut self, queues: usize) -> Self {
        self.departures = Departures::new(self.lane.window, queues);
        self
    }

    /// Reserves `count` sequence numbers for a run of packets of a queue, or those that are left. The packets leave after
    /// [`Departure::wait`] and before it is dropped; a queue holds one at a time.
    pub fn reserve_for(&self, queue: usize, count: u64) -> Result<(SequenceBlock, Departure<'_>), Discard> {
        self.departures.reserve(&self.sequence, queue, count)
    }

    /// Reserves `count` sequence numbers, or those that are left, where no other queue sends.
    pub fn reserve(&self, count: u64) -> Result<SequenceBlock, Discard> {
        self.sequence.reserve(count)
    }

    /// Makes an ESP packet of an inner IP packet, in place. `seq` was reserved and is used once.
    pub fn seal(&self, seq: u64, packet: &mut Packet) -> Result<(), Discard> {
        let next_header = match header::version(packet.octets()) {
            Some(4) => IPV4,
            Some(6) => IPV6,
            Some(_) | None => return Err(Discard::MalformedInner),
        };
        self.seal_as(next_header, seq, packet)
    }

    /// Makes an ESP packet of an AGGFRAG payload, in place. `seq` was reserved and is used once.
    pub fn seal_payload(&self, seq: u64, payload: &mut Packet) -> Result<(), Discard> {
        self.seal_as(aggfrag::NEXT_HEADER, seq, payload)
    }

    fn seal_as(&self, next_header: u8, seq: u64, packet: &mut Packet) -> Result<(), Discard> {
        let layout = self.transform.layout();
        let pad = layout.padding(packet.len());
        let tail = packet
            .grow_back(pad + TRAILER + layout.icv)
            .ok_or(Discard::NoRoom)?;
        padding::emit(&mut tail[..pad + TRAILER], next_header);
        packet.grow_front(layout.front()).ok_or(Discard::NoRoom)?;
        self.transform
            .seal(self.spi.0, seq, self.esn, packet.octets_mut())
    }

    /// Whose TUN it serves.
    pub fn tunnel(&self) -> TunnelId {
        self.tunnel
    }

    /// The peer's SPI.
    pub fn spi(&self) -> Spi {
        self.spi
    }

    /// Our SPI of the same CHILD SA.
    pub fn inbound_spi(&self) -> Spi {
        self.inbound_spi
    }

    /// What it may carry.
    pub fn selectors(&self) -> &Selectors {
        &self.selectors
    }

    /// Its place in the SPD.
    pub fn order(&self) -> u32 {
        self.order
    }

    /// The resource that it is for (RFC 9611).
    pub fn resource(&self) -> Option<u32> {
        self.lane.resource
    }

    /// Whether each queue has a port of its own for it on this path. Of another path than the one it was made for nothing is
    /// known.
    pub fn own_port(&self, path: &Path) -> bool {
        self.lane.own_port && *path == self.made_for
    }

    /// Whether a flow on it stays in order on this path: the peer receives it where it receives the others, or can tell it from them
    /// by a port or because there is no UDP.
    pub fn keeps_order(&self, path: &Path) -> bool {
        !self.lane.apart || path.encapsulation == Encapsulation::None || self.own_port(path)
    }

    /// How it fills AGGFRAG payloads; `None`: it carries single packets.
    pub fn aggregation(&self) -> Option<&Aggregation> {
        self.aggregation.as_ref()
    }

    /// Lengths of its ESP packets.
    pub fn layout(&self) -> Layout {
        self.transform.layout()
    }

    /// What it has carried.
    pub fn usage(&self) -> &UsageCounter {
        &self.usage
    }
}

impl fmt::Debug for OutboundSa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundSa")
            .field("tunnel", &self.tunnel)
            .field("spi", &self.spi)
            .finish_non_exhaustive()
    }
}

/// Next header values of tunnel mode (RFC 4303 2.6).
pub(super) const IPV4: u8 = 4;
pub(super) const IPV6: u8 = 41;

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    #[test]
    fn what_queues_write_lies_in_other_cache_lines_than_what_they_read() {
        let lines = |at: usize, len: usize| at / 128..(at + len).div_ceil(128);
        let sequence = lines(offset_of!(OutboundSa, sequence), size_of::<Sequence>());
        let usage = lines(offset_of!(OutboundSa, usage), size_of::<UsageCounter>());
        let read = [
            lines(offset_of!(OutboundSa, transform), size_of::<Transform>()),
            lines(offset_of!(OutboundSa, selectors), size_of::<Selectors>()),
            lines(offset_of!(OutboundSa, spi), size_of::<Spi>()),
            lines(offset_of!(OutboundSa, lane), size_of::<Lane>()),
        ];
        for read in read {
            for written in [&sequence, &usage] {
                assert!(read.end <= written.start || written.end <= read.start);
            }
        }
        assert_eq!(align_of::<OutboundSa>(), 128, "two SAs lie in other lines, too");
    }
}
