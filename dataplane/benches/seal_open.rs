//! Sealing and opening one packet in place, per cipher and inner size: octets per second of inner packet.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test or bench fails by panicking"
)]

#[path = "../tests/fixture/mod.rs"]
mod fixture;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fixture::{SUITES, packet, pair, v4};
use xvpn_dataplane::buffer::Packet;

/// A small packet, what fits a path of 1434 and of 1500 octets.
const SIZES: [usize; 3] = [64, 1372, 1438];

fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal");
    for suite in SUITES {
        for size in SIZES {
            let (alice, _) = pair(suite, true);
            let inner = v4(size);
            let mut esp = packet(&inner);
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::new(format!("{suite:?}"), size), |bencher| {
                bencher.iter(|| {
                    // The octets do not matter to the cipher, only a valid first one to the next header.
                    esp.commit(size);
                    esp.octets_mut()[0] = 0x45;
                    let seq = alice.reserve(1).map_or(0, |block| block.first);
                    alice.seal(seq, &mut esp)
                });
            });
        }
    }
    group.finish();
}

fn open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open");
    for suite in SUITES {
        for size in SIZES {
            let (alice, bob) = pair(suite, true);
            let inner = v4(size);
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::new(format!("{suite:?}"), size), |bencher| {
                let sealed = || fixture::seal(&alice, &inner);
                bencher.iter_batched_ref(sealed, |esp: &mut Packet| bob.open(esp), BatchSize::SmallInput);
            });
        }
    }
    group.finish();
}

criterion_group!(benches, seal, open);
criterion_main!(benches);
