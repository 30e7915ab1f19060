//! UDP and raw sockets over the loopback interface.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use std::sync::Arc;
use xvpn_dataplane::TunnelId;
use xvpn_dataplane::buffer::{Batch, Meta, Packet, Pool};
use xvpn_dataplane::io::esp_raw::RawEsp;
use xvpn_dataplane::io::fault::Fault;
use xvpn_dataplane::io::tun::{Room, TunQueue};
use xvpn_dataplane::io::udp::socket::path_mtu;
use xvpn_dataplane::io::udp::{self, IkeSocket, Outgoing, UdpSocket};
use xvpn_dataplane::io::wire::WirePort;
use xvpn_dataplane::io::{Port, Sent, TooBig};
use xvpn_dataplane::stats::QueueStats;

use crate::netns::{TUN_DEVICE, configure, set_mtu, until};

pub(crate) const TESTS: &[crate::Test] = &[
    ("a_batch_keeps_addresses_and_traffic_class_ipv4", || {
        batch("0.0.0.0:0", "127.0.0.1", "127.0.0.2")
    }),
    ("a_batch_keeps_addresses_and_traffic_class_ipv6", || {
        batch("[::]:0", "::1", "::1")
    }),
    (
        "a_group_shares_one_port_and_keeps_a_peer_on_one_socket",
        shares_a_port,
    ),
    ("a_steered_group_takes_each_spi_on_one_socket_ipv4", || {
        steers("127.0.0.1:0")
    }),
    ("a_steered_group_takes_each_spi_on_one_socket_ipv6", || {
        steers("[::1]:0")
    }),
    (
        "a_datagram_too_long_is_reported_and_the_others_leave",
        reports_too_long,
    ),
    (
        "a_long_ike_message_is_cut_by_ip_on_the_socket_that_sets_df",
        cuts_ike,
    ),
    ("only_packets_that_may_be_cut_are_cut", cuts_what_may_be_cut),
    (
        "an_unreachable_peer_costs_its_own_datagram_only",
        survives_unreachable,
    ),
    ("an_ike_socket_receives_what_it_was_sent", ike),
    ("a_datagram_longer_than_its_room_is_marked", marks_truncated),
    ("raw_esp_finds_the_queue_of_its_spi_ipv4", || {
        raw("0.0.0.0", "127.0.0.1")
    }),
    ("raw_esp_finds_the_queue_of_its_spi_ipv6", || raw("::", "::1")),
];

fn bind(address: &str, count: usize) -> Vec<UdpSocket> {
    UdpSocket::group(address.parse().unwrap(), count, 1 << 20).unwrap()
}

/// Receives `count` datagrams.
pub(crate) fn collect(socket: &mut UdpSocket, count: usize) -> Vec<(udp::Meta, Vec<u8>)> {
    let mut all = Vec::new();
    until("datagrams", || {
        all.extend(take(socket));
        (all.len() >= count).then_some(())
    });
    all
}

fn take(socket: &mut UdpSocket) -> Vec<(udp::Meta, Vec<u8>)> {
    let mut rooms = vec![[0u8; 2048]; 64];
    let mut metas = Vec::new();
    let each = |_, meta: Option<udp::Meta>| metas.push(meta.unwrap());
    match socket.receive(rooms.iter_mut().map(|room| &mut room[..]), each) {
        Ok(count) => assert_eq!(count, metas.len()),
        Err(error) => assert_eq!(Fault::of(&error), Fault::WouldBlock),
    }
    metas
        .into_iter()
        .zip(rooms)
        .map(|(meta, room)| (meta, room[..meta.len].to_vec()))
        .collect()
}

