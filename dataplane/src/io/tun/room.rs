//! Where a TUN is read to.

use super::vnet;

/// Room for a virtio-net header and the packet behind it, in one piece, so that one plain read(2) takes both: importing two parts
/// costs the kernel an eighth of the read of a packet that comes alone (`cargo bench --bench techniques -- --part tun-read`).
///
/// Concurrency: owned by one queue thread.
#[derive(Debug)]
pub struct Room {
    octets: Box<[u8]>,
    /// Where the packet begins: on a cache line.
    packet: usize,
}

impl Room {
    /// For packets of up to so many octets.
    pub fn new(longest: usize) -> Self {
        let octets = vec![0; LINE + LINE + longest].into_boxed_slice();
        // A box stays where it is. The remainder is below LINE.
        let packet = LINE + octets.as_ptr().align_offset(LINE).min(LINE - 1);
        Self { octets, packet }
    }

    /// The octets of the packet, as many as there is room for.
    pub fn packet(&self) -> &[u8] {
        self.octets.get(self.packet..).unwrap_or_default()
    }

    /// The same, to be written to.
    pub fn packet_mut(&mut self) -> &mut [u8] {
        self.octets.get_mut(self.packet..).unwrap_or_default()
    }

    /// What lies before the packet.
    pub(super) fn header(&self) -> [u8; vnet::LEN] {
        let header = self.octets.get(self.packet - vnet::LEN..);
        let header = header.and_then(<[u8]>::first_chunk);
        header.copied().unwrap_or_default()
    }

    /// Header and packet, or the packet alone.
    pub(super) fn whole(&mut self, header: bool) -> &mut [u8] {
        let start = self.packet - if header { vnet::LEN } else { 0 };
        self.octets.get_mut(start..).unwrap_or_default()
    }
}

const LINE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_lies_before_the_packet_and_the_packet_on_a_cache_line() {
        for longest in [0, 1, 1500, 65_575] {
            let mut room = Room::new(longest);
            assert!(room.packet().len() >= longest);
            assert_eq!(room.packet().as_ptr().addr() % LINE, 0);
            let whole = room.whole(true);
            whole[..vnet::LEN].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
            let behind = whole[vnet::LEN..].as_ptr();
            assert_eq!(room.header(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
            assert_eq!(room.packet().as_ptr(), behind);
            assert_eq!(room.whole(false).as_ptr(), behind);
        }
    }
}
