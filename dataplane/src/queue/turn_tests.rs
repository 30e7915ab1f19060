//! A queue between ports in memory: what one turn does.

use std::time::Duration;

use arc_swap::ArcSwap;

use super::*;
use crate::api::{
    Aggregation, Encapsulation, InboundSpec, Keys, Lane, OutboundSpec, Pace, Path, Selector, Spi, Suite,
    TunnelId, TunnelSpec,
};
use crate::buffer::Packet;
use crate::io::MemoryPort;
use crate::queue::punt::{self, PuntReceiver};
use crate::sa::{InboundSa, OutboundSa};

pub(super) type MemoryQueue = Queue<MemoryPort, MemoryPort>;

pub(super) fn queue() -> (MemoryQueue, PuntReceiver, Arc<QueueStats>) {
    let (punt, punts) = punt::ring().unwrap();
    let stats = Arc::new(QueueStats::new());
    let queue = Queue::new(
        MemoryPort::default(),
        MemoryPort::default(),
        Arc::clone(&stats),
        punt,
    );
    (queue, punts, stats)
}

/// Tables that send on one SPI and receive on another, everything to everything.
fn tables(sending: u32, receiving: u32) -> Tables {
    let mut tables = Tables::default();
    tables.open_tunnel(tunnel_spec());
    tables.install_inbound(Arc::new(InboundSa::new(&inbound(receiving)).unwrap()));
    let sa = Arc::new(OutboundSa::new(&outbound(sending, receiving)).unwrap());
    assert!(tables.install_outbound(sa, path()));
    tables
}

fn tunnel_spec() -> TunnelSpec {
    TunnelSpec {
        id: TunnelId(1),
        interface: "xvpn0".to_owned(),
        path_mtu: 1500,
        clamp_mss: false,
        copy_dscp: false,
    }
}

fn inbound(spi: u32) -> InboundSpec {
    InboundSpec {
        tunnel: TunnelId(1),
        spi: Spi(spi),
        suite: Suite::ChaCha20Poly1305,
        keys: keys(),
        esn: true,
        replay_window: 64,
        local: any(),
        remote: any(),
        aggfrag: false,
    }
}

fn outbound(spi: u32, inbound_spi: u32) -> OutboundSpec {
    OutboundSpec {
        tunnel: TunnelId(1),
        spi: Spi(spi),
        inbound_spi: Spi(inbound_spi),
        suite: Suite::ChaCha20Poly1305,
        keys: keys(),
        esn: true,
        local: any(),
        remote: any(),
        order: 0,
        path: path(),
        lane: Lane::default(),
        aggregation: None,
    }
}

pub(super) fn any() -> Vec<Selector> {
    let (first, last) = ("0.0.0.0".parse().unwrap(), "255.255.255.255".parse().unwrap());
    vec![Selector {
        first,
        last,
        protocol: 0,
        first_port: 0,
        last_port: u16::MAX,
    }]
}

pub(super) fn keys() -> Keys {
    Keys {
        encryption: vec![7; 36].into(),
        integrity: Vec::new().into(),
    }
}

pub(super) fn path() -> Path {
    let (local, remote) = (
        "192.0.2.1:4500".parse().unwrap(),
        "192.0.2.2:4500".parse().unwrap(),
    );
    Path {
        local,
        remote,
        encapsulation: Encapsulation::Udp,
    }
}

pub(super) fn packet(octets: &[u8]) -> Packet {
    let mut packet = Packet::new();
    packet.set(octets);
    packet.meta.tunnel = TunnelId(1);
    packet.meta.path = path();
    packet
}

/// An IPv4 packet of protocol 253 with a right header checksum and one octet that tells it from others.
pub(super) fn inner(mark: u8) -> Vec<u8> {
    let mut octets = vec![
        0x45, 0, 0, 21, 0, 0, 0x40, 0, 64, 253, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, mark,
    ];
    let mut sum: u32 = octets[..20]
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let [.., high, low] = (!sum).to_be_bytes();
    octets[10..12].copy_from_slice(&[high, low]);
    octets
}

