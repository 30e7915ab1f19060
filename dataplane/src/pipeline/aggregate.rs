//! Inner packets into AGGFRAG payloads (RFC 9347 2.2), with what is at hand.
//!
//! The payloads of one call are complete in themselves: a piece of a packet is followed by the rest of it. So several queues may send on one
//! SA, each with a block of sequence numbers of its own.

use std::time::Instant;

use super::Outbound;
use super::outbound::Moment;
use crate::api::{Aggregation, Pace, TunnelId};
use crate::buffer::{Batch, Packet, Pool};
use crate::discard::Discard;
use crate::esp::aggfrag::{HEADER, Preamble};
use crate::sa::{Departure, OutboundSa};
use crate::tunnel;

/// Packets of one place in the SPD that wait for company.
#[derive(Debug)]
pub(super) struct Held {
    tunnel: TunnelId,
    order: u32,
    packets: Vec<Packet>,
    octets: usize,
    deadline: Instant,
}

impl Outbound {
    /// What becomes of the run of an SA with AGGFRAG payloads.
    pub(super) fn aggregate<'a>(
        &mut self,
        moment: Moment<'_>,
        aggregation: Aggregation,
        outbound: &'a tunnel::Outbound,
        to_wire: &mut Batch,
        pool: &mut Pool,
    ) -> Option<Departure<'a>> {
        let tunnel = outbound.sa.tunnel();
        let path_mtu = moment.tables.tunnel(tunnel).map_or(0, tunnel::Tunnel::path_mtu);
        let filling = Filling {
            room: outbound.room(path_mtu),
            fragments: aggregation.fragments,
        };
        match (aggregation.pace, &outbound.backlog) {
            (Pace::Constant { per_second }, Some(backlog)) => {
                let payloads = (per_second / LONGEST_QUEUE).max(LEAST_QUEUE);
                let octets = filling
                    .room
                    .saturating_mul(usize::try_from(payloads).unwrap_or(usize::MAX));
                for packet in self.run.drain(..) {
                    if let Some(packet) = backlog.push(packet, octets) {
                        self.stats.discard(Discard::BacklogFull);
                        pool.give(packet);
                    }
                }
                return None;
            }
            // There is one, with such an SA.
            (Pace::Constant { .. }, None) => {}
            (Pace::AtHand { delay }, _) if !self.waited && !delay.is_zero() => {
                let key = (tunnel, outbound.sa.order());
                self.hold(key, moment.now + delay, filling.room);
            }
            (Pace::AtHand { .. }, _) => {}
        }
        if self.run.is_empty() {
            return None;
        }
        let mut payloads = std::mem::take(&mut self.packed);
        pack(filling, self.run.drain(..), pool, |mut payload| {
            // RFC 9347 2.2.5: what stands outside tells nothing of the packets inside.
            payload.meta.tos = 0;
            payloads.push(payload);
        });
        self.packed = std::mem::replace(&mut self.run, payloads);
        self.seal_with(OutboundSa::seal_payload, outbound, to_wire, pool)
    }

    /// Keeps the run until there is more, or until `deadline`; leaves it all where it is if that fills a payload.
    fn hold(&mut self, (tunnel, order): (TunnelId, u32), deadline: Instant, room: usize) {
        let same = |held: &Held| (held.tunnel, held.order) == (tunnel, order);
        let at = self.held.iter().position(same).unwrap_or_else(|| {
            self.held.push(Held {
                tunnel,
                order,
                packets: Vec::new(),
                octets: 0,
                deadline,
            });
            self.held.len() - 1
        });
        let Some(held) = self.held.get_mut(at) else { return };
        held.octets += self.run.iter().map(Packet::len).sum::<usize>();
        held.packets.append(&mut self.run);
        if held.octets + HEADER >= room || held.packets.len() >= Batch::LIMIT {
            self.run = self.held.swap_remove(at).packets;
        }
    }

    /// When [`release`](Self::release) is to be called. `None`: nothing waits.
    pub fn deadline(&self) -> Option<Instant> {
        self.held.iter().map(|held| held.deadline).min()
    }

    /// Gives back what has waited long enough for company, to be [`run`](Self::run) once more: the tables may be others now, and each packet
    /// finds its SA anew. Until [`resume`](Self::resume) none of them waits again.
    pub fn release(&mut self, now: Instant, due: &mut Batch) {
        self.waited = true;
        self.held.retain_mut(|held| {
            let wait = now < held.deadline;
            if !wait {
                held.packets.drain(..).for_each(|packet| due.push(packet));
            }
            wait
        });
    }

    /// All that was released has been run.
    pub fn resume(&mut self) {
        self.waited = false;
    }
}

