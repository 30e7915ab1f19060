//! Inner packets out of AGGFRAG payloads, and the waits for those that are missing.

use std::time::Instant;

use super::Inbound;
use super::inbound::{PLENTY, admit};
use crate::api::Spi;
use crate::buffer::{Batch, Packet, Pool};
use crate::discard::Discard;
use crate::esp::reassembly::Sink;
use crate::sa::InboundSa;
use crate::stats::QueueStats;
use crate::tables::Tables;

/// The SAs of which something is missing, each with the end of the wait.
pub(super) type Waits = Vec<(Spi, Instant)>;

impl Inbound {
    /// Takes apart the payload of an ESP packet that was authentic and new.
    pub(super) fn unpack(
        &mut self,
        now: Instant,
        tables: &Tables,
        (spi, sequence): (Spi, u64),
        payload: Packet,
        to_tun: &mut Batch,
        pool: &mut Pool,
    ) {
        let Some(sa) = tables.inbound(spi) else {
            return pool.give(payload);
        };
        let Some(mut reassembly) = sa.reassembly() else {
            return pool.give(payload);
        };
        let stats = &self.stats;
        let before = reassembly.deadline();
        let mut exit = Exit {
            tables,
            sa,
            stats,
            to_tun,
        };
        reassembly.push(now, sequence, payload, pool, &mut exit);
        let after = reassembly.deadline();
        if before != after {
            self.waits.retain(|(waiting, _)| *waiting != spi);
            self.waits.extend(after.map(|deadline| (spi, deadline)));
        }
    }

    /// When [`expire`](Self::expire) is to be called. `None`: nothing is missing.
    pub fn deadline(&self) -> Option<Instant> {
        self.waits.iter().map(|(_, deadline)| *deadline).min()
    }

    /// Goes on without what did not come in time. When so much came of it that it should be sent first, the rest is still due.
    pub fn expire(&mut self, now: Instant, tables: &Tables, to_tun: &mut Batch, pool: &mut Pool) {
        let mut waits = std::mem::take(&mut self.waits);
        waits.retain_mut(|(spi, deadline)| {
            if now < *deadline || to_tun.len() >= PLENTY {
                return true;
            }
            // What an SA that is gone has held went with it.
            let Some(sa) = tables.inbound(*spi) else {
                return false;
            };
            let Some(mut reassembly) = sa.reassembly() else {
                return false;
            };
            let stats = &self.stats;
            let mut exit = Exit {
                tables,
                sa,
                stats,
                to_tun,
            };
            reassembly.expire(now, pool, &mut exit);
            match reassembly.deadline() {
                Some(next) => {
                    *deadline = next;
                    true
                }
                None => false,
            }
        });
        self.waits = waits;
    }
}

/// Where inner packets leave: each is judged as if it had come alone (RFC 4301 5.2, RFC 6040 4.2).
struct Exit<'a> {
    tables: &'a Tables,
    sa: &'a InboundSa,
    stats: &'a QueueStats,
    to_tun: &'a mut Batch,
}

impl Sink for Exit<'_> {
    fn packet(&mut self, mut packet: Packet, pool: &mut Pool) {
        let admitted = match self.to_tun.len() {
            // After a gap all that was held comes at once. A peer that sends packets of hardly more than a header could fill the memory so.
            MOST_AT_ONCE.. => Err(Discard::AggfragMany),
            _ => admit(self.tables, self.sa, &mut packet),
        };
        match admitted {
            Ok(()) => self.to_tun.push(packet),
            Err(reason) => {
                self.stats.discard(reason);
                pool.give(packet);
            }
        }
    }

    fn lost(&mut self, reason: Discard) {
        self.stats.discard(reason);
    }
}

/// Packets from the payloads that came between two writes to the TUN: more than a window of full payloads has of TCP's shortest.
const MOST_AT_ONCE: usize = 4096;
