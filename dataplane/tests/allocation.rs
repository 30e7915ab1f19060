//! Once warm, a queue allocates nothing: not to seal and send, not to receive and open, whatever the cipher.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test or bench fails by panicking"
)]

mod fixture;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use fixture::{SUITES, inbound_spec, outbound_spec, packet, tunnel_spec, v4, v6};
use xvpn_dataplane::buffer::{Batch, Packet, Pool};
use xvpn_dataplane::io::udp::UdpSocket;
use xvpn_dataplane::io::wire::WirePort;
use xvpn_dataplane::io::{MemoryPort, Port, Sent};
use xvpn_dataplane::queue::{Queue, punt};
use xvpn_dataplane::sa::{InboundSa, OutboundSa};
use xvpn_dataplane::stats::QueueStats;
use xvpn_dataplane::tables::Tables;
use xvpn_dataplane::{Encapsulation, Path, Suite};

/// A TUN that gives what is put into it, and takes nothing but what is expected.
struct Tun {
    arriving: MemoryPort,
    expected: Vec<Vec<u8>>,
    taken: usize,
}

impl Port for Tun {
    fn recv(&mut self, batch: &mut Batch, pool: &mut Pool) -> io::Result<usize> {
        self.arriving.recv(batch, pool)
    }

    fn send(&mut self, batch: &mut Batch, pool: &mut Pool) -> Sent {
        let packets = batch.len();
        for packet in batch.drain() {
            assert_eq!(packet.octets(), self.expected[self.taken]);
            self.taken += 1;
            pool.give(packet);
        }
        Sent {
            packets,
            ..Sent::default()
        }
    }
}

/// A queue whose wire is a UDP socket on loopback.
struct Gateway {
    queue: Queue<Tun, WirePort>,
    tables: Tables,
}

impl Gateway {
    fn new(socket: UdpSocket, segment: bool, expected: &[Vec<u8>]) -> Self {
        let stats = Arc::new(QueueStats::new());
        let mut wire = WirePort::new(vec![socket], Vec::new(), Arc::clone(&stats));
        if !segment {
            wire = wire.without_segmentation();
        }
        let tun = Tun {
            arriving: MemoryPort::default(),
            expected: expected.to_vec(),
            taken: 0,
        };
        let (punt, _) = punt::ring().unwrap();
        let mut tables = Tables::default();
        tables.open_tunnel(tunnel_spec());
        Self {
            queue: Queue::new(tun, wire, stats, punt),
            tables,
        }
    }

    fn turn(&mut self) {
        while self.queue.turn(|| &self.tables).unwrap() > 0 {}
    }
}

/// Sends `rounds` batches from one queue to the other. Gives the allocations of both.
fn carry(alice: &mut Gateway, bob: &mut Gateway, rounds: usize) -> u64 {
    let mut allocations = 0;
    for _ in 0..rounds {
        let all = bob.queue.tun.expected.iter();
        let batch: Vec<Packet> = all.map(|octets| packet(octets)).collect();
        alice.queue.tun.arriving.arriving.extend(batch);
        allocations += measure(|| alice.turn()).count_total;
        let begin = Instant::now();
        bob.queue.tun.taken = 0;
        while bob.queue.tun.taken < bob.queue.tun.expected.len() {
            assert!(begin.elapsed() < Duration::from_secs(5), "packets are missing");
            bob.queue.wire.mark_ready(0);
            allocations += measure(|| bob.turn()).count_total;
            thread::yield_now();
        }
    }
    allocations
}

fn allocates_nothing(suite: Suite, segment: bool) {
    let sockets = [(); 2].map(|()| {
        let address = "127.0.0.1:0".parse().unwrap();
        UdpSocket::group(address, 1, 4 << 20).unwrap().pop().unwrap()
    });
    let [from, to] = sockets;
    if segment {
        to.join_datagrams().unwrap();
    }
    let path = Path {
        local: from.bound(),
        remote: to.bound(),
        encapsulation: Encapsulation::Udp,
    };
    // Runs of one length, single packets, both families.
    let long = (0..40).map(|_| v4(1300));
    let short = (0..Batch::LIMIT - 40).map(|at| if at % 2 == 0 { v4(60 + at) } else { v6(80 + at) });
    let inner: Vec<_> = long.chain(short).collect();
    let mut alice = Gateway::new(from, segment, &[]);
    let mut bob = Gateway::new(to, segment, &inner);
    let sa = OutboundSa::new(&outbound_spec(suite, true)).unwrap();
    assert!(alice.tables.install_outbound(Arc::new(sa), path));
    let sa = InboundSa::new(&inbound_spec(suite, true)).unwrap();
    bob.tables.install_inbound(Arc::new(sa));
    carry(&mut alice, &mut bob, 64);
    let allocations = carry(&mut alice, &mut bob, 16);
    assert_eq!(allocations, 0, "{suite:?}, segmentation: {segment}");
}

#[test]
fn a_warm_queue_allocates_nothing() {
    for suite in SUITES {
        allocates_nothing(suite, true);
    }
    allocates_nothing(Suite::AesGcm256, false);
}
