//! CHILD SAs for single queues (RFC 9611): the work of a tunnel on two queues, two SAs and two UDP ports.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use xvpn::testbed::{receive_buffer, set_queue_length, wait_until};

use super::capture::Capture;
use super::stream::{drops, lost_by_the_kernel, overruns, since};
use crate::REQUIRED;
use crate::harness::pair::{Pair, Plan, tunnel, with_pair};
use crate::harness::runner::{Failure, Outcome, check, is_required};

/// Several flows both ways leave from two ports with two SPIs; while the SAs are replaced none of their packets is lost or
/// overtakes another.
pub fn two_queues_have_an_sa_and_a_port_each() -> Outcome {
    lanes(Plan::new().without_nat().both("encapsulation = \"force\""))
}

/// The same behind a NAT that maps one address to another, as clouds have it, if the gateway is told.
pub fn behind_a_static_nat_too() -> Outcome {
    let mut plan = Plan::new();
    plan.aws.gateway.push_str("static_nat = true\n");
    lanes(plan)
}

/// Behind any other NAT only those SAs are sent on that the peer, who sees no NAT before itself, receives on one queue.
pub fn behind_any_nat_one_queue_receives_and_flows_stay_in_order() -> Outcome {
    with_lanes(Plan::new(), |pair| {
        let tape = pair.folder.join("shared.pcap");
        pair.wire.record(&tape)?;
        flows_during(pair, || {
            thread::sleep(Duration::from_secs(2));
            Ok(())
        })?;
        let seen = ports_of(&tape)?;
        let of = |cloud: Ipv4Addr| {
            let all = seen.iter().filter(move |((from, _), _)| *from == cloud);
            all.flat_map(|(_, spis)| spis).copied().collect::<BTreeSet<_>>()
        };
        let [behind, before] = [of(pair.clouds.aws.public4), of(pair.clouds.azure.public4)];
        let queues: BTreeSet<_> = behind.iter().map(|spi| spi % 2).collect();
        check(
            queues.len() == 1,
            format!("received on several queues: {seen:x?}"),
        )?;
        // The other gateway has one queue for all that comes through the NAT, so it is sent all of them.
        check(before.len() == 2, format!("sent on one: {seen:x?}"))
    })
}

