//! AGGFRAG payloads (RFC 9347): by hand, octet by octet; then whatever packets in whatever order.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

mod fixture;

use std::time::{Duration, Instant};

use fixture::{packet, v4, v6};
use proptest::prelude::*;
use xvpn_dataplane::Discard;
use xvpn_dataplane::buffer::{Packet, Pool};
use xvpn_dataplane::esp::aggfrag::HEADER;
use xvpn_dataplane::esp::reassembly::{PATIENCE, Reassembly, Sink, WINDOW};
use xvpn_dataplane::pipeline::aggregate::{Filling, pack};

#[derive(Default)]
struct Out {
    packets: Vec<Vec<u8>>,
    marks: Vec<u8>,
    lost: Vec<Discard>,
}

impl Sink for Out {
    fn packet(&mut self, packet: Packet, pool: &mut Pool) {
        self.packets.push(packet.octets().to_vec());
        self.marks.push(packet.meta.tos);
        pool.give(packet);
    }

    fn lost(&mut self, reason: Discard) {
        self.lost.push(reason);
    }
}

/// One end: what comes out of payloads with these numbers.
struct End {
    now: Instant,
    reassembly: Reassembly,
    pool: Pool,
    out: Out,
}

impl End {
    fn new() -> Self {
        Self {
            now: Instant::now(),
            reassembly: Reassembly::new(),
            pool: Pool::default(),
            out: Out::default(),
        }
    }

    fn push(&mut self, sequence: u64, payload: &[u8]) {
        self.push_packet(sequence, packet(payload));
    }

    fn push_packet(&mut self, sequence: u64, payload: Packet) {
        self.reassembly
            .push(self.now, sequence, payload, &mut self.pool, &mut self.out);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        self.reassembly.expire(self.now, &mut self.pool, &mut self.out);
    }
}

/// What comes out of these payloads, one after the other.
fn unpack(payloads: &[Vec<u8>]) -> Out {
    let mut end = End::new();
    for (payload, sequence) in payloads.iter().zip(1..) {
        end.push(sequence, payload);
    }
    end.out
}

fn header(offset: u16) -> Vec<u8> {
    let [high, low] = offset.to_be_bytes();
    vec![0, 0, high, low]
}

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn several_packets_come_out_of_one_payload_and_padding_does_not() {
    let (one, two, three) = (v4(64), v6(80), v4(100));
    let out = unpack(&[join(&[&header(0), &one, &two, &three, &[0; 9]])]);
    assert_eq!(out.packets, [one, two, three]);
    assert_eq!(out.lost, []);
}

#[test]
fn a_packet_is_put_together_from_two_payloads() {
    let (one, cut, two) = (v4(64), v4(200), v4(70));
    let (head, tail) = cut.split_at(90);
    let first = join(&[&header(0), &one, head]);
    let second = join(&[&header(110), tail, &two]);
    let out = unpack(&[first, second]);
    assert_eq!(out.packets, [one, cut, two]);
    assert_eq!(out.lost, []);
}

#[test]
fn a_block_offset_beyond_the_payload_means_that_the_packet_goes_on_in_the_next() {
    let (cut, last) = (v4(300), v6(60));
    let payloads = [
        join(&[&header(0), &cut[..100]]),
        join(&[&header(200), &cut[100..200]]),
        join(&[&header(100), &cut[200..], &last]),
    ];
    let out = unpack(&payloads);
    assert_eq!(out.packets, [cut, last]);
    assert_eq!(out.lost, []);
}

#[test]
fn a_packet_cut_within_its_header_is_put_together() {
    for (whole, at) in [(v4(64), 1), (v4(64), 3), (v6(90), 1), (v6(90), 5), (v6(90), 39)] {
        let rest = u16::try_from(whole.len() - at).unwrap();
        let out = unpack(&[
            join(&[&header(0), &whole[..at]]),
            join(&[&header(rest), &whole[at..]]),
        ]);
        assert_eq!(out.packets, [whole], "{at}");
        assert_eq!(out.lost, []);
    }
}

