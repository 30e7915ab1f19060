//! Splitting and joining, each against the other and against a checksum and a segmentation written anew here.

use proptest::prelude::*;

use super::coalesce::Run;
use super::door;
use super::vnet::{self, VnetError, VnetHeader};
use crate::buffer::Packet;

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const CWR: u8 = 0x80;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The sum over 16-bit words with the carries added at once (RFC 1071).
fn sum(octets: &[u8]) -> u16 {
    octets.chunks(2).fold(0u16, |sum, pair| {
        let word = u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]);
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}

/// The sum of pseudo-header and transport: 0xffff if the checksum is right.
fn transport_sum(packet: &[u8]) -> u16 {
    let (start, addresses, protocol) = match packet[0] >> 4 {
        4 => (20, &packet[12..20], packet[9]),
        _ => (40, &packet[8..40], packet[6]),
    };
    let mut all = addresses.to_vec();
    all.extend(u32::try_from(packet.len() - start).unwrap().to_be_bytes());
    all.extend([0, protocol]);
    all.extend(&packet[start..]);
    sum(&all)
}

/// What a super-packet is made of.
#[derive(Clone, Debug)]
struct Flow {
    v6: bool,
    protocol: u8,
    /// After the fixed part of the TCP header.
    options: Vec<u8>,
    flags: u8,
    sequence: u32,
    id: u16,
    payload: Vec<u8>,
    size: usize,
}

impl Flow {
    fn headers(&self) -> usize {
        self.transport()
            + if self.protocol == TCP {
                20 + self.options.len()
            } else {
                8
            }
    }

    fn transport(&self) -> usize {
        if self.v6 { 40 } else { 20 }
    }

    /// A packet with this payload from `number` segments on; the checksum is whole.
    fn packet(&self, payload: &[u8], number: usize, flags: u8) -> Vec<u8> {
        let mut packet = self.partial(payload, number, flags);
        let at = self.transport() + if self.protocol == TCP { 16 } else { 6 };
        packet[at..at + 2].fill(0);
        let whole = !transport_sum(&packet);
        packet[at..at + 2].copy_from_slice(&if whole == 0 { 0xffff } else { whole }.to_be_bytes());
        packet
    }

    /// The same with only the pseudo-header's sum, as the kernel gives it.
    fn partial(&self, payload: &[u8], number: usize, flags: u8) -> Vec<u8> {
        let length = self.headers() - self.transport() + payload.len();
        let short = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
        let [high, low] = short(length + if self.v6 { 0 } else { 20 });
        let [id_high, id_low] = self.id.wrapping_add(u16::try_from(number).unwrap()).to_be_bytes();
        let mut packet = if self.v6 {
            let mut packet = vec![0x6a, 0xb0, 0, 7, high, low, self.protocol, 61];
            packet.extend([0x20; 16]);
            packet.extend([0x30; 16]);
            packet
        } else {
            vec![
                0x45,
                0xb8,
                high,
                low,
                id_high,
                id_low,
                0,
                0,
                61,
                self.protocol,
                0,
                0,
                10,
                1,
                0,
                1,
                10,
                2,
                0,
                2,
            ]
        };
        if !self.v6 {
            let header = !sum(&packet);
            packet[10..12].copy_from_slice(&header.to_be_bytes());
        }
        packet.extend([0x13, 0x88, 0, 80]);
        if self.protocol == TCP {
            let before = u32::try_from(number * self.size).unwrap();
            packet.extend(self.sequence.wrapping_add(before).to_be_bytes());
            packet.extend([0, 0, 0, 9]);
            let offset = u8::try_from((20 + self.options.len()) / 4).unwrap() << 4;
            packet.extend([offset, flags, 0x12, 0x34, 0, 0, 0, 0]);
            packet.extend(&self.options);
        } else {
            packet.extend(short(length));
            packet.extend([0, 0]);
        }
        let at = self.transport() + if self.protocol == TCP { 16 } else { 6 };
        let mut pseudo = if self.v6 {
            packet[8..40].to_vec()
        } else {
            packet[12..20].to_vec()
        };
        pseudo.extend(u32::try_from(length).unwrap().to_be_bytes());
        pseudo.extend([0, self.protocol]);
        let partial = sum(&pseudo);
        packet[at..at + 2].copy_from_slice(&partial.to_be_bytes());
        packet.extend(payload);
        packet
    }

