//! AGGFRAG payloads of one length at a constant rate (RFC 9347 2.4.1, 4): what leaves does not tell whether there is traffic, nor how much.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::{Pace, Spi, TunnelId};
use crate::buffer::{Backlog, Batch, Packet, Pool};
use crate::discard::Discard;
use crate::esp::aggfrag::{HEADER, Preamble};
use crate::stats::QueueStats;
use crate::tables::Tables;
use crate::tunnel;

/// Sends the payloads of one place in the SPD of a tunnel, whichever SA has it.
///
/// Concurrency: owned by the tunnel's home queue.
#[derive(Debug)]
pub struct Pacer {
    tunnel: TunnelId,
    order: u32,
    per_second: u32,
    begun: Instant,
    /// Payloads that were due since then.
    due: u64,
    /// Those of them that are still to be sent.
    left: u64,
    /// The packet in hand, and how much of it is sent.
    cut: Option<(Packet, usize)>,
    /// Where the last payload went.
    last: Option<(Spi, u64)>,
}

impl Pacer {
    /// Begins now.
    pub fn new(tunnel: TunnelId, order: u32, per_second: u32, now: Instant) -> Self {
        Self {
            tunnel,
            order,
            per_second: per_second.clamp(1, MOST_PER_SECOND),
            begun: now,
            due: 0,
            left: 0,
            cut: None,
            last: None,
        }
    }

    /// Whether something is to be sent now.
    pub fn is_due(&self, now: Instant) -> bool {
        self.left > 0 || self.deadline() <= now
    }

    /// Whether it is that of this place.
    pub fn is_of(&self, tunnel: TunnelId, order: u32) -> bool {
        (self.tunnel, self.order) == (tunnel, order)
    }

    /// When payloads are due next. They are sent then and at no other time, whatever else wakes the queue.
    pub fn deadline(&self) -> Instant {
        if self.left > 0 {
            // More than a batch was due.
            return self.begun + self.offset(self.due);
        }
        // Above a thousand in a second several leave together: a wait is not more exact than that on a busy host.
        let together = u64::from(self.per_second.div_ceil(MOST_WAITS));
        self.begun + self.offset(self.due + together)
    }

    /// When payload number `count` is due.
    fn offset(&self, count: u64) -> Duration {
        let rate = u64::from(self.per_second);
        let (seconds, part) = (count / rate, count % rate);
        // Rounded up: at that time it is due, and not a nanosecond later.
        Duration::from_secs(seconds) + Duration::from_nanos((part * 1_000_000_000).div_ceil(rate))
    }