#[test]
fn payloads_of_nothing_but_padding_carry_nothing_and_may_stand_between_pieces() {
    let cut = v4(200);
    let out = unpack(&[
        join(&[&header(0), &[0; 100]]),
        join(&[&header(0), &cut[..120]]),
        join(&[&header(0), &[0; 100]]),
        header(0),
        join(&[&header(80), &cut[120..], &[0; 20]]),
    ]);
    assert_eq!(out.packets, [cut]);
    assert_eq!(out.lost, []);
}

#[test]
fn the_header_with_congestion_control_is_read_over() {
    let one = v4(64);
    let mut long = vec![0xa5; 24];
    long[..4].copy_from_slice(&[1, 3, 0, 0]);
    let out = unpack(&[
        join(&[&long, &one]),
        long[..20].to_vec(),
        join(&[&header(0), &one]),
    ]);
    assert_eq!(out.packets, [one.clone(), one]);
    assert_eq!(out.lost, [Discard::AggfragHeader]);
}

#[test]
fn rubbish_is_counted_and_the_next_payload_is_read() {
    let one = v4(64);
    let mut short = v4(64);
    short[2..4].copy_from_slice(&[0, 19]);
    let cases: [(Vec<u8>, Discard); 5] = [
        (vec![], Discard::AggfragHeader),
        (vec![0, 0, 0], Discard::AggfragHeader),
        (join(&[&[9, 0, 0, 0], &one]), Discard::AggfragHeader),
        (join(&[&header(0), &[0x70; 30]]), Discard::AggfragBlock),
        (join(&[&header(0), &short]), Discard::AggfragBlock),
    ];
    for (rubbish, reason) in cases {
        let out = unpack(&[rubbish, join(&[&header(0), &one])]);
        assert_eq!(out.packets, std::slice::from_ref(&one));
        assert_eq!(out.lost, [reason]);
    }
}

#[test]
fn what_does_not_go_on_as_it_began_is_no_packet() {
    let (cut, whole) = (v4(200), v4(64));
    // Too short a rest, too long a one, and a new packet instead.
    for offset in [70, 90, 0] {
        let rest = vec![0x11; usize::from(offset)];
        let out = unpack(&[
            join(&[&header(0), &cut[..120]]),
            join(&[&header(offset), &rest, &whole]),
        ]);
        assert_eq!(out.packets, std::slice::from_ref(&whole), "{offset}");
        assert_eq!(out.lost, [Discard::AggfragOffset], "{offset}");
    }
    // A length that is only known with the second piece, and is not what the block offset says.
    let out = unpack(&[
        join(&[&header(0), &cut[..2]]),
        join(&[&header(90), &cut[2..92], &whole]),
    ]);
    assert_eq!(out.packets, [whole]);
    assert_eq!(out.lost, [Discard::AggfragOffset]);
}

#[test]
fn a_packet_longer_than_any_buffer_is_passed_over() {
    let mut long = v4(64);
    long[2..4].copy_from_slice(&[0xff, 0xff]);
    let whole = v4(70);
    let mut payloads = vec![join(&[&header(0), &long])];
    let mut left = 65535 - 64_u16;
    while left > 1400 {
        payloads.push(join(&[&header(left), &[0x45; 1400]]));
        left -= 1400;
    }
    payloads.push(join(&[&header(left), &vec![0x45; usize::from(left)], &whole]));
    let out = unpack(&payloads);
    assert_eq!(out.packets, [whole]);
    assert_eq!(out.lost, [Discard::ReceivedTooLong, Discard::AggfragIncomplete]);
}

#[test]
fn a_mark_of_congestion_on_either_piece_is_one_of_the_packet() {
    let cut = v4(200);
    let payloads = [
        join(&[&header(0), &cut[..120]]),
        join(&[&header(80), &cut[120..], &cut]),
    ];
    for (tos, expected) in [([2, 2], 2), ([3, 2], 3), ([2, 3], 3)] {
        let mut end = End::new();
        for ((payload, tos), sequence) in payloads.iter().zip(tos).zip(1..) {
            let mut payload = packet(payload);
            payload.meta.tos = tos;
            end.push_packet(sequence, payload);
        }
        assert_eq!(end.out.marks, [expected, tos[1]]);
    }
}

