//! No packet of a flow overtakes another on its way through two gateways with two queues each.
//!
//! ```text
//!   host A                                                                  host B
//!   flow 0: 1 2 3 ..  --+                                             +-->  3 must not come before 2
//!   flow 1: 1 2 3 ..  --+-- xvpn0 q0,q1 == one SA == q0,q1 xvpn0 -----+     .. 3 2 1  begins a little later
//! ```
//!
//! With extended sequence numbers what is older than the window looks like a number of the next 2^32 and fails its ICV
//! (RFC 4303 A2.2): `bad_icv` counts losses of the window, too.
//!
//! The inbound SPIs are even: queue 0 receives, both send. So what queue 1 does is to seal on the SA that queue 0 seals on, too.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use xvpn_dataplane::{Encapsulation, Offloads, Steering};

use crate::lab::{ALICE, BOB, Side, pair_of};
use crate::netns;

pub(crate) const TESTS: &[crate::Test] = &[
    ("no_datagram_of_a_flow_overtakes_another", || {
        datagrams(Encapsulation::Udp, Offloads::default())
    }),
    ("no_datagram_of_a_flow_overtakes_another_without_offloads", || {
        datagrams(Encapsulation::Udp, NOTHING)
    }),
    ("no_datagram_of_a_flow_overtakes_another_in_raw_esp", || {
        datagrams(Encapsulation::None, Offloads::default())
    }),
    ("no_super_packet_of_a_flow_overtakes_another", streams),
];

const NOTHING: Offloads = Offloads {
    tun: false,
    gso: false,
    gro: false,
};

fn gateways(encapsulation: Encapsulation, offloads: Offloads) -> (Side, Side) {
    let sides = pair_of(
        "127.0.0.1",
        "127.0.0.2",
        encapsulation,
        [offloads; 2],
        (0x1000, 0x2002),
    );
    // The thread of a queue has the flows spread, when it gets a CPU.
    thread::sleep(Duration::from_millis(200));
    sides
}

fn datagrams(encapsulation: Encapsulation, offloads: Offloads) {
    let (alice, bob) = gateways(encapsulation, offloads);
    let before = netns::cpu_ticks("xvpn-q1");
    let mut all = Seen::default();
    for round in 0..ROUNDS {
        // New flows each time: what happens at the first reply happens often.
        let open = |side: &Side, here: Ipv4Addr, there: Ipv4Addr| -> Vec<UdpSocket> {
            side.host.run(|| {
                let port = |flow| 10_000 + round * FLOWS + flow;
                (0..FLOWS)
                    .map(|flow| {
                        let socket = UdpSocket::bind((here, port(flow))).unwrap();
                        socket.connect((there, port(flow))).unwrap();
                        socket.set_nonblocking(true).unwrap();
                        socket
                    })
                    .collect()
            })
        };
        let (at_alice, at_bob) = (open(&alice, ALICE, BOB), open(&bob, BOB, ALICE));
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let receiving = [&at_alice, &at_bob].map(|sockets| scope.spawn(|| receive(sockets, &over)));
            let sending = [
                scope.spawn(|| send(&at_alice, Duration::ZERO)),
                scope.spawn(|| send(&at_bob, HEAD_START)),
            ];
            sending.into_iter().for_each(|thread| thread.join().unwrap());
            thread::sleep(Duration::from_millis(20));
            over.store(true, Ordering::Relaxed);
            for thread in receiving {
                all.add(&thread.join().unwrap());
            }
        });
    }
    println!("  {all:?}");
    judge(&[alice, bob], before);
    assert!(all.received > all.sent() / 10, "{all:?}");
    if Steering::load(2).is_ok() {
        assert_eq!(all.overtaken, 0, "{all:?}");
    }
}

/// Both queues sealed, and nothing that one SA sealed on two queues fell out of the window of its receiver.
fn judge(sides: &[Side], before: u64) {
    assert!(
        netns::cpu_ticks("xvpn-q1") > before,
        "queue 1 had nothing to seal"
    );
    for side in sides {
        let counters = side.counters();
        println!("  {counters:?}");
        let lost = |(name, _): &&(&str, u64)| ["replayed", "outside_window", "bad_icv"].contains(name);
        assert_eq!(counters.iter().find(lost), None);
    }
}

