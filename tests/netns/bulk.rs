//! Bulk through both gateways: what arrives is right to the last checksum, and new keys cost a stream nothing.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::Duration;

use xvpn::testbed::{
    Cloud, Namespace, Sniffer, make_file, measure, plain_wire, receive_buffer, send_file, set_feature,
    set_queue_length,
};

use super::capture::Capture;
use super::steady::rekey;
use super::stream::{drops, lost_by_the_kernel, since};
use crate::harness::pair::{Pair, Plan, with_pair};
use crate::harness::runner::{Failure, Outcome, check};

/// TCP and UDP, IPv4 and IPv6, split from super-packets at one gateway and joined to such at the other. The receiving network has no
/// offloads: every packet that the receiver's interface gets has a checksum that somebody computed, and the test computes them all again.
pub fn every_forwarded_checksum_is_valid() -> Outcome {
    with_pair(&Plan::new(), |pair| {
        pair.establish()?;
        pair.pings_pass()?;
        let (from, to) = (&pair.clouds.aws, &pair.clouds.azure);
        let bare = |interface: &str| {
            plain_wire(interface)?;
            set_feature(interface, "tx-checksum-ip-generic", false)
        };
        to.gateway.run(|| bare("lan"))??;
        to.host.run(|| bare("eth0"))??;
        let tape = pair.folder.join("arrived.pcap");
        let sniffer = Sniffer::start(&to.host)?;
        sniffer.record(&tape)?;
        let before = [calls(pair, true)?, calls(pair, false)?];
        for v6 in [false, true] {
            datagrams(from, to, v6)?;
            let file = pair.folder.join("file");
            let digest = make_file(&file, 8 << 20, b"")?;
            let sent = send_file(&file, &from.host, &to.host, to.host_address(v6))?;
            check(sent.digest == Some(digest), "another file arrived")?;
        }
        thread::sleep(Duration::from_millis(200));
        drop(sniffer);
        let mut seen = BTreeMap::new();
        for v6 in [false, true] {
            arrived(&tape, from.host_address(v6), &mut seen)?;
        }
        println!("  {seen:?}");
        for kind in [(4, TCP), (4, UDP), (6, TCP), (6, UDP)] {
            let count = seen.get(&kind).copied().unwrap_or_default();
            check(
                count.right > 500 && count.wrong == 0,
                format!("{kind:?}: {seen:?}"),
            )?;
        }
        let read = since_then(calls(pair, true)?, before[0]);
        let written = since_then(calls(pair, false)?, before[1]);
        println!(
            "  (packets, system calls) read at one gateway: {read:?}, written at the other: {written:?}"
        );
        check(
            read.0 > 2 * read.1 && written.0 > 2 * written.1,
            format!("super-packets were read and written: {read:?} {written:?}"),
        )
    })
}

/// One TCP stream as fast as it goes, while thirty CHILD SAs and three IKE SAs are replaced: no gateway loses a packet or
/// overtakes one, and nothing that only a gateway could have caused is sent again.
pub fn a_stream_at_full_load_does_not_notice_new_keys() -> Outcome {
    with_pair(&Plan::new(), |pair| {
        pair.establish()?;
        pair.pings_pass()?;
        for (gateway, interface) in [(&pair.aws, "xv-azure"), (&pair.azure, "xv-aws")] {
            gateway.machine.run(|| set_queue_length(interface, 20_000))??;
        }
        let (from, to) = (&pair.clouds.aws, &pair.clouds.azure);
        let dropped_before = drops(pair, true)?;
        let tcp_before = tcp(&from.host)?;
        let (transfer, rekeyed) = thread::scope(|scope| {
            let streaming = scope.spawn(|| {
                measure(
                    &from.host,
                    &to.host,
                    to.host_address(false),
                    Duration::from_secs(8),
                )
            });
            thread::sleep(Duration::from_millis(300));
            let rekeyed = rekey(pair, 30, 3);
            let over = streaming.is_finished();
            let transfer = streaming
                .join()
                .map_err(|_| Failure("the stream panicked".into()));
            (transfer, rekeyed.map(|()| over))
        });
        let (transfer, over) = (transfer??, rekeyed?);
        let dropped = since(&dropped_before, &drops(pair, true)?);
        let tcp = since(&tcp_before, &tcp(&from.host)?);
        println!("  {:.2} Gbit/s; {tcp:?}; {dropped:?}", transfer.gigabits());
        check(!over, "the stream ended before the last rekeying")?;
        check(transfer.bytes > 10 << 20, format!("{transfer:?}"))?;
        let kernel = lost_by_the_kernel(&dropped);
        // Multicast of the gateway's own kernel fits no selector, and is not part of the stream.
        let lost = |(name, count): (&String, &u64)| {
            let gateways = name.starts_with("xvpn on ") && !name.ends_with("no_outbound_sa");
            if gateways { *count } else { 0 }
        };
        let by_gateways: u64 = dropped.iter().map(lost).sum();
        check(
            by_gateways == 0,
            format!("a gateway dropped packets: {dropped:?}"),
        )?;
        let count = |name: &str| tcp.get(name).copied().unwrap_or_default();
        let disorder = ["TCPSACKReorder", "TCPTSReorder", "TCPRenoReorder"].map(count);
        check(disorder == [0; 3], format!("packets were overtaken: {tcp:?}"))?;
        // A probe for a lost end, or a timeout, may come of a machine that had no CPU for the receiver; what had arrived is reported.
        let needless = ["TCPLossProbes", "TCPTimeouts", "TCPDSACKRecv"].map(count);
        let again = count("RetransSegs").saturating_sub(needless.iter().sum());
        check(
            again <= kernel,
            format!(
                "{again} segments were sent again, and {kernel} dropped by kernels: {tcp:?}, {dropped:?}"
            ),
        )?;
        if again > 0 {
            println!("  THIS MACHINE WAS TOO BUSY: its kernel dropped {kernel} packets, xvpn none");
        }
        pair.pings_pass()
    })
}