fn batch(any: &str, alice: &str, bob: &str) {
    let (alice, bob): (IpAddr, IpAddr) = (alice.parse().unwrap(), bob.parse().unwrap());
    let mut sender = bind(any, 1).remove(0);
    let mut receiver = bind(any, 1).remove(0);
    let remote = SocketAddr::new(bob, receiver.bound().port());
    let payloads: Vec<Vec<u8>> = (0..40u8)
        .map(|index| vec![index; usize::from(index) * 30 + 1])
        .collect();
    let datagrams = payloads.iter().zip(0u8..).map(|(bytes, index)| Outgoing {
        bytes,
        local: alice,
        remote,
        // Every DSCP and ECN combination must survive, also those with ECN bits.
        traffic_class: index * 6 + 1,
    });
    assert_eq!(
        sender.send(datagrams, |index, fault| panic!("datagram {index}: {fault:?}")),
        40
    );

    let received = collect(&mut receiver, 40);
    assert_eq!(received.len(), 40);
    for ((meta, bytes), (index, sent)) in received.iter().zip((0u8..).zip(&payloads)) {
        assert_eq!(bytes, sent, "in order");
        assert_eq!(meta.local, remote);
        assert_eq!(meta.remote, SocketAddr::new(alice, sender.bound().port()));
        assert_eq!(meta.traffic_class, index * 6 + 1);
        assert!(!meta.truncated);
    }
}

fn shares_a_port() {
    let mut group = bind("127.0.0.1:0", 3);
    let to = group[0].bound();
    assert!(group.iter().all(|socket| socket.bound() == to));
    let mut sender = bind("127.0.0.1:0", 1).remove(0);
    let one = Outgoing {
        bytes: b"esp",
        local: to.ip(),
        remote: to,
        traffic_class: 0,
    };
    assert_eq!(
        sender.send(std::iter::repeat_n(one, 20), |_, fault| panic!("{fault:?}")),
        20
    );
    let mut counts = Vec::new();
    until("all of them", || {
        let now: Vec<usize> = group.iter_mut().map(|socket| take(socket).len()).collect();
        counts.extend(now.into_iter().filter(|&count| count > 0));
        (counts.iter().sum::<usize>() == 20).then_some(())
    });
    assert!(
        IkeSocket::bind(to).is_err(),
        "a socket of another kind may not join"
    );
}

/// Whatever the port of the sender, and although the kernel may join what comes from one.
fn steers(address: &str) {
    let mut group = bind(address, 3);
    group.iter().try_for_each(UdpSocket::join_datagrams).unwrap();
    UdpSocket::steer(&group).unwrap();
    let to = group[0].bound();
    let mut senders = [bind(address, 1).remove(0), bind(address, 1).remove(0)];
    let esp = (0x1000..0x1030u32).map(|spi| [&spi.to_be_bytes()[..], &[0, 0, 0, 1, 9, 9]].concat());
    let others = [vec![0, 0, 0, 0, 7, 7], vec![0xff], vec![1, 2, 3], Vec::new()];
    let sent: Vec<Vec<u8>> = esp.chain(others).collect();
    for sender in &mut senders {
        let datagrams = sent.iter().map(|bytes| Outgoing {
            bytes,
            local: to.ip(),
            remote: to,
            traffic_class: 0,
        });
        assert_eq!(sender.send(datagrams, |_, fault| panic!("{fault:?}")), sent.len());
    }
    for (index, socket) in group.iter_mut().enumerate() {
        let mine = |bytes: &&Vec<u8>| {
            let number = bytes.first_chunk().map_or(0, |spi| u32::from_be_bytes(*spi));
            number % 3 == u32::try_from(index).unwrap()
        };
        let expected: Vec<&Vec<u8>> = sent.iter().filter(mine).collect();
        let received = collect(socket, 2 * expected.len());
        for sender in &senders {
            let from = |(meta, _): &&(udp::Meta, Vec<u8>)| meta.remote.port() == sender.bound().port();
            let bytes: Vec<&Vec<u8>> = received.iter().filter(from).map(|(_, bytes)| bytes).collect();
            assert_eq!(bytes, expected, "socket {index}");
        }
    }
}

