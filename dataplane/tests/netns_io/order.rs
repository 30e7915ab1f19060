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
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use xvpn_dataplane::{Encapsulation, Offloads};

use crate::lab::{ALICE, BOB, Side, inner_ipv6, pair_of, steering};
use crate::loss::{self, Drops};
use crate::netns;

pub(crate) const TESTS: &[crate::Test] = &[
    ("no_datagram_of_a_flow_overtakes_another", || datagrams(&IPV4)),
    ("no_datagram_of_a_flow_overtakes_another_over_ipv6", || {
        datagrams(&IPV6)
    }),
    ("no_datagram_of_a_flow_overtakes_another_without_offloads", || {
        datagrams(&Way {
            offloads: NOTHING,
            ..IPV4
        })
    }),
    (
        "no_datagram_of_a_flow_overtakes_another_over_ipv6_without_offloads",
        || {
            datagrams(&Way {
                offloads: NOTHING,
                ..IPV6
            })
        },
    ),
    ("no_datagram_of_a_flow_overtakes_another_in_raw_esp", || {
        datagrams(&Way {
            encapsulation: Encapsulation::None,
            ..IPV4
        })
    }),
    ("no_super_packet_of_a_flow_overtakes_another", || streams(&IPV4)),
    ("no_super_packet_of_a_flow_overtakes_another_over_ipv6", || {
        streams(&IPV6)
    }),
];

/// How packets go.
struct Way {
    /// The gateways' addresses.
    outer: [&'static str; 2],
    /// Those of the flows are IPv6.
    inner6: bool,
    encapsulation: Encapsulation,
    offloads: Offloads,
}

const IPV4: Way = Way {
    outer: ["127.0.0.1", "127.0.0.2"],
    inner6: false,
    encapsulation: Encapsulation::Udp,
    offloads: Offloads {
        tun: true,
        gso: true,
        gro: true,
    },
};
/// Inside and outside.
const IPV6: Way = Way {
    outer: ["::1", "::1"],
    inner6: true,
    ..IPV4
};
const NOTHING: Offloads = Offloads {
    tun: false,
    gso: false,
    gro: false,
};

impl Way {
    fn gateways(&self) -> [Side; 2] {
        let [alice, bob] = self.outer;
        let (encapsulation, offloads) = (self.encapsulation, [self.offloads; 2]);
        let (alice, bob) = pair_of(alice, bob, encapsulation, offloads, (0x1000, 0x2002));
        for side in [&alice, &bob] {
            side.host
                .run(|| netns::set_queue_length("xvpn0", QUEUE_LENGTH))
                .unwrap();
        }
        // The thread of a queue has the flows spread, when it gets a CPU.
        thread::sleep(Duration::from_millis(200));
        [alice, bob]
    }

