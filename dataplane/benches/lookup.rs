//! What is looked up for each packet: the header, the SA of an SPI, the window, the selectors; with few and many tunnels.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test or bench fails by panicking"
)]

#[path = "../tests/fixture/mod.rs"]
mod fixture;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use fixture::{alice, bob, inbound_spec, v4, v6};
use xvpn_dataplane::ip::{Header, selector};
use xvpn_dataplane::sa::{InboundSa, ReplayWindow};
use xvpn_dataplane::tables::Tables;
use xvpn_dataplane::{Spi, Suite};

fn header(criterion: &mut Criterion) {
    let (v4, v6) = (v4(1438), v6(1438));
    criterion.bench_function("header/ipv4", |bencher| {
        bencher.iter(|| Header::parse(black_box(&v4)))
    });
    criterion.bench_function("header/ipv6", |bencher| {
        bencher.iter(|| Header::parse(black_box(&v6)))
    });
}

fn sad(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sad");
    for count in [1_u32, 100, 10_000] {
        let mut tables = Tables::default();
        for index in 0..count {
            let mut spec = inbound_spec(Suite::AesGcm128, true);
            spec.replay_window = 64;
            spec.spi = Spi(0x100 + index.wrapping_mul(0x9e37_79b1) / 2);
            tables.install_inbound(Arc::new(InboundSa::new(&spec).unwrap()));
        }
        let spis: Vec<Spi> = tables.all_inbound().map(|sa| sa.spi()).collect();
        let mut next = spis.iter().cycle();
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| next.next().and_then(|spi| tables.inbound(*spi)).is_some());
        });
    }
    group.finish();
}

fn window(criterion: &mut Criterion) {
    let window = ReplayWindow::new(1024);
    let mut seq = 0;
    criterion.bench_function("window/check_accept", |bencher| {
        bencher.iter(|| {
            seq += 1;
            window.check(seq).and_then(|()| window.accept(seq))
        });
    });
}

fn selectors(criterion: &mut Criterion) {
    let header = Header::parse(&v4(1438)).unwrap();
    let (local, remote) = (alice(), bob());
    criterion.bench_function("selector/outbound", |bencher| {
        bencher
            .iter(|| selector::permits_outbound(black_box(&local), black_box(&remote), black_box(&header)));
    });
}

criterion_group!(benches, header, sad, window, selectors);
criterion_main!(benches);
