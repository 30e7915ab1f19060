//! SAs with AGGFRAG payloads (RFC 9347) in whole queues on memory ports.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

mod fixture;

use std::sync::Arc;
use std::time::{Duration, Instant};

use fixture::{TUNNEL, inbound_spec, outbound_spec, packet, path, seal, tunnel_spec, v4, v6};
use xvpn_dataplane::buffer::{Backlog, Packet};
use xvpn_dataplane::esp::reassembly::PATIENCE;
use xvpn_dataplane::io::MemoryPort;
use xvpn_dataplane::queue::Queue;
use xvpn_dataplane::queue::punt;
use xvpn_dataplane::sa::{InboundSa, OutboundSa};
use xvpn_dataplane::stats::QueueStats;
use xvpn_dataplane::tables::Tables;
use xvpn_dataplane::{Aggregation, Discard, OutboundSpec, Pace, Spi, Suite};

const SUITE: Suite = Suite::AesGcm128;
/// ESP around a payload, without padding: SPI, number, IV, trailer, ICV.
const ESP: usize = 8 + 8 + 2 + 16;

struct Gateway {
    queue: Queue<MemoryPort, MemoryPort>,
    tables: Tables,
    stats: Arc<QueueStats>,
}

impl Gateway {
    fn new() -> Self {
        let stats = Arc::new(QueueStats::new());
        let (sender, _) = punt::ring().unwrap();
        let (tun, wire) = (MemoryPort::default(), MemoryPort::default());
        let mut tables = Tables::default();
        tables.open_tunnel(tunnel_spec());
        Self {
            queue: Queue::new(tun, wire, Arc::clone(&stats), sender),
            tables,
            stats,
        }
    }

    /// Alice: sends to Bob.
    fn alice(aggregation: Aggregation) -> Self {
        let mut gateway = Self::new();
        gateway.send_with(&spec(aggregation));
        gateway
    }

    /// Bob: receives from Alice.
    fn bob() -> Self {
        let mut gateway = Self::new();
        let mut spec = inbound_spec(SUITE, true);
        spec.aggfrag = true;
        let sa = Arc::new(InboundSa::new(&spec).unwrap());
        gateway.tables.install_inbound(sa);
        gateway
    }

    fn send_with(&mut self, spec: &OutboundSpec) {
        let sa = Arc::new(OutboundSa::new(spec).unwrap());
        assert!(self.tables.install_outbound(sa, spec.path));
    }

    fn leave(&mut self, packets: &[Vec<u8>]) -> Vec<Packet> {
        let packets = packets.iter().map(|octets| packet(octets));
        self.queue.tun.arriving.extend(packets);
        self.run();
        std::mem::take(&mut self.queue.wire.sent)
    }

    fn arrive(&mut self, packets: Vec<Packet>) -> Vec<Vec<u8>> {
        self.queue.wire.arriving.extend(packets);
        self.run();
        self.delivered()
    }

    fn delivered(&mut self) -> Vec<Vec<u8>> {
        let sent = std::mem::take(&mut self.queue.tun.sent);
        sent.iter().map(|packet| packet.octets().to_vec()).collect()
    }

    fn run(&mut self) {
        while self.queue.turn(|| &self.tables).unwrap() > 0 {}
    }

    /// What leaves at this time.
    fn at(&mut self, now: Instant) -> Vec<Packet> {
        // A batch at a time.
        while self.queue.deadline().is_some_and(|deadline| deadline <= now) {
            self.queue.on_time(now, || &self.tables);
        }
        std::mem::take(&mut self.queue.wire.sent)
    }

    fn discarded(&self) -> Vec<(Discard, u64)> {
        let count = |reason: &Discard| (*reason, self.stats.discarded(*reason));
        let all = Discard::ALL.iter().map(count);
        all.filter(|(_, count)| *count > 0).collect()
    }
}

fn spec(aggregation: Aggregation) -> OutboundSpec {
    OutboundSpec {
        aggregation: Some(aggregation),
        ..outbound_spec(SUITE, true)
    }
}