/// How payloads are filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filling {
    /// Octets of the longest payload, its header included.
    pub room: usize,
    /// Packets may be cut. What is longer than a payload and may not be cut makes a longer one.
    pub fragments: bool,
}

/// Packs `packets`, in their order, into payloads that are given to `out`. Nothing stays behind.
pub fn pack(
    filling: Filling,
    packets: impl IntoIterator<Item = Packet>,
    pool: &mut Pool,
    mut out: impl FnMut(Packet),
) {
    // Something besides the header must fit, or nothing would ever end.
    let room = filling.room.max(2 * HEADER);
    let mut open: Option<Packet> = None;
    for packet in packets {
        if let Some(mut payload) = open.take() {
            let space = room.saturating_sub(payload.len());
            if packet.len() <= space && append(&mut payload, packet.octets()) {
                pool.give(packet);
                open = Some(payload);
                continue;
            }
            let piece = packet.octets().get(..space).unwrap_or_default();
            if filling.fragments && worth_cutting(packet.len(), space, room) && append(&mut payload, piece) {
                out(payload);
                open = Some(rest(&packet, space, room, pool, &mut out));
                pool.give(packet);
                continue;
            }
            out(payload);
        }
        if packet.len() + HEADER <= room || !filling.fragments {
            open = Some(alone(packet, pool));
        } else {
            open = Some(rest(&packet, 0, room, pool, &mut out));
            pool.give(packet);
        }
    }
    open.into_iter().for_each(out);
}

/// A packet that nearly fills a payload has one for itself: that costs no copy, and its loss is no other packet's loss.
fn worth_cutting(len: usize, space: usize, room: usize) -> bool {
    space >= LEAST_PIECE && (len + HEADER > room || len * 4 <= room * 3)
}

/// Makes a payload of a packet, where it lies.
fn alone(mut packet: Packet, pool: &mut Pool) -> Packet {
    if let Some(header) = packet.grow_front(HEADER) {
        header.copy_from_slice(&Preamble::emit(0));
        return packet;
    }
    let mut payload = begin(&packet, 0, pool);
    append(&mut payload, packet.octets());
    pool.give(packet);
    payload
}

/// Full payloads of what follows `at`; the last one is returned, and has room left perhaps.
fn rest(
    packet: &Packet,
    mut at: usize,
    room: usize,
    pool: &mut Pool,
    out: &mut impl FnMut(Packet),
) -> Packet {
    loop {
        let left = packet.octets().get(at..).unwrap_or_default();
        // A block that is begun here is new; the rest of one is not.
        let mut payload = begin(packet, if at == 0 { 0 } else { left.len() }, pool);
        let piece = left.get(..room - HEADER).unwrap_or(left);
        append(&mut payload, piece);
        at += piece.len();
        if at >= packet.len() {
            return payload;
        }
        out(payload);
    }
}

fn begin(like: &Packet, offset: usize, pool: &mut Pool) -> Packet {
    let mut payload = pool.take();
    payload.meta = like.meta;
    payload.set(&Preamble::emit(offset));
    payload
}

/// False, and nothing is done, if the payload's buffer ends before.
fn append(payload: &mut Packet, octets: &[u8]) -> bool {
    match payload.grow_back(octets.len()) {
        Some(room) => {
            room.copy_from_slice(octets);
            true
        }
        None => false,
    }
}

/// What waits to leave at a constant rate leaves within this part of a second (a half): a longer queue delays all and saves nothing.
const LONGEST_QUEUE: u32 = 2;
/// But so many payloads may wait at any rate, or no burst would pass at low ones.
const LEAST_QUEUE: u32 = 16;
/// Less of a packet than this is left over: from so much its length can be read. Payloads that are full have one length, so that the kernel
/// takes many of them in one piece.
const LEAST_PIECE: usize = 8;
