//! Each stage of the packet path for one batch: a super-packet of 64 KiB and its 44 segments, or 44 small packets of a flow.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test or bench fails by panicking"
)]

mod bed;

use std::time::{Duration, Instant};

use bed::{Bed, PACKETS, Stage};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use xvpn_dataplane::Suite;

/// What fits a path MTU of 1,500, and little more than headers.
const OCTETS: [usize; 2] = [1438, 64];

fn stages(criterion: &mut Criterion) {
    for stage in Stage::ALL {
        let mut group = criterion.benchmark_group(format!("stage/{}", stage.name()));
        for octets in OCTETS {
            let mut bed = Bed::new(Suite::AesGcm128, octets);
            group.throughput(Throughput::Elements(PACKETS as u64));
            group.bench_function(BenchmarkId::from_parameter(octets), |bencher| {
                bencher.iter_custom(|rounds| {
                    let mut spent = Duration::ZERO;
                    for _ in 0..rounds {
                        bed.prepare(stage);
                        let start = Instant::now();
                        let passed = bed.run(stage);
                        spent += start.elapsed();
                        assert_eq!(passed, PACKETS);
                    }
                    spent
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, stages);
criterion_main!(benches);