    fn vnet(&self) -> VnetHeader {
        let gso_type = match (self.protocol, self.v6) {
            (TCP, false) => vnet::GSO_TCPV4,
            (TCP, true) => vnet::GSO_TCPV6,
            _ => vnet::GSO_UDP_L4,
        };
        VnetHeader {
            flags: vnet::F_NEEDS_CSUM,
            gso_type,
            header_len: u16::try_from(self.headers()).unwrap(),
            gso_size: u16::try_from(self.size).unwrap(),
            checksum_start: u16::try_from(self.transport()).unwrap(),
            checksum_offset: if self.protocol == TCP { 16 } else { 6 },
        }
    }

    /// What the segments are, by the book.
    fn segments(&self) -> Vec<Vec<u8>> {
        let count = self.payload.len().div_ceil(self.size);
        let segment = |(number, payload): (usize, &[u8])| {
            let mut flags = self.flags;
            if number + 1 < count {
                flags &= !(FIN | PSH);
            }
            if number > 0 {
                flags &= !CWR;
            }
            self.packet(payload, number, flags)
        };
        self.payload.chunks(self.size).enumerate().map(segment).collect()
    }
}

fn split(header: &VnetHeader, octets: &[u8]) -> Result<Vec<Packet>, VnetError> {
    door::split(&header.emit(), octets)
}

fn packets(octets: &[Vec<u8>]) -> Vec<Packet> {
    let packet = |octets: &Vec<u8>| {
        let mut packet = Packet::new();
        packet.set(octets);
        packet
    };
    octets.iter().map(packet).collect()
}

/// So many datagrams of one flow.
pub(super) fn udp_run(count: usize) -> Vec<Packet> {
    let flow = Flow {
        protocol: UDP,
        ..tcp(count * 100, 100)
    };
    packets(&flow.segments())
}

/// A super-packet of TCP with its header, and its segments.
pub(super) fn tcp_super(payload: usize, size: usize) -> (VnetHeader, Vec<u8>, Vec<Vec<u8>>) {
    let flow = tcp(payload, size);
    let whole = flow.partial(&flow.payload, 0, flow.flags);
    (flow.vnet(), whole, flow.segments())
}

/// The first run joined: its header and octets.
fn join(packets: &mut [Packet]) -> Option<(VnetHeader, Vec<u8>, usize)> {
    let (header, whole, count) = door::join(packets, true)?;
    Some((VnetHeader::parse(&header), whole, count))
}

fn flow() -> impl Strategy<Value = Flow> {
    let options = prop_oneof![Just(0usize), Just(12), Just(40)];
    let kind = (any::<bool>(), prop_oneof![Just(TCP), Just(UDP)], options);
    let payload = (1usize..9000).prop_flat_map(|len| proptest::collection::vec(any::<u8>(), len));
    (kind, any::<u32>(), any::<u16>(), payload, 100usize..1400).prop_map(
        |((v6, protocol, options), sequence, id, payload, size)| Flow {
            v6,
            protocol,
            options: vec![1; options],
            flags: ACK,
            sequence,
            id,
            payload,
            size,
        },
    )
}

proptest! {
    #[test]
    fn splits_into_what_the_book_says_and_joins_it_again(mut flow in flow(), flags in prop_oneof![Just(ACK), Just(ACK | PSH)]) {
        flow.flags = flags;
        let whole = flow.partial(&flow.payload, 0, flags);
        let mut segments = split(&flow.vnet(), &whole).unwrap();
        let expected = flow.segments();
        prop_assert_eq!(segments.len(), expected.len());
        for (segment, expected) in segments.iter().zip(&expected) {
            prop_assert_eq!(segment.octets(), expected.as_slice());
            prop_assert_eq!(transport_sum(segment.octets()), 0xffff);
        }
        // No kernel is asked to take more at once.
        let most = if flow.protocol == UDP { 64 } else { 128 };
        match join(&mut segments) {
            Some((.., count)) if segments.len() > most => prop_assert_eq!(count, most),
            Some((header, joined, count)) => {
                prop_assert_eq!(count, segments.len());
                prop_assert_eq!(header, flow.vnet());
                prop_assert_eq!(joined, whole);
            }
            None => prop_assert_eq!(segments.len(), 1),
        }
    }

    #[test]
    fn any_header_before_any_octets_gives_packets_or_a_reason(
        raw: [u8; vnet::LEN],
        mut octets in proptest::collection::vec(any::<u8>(), 0..300),
        version in prop_oneof![Just(0x45u8), Just(0x60), any::<u8>()],
        kind in prop_oneof![Just(0u8), Just(1), Just(4), Just(5), Just(0x81), any::<u8>()],
        right: bool,
    ) {
        if let Some(first) = octets.first_mut() {
            *first = version;
        }
        let (at, before) = if version == 0x45 { (2, 0) } else { (4, 40) };
        if right && octets.len() > 40 {
            let total = u16::try_from(octets.len() - before).unwrap();
            octets[at..at + 2].copy_from_slice(&total.to_be_bytes());
        }
        let mut header = VnetHeader::parse(&raw);
        header.gso_type = kind;
        header.checksum_start %= 64;
        header.gso_size %= 100;
        if let Ok(packets) = split(&header, &octets) {
            let payload: usize = packets.iter().map(Packet::len).sum();
            prop_assert!(payload >= octets.len() || kind == 0);
        }
    }

    #[test]
    fn any_octets_can_be_looked_at_for_joining(octets in proptest::collection::vec(
        proptest::collection::vec(prop_oneof![Just(0x45u8), Just(0x60), Just(6), Just(17), any::<u8>()], 0..90), 0..4)) {
        if let Some((_, _, count)) = join(&mut packets(&octets)) {
            prop_assert!(count <= octets.len());
        }
    }
}

