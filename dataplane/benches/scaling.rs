//! The pipeline on 1 to N queues, each a thread of its own, between ports in memory: what the queues share, and what that costs.
//!
//! ```text
//! cargo bench -p xvpn-dataplane --bench scaling [-- [--queues N] [--seconds S] [--octets N] [--batch N]]
//! ```

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test or bench fails by panicking"
)]

mod bed;

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bed::fixture::{SPI, TUNNEL, inbound_spec, outbound_spec, path, tunnel_spec, v4};
use bed::{MemoryQueue, memory_queue};
use clap::Parser;
use xvpn_dataplane::buffer::{Batch, Packet};
use xvpn_dataplane::sa::{InboundSa, OutboundSa};
use xvpn_dataplane::tables::Tables;
use xvpn_dataplane::{Encapsulation, Lane, Spi, Suite};

fn main() {
    Plan::parse().run();
}

/// Who owns the outbound SA.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Share {
    /// Each queue has one (RFC 9611).
    Own,
    /// All queues send on one, as to a peer that takes no more; its replay window has so many packets (`sa/departure.rs`).
    One(u32),
}

fn count(range: RangeInclusive<usize>) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| match text.parse() {
        Ok(count) if range.contains(&count) => Ok(count),
        Ok(_) | Err(_) => Err(format!(
            "write a number from {} to {}",
            range.start(),
            range.end()
        )),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse()
        .map_err(|_| "write seconds, such as 0.4".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// What one thread did, or all of them together.
#[derive(Clone, Copy, Default)]
struct Done {
    packets: u64,
    sealing: Duration,
    opening: Duration,
}

/// The pipeline on 1 to N queues between ports in memory, and what the queues share.
#[derive(Parser)]
#[command(name = "scaling")]
struct Plan {
    /// Queues at most.
    #[arg(long, default_value_t = cpus(), value_parser = count(1..=1024))]
    queues: usize,
    /// Octets of each inner packet.
    #[arg(long, default_value_t = 1438, value_parser = count(28..=1438))]
    octets: usize,
    /// Packets in a batch.
    #[arg(long, default_value_t = Batch::LIMIT, value_parser = count(1..=Batch::LIMIT))]
    batch: usize,
    /// How long each line is measured.
    #[arg(long = "seconds", default_value = "0.4", value_parser = seconds)]
    time: Duration,
    /// What `cargo bench` passes to every bench.
    #[arg(long, hide = true)]
    bench: bool,
    /// Of criterion's benches: `cargo bench NAME` passes it to all.
    #[arg(hide = true)]
    filter: Vec<String>,
}

impl Plan {
    fn run(&self) {
        println!(
            "{} CPUs, {} octets inner, batches of {}, AES-128-GCM, {:?} each",
            cpus(),
            self.octets,
            self.batch,
            self.time
        );
        self.table("arithmetic only: what the CPUs themselves give", |queues| {
            let rate = self.spin(queues);
            (
                format!("{rate:.2} G/s"),
                format!("{:.2} ns", queues as f64 / rate),
                rate,
            )
        });
        let each = |queues: usize, packets: u64, time: Duration| {
            let ns = time.as_nanos() as f64 / packets.max(1) as f64;
            let rate = queues as f64 * self.octets as f64 * 8.0 / ns;
            (format!("{rate:.2} Gbit/s"), format!("{ns:.0} ns"), rate)
        };
        self.table("outbound, an SA for each queue", |queues| {
            let done = self.go(queues, Share::Own, false);
            each(queues, done.packets, done.sealing)
        });
        for window in WINDOWS {
            let title = format!("outbound, one SA for all, replay window of the peer {window}");
            self.table(&title, |queues| {
                let done = self.go(queues, Share::One(window), false);
                each(queues, done.packets, done.sealing)
            });
        }
        self.table("inbound, an SA for each queue", |queues| {
            let done = self.go(queues, Share::Own, true);
            each(queues, done.packets, done.opening)
        });
    }

    /// One line for each number of queues: the best of five, for others on the machine only take away.
    fn table(&self, title: &str, mut measure: impl FnMut(usize) -> (String, String, f64)) {
        println!(
            "\n{title}\n| queues | all together | each, per packet | times one queue |\n|---|---|---|---|"
        );
        let mut first = None;
        for queues in steps(self.queues) {
            let rounds = std::iter::repeat_with(|| measure(queues)).take(5);
            let best = rounds.max_by(|one, other| one.2.total_cmp(&other.2));
            let (rate, each, value) = best.unwrap();
            let ratio = value / *first.get_or_insert(value);
            println!("| {queues} | {rate} | {each} | {ratio:.2} |");
        }
    }

    /// The turns of so many queues at once.
    fn go(&self, queues: usize, share: Share, open: bool) -> Done {
        let tables = ArcSwap::from_pointee(tables(queues, share));
        let (start, stop) = (Barrier::new(queues + 1), AtomicBool::new(false));
        let inner = v4(self.octets);
        thread::scope(|scope| {
            let threads: Vec<_> = (0..queues)
                .map(|index| {
                    let (tables, start, stop, inner) = (&tables, &start, &stop, &inner);
                    scope.spawn(move || {
                        let number = |number: usize| u32::try_from(number).unwrap();
                        let mut loops = Loop {
                            alice: memory_queue().serving(number(index), number(queues)),
                            bob: memory_queue(),
                            batch: self.batch,
                            done: Done::default(),
                        };
                        loops.fill(inner);
                        start.wait();
                        while !stop.load(Ordering::Relaxed) {
                            loops.turn(tables, open, inner);
                        }
                        loops.done
                    })
                })
                .collect();
            start.wait();
            thread::sleep(self.time);
            stop.store(true, Ordering::Relaxed);
            threads.into_iter().fold(Done::default(), |sum, thread| {
                let done = thread.join().unwrap();
                Done {
                    packets: sum.packets + done.packets,
                    sealing: sum.sealing + done.sealing,
                    opening: sum.opening + done.opening,
                }
            })
        })
    }

    /// Steps of generators of random numbers, 10^9 per second, all threads together: eight at a time, independent of each other, so
    /// that one thread uses all there is of a core and two on one core would get in each other's way.
    fn spin(&self, threads: usize) -> f64 {
        let run = || {
            let (begin, mut states, mut steps) = (Instant::now(), [1_u64, 2, 3, 4, 5, 6, 7, 8], 0_u64);
            while begin.elapsed() < self.time {
                for _ in 0..100_000 {
                    for state in &mut states {
                        *state ^= *state << 13;
                        *state ^= *state >> 7;
                        *state ^= *state << 17;
                    }
                }
                steps += 800_000;
            }
            std::hint::black_box(states);
            steps as f64 / begin.elapsed().as_nanos() as f64
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        })
    }
}

/// What one thread has: its queue, and where it opens what it sealed, the peer's.
struct Loop {
    alice: MemoryQueue,
    bob: MemoryQueue,
    batch: usize,
    done: Done,
}

impl Loop {
    fn fill(&mut self, inner: &[u8]) {
        for _ in 0..self.batch {
            let mut packet = Packet::new();
            packet.meta.tunnel = TUNNEL;
            packet.set(inner);
            self.alice.tun.arriving.push_back(packet);
        }
    }

    /// The same packets again and again: out, and in if it is wanted.
    fn turn(&mut self, tables: &ArcSwap<Tables>, open: bool, inner: &[u8]) {
        let begin = Instant::now();
        let count = self.alice.turn(|| tables.load()).unwrap();
        self.done.sealing += begin.elapsed();
        assert_eq!(count, self.batch);
        let mut travelling = std::mem::take(&mut self.alice.wire.sent);
        assert_eq!(travelling.len(), self.batch, "a packet was refused");
        if open {
            for mut packet in travelling.drain(..) {
                packet.meta.path.encapsulation = Encapsulation::Udp;
                self.bob.wire.arriving.push_back(packet);
            }
            let begin = Instant::now();
            self.bob.turn(|| tables.load()).unwrap();
            self.done.opening += begin.elapsed();
            assert_eq!(self.bob.tun.sent.len(), self.batch, "a packet was refused");
            std::mem::swap(&mut travelling, &mut self.bob.tun.sent);
        }
        for mut packet in travelling.drain(..) {
            packet.set(inner);
            packet.meta.tunnel = TUNNEL;
            self.alice.tun.arriving.push_back(packet);
        }
        // The memory of the list goes back to where it came from.
        self.alice.wire.sent = travelling;
        self.done.packets += self.batch as u64;
    }
}

/// One tunnel with an SA for each queue, or with one for all.
fn tables(queues: usize, share: Share) -> Tables {
    let mut tables = Tables::default();
    tables.open_tunnel(tunnel_spec());
    for index in 0..u32::try_from(queues).unwrap() {
        let spi = Spi(SPI.0 + index);
        let mut outbound = outbound_spec(Suite::AesGcm128, true);
        let mut inbound = inbound_spec(Suite::AesGcm128, true);
        (outbound.spi, inbound.spi) = (spi, spi);
        outbound.lane = match share {
            Share::Own => Lane {
                resource: Some(index),
                ..Lane::default()
            },
            Share::One(_) if index > 0 => break,
            Share::One(window) => Lane {
                spread: true,
                window,
                ..Lane::default()
            },
        };
        tables.install_inbound(Arc::new(InboundSa::new(&inbound).unwrap()));
        let sa = OutboundSa::new(&outbound).unwrap().shared_by(queues);
        assert!(tables.install_outbound(Arc::new(sa), path()));
    }
    tables
}

/// 1, 2, 4 and so on, and the last.
fn steps(most: usize) -> impl Iterator<Item = usize> {
    let powers = std::iter::successors(Some(1_usize), |step| step.checked_mul(2));
    powers.take_while(move |step| *step < most).chain([most])
}

fn cpus() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Of a peer like us, and of one with the default of most kernels: with it the queues leave in turn.
const WINDOWS: [u32; 2] = [1024, 32];
