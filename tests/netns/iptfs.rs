//! AGGFRAG payloads between two gateways (RFC 9347): small packets travel together, or all that is seen is a constant rate.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use xvpn::testbed::set_queue_length;

use super::capture::Capture;
use super::carriage::transfer_both_ways;
use super::lanes::flows_during;
use super::single::{begin, hold, sealing_on_both};
use super::steady::rekey;
use super::stream::{drops, nothing_lost, since, streaming};
use crate::harness::pair::{Plan, child, tunnel, with_pair};
use crate::harness::runner::{Failure, Outcome, check};

/// Every datagram by itself on the wire, to be counted.
fn plan(line: &str) -> Plan {
    let mut plan = Plan::new().without_nat().both(line);
    for side in [&mut plan.aws, &mut plan.azure] {
        side.gateway.push_str("offload = []\n");
    }
    plan
}

/// Small packets at some rate need fewer outer ones, and through several changes of keys none is lost, doubled or late.
pub fn small_packets_travel_together_through_new_keys() -> Outcome {
    with_pair(&plan("iptfs = \"aggregate\"\niptfs_delay = \"2ms\""), |pair| {
        pair.establish()?;
        pair.pings_pass()?;
        let mode = |words: &str| {
            let said = pair.aws.xvpn(&["status"])?;
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            check(said.contains(words), said)
        };
        mode("aggregate, within 2 ms")?;
        for (gateway, interface) in [(&pair.aws, "xv-azure"), (&pair.azure, "xv-aws")] {
            gateway.machine.run(|| set_queue_length(interface, 20_000))??;
        }
        let tape = pair.folder.join("together.pcap");
        pair.wire.record(&tape)?;
        let before = drops(pair, true)?;
        let (tally, ()) = streaming(&pair.clouds.aws, &pair.clouds.azure, 5000, || {
            rekey(pair, 12, 2)?;
            thread::sleep(Duration::from_millis(300));
            Ok(())
        })?;
        let dropped = since(&before, &drops(pair, true)?);
        nothing_lost(&tally, &dropped)?;
        check(tally.late == 0, format!("{} packets were overtaken", tally.late))?;
        let outer: u64 = lengths(&tape, pair.clouds.aws.public4)?.values().sum();
        println!("  {} inner packets in {outer} outer ones", tally.sent);
        check(
            outer * 2 < tally.sent,
            format!("{outer} outer packets for {}", tally.sent),
        )?;
        mode("aggregate, within 2 ms")?;
        pair.wire_is_clean()?;
        pair.pings_pass()
    })
}

/// Flows both ways, each with its packets in payloads that two queues seal on one SA and that share them with other flows': all arrive, each
/// flow's in order.
pub fn flows_in_payloads_of_two_queues_stay_in_order() -> Outcome {
    let mut plan = Plan::new()
        .without_nat()
        .both("iptfs = \"aggregate\"\nspread = \"on\"");
    for side in [&mut plan.aws, &mut plan.azure] {
        side.gateway.push_str("queues = 2\n");
    }
    with_pair(&plan, |pair| {
        begin(pair)?;
        let mode = child(&pair.aws)?.iptfs;
        check(mode.as_deref() == Some("aggregate"), format!("{mode:?}"))?;
        sealing_on_both(pair, || flows_during(pair, hold))?;
        pair.pings_pass()
    })
}

/// Streams of long packets pass, cut into short payloads and put together; files arrive as they were.
pub fn long_packets_are_cut_and_put_together() -> Outcome {
    with_pair(&plan("iptfs = \"aggregate\"\niptfs_size = 700"), |pair| {
        pair.establish()?;
        pair.pings_pass()?;
        transfer_both_ways(pair, 4 << 20)?;
        let largest = pair.wire.seen().largest_esp;
        check(largest <= 700, format!("an outer packet of {largest} octets"))
    })
}

/// Whoever listens on the wire counts the same packets of the same length, whether there is traffic or not.
pub fn a_constant_rate_tells_nothing() -> Outcome {
    const RATE: u64 = 200;
    let lines = format!("iptfs = \"constant\"\niptfs_rate = {RATE}\niptfs_size = 1000");
    with_pair(&plan(&lines), |pair| {
        pair.establish()?;
        pair.pings_pass()?;
        let mut seen = Vec::new();
        for busy in [false, true] {
            let tape = pair.folder.join(format!("busy-{busy}.pcap"));
            let wait = || {
                // Begun, if there is anything to begin.
                thread::sleep(Duration::from_millis(300));
                pair.wire.record(&tape)?;
                thread::sleep(Duration::from_secs(SPAN));
                Ok(pair.wire.record(&pair.folder.join("rest.pcap"))?)
            };
            if busy {
                // Some 128 octets each, a third of what the rate carries.
                let (tally, ()) = streaming(&pair.clouds.aws, &pair.clouds.azure, 500, wait)?;
                println!(
                    "  {} sent, {} lost, {} late",
                    tally.sent,
                    tally.lost(),
                    tally.late
                );
                check(tally.lost() == 0 && tally.late == 0, format!("{tally:?}"))?;
            } else {
                wait()?;
            }
            for gateway in [pair.clouds.aws.public4, pair.clouds.azure.public4] {
                seen.push(lengths(&tape, gateway)?);
            }
        }
        println!("  outer packets by length, idle and busy, from either side: {seen:?}");
        let all: BTreeSet<_> = seen.iter().flat_map(BTreeMap::keys).collect();
        check(all.len() == 1, format!("lengths: {seen:?}"))?;
        let counts: Vec<u64> = seen.iter().flat_map(BTreeMap::values).copied().collect();
        // A machine that is busy with other tests too may have stood still for a while.
        let usual = RATE * SPAN * 3 / 4..=RATE * SPAN * 11 / 10;
        check(
            counts.len() == 4 && counts.iter().all(|count| usual.contains(count)),
            format!("{counts:?} in {SPAN} s at {RATE} a second"),
        )
    })
}

/// A peer that was not told of it gets single packets.
pub fn a_peer_that_does_not_want_payloads_gets_packets() -> Outcome {
    let mut plan = Plan::new();
    plan.aws.tunnel.push_str("iptfs = \"aggregate\"\n");
    with_pair(&plan, |pair| {
        pair.establish()?;
        pair.pings_pass()?;
        check(
            child(&pair.aws)?.iptfs.as_deref() == Some("refused by the peer"),
            format!("{:?}", tunnel(&pair.aws)?),
        )?;
        check(child(&pair.azure)?.iptfs.is_none(), "nobody asked for it here")
    })
}

/// ESP packets from an address to port 4500 by the length of the IP packet, in a capture of Ethernet. Each is seen on the interfaces that
/// it came in and went out by, and counted once.
fn lengths(tape: &Path, from: Ipv4Addr) -> Result<BTreeMap<u16, u64>, Failure> {
    let capture = Capture::read(tape)?;
    let ours = capture.esp().filter(|esp| esp.source == from);
    let seen: BTreeMap<_, _> = ours.map(|esp| ((esp.spi, esp.number), esp.length)).collect();
    let mut lengths = BTreeMap::new();
    for length in seen.into_values() {
        *lengths.entry(length).or_default() += 1;
    }
    Ok(lengths)
}

/// Seconds that are counted.
const SPAN: u64 = 4;
