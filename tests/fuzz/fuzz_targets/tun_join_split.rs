//! A batch of packets of several flows, some of them changed: what is joined is given back octet by octet by segmentation, and
//! nothing is joined that is not intact.
#![no_main]
use libfuzzer_sys::fuzz_target;
use xvpn_dataplane::buffer::Packet;
use xvpn_dataplane::io::tun::door;
use xvpn_fuzz::flow::{Flow, Source, comparable, packet, sum_up};

fuzz_target!(|data: &[u8]| {
    let mut source = Source(data);
    let mut flows = [Flow::of(&mut source), Flow::of(&mut source)];
    let size = 1 + usize::from(source.word()) % 1400;
    let mut batch: Vec<Packet> = Vec::new();
    while !source.0.is_empty() && batch.len() < 200 {
        let what = source.octet();
        let flow = &mut flows[usize::from(what >> 7)];
        let length = if what & 0x40 != 0 { 1 + usize::from(source.octet()) % size } else { size };
        let mut octets = flow.packet(&vec![what; length], 0x10 | what & 0x08);
        let mut change = |octets: &mut [u8]| {
            let at = usize::from(source.word()) % octets.len();
            octets[at] ^= source.octet();
        };
        match what & 7 {
            // Changed, with checksums as right as they can be made.
            1 => {
                let version = octets[0] >> 4;
                change(&mut octets);
                if octets[0] >> 4 == version {
                    sum_up(flow, &mut octets);
                }
            }
            // Damaged on the way.
            2 => {
                sum_up(flow, &mut octets);
                change(&mut octets);
            }
            _ => sum_up(flow, &mut octets),
        }
        batch.push(packet(&octets));
    }
    let before: Vec<Vec<u8>> = batch.iter().map(|packet| packet.octets().to_vec()).collect();
    let udp = size % 2 == 0;
    let mut at = 0;
    while at < batch.len() {
        let Some((header, whole, count)) = door::join(&mut batch[at..], udp) else {
            assert_eq!(batch[at].octets(), before[at], "not joined, but changed");
            at += 1;
            continue;
        };
        assert!(count > 1 && whole.len() <= 65_535);
        let again = door::split(&header, &whole).expect("what we make of packets can be split");
        assert_eq!(again.len(), count);
        for (segment, before) in again.iter().zip(&before[at..]) {
            assert_eq!(comparable(segment.octets()), comparable(before));
        }
        at += count;
    }
});
