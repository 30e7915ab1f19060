//! Two whole dataplanes with fixed keys pass packets, learn, close and stop.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use xvpn_dataplane::{Encapsulation, Offloads, Punted, Spi, TunnelId, TunnelSpec};

use crate::lab::{ALICE, BOB, PATIENCE, PORT, Side, TUNNEL, bind, pair, pair_with, start, tunnel};
use crate::netns::{self, until};

pub(crate) const TESTS: &[crate::Test] = &[
    ("udp_passes_both_ways_between_two_gateways", udp_passes),
    ("a_file_passes_over_tcp_in_udp_over_ipv4", || {
        transfers("127.0.0.1", "127.0.0.2", Encapsulation::Udp)
    }),
    ("a_file_passes_over_tcp_in_udp_over_ipv6", || {
        transfers("::1", "::1", Encapsulation::Udp)
    }),
    ("a_file_passes_over_tcp_in_raw_esp_over_ipv4", || {
        transfers("127.0.0.1", "127.0.0.2", Encapsulation::None)
    }),
    ("a_file_passes_whatever_each_side_leaves_to_the_kernel", || {
        for switched in 0..8 {
            let offloads = Offloads {
                tun: switched & 1 == 0,
                gso: switched & 2 == 0,
                gro: switched & 4 == 0,
            };
            let sides = [offloads, Offloads::default()];
            let (alice, bob) = pair_with("127.0.0.1", "127.0.0.2", Encapsulation::Udp, sides);
            pass_file(&alice, &bob);
        }
    }),
    (
        "a_path_that_takes_less_is_learnt_and_a_file_still_passes",
        learns_path_mtu,
    ),
    (
        "an_idle_gateway_sleeps_also_after_its_interface_was_deleted",
        sleeps,
    ),
    (
        "ike_on_the_esp_port_is_handed_up_and_answered_from_there",
        punts_ike,
    ),
    ("an_unknown_spi_is_handed_up_as_a_hint", punts_unknown_spi),
    ("a_closed_tunnel_frees_its_name_and_the_others_go_on", closes),
    (
        "a_second_gateway_on_the_same_port_is_refused_with_a_remedy",
        refuses_a_second,
    ),
    ("stopping_takes_no_time_and_leaves_no_interface", stops),
];

fn udp_passes() {
    let (alice, bob) = pair("127.0.0.1", "127.0.0.2", Encapsulation::Udp);
    let (one, two) = (alice.host.run(|| bind(ALICE)), bob.host.run(|| bind(BOB)));
    let mut room = [0; 2048];
    for index in 0..200u16 {
        let payload = vec![7; usize::from(index) * 6];
        one.send_to(&payload, (BOB, PORT)).unwrap();
        let (len, from) = two.recv_from(&mut room).unwrap_or_else(|error| {
            panic!(
                "datagram {index}: {error}; {:?} {:?}",
                alice.counters(),
                bob.counters()
            )
        });
        assert_eq!(
            (&room[..len], from),
            (&payload[..], SocketAddr::from((ALICE, PORT)))
        );
        two.send_to(&payload, from).unwrap();
        assert_eq!(one.recv_from(&mut room).unwrap().0, len);
    }
    for side in [&alice, &bob] {
        let usage = side.started.control.usage();
        assert_eq!(usage.len(), 1, "{usage:?}");
        assert!(
            usage[0].usage.inbound_packets >= 200 && usage[0].usage.outbound_packets >= 200,
            "{usage:?}"
        );
    }
}

fn transfers(alice: &str, bob: &str, encapsulation: Encapsulation) {
    let (alice, bob) = pair(alice, bob, encapsulation);
    pass_file(&alice, &bob);
}

/// Sends a file there and back at once and compares.
fn pass_file(alice: &Side, bob: &Side) {
    let listener = bob.host.run(|| TcpListener::bind((BOB, PORT)).unwrap());
    let data: Vec<u8> = (0..FILE)
        .map(|index| (index * 31 % 251).to_le_bytes()[0])
        .collect();
    let begin = Instant::now();
    // Bob echoes: the file passes both ways at once.
    let echo = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut room = vec![0; 65536];
        loop {
            match stream.read(&mut room).unwrap() {
                0 => return,
                len => stream.write_all(&room[..len]).unwrap(),
            }
        }
    });
    let connected = alice
        .host
        .run(|| TcpStream::connect_timeout(&(BOB, PORT).into(), PATIENCE));
    let mut stream = connected
        .unwrap_or_else(|error| panic!("connect: {error}; {:?} {:?}", alice.counters(), bob.counters()));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let sent = data.clone();
    let writing = thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    writing.join().unwrap();
    echo.join().unwrap();
    assert!(back == data, "the file came back changed");
    let rate = f64::from(FILE) * 16.0 / begin.elapsed().as_secs_f64() / 1e6;
    println!(
        "  {FILE} octets there and back: {rate:.0} Mbit/s; {:?} {:?}",
        alice.counters(),
        bob.counters()
    );
}

fn learns_path_mtu() {
    struct Restore;
    impl Drop for Restore {
        fn drop(&mut self) {
            netns::set_mtu("lo", 65536).unwrap();
        }
    }
    let _restore = Restore;
    netns::set_mtu("lo", 1300).unwrap();
    let (alice, bob) = pair("127.0.0.1", "127.0.0.2", Encapsulation::Udp);
    pass_file(&alice, &bob);
    assert!(
        alice.counters().iter().any(|(name, _)| *name == "path_too_big"),
        "{:?}",
        alice.counters()
    );
    let inner = alice.started.control.inner_mtu(TUNNEL).unwrap();
    assert!((1200..1270).contains(&inner), "{inner}");
}

