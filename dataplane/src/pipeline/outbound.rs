//! From the TUN to the wire.
//!
//! 1. (per batch) the caller takes one snapshot of the tables, once the batch is in hand
//! 2. (per packet) parse the inner header, cut what lies behind the packet
//! 3. (per packet) tunnel, queue, selectors -> outbound SA; none: the trap springs, or ICMP prohibited
//! 4. (per packet) MTU: too long and not to be cut: ICMP too big; too long: fragments; MSS of a SYN; outer TOS
//! 5. (per run of packets of one SA) one block of sequence numbers, one addition to the usage
//! 6. (per packet) pad, header, seal in place; path and TOS for the port
//!
//! On an SA with AGGFRAG payloads (RFC 9347) a run is packed into such before stage 5 (`aggregate.rs`), or waits (`pacer.rs`).

use std::sync::Arc;
use std::time::Instant;

use super::aggregate::Held;
use crate::api::{Trap, TunnelId};
use crate::buffer::{Batch, Packet, Pool};
use crate::discard::Discard;
use crate::ip::icmp::{self, Allowance, MIN_IPV6_MTU, Problem};
use crate::ip::{Header, ecn, fragment, mtu, selector};
use crate::sa::{Departure, OutboundSa};
use crate::stats::QueueStats;
use crate::tables::Tables;
use crate::tunnel::{self, Tunnel};

/// The outbound pipeline of one queue.
///
/// Concurrency: owned by one queue thread.
pub struct Outbound {
    pub(super) stats: Arc<QueueStats>,
    place: Place,
    allowance: Allowance,
    /// Ready to be sealed on one SA. Empty between batches; kept for its memory.
    pub(super) run: Vec<Packet>,
    /// The same for what they are packed into.
    pub(super) packed: Vec<Packet>,
    /// What waits for company, where the operator wants that.
    pub(super) held: Vec<Held>,
    /// What is at hand has waited long enough.
    pub(super) waited: bool,
    wanted: Vec<TunnelId>,
}

impl Outbound {
    /// A pipeline that counts into `stats`.
    pub fn new(stats: Arc<QueueStats>) -> Self {
        Self {
            stats,
            place: Place { queue: 0, of: 1 },
            allowance: Allowance::new(Instant::now()),
            run: Vec::with_capacity(2 * Batch::LIMIT),
            packed: Vec::new(),
            held: Vec::new(),
            waited: false,
            wanted: Vec::new(),
        }
    }

    /// It is that of queue `queue`, of `of` queues.
    pub fn set_place(&mut self, queue: u32, of: u32) {
        self.place = Place { queue, of: of.max(1) };
    }

