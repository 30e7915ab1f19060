//! IKE_SA_INIT and IKE_AUTH of two endpoints in memory, with pre-shared keys: the work of both sides added.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use xvpn_ike::config::{ConnectionConfig, EndpointConfig};
use xvpn_ike::testing::{Faults, Pair, Who, config};

const SUITES: [&str; 6] = [
    "aes256gcm16-prfsha256-x25519",
    "chacha20poly1305-prfsha256-x25519",
    "aes256gcm16-prfsha384-ecp256",
    "aes256gcm16-prfsha384-ecp384",
    "aes128-sha256-modp2048",
    "aes256-sha512-modp4096",
];

fn with(suite: &str, who: Who) -> ConnectionConfig {
    let ike = suite.parse().expect("a suite of this file");
    ConnectionConfig {
        ike_proposals: vec![ike],
        ..config(who)
    }
}

fn handshake(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("handshake (initiator + responder)");
    group.sample_size(20);
    for suite in SUITES {
        let (alice, bob) = (with(suite, Who::Alice), with(suite, Who::Bob));
        group.bench_function(suite, |bencher| {
            bencher.iter(|| {
                let endpoint = EndpointConfig::default();
                let mut pair = Pair::with(7, Faults::NONE, endpoint, alice.clone(), bob.clone());
                pair.up(Who::Alice);
                assert!(pair.run_until(Duration::from_secs(5), Pair::has_settled));
                black_box(pair)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, handshake);
criterion_main!(benches);