#[test]
fn packets_pass_from_tun_to_wire_to_tun_in_order() {
    let (mut alice, _, alices) = queue();
    let (mut bob, _, bobs) = queue();
    let sent: Vec<Vec<u8>> = (0..150).map(inner).collect();
    alice
        .tun
        .arriving
        .extend(sent.iter().map(|octets| packet(octets)));
    let to_bob = tables(0x1000, 0x2000);
    // A batch is 64 packets: the other side has its turn in between.
    assert_eq!(alice.turn(|| &to_bob).unwrap(), 64);
    while alice.turn(|| &to_bob).unwrap() > 0 {}
    assert_eq!(alice.wire.sent.len(), 150);
    for (esp, plain) in alice.wire.sent.iter().zip(&sent) {
        assert_eq!(esp.octets()[..4], [0, 0, 0x10, 0]);
        assert!(!esp.octets().windows(plain.len()).any(|window| window == plain));
    }
    bob.wire.arriving.extend(alice.wire.sent.drain(..));
    let to_alice = tables(0x2000, 0x1000);
    while bob.turn(|| &to_alice).unwrap() > 0 {}
    let received: Vec<&[u8]> = bob.tun.sent.iter().map(Packet::octets).collect();
    assert_eq!(received, sent);

    let passed = |stats: &QueueStats, stage| {
        let counts = stats.passed(stage);
        (counts.batches, counts.packets, counts.octets)
    };
    let plain = 150 * u64::try_from(inner(0).len()).unwrap();
    assert_eq!(passed(&alices, Stage::TunRead), (3, 150, plain));
    assert_eq!(passed(&alices, Stage::Seal), (3, 150, plain));
    let sealed = passed(&alices, Stage::WireSend);
    assert!(sealed.2 > plain, "{sealed:?}");
    assert_eq!(passed(&bobs, Stage::WireReceive), sealed);
    assert_eq!(passed(&bobs, Stage::TunWrite), (3, 150, plain));
    assert_eq!(passed(&bobs, Stage::TunRead), (0, 0, 0));
}

#[test]
fn a_packet_alone_leaves_in_the_turn_that_reads_it_and_is_delivered_in_the_turn_that_receives_it() {
    let turns = Lane {
        spread: true,
        // So short that queues send in turn.
        window: 32,
        ..Lane::default()
    };
    let at_hand = Aggregation {
        fragments: true,
        size: None,
        pace: Pace::AtHand {
            delay: Duration::ZERO,
        },
    };
    for (lane, aggregation) in [
        (Lane::default(), None),
        (turns, None),
        (turns, Some(at_hand)),
        (Lane::default(), Some(at_hand)),
    ] {
        let ((alice, ..), (mut bob, ..)) = (queue(), queue());
        let mut alice = alice.serving(0, 2);
        let (mut to_bob, mut to_alice) = (Tables::default(), Tables::default());
        to_bob.open_tunnel(tunnel_spec());
        to_alice.open_tunnel(tunnel_spec());
        let spec = OutboundSpec {
            lane,
            aggregation,
            ..outbound(0x1000, 0x2000)
        };
        let sa = OutboundSa::new(&spec).unwrap().shared_by(2);
        assert!(to_bob.install_outbound(Arc::new(sa), path()));
        let spec = InboundSpec {
            aggfrag: aggregation.is_some(),
            ..inbound(0x1000)
        };
        to_alice.install_inbound(Arc::new(InboundSa::new(&spec).unwrap()));
        for mark in 0..3 {
            alice.tun.arriving.push_back(packet(&inner(mark)));
            assert_eq!(alice.turn(|| &to_bob).unwrap(), 1);
            assert_eq!(alice.wire.sent.len(), 1, "{lane:?} {aggregation:?}");
            assert_eq!(alice.deadline(), None);
            bob.wire.arriving.extend(alice.wire.sent.drain(..));
            assert_eq!(bob.turn(|| &to_alice).unwrap(), 1);
            let delivered: Vec<_> = bob
                .tun
                .sent
                .drain(..)
                .map(|packet| packet.octets().to_vec())
                .collect();
            assert_eq!(delivered, [inner(mark)], "{lane:?} {aggregation:?}");
            assert_eq!(bob.deadline(), None);
        }
    }
}