#[test]
fn payloads_that_come_early_wait_for_those_before_them() {
    let all: Vec<_> = (0..4).map(|n| v4(64 + n)).collect();
    let payload = |n: usize| join(&[&header(0), &all[n]]);
    let mut end = End::new();
    end.push(3, &payload(2));
    end.push(2, &payload(1));
    assert_eq!(end.out.packets.len(), 0);
    end.push(1, &payload(0));
    assert_eq!(end.out.packets, all[..3]);
    end.push(4, &payload(3));
    assert_eq!(end.out.packets, all);
    assert_eq!(end.out.lost, []);
}

#[test]
fn a_payload_that_does_not_come_is_waited_for_no_longer_than_told() {
    let (cut, after) = (v4(200), v4(64));
    let mut end = End::new();
    end.push(1, &join(&[&header(0), &cut[..120]]));
    assert_eq!(end.reassembly.deadline(), None, "nothing is held");
    end.push(3, &join(&[&header(0), &after]));
    assert_eq!(end.reassembly.deadline(), Some(end.now + PATIENCE));
    end.wait(PATIENCE / 2);
    assert_eq!(end.out.packets.len(), 0);
    end.wait(PATIENCE / 2);
    assert_eq!(end.out.packets, [after]);
    assert_eq!(end.out.lost, [Discard::AggfragIncomplete]);
    assert_eq!(end.reassembly.deadline(), None);
    end.push(2, &join(&[&header(80), &cut[120..]]));
    assert_eq!(end.out.lost, [Discard::AggfragIncomplete, Discard::AggfragLate]);
}

#[test]
fn waits_for_several_losses_do_not_add_up() {
    let all: Vec<_> = (0..10).map(|n| v4(64 + n)).collect();
    let mut end = End::new();
    // Every other one is lost.
    for (sequence, packet) in (2..).step_by(2).zip(&all) {
        end.push(sequence, &join(&[&header(0), packet]));
    }
    end.wait(PATIENCE - Duration::from_millis(1));
    // One more, behind another gap: it has come just now.
    let late = v4(99);
    end.push(30, &join(&[&header(0), &late]));
    assert_eq!(end.out.packets.len(), 0);
    end.wait(Duration::from_millis(1));
    assert_eq!(end.out.packets, all);
    assert_eq!(
        end.reassembly.deadline(),
        Some(end.now + PATIENCE - Duration::from_millis(1))
    );
    end.wait(PATIENCE - Duration::from_millis(1));
    assert_eq!(end.out.packets.last(), Some(&late));
    assert_eq!(end.reassembly.deadline(), None);
}

#[test]
fn no_more_is_held_than_the_window() {
    let one = v4(64);
    let payload = join(&[&header(0), &one]);
    let mut end = End::new();
    for sequence in 2..=WINDOW {
        end.push(sequence, &payload);
    }
    assert_eq!(end.out.packets.len(), 0);
    end.push(WINDOW + 1, &payload);
    assert_eq!(end.out.packets.len() as u64, WINDOW);
    // However far the next one is.
    end.push(u64::MAX - 1, &payload);
    end.wait(PATIENCE);
    assert_eq!(end.out.packets.len() as u64, WINDOW + 1);
    end.push(u64::MAX, &payload);
    assert_eq!(end.out.packets.len() as u64, WINDOW + 2);
}

#[test]
fn a_batch_of_small_packets_fills_payloads_to_the_end() {
    let sent: Vec<_> = (0..64).map(|_| v4(92)).collect();
    let payloads = packed(&sent, 1438, true);
    // 64 packets of 92 octets are 5888: four payloads of 1434 are full, and the rest is in the fifth.
    assert_eq!(payloads.len(), 5);
    assert!(payloads[..4].iter().all(|payload| payload.len() == 1438));
    assert_eq!(payloads[4].len(), 5888 - 4 * 1434 + HEADER);
    assert_eq!(payloads[0][..4], [0, 0, 0, 0]);
    // 15 packets are 1380; 54 octets of the sixteenth fit, and 38 follow.
    assert_eq!(payloads[1][..4], [0, 0, 0, 38]);
    assert_eq!(unpack(&payloads).packets, sent);
}

#[test]
fn a_packet_alone_is_not_padded_and_one_that_fills_a_payload_is_not_cut() {
    let payloads = packed(&[v4(64)], 1438, true);
    assert_eq!(payloads, [join(&[&header(0), &v4(64)])]);
    let sent = [v4(60), v4(1434), v4(1434), v4(60), v4(60)];
    let payloads = packed(&sent, 1438, true);
    let lengths: Vec<_> = payloads.iter().map(Vec::len).collect();
    assert_eq!(lengths, [64, 1438, 1438, 124]);
    assert_eq!(unpack(&payloads).packets, sent);
}

