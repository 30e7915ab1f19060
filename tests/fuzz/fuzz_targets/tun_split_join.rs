//! A super-packet, split as it leaves and joined as it arrives, is the same one.
#![no_main]
use libfuzzer_sys::fuzz_target;
use xvpn_dataplane::io::tun::door;
use xvpn_dataplane::io::tun::vnet::{F_NEEDS_CSUM, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, VnetHeader};
use xvpn_dataplane::ip::checksum;
use xvpn_fuzz::flow::{Flow, Source, pseudo, sum_up};

fuzz_target!(|data: &[u8]| {
    let mut source = Source(data);
    let flow = Flow::of(&mut source);
    let flags = 0x10 | source.octet() & 0x08;
    let size = 1 + usize::from(source.word()) % 1400;
    // The fuzzer's octets, over and over: a few hundred of them make many segments.
    let payload: Vec<u8> = source.0.iter().copied().cycle().take(source.0.len() * 16).take(60_000).collect();
    if payload.is_empty() || payload.len().div_ceil(size) > 64 {
        return;
    }
    let mut whole = flow.clone().packet(&payload, flags);
    sum_up(&flow, &mut whole);
    let at = flow.transport() + flow.checksum_at();
    let partial = !checksum::finish(pseudo(&whole));
    whole[at..at + 2].copy_from_slice(&partial.to_be_bytes());
    let header = VnetHeader {
        flags: F_NEEDS_CSUM,
        gso_type: match (flow.tcp, flow.v6) {
            (true, false) => GSO_TCPV4,
            (true, true) => GSO_TCPV6,
            (false, _) => GSO_UDP_L4,
        },
        header_len: flow.headers() as u16,
        gso_size: size as u16,
        checksum_start: flow.transport() as u16,
        checksum_offset: flow.checksum_at() as u16,
    };
    let mut segments = door::split(&header.emit(), &whole).expect("a super-packet that is right is split");
    let expected = payload.len().div_ceil(size);
    assert_eq!(segments.len(), expected);
    let mut one = flow;
    for (number, (segment, payload)) in segments.iter().zip(payload.chunks(size)).enumerate() {
        let flags = if number + 1 == expected { flags } else { 0x10 };
        let mut by_the_book = one.packet(payload, flags);
        sum_up(&one, &mut by_the_book);
        assert_eq!(segment.octets(), by_the_book);
    }
    match door::join(&mut segments, true) {
        Some((joined, octets, count)) => {
            assert_eq!(count, expected);
            assert_eq!(VnetHeader::parse(&joined), header);
            assert!(octets == whole, "split, then joined, it differs");
        }
        None => assert_eq!(expected, 1),
    }
});