    /// The tunnels whose trap has sprung since the last call, each once.
    pub fn take_wanted(&mut self) -> impl Iterator<Item = TunnelId> + '_ {
        self.wanted.drain(..)
    }

    /// Takes `from_tun` (each packet with `meta.tunnel` set). ESP packets go to `to_wire`, with path, TOS and DF;
    /// ICMP errors for the senders go to `to_tun`; the rest is counted and goes back to the pool.
    ///
    /// Where there are several queues it stops before a packet of another SA, because a queue holds the numbers of one at a time:
    /// the caller waits for the departure, sends, drops it, and calls again while something is left.
    pub fn run<'a>(
        &mut self,
        now: Instant,
        tables: &'a Tables,
        from_tun: &mut Batch,
        to_wire: &mut Batch,
        to_tun: &mut Batch,
        pool: &mut Pool,
    ) -> Option<Departure<'a>> {
        let moment = Moment { now, tables };
        let mut current: Option<&tunnel::Outbound> = None;
        while let Some(mut packet) = from_tun.pop() {
            let found = match prepare(tables, self.place, &mut packet) {
                Ok(found) => found,
                Err(refusal) => {
                    self.refuse(now, refusal, packet, to_tun, pool);
                    continue;
                }
            };
            if let Some(before) = current
                && !std::ptr::eq(before, found.outbound)
            {
                if self.place.of > 1 {
                    from_tun.put_back(packet);
                    break;
                }
                drop(self.seal(moment, before, to_wire, pool));
            }
            current = Some(found.outbound);
            match found.fit {
                Fit::Whole => self.run.push(packet),
                Fit::Cut(mtu) => {
                    let run = &mut self.run;
                    if fragment::fragment(&packet, &found.header, mtu, pool, |piece| run.push(piece))
                        .is_none()
                    {
                        self.stats.discard(Discard::MalformedInner);
                    }
                    pool.give(packet);
                }
            }
        }
        self.seal(moment, current?, to_wire, pool)
    }

    /// Stages 5 and 6 for the packets of one SA.
    fn seal<'a>(
        &mut self,
        moment: Moment<'_>,
        outbound: &'a tunnel::Outbound,
        to_wire: &mut Batch,
        pool: &mut Pool,
    ) -> Option<Departure<'a>> {
        match outbound.sa.aggregation() {
            None => self.seal_with(OutboundSa::seal, outbound, to_wire, pool),
            Some(aggregation) => self.aggregate(moment, *aggregation, outbound, to_wire, pool),
        }
    }

    /// The same for what is to be sealed as it is.
    pub(super) fn seal_with<'a>(
        &mut self,
        seal: impl Fn(&OutboundSa, u64, &mut Packet) -> Result<(), Discard>,
        outbound: &'a tunnel::Outbound,
        to_wire: &mut Batch,
        pool: &mut Pool,
    ) -> Option<Departure<'a>> {
        let sa = &outbound.sa;
        let (mut packets, mut bytes) = (0, 0);
        let own_port = sa.own_port(&outbound.path);
        let queue = usize::try_from(self.place.queue).unwrap_or(usize::MAX);
        let reserved = sa.reserve_for(queue, self.run.len() as u64).ok();
        let mut numbers = reserved.iter().flat_map(|(block, _)| block.iter());
        for mut packet in self.run.drain(..) {
            let len = packet.len() as u64;
            let sealed = match numbers.next() {
                Some(seq) => seal(sa, seq, &mut packet),
                None => Err(Discard::SequenceExhausted),
            };
            match sealed {
                Ok(()) => {
                    packets += 1;
                    bytes += len;
                    packet.meta.path = outbound.path;
                    packet.meta.own_port = own_port;
                    to_wire.push(packet);
                }
                Err(reason) => {
                    self.stats.discard(reason);
                    pool.give(packet);
                }
            }
        }
        sa.usage().add(packets, bytes);
        drop(numbers);
        reserved.map(|(_, departure)| departure)
    }

    /// Counts, and tells the sender if it is to be told.
    fn refuse(
        &mut self,
        now: Instant,
        refusal: Refusal,
        packet: Packet,
        to_tun: &mut Batch,
        pool: &mut Pool,
    ) {
        self.stats.discard(refusal.reason);
        if refusal.reason == Discard::Trapped
            && self.wanted.len() < MOST_WANTED
            && !self.wanted.contains(&packet.meta.tunnel)
        {
            self.wanted.push(packet.meta.tunnel);
        }
        if let Some((problem, header)) = refusal.answer
            && self.allowance.take(now)
        {
            let mut answer = pool.take();
            answer.meta.tunnel = packet.meta.tunnel;
            match icmp::emit(problem, &header, packet.octets(), &mut answer) {
                Some(()) => to_tun.push(answer),
                None => pool.give(answer),
            }
        }
        pool.give(packet);
    }
}

/// When a batch is at hand, and what is true then.
#[derive(Clone, Copy)]
pub(super) struct Moment<'a> {
    pub(super) now: Instant,
    pub(super) tables: &'a Tables,
}

/// A packet that may leave, and how.
struct Found<'a> {
    outbound: &'a tunnel::Outbound,
    header: Header,
    fit: Fit,
}

enum Fit {
    Whole,
    Cut(u16),
}

/// A packet that may not leave.
struct Refusal {
    reason: Discard,
    answer: Option<(Problem, Header)>,
}