#[test]
fn nothing_is_cut_for_a_peer_that_does_not_put_together() {
    let sent: Vec<_> = [700, 700, 700, 64, 64, 1434, 1500].map(v4).into();
    let payloads = packed(&sent, 1438, false);
    assert!(payloads.iter().all(|payload| payload[..4] == [0; 4]));
    let lengths: Vec<_> = payloads.iter().map(Vec::len).collect();
    assert_eq!(lengths, [1404, 832, 1438, 1504]);
    assert_eq!(unpack(&payloads).packets, sent);
}

fn packed(sent: &[Vec<u8>], room: usize, fragments: bool) -> Vec<Vec<u8>> {
    let (mut pool, mut payloads) = (Pool::default(), Vec::new());
    let packets = sent.iter().map(|octets| packet(octets));
    pack(Filling { room, fragments }, packets, &mut pool, |payload| {
        payloads.push(payload.octets().to_vec());
    });
    payloads
}

fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (28..1600_usize).prop_map(v4),
        (28..120_usize).prop_map(v4),
        (48..1600_usize).prop_map(v6),
        (3000..9000_usize).prop_map(v4),
    ]
}

/// `sent`, without some, in the same order.
fn is_part_of(out: &[Vec<u8>], sent: &[Vec<u8>]) -> bool {
    let mut sent = sent.iter();
    out.iter().all(|packet| sent.any(|other| other == packet))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_was_packed_comes_out_whole_and_in_order(
        batches in prop::collection::vec(prop::collection::vec(any_packet(), 1..20), 1..6),
        room in 60..2000_usize,
        fragments: bool,
    ) {
        let payloads: Vec<_> = batches.iter().flat_map(|batch| packed(batch, room, fragments)).collect();
        if fragments {
            prop_assert!(payloads.iter().all(|payload| payload.len() <= room));
        }
        let out = unpack(&payloads);
        prop_assert_eq!(out.packets, batches.concat());
        prop_assert_eq!(out.lost, []);
    }

    #[test]
    fn with_loss_and_out_of_order_a_part_comes_out_in_order(
        sent in prop::collection::vec(any_packet(), 1..60),
        room in 60..2000_usize,
        lost in prop::collection::hash_set(0..400_usize, 0..20),
        late in prop::collection::vec(0..10_usize, 400),
    ) {
        // Each is told from the others by its length only: make them different.
        let sent: Vec<_> = sent.into_iter().enumerate().map(|(n, mut packet)| {
            let end = packet.len() - 2;
            packet[end..].copy_from_slice(&u16::try_from(n).unwrap().to_be_bytes());
            packet
        }).collect();
        let payloads = packed(&sent, room, true);
        let mut order: Vec<usize> = (0..payloads.len()).collect();
        order.sort_by_key(|n| n + late.get(*n).copied().unwrap_or(0));
        let mut end = End::new();
        for n in order.into_iter().filter(|n| !lost.contains(n)) {
            end.push(u64::try_from(n).unwrap() + 1, &payloads[n]);
        }
        while end.reassembly.deadline().is_some() {
            end.wait(PATIENCE);
        }
        prop_assert!(is_part_of(&end.out.packets, &sent));
        if lost.iter().all(|n| *n >= payloads.len()) {
            prop_assert_eq!(end.out.packets, sent);
        }
    }

    #[test]
    fn any_octets_are_packets_or_nothing(
        payloads in prop::collection::vec((0..40_u64, prop::collection::vec(any::<u8>(), 0..80), 0..3_u8, 0..90_u16), 0..40),
    ) {
        let mut end = End::new();
        for (number, mut octets, sub_type, offset) in payloads {
            if let Some(header) = octets.first_chunk_mut::<4>() {
                *header = [sub_type, 0, 0, u8::try_from(offset).unwrap()];
            }
            end.push(number, &octets);
            end.wait(Duration::from_millis(3));
        }
        for packet in end.out.packets {
            prop_assert!(matches!(packet[0] >> 4, 4 | 6) && packet.len() >= 20);
        }
    }
}
