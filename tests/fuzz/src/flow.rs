//! Packets of TCP and UDP flows, made of what the fuzzer gives, and what is right about them.
use xvpn_dataplane::buffer::Packet;
use xvpn_dataplane::ip::checksum;

/// Octets of the fuzzer, taken from the front; zeros when there are no more.
pub struct Source<'a>(pub &'a [u8]);

impl Source<'_> {
    pub fn octet(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub fn word(&mut self) -> u16 {
        u16::from_be_bytes([self.octet(), self.octet()])
    }
}

/// One flow; the next packet of it follows the one before.
#[derive(Clone)]
pub struct Flow {
    pub v6: bool,
    pub tcp: bool,
    pub dont_fragment: bool,
    pub class: u8,
    pub options: usize,
    pub sequence: u32,
    pub id: u16,
}

impl Flow {
    pub fn of(source: &mut Source) -> Self {
        let bits = source.octet();
        Self {
            v6: bits & 1 != 0,
            tcp: bits & 2 != 0,
            dont_fragment: bits & 4 != 0,
            class: source.octet(),
            options: usize::from(bits >> 4 & 3) * 4,
            sequence: u32::from(source.word()) << 16 | u32::from(source.word()),
            id: source.word(),
        }
    }

    pub fn transport(&self) -> usize {
        if self.v6 { 40 } else { 20 }
    }

    pub fn headers(&self) -> usize {
        self.transport() + if self.tcp { 20 + self.options } else { 8 }
    }

    pub fn checksum_at(&self) -> usize {
        if self.tcp { 16 } else { 6 }
    }

    /// The next packet with this payload, its checksums still to be written ([`sum_up`]).
    pub fn packet(&mut self, payload: &[u8], flags: u8) -> Vec<u8> {
        let length = self.headers() - self.transport() + payload.len();
        let protocol = if self.tcp { 6 } else { 17 };
        let mut packet = Vec::with_capacity(self.transport() + length);
        if self.v6 {
            packet.extend([0x60 | self.class >> 4, self.class << 4, 0, 7]);
            packet.extend((length as u16).to_be_bytes());
            packet.extend([protocol, 61]);
            packet.extend([0x20; 32]);
        } else {
            packet.extend([0x45, self.class]);
            packet.extend((length as u16 + 20).to_be_bytes());
            packet.extend(self.id.to_be_bytes());
            packet.extend([if self.dont_fragment { 0x40 } else { 0 }, 0, 61, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        }
        packet.extend([0x13, 0x88, 0, 80]);
        if self.tcp {
            packet.extend(self.sequence.to_be_bytes());
            packet.extend([0, 0, 0, 9, ((20 + self.options) as u8 / 4) << 4, flags, 0x12, 0x34, 0, 0, 0, 0]);
            packet.extend(vec![1; self.options]);
        } else {
            packet.extend((length as u16).to_be_bytes());
            packet.extend([0, 0]);
        }
        packet.extend(payload);
        self.sequence = self.sequence.wrapping_add(payload.len() as u32);
        self.id = self.id.wrapping_add(1);
        packet
    }
}

/// The sum of the pseudo-header of a packet without extension headers and options.
pub fn pseudo(packet: &[u8]) -> u32 {
    let (start, addresses, protocol) = match packet[0] >> 4 {
        4 => (20, 12..20, packet[9]),
        _ => (40, 8..40, packet[6]),
    };
    checksum::add((packet.len() - start) as u32 + u32::from(protocol), &packet[addresses])
}

/// Writes the checksums of a packet of a flow.
pub fn sum_up(flow: &Flow, packet: &mut [u8]) {
    if !flow.v6 {
        packet[10..12].fill(0);
        let sum = checksum::finish(checksum::add(0, &packet[..20]));
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    let at = flow.transport() + flow.checksum_at();
    packet[at..at + 2].fill(0);
    let sum = checksum::finish(checksum::add(pseudo(packet), &packet[flow.transport()..]));
    packet[at..at + 2].copy_from_slice(&if sum == 0 { 0xffff } else { sum }.to_be_bytes());
}

/// A packet as the dataplane has it.
pub fn packet(octets: &[u8]) -> Packet {
    let mut packet = Packet::new();
    packet.set(octets);
    packet
}

/// The packet without what may differ after it was joined and cut again: with DF the identification means nothing (RFC 6864 4.1),
/// and zero has two spellings in a checksum.
pub fn comparable(octets: &[u8]) -> Vec<u8> {
    let mut octets = octets.to_vec();
    let v4 = octets[0] >> 4 == 4;
    if v4 {
        if octets[6] & 0x40 != 0 {
            octets[4..6].fill(0);
            octets[10..12].fill(0);
        }
        if octets[10..12] == [0xff; 2] {
            octets[10..12].fill(0);
        }
    }
    let (start, protocol) = if v4 { (20, octets[9]) } else { (40, octets[6]) };
    let at = start + if protocol == 6 { 16 } else { 6 };
    if octets[at..at + 2] == [0xff; 2] {
        octets[at..at + 2].fill(0);
    }
    octets
}