#[test]
fn a_queue_sends_on_the_sa_of_its_resource_else_on_the_one_for_any_else_on_whatever_there_is() {
    let mut tables = tables(0x1000, 0x2000);
    let mut install = |spi, resource| {
        let mut spec = outbound(spi, 0x2000);
        spec.lane.resource = Some(resource);
        let sa = Arc::new(OutboundSa::new(&spec).unwrap());
        assert!(tables.install_outbound(sa, path()));
    };
    install(0x1100, 0);
    install(0x1200, 3);
    // Sent by queue 0, 1 and 2 of `of`.
    let sent = |tables: &Tables, of| {
        [0, 1, 2].map(|index| {
            let (queue, ..) = queue();
            let mut queue = queue.serving(index, of);
            queue.tun.arriving.push_back(packet(&inner(1)));
            queue.turn(|| tables).unwrap();
            let esp = queue.wire.sent[0].octets();
            u32::from_be_bytes([esp[0], esp[1], esp[2], esp[3]])
        })
    };
    assert_eq!(sent(&tables, 4), [0x1100, 0x1000, 0x1000]);
    assert_eq!(sent(&tables, 2)[..2], [0x1100, 0x1200], "resource 3 is queue 1's");
    tables.remove_outbound(TunnelId(1), Spi(0x1100));
    assert_eq!(sent(&tables, 2)[..2], [0x1000, 0x1200]);
    tables.remove_outbound(TunnelId(1), Spi(0x1000));
    assert_eq!(sent(&tables, 2)[..2], [0x1200, 0x1200]);
}

#[test]
fn every_stage_is_timed_now_and_then() {
    let (mut alice, _, alices) = queue();
    let (mut bob, _, bobs) = queue();
    let (to_bob, to_alice) = (tables(0x1000, 0x2000), tables(0x2000, 0x1000));
    for _ in 0..2 * crate::stats::SAMPLE {
        alice.tun.arriving.push_back(packet(&inner(1)));
        alice.turn(|| &to_bob).unwrap();
        bob.wire.arriving.extend(alice.wire.sent.drain(..));
        bob.turn(|| &to_alice).unwrap();
    }
    for (stats, stages) in [
        (alices, [Stage::TunRead, Stage::Seal, Stage::WireSend]),
        (bobs, [Stage::WireReceive, Stage::Open, Stage::TunWrite]),
    ] {
        for stage in stages {
            assert_eq!(stats.passed(stage).timed_packets, 2, "{stage:?}");
        }
    }
}

#[test]
fn ike_and_hints_go_up_and_a_full_ring_is_counted() {
    let (mut queue, punts, stats) = queue();
    let nothing = Tables::default();
    queue.wire.arriving.push_back(packet(b"\0\0\0\0message"));
    queue.wire.arriving.push_back(packet(&[0x77; 40]));
    queue.turn(|| &nothing).unwrap();
    let message = Punted::Ike {
        local: path().local,
        remote: path().remote,
        bytes: b"message".to_vec(),
    };
    assert_eq!(punts.pop(), Some(message));
    assert_eq!(
        punts.pop(),
        Some(Punted::UnknownSpi {
            spi: Spi(0x7777_7777),
            remote: path().remote
        })
    );
    assert_eq!(punts.pop(), None);

    queue
        .wire
        .arriving
        .extend((0..punt::CAPACITY + 3).map(|_| packet(b"\0\0\0\0message")));
    while queue.turn(|| &nothing).unwrap() > 0 {}
    assert_eq!(stats.discarded(Discard::PuntFull), 3);
}

/// A wire from which a packet is read just after control has published other tables.
struct Overtaking<'a> {
    wire: MemoryPort,
    installed: Option<Tables>,
    shared: &'a ArcSwap<Tables>,
}

impl Port for Overtaking<'_> {
    fn recv(&mut self, batch: &mut Batch, pool: &mut Pool) -> io::Result<usize> {
        if let Some(tables) = self.installed.take() {
            self.shared.store(Arc::new(tables));
        }
        self.wire.recv(batch, pool)
    }

    fn send(&mut self, batch: &mut Batch, pool: &mut Pool) -> Sent {
        self.wire.send(batch, pool)
    }
}