fn send(flows: &[UdpSocket], wait: Duration) {
    thread::sleep(wait);
    let mut packet = [0; 900];
    let begin = Instant::now();
    let mut number = 0u32;
    while begin.elapsed() < ROUND {
        // Bursts of each flow, so that some of one wait in the queue.
        for flow in flows {
            for _ in 0..BURST {
                number += 1;
                packet[..4].copy_from_slice(&number.to_be_bytes());
                // The interface may be full: that is a loss, not a disorder.
                let _ = flow.send(&packet);
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[derive(Debug, Default)]
struct Seen {
    received: u64,
    lost: u64,
    overtaken: u64,
}

impl Seen {
    fn add(&mut self, more: &Self) {
        self.received += more.received;
        self.lost += more.lost;
        self.overtaken += more.overtaken;
    }

    fn sent(&self) -> u64 {
        self.received + self.lost
    }
}

/// Counts what comes after a later one of its flow.
fn receive(flows: &[UdpSocket], over: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let mut highest = vec![0u32; flows.len()];
    let mut room = [0; 1024];
    let mut last = false;
    loop {
        let mut idle = true;
        for (flow, highest) in flows.iter().zip(&mut highest) {
            loop {
                match flow.recv(&mut room) {
                    Ok(900) => {}
                    Ok(other) => panic!("{other} octets"),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
                idle = false;
                seen.received += 1;
                let number = u32::from_be_bytes([room[0], room[1], room[2], room[3]]);
                if number < *highest {
                    seen.overtaken += 1;
                }
                *highest = number.max(*highest);
            }
        }
        if idle && last {
            break;
        }
        last = over.load(Ordering::Relaxed);
        if idle {
            thread::sleep(Duration::from_micros(200));
        }
    }
    // A flow has every number that is in one of its bursts; the last tells how many there were.
    let per_flow = |highest: &u32| u64::from(*highest) / flows.len() as u64;
    seen.lost = highest
        .iter()
        .map(per_flow)
        .sum::<u64>()
        .saturating_sub(seen.received);
    seen
}

fn streams() {
    use std::io::{Read, Write};
    let (alice, bob) = gateways(Encapsulation::Udp, Offloads::default());
    let before = netns::cpu_ticks("xvpn-q1");
    let listener = bob.host.run(|| TcpListener::bind((BOB, 5000)).unwrap());
    let pass = |mut stream: TcpStream| {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut writer = stream.try_clone().unwrap();
        let writing = thread::spawn(move || {
            let block = vec![7; 1 << 16];
            (0..STREAM_BLOCKS).for_each(|_| writer.write_all(&block).unwrap());
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let (mut room, mut total) = (vec![0; 1 << 16], 0);
        loop {
            match stream.read(&mut room).unwrap() {
                0 => break,
                len => total += len,
            }
        }
        writing.join().unwrap();
        assert_eq!(total, STREAM_BLOCKS << 16);
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::scope(|scope| {
                for stream in listener.incoming().take(STREAMS) {
                    let stream = stream.unwrap();
                    scope.spawn(move || pass(stream));
                }
            });
        });
        for _ in 0..STREAMS {
            let stream = alice.host.run(|| TcpStream::connect((BOB, 5000)).unwrap());
            scope.spawn(move || pass(stream));
        }
    });
    for side in [&alice, &bob] {
        let counts = side.host.run(tcp_counters);
        println!("  {counts:?}");
        if Steering::load(2).is_ok() {
            let disorder = |(name, _): &&(String, u64)| name.contains("Reorder");
            assert_eq!(counts.iter().find(disorder), None);
        }
    }
    judge(&[alice, bob], before);
}

/// What TCP of this namespace says of order and loss, zeros left out.
fn tcp_counters() -> Vec<(String, u64)> {
    let text = fs::read_to_string("/proc/thread-self/net/netstat").unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let pairs = names
        .split_whitespace()
        .zip(values.split_whitespace().map(|value| value.parse().unwrap_or(0)));
    pairs
        .filter(|(name, value)| {
            *value > 0
                && ["Reorder", "Retrans", "OFO", "DSACK"]
                    .iter()
                    .any(|part| name.contains(part))
        })
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

const ROUNDS: u16 = 20;
const ROUND: Duration = Duration::from_millis(50);
const HEAD_START: Duration = Duration::from_millis(10);
const FLOWS: u16 = 16;
const BURST: u32 = 4;
const STREAMS: usize = 6;
const STREAM_BLOCKS: usize = 160;
