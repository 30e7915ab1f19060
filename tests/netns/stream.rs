//! A constant stream of numbered UDP packets from host to host, and the counters that say where one was lost.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use xvpn::testbed::{Cloud, Gateway, Namespace, receive_buffer};

use crate::harness::pair::Pair;
use crate::harness::runner::{Failure, Outcome, check};

/// What became of a stream.
#[derive(Debug, Default)]
pub struct Tally {
    /// Packets given to the sender's kernel.
    pub sent: u64,
    /// Different packets that arrived.
    pub arrived: u64,
    /// Packets that arrived once more.
    pub twice: u64,
    /// Packets that arrived behind a later one.
    pub late: u64,
    /// Packets that found the receiving program's buffer full.
    pub overrun: u64,
    /// How long it was sent.
    pub took: Duration,
}

impl Tally {
    /// Packets per second that were really sent.
    pub fn rate(&self) -> u64 {
        let millis = u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX);
        self.sent.saturating_mul(1000) / millis.max(1)
    }

    /// Packets that did not arrive.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.arrived)
    }
}

/// Streams `rate` packets a second while `meanwhile` runs; what became of them, and what it says.
pub fn streaming<T>(
    from: &Cloud,
    to: &Cloud,
    rate: u64,
    meanwhile: impl FnOnce() -> Result<T, Failure>,
) -> Result<(Tally, T), Failure> {
    let address = SocketAddr::new(to.host_address(false), PORT);
    let receiver = to.host.run(|| UdpSocket::bind(address))??;
    let sender = from.host.run(|| UdpSocket::bind("0.0.0.0:0"))??;
    sender.connect(address)?;
    receive_buffer(&receiver, RECEIVE_BUFFER)?;
    receiver.set_read_timeout(Some(Duration::from_secs(2)))?;
    let (over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let (over, sent) = (&over, &sent);
    thread::scope(|scope| {
        let received = scope.spawn(|| receive(&receiver));
        let sending = scope.spawn(move || send(&sender, rate, over, sent));
        let said = meanwhile();
        over.store(true, Ordering::Relaxed);
        let took = sending.join().unwrap_or_default();
        let mut tally = received.join().unwrap_or_default();
        tally.sent = sent.load(Ordering::Relaxed);
        tally.took = took;
        // While the socket is still there to be asked.
        tally.overrun = overruns(&to.host, PORT..PORT + 1)?;
        Ok((tally, said?))
    })
}

/// What is due every millisecond. Who was kept from sending makes up for a little of it, and the rest is not sent.
fn send(socket: &UdpSocket, rate: u64, over: &AtomicBool, sent: &AtomicU64) -> Duration {
    let begin = Instant::now();
    let mut number = 0u64;
    let mut credit = 0u64;
    let mut last = begin;
    while !over.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(1));
        let now = Instant::now();
        let micros = u64::try_from((now - last).as_micros()).unwrap_or_default();
        last = now;
        credit = (credit + micros * rate).min(MOST_AT_ONCE * 1_000_000);
        while credit >= 1_000_000 {
            credit -= 1_000_000;
            let mut octets = [0x5a; 100];
            octets[..8].copy_from_slice(&number.to_be_bytes());
            if socket.send(&octets).is_ok() {
                number += 1;
            }
        }
        sent.store(number, Ordering::Relaxed);
    }
    begin.elapsed()
}

/// Until nothing came for two seconds.
fn receive(socket: &UdpSocket) -> Tally {
    let mut tally = Tally::default();
    let mut seen: Vec<u64> = Vec::new();
    let mut next = 0u64;
    let mut octets = [0; 256];
    while let Ok(length) = socket.recv(&mut octets) {
        let Some(number) = octets[..length].first_chunk::<8>() else {
            continue;
        };
        let number = u64::from_be_bytes(*number);
        let (Ok(word), bit) = (usize::try_from(number / 64), 1u64 << (number % 64)) else {
            continue;
        };
        if word >= seen.len() {
            seen.resize(word + 1024, 0);
        }
        if seen[word] & bit != 0 {
            tally.twice += 1;
            continue;
        }
        seen[word] |= bit;
        tally.arrived += 1;
        tally.late += u64::from(number < next);
        next = next.max(number + 1);
    }
    tally
}