fn reports_too_long() {
    let tun = TunQueue::open(Path::new(TUN_DEVICE), "xm0", 1).unwrap();
    configure("xm0", Ipv4Addr::new(10, 93, 0, 1)).unwrap();
    set_mtu("xm0", 1400).unwrap();
    let mut socket = bind("0.0.0.0:0", 1).remove(0);
    let remote = "10.93.0.2:4500".parse().unwrap();
    let (long, short) = (vec![1; 1373], vec![2; 1372]);
    let datagrams = [&short, &long, &short].map(|bytes| Outgoing {
        bytes,
        local: "10.93.0.1".parse().unwrap(),
        remote,
        traffic_class: 0,
    });
    let mut faults = Vec::new();
    assert_eq!(
        socket.send(datagrams.into_iter(), |index, fault| faults.push((index, fault))),
        2
    );
    assert_eq!(faults, [(1, Fault::TooBig)]);
    assert_eq!(path_mtu("0.0.0.0".parse().unwrap(), remote).unwrap(), 1400);
    assert_eq!(path_mtu("10.93.0.1".parse().unwrap(), remote).unwrap(), 1400);
    let mut room = Room::new(2048);
    let packet = until("an outer packet", || {
        let len = tun.queues[0].read(&mut room).ok()?.1;
        let packet = &room.packet()[..len];
        (packet[0] >> 4 == 4 && packet[9] == 17).then(|| packet.to_vec())
    });
    assert_eq!(packet.len(), 1400);
    assert_eq!(packet[6] & 0x40, 0x40, "DF is set");
}

fn cuts_ike() {
    let tun = TunQueue::open(Path::new(TUN_DEVICE), "xi0", 1).unwrap();
    configure("xi0", Ipv4Addr::new(10, 94, 0, 1)).unwrap();
    let socket = bind("0.0.0.0:0", 1).remove(0);
    let ike = socket.share().unwrap();
    ike.send_marked(
        "10.94.0.1".parse().unwrap(),
        "10.94.0.2:4500".parse().unwrap(),
        &[7; 3000],
    )
    .unwrap();
    let mut room = Room::new(2048);
    let mut octets = 0;
    until("all fragments", || {
        let len = tun.queues[0].read(&mut room).ok()?.1;
        let packet = &room.packet()[..len];
        if packet[0] >> 4 == 4 && packet[9] == 17 {
            octets += len - 20;
        }
        (octets == 3000 + 4 + 8).then_some(())
    });
}

fn cuts_what_may_be_cut() {
    let tun = TunQueue::open(Path::new(TUN_DEVICE), "xc0", 1).unwrap();
    configure("xc0", Ipv4Addr::new(10, 95, 0, 1)).unwrap();
    let udp = bind("10.95.0.1:0", 1);
    let mut packet = Packet::new();
    packet.set(&[7; 2000]);
    let path = &mut packet.meta.path;
    (path.local, path.remote) = (udp[0].bound(), "10.95.0.2:4500".parse().unwrap());
    let mut wire = WirePort::new(udp, Vec::new(), Arc::new(QueueStats::new()));
    let (mut pool, mut batch) = (Pool::default(), Batch::default());
    let mut send = |may_be_cut: [bool; 3]| {
        for cut in may_be_cut {
            let mut copy = pool.take();
            copy.set(packet.octets());
            copy.meta = Meta {
                dont_fragment: !cut,
                tunnel: TunnelId(3),
                ..packet.meta
            };
            batch.push(copy);
        }
        wire.send(&mut batch, &mut pool)
    };
    let too_big = Some(TooBig {
        tunnel: TunnelId(3),
        path_mtu: 1500,
    });
    let expected = Sent {
        packets: 1,
        lost: 2,
        too_long: 2,
        too_big,
    };
    assert_eq!(send([false, true, false]), expected);
    let mut room = Room::new(2048);
    let mut octets = 0;
    until("both fragments", || {
        let len = tun.queues[0].read(&mut room).ok()?.1;
        let packet = &room.packet()[..len];
        if packet[0] >> 4 == 4 && packet[9] == 17 {
            octets += len - 20;
        }
        (octets == 2000 + 8).then_some(())
    });
}

