//! One SA, two queues: who does what, and how late a packet leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use xvpn::testbed::{Gateway, Sniffer, set_queue_length};

use super::capture::Capture;
use super::lanes::{flows_during, steered};
use crate::harness::pair::{Pair, Plan, with_pair};
use crate::harness::runner::{Failure, Outcome, check};

/// The flows of one SA are sealed on both queues; none of them is put out of order, and none of its packets leaves half a window late.
pub fn one_sa_is_sealed_on_two_queues() -> Outcome {
    spread(1024, 1024)
}

/// The peer is said to have a window shorter than a batch: batches leave in turn. (Its window is wider, because the kernel
/// itself, on the way through two CPUs, may be late by more than the other half of 64 packets when it is busy.)
pub fn queues_take_turns_where_the_peers_window_is_short() -> Outcome {
    spread(64, 4096)
}

/// Where flows are not spread, one queue sends and the other receives.
pub fn a_queue_for_each_direction_where_flows_are_not_spread() -> Outcome {
    let plan = plan("spread = \"off\"");
    with_pair(&plan, |pair| {
        begin(pair)?;
        let before = both(pair, Load::of)?;
        flows_during(pair, hold)?;
        for (gateway, before) in both(pair, |gateway| Ok(gateway.machine.name().to_owned()))?
            .iter()
            .zip(both(pair, Load::of)?.into_iter().zip(before))
        {
            let (after, before) = before;
            let load = after.since(&before);
            println!("  {gateway}: {load:?}");
            if steered(pair)? {
                let (sealing, opening) = (busy(&load.sealed), busy(&load.opened));
                check(
                    sealing.len() == 1 && opening.len() == 1 && sealing != opening,
                    format!("{gateway}: {load:?}"),
                )?;
            }
        }
        Ok(())
    })
}

fn spread(window: u32, real: u32) -> Outcome {
    let plan = plan(&format!(
        "spread = \"on\"\nreplay_window = {real}\npeer_replay_window = {window}"
    ));
    with_pair(&plan, |pair| {
        begin(pair)?;
        let before = both(pair, Load::of)?;
        let tapes: Vec<_> = [&pair.aws, &pair.azure]
            .iter()
            .enumerate()
            .map(|(index, gateway)| {
                let tape = pair.folder.join(format!("leaving-{index}.pcap"));
                let sniffer = Sniffer::start(gateway.machine)?;
                sniffer.record(&tape)?;
                Ok((tape, sniffer))
            })
            .collect::<Result<_, Failure>>()?;
        flows_during(pair, hold)?;
        let after = both(pair, Load::of)?;
        let sources = [pair.clouds.aws.public4, pair.clouds.azure.public4];
        for (index, (tape, sniffer)) in tapes.into_iter().enumerate() {
            drop(sniffer);
            let left = leaving(&tape, sources[index])?;
            let load = after[index].since(&before[index]);
            println!("  {load:?}; {left:?}");
            check(left.packets > 300, format!("{left:?}"))?;
            // A queue that has no CPU for 50 ms is not waited for any longer, and the other counts that.
            let in_time = left.latest < u64::from(window / 2);
            check(
                in_time || (1..=PARDONED).contains(&load.in_vain),
                format!("a packet left too late for a window of {window}: {left:?}"),
            )?;
            if !in_time {
                println!("  THIS MACHINE WAS TOO BUSY: a queue was waited for in vain: {load:?}");
            }
            if steered(pair)? {
                check(
                    busy(&load.sealed).len() == 2,
                    format!("one queue idles: {load:?}"),
                )?;
            }
        }
        for gateway in [&pair.aws, &pair.azure] {
            let discards = gateway.status()?.discards;
            let late = |name: &str| ["replayed", "outside_window", "bad_icv"].contains(&name);
            let lost = discards.iter().find(|counter| late(&counter.name));
            check(lost.is_none(), format!("{lost:?}"))?;
        }
        Ok(())
    })
}

fn plan(tunnel: &str) -> Plan {
    let mut plan = Plan::new().without_nat().both(tunnel);
    for side in [&mut plan.aws, &mut plan.azure] {
        // Datagram by datagram, so that the eavesdropper sees each number.
        side.gateway.push_str("queues = 2\noffload = [\"tun\"]\n");
    }
    plan
}