/// The counters of drops on the way, by name: of the two kernels' queues, and of the gateways.
pub fn drops(pair: &Pair<'_>, tunnel_sockets: bool) -> Result<BTreeMap<String, u64>, Failure> {
    let mut counts = BTreeMap::new();
    let machines = [
        (&pair.clouds.aws.host, "aws host"),
        (&pair.clouds.azure.host, "azure host"),
        (&pair.clouds.aws.gateway, "aws gateway"),
        (&pair.clouds.azure.gateway, "azure gateway"),
        (&pair.clouds.internet, "internet"),
    ];
    for (machine, name) in machines {
        kernel_drops(machine, name, &mut counts)?;
    }
    if !tunnel_sockets {
        counts.retain(|name, _| !name.contains("UDP port 500 "));
    }
    for gateway in [&pair.aws, &pair.azure] {
        gateway_drops(gateway, &mut counts)?;
    }
    Ok(counts)
}

fn kernel_drops(machine: &Namespace, name: &str, counts: &mut BTreeMap<String, u64>) -> Result<(), Failure> {
    let (devices, sockets) = machine.run(|| {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{file}"));
        (read("dev"), std::fs::read_to_string(UDP_SOCKETS))
    })?;
    for line in devices?.lines() {
        let Some((device, numbers)) = line.split_once(':') else {
            continue;
        };
        let numbers: Vec<u64> = numbers
            .split_whitespace()
            .filter_map(|n| n.parse().ok())
            .collect();
        let at = |index: usize| numbers.get(index).copied().unwrap_or_default();
        counts.insert(format!("{name}: {} in", device.trim()), at(3));
        counts.insert(format!("{name}: {} out", device.trim()), at(11));
    }
    for (port, dropped) in socket_drops(&sockets?) {
        *counts.entry(format!("{name}: UDP port {port} ")).or_default() += dropped;
    }
    Ok(())
}

/// The ports of the kernel's list of UDP sockets, and what each has dropped.
fn socket_drops(sockets: &str) -> impl Iterator<Item = (u16, u64)> {
    sockets.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (_, port) = fields.nth(1)?.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        Some((port, fields.next_back()?.parse().unwrap_or_default()))
    })
}

fn gateway_drops(gateway: &Gateway<'_>, counts: &mut BTreeMap<String, u64>) -> Outcome {
    for counter in gateway.status()?.discards {
        counts.insert(
            format!("{XVPN_DISCARD}{}: {}", gateway.machine.name(), counter.name),
            counter.count,
        );
    }
    Ok(())
}

/// What was dropped between two looks.
pub fn since(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let grown = after.iter().filter_map(|(name, count)| {
        let grown = count.saturating_sub(before.get(name).copied().unwrap_or_default());
        (grown > 0).then(|| (name.clone(), grown))
    });
    grown.collect()
}

/// How many of those drops were the kernel's, not the gateways'.
pub fn lost_by_the_kernel(dropped: &BTreeMap<String, u64>) -> u64 {
    let kernel = dropped.iter().filter(|(name, _)| !name.starts_with(XVPN_DISCARD));
    kernel.map(|(_, count)| count).sum()
}

/// Packets that found the buffer of a socket of these ports full.
pub fn overruns(machine: &Namespace, ports: Range<u16>) -> Result<u64, Failure> {
    let sockets = machine.run(|| std::fs::read_to_string(UDP_SOCKETS))??;
    let full = socket_drops(&sockets).filter(|(port, _)| ports.contains(port));
    Ok(full.map(|(_, count)| count).sum())
}

/// No packet is missing but what a full queue of this machine's kernel dropped.
pub fn nothing_lost(tally: &Tally, dropped: &BTreeMap<String, u64>) -> Outcome {
    let kernel = lost_by_the_kernel(dropped) + tally.overrun;
    println!(
        "  {} packets sent at {} a second, {} lost, {} twice, {} late; dropped on the way: {dropped:?}, at its end: {}",
        tally.sent,
        tally.rate(),
        tally.lost(),
        tally.twice,
        tally.late,
        tally.overrun,
    );
    let words = format!("{} lost, dropped on the way: {dropped:?}", tally.lost());
    check(tally.lost() <= kernel, words)?;
    if tally.lost() > 0 {
        println!("  THIS MACHINE WAS TOO BUSY: its kernel dropped {kernel} packets, xvpn none");
    }
    check(tally.twice == 0, format!("{} packets arrived twice", tally.twice))
}

const PORT: u16 = 7008;
const UDP_SOCKETS: &str = "/proc/thread-self/net/udp";
/// Room for a second and more of a stream.
const RECEIVE_BUFFER: i32 = 64 << 20;
/// Packets sent at once by a sender that was late.
const MOST_AT_ONCE: u64 = 400;
const XVPN_DISCARD: &str = "xvpn on ";
