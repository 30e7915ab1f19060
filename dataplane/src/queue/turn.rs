//! A queue: two ports, two pipelines, and one turn of both.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use super::punt::PuntSender;
use crate::api::Punted;
use crate::buffer::{Batch, Pool};
use crate::discard::Discard;
use crate::io::{Port, Sent};
use crate::pipeline::{Inbound, Outbound};
use crate::stats::QueueStats;
use crate::tables::Tables;

/// A queue between a TUN side and a wire side.
///
/// With memory ports it is the object of tests and benches, with TUN and sockets it is production: the same code.
///
/// Concurrency: owned by exactly one thread.
pub struct Queue<Tun: Port, Wire: Port> {
    /// The TUN side.
    pub tun: Tun,
    /// The wire side.
    pub wire: Wire,
    outbound: Outbound,
    inbound: Inbound,
    received: Batch,
    to_wire: Batch,
    to_tun: Batch,
    pool: Pool,
    stats: Arc<QueueStats>,
    punt: PuntSender,
}

impl<Tun: Port, Wire: Port> Queue<Tun, Wire> {
    /// A queue that counts into `stats` and hands up to `punt`.
    pub fn new(tun: Tun, wire: Wire, stats: Arc<QueueStats>, punt: PuntSender) -> Self {
        Self {
            tun,
            wire,
            outbound: Outbound::new(Arc::clone(&stats)),
            inbound: Inbound::new(Arc::clone(&stats)),
            received: Batch::default(),
            to_wire: Batch::default(),
            to_tun: Batch::default(),
            pool: Pool::default(),
            stats,
            punt,
        }
    }

    /// One batch each way, run to completion. Returns how many packets were received; 0 means there is nothing to do.
    ///
    /// An error means that a port is lost.
    pub fn turn(&mut self, tables: &Tables) -> io::Result<usize> {
        let now = Instant::now();
        let from_wire = self.turn_inbound(now, tables)?;
        let from_tun = self.turn_outbound(now, tables)?;
        Ok(from_wire + from_tun)
    }

    fn turn_outbound(&mut self, now: Instant, tables: &Tables) -> io::Result<usize> {
        let count = self.tun.recv(&mut self.received, &mut self.pool)?;
        if count == 0 {
            return Ok(0);
        }
        let (to_wire, to_tun) = (&mut self.to_wire, &mut self.to_tun);
        self.outbound
            .run(now, tables, &mut self.received, to_wire, to_tun, &mut self.pool);
        if !self.to_wire.is_empty() {
            let sent = self.wire.send(&mut self.to_wire, &mut self.pool);
            self.count_wire(&sent);
            if let Some(too_big) = sent.too_big {
                tables.lower_path_mtu(too_big.tunnel, too_big.path_mtu);
            }
        }
        self.send_to_tun();
        Ok(count)
    }

    fn turn_inbound(&mut self, now: Instant, tables: &Tables) -> io::Result<usize> {
        let count = self.wire.recv(&mut self.received, &mut self.pool)?;
        if count == 0 {
            return Ok(0);
        }
        let (punt, stats) = (&mut self.punt, &self.stats);
        let mut hand_up = |punted: Punted| {
            let hint = matches!(punted, Punted::UnknownSpi { .. });
            // A hint beyond the rate is no loss: the pipeline has counted its packet already.
            if !punt.push(punted) && !hint {
                stats.discard(Discard::PuntFull);
            }
        };
        self.inbound.run(
            now,
            tables,
            &mut self.received,
            &mut self.to_tun,
            &mut hand_up,
            &mut self.pool,
        );
        self.send_to_tun();
        Ok(count)
    }

    fn send_to_tun(&mut self) {
        if !self.to_tun.is_empty() {
            let sent = self.tun.send(&mut self.to_tun, &mut self.pool);
            self.stats.discard_many(Discard::TunRefused, count(sent.lost));
        }
    }

    fn count_wire(&self, sent: &Sent) {
        // One batch tells of at most one too long packet; the others of it count as refused.
        let too_big = usize::from(sent.too_big.is_some()).min(sent.lost);
        self.stats.discard_many(Discard::PathTooBig, count(too_big));
        self.stats
            .discard_many(Discard::WireRefused, count(sent.lost - too_big));
    }
}

fn count(packets: usize) -> u64 {
    u64::try_from(packets).unwrap_or(u64::MAX)
}