/// Establishes the tunnel, ready for much.
pub fn begin(pair: &mut Pair<'_>) -> Outcome {
    pair.establish()?;
    pair.pings_pass()?;
    // Where other tests run at the same time, a queue thread may have to wait for a CPU.
    for (gateway, interface) in [(&pair.aws, "xv-azure"), (&pair.azure, "xv-aws")] {
        gateway.machine.run(|| set_queue_length(interface, 20_000))??;
    }
    Ok(())
}

/// For as long as order is looked at.
pub fn hold() -> Outcome {
    thread::sleep(Duration::from_secs(2));
    Ok(())
}

/// Has `act` done, while which both gateways are to seal on both queues.
pub fn sealing_on_both(pair: &Pair<'_>, act: impl FnOnce() -> Outcome) -> Outcome {
    let before = both(pair, Load::of)?;
    act()?;
    for (after, before) in both(pair, Load::of)?.iter().zip(&before) {
        let load = after.since(before);
        println!("  {load:?}");
        let idle = busy(&load.sealed).len() < 2;
        check(!(idle && steered(pair)?), format!("one queue idles: {load:?}"))?;
    }
    Ok(())
}

fn both<'a, T>(
    pair: &'a Pair<'_>,
    of: impl Fn(&'a Gateway<'_>) -> Result<T, Failure>,
) -> Result<[T; 2], Failure> {
    Ok([of(&pair.aws)?, of(&pair.azure)?])
}

/// Packets that each queue has sealed and opened, and batches for which one waited for another in vain.
#[derive(Debug)]
struct Load {
    sealed: Vec<u64>,
    opened: Vec<u64>,
    in_vain: u64,
}

impl Load {
    fn of(gateway: &Gateway<'_>) -> Result<Self, Failure> {
        let queues = gateway.status()?.queue_stages;
        let stage = |name: &str| {
            let stages = queues.iter().map(|queue| {
                let stage = queue.stages.iter().find(|stage| stage.name == name);
                stage.map_or(0, |stage| stage.packets)
            });
            stages.collect()
        };
        Ok(Self {
            sealed: stage("seal"),
            opened: stage("open"),
            in_vain: queues.iter().map(|queue| queue.waits_in_vain).sum(),
        })
    }

    fn since(&self, before: &Self) -> Self {
        let less = |after: &[u64], before: &[u64]| after.iter().zip(before).map(|(a, b)| a - b).collect();
        Self {
            sealed: less(&self.sealed, &before.sealed),
            opened: less(&self.opened, &before.opened),
            in_vain: self.in_vain - before.in_vain,
        }
    }
}

/// The queues that did more than what a stray packet makes.
fn busy(packets: &[u64]) -> BTreeSet<usize> {
    let busy = packets.iter().enumerate().filter(|(_, packets)| **packets > 50);
    busy.map(|(queue, _)| queue).collect()
}

/// ESP that left a gateway.
#[derive(Debug, Default)]
struct Leaving {
    packets: u64,
    late: u64,
    /// The most numbers by which one came behind another of its SA.
    latest: u64,
}

/// In a capture of what a gateway's interfaces sent and received: what it sent in UDP from `source`, once each.
fn leaving(tape: &Path, source: Ipv4Addr) -> Result<Leaving, Failure> {
    let mut highest: BTreeMap<u32, u32> = BTreeMap::new();
    let mut leaving = Leaving::default();
    let capture = Capture::read(tape)?;
    for esp in capture
        .esp()
        .filter(|esp| esp.source == source && esp.port == 4500)
    {
        let highest = highest.entry(esp.spi).or_default();
        leaving.packets += 1;
        leaving.late += u64::from(esp.number < *highest);
        leaving.latest = leaving.latest.max(u64::from(highest.saturating_sub(esp.number)));
        *highest = esp.number.max(*highest);
    }
    Ok(leaving)
}
/// Waits in vain that a busy machine may cause in a run; a fault in the departures would make most waits end so.
const PARDONED: u64 = 5;