/// Stages 2 to 4 for one packet.
fn prepare<'a>(tables: &'a Tables, place: Place, packet: &mut Packet) -> Result<Found<'a>, Refusal> {
    let header = Header::parse(packet.octets()).map_err(|reason| Refusal { reason, answer: None })?;
    packet.truncate(header.total_len);
    let prohibited = || Refusal {
        reason: Discard::NoOutboundSa,
        answer: Some((Problem::Prohibited, header)),
    };
    let tunnel = tables.tunnel(packet.meta.tunnel).ok_or_else(prohibited)?;
    let trapped = |trap: &Arc<Trap>| selector::permits_outbound(&trap.local, &trap.remote, &header);
    let outbound = match select(tunnel, place, &header) {
        Some(outbound) => outbound,
        // An ICMP error would end what is only to wait for a moment.
        None if tunnel.outbound.is_empty() && tunnel.trap.as_ref().is_some_and(trapped) => {
            let reason = Discard::Trapped;
            return Err(Refusal { reason, answer: None });
        }
        None => return Err(prohibited()),
    };

    let inner_mtu = outbound.inner_mtu(tunnel.path_mtu());
    packet.meta.tos = ecn::encapsulate(header.tos, tunnel.spec.copy_dscp);
    packet.meta.dont_fragment = true;
    if tunnel.spec.clamp_mss {
        mtu::clamp_mss(packet.octets_mut(), &header, inner_mtu);
    }
    // RFC 9347 2.2.7: what is cut and put together again on the way has no MTU to keep to.
    let any_length = outbound.sa.aggregation().is_some_and(|of| of.fragments);
    let fit = if header.total_len <= usize::from(inner_mtu) || any_length {
        Fit::Whole
    } else if !header.dont_fragment {
        Fit::Cut(inner_mtu)
    } else if header.is_ipv6() && header.total_len <= MIN_IPV6_MTU {
        // RFC 2473 7.1: an IPv6 packet of 1280 octets must pass; over such a path only the outer packet can be cut.
        packet.meta.dont_fragment = false;
        Fit::Whole
    } else {
        let least = if header.is_ipv6() { MIN_IPV6_MTU } else { 0 };
        let mtu = inner_mtu.max(u16::try_from(least).unwrap_or(u16::MAX));
        return Err(Refusal {
            reason: Discard::TooBig,
            answer: Some((Problem::TooBig { mtu }, header)),
        });
    };
    Ok(Found {
        outbound,
        header,
        fit,
    })
}

/// Tunnels asked for after one batch.
const MOST_WANTED: usize = 64;

/// Which queue this is.
#[derive(Clone, Copy)]
struct Place {
    queue: u32,
    of: u32,
}

/// RFC 4301 5.1: the first SA, in the order of the SPD, whose selectors take the packet. RFC 9611 3: of those in one place of the
/// SPD the one for the resource that this queue is, else the one for any; and any other rather than none. What the peer expects from a port
/// that it cannot have is the last choice.
fn select<'a>(tunnel: &'a Tunnel, place: Place, header: &Header) -> Option<&'a tunnel::Outbound> {
    let fits = |outbound: &&tunnel::Outbound| {
        let selectors = outbound.sa.selectors();
        selector::permits_outbound(&selectors.local, &selectors.remote, header)
    };
    let first = tunnel.outbound.iter().find(fits)?;
    let there = || {
        let all = tunnel.outbound.iter();
        all.filter(|outbound| outbound.sa.order() == first.sa.order())
    };
    let mine = |outbound: &&tunnel::Outbound| {
        let resource = outbound.sa.resource();
        resource.is_some_and(|resource| resource % place.of == place.queue)
    };
    let keeps_order = |outbound: &&tunnel::Outbound| outbound.sa.keeps_order(&outbound.path);
    let for_any = |outbound: &&tunnel::Outbound| outbound.sa.resource().is_none();
    let best = there().filter(mine).filter(keeps_order).find(fits);
    best.or_else(|| Some(first).filter(for_any))
        .or_else(|| there().filter(for_any).find(fits))
        .or_else(|| there().filter(keeps_order).find(fits))
        .or(Some(first))
}