fn survives_unreachable() {
    let mut socket = bind("0.0.0.0:0", 1).remove(0);
    let target = bind("127.0.0.1:0", 1).remove(0);
    let to = |remote: SocketAddr| Outgoing {
        bytes: b"x",
        local: Ipv4Addr::UNSPECIFIED.into(),
        remote,
        traffic_class: 0,
    };
    let datagrams = [
        "203.0.113.1:1".parse().unwrap(),
        target.bound(),
        "[2001:db8::1]:1".parse().unwrap(),
    ]
    .map(to);
    let mut faults = Vec::new();
    assert_eq!(
        socket.send(datagrams.into_iter(), |index, fault| faults.push((index, fault))),
        1
    );
    assert_eq!(faults[0], (0, Fault::Unreachable));
    assert_eq!(faults[1].0, 2);
    // A source address that is not ours.
    let foreign = Outgoing {
        local: "192.0.2.77".parse().unwrap(),
        ..to(target.bound())
    };
    let mut fault = None;
    assert_eq!(socket.send(std::iter::once(foreign), |_, f| fault = Some(f)), 0);
    assert!(fault.is_some_and(|fault| fault != Fault::Gone), "{fault:?}");
}

fn ike() {
    let alice = IkeSocket::bind("127.0.0.1:500".parse().unwrap()).unwrap();
    let bob = IkeSocket::bind("0.0.0.0:501".parse().unwrap()).unwrap();
    let mut room = [0; 70_000];
    assert_eq!(
        alice.receive(&mut room).unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
    let message: Vec<u8> = (0..60_000u32).map(|index| index.to_be_bytes()[3]).collect();
    alice
        .send(
            "127.0.0.1".parse().unwrap(),
            "127.0.0.2:501".parse().unwrap(),
            &message,
        )
        .unwrap();
    let meta = until("the message", || bob.receive(&mut room).ok());
    assert_eq!(&room[..meta.len], message);
    assert_eq!(meta.local, "127.0.0.2:501".parse().unwrap());
    assert_eq!(meta.remote, "127.0.0.1:500".parse().unwrap());
    // The answer comes from the address that was asked.
    bob.send_marked(meta.local.ip(), meta.remote, b"answer").unwrap();
    let meta = until("the answer", || alice.receive(&mut room).ok());
    assert_eq!(&room[..meta.len], b"\0\0\0\0answer");
    assert_eq!(meta.remote, "127.0.0.2:501".parse().unwrap());
    bob.send_keepalive(meta.remote.ip(), meta.local).unwrap();
    let meta = until("the keepalive", || alice.receive(&mut room).ok());
    assert_eq!(room[..meta.len], [0xff]);
}

fn marks_truncated() {
    let alice = IkeSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    alice
        .send("127.0.0.1".parse().unwrap(), alice.bound(), &[1; 100])
        .unwrap();
    let mut room = [0; 40];
    let meta = until("the datagram", || alice.receive(&mut room).ok());
    assert!(meta.truncated);
    assert_eq!(meta.len, 40);
}

fn raw(bound: &str, address: &str) {
    let address: IpAddr = address.parse().unwrap();
    let mut group = RawEsp::group(bound.parse().unwrap(), 2, 1 << 20).unwrap();
    let packets: Vec<Vec<u8>> = (256..296u32)
        .map(|spi| [&spi.to_be_bytes()[..], &[0, 0, 0, 1, 9, 9]].concat())
        .collect();
    let datagrams = packets.iter().map(|bytes| Outgoing {
        bytes,
        local: address,
        remote: SocketAddr::new(address, 4500),
        traffic_class: 0x2b,
    });
    assert_eq!(
        group[0].send(datagrams, |index, fault| panic!("packet {index}: {fault:?}")),
        40
    );
    for (queue, socket) in group.iter_mut().enumerate() {
        let mut rooms = vec![[0u8; 2048]; 64];
        let mut metas = Vec::new();
        until("ESP packets", || {
            let filled = metas.len();
            let free = rooms[filled..].iter_mut().map(|room| &mut room[..]);
            let _ = socket.receive(free, |_, meta| metas.push(meta.unwrap()));
            (metas.len() >= 20).then_some(())
        });
        assert_eq!(metas.len(), 20, "half of the SPIs are queue {queue}'s");
        for (meta, room) in metas.iter().zip(&rooms) {
            let start = socket.header_len(&room[..meta.len]).unwrap();
            let esp = &room[start..meta.len];
            assert_eq!(esp.len(), 10);
            assert_eq!(usize::from(esp[3]) % 2, queue);
            assert_eq!(meta.local.ip(), address);
            assert_eq!(meta.remote.ip(), address);
            assert_eq!(meta.traffic_class, 0x2b);
        }
    }
}