fn tcp(payload: usize, size: usize) -> Flow {
    Flow {
        v6: false,
        protocol: TCP,
        options: Vec::new(),
        flags: ACK,
        sequence: u32::MAX - 50,
        id: u16::MAX,
        payload: (0..payload)
            .map(|octet| u8::try_from(octet % 251).unwrap())
            .collect(),
        size,
    }
}

#[test]
fn the_end_of_a_stream_is_in_its_last_segment_and_congestion_in_its_first() {
    let mut flow = tcp(250, 100);
    flow.flags = ACK | PSH | FIN | CWR;
    let header = VnetHeader {
        gso_type: vnet::GSO_TCPV4 | vnet::GSO_ECN,
        ..flow.vnet()
    };
    let segments = split(&header, &flow.partial(&flow.payload, 0, flow.flags)).unwrap();
    let flags: Vec<u8> = segments.iter().map(|segment| segment.octets()[33]).collect();
    assert_eq!(flags, [ACK | CWR, ACK, ACK | PSH | FIN]);
}

#[test]
fn refuses_super_packets_whose_headers_contradict_them() {
    let flow = tcp(250, 100);
    let whole = flow.partial(&flow.payload, 0, ACK);
    let of = |change: fn(&mut VnetHeader)| {
        let mut header = flow.vnet();
        change(&mut header);
        header
    };
    let broken = [
        of(|header| header.gso_size = 0),
        of(|header| header.checksum_start = 24),
        of(|header| header.checksum_start = 290),
        of(|header| header.flags = 0),
        of(|header| header.gso_type = vnet::GSO_TCPV6),
    ];
    for header in broken {
        assert_eq!(
            split(&header, &whole).unwrap_err(),
            VnetError::Contradiction,
            "{header:?}"
        );
    }
    let unknown = of(|header| header.gso_type = 3);
    assert_eq!(
        split(&unknown, &whole).unwrap_err(),
        VnetError::UnexpectedSegments
    );
    let mut padded = whole.clone();
    padded.push(0);
    for octets in [&whole[..40], &whole[..249], &padded] {
        assert_eq!(split(&flow.vnet(), octets).unwrap_err(), VnetError::Contradiction);
    }
}

#[test]
fn refuses_segments_longer_than_a_packet() {
    let flow = tcp(20_000, 9_200);
    let whole = flow.partial(&flow.payload, 0, ACK);
    assert_eq!(split(&flow.vnet(), &whole).unwrap_err(), VnetError::TooLong);
    let header = VnetHeader::default();
    assert_eq!(split(&header, &[0x45; 9_300]).unwrap_err(), VnetError::TooLong);
}

