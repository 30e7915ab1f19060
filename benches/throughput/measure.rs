//! Everything that is measured of one contestant in one round.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde::Serialize;
use xvpn::testbed::{Answer, Ping, interrupted, ping};

use crate::bed::Bed;
use crate::contestant::Outcome;
use crate::host::{self, Machine};
use crate::options::{Options, Part};
use crate::{profiler, tcp, udp};

/// One round of one contestant.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Sample {
    /// CPU that others used just before, in percent of the machine.
    pub(crate) foreign_load_percent: f64,
    pub(crate) idle: Option<RoundTrips>,
    /// While one stream goes from a to b.
    pub(crate) loaded: Option<RoundTrips>,
    pub(crate) tcp: Vec<Tcp>,
    pub(crate) udp: Vec<Udp>,
    /// MiB, gateway a and b.
    pub(crate) peak_memory: Option<[f64; 2]>,
}

/// Round trips between the hosts, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct RoundTrips {
    pub(crate) median: f64,
    pub(crate) p99: f64,
    pub(crate) asked: usize,
    pub(crate) unanswered: usize,
}

/// TCP streams in one direction.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Tcp {
    pub(crate) streams: usize,
    /// From a to b?
    pub(crate) forward: bool,
    pub(crate) gigabits: f64,
    /// CPU seconds per 10^9 octets that arrived, of the gateway behind the sender and of the other.
    pub(crate) encrypting: f64,
    pub(crate) decrypting: f64,
    /// The same of the whole machine.
    pub(crate) machine: f64,
    pub(crate) stolen_percent: f64,
    pub(crate) retransmits: u64,
    pub(crate) late_retransmits: u64,
}

/// UDP at the highest rate with little loss.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Udp {
    pub(crate) size: usize,
    /// Datagrams that arrived, per second.
    pub(crate) rate: f64,
    pub(crate) loss_percent: f64,
    /// CPU microseconds per datagram, gateway a and b.
    pub(crate) microseconds: [f64; 2],
    pub(crate) reordered: u64,
    /// Datagrams late in any probe of the search.
    pub(crate) reordered_in_search: u64,
    /// The generator could not send faster.
    pub(crate) generator_limited: bool,
}

/// Measures what `options` ask for. `name` is for files, `hints` are the UDP rates of an earlier round.
pub(crate) fn measure(
    bed: &Bed,
    pids: &[Vec<u32>; 2],
    options: &Options,
    name: &str,
    hints: &mut [Option<f64>; 2],
    sample: &mut Sample,
) -> Outcome {
    if options.wants(Part::Ping) {
        sample.idle = Some(round_trips(bed, options.pings(), &AtomicBool::new(false))?);
    }
    if options.wants(Part::Tcp) {
        for streams in [1, 4] {
            for forward in [true, false] {
                stop_if_interrupted()?;
                let with_pings = streams == 1 && forward && options.wants(Part::Ping);
                let (tcp, trips) = tcp_run(bed, pids, options, streams, forward, with_pings)?;
                sample.tcp.push(tcp);
                sample.loaded = trips.or(sample.loaded);
            }
        }
    }
    if let Some(folder) = &options.perf {
        profiler::record(bed, pids, options.time(), &folder.join(name))?;
    }
    if options.wants(Part::Udp) {
        for (size, hint) in SIZES.into_iter().zip(hints) {
            let udp = udp_search(bed, pids, options, size, hint)?;
            sample.udp.push(udp);
        }
    }
    let memory = pids.each_ref().map(|pids| host::peak_memory(pids));
    if let [Some(a), Some(b)] = memory {
        sample.peak_memory = Some([a, b]);
    }
    Ok(())
}

fn tcp_run(
    bed: &Bed,
    pids: &[Vec<u32>; 2],
    options: &Options,
    streams: usize,
    forward: bool,
    with_pings: bool,
) -> Outcome<(Tcp, Option<RoundTrips>)> {
    let (from, to) = if forward {
        (&bed.a, &bed.b)
    } else {
        (&bed.b, &bed.a)
    };
    let (sender, receiver) = if forward {
        (&pids[0], &pids[1])
    } else {
        (&pids[1], &pids[0])
    };
    let mut used = [0.0; 3];
    let mut machine = Machine::now();
    let mut trips = None;
    let flow = tcp::run(&from.host, &to.host, to.host_address(), streams, || {
        let cpu = || [host::cpu_seconds(sender), host::cpu_seconds(receiver)];
        let (before, machine_before) = (cpu(), Machine::now());
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let pinging = with_pings.then(|| scope.spawn(|| round_trips(bed, usize::MAX, &over).ok()));
            sleep(options.time());
            let after = cpu();
            machine = Machine::now().since(machine_before);
            used = [after[0] - before[0], after[1] - before[1], machine.busy];
            over.store(true, Ordering::Relaxed);
            trips = pinging.and_then(|thread| thread.join().ok().flatten());
        });
    })?;
    let gigabytes = (flow.octets as f64 / 1e9).max(1e-6);
    // The pings' last second may have made the measurement a little longer than the CPU time was taken for.
    let scale = flow.seconds / options.time().as_secs_f64();
    let [encrypting, decrypting, busy] = used.map(|seconds| seconds * scale / gigabytes);
    let tcp = Tcp {
        streams,
        forward,
        gigabits: gigabytes * 8.0 / flow.seconds,
        encrypting,
        decrypting,
        machine: busy,
        stolen_percent: machine.stolen * 100.0 / machine.all.max(0.01),
        retransmits: flow.retransmits,
        late_retransmits: flow.late_retransmits,
    };
    Ok((tcp, trips))
}

