//! ECN and DSCP across the tunnel (RFC 6040, RFC 2983).

use super::checksum;
use crate::discard::Discard;

/// The outer TOS for an inner one: ECN copied (RFC 6040 4.1, normal mode), DSCP copied or zero.
pub fn encapsulate(inner: u8, copy_dscp: bool) -> u8 {
    if copy_dscp { inner } else { inner & ECN }
}

/// The inner TOS on leaving the tunnel (RFC 6040 4.2). The inner DSCP stays: what happened to the outer one is the network's.
///
/// ```text
///   inner \ outer |  Not-ECT   ECT(0)    ECT(1)    CE
///   --------------+------------------------------------
///   Not-ECT       |  Not-ECT   Not-ECT   Not-ECT   drop
///   ECT(0)        |  ECT(0)    ECT(0)    ECT(1)    CE
///   ECT(1)        |  ECT(1)    ECT(1)    ECT(1)    CE
///   CE            |  CE        CE        CE        CE
/// ```
pub fn decapsulate(inner: u8, outer: u8) -> Result<u8, Discard> {
    let ecn = match (inner & ECN, outer & ECN) {
        (NOT_ECT, CE) => return Err(Discard::EcnDrop),
        (ECT_0, ECT_1) => ECT_1,
        (ECT_0 | ECT_1, CE) => CE,
        (inner, _) => inner,
    };
    Ok(inner & !ECN | ecn)
}

/// Writes a TOS or traffic class into an IP packet and keeps its header checksum right.
pub(crate) fn set_tos(packet: &mut [u8], tos: u8) {
    let Some([first, second, ..]) = packet.first_chunk_mut::<2>() else {
        return;
    };
    let old = u16::from_be_bytes([*first, *second]);
    if *first >> 4 == 6 {
        *first = 0x60 | tos >> 4;
        *second = tos << 4 | *second & 0x0f;
        return;
    }
    *second = tos;
    let new = u16::from_be_bytes([*first, tos]);
    if let Some([high, low]) = packet.get_mut(10..).and_then(|rest| rest.first_chunk_mut()) {
        [*high, *low] = checksum::update(u16::from_be_bytes([*high, *low]), old, new).to_be_bytes();
    }
}

const ECN: u8 = 0b11;
const NOT_ECT: u8 = 0b00;
const ECT_1: u8 = 0b01;
const ECT_0: u8 = 0b10;
pub(crate) const CE: u8 = 0b11;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combines_as_the_whole_table_of_rfc_6040() {
        let outer = [NOT_ECT, ECT_0, ECT_1, CE];
        let table = [
            (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
            (ECT_0, [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)]),
            (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
            (CE, [Some(CE), Some(CE), Some(CE), Some(CE)]),
        ];
        for (inner, row) in table {
            for (outer, expected) in outer.into_iter().zip(row) {
                let expected = expected.map(|ecn| 0xb8 | ecn).ok_or(Discard::EcnDrop);
                assert_eq!(
                    decapsulate(0xb8 | inner, 0x48 | outer),
                    expected,
                    "{inner:02b} in {outer:02b}"
                );
            }
        }
    }

    #[test]
    fn copies_ecn_always_and_dscp_if_asked() {
        assert_eq!(encapsulate(0xbb, true), 0xbb);
        assert_eq!(encapsulate(0xbb, false), 0x03);
    }

    #[test]
    fn writes_the_tos_and_keeps_the_checksum_right() {
        let mut packet = [0x45, 0, 0, 20, 7, 7, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let sum = checksum::finish(checksum::add(0, &packet));
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        set_tos(&mut packet, 0xbb);
        assert_eq!(packet[1], 0xbb);
        assert_eq!(checksum::finish(checksum::add(0, &packet)), 0);

        let mut packet = [0x60, 0x0c, 0xaf, 0xfe];
        set_tos(&mut packet, 0xab);
        assert_eq!(packet, [0x6a, 0xbc, 0xaf, 0xfe]);
    }
}