const AT_HAND: Aggregation = Aggregation {
    fragments: true,
    size: None,
    pace: Pace::AtHand {
        delay: Duration::ZERO,
    },
};

fn constant(per_second: u32, size: u16) -> Aggregation {
    Aggregation {
        size: Some(size),
        pace: Pace::Constant { per_second },
        ..AT_HAND
    }
}

#[test]
fn small_packets_travel_together_and_arrive_as_they_were() {
    let (mut alice, mut bob) = (Gateway::alice(AT_HAND), Gateway::bob());
    let sent: Vec<_> = (0..300)
        .map(|n| if n % 3 == 0 { v6(80) } else { v4(60 + n) })
        .collect();
    let wire = alice.leave(&sent);
    assert!(wire.len() < 60, "{} payloads", wire.len());
    assert!(wire.iter().all(|payload| payload.len() + 28 <= 1500));
    assert!(wire.iter().all(|payload| payload.meta.tos == 0));
    assert_eq!(bob.arrive(wire), sent);
    assert_eq!(alice.discarded(), []);
    assert_eq!(bob.discarded(), []);
}

#[test]
fn a_packet_alone_leaves_at_once_and_is_no_longer_than_it_must() {
    let mut alice = Gateway::alice(AT_HAND);
    let wire = alice.leave(&[v4(64)]);
    assert_eq!(wire.len(), 1);
    assert_eq!(wire[0].len(), (64 + 4 + 2_usize).next_multiple_of(4) - 2 + ESP);
    assert_eq!(alice.queue.deadline(), None);
}

#[test]
fn what_is_longer_than_a_payload_is_cut_and_put_together() {
    let small = Aggregation {
        size: Some(600),
        ..AT_HAND
    };
    let (mut alice, mut bob) = (Gateway::alice(small), Gateway::bob());
    let sent = [v4(1400), v6(1300), v4(5000), v4(64)];
    let wire = alice.leave(&sent);
    assert!(wire.iter().all(|payload| payload.len() + 28 <= 600));
    assert_eq!(bob.arrive(wire), sent);
}

#[test]
fn a_peer_that_puts_nothing_together_gets_whole_packets_and_the_sender_hears_of_the_mtu() {
    let whole = Aggregation {
        fragments: false,
        ..AT_HAND
    };
    let (mut alice, mut bob) = (Gateway::alice(whole), Gateway::bob());
    let sent = [v4(800), v4(800), v4(1434)];
    let wire = alice.leave(&sent);
    assert_eq!(wire.len(), 3);
    assert_eq!(bob.arrive(wire), sent);
    assert!(alice.leave(&[v4(1435)]).is_empty());
    assert_eq!(alice.discarded(), [(Discard::TooBig, 1)]);
    assert_eq!(alice.delivered()[0][20..22], [3, 4], "ICMP: fragmentation needed");
}

#[test]
fn each_inner_packet_is_judged_as_if_it_had_come_alone() {
    let (mut alice, mut bob) = (Gateway::new(), Gateway::bob());
    // An SA that lets everything out, towards one that does not let everything in.
    let mut wide = spec(AT_HAND);
    wide.local = vec![fixture::any("0.0.0.0", "255.255.255.255")];
    wide.remote = wide.local.clone();
    alice.send_with(&wide);
    let mut foreign = v4(64);
    foreign[12] = 192;
    fixture::checksum_v4(&mut foreign);
    let mut wire = alice.leave(&[v4(64), foreign, v4(70)]);
    assert_eq!(wire.len(), 1);
    // CE outside, and none of them can take the mark.
    assert_eq!(bob.arrive(vec![]), Vec::<Vec<u8>>::new());
    let again = alice.leave(&[v4(64)]);
    assert_eq!(bob.arrive(std::mem::take(&mut wire)), [v4(64), v4(70)]);
    let marked = again.into_iter().map(|mut payload| {
        payload.meta.tos = 3;
        payload
    });
    assert!(bob.arrive(marked.collect()).is_empty());
    assert_eq!(
        bob.discarded(),
        [(Discard::InboundSelector, 1), (Discard::EcnDrop, 1)]
    );
}

