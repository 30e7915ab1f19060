//! Pieces that the kernel says to have joined of datagrams (UDP_GRO), whatever it says: no octet is lost, made up or moved.
#![no_main]
use libfuzzer_sys::fuzz_target;
use xvpn_dataplane::buffer::MAX_LEN;
use xvpn_dataplane::io::landing::taken_apart;

fuzz_target!(|data: &[u8]| {
    let Some((segment, octets)) = data.split_first_chunk::<2>() else { return };
    let segment = Some(u16::from_le_bytes(*segment)).filter(|length| *length > 0);
    let packets = taken_apart(octets, segment);
    assert!(packets.len() <= 128, "{} packets of one piece", packets.len());
    let each = segment.map_or(octets.len(), usize::from).max(1);
    if octets.is_empty() {
        assert!(packets.len() == 1 && packets[0].is_empty());
        return;
    }
    let expected: Vec<&[u8]> = octets.chunks(each).take(128).filter(|one| one.len() <= MAX_LEN).collect();
    let found: Vec<&[u8]> = packets.iter().map(|packet| packet.octets()).collect();
    assert_eq!(found, expected);
});
