//! How much fits through a tunnel, and telling TCP (RFC 4301 8, RFC 4459, RFC 9293 3.7.1).

use super::header::TCP;
use super::{Header, checksum, word};
use crate::api::{Encapsulation, Suite};
use crate::esp::layout::Layout;

/// The most that a tunnel adds to an inner packet: outer header, UDP, ESP with the longest padding.
pub fn overhead(suite: Suite, encapsulation: Encapsulation, outer_ipv6: bool) -> usize {
    let layout = Layout::of(suite);
    outer(encapsulation, outer_ipv6) + layout.sealed(0) - layout.padding(0) + layout.block - 1
}

/// The longest inner packet whose outer packet is at most `path_mtu`: exact, as padding depends on the length.
pub fn inner_mtu(layout: Layout, encapsulation: Encapsulation, outer_ipv6: bool, path_mtu: u16) -> u16 {
    let esp = usize::from(path_mtu).saturating_sub(outer(encapsulation, outer_ipv6));
    u16::try_from(layout.inner(esp)).unwrap_or(u16::MAX)
}

/// Lowers the MSS option of a TCP SYN to what `inner_mtu` takes, and keeps the TCP checksum right. Returns whether it did.
///
/// Without a MSS option nothing is added: the default of 536 fits everywhere (RFC 9293 3.7.1).
pub fn clamp_mss(packet: &mut [u8], header: &Header, inner_mtu: u16) -> bool {
    if header.protocol != TCP || header.later_fragment {
        return false;
    }
    let Some(tcp) = packet.get_mut(header.payload..header.total_len) else {
        return false;
    };
    if tcp.get(13).is_none_or(|flags| flags & SYN == 0) {
        return false;
    }
    // RFC 6691: the MSS counts neither IP nor TCP options.
    let limit = inner_mtu.saturating_sub(if header.is_ipv6() { 60 } else { 40 });
    let Some(at) = mss_option(tcp) else { return false };
    let Some(old) = word::get(tcp, at).filter(|old| *old > limit) else {
        return false;
    };
    let Some(sum) = word::get(tcp, TCP_CHECKSUM) else {
        return false;
    };
    // A checksum adds 16-bit words from the start; an option at an odd offset lies across two of them.
    let (old, new) = if at % 2 == 0 {
        (old, limit)
    } else {
        (old.swap_bytes(), limit.swap_bytes())
    };
    word::set(tcp, at, limit)
        .and_then(|()| word::set(tcp, TCP_CHECKSUM, checksum::update(sum, old, new)))
        .is_some()
}

/// Where the value of the MSS option is.
fn mss_option(tcp: &[u8]) -> Option<usize> {
    let end = usize::from(*tcp.get(12)? >> 4) * 4;
    let mut at = 20;
    while at < end {
        match *tcp.get(at)? {
            OPTION_END => return None,
            OPTION_NOP => at += 1,
            kind => {
                let len = usize::from(*tcp.get(at + 1)?);
                if kind == OPTION_MSS {
                    return (len == 4 && at + len <= end.min(tcp.len())).then_some(at + 2);
                }
                // A length below 2 would never end.
                at += len.max(2);
            }
        }
    }
    None
}

fn outer(encapsulation: Encapsulation, ipv6: bool) -> usize {
    let udp = match encapsulation {
        Encapsulation::Udp => 8,
        Encapsulation::None => 0,
    };
    udp + if ipv6 { 40 } else { 20 }
}

const SYN: u8 = 0x02;
const TCP_CHECKSUM: usize = 16;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Integrity;

    fn syn(options: &[u8], flags: u8) -> Vec<u8> {
        let total = u8::try_from(40 + options.len()).unwrap();
        let mut packet = vec![
            0x45, 0, 0, total, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ];
        let offset = u8::try_from(5 + options.len() / 4).unwrap() << 4;
        packet.extend([
            0x13, 0x88, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, offset, flags, 0xff, 0xff, 0, 0, 0, 0,
        ]);
        packet.extend(options);
        let sum = tcp_sum(&packet);
        packet[36..38].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    /// 0 if the checksum in the packet is right.
    fn tcp_sum(packet: &[u8]) -> u16 {
        let len = u32::try_from(packet.len() - 20).unwrap();
        checksum::finish(checksum::add(6 + len, &packet[12..]))
    }

    fn clamp(packet: &mut [u8], inner_mtu: u16) -> bool {
        let header = Header::parse(packet).unwrap();
        clamp_mss(packet, &header, inner_mtu)
    }

    #[test]
    fn lowers_the_mss_of_a_syn_and_keeps_the_checksum_right() {
        for flags in [SYN, SYN | 0x10] {
            let mut packet = syn(&[2, 4, 5, 0xb4, 1, 1, 4, 2], flags);
            assert!(clamp(&mut packet, 1438));
            assert_eq!(packet[42..44], 1398_u16.to_be_bytes());
            assert_eq!(tcp_sum(&packet), 0);
        }
    }

    #[test]
    fn lowers_an_mss_at_an_odd_offset() {
        let mut packet = syn(&[1, 2, 4, 5, 0xb4, 0, 0, 0], SYN);
        assert!(clamp(&mut packet, 1438));
        assert_eq!(packet[43..45], 1398_u16.to_be_bytes());
        assert_eq!(tcp_sum(&packet), 0);
    }

    #[test]
    fn leaves_alone_what_is_low_enough_no_syn_or_broken() {
        for (options, flags) in [
            (&[2, 4, 2, 0, 1, 1, 1, 1][..], SYN),
            (&[2, 4, 5, 0xb4], 0x10),
            (&[], SYN),
            (&[8, 0, 8, 0, 8, 0, 8, 0], SYN),
            (&[2, 3, 5, 0xb4], SYN),
            (&[0, 2, 4, 5, 0xb4, 0, 0, 0], SYN),
            (&[1, 1, 2, 4], SYN),
        ] {
            let mut packet = syn(options, flags);
            let before = packet.clone();
            assert!(!clamp(&mut packet, 1438), "{options:?}");
            assert_eq!(packet, before);
        }
    }

    #[test]
    fn the_inner_mtu_is_exact_for_each_cipher() {
        let inner = |suite, encapsulation, v6| inner_mtu(Layout::of(suite), encapsulation, v6, 1500);
        let cbc = Suite::AesCbc {
            key_bits: 256,
            integrity: Integrity::HmacSha2_256_128,
        };
        assert_eq!(inner(Suite::AesGcm256, Encapsulation::Udp, false), 1438);
        assert_eq!(inner(Suite::AesGcm256, Encapsulation::None, false), 1446);
        assert_eq!(inner(Suite::AesGcm256, Encapsulation::Udp, true), 1418);
        // 1500 - 28 - 8 - 16 - 16 = 1432, 89 blocks = 1424, less the trailer.
        assert_eq!(inner(cbc, Encapsulation::Udp, false), 1422);
    }

    #[test]
    fn the_overhead_is_what_the_inner_mtu_leaves_at_worst() {
        for suite in [
            Suite::AesGcm128,
            Suite::AesCbc {
                key_bits: 128,
                integrity: Integrity::HmacSha2_512_256,
            },
        ] {
            let layout = Layout::of(suite);
            let worst = (0..64).map(|len| layout.sealed(len) - len).max().unwrap() + 28;
            assert_eq!(overhead(suite, Encapsulation::Udp, false), worst);
        }
    }
}
