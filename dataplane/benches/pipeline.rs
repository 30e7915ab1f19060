//! Whole batches through the pipelines, without system calls: per cipher and inner size, packets of a batch of 64.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test or bench fails by panicking"
)]

#[path = "../tests/fixture/mod.rs"]
mod fixture;

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fixture::{SUITES, TUNNEL, inbound_spec, outbound_spec, path, tunnel_spec, v4};
use xvpn_dataplane::buffer::{Batch, Pool};
use xvpn_dataplane::pipeline::{Inbound, Outbound};
use xvpn_dataplane::sa::{InboundSa, OutboundSa};
use xvpn_dataplane::stats::QueueStats;
use xvpn_dataplane::tables::Tables;
use xvpn_dataplane::{Encapsulation, Suite, TunnelSpec};

const SIZES: [usize; 3] = [64, 1372, 1438];

/// Both ends in one: the batches go from one pipeline to the other.
struct Bench {
    tables: Tables,
    outbound: Outbound,
    inbound: Inbound,
    pool: Pool,
    tun: Batch,
    wire: Batch,
    answers: Batch,
}

impl Bench {
    fn new(suite: Suite) -> Self {
        let mut tables = Tables::default();
        // A longer path than usual, so that every cipher carries every size whole.
        tables.open_tunnel(TunnelSpec {
            path_mtu: 1600,
            ..tunnel_spec()
        });
        assert!(tables.install_outbound(
            Arc::new(OutboundSa::new(&outbound_spec(suite, true)).unwrap()),
            path(),
        ));
        tables.install_inbound(Arc::new(InboundSa::new(&inbound_spec(suite, true)).unwrap()));
        let stats = Arc::new(QueueStats::new());
        Self {
            tables,
            outbound: Outbound::new(Arc::clone(&stats)),
            inbound: Inbound::new(stats),
            pool: Pool::default(),
            tun: Batch::default(),
            wire: Batch::default(),
            answers: Batch::default(),
        }
    }

    fn fill(&mut self, inner: &[u8]) {
        while self.tun.vacancy() > 0 {
            let mut packet = self.pool.take();
            packet.set(inner);
            packet.meta.tunnel = TUNNEL;
            self.tun.push(packet);
        }
    }

    fn seal(&mut self) -> Duration {
        let start = Instant::now();
        self.outbound.run(
            start,
            &self.tables,
            &mut self.tun,
            &mut self.wire,
            &mut self.answers,
            &mut self.pool,
        );
        let spent = start.elapsed();
        assert_eq!(self.wire.len(), Batch::LIMIT);
        spent
    }

    fn open(&mut self) -> Duration {
        for packet in self.wire.iter_mut() {
            packet.meta.path.encapsulation = Encapsulation::Udp;
        }
        let start = Instant::now();
        let mut punt = |_| {};
        self.inbound.run(
            start,
            &self.tables,
            &mut self.wire,
            &mut self.tun,
            &mut punt,
            &mut self.pool,
        );
        let spent = start.elapsed();
        assert_eq!(self.tun.len(), Batch::LIMIT);
        self.tun.recycle(&mut self.pool);
        spent
    }
}

fn pipeline(criterion: &mut Criterion) {
    for (name, seal) in [("outbound", true), ("inbound", false)] {
        let mut group = criterion.benchmark_group(name);
        for suite in SUITES {
            for size in SIZES {
                let (mut bench, inner) = (Bench::new(suite), v4(size));
                group.throughput(Throughput::Bytes((size * Batch::LIMIT) as u64));
                group.bench_function(BenchmarkId::new(format!("{suite:?}"), size), |bencher| {
                    bencher.iter_custom(|rounds| {
                        let mut spent = Duration::ZERO;
                        for _ in 0..rounds {
                            bench.fill(&inner);
                            let (sealing, opening) = (bench.seal(), bench.open());
                            spent += if seal { sealing } else { opening };
                        }
                        spent
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
