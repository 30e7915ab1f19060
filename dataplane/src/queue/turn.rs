//! A queue: two ports, two pipelines, and one turn of both.

use std::borrow::Borrow;
use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use super::punt::PuntSender;
use crate::api::{Punted, TunnelId};
use crate::buffer::{Batch, Pool};
use crate::discard::Discard;
use crate::io::{Port, Sent};
use crate::pipeline::pacer::Pacer;
use crate::pipeline::{Inbound, Outbound};
use crate::sa::Departure;
use crate::stats::{Load, QueueStats, Stage, Stopwatch};
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
    pacers: Vec<Pacer>,
    received: Batch,
    to_wire: Batch,
    to_tun: Batch,
    pool: Pool,
    stats: Arc<QueueStats>,
    /// One for each direction: with one for both, taken in turns, every even sample would be of the same.
    watch_outbound: Stopwatch,
    watch_inbound: Stopwatch,
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
            pacers: Vec::new(),
            received: Batch::default(),
            to_wire: Batch::default(),
            to_tun: Batch::default(),
            pool: Pool::default(),
            stats,
            watch_outbound: Stopwatch::default(),
            watch_inbound: Stopwatch::default(),
            punt,
        }
    }

    /// The same as queue `queue` of `of`: which of the SAs for single resources are its own (RFC 9611).
    pub fn serving(mut self, queue: u32, of: u32) -> Self {
        self.outbound.set_place(queue, of);
        self
    }

    /// One batch each way, run to completion. Returns how many packets were received; 0 means there is nothing to do.
    ///
    /// `tables` gives the tables in force. They are asked for when the packets of a batch are in hand, never before: a peer
    /// sends with a new SA as soon as it is told of it (RFC 7296 2.8), and this thread may have had to wait for a CPU
    /// between any two lines. What was received after an SA was installed must be looked up in tables that have it.
    ///
    /// An error means that a port is lost.
    pub fn turn<T>(&mut self, tables: impl Fn() -> T) -> io::Result<usize>
    where
        T: Deref<Target: Borrow<Tables>>,
    {
        let now = Instant::now();
        let from_wire = self.turn_inbound(now, &tables)?;
        let from_tun = self.turn_outbound(now, &tables)?;
        Ok(from_wire + from_tun)
    }

    fn turn_outbound<T>(&mut self, now: Instant, tables: impl Fn() -> T) -> io::Result<usize>
    where
        T: Deref<Target: Borrow<Tables>>,
    {
        self.watch_outbound.begin();
        let [before, _] = self.tun.system_calls();
        let count = self.tun.recv(&mut self.received, &mut self.pool)?;
        let [after, _] = self.tun.system_calls();
        let read = load(&self.received);
        self.stats.pass(
            Stage::TunRead,
            read,
            after - before,
            self.watch_outbound.first_lap(count > 0),
        );
        if count == 0 {
            return Ok(0);
        }
        let tables = tables();
        let tables: &Tables = (*tables).borrow();
        // Usually once: a batch is from one tunnel, and most tunnels have one SA.
        while !self.received.is_empty() {
            self.seal_and_send(now, tables);
        }
        self.send_to_tun(false);
        Ok(count)
    }

    /// The packets of one SA, or all if they are of several and there is no other queue.
    fn seal_and_send(&mut self, now: Instant, tables: &Tables) {
        let before = load(&self.received);
        let (to_wire, to_tun) = (&mut self.to_wire, &mut self.to_tun);
        let departure = self
            .outbound
            .run(now, tables, &mut self.received, to_wire, to_tun, &mut self.pool);
        let taken = before.less(load(&self.received));
        self.stats.pass(Stage::Seal, taken, 0, self.watch_outbound.lap());
        for tunnel in self.outbound.take_wanted() {
            // Beyond the rate, or with a full ring: the next packet asks again.
            self.punt.push(Punted::Wanted { tunnel });
        }
        self.send_to_wire(tables, departure, true);
    }

    /// `timed`: as the last stage of an outbound turn.
    fn send_to_wire(&mut self, tables: &Tables, departure: Option<Departure<'_>>, timed: bool) {
        if self.to_wire.is_empty() {
            return;
        }
        if departure.as_ref().is_some_and(|departure| !departure.wait()) {
            self.stats.wait_in_vain();
        }
        let sealed = load(&self.to_wire);
        let [_, before] = self.wire.system_calls();
        let sent = self.wire.send(&mut self.to_wire, &mut self.pool);
        let [_, after] = self.wire.system_calls();
        drop(departure);
        let time = if timed { self.watch_outbound.lap() } else { None };
        self.stats.pass(Stage::WireSend, sealed, after - before, time);
        self.count_wire(&sent);
        if let Some(too_big) = sent.too_big {
            tables.lower_path_mtu(too_big.tunnel, too_big.path_mtu);
        }
        while let Some(refused) = self.wire.take_refused() {
            self.punt.push(Punted::Refused(refused));
        }
    }

    /// Sends payloads of this place in the SPD of a tunnel at a constant rate from now on, as long as it has an SA for that.
    pub fn pace(&mut self, tunnel: TunnelId, order: u32, per_second: u32, now: Instant) {
        if !self.pacers.iter().any(|pacer| pacer.is_of(tunnel, order)) {
            self.pacers.push(Pacer::new(tunnel, order, per_second, now));
        }
    }

    /// When [`on_time`](Self::on_time) is to be called. `None`: nothing waits for a time.
    pub fn deadline(&self) -> Option<Instant> {
        let paced = self.pacers.iter().map(Pacer::deadline);
        paced
            .chain(self.outbound.deadline())
            .chain(self.inbound.deadline())
            .min()
    }

    /// Does what is due by now: payloads at a constant rate, packets that have waited for company, payloads that have waited for one
    /// that did not come (RFC 9347).
    pub fn on_time<T>(&mut self, now: Instant, tables: impl Fn() -> T)
    where
        T: Deref<Target: Borrow<Tables>>,
    {
        let tables = tables();
        let tables: &Tables = (*tables).borrow();
        self.send_paced(now, tables);
        self.outbound.release(now, &mut self.received);
        while !self.received.is_empty() {
            let (from_tun, to_wire, to_tun) = (&mut self.received, &mut self.to_wire, &mut self.to_tun);
            let departure = self
                .outbound
                .run(now, tables, from_tun, to_wire, to_tun, &mut self.pool);
            self.send_to_wire(tables, departure, false);
        }
        self.outbound.resume();
        self.inbound.expire(now, tables, &mut self.to_tun, &mut self.pool);
        self.send_to_tun(false);
    }

    /// Of each place that is due a batch at most: at a rate beyond what this CPU can do, the ports have their turns all the same, and with
    /// them IKE.
    fn send_paced(&mut self, now: Instant, tables: &Tables) {
        let mut at = 0;
        while let Some(pacer) = self.pacers.get_mut(at) {
            let (to_wire, pool, stats) = (&mut self.to_wire, &mut self.pool, &self.stats);
            if pacer.is_due(now) && !pacer.run(now, tables, to_wire, pool, stats) {
                self.pacers.swap_remove(at);
                continue;
            }
            at += 1;
            if self.to_wire.len() >= Batch::LIMIT {
                self.send_to_wire(tables, None, false);
            }
        }
        self.send_to_wire(tables, None, false);
    }

    fn turn_inbound<T>(&mut self, now: Instant, tables: impl Fn() -> T) -> io::Result<usize>
    where
        T: Deref<Target: Borrow<Tables>>,
    {
        self.watch_inbound.begin();
        let [before, _] = self.wire.system_calls();
        let count = self.wire.recv(&mut self.received, &mut self.pool)?;
        let [after, _] = self.wire.system_calls();
        self.stats.pass(
            Stage::WireReceive,
            load(&self.received),
            after - before,
            self.watch_inbound.first_lap(count > 0),
        );
        if count == 0 {
            return Ok(0);
        }
        let tables = tables();
        let tables: &Tables = (*tables).borrow();
        // Usually once: only of AGGFRAG payloads so much may come that it is sent in several pieces.
        while !self.received.is_empty() {
            self.open(now, tables);
            self.send_to_tun(self.received.is_empty());
        }
        Ok(count)
    }

    /// What was received, or as much of it as should be sent at once.
    fn open(&mut self, now: Instant, tables: &Tables) {
        let (punt, stats) = (&mut self.punt, &self.stats);
        let mut hand_up = |punted: Punted| {
            let hint = matches!(punted, Punted::UnknownSpi { .. });
            // A hint beyond the rate is no loss: the pipeline has counted its packet already.
            if !punt.push(punted) && !hint {
                stats.discard(Discard::PuntFull);
            }
        };
        let before = load(&self.received);
        let (received, to_tun) = (&mut self.received, &mut self.to_tun);
        self.inbound
            .run(now, tables, received, to_tun, &mut hand_up, &mut self.pool);
        let taken = before.less(load(&self.received));
        self.stats.pass(Stage::Open, taken, 0, self.watch_inbound.lap());
    }

    /// `timed`: as the last stage of an inbound turn. ICMP errors for senders are no stage of an outbound one.
    fn send_to_tun(&mut self, timed: bool) {
        if !self.to_tun.is_empty() {
            let opened = load(&self.to_tun);
            let [_, before] = self.tun.system_calls();
            let sent = self.tun.send(&mut self.to_tun, &mut self.pool);
            let [_, after] = self.tun.system_calls();
            let time = if timed { self.watch_inbound.lap() } else { None };
            self.stats.pass(Stage::TunWrite, opened, after - before, time);
            self.stats.discard_many(Discard::TunRefused, count(sent.lost));
            while let Some(refused) = self.tun.take_refused() {
                self.punt.push(Punted::Refused(refused));
            }
        }
    }

    fn count_wire(&self, sent: &Sent) {
        self.stats.discard_many(Discard::PathTooBig, count(sent.too_long));
        self.stats.discard_many(
            Discard::WireRefused,
            count(sent.lost.saturating_sub(sent.too_long)),
        );
    }
}

fn load(batch: &Batch) -> Load {
    Load {
        packets: count(batch.len()),
        octets: count(batch.octets()),
    }
}

fn count(packets: usize) -> u64 {
    u64::try_from(packets).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "turn_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "border_tests.rs"]
mod border_tests;
