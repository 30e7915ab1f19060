//! Any virtio-net header before any octets: packets or a reason. What comes out of a super-packet is what it says to be.
#![no_main]
use libfuzzer_sys::fuzz_target;
use xvpn_dataplane::buffer::MAX_LEN;
use xvpn_dataplane::io::tun::door;
use xvpn_dataplane::io::tun::vnet::{GSO_NONE, LEN, VnetHeader};
use xvpn_dataplane::ip::checksum;
use xvpn_fuzz::flow::pseudo;

fuzz_target!(|data: &[u8]| {
    let Some((which, data)) = data.split_first() else { return };
    let Some((raw, octets)) = data.split_first_chunk::<LEN>() else { return };
    let (mut header, mut octets) = (VnetHeader::parse(raw), octets.to_vec());
    if octets.len() > 40 && octets.len() < 0xffff {
        // Lengths that are right are rare without help.
        let (at, before) = if octets[0] >> 4 == 4 { (2, 0) } else { (4, 40) };
        if which & 1 != 0 {
            let total = (octets.len() - before) as u16;
            octets[at..at + 2].copy_from_slice(&total.to_be_bytes());
        }
        if which & 2 != 0 {
            header.checksum_start = if before == 0 { u16::from(octets[0] & 15) * 4 } else { 40 };
            header.flags |= 1;
            header.gso_type = [0, 1, 4, 5, 0x81][usize::from(which >> 2) % 5];
        }
    }
    let Ok(packets) = door::split(&header.emit(), &octets) else { return };
    for packet in &packets {
        assert!(packet.len() <= MAX_LEN);
    }
    if header.gso_type == GSO_NONE {
        assert_eq!(packets.len(), usize::from(!octets.is_empty()));
        return;
    }
    let total: usize = packets.iter().map(|packet| packet.len()).sum();
    assert!(!packets.is_empty() && total >= octets.len());
    let start = usize::from(header.checksum_start);
    for packet in &packets {
        let octets = packet.octets();
        let said = match octets[0] >> 4 {
            4 => u16::from_be_bytes([octets[2], octets[3]]).into(),
            _ => 40 + usize::from(u16::from_be_bytes([octets[4], octets[5]])),
        };
        assert_eq!(said, octets.len());
        if octets[0] >> 4 == 4 {
            assert_eq!(checksum::finish(checksum::add(0, &octets[..start])), 0);
        }
        let tcp = matches!(header.gso_type & 0x7f, 1 | 4);
        let honest = match (octets[0], start) {
            (0x45, 20) => octets[9] == if tcp { 6 } else { 17 },
            (0x60..=0x6f, 40) => octets[6] == if tcp { 6 } else { 17 },
            _ => false,
        };
        if honest {
            assert_eq!(checksum::finish(checksum::add(pseudo(octets), &octets[start..])), 0);
        }
    }
});
