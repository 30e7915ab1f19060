//! What becomes of packets when a real kernel refuses to cut runs of them.

use std::net::SocketAddr;
use std::sync::Arc;

use xvpn_dataplane::Refused;
use xvpn_dataplane::buffer::{Batch, Meta, Packet, Pool};
use xvpn_dataplane::io::udp::UdpSocket;
use xvpn_dataplane::io::wire::WirePort;
use xvpn_dataplane::io::{Port, Sent};
use xvpn_dataplane::stats::QueueStats;

use crate::netns::without_checksums;
use crate::sockets::collect;

pub(crate) const TESTS: &[crate::Test] = &[(
    "runs_that_the_kernel_does_not_cut_leave_singly_and_only_that_peer_is_given_up",
    leave_singly,
)];

const RUN: usize = 5;

fn leave_singly() {
    let bind = |address: &str| {
        UdpSocket::group(address.parse().unwrap(), 1, 1 << 20)
            .unwrap()
            .remove(0)
    };
    let (mut one, mut other) = (bind("127.0.0.1:0"), bind("127.0.0.2:0"));
    let sender = bind("127.0.0.1:0");
    sender.cuts_runs().unwrap();
    // The kernel does not cut what is to have no checksum: EINVAL for a run, while a single datagram leaves.
    without_checksums(&sender);
    let from = sender.bound();
    let mut wire = WirePort::new(vec![sender], Vec::new(), Arc::new(QueueStats::new()));
    let mut pool = Pool::default();
    let mut send = |to: SocketAddr| {
        let mut batch = Batch::default();
        for number in 0..RUN {
            let mut packet = Packet::new();
            packet.set(&[u8::try_from(number).unwrap(); 100]);
            packet.meta = Meta {
                dont_fragment: true,
                ..packet.meta
            };
            (packet.meta.path.local, packet.meta.path.remote) = (from, to);
            // One SPI.
            packet.octets_mut()[..4].fill(9);
            batch.push(packet);
        }
        let [_, before] = wire.system_calls();
        let sent = wire.send(&mut batch, &mut pool);
        let all = Sent {
            packets: RUN,
            ..Sent::default()
        };
        assert_eq!(sent, all);
        let [_, after] = wire.system_calls();
        (after - before, wire.take_refused())
    };
    let tried = 2;
    for _ in 1..8 {
        assert_eq!(send(one.bound()), (tried, None));
    }
    let refused = Refused::Gso {
        remote: one.bound().ip(),
    };
    assert_eq!(send(one.bound()), (tried, Some(refused)));
    assert_eq!(send(one.bound()), (1, None), "in one call, not tried");
    assert_eq!(send(other.bound()), (tried, None), "another peer is");
    for (socket, runs) in [(&mut one, 9), (&mut other, 1)] {
        let numbers: Vec<u8> = collect(socket, runs * RUN)
            .iter()
            .map(|(_, octets)| octets[99])
            .collect();
        let expected: Vec<u8> = (0..runs).flat_map(|_| [0, 1, 2, 3, 4]).collect();
        assert_eq!(numbers, expected);
    }
}