#[test]
fn an_sa_carries_either_payloads_or_packets() {
    let (mut alice, mut bob) = (Gateway::alice(AT_HAND), Gateway::bob());
    let plain = OutboundSa::new(&outbound_spec(SUITE, true)).unwrap();
    assert!(bob.arrive(vec![seal(&plain, &v4(64))]).is_empty());
    let mut carol = Gateway::new();
    let sa = Arc::new(InboundSa::new(&inbound_spec(SUITE, true)).unwrap());
    carol.tables.install_inbound(sa);
    assert!(carol.arrive(alice.leave(&[v4(64)])).is_empty());
    for gateway in [&bob, &carol] {
        assert_eq!(gateway.discarded(), [(Discard::NextHeader, 1)]);
    }
}

#[test]
fn a_replayed_payload_changes_nothing() {
    let (mut alice, mut bob) = (Gateway::alice(AT_HAND), Gateway::bob());
    let first = alice.leave(&[v4(64)]);
    let copy = vec![packet(first[0].octets())];
    assert_eq!(bob.arrive(first), [v4(64)]);
    assert!(bob.arrive(copy).is_empty());
    assert_eq!(bob.arrive(alice.leave(&[v4(65)])), [v4(65)]);
    assert_eq!(bob.discarded(), [(Discard::Replayed, 1)]);
}

#[test]
fn what_is_missing_is_waited_for_by_the_clock_of_the_queue() {
    let (mut alice, mut bob) = (Gateway::alice(AT_HAND), Gateway::bob());
    let _lost = alice.leave(&[v4(64)]);
    assert!(bob.arrive(alice.leave(&[v4(65)])).is_empty());
    let deadline = bob.queue.deadline().unwrap();
    bob.at(deadline - PATIENCE / 2);
    assert!(bob.delivered().is_empty());
    bob.at(deadline);
    assert_eq!(bob.delivered(), [v4(65)]);
    assert_eq!(bob.queue.deadline(), None);
}

#[test]
fn what_comes_out_of_one_batch_is_written_in_pieces_and_after_a_gap_it_is_bounded() {
    let (alice, mut bob) = (OutboundSa::new(&spec(AT_HAND)).unwrap(), Gateway::bob());
    // As small as a packet can be: in 1400 octets there are 69.
    let mut tiny = v4(20);
    tiny.truncate(20);
    let content: Vec<u8> = [vec![0; 4], tiny.repeat(69)].concat();
    let payload = |number| {
        let mut payload = packet(&content);
        alice.seal_payload(number, &mut payload).unwrap();
        payload
    };
    assert_eq!(bob.arrive((1..=20).map(payload).collect()).len(), 20 * 69);
    assert!(bob.queue.tun.longest < 64 * 4 + 69);
    // The first is missing: 63 are held.
    assert!(bob.arrive((22..=84).map(payload).collect()).is_empty());
    assert_eq!(bob.arrive(vec![payload(21)]).len(), 4096);
    assert_eq!(bob.discarded(), [(Discard::AggfragMany, 64 * 69 - 4096)]);
}

#[test]
fn packets_wait_for_company_only_where_that_is_wanted_and_no_longer() {
    let patient = Aggregation {
        pace: Pace::AtHand {
            delay: Duration::from_secs(1),
        },
        ..AT_HAND
    };
    let (mut alice, mut bob) = (Gateway::alice(patient), Gateway::bob());
    assert!(alice.leave(&[v4(100)]).is_empty());
    assert!(alice.leave(&[v4(101)]).is_empty());
    let deadline = alice.queue.deadline().unwrap();
    assert!(alice.at(deadline - Duration::from_millis(1)).is_empty());
    let wire = alice.at(deadline);
    assert_eq!(wire.len(), 1);
    assert_eq!(bob.arrive(wire), [v4(100), v4(101)]);
    // A payload's worth does not wait.
    let sent: Vec<_> = (0..20).map(|_| v4(100)).collect();
    let wire = alice.leave(&sent);
    assert_eq!(wire.len(), 2);
    assert_eq!(bob.arrive(wire), sent);
    assert_eq!(alice.queue.deadline(), None);
}

