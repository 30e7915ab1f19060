//! The virtio-net header in front of every packet of a TUN opened with `IFF_VNET_HDR`.
//!
//! ```text
//!  0        1          2        4          6            8             10
//! +--------+----------+--------+----------+------------+-------------+----- - -
//! | flags  | gso_type | hdr_len| gso_size | csum_start | csum_offset | IP packet
//! +--------+----------+--------+----------+------------+-------------+----- - -
//! ```
//!
//! Multi-octet fields are in the machine's order (the legacy layout, which the kernel uses unless told otherwise).

use crate::ip::{checksum, word};

/// Octets of the header.
pub const LEN: usize = 10;

/// One header, parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// `VIRTIO_NET_HDR_F_*`.
    pub flags: u8,
    /// `VIRTIO_NET_HDR_GSO_*`.
    pub gso_type: u8,
    /// Octets of the packet's linear part in the kernel; not the length of its headers.
    pub header_len: u16,
    /// Payload octets of each segment of a super-packet.
    pub gso_size: u16,
    /// Where the octets covered by the transport checksum begin.
    pub checksum_start: u16,
    /// Where the checksum is, from `checksum_start` on.
    pub checksum_offset: u16,
}

/// A header and its packet contradict each other, or the header promises an offload nobody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VnetError {
    /// The checksum is to be written outside of the packet.
    #[error("the checksum lies outside of the packet")]
    ChecksumOutside,
    /// A super-packet of a kind that TUNSETOFFLOAD did not ask for.
    #[error("a segmentation offload that was not asked for")]
    UnexpectedSegments,
    /// A super-packet whose headers do not fit it, or its header.
    #[error("the headers of a super-packet contradict each other")]
    Contradiction,
    /// A packet, or a segment of one, longer than the room for it.
    #[error("longer than a packet may be")]
    TooLong,
}

impl VnetHeader {
    /// Reads a header.
    pub fn parse(bytes: &[u8; LEN]) -> Self {
        let [flags, gso_type, h0, h1, g0, g1, s0, s1, o0, o1] = *bytes;
        Self {
            flags,
            gso_type,
            header_len: u16::from_ne_bytes([h0, h1]),
            gso_size: u16::from_ne_bytes([g0, g1]),
            checksum_start: u16::from_ne_bytes([s0, s1]),
            checksum_offset: u16::from_ne_bytes([o0, o1]),
        }
    }

    /// Writes the header.
    pub fn emit(&self) -> [u8; LEN] {
        let [h0, h1] = self.header_len.to_ne_bytes();
        let [g0, g1] = self.gso_size.to_ne_bytes();
        let [s0, s1] = self.checksum_start.to_ne_bytes();
        let [o0, o1] = self.checksum_offset.to_ne_bytes();
        [self.flags, self.gso_type, h0, h1, g0, g1, s0, s1, o0, o1]
    }

    /// Makes `packet` complete by itself: with `NEEDS_CSUM` the transport checksum holds only the pseudo-header's sum so far.
    ///
    /// The kernel should complete it before handing it to a TUN without `TUN_F_CSUM`, but the flag is what counts.
    pub fn settle(&self, packet: &mut [u8]) -> Result<(), VnetError> {
        if self.gso_type != GSO_NONE {
            return Err(VnetError::UnexpectedSegments);
        }
        if self.flags & F_NEEDS_CSUM == 0 {
            return Ok(());
        }
        let covered = packet
            .get_mut(usize::from(self.checksum_start)..)
            .ok_or(VnetError::ChecksumOutside)?;
        // The pseudo-header's sum lies in the checksum's place.
        let sum = checksum::finish(checksum::add(0, covered));
        // A UDP checksum of zero means "none" (RFC 768); its other spelling is right for TCP too.
        let sum = if sum == 0 { 0xffff } else { sum };
        word::set(covered, usize::from(self.checksum_offset), sum).ok_or(VnetError::ChecksumOutside)
    }
}

/// The transport checksum is partial.
pub const F_NEEDS_CSUM: u8 = 1;
/// Not a super-packet.
pub const GSO_NONE: u8 = 0;
/// TCP over IPv4.
pub const GSO_TCPV4: u8 = 1;
/// TCP over IPv6.
pub const GSO_TCPV6: u8 = 4;
/// UDP datagrams of one length, the last may be shorter (Linux 6.2).
pub const GSO_UDP_L4: u8 = 5;
/// With one of the TCP kinds: the first segment has CWR set (RFC 3168 6.1.2), the others must not have it.
pub const GSO_ECN: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emit_is_the_inverse_of_parse() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
        assert_eq!(VnetHeader::parse(&bytes).emit(), bytes);
    }

    /// 192.0.2.1:1 -> 192.0.2.2:2, "hi": the checksum field holds the folded pseudo-header sum, as the kernel leaves it.
    fn partial_udp() -> Vec<u8> {
        let mut packet = vec![
            0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0, 1, 0, 2, 0, 10, 0, 0,
            b'h', b'i',
        ];
        let pseudo: u32 = 0xc000 + 0x0201 + 0xc000 + 0x0202 + 17 + 10;
        let folded = u16::try_from((pseudo & 0xffff) + (pseudo >> 16)).unwrap();
        packet[26..28].copy_from_slice(&folded.to_be_bytes());
        packet
    }

    #[test]
    fn a_partial_checksum_is_completed() {
        let mut packet = partial_udp();
        let header = VnetHeader {
            flags: F_NEEDS_CSUM,
            checksum_start: 20,
            checksum_offset: 6,
            ..VnetHeader::default()
        };
        header.settle(&mut packet).unwrap();
        // The receiver's rule: everything covered plus the pseudo-header sums to 0xffff.
        let mut sum: u32 = 0xc000 + 0x0201 + 0xc000 + 0x0202 + 17 + 10;
        for pair in packet[20..].chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        assert_eq!(sum, 0xffff);
    }

    #[test]
    fn a_complete_packet_is_left_alone() {
        let mut packet = partial_udp();
        VnetHeader::default().settle(&mut packet).unwrap();
        assert_eq!(packet, partial_udp());
    }

    #[test]
    fn refuses_a_checksum_outside_of_the_packet_and_segments_nobody_asked_for() {
        let mut packet = partial_udp();
        for (start, offset) in [(31, 0), (30, 0), (20, 9), (u16::MAX, u16::MAX)] {
            let header = VnetHeader {
                flags: F_NEEDS_CSUM,
                checksum_start: start,
                checksum_offset: offset,
                ..VnetHeader::default()
            };
            assert_eq!(header.settle(&mut packet), Err(VnetError::ChecksumOutside));
        }
        let header = VnetHeader {
            gso_type: 1,
            ..VnetHeader::default()
        };
        assert_eq!(header.settle(&mut packet), Err(VnetError::UnexpectedSegments));
        assert_eq!(packet, partial_udp());
    }
}