    /// Counts what is due. A queue that was kept from running does not make up for more than a moment.
    fn count_due(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.begun);
        let rate = u64::from(self.per_second);
        let part = u64::from(elapsed.subsec_nanos()) * rate / 1_000_000_000;
        let due = elapsed.as_secs().saturating_mul(rate).saturating_add(part);
        self.left = (self.left + due.saturating_sub(self.due)).min((rate / MAKE_UP).max(1));
        self.due = self.due.max(due);
    }

    /// Sends of what is due as much as a batch. False: its SA is gone, and it is not needed any more.
    pub fn run(
        &mut self,
        now: Instant,
        tables: &Tables,
        to_wire: &mut Batch,
        pool: &mut Pool,
        stats: &QueueStats,
    ) -> bool {
        let found = tables.tunnel(self.tunnel).and_then(|tunnel| {
            let mut all = tunnel.outbound.iter();
            let outbound = all.find(|outbound| outbound.sa.order() == self.order)?;
            Some((outbound, tunnel.path_mtu()))
        });
        let Some((outbound, path_mtu)) = found else {
            self.cut
                .take()
                .into_iter()
                .for_each(|(packet, _)| pool.give(packet));
            return false;
        };
        let (Some(Pace::Constant { per_second }), Some(backlog)) =
            (outbound.sa.aggregation().map(|of| of.pace), &outbound.backlog)
        else {
            return false;
        };
        if self.per_second != per_second {
            *self = Self {
                cut: self.cut.take(),
                last: self.last,
                ..Self::new(self.tunnel, self.order, per_second, now)
            };
        }
        let backlog = Arc::clone(backlog);
        self.count_due(now);
        // A batch at a time: the rest when these have left.
        for _ in 0..self.left.min(Batch::LIMIT as u64) {
            self.left -= 1;
            self.send(outbound, &backlog, path_mtu, to_wire, pool, stats);
        }
        true
    }

    fn send(
        &mut self,
        outbound: &tunnel::Outbound,
        backlog: &Backlog,
        path_mtu: u16,
        to_wire: &mut Batch,
        pool: &mut Pool,
        stats: &QueueStats,
    ) {
        let sa = &outbound.sa;
        let fragments = sa.aggregation().is_some_and(|of| of.fragments);
        let seq = match sa.reserve(1) {
            Ok(block) => block.first,
            Err(reason) => return stats.discard(reason),
        };
        if let Some((_, sent)) = &mut self.cut
            && self.last != Some((sa.spi(), seq.wrapping_sub(1)))
        {
            // The rest of a packet must follow on the same SA with the next number (RFC 9347 2.2.3): it begins anew.
            *sent = 0;
        }
        self.last = Some((sa.spi(), seq));
        let mut payload = pool.take();
        self.fill(
            &mut payload,
            outbound.room(path_mtu),
            fragments,
            backlog,
            pool,
            stats,
        );
        payload.meta.tunnel = self.tunnel;
        payload.meta.path = outbound.path;
        payload.meta.own_port = sa.own_port(&outbound.path);
        let len = payload.len() as u64;
        match sa.seal_payload(seq, &mut payload) {
            Ok(()) => {
                sa.usage().add(1, len);
                to_wire.push(payload);
            }
            Err(reason) => {
                stats.discard(reason);
                pool.give(payload);
            }
        }
    }

    /// Fills one payload to the end: with what was begun, what waits, and padding.
    fn fill(
        &mut self,
        payload: &mut Packet,
        room: usize,
        fragments: bool,
        backlog: &Backlog,
        pool: &mut Pool,
        stats: &QueueStats,
    ) {
        let room = room.max(2 * HEADER);
        let left = self.cut.as_ref().filter(|(_, sent)| *sent > 0);
        let offset = left.map_or(0, |(packet, sent)| packet.len() - sent);
        payload.set(&Preamble::emit(offset));
        loop {
            let space = room.saturating_sub(payload.len());
            if space == 0 {
                return;
            }
            // What must not be cut waits for a payload of its own. What is too long even for that, since the path or the SA is another
            // than when it came, must not keep all others waiting for ever.
            let empty = payload.len() == HEADER;
            let most = if fragments || empty { usize::MAX } else { space };
            let Some((packet, sent)) = self
                .cut
                .take()
                .or_else(|| backlog.pop(most).map(|packet| (packet, 0)))
            else {
                break;
            };
            let rest = packet.octets().get(sent..).unwrap_or_default();
            if !fragments && rest.len() > space {
                stats.discard(Discard::TooBig);
                pool.give(packet);
                continue;
            }
            let piece = rest.get(..space).unwrap_or(rest);
            if let Some(place) = payload.grow_back(piece.len()) {
                place.copy_from_slice(piece);
            }
            if piece.len() < rest.len() {
                let sent = sent + piece.len();
                self.cut = Some((packet, sent));
            } else {
                pool.give(packet);
            }
        }
        let space = room.saturating_sub(payload.len());
        if let Some(padding) = payload.grow_back(space) {
            padding.fill(0);
        }
    }
}

/// Payloads in a second at most.
pub const MOST_PER_SECOND: u32 = 100_000;
/// Times in a second that a pacer wakes its queue, at most.
const MOST_WAITS: u32 = 1000;
/// What was not sent for longer than this part of a second (a quarter) is not sent any more.
const MAKE_UP: u64 = 4;
