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

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bed::fixture::{SPI, TUNNEL, inbound_spec, outbound_spec, path, tunnel_spec, v4};
use bed::{MemoryQueue, memory_queue};
use xvpn_dataplane::buffer::{Batch, Packet};
use xvpn_dataplane::sa::{InboundSa, OutboundSa};
use xvpn_dataplane::tables::Tables;
use xvpn_dataplane::{Encapsulation, Lane, Spi, Suite};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(plan) = Plan::of(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    plan.run();
    ExitCode::SUCCESS
}

/// Who owns the outbound SA.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Share {
    /// Each queue has one (RFC 9611).
    Own,
    /// All queues send on one, as to a peer that takes no more; its replay window has so many packets (`sa/departure.rs`).
    One(u32),
}

/// What one thread did, or all of them together.
#[derive(Clone, Copy, Default)]
struct Done {
    packets: u64,
    sealing: Duration,
    opening: Duration,
}

struct Plan {
    queues: usize,
    octets: usize,
    batch: usize,
    time: Duration,
}

impl Plan {
    fn of(arguments: &[String]) -> Option<Self> {
        let mut plan = Self {
            queues: cpus(),
            octets: 1438,
            batch: Batch::LIMIT,
            time: Duration::from_millis(400),
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--bench" => {}
                "--queues" => plan.queues = rest.next()?.parse().ok().filter(|queues| *queues > 0)?,
                "--octets" => plan.octets = rest.next()?.parse().ok().filter(|octets| *octets >= 28)?,
                "--batch" => {
                    plan.batch = rest
                        .next()?
                        .parse()
                        .ok()
                        .filter(|batch| (1..=Batch::LIMIT).contains(batch))?;
                }
                "--seconds" => plan.time = Duration::try_from_secs_f64(rest.next()?.parse().ok()?).ok()?,
                // `cargo bench NAME` has a filter for criterion's benches.
                name if !name.starts_with("--") => {}
                _ => return None,
            }
        }
        Some(plan)
    }

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
const USAGE: &str = "usage: cargo bench -p xvpn-dataplane --bench scaling -- [--queues N] [--seconds S] [--octets N] [--batch N]";