/// Runs of one length, which are joined on the way, of many lengths.
fn datagrams(from: &Cloud, to: &Cloud, v6: bool) -> Outcome {
    let any = if v6 { "[::]:0" } else { "0.0.0.0:0" };
    let address = SocketAddr::new(to.host_address(v6), 7300);
    let receiver = to.host.run(|| UdpSocket::bind(address))??;
    receive_buffer(&receiver, 8 << 20)?;
    let sender = from.host.run(|| UdpSocket::bind(any))??;
    sender.connect(address)?;
    let octets: Vec<u8> = (0..1300_u32)
        .map(|at| u8::try_from(at * 7 % 256).unwrap_or(0))
        .collect();
    for length in [1, 2, 7, 100, 511, 512, 1001, 1200, 1299, 1300] {
        for _ in 0..4 {
            for number in 0..32_u8 {
                let mut octets = octets[..length].to_vec();
                octets[0] = number;
                sender.send(&octets)?;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
    Ok(())
}

/// Packets and system calls of the interface of a gateway: read at aws, else written at azure.
fn calls(pair: &Pair<'_>, read: bool) -> Result<(u64, u64), Failure> {
    let (gateway, name) = if read {
        (&pair.aws, "tun_read")
    } else {
        (&pair.azure, "tun_write")
    };
    let queues = gateway.status()?.queue_stages;
    let stages = queues
        .iter()
        .flat_map(|queue| queue.stages.iter().filter(|stage| stage.name == name));
    Ok(stages.fold((0, 0), |(packets, calls), stage| {
        (packets + stage.packets, calls + stage.system_calls)
    }))
}

fn since_then(now: (u64, u64), then: (u64, u64)) -> (u64, u64) {
    (now.0 - then.0, now.1 - then.1)
}

#[derive(Clone, Copy, Debug, Default)]
struct Checked {
    right: u64,
    wrong: u64,
}

/// In a capture of Ethernet: the packets from one host, by version and protocol.
fn arrived(tape: &Path, source: IpAddr, seen: &mut BTreeMap<(u8, u8), Checked>) -> Outcome {
    let capture = Capture::read(tape)?;
    for (kind, right) in capture.packets().filter_map(|packet| judge(packet, source)) {
        let count = seen.entry(kind).or_default();
        count.right += u64::from(right);
        count.wrong += u64::from(!right);
    }
    Ok(())
}

/// Version and protocol of a TCP or UDP packet from `source`, and whether its checksum is right (RFC 9293 3.1, RFC 768).
fn judge(packet: &[u8], source: IpAddr) -> Option<((u8, u8), bool)> {
    let length = |at: usize| {
        Some(usize::from(u16::from_be_bytes([
            *packet.get(at)?,
            *packet.get(at + 1)?,
        ])))
    };
    let (version, protocol, addresses, segment) = match (packet.first()? >> 4, source) {
        (4, IpAddr::V4(source)) => {
            let header = usize::from(packet.first()? & 0xf) * 4;
            let ours = *packet.get(12..16)? == source.octets();
            (
                4,
                *packet.get(9).filter(|_| ours)?,
                packet.get(12..20)?,
                packet.get(header..length(2)?)?,
            )
        }
        (6, IpAddr::V6(source)) => {
            let ours = *packet.get(8..24)? == source.octets();
            let end = 40 + length(4)?;
            (
                6,
                *packet.get(6).filter(|_| ours)?,
                packet.get(8..40)?,
                packet.get(40..end)?,
            )
        }
        _ => return None,
    };
    if protocol != TCP && protocol != UDP {
        return None;
    }
    let pseudo = [u32::from(protocol), u32::try_from(segment.len()).ok()?];
    let words = |octets: &[u8]| -> u32 {
        let pairs = octets.chunks(2);
        pairs
            .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
            .sum()
    };
    let mut sum = words(addresses) + words(segment) + pseudo.iter().sum::<u32>();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    // RFC 768: a zero is no checksum, which nobody here may send.
    let absent = protocol == UDP && segment.get(6..8)? == [0, 0];
    Some(((version, protocol), sum == 0xffff && !absent))
}

/// What TCP of a machine has counted.
fn tcp(machine: &Namespace) -> Result<BTreeMap<String, u64>, Failure> {
    let read = |file: &str| fs::read_to_string(format!("/proc/thread-self/net/{file}"));
    let (snmp, netstat) = machine.run(|| (read("snmp"), read("netstat")))?;
    let (snmp, netstat) = (snmp?, netstat?);
    let mut counts = BTreeMap::new();
    for (text, prefix) in [(&snmp, "Tcp:"), (&netstat, "TcpExt:")] {
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(prefix));
        if let (Some(names), Some(values)) = (lines.next(), lines.next()) {
            let pairs = names.split_whitespace().zip(values.split_whitespace());
            let wanted = |name: &str| {
                ["Retrans", "Reorder", "LossProbe", "Timeouts", "Lost", "DSACK"]
                    .iter()
                    .any(|part| name.contains(part))
            };
            counts.extend(
                pairs
                    .filter(|(name, _)| wanted(name))
                    .map(|(name, value)| (name.to_owned(), value.parse().unwrap_or(0))),
            );
        }
    }
    Ok(counts)
}

const TCP: u8 = 6;
const UDP: u8 = 17;