fn with_lanes(plan: Plan, act: impl FnOnce(&Pair<'_>) -> Outcome) -> Outcome {
    let mut plan = plan.both("per_resource = 2");
    for side in [&mut plan.aws, &mut plan.azure] {
        side.gateway.push_str("queues = 2\n");
    }
    with_pair(&plan, |pair| {
        pair.establish()?;
        pair.pings_pass()?;
        let made = || an_sa_for_each_queue(pair);
        check(wait_until(Duration::from_secs(20), made), "an SA for each queue")?;
        // Where other tests run at the same time, a queue thread may have to wait for a CPU.
        for (gateway, interface) in [(&pair.aws, "xv-azure"), (&pair.azure, "xv-aws")] {
            gateway.machine.run(|| set_queue_length(interface, 20_000))??;
        }
        act(pair)
    })
}

fn an_sa_for_each_queue(pair: &Pair<'_>) -> bool {
    [&pair.aws, &pair.azure].iter().all(|gateway| {
        let resources = tunnel(gateway).map(|tunnel| {
            let all = tunnel.children.iter();
            all.filter_map(|child| child.resource).collect::<BTreeSet<_>>()
        });
        resources.is_ok_and(|resources| resources == BTreeSet::from([0, 1]))
    })
}

fn lanes(plan: Plan) -> Outcome {
    with_lanes(plan, |pair| {
        let status = pair.aws.xvpn(&["status"])?;
        let words = String::from_utf8_lossy(&status.stdout).into_owned();
        check(
            words.contains("for queue 0") && words.contains("for queue 1"),
            words,
        )?;

        let tape = pair.folder.join("lanes.pcap");
        pair.wire.record(&tape)?;
        flows_during(pair, || {
            for gateway in [&pair.aws, &pair.azure, &pair.aws, &pair.azure] {
                thread::sleep(Duration::from_millis(400));
                let output = gateway.xvpn(&["rekey"])?;
                check(output.status.success(), String::from_utf8_lossy(&output.stderr))?;
            }
            thread::sleep(Duration::from_millis(400));
            Ok(())
        })?;
        check(
            wait_until(Duration::from_secs(20), || an_sa_for_each_queue(pair)),
            "an SA for each queue in the end",
        )?;
        let seen = ports_of(&tape)?;
        for cloud in [pair.clouds.aws.public4, pair.clouds.azure.public4] {
            let ports: Vec<&BTreeSet<u32>> = seen
                .iter()
                .filter(|((from, port), _)| *from == cloud && *port != 4500)
                .map(|(_, spis)| spis)
                .collect();
            check(ports.len() == 2, format!("ports of {cloud}: {seen:x?}"))?;
            check(
                ports[0].is_disjoint(ports[1]),
                format!("one SPI from two ports: {seen:x?}"),
            )?;
        }
        pair.pings_pass()
    })
}

/// Flows both ways until `act` is done. All packets arrive, each flow's in order.
pub fn flows_during(pair: &Pair<'_>, act: impl FnOnce() -> Outcome) -> Outcome {
    let mut flows = Vec::new();
    for (from, to) in pair.directions() {
        for port in 7100..7100 + FLOWS {
            let address = SocketAddr::new(to.host_address(false), port);
            let receiver = to.host.run(|| UdpSocket::bind(address))??;
            let sender = from.host.run(|| UdpSocket::bind("0.0.0.0:0"))??;
            receiver.set_read_timeout(Some(Duration::from_secs(2)))?;
            receive_buffer(&receiver, RECEIVE_BUFFER)?;
            flows.push((sender, receiver, address));
        }
    }
    let before = drops(pair, true)?;
    let over = AtomicBool::new(false);
    let (over, flows) = (&over, &flows);
    let counts = thread::scope(|scope| {
        let receiving: Vec<_> = flows
            .iter()
            .map(|(_, receiver, _)| scope.spawn(|| in_order(receiver)))
            .collect();
        let sending = scope.spawn(move || {
            let (mut sent, mut refused) = (0_u64, 0_u64);
            while !over.load(Ordering::Relaxed) {
                for (sender, _, address) in flows {
                    // A few in a row, so that some wait for others.
                    for number in 0..BURST {
                        let octets = (sent * BURST + number).to_be_bytes();
                        refused += u64::from(sender.send_to(&octets, address).is_err());
                    }
                }
                sent += 1;
                thread::sleep(Duration::from_millis(2));
            }
            (sent * BURST, refused)
        });
        let acted = act();
        over.store(true, Ordering::Relaxed);
        let sent = sending.join().unwrap_or_default();
        let received: Vec<_> = receiving
            .into_iter()
            .map(|thread| thread.join().unwrap_or_default())
            .collect();
        acted.map(|()| (sent, received))
    })?;
    let ((sent, refused), received) = counts;
    let dropped = since(&before, &drops(pair, true)?);
    let mut overrun = 0;
    for cloud in [&pair.clouds.aws, &pair.clouds.azure] {
        overrun += overruns(&cloud.host, 7100..7100 + FLOWS)?;
    }
    let by_kernel = lost_by_the_kernel(&dropped) + overrun + refused;
    let total = sent * u64::try_from(received.len())?;
    let arrived: u64 = received.iter().map(|(count, _)| count).sum();
    let words = format!(
        "{arrived} of {total} packets arrived, of each flow {sent} were sent: {received:?}; not taken by the sender's kernel: \
         {refused}, dropped on the way: {dropped:?}, at its end: {overrun}"
    );
    check(sent > 300 && arrived + by_kernel >= total, &words)?;
    if arrived < total {
        println!("  THIS MACHINE WAS TOO BUSY: {words}");
    }
    let steered = steered(pair)?;
    let overtaken: u64 = received.iter().map(|(_, overtaken)| overtaken).sum();
    check(
        overtaken == 0 || !steered,
        format!("{overtaken} packets were overtaken within their flow: {received:?}"),
    )
}

/// Whether the kernel let both gateways say which queue takes a flow. Where nothing may be left out it has to: without that nothing can be
/// said of order.
pub fn steered(pair: &Pair<'_>) -> Result<bool, Failure> {
    let steered = [&pair.aws, &pair.azure]
        .iter()
        .all(|gateway| !gateway.log().contains("may put packets out of order"));
    check(
        steered || !is_required(REQUIRED),
        format!("flows are not steered here, so their order is not tested, and {REQUIRED}=1"),
    )?;
    if !steered {
        println!("  SKIPPED: the order of flows, for they are not steered here");
    }
    Ok(steered)
}

/// How many arrived, and how many of them after a later one.
fn in_order(receiver: &UdpSocket) -> (u64, u64) {
    let (mut count, mut overtaken, mut highest) = (0, 0, 0);
    let mut octets = [0; 8];
    while receiver.recv(&mut octets).is_ok() {
        let number = u64::from_be_bytes(octets);
        count += 1;
        overtaken += u64::from(number < highest);
        highest = number.max(highest);
    }
    (count, overtaken)
}

/// The SPIs of the ESP that came from each address and port, to port 4500, in a capture of Ethernet.
fn ports_of(tape: &Path) -> Result<BTreeMap<(Ipv4Addr, u16), BTreeSet<u32>>, Failure> {
    let mut seen: BTreeMap<_, BTreeSet<u32>> = BTreeMap::new();
    for esp in Capture::read(tape)?.esp() {
        seen.entry((esp.source, esp.port)).or_default().insert(esp.spi);
    }
    Ok(seen)
}

const FLOWS: u16 = 12;
const BURST: u64 = 3;
const RECEIVE_BUFFER: i32 = 8 << 20;