/// Pings host b from host a every 10 ms, `count` times or until `over`.
fn round_trips(bed: &Bed, count: usize, over: &AtomicBool) -> Outcome<RoundTrips> {
    let answers: Result<Vec<Answer>, std::io::Error> = bed.a.host.run(|| {
        let mut answers = Vec::new();
        while answers.len() < count && !over.load(Ordering::Relaxed) && !interrupted() {
            let mut question = Ping::to(bed.b.host_address());
            question.patience = Duration::from_millis(500);
            answers.push(ping(question)?);
            thread::sleep(Duration::from_millis(10));
        }
        Ok(answers)
    })?;
    let answers = answers?;
    let mut times: Vec<f64> = answers
        .iter()
        .filter_map(|answer| match answer {
            Answer::Reply(time) => Some(time.as_secs_f64() * 1e3),
            Answer::TooBig { .. } | Answer::Unreachable { .. } | Answer::Silence => None,
        })
        .collect();
    times.sort_by(f64::total_cmp);
    if times.is_empty() {
        return Err("no ping is answered".into());
    }
    Ok(RoundTrips {
        median: times[times.len() / 2],
        p99: times[(times.len() * 99 / 100).min(times.len() - 1)],
        asked: answers.len(),
        unanswered: answers.len() - times.len(),
    })
}

/// The highest rate with less than [`LOSS`] percent lost: faster and faster until two probes in a row lose more, then
/// halving what is left between, then a longer look at what was found, going down until it holds.
fn udp_search(
    bed: &Bed,
    pids: &[Vec<u32>; 2],
    options: &Options,
    size: usize,
    hint: &mut Option<f64>,
) -> Outcome<Udp> {
    let probing = options.time().min(Duration::from_secs(1));
    let mut late = 0;
    // The reached rate, if it holds, and whether the generator was too slow for more.
    let mut holds = |rate: f64| -> Outcome<Option<(f64, bool)>> {
        // What one bad moment of the machine spoils, the second try may show.
        for _ in 0..2 {
            stop_if_interrupted()?;
            let probe = udp::probe(bed, size, rate, probing)?;
            late += probe.reordered;
            if probe.loss_percent() < LOSS {
                let sent = probe.sent as f64 / probe.seconds;
                return Ok(Some((sent, sent < rate * 0.95)));
            }
        }
        Ok(None)
    };
    let (mut low, mut high, mut limited) = (0.0, f64::INFINITY, false);
    let mut rate = hint.map_or(FIRST_RATE, |rate| rate * 0.9);
    while high.is_infinite() && !limited {
        match holds(rate)? {
            Some((reached, slow)) => (low, limited, rate) = (reached, slow, rate * 1.4),
            None if low > 0.0 || rate < 1000.0 => high = rate,
            None => rate /= 2.0,
        }
    }
    while !limited && low > 0.0 && high / low > 1.04 {
        let middle = f64::midpoint(low, high);
        match holds(middle)? {
            Some((reached, slow)) => (low, limited) = (reached.max(low), slow),
            None => high = middle,
        }
    }
    let mut rate = low.max(500.0);
    for attempt in 1.. {
        stop_if_interrupted()?;
        let cpu = || pids.each_ref().map(|pids| host::cpu_seconds(pids));
        let before = cpu();
        let probe = udp::probe(bed, size, rate, options.time().min(Duration::from_secs(3)))?;
        let after = cpu();
        late += probe.reordered;
        if probe.loss_percent() < LOSS || attempt == 8 {
            *hint = Some(rate);
            let per_packet = |at: usize| (after[at] - before[at]) * 1e6 / (probe.received as f64).max(1.0);
            return Ok(Udp {
                size,
                rate: probe.rate(),
                loss_percent: probe.loss_percent(),
                microseconds: [per_packet(0), per_packet(1)],
                reordered: probe.reordered,
                reordered_in_search: late,
                generator_limited: limited,
            });
        }
        rate *= 0.94;
        limited = false;
    }
    Err("no rate was found".into())
}

/// An error if somebody wants us to stop.
pub(crate) fn stop_if_interrupted() -> Outcome {
    if interrupted() {
        return Err("interrupted".into());
    }
    Ok(())
}

/// Sleeps unless somebody wants us to stop.
pub(crate) fn sleep(time: Duration) {
    let end = std::time::Instant::now() + time;
    while std::time::Instant::now() < end && !interrupted() {
        thread::sleep(
            Duration::from_millis(20).min(end.saturating_duration_since(std::time::Instant::now())),
        );
    }
}

/// Octets of UDP payload: the smallest that is usual, and what fills a packet of every contestant's tunnel.
pub(crate) const SIZES: [usize; 2] = [1372, 64];
/// What is still called loss-free, in percent.
const LOSS: f64 = 0.5;
/// Where the search begins, packets per second.
const FIRST_RATE: f64 = 10_000.0;