#[test]
fn at_a_constant_rate_payloads_of_one_length_leave_whatever_there_is() {
    let (mut alice, mut bob) = (Gateway::alice(constant(100, 1000)), Gateway::bob());
    let begun = Instant::now();
    alice.queue.pace(TUNNEL, 0, 100, begun);
    let (mut lengths, mut sent, mut arrived) = (Vec::new(), Vec::new(), Vec::new());
    for tick in 1..=100_u32 {
        // Idle, then a few, then more than goes through.
        let packets: Vec<_> = match tick {
            ..=30 => Vec::new(),
            31..=60 => vec![v4(60 + tick as usize)],
            _ => vec![v4(1400), v4(60 + tick as usize)],
        };
        assert!(alice.leave(&packets).is_empty(), "only the clock sends");
        sent.extend(packets);
        let wire = alice.at(begun + Duration::from_millis(10) * tick);
        assert_eq!(wire.len(), 1, "tick {tick}");
        lengths.extend(wire.iter().map(Packet::len));
        arrived.extend(bob.arrive(wire));
    }
    assert!(
        lengths
            .iter()
            .all(|len| *len == lengths[0] && len + 28 <= 1000 && len + 32 > 1000)
    );
    assert!(arrived.len() > 60 && arrived.len() < sent.len());
    assert_eq!(arrived, sent[..arrived.len()]);
    assert_eq!(bob.discarded(), []);
}

#[test]
fn a_full_backlog_drops_and_counts() {
    let mut alice = Gateway::alice(constant(100, 1000));
    let sent: Vec<_> = (0..Backlog::LIMIT + 3).map(|_| v4(64)).collect();
    assert!(alice.leave(&sent).is_empty());
    assert_eq!(alice.discarded(), [(Discard::BacklogFull, 3)]);
}

#[test]
fn what_waits_at_a_low_rate_waits_half_a_second_at_most() {
    // 50 payloads of at most 1000 octets leave in this time.
    let (mut alice, mut bob) = (Gateway::alice(constant(100, 1000)), Gateway::bob());
    let begun = Instant::now();
    alice.queue.pace(TUNNEL, 0, 100, begun);
    let sent: Vec<_> = (0..100).map(|_| v4(1000)).collect();
    alice.leave(&sent);
    let mut arrived = 0;
    for tick in 1..=51 {
        let wire = alice.at(begun + Duration::from_millis(10) * tick);
        arrived += bob.arrive(wire).len();
    }
    assert!((45..=50).contains(&arrived), "{arrived}");
    let dropped = 100 - u64::try_from(arrived).unwrap();
    assert_eq!(
        alice.discarded(),
        [(Discard::BacklogFull, dropped)],
        "nothing waits any more"
    );
}

#[test]
fn what_fits_no_payload_and_may_not_be_cut_does_not_stop_those_behind_it() {
    let whole = Aggregation {
        fragments: false,
        ..constant(100, 1000)
    };
    let (mut alice, mut bob) = (Gateway::alice(whole), Gateway::bob());
    let begun = Instant::now();
    alice.queue.pace(TUNNEL, 0, 100, begun);
    // The first waits when the path is found to take less. The second passes as an IPv6 packet that must (RFC 2473 7.1).
    alice.leave(&[v4(800), v6(1280), v4(300)]);
    alice.tables.lower_path_mtu(TUNNEL, 700);
    let mut arrived = Vec::new();
    for tick in 1..=4 {
        let wire = alice.at(begun + Duration::from_millis(10) * tick);
        assert!(wire.iter().all(|payload| payload.len() + 28 <= 700));
        arrived.extend(bob.arrive(wire));
    }
    assert_eq!(arrived, [v4(300)]);
    assert_eq!(alice.discarded(), [(Discard::TooBig, 2)]);
}

