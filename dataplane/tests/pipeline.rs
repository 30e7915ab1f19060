//! Whole queues on memory ports: what goes into Alice's TUN comes out of Bob's, and nothing else does.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test or bench fails by panicking"
)]

mod fixture;

use std::sync::Arc;

use fixture::{
    SUITES, TUNNEL, alice, any, bob, checksum_v4, inbound_spec, outbound_spec, packet, path, seal,
    tunnel_spec, v4, v6,
};
use xvpn_dataplane::buffer::Packet;
use xvpn_dataplane::io::MemoryPort;
use xvpn_dataplane::ip::Header;
use xvpn_dataplane::queue::Queue;
use xvpn_dataplane::queue::punt::{self, PuntReceiver};
use xvpn_dataplane::sa::{InboundSa, OutboundSa};
use xvpn_dataplane::stats::QueueStats;
use xvpn_dataplane::tables::Tables;
use xvpn_dataplane::{Discard, Encapsulation, OutboundSpec, Path, Punted, Spi, Suite, TunnelId};

struct Gateway {
    queue: Queue<MemoryPort, MemoryPort>,
    tables: Tables,
    stats: Arc<QueueStats>,
    punts: PuntReceiver,
}

impl Gateway {
    fn new() -> Self {
        let stats = Arc::new(QueueStats::new());
        let (sender, punts) = punt::ring().unwrap();
        let queue = Queue::new(
            MemoryPort::default(),
            MemoryPort::default(),
            Arc::clone(&stats),
            sender,
        );
        let mut tables = Tables::default();
        tables.open_tunnel(tunnel_spec());
        Self {
            queue,
            tables,
            stats,
            punts,
        }
    }

    /// Alice: sends to Bob.
    fn alice(suite: Suite) -> Self {
        let mut gateway = Self::new();
        gateway.send_with(&outbound_spec(suite, true));
        gateway
    }

    /// Bob: receives from Alice.
    fn bob(suite: Suite) -> Self {
        let mut gateway = Self::new();
        gateway
            .tables
            .install_inbound(Arc::new(InboundSa::new(&inbound_spec(suite, true)).unwrap()));
        gateway
    }

    fn send_with(&mut self, spec: &OutboundSpec) {
        assert!(
            self.tables
                .install_outbound(Arc::new(OutboundSa::new(spec).unwrap()), spec.path)
        );
    }

    /// Puts packets into the TUN, runs, gives what left on the wire.
    fn leave(&mut self, packets: &[Vec<u8>]) -> Vec<Packet> {
        self.queue
            .tun
            .arriving
            .extend(packets.iter().map(|octets| packet(octets)));
        self.run();
        std::mem::take(&mut self.queue.wire.sent)
    }

    /// Puts packets on the wire, runs, gives what left on the TUN.
    fn arrive(&mut self, packets: Vec<Packet>) -> Vec<Packet> {
        self.queue.wire.arriving.extend(packets);
        self.run();
        std::mem::take(&mut self.queue.tun.sent)
    }

    fn run(&mut self) {
        while self.queue.turn(|| &self.tables).unwrap() > 0 {}
    }

    fn answers(&mut self) -> Vec<Packet> {
        std::mem::take(&mut self.queue.tun.sent)
    }