#[test]
fn only_what_segmentation_gives_back_is_joined() {
    let flow = tcp(400, 100);
    let whole = flow.segments();
    type Change = (&'static str, fn(&mut Vec<u8>));
    let changes: [Change; 12] = [
        ("DSCP", |octets| octets[1] ^= 4),
        ("ECN", |octets| octets[1] ^= 1),
        ("TTL", |octets| octets[8] -= 1),
        ("DF", |octets| octets[6] = 0x40),
        ("more fragments", |octets| octets[6] = 0x20),
        ("identification", |octets| octets[5] = octets[5].wrapping_add(1)),
        ("source", |octets| octets[15] ^= 1),
        ("port", |octets| octets[21] ^= 1),
        ("sequence", |octets| octets[27] ^= 1),
        ("acknowledgement", |octets| octets[31] ^= 1),
        ("window", |octets| octets[35] ^= 1),
        ("a flag", |octets| octets[33] |= FIN),
    ];
    for (what, change) in changes {
        let mut segments = whole.clone();
        let third = &mut segments[2];
        change(third);
        // Right checksums: it is the field that counts.
        third[10..12].fill(0);
        let header = !sum(&third[..20]);
        third[10..12].copy_from_slice(&header.to_be_bytes());
        third[36..38].fill(0);
        let transport = !transport_sum(third);
        third[36..38].copy_from_slice(&transport.to_be_bytes());
        let (_, _, count) = join(&mut packets(&segments)).unwrap();
        assert_eq!(count, 2, "{what}");
    }
    let (_, _, count) = join(&mut packets(&whole)).unwrap();
    assert_eq!(count, 4);
}

#[test]
fn what_is_not_intact_is_not_joined() {
    let flow = tcp(400, 100);
    for (broken, at, expected) in [(0, 60, None), (1, 60, None), (2, 139, Some(2)), (2, 10, Some(2))] {
        let mut segments = flow.segments();
        segments[broken][at] ^= 1;
        let count = join(&mut packets(&segments)).map(|(_, _, count)| count);
        assert_eq!(count, expected, "octet {at} of segment {broken}");
    }
}

#[test]
fn a_short_or_pushed_segment_is_the_last_and_another_tunnel_another_write() {
    let mut flow = tcp(250, 100);
    let mut segments = flow.segments();
    flow.sequence = flow.sequence.wrapping_add(250);
    flow.id = flow.id.wrapping_add(3);
    segments.extend(flow.segments());
    assert_eq!(join(&mut packets(&segments)).unwrap().2, 3);

    let flow = tcp(300, 100);
    let pushed: Vec<_> = flow
        .payload
        .chunks(100)
        .enumerate()
        .map(|(number, payload)| flow.packet(payload, number, if number == 1 { ACK | PSH } else { ACK }))
        .collect();
    let mut together = packets(&pushed);
    let (_, whole, count) = join(&mut together).unwrap();
    assert_eq!((count, whole[33]), (2, ACK | PSH));

    let mut two = packets(&flow.segments());
    two[1].meta.tunnel = crate::api::TunnelId(7);
    assert!(join(&mut two).is_none());
}

#[test]
fn udp_is_joined_only_where_the_kernel_can_cut_it() {
    let flow = Flow {
        protocol: UDP,
        ..tcp(300, 100)
    };
    let packets = packets(&flow.segments());
    assert!(Run::of(&packets, [false, true]).is_some());
    assert!(Run::of(&packets, [true, false]).is_none());
}

#[test]
fn no_more_datagrams_are_joined_than_every_kernel_cuts() {
    for (protocol, most) in [(TCP, 100), (UDP, 64)] {
        let flow = Flow {
            protocol,
            ..tcp(100 * 20, 20)
        };
        let (_, _, count) = join(&mut packets(&flow.segments())).unwrap();
        assert_eq!(count, most);
    }
}

#[test]
fn the_destination_in_a_routing_header_stays_in_the_checksums() {
    let flow = Flow {
        v6: true,
        ..tcp(250, 100)
    };
    // Of type 2 (RFC 6275 6.4): next header, length, type, segments left, four octets of zero, the home address.
    let mut routing = vec![TCP, 2, 2, 1, 0, 0, 0, 0];
    routing.extend([0x40; 16]);
    // The pseudo-header's sum with that address, as the kernel gives it.
    let mut whole = flow.partial(&flow.payload, 0, ACK);
    let mut towards_home = whole.clone();
    towards_home[24..40].fill(0x40);
    let partial = {
        let mut pseudo = towards_home[8..40].to_vec();
        pseudo.extend(u32::try_from(whole.len() - 40).unwrap().to_be_bytes());
        pseudo.extend([0, TCP]);
        sum(&pseudo)
    };
    whole[56..58].copy_from_slice(&partial.to_be_bytes());
    whole[6] = 43;
    whole.splice(40..40, routing.iter().copied());
    let length = u16::try_from(whole.len() - 40).unwrap();
    whole[4..6].copy_from_slice(&length.to_be_bytes());
    let header = VnetHeader {
        checksum_start: 64,
        ..flow.vnet()
    };
    let segments = split(&header, &whole).unwrap();
    assert_eq!(segments.len(), 3);
    for segment in &segments {
        let octets = segment.octets();
        assert_eq!(octets[40..64], routing);
        let mut seen_at_home = octets.to_vec();
        seen_at_home.drain(40..64);
        seen_at_home[6] = TCP;
        seen_at_home[24..40].fill(0x40);
        assert_eq!(transport_sum(&seen_at_home), 0xffff);
    }
}