fn sleeps() {
    let (alice, bob) = pair("127.0.0.1", "127.0.0.2", Encapsulation::Udp);
    // Address autoconfiguration of IPv6 sends a little.
    thread::sleep(Duration::from_millis(100));
    let idle = || {
        let before = netns::cpu_ticks("xvpn-q");
        thread::sleep(Duration::from_millis(300));
        netns::cpu_ticks("xvpn-q") - before
    };
    assert!(idle() <= 2, "the queues work although there is nothing to do");
    alice.host.run(|| {
        netns::delete_interface("xvpn0").unwrap();
        assert!(!netns::exists("xvpn0"));
    });
    assert!(idle() <= 2, "the queues spin on the deleted interface");
    // What arrives for it is counted, and nothing falls over.
    let socket = bob.host.run(|| bind(BOB));
    socket.send_to(b"too late", (ALICE, PORT)).unwrap();
    until("the packet to be counted", || {
        alice.counters().contains(&("tun_refused", 1)).then_some(())
    });
    assert_eq!(alice.started.control.failure(), None);
    let control = &alice.started.control;
    control.close_tunnel(TUNNEL);
    alice.host.run(|| control.open_tunnel(&tunnel("xvpn0")).unwrap());
}

fn punts_ike() {
    let gateway = start("127.0.0.1:4500".parse().unwrap(), false).unwrap();
    let peer = UdpSocket::bind("127.0.0.2:4500").unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let message = vec![0xab; 3000];
    peer.send_to(&[&[0; 4], &message[..]].concat(), "127.0.0.1:4500")
        .unwrap();
    assert!(netns::await_readable(
        std::os::fd::AsFd::as_fd(&gateway.punts),
        PATIENCE
    ));
    let punted = until("the message", || gateway.punts.pop());
    let (local, remote) = (
        "127.0.0.1:4500".parse().unwrap(),
        "127.0.0.2:4500".parse().unwrap(),
    );
    assert_eq!(
        punted,
        Punted::Ike {
            local,
            remote,
            bytes: message
        }
    );
    gateway.ike[0].send_marked(local.ip(), remote, b"answer").unwrap();
    let mut room = [0; 100];
    let (len, from) = peer.recv_from(&mut room).unwrap();
    assert_eq!((&room[..len], from), (&b"\0\0\0\0answer"[..], local));
    gateway.control.stop().unwrap();
}

fn punts_unknown_spi() {
    let gateway = start("127.0.0.1:4500".parse().unwrap(), false).unwrap();
    let peer = UdpSocket::bind("127.0.0.2:4500").unwrap();
    for _ in 0..50 {
        peer.send_to(
            &[&[0, 0, 9, 9, 0, 0, 0, 1][..], &[0; 40]].concat(),
            "127.0.0.1:4500",
        )
        .unwrap();
    }
    let remote = peer.local_addr().unwrap();
    let punted = until("the hint", || gateway.punts.pop());
    assert_eq!(
        punted,
        Punted::UnknownSpi {
            spi: Spi(0x909),
            remote
        }
    );
    until("all to be counted", || {
        let counters = gateway.control.counters();
        counters
            .iter()
            .any(|counter| counter.name == "unknown_spi" && counter.value == 50)
            .then_some(())
    });
    let more = std::iter::from_fn(|| gateway.punts.pop()).count();
    assert!(more < 20, "hints are rate-limited, not {more}");
}

fn closes() {
    let (alice, bob) = pair("127.0.0.1", "127.0.0.2", Encapsulation::Udp);
    let other = TunnelSpec {
        id: TunnelId(9),
        ..tunnel("xvpn1")
    };
    let control = &alice.started.control;
    alice.host.run(|| {
        for _ in 0..3 {
            control.open_tunnel(&other).unwrap();
            assert!(netns::exists("xvpn1"));
            control.close_tunnel(other.id);
            assert!(!netns::exists("xvpn1"), "gone when close_tunnel returns");
        }
        let error = control
            .open_tunnel(&TunnelSpec {
                id: TunnelId(8),
                ..tunnel("xvpn0")
            })
            .unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    });
    let (one, two) = (alice.host.run(|| bind(ALICE)), bob.host.run(|| bind(BOB)));
    one.send_to(b"still here", (BOB, PORT)).unwrap();
    let mut room = [0; 100];
    assert_eq!(two.recv(&mut room).unwrap(), 10);
    assert_eq!(alice.started.control.failure(), None);
}

fn refuses_a_second() {
    let _first = start("127.0.0.1:4500".parse().unwrap(), false).unwrap();
    let Err(error) = start("127.0.0.1:4500".parse().unwrap(), false) else {
        panic!("two gateways on one port")
    };
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains("ss -lunp"), "{error}");
    let Err(error) = start("203.0.113.7:4500".parse().unwrap(), false) else {
        panic!("a foreign address")
    };
    assert_eq!(error.kind(), std::io::ErrorKind::AddrNotAvailable);
}

fn stops() {
    let (alice, _bob) = pair("127.0.0.1", "127.0.0.2", Encapsulation::Udp);
    let begin = Instant::now();
    alice.started.control.stop().unwrap();
    assert!(
        begin.elapsed() < Duration::from_millis(500),
        "{:?}",
        begin.elapsed()
    );
    alice.host.run(|| assert!(!netns::exists("xvpn0")));
    assert!(
        UdpSocket::bind(alice.udp).is_err(),
        "the IKE socket still holds the port"
    );
    drop(alice.started.ike);
    UdpSocket::bind(alice.udp).unwrap();
}

const FILE: u32 = 4 << 20;
