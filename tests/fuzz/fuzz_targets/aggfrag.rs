//! Any payloads, in any order and at any time, make whole inner packets or nothing; what we pack comes out as it was.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use xvpn_dataplane::Discard;
use xvpn_dataplane::buffer::{Packet, Pool};
use xvpn_dataplane::esp::aggfrag::Block;
use xvpn_dataplane::esp::reassembly::{Reassembly, Sink};
use xvpn_dataplane::pipeline::aggregate::{Filling, pack};

struct Out(Vec<Vec<u8>>);

impl Sink for Out {
    fn packet(&mut self, packet: Packet, pool: &mut Pool) {
        assert_eq!(Block::at(packet.octets()), Ok(Block::Packet(packet.len())), "not as long as it says");
        self.0.push(packet.octets().to_vec());
        pool.give(packet);
    }

    fn lost(&mut self, _reason: Discard) {}
}

fn packet(octets: &[u8]) -> Packet {
    let mut packet = Packet::new();
    packet.set(octets);
    packet
}

/// Payloads as they come: a step of the number, a time, a length, and so many octets.
fn rubbish(mut data: &[u8]) {
    let (mut now, mut number) = (Instant::now(), 1_u64);
    let (mut reassembly, mut pool, mut out) = (Reassembly::new(), Pool::default(), Out(Vec::new()));
    while let Some(([step, wait, high, low], rest)) = data.split_first_chunk::<4>().map(|(head, rest)| (*head, rest)) {
        let length = usize::from(u16::from_be_bytes([high & 0x07, low])).min(rest.len());
        let (payload, rest) = rest.split_at(length);
        number = number.wrapping_add_signed(i64::from(step as i8));
        now += Duration::from_millis(u64::from(wait & 0x0f));
        reassembly.push(now, number, packet(payload), &mut pool, &mut out);
        reassembly.expire(now, &mut pool, &mut out);
        data = rest;
    }
}

/// Packets of these lengths, packed and unpacked.
fn there_and_back(lengths: &[u8], room: u16, fragments: bool) {
    let sent: Vec<Vec<u8>> = lengths
        .iter()
        .zip(0_u8..)
        .map(|(length, mark)| {
            let total = 20 + 7 * usize::from(*length);
            let [high, low] = u16::try_from(total).unwrap_or(20).to_be_bytes();
            let mut octets = vec![mark; total];
            octets[..4].copy_from_slice(&[0x45, 0, high, low]);
            octets
        })
        .collect();
    let (mut reassembly, mut pool, mut out) = (Reassembly::new(), Pool::default(), Out(Vec::new()));
    let filling = Filling { room: usize::from(room % 4096), fragments };
    let mut payloads = Vec::new();
    pack(filling, sent.iter().map(|octets| packet(octets)), &mut pool, |payload| payloads.push(payload));
    for (payload, number) in payloads.into_iter().zip(1..) {
        reassembly.push(Instant::now(), number, payload, &mut pool, &mut out);
    }
    assert_eq!(out.0, sent);
}

fuzz_target!(|data: &[u8]| match data {
    [0, high, low, fragments, lengths @ ..] => {
        let lengths = lengths.get(..100).unwrap_or(lengths);
        there_and_back(lengths, u16::from_be_bytes([*high, *low]), fragments & 1 == 1);
    }
    [_, data @ ..] => rubbish(data),
    [] => {}
});