#[test]
fn a_rate_beyond_what_the_cpu_can_do_leaves_the_ports_their_turns() {
    let mut alice = Gateway::alice(constant(100_000, 600));
    let begun = Instant::now();
    alice.queue.pace(TUNNEL, 0, 100_000, begun);
    let late = begun + Duration::from_millis(100);
    alice.queue.on_time(late, || &alice.tables);
    assert_eq!(alice.queue.wire.sent.len(), 64);
    assert!(alice.queue.deadline().unwrap() <= late, "there is more to do");
    assert_eq!(alice.at(late).len(), 10_000);
    assert!(alice.queue.deadline().unwrap() > late);
}

#[test]
fn new_keys_change_nothing_about_the_rate_and_lose_nothing() {
    let (mut alice, mut bob) = (Gateway::alice(constant(1000, 600)), Gateway::bob());
    let mut next = inbound_spec(SUITE, true);
    (next.spi, next.aggfrag) = (Spi(0x7777), true);
    bob.tables
        .install_inbound(Arc::new(InboundSa::new(&next).unwrap()));
    let begun = Instant::now();
    alice.queue.pace(TUNNEL, 0, 1000, begun);
    let sent: Vec<_> = (0..20).map(|n| v4(700 + n)).collect();
    alice.leave(&sent);
    let mut arrived = Vec::new();
    for tick in 1..=40 {
        if tick == 10 {
            // In the middle of a packet.
            alice.send_with(&OutboundSpec {
                spi: Spi(0x7777),
                ..spec(constant(1000, 600))
            });
            alice.queue.pace(TUNNEL, 0, 1000, begun);
        }
        if tick == 12 {
            alice.tables.remove_outbound(TUNNEL, fixture::SPI);
        }
        let wire = alice.at(begun + Duration::from_millis(tick));
        assert_eq!(wire.len(), 1);
        arrived.extend(bob.arrive(wire));
    }
    assert_eq!(arrived, sent);
    alice.tables.remove_outbound(TUNNEL, Spi(0x7777));
    alice.at(begun + Duration::from_millis(41));
    assert_eq!(
        alice.queue.deadline(),
        None,
        "nothing to send on, nothing to wait for"
    );
}

#[test]
fn above_a_thousand_in_a_second_several_leave_together_and_no_burst_makes_up_for_a_long_pause() {
    let mut alice = Gateway::alice(constant(5000, 600));
    let begun = Instant::now();
    alice.queue.pace(TUNNEL, 0, 5000, begun);
    assert_eq!(alice.queue.deadline(), Some(begun + Duration::from_millis(1)));
    assert_eq!(alice.at(begun + Duration::from_millis(1)).len(), 5);
    assert!(alice.at(begun + Duration::from_micros(1900)).is_empty());
    assert_eq!(alice.at(begun + Duration::from_millis(3)).len(), 10);
    assert_eq!(alice.at(begun + Duration::from_secs(100)).len(), 1250);
    assert_eq!(
        alice.queue.deadline(),
        Some(begun + Duration::from_secs(100) + Duration::from_millis(1))
    );
}

#[test]
fn a_path_that_takes_less_makes_shorter_payloads() {
    let (mut alice, mut bob) = (Gateway::alice(AT_HAND), Gateway::bob());
    alice.tables.lower_path_mtu(TUNNEL, 1000);
    let sent = [v4(1400), v6(1280)];
    let wire = alice.leave(&sent);
    assert!(
        wire.iter()
            .all(|payload| payload.len() + 28 <= 1000 && payload.meta.dont_fragment)
    );
    assert_eq!(wire[0].meta.path, path());
    assert_eq!(bob.arrive(wire), sent);
}