    fn hosts(&self) -> [IpAddr; 2] {
        [ALICE, BOB].map(|host| {
            if self.inner6 {
                inner_ipv6(host).into()
            } else {
                host.into()
            }
        })
    }
}

fn datagrams(way: &Way) {
    let sides = way.gateways();
    let [alice, bob] = way.hosts();
    let (before, ticks) = (Drops::of(&sides), netns::cpu_ticks("xvpn-q1"));
    let mut all = Seen::default();
    for round in 0..ROUNDS {
        // New flows each time: what happens at the first reply happens often.
        let open = |side: &Side, here: IpAddr, there: IpAddr| -> Vec<UdpSocket> {
            side.host.run(|| {
                let port = |flow| 10_000 + round * FLOWS + flow;
                (0..FLOWS)
                    .map(|flow| {
                        let socket = UdpSocket::bind((here, port(flow))).unwrap();
                        socket.connect((there, port(flow))).unwrap();
                        socket.set_nonblocking(true).unwrap();
                        netns::receive_buffer(&socket, RECEIVE_BUFFER);
                        socket
                    })
                    .collect()
            })
        };
        let (at_alice, at_bob) = (open(&sides[0], alice, bob), open(&sides[1], bob, alice));
        let due = [AtomicU64::new(UNKNOWN), AtomicU64::new(UNKNOWN)];
        thread::scope(|scope| {
            let receiving = [
                scope.spawn(|| receive(&at_alice, &due[0])),
                scope.spawn(|| receive(&at_bob, &due[1])),
            ];
            scope.spawn(|| send(&at_alice, Duration::ZERO, &due[1]));
            scope.spawn(|| send(&at_bob, HEAD_START, &due[0]));
            for thread in receiving {
                all.add(&thread.join().unwrap());
            }
        });
        all.overrun += sides
            .iter()
            .map(|side| side.host.run(loss::at_sockets))
            .sum::<u64>();
    }
    let dropped = Drops::of(&sides);
    println!("  {all:?}; {before:?} before, {dropped:?} after");
    judge(&sides, ticks);
    // What is missing was dropped by a full queue of the kernel's, which counts it, or by nobody.
    let explained = dropped.at_most_since(before) + all.overrun;
    assert!(
        all.received <= all.sent && all.sent <= all.received + explained,
        "lost elsewhere than in full queues of the kernel: {all:?}, {explained} dropped there"
    );
    // Where a queue does not read, the kernel drops, too. Its queues are as long as a second of what is sent here, so they overflow where
    // a thread is kept from its CPU for longer, not wherever a machine is busy.
    assert!(all.received > all.sent / 2, "{all:?}");
    if steering().is_some() {
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

/// Tells in the end how many are due at the other side.
fn send(flows: &[UdpSocket], wait: Duration, due: &AtomicU64) {
    thread::sleep(wait);
    let mut packet = [0; 900];
    let begin = Instant::now();
    let (mut number, mut sent) = (0u32, 0);
    while begin.elapsed() < ROUND {
        // Bursts of each flow, so that some of one wait in the queue.
        for flow in flows {
            for _ in 0..BURST {
                number += 1;
                packet[..4].copy_from_slice(&number.to_be_bytes());
                // The interface may be full, and say so: it was never sent then.
                sent += u64::from(flow.send(&packet).is_ok());
            }
        }
        thread::sleep(Duration::from_millis(1));
    }
    due.store(sent, Ordering::Release);
}

#[derive(Debug, Default)]
struct Seen {
    sent: u64,
    received: u64,
    overtaken: u64,
    /// Found the buffer of the receiving socket full.
    overrun: u64,
}

impl Seen {
    fn add(&mut self, more: &Self) {
        self.sent += more.sent;
        self.received += more.received;
        self.overtaken += more.overtaken;
        self.overrun += more.overrun;
    }
}

/// Counts what comes after a later one of its flow, until all that is due is there or nothing comes any more.
fn receive(flows: &[UdpSocket], due: &AtomicU64) -> Seen {
    let mut seen = Seen::default();
    let mut highest = vec![0u32; flows.len()];
    let mut room = [0; 1024];
    let mut last = Instant::now();
    loop {
        // Looked at before the sockets are.
        let due = due.load(Ordering::Acquire);
        let before = seen.received;
        for (flow, highest) in flows.iter().zip(&mut highest) {
            loop {
                match flow.recv(&mut room) {
                    Ok(900) => {}
                    Ok(other) => panic!("{other} octets"),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
                seen.received += 1;
                let number = u32::from_be_bytes([room[0], room[1], room[2], room[3]]);
                if number < *highest {
                    seen.overtaken += 1;
                }
                *highest = number.max(*highest);
            }
        }
        if seen.received > before {
            last = Instant::now();
        } else if due != UNKNOWN && (seen.received >= due || last.elapsed() > QUIET) {
            seen.sent = due;
            return seen;
        } else {
            thread::sleep(Duration::from_micros(200));
        }
    }
}

/// Until the kernel has let everything pass once. (Of what is missing TCP does not know whether it was lost or overtaken, and guesses: what it
/// counts as reordered is also what it has sent twice too early.)
fn streams(way: &Way) {
    let complete = (0..ATTEMPTS).any(|_| everything_streams(way));
    assert!(
        complete,
        "the kernel has dropped something in each of {ATTEMPTS} attempts"
    );
}

/// Streams both ways. Whether the kernel let everything pass; then, all in order.
fn everything_streams(way: &Way) -> bool {
    use std::io::{Read, Write};
    let sides = way.gateways();
    let [alice, bob] = &sides;
    let address = (way.hosts()[1], 5000);
    let (before, ticks) = (Drops::of(&sides), netns::cpu_ticks("xvpn-q1"));
    let listener = bob.host.run(|| TcpListener::bind(address).unwrap());
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
            let stream = alice.host.run(|| TcpStream::connect(address).unwrap());
            scope.spawn(move || pass(stream));
        }
    });
    let dropped = Drops::of(&sides).at_most_since(before);
    let counts: Vec<_> = sides.iter().map(|side| side.host.run(tcp_counters)).collect();
    println!("  {dropped} dropped by the kernel; {counts:?}");
    judge(&sides, ticks);
    let lost = |name: &str| ["Drop", "Prune"].iter().any(|part| name.contains(part));
    let of = |wanted: &dyn Fn(&str) -> bool| {
        let all = counts.iter().flatten().filter(|(name, _)| wanted(name));
        all.map(|(_, value)| value).sum::<u64>()
    };
    let complete = dropped + of(&lost) == 0;
    // Where nothing was lost, whatever comes before what is due has overtaken it.
    if complete && steering().is_some() {
        assert_eq!(of(&|name| name == "TCPOFOQueue"), 0, "{counts:?}");
    }
    complete
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
                && ["Reorder", "Retrans", "OFO", "DSACK", "Drop", "Prune"]
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
/// Packets that wait for each queue, in the kernel: a second of what is sent.
const QUEUE_LENGTH: i32 = 40_000;
/// Room for some thousand packets of one flow.
const RECEIVE_BUFFER: i32 = 8 << 20;
/// What has not come for so long comes no more.
const QUIET: Duration = Duration::from_secs(1);
const UNKNOWN: u64 = u64::MAX;
const ATTEMPTS: usize = 10;
const STREAMS: usize = 6;
const STREAM_BLOCKS: usize = 160;
