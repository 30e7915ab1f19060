//! A TUN with two queues, seen from both ends.

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use xvpn_dataplane::buffer::{Batch, Pool};
use xvpn_dataplane::io::Port;
use xvpn_dataplane::io::fault::Fault;
use xvpn_dataplane::io::tun::{OpenTun, Room, TunError, TunPort, TunQueue};
use xvpn_dataplane::stats::QueueStats;
use xvpn_dataplane::{Discard, TunnelId};

use crate::netns::{TUN_DEVICE, await_readable, bring_up, configure, exists, set_mtu, until};

pub(crate) const TESTS: &[crate::Test] = &[
    ("what_the_kernel_routes_into_a_tun_is_read_from_its_queues", reads),
    (
        "what_is_written_to_a_tun_reaches_a_socket_with_its_checksum",
        writes,
    ),
    (
        "an_interface_name_in_use_is_refused_with_a_remedy",
        refuses_a_taken_name,
    ),
    ("an_interface_goes_with_its_last_queue", goes_with_its_last_queue),
    (
        "a_packet_longer_than_any_that_is_carried_is_counted_and_the_next_is_read",
        counts_what_is_too_long,
    ),
    (
        "writing_while_the_interface_is_down_costs_the_packet_only",
        survives_a_down_interface,
    ),
];

fn open(name: &str, queues: usize) -> OpenTun {
    let open = TunQueue::open(Path::new(TUN_DEVICE), name, queues).unwrap();
    assert_eq!(open.queues.len(), queues);
    open
}

fn reads() {
    let tun = open("xr0", 2);
    assert_eq!(tun.note, None);
    assert!(tun.queues.iter().all(TunQueue::has_vnet_header));
    let error = tun.queues[0].read(&mut Room::new(0)).unwrap_err();
    assert_eq!(Fault::of(&error), Fault::WouldBlock);
    configure("xr0", Ipv4Addr::new(10, 90, 0, 1)).unwrap();

    let mut room = Room::new(2048);
    // Many flows, so that the kernel's hash finds both queues.
    for flow in 0..64u8 {
        let socket = UdpSocket::bind("10.90.0.1:0").unwrap();
        socket.send_to(&[flow, 0xaa, 0xbb], "10.90.0.2:9").unwrap();
    }
    let mut seen = [0; 2];
    let mut flows = std::collections::BTreeSet::new();
    for (queue, seen) in tun.queues.iter().zip(&mut seen) {
        while await_readable(queue.as_fd(), Duration::from_millis(100)) {
            let (header, len) = queue.read(&mut room).unwrap();
            let packet = &mut room.packet_mut()[..len];
            header.settle(packet).unwrap();
            // Router solicitations and the like come along.
            if packet[0] >> 4 != 4 || packet[9] != 17 {
                continue;
            }
            assert_eq!(len, 31);
            assert_eq!(packet[16..20], [10, 90, 0, 2]);
            assert_eq!(udp_sum(packet), 0xffff, "a complete checksum");
            flows.insert(packet[28]);
            *seen += 1;
        }
    }
    assert_eq!(flows.len(), 64);
    assert!(
        seen.iter().all(|&count| count > 0),
        "both queues carry flows: {seen:?}"
    );
}

fn writes() {
    let tun = open("xw0", 2);
    configure("xw0", Ipv4Addr::new(10, 91, 0, 1)).unwrap();
    let socket = UdpSocket::bind("10.91.0.1:4242").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    for (index, queue) in tun.queues.iter().enumerate() {
        let text = format!("from queue {index}");
        queue
            .write(&udp_packet([10, 91, 0, 2], [10, 91, 0, 1], 4242, text.as_bytes()))
            .unwrap();
        let mut room = [0; 64];
        let (len, from) = socket.recv_from(&mut room).unwrap();
        assert_eq!(&room[..len], text.as_bytes());
        assert_eq!(from.to_string(), "10.91.0.2:7");
    }
}

fn refuses_a_taken_name() {
    let _first = open("xt0", 1);
    for name in ["xt0", "lo"] {
        let error = TunQueue::open(Path::new(TUN_DEVICE), name, 1).unwrap_err();
        assert!(matches!(error, TunError::Taken(_)), "{error}");
        assert!(error.to_string().contains("ip -d link show"), "{error}");
    }
}

fn goes_with_its_last_queue() {
    let mut tun = open("xg0", 2);
    drop(tun.queues.pop());
    assert!(exists("xg0"));
    drop(tun);
    until("the interface to go", || (!exists("xg0")).then_some(()));
}

fn survives_a_down_interface() {
    let tun = open("xd0", 1);
    let packet = udp_packet([10, 92, 0, 2], [10, 92, 0, 1], 1, b"x");
    let error = tun.queues[0].write(&packet).unwrap_err();
    assert_eq!(Fault::of(&error), Fault::Rejected, "{error}");
    bring_up("xd0").unwrap();
    tun.queues[0].write(&packet).unwrap();
}

/// From port 7, with both checksums right.
pub(crate) fn udp_packet(source: [u8; 4], destination: [u8; 4], port: u16, payload: &[u8]) -> Vec<u8> {
    let udp_len = u16::try_from(8 + payload.len()).unwrap();
    let mut packet = vec![0x45, 0];
    packet.extend((20 + udp_len).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    packet.extend(source);
    packet.extend(destination);
    let header = !sum(&packet);
    packet[10..12].copy_from_slice(&header.to_be_bytes());
    packet.extend(7u16.to_be_bytes());
    packet.extend(port.to_be_bytes());
    packet.extend(udp_len.to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(payload);
    let transport = !udp_sum(&packet);
    packet[26..28].copy_from_slice(&transport.to_be_bytes());
    packet
}

/// The sum over the pseudo-header and the datagram: 0xffff if the checksum is right.
pub(crate) fn udp_sum(packet: &[u8]) -> u16 {
    let mut covered = packet[12..20].to_vec();
    covered.extend([0, 17]);
    covered.extend(&packet[24..26]);
    covered.extend(&packet[20..]);
    sum(&covered)
}

fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}

fn counts_what_is_too_long() {
    let mut tun = open("xl0", 1);
    configure("xl0", Ipv4Addr::new(10, 96, 0, 1)).unwrap();
    // An operator's doing.
    set_mtu("xl0", 65_535).unwrap();
    let stats = Arc::new(QueueStats::new());
    let mut port = TunPort::new(Arc::clone(&stats));
    let id = TunnelId(4);
    port.insert(id, tun.queues.remove(0));
    let application = UdpSocket::bind("10.96.0.1:0").unwrap();
    for length in [20_000, 100] {
        application.send_to(&vec![1; length], "10.96.0.2:9").unwrap();
    }
    let (mut pool, mut lengths) = (Pool::default(), Vec::new());
    until("the short one", || {
        port.mark_ready(id);
        let mut batch = Batch::default();
        port.recv(&mut batch, &mut pool).unwrap();
        // Others may be the kernel's own.
        let udp = batch.drain().filter(|packet| packet.octets()[0] >> 4 == 4);
        lengths.extend(udp.map(|packet| packet.len()));
        (!lengths.is_empty()).then_some(())
    });
    assert_eq!(lengths, [128]);
    assert_eq!(stats.discarded(Discard::TunUnusable), 1);
}