#[test]
fn what_was_received_after_an_sa_was_installed_is_opened_with_it() {
    let (mut alice, ..) = queue();
    alice.tun.arriving.push_back(packet(&inner(1)));
    let to_bob = tables(0x1000, 0x2000);
    alice.turn(|| &to_bob).unwrap();

    // Bob's thread waited for a CPU meanwhile: he installs the SA, tells Alice, and she sends on it.
    let shared = ArcSwap::from_pointee(Tables::default());
    let wire = Overtaking {
        wire: MemoryPort {
            arriving: alice.wire.sent.drain(..).collect(),
            ..MemoryPort::default()
        },
        installed: Some(tables(0x2000, 0x1000)),
        shared: &shared,
    };
    let (punt, _punts) = punt::ring().unwrap();
    let stats = Arc::new(QueueStats::new());
    let mut bob = Queue::new(MemoryPort::default(), wire, Arc::clone(&stats), punt);
    bob.turn(|| shared.load()).unwrap();
    assert_eq!(stats.discarded(Discard::UnknownSpi), 0);
    assert_eq!(bob.tun.sent.len(), 1);
}

/// A wire that takes nothing.
struct Refusing(Sent);

impl Port for Refusing {
    fn recv(&mut self, _batch: &mut Batch, _pool: &mut Pool) -> io::Result<usize> {
        Ok(0)
    }

    fn send(&mut self, batch: &mut Batch, pool: &mut Pool) -> Sent {
        batch.recycle(pool);
        self.0
    }
}

#[test]
fn a_path_that_takes_less_is_remembered_and_losses_are_counted() {
    use crate::io::TooBig;
    let too_big = Some(TooBig {
        tunnel: TunnelId(1),
        path_mtu: 1280,
    });
    let (punt, _punts) = punt::ring().unwrap();
    let stats = Arc::new(QueueStats::new());
    let wire = Refusing(Sent {
        packets: 0,
        lost: 2,
        too_long: 1,
        too_big,
    });
    let mut queue = Queue::new(MemoryPort::default(), wire, Arc::clone(&stats), punt);
    queue.tun.arriving.extend([packet(&inner(1)), packet(&inner(2))]);
    let tables = tables(0x1000, 0x2000);
    queue.turn(|| &tables).unwrap();
    assert_eq!(
        tables.tunnel(TunnelId(1)).map(crate::tunnel::Tunnel::path_mtu),
        Some(1280)
    );
    assert_eq!(stats.discarded(Discard::PathTooBig), 1);
    assert_eq!(stats.discarded(Discard::WireRefused), 1);
}

#[test]
fn a_wait_in_vain_for_another_queue_is_counted() {
    let (queue, _punts, stats) = queue();
    let mut queue = queue.serving(0, 2);
    let mut tables = tables(0x1000, 0x2000);
    let narrow = OutboundSpec {
        lane: Lane {
            window: 32,
            ..Lane::default()
        },
        ..outbound(0x3000, 0x2000)
    };
    let sa = Arc::new(OutboundSa::new(&narrow).unwrap().shared_by(2));
    assert!(tables.install_outbound(Arc::clone(&sa), path()));
    let mut send = |packets: u8| {
        queue
            .tun
            .arriving
            .extend((0..packets).map(|mark| packet(&inner(mark))));
        queue.turn(|| &tables).unwrap();
        (queue.wire.sent.drain(..).count(), stats.waits_in_vain())
    };

    // The other queue holds number 1, and never sends it.
    let (_, stuck) = sa.reserve_for(1, 1).unwrap();
    assert_eq!(send(15), (15, 0), "up to half the window");
    assert_eq!(send(1), (1, 1));
    assert_eq!(send(1), (1, 1), "nobody is waited for in vain twice");
    drop(stuck);
    let discarded = Discard::ALL.iter().map(|reason| stats.discarded(*reason));
    assert_eq!(discarded.sum::<u64>(), 0);
}