    fn discarded(&self) -> Vec<(Discard, u64)> {
        let count = |reason: &Discard| (*reason, self.stats.discarded(*reason));
        Discard::ALL
            .iter()
            .map(count)
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}

fn octets(packets: &[Packet]) -> Vec<Vec<u8>> {
    packets.iter().map(|packet| packet.octets().to_vec()).collect()
}

#[test]
fn packets_arrive_in_order_and_unchanged() {
    for suite in SUITES {
        let (mut alice, mut bob) = (Gateway::alice(suite), Gateway::bob(suite));
        let sent: Vec<Vec<u8>> = (0..200)
            .map(|at| if at % 3 == 0 { v6(60 + at) } else { v4(60 + at) })
            .collect();
        let wire = alice.leave(&sent);
        assert_eq!(wire.len(), sent.len());
        assert!(
            wire.iter()
                .all(|packet| packet.meta.path == path() && packet.meta.dont_fragment)
        );
        let arrived = bob.arrive(wire);
        assert_eq!(octets(&arrived), sent, "{suite:?}");
        assert!(arrived.iter().all(|packet| packet.meta.tunnel == TUNNEL));
        assert_eq!((alice.discarded(), bob.discarded()), (vec![], vec![]));

        let bytes: u64 = sent.iter().map(|packet| packet.len() as u64).sum();
        let outbound = &alice.tables.tunnel(TUNNEL).unwrap().outbound[0];
        assert_eq!(outbound.sa.usage().read(), (bytes, 200));
        assert_eq!(
            bob.tables.inbound(fixture::SPI).unwrap().usage().read(),
            (bytes, 200)
        );
    }
}

#[test]
fn traffic_flow_confidentiality_padding_is_dropped_behind_the_inner_packet() {
    // RFC 4303 2.7: the receiver goes by the length in the inner header.
    for suite in SUITES {
        let mut bob = Gateway::bob(suite);
        let alice = OutboundSa::new(&outbound_spec(suite, true)).unwrap();
        for inner in [v4(60), v6(80)] {
            let padded = [inner.as_slice(), &[0; 700]].concat();
            let arrived = bob.arrive(vec![seal(&alice, &padded)]);
            assert_eq!(octets(&arrived), [inner], "{suite:?}");
        }
        assert_eq!(bob.discarded(), []);
    }
}

#[test]
fn a_tunnel_that_is_down_refuses_and_says_so() {
    let mut gateway = Gateway::new();
    assert!(gateway.leave(&[v4(60), v6(60)]).is_empty());
    assert_eq!(gateway.discarded(), [(Discard::NoOutboundSa, 2)]);
    let answers = gateway.answers();
    assert_eq!(answers[0].octets()[20..22], [3, 13]);
    assert_eq!(answers[1].octets()[40..42], [1, 1]);
    assert!(answers.iter().all(|answer| answer.meta.tunnel == TUNNEL));
}

#[test]
fn a_tunnel_that_was_never_opened_takes_nothing() {
    let mut gateway = Gateway::alice(Suite::AesGcm128);
    let mut stranger = packet(&v4(60));
    stranger.meta.tunnel = TunnelId(99);
    gateway.queue.tun.arriving.push_back(stranger);
    gateway.run();
    assert!(gateway.queue.wire.sent.is_empty());
    assert_eq!(gateway.discarded(), [(Discard::NoOutboundSa, 1)]);
}

#[test]
fn refusals_are_rate_limited() {
    let mut gateway = Gateway::new();
    gateway.leave(&vec![v4(60); 2000]);
    assert_eq!(gateway.discarded(), [(Discard::NoOutboundSa, 2000)]);
    let answers = gateway.answers().len();
    assert!((1..200).contains(&answers), "{answers}");
}

#[test]
fn a_packet_outside_the_selectors_does_not_leave() {
    let mut alice = Gateway::alice(Suite::AesGcm128);
    let mut elsewhere = v4(60);
    elsewhere[16..20].copy_from_slice(&[10, 3, 0, 1]);
    let mut spoofed = v4(60);
    spoofed[12..16].copy_from_slice(&[10, 3, 0, 1]);
    assert!(alice.leave(&[elsewhere, spoofed]).is_empty());
    assert_eq!(alice.discarded(), [(Discard::NoOutboundSa, 2)]);
}

#[test]
fn a_packet_outside_the_selectors_does_not_arrive() {
    // Alice is allowed more by her own configuration than Bob agreed to.
    let (mut sender, mut receiver) = (Gateway::new(), Gateway::bob(Suite::AesGcm128));
    let mut spec = outbound_spec(Suite::AesGcm128, true);
    (spec.local, spec.remote) = (
        vec![any("0.0.0.0", "255.255.255.255")],
        vec![any("0.0.0.0", "255.255.255.255")],
    );
    sender.send_with(&spec);
    let mut from_elsewhere = v4(60);
    from_elsewhere[12..16].copy_from_slice(&[192, 168, 0, 1]);
    let mut to_elsewhere = v4(60);
    to_elsewhere[16..20].copy_from_slice(&[192, 168, 0, 1]);
    let wire = sender.leave(&[from_elsewhere, to_elsewhere, v4(60)]);
    assert_eq!(octets(&receiver.arrive(wire)), [v4(60)]);
    assert_eq!(receiver.discarded(), [(Discard::InboundSelector, 2)]);
}

#[test]
fn the_newest_sa_that_takes_a_packet_carries_it() {
    let mut gateway = Gateway::alice(Suite::AesGcm128);
    let mut newer = outbound_spec(Suite::ChaCha20Poly1305, false);
    newer.spi = Spi(0x2000);
    (newer.local, newer.remote) = (alice(), vec![any("10.2.0.0", "10.2.0.255")]);
    gateway.send_with(&newer);
    let mut other = v4(60);
    other[18] = 1;
    let wire = gateway.leave(&[v4(60), other, v4(60), v4(61)]);
    let spis: Vec<&[u8]> = wire.iter().map(|packet| &packet.octets()[..4]).collect();
    let (old, new) = (&fixture::SPI.0.to_be_bytes()[..], &0x2000_u32.to_be_bytes()[..]);
    assert_eq!(spis, [new, old, new, new]);

    gateway.tables.remove_outbound(TUNNEL, Spi(0x2000));
    assert_eq!(&gateway.leave(&[v4(60)])[0].octets()[..4], old);
    gateway.tables.remove_outbound(TUNNEL, fixture::SPI);
    assert!(gateway.leave(&[v4(60)]).is_empty());
}

/// RFC 4301 4.4.1: the SPD has an order, and new keys do not change it.
#[test]
fn of_overlapping_sas_the_first_of_the_spd_carries_a_packet_whatever_is_replaced() {
    let mut gateway = Gateway::new();
    let spec = |spi: u32, order: u32, last: &str| {
        let mut spec = outbound_spec(Suite::AesGcm128, false);
        spec.spi = Spi(spi);
        spec.order = order;
        spec.remote = vec![any("10.2.0.0", last)];
        spec
    };
    let (narrow, wide) = ("10.2.0.127", "10.2.255.255");
    let mut further = v4(60);
    further[18] = 1;
    checksum_v4(&mut further);
    let check = |gateway: &mut Gateway, expected: [u32; 2]| {
        let wire = gateway.leave(&[v4(60), further.clone()]);
        let spi = |packet: &Packet| u32::from_be_bytes(packet.octets()[..4].try_into().unwrap());
        assert_eq!(wire.iter().map(spi).collect::<Vec<_>>(), expected);
    };
    gateway.send_with(&spec(0x2000, 1, wide));
    check(&mut gateway, [0x2000, 0x2000]);
    gateway.send_with(&spec(0x1000, 0, narrow));
    check(&mut gateway, [0x1000, 0x2000]);
    // New keys for the second, and for a third that nothing is left for.
    gateway.send_with(&spec(0x2001, 1, wide));
    gateway.send_with(&spec(0x3000, 2, wide));
    check(&mut gateway, [0x1000, 0x2001]);
    gateway.tables.remove_outbound(TUNNEL, Spi(0x2000));
    gateway.send_with(&spec(0x1001, 0, narrow));
    check(&mut gateway, [0x1001, 0x2001]);
    gateway.tables.remove_outbound(TUNNEL, Spi(0x1000));
    check(&mut gateway, [0x1001, 0x2001]);
    // While the first has no SA, the next that takes the packet carries it.
    gateway.tables.remove_outbound(TUNNEL, Spi(0x1001));
    check(&mut gateway, [0x2001, 0x2001]);
}

#[test]
fn another_path_is_taken_by_all_sas_of_a_tunnel() {
    let mut gateway = Gateway::alice(Suite::AesGcm128);
    let moved = Path {
        remote: "203.0.113.9:61000".parse().unwrap(),
        ..path()
    };
    gateway.tables.set_path(TUNNEL, moved);
    assert_eq!(gateway.leave(&[v4(60)])[0].meta.path, moved);
}

#[test]
fn a_longer_packet_with_df_is_answered_with_what_would_fit() {
    let mut alice = Gateway::alice(Suite::AesGcm128);
    assert_eq!(alice.leave(&[v4(1438), v4(1439), v6(1438), v6(1439)]).len(), 2);
    let answers = alice.answers();
    assert_eq!(answers[0].octets()[20..22], [3, 4]);
    assert_eq!(answers[0].octets()[26..28], 1438_u16.to_be_bytes());
    assert_eq!(answers[1].octets()[40..42], [2, 0]);
    assert_eq!(answers[1].octets()[44..48], 1438_u32.to_be_bytes());
    assert_eq!(alice.discarded(), [(Discard::TooBig, 2)]);
}

#[test]
fn a_longer_packet_without_df_leaves_in_fragments_that_fit() {
    let (mut alice, mut bob) = (Gateway::alice(SUITES[5]), Gateway::bob(SUITES[5]));
    let mut long = v4(1500);
    long[6] = 0;
    checksum_v4(&mut long);
    let wire = alice.leave(&[long.clone()]);
    assert_eq!(wire.len(), 2);
    assert!(wire.iter().all(|packet| packet.len() + 28 <= 1500));
    let pieces = octets(&bob.arrive(wire));
    assert_eq!([&pieces[0][20..], &pieces[1][20..]].concat(), long[20..]);
}

#[test]
fn a_learnt_path_mtu_lowers_what_fits_but_not_below_reason() {
    let mut alice = Gateway::alice(Suite::AesGcm128);
    alice.tables.lower_path_mtu(TUNNEL, 1400);
    alice.tables.lower_path_mtu(TUNNEL, 1450);
    assert_eq!(alice.leave(&[v4(1338), v4(1339)]).len(), 1);
    alice.tables.lower_path_mtu(TUNNEL, 0);
    assert_eq!(alice.tables.tunnel(TUNNEL).unwrap().path_mtu(), 576);
    // RFC 2473 7.1: 1280 octets of IPv6 pass whatever the path; the outer packet may be cut.
    let wire = alice.leave(&[v6(1280), v6(1281)]);
    assert_eq!(wire.len(), 1);
    assert!(!wire[0].meta.dont_fragment);
    alice.tables.set_path(TUNNEL, path());
    assert_eq!(alice.leave(&[v4(1438)]).len(), 1);
}

#[test]
fn the_mss_of_a_syn_is_clamped_both_ways() {
    let syn = |source: [u8; 4], destination: [u8; 4]| {
        let mut packet = v4(44);
        packet[9] = 6;
        packet[12..16].copy_from_slice(&source);
        packet[16..20].copy_from_slice(&destination);
        packet[32..34].copy_from_slice(&[0x60, 2]);
        packet[40..44].copy_from_slice(&[2, 4, 5, 0xb4]);
        checksum_v4(&mut packet);
        packet
    };
    let mut gateway = Gateway::alice(Suite::AesGcm128);
    let mut other = Gateway::bob(Suite::AesGcm128);
    let outgoing = gateway.leave(&[syn([10, 1, 0, 5], [10, 2, 0, 9])]);
    assert_eq!(other.arrive(outgoing)[0].octets()[42..44], 1398_u16.to_be_bytes());

    // A peer that does not clamp sends the other half of the handshake.
    let mut spec = inbound_spec(Suite::AesGcm128, true);
    (spec.local, spec.remote) = (alice(), bob());
    gateway
        .tables
        .install_inbound(Arc::new(InboundSa::new(&spec).unwrap()));
    let peer = OutboundSa::new(&outbound_spec(Suite::AesGcm128, true)).unwrap();
    let arrived = gateway.arrive(vec![seal(&peer, &syn([10, 2, 0, 9], [10, 1, 0, 5]))]);
    assert_eq!(arrived[0].octets()[42..44], 1398_u16.to_be_bytes());
}

#[test]
fn ecn_and_dscp_cross_the_tunnel() {
    let (mut alice, mut bob) = (Gateway::alice(Suite::AesGcm128), Gateway::bob(Suite::AesGcm128));
    let mut capable = v4(60);
    capable[1] = 0xb8 | 0b10;
    checksum_v4(&mut capable);
    let mut wire = alice.leave(&[capable, v4(60), v4(60)]);
    assert_eq!((wire[0].meta.tos, wire[1].meta.tos), (0xba, 0));
    // The network marks two of them, and changes the DSCP, which is its own business.
    wire[0].meta.tos = 0b11;
    wire[1].meta.tos = 0b11;
    let arrived = bob.arrive(wire);
    let tos: Vec<u8> = arrived
        .iter()
        .map(|packet| Header::parse(packet.octets()).unwrap().tos)
        .collect();
    assert_eq!(tos, [0xbb, 0]);
    assert_eq!(bob.discarded(), [(Discard::EcnDrop, 1)]);
}

#[test]
fn garbage_and_replays_change_nothing_but_a_counter() {
    let (mut alice, mut bob) = (Gateway::alice(Suite::AesGcm128), Gateway::bob(Suite::AesGcm128));
    let wire = alice.leave(&[v4(60)]);
    let mut bad = packet(wire[0].octets());
    bad.octets_mut()[20] ^= 1;
    let rubbish = [&[0xff][..], &[1, 2, 3], &[], &[0, 0, 0, 9, 0, 0, 0, 1]].map(packet);
    let copies = [packet(wire[0].octets()), packet(wire[0].octets())];
    let arrived = bob.arrive(rubbish.into_iter().chain([bad]).chain(copies).collect());
    assert_eq!(octets(&arrived), [v4(60)]);
    let counted = [
        (Discard::TruncatedOuter, 2),
        (Discard::NatKeepalive, 1),
        (Discard::ReservedSpi, 1),
        (Discard::Replayed, 1),
        (Discard::BadIcv, 1),
    ];
    assert_eq!(bob.discarded(), counted);
    assert_eq!(bob.punts.pop(), None);
}

#[test]
fn ike_is_handed_up_and_unknown_spis_are_hinted_at_sparingly() {
    let mut gateway = Gateway::new();
    let mut raw = packet(&[0x77; 40]);
    raw.meta.path.encapsulation = Encapsulation::None;
    let mut wire = vec![packet(&[0, 0, 0, 0, 1, 2, 3]), raw];
    wire.extend((0..500).map(|_| packet(&[0x77; 40])));
    assert!(gateway.arrive(wire).is_empty());
    let expected = Punted::Ike {
        local: path().local,
        remote: path().remote,
        bytes: vec![1, 2, 3],
    };
    assert_eq!(gateway.punts.pop(), Some(expected));
    let remote = "198.51.100.1:0".parse().unwrap();
    assert_eq!(
        gateway.punts.pop(),
        Some(Punted::UnknownSpi {
            spi: Spi(0x7777_7777),
            remote
        })
    );
    let hints = std::iter::from_fn(|| gateway.punts.pop()).count();
    assert!(hints < 100, "{hints}");
    assert_eq!(gateway.discarded(), [(Discard::UnknownSpi, 501)]);
}

#[test]
fn a_removed_sa_no_longer_receives() {
    let (mut alice, mut bob) = (Gateway::alice(Suite::AesGcm128), Gateway::bob(Suite::AesGcm128));
    let wire = alice.leave(&[v4(60)]);
    bob.tables.remove_inbound(fixture::SPI);
    assert!(bob.arrive(wire).is_empty());
    assert_eq!(bob.discarded(), [(Discard::UnknownSpi, 1)]);
}

#[test]
fn an_exhausted_sa_sends_nothing_more() {
    let mut gateway = Gateway::new();
    let spec = outbound_spec(Suite::AesGcm128, false);
    let sa = OutboundSa::after(&spec, u64::from(u32::MAX) - 2).unwrap();
    assert!(gateway.tables.install_outbound(Arc::new(sa), spec.path));
    assert_eq!(gateway.leave(&vec![v4(60); 5]).len(), 2);
    assert_eq!(gateway.discarded(), [(Discard::SequenceExhausted, 3)]);
}

#[test]
fn malformed_inner_packets_do_not_leave() {
    let mut alice = Gateway::alice(Suite::AesGcm128);
    let mut long = v4(60);
    long[3] = 61;
    assert!(
        alice
            .leave(&[vec![], vec![0x45], vec![0x75; 60], long])
            .is_empty()
    );
    assert_eq!(alice.discarded(), [(Discard::MalformedInner, 4)]);
}
