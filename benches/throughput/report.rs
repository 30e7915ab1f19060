//! The tables and the JSON document.

use serde::Serialize;

use crate::bed::{Offloads, Profile};
use crate::host::Description;
use crate::measure::{RoundTrips, SIZES, Sample, Tcp, Udp};

/// A whole run. Readers of the JSON look at `schema` first; it changes when a field does.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) schema: u32,
    pub(crate) date: String,
    pub(crate) xvpn: String,
    pub(crate) machine: Description,
    pub(crate) load_average_before: String,
    pub(crate) load_average_after: String,
    pub(crate) rounds: u32,
    pub(crate) seconds: u64,
    pub(crate) tables: Vec<Table>,
}

/// Everybody on one profile of the bed.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    pub(crate) profile: Profile,
    pub(crate) offloads: Offloads,
    pub(crate) rows: Vec<Row>,
}

/// One contestant.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) cipher: String,
    /// Why there are no figures at all.
    pub(crate) not_here: Option<String>,
    /// What went wrong in single rounds.
    pub(crate) failures: Vec<String>,
    pub(crate) rounds: Vec<Sample>,
}

impl Run {
    /// Where and when, in a line or two.
    pub(crate) fn preamble(&self) -> String {
        format!(
            "{}, {} CPUs, Linux {}, {} MiB; {}; {}; load average {} before and {} after; medians of {} rounds, {} s for each TCP run",
            self.machine.processor,
            self.machine.processors,
            self.machine.kernel,
            self.machine.memory_mib,
            self.date,
            self.xvpn,
            self.load_average_before,
            self.load_average_after,
            self.rounds,
            self.seconds,
        )
    }
}

impl Table {
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        let here: Vec<&Row> = self.rows.iter().filter(|row| row.not_here.is_none()).collect();
        let names = here.iter().map(|row| row.name.clone());
        let title = format!("profile `{}`", self.profile.word());
        line(&mut text, std::iter::once(title).chain(names));
        line(&mut text, (0..=here.len()).map(|_| "---".to_owned()));
        let cells: Vec<_> = here.iter().map(|row| row.cells()).collect();
        for (at, measure) in MEASURES.iter().enumerate() {
            let figures = cells.iter().map(|cells| cells[at].clone());
            // What was not asked for is not a line of dashes.
            if figures
                .clone()
                .any(|figure| figure.contains(|c: char| c.is_ascii_digit()))
            {
                line(&mut text, std::iter::once((*measure).to_owned()).chain(figures));
            }
        }
        text.push('\n');
        text.extend(self.compared());
        for row in &self.rows {
            let missing = row.not_here.iter().map(|reason| format!("NOT HERE: {reason}"));
            let failed = row.failures.iter().map(|failure| format!("FAILED: {failure}"));
            for words in missing.chain(failed) {
                text.push_str(&format!("- {} {}\n", row.name, words.replace('\n', " / ")));
            }
        }
        text
    }

    /// One TCP stream of xvpn's, as a part of what the best other tunnel and no tunnel carry.
    fn compared(&self) -> Option<String> {
        let one = |row: &Row| {
            [true, false].map(|forward| middle(row.tcp(1, Some(forward)).map(|tcp| tcp.gigabits)))
        };
        let of = |name: &str| self.rows.iter().find(|row| row.name == name).map(one);
        let [Some(there), Some(back)] = of("xvpn")? else {
            return None;
        };
        let others = || {
            let rows = self.rows.iter();
            rows.filter(|row| row.name != "none" && !row.name.starts_with("xvpn"))
        };
        let best = [0, 1].map(|way| others().filter_map(|row| one(row)[way]).reduce(f64::max));
        let mut words = Vec::new();
        if let [Some(a), Some(b)] = best {
            words.push(format!(
                "{:.2} / {:.2} times the fastest other tunnel",
                there / a,
                back / b
            ));
        }
        if let Some([Some(a), Some(b)]) = of("none") {
            words.push(format!("{:.2} / {:.2} of no tunnel", there / a, back / b));
        }
        (!words.is_empty()).then(|| format!("One TCP stream of xvpn: {}.\n\n", words.join(", ")))
    }
}

impl Row {
    fn cells(&self) -> [String; MEASURES.len()] {
        let sizes = SIZES.map(|size| move |udp: &&Udp| udp.size == size);
        let [large, small] = sizes.map(|of_size| {
            let all = self.rounds.iter().flat_map(|sample| &sample.udp);
            all.filter(of_size).copied().collect::<Vec<_>>()
        });
        let pings = |of: fn(&Sample) -> Option<RoundTrips>| {
            let trips: Vec<RoundTrips> = self.rounds.iter().filter_map(of).collect();
            let unanswered: usize = trips.iter().map(|t| t.unanswered).sum();
            let lost = if unanswered > 0 {
                format!(" ({unanswered} lost)")
            } else {
                String::new()
            };
            format!(
                "{} / {}{lost}",
                median(trips.iter().map(|t| t.median), 2),
                median(trips.iter().map(|t| t.p99), 2)
            )
        };
        let memory = |at: usize| {
            let all = self.rounds.iter().filter_map(|sample| sample.peak_memory);
            median(all.map(|memory| memory[at]), 0)
        };
        let late: u64 = [&large, &small]
            .into_iter()
            .flatten()
            .map(|udp| udp.reordered_in_search)
            .sum();
        let foreign = self.rounds.iter().map(|sample| sample.foreign_load_percent);
        [
            self.both_ways(1, |tcp| tcp.gigabits, 2, " / "),
            self.both_ways(4, |tcp| tcp.gigabits, 2, " / "),
            self.cost(1),
            self.cost(4),
            self.both_ways(1, |tcp| tcp.retransmits as f64, 0, " / "),
            rate(&large),
            per_packet(&large),
            rate(&small),
            per_packet(&small),
            if large.is_empty() {
                "-".to_owned()
            } else {
                late.to_string()
            },
            pings(|sample| sample.idle),
            pings(|sample| sample.loaded),
            format!("{} / {}", memory(0), memory(1)),
            median(foreign, 0),
        ]
    }

    fn tcp(&self, streams: usize, forward: Option<bool>) -> impl Iterator<Item = &Tcp> {
        let all = self.rounds.iter().flat_map(|sample| &sample.tcp);
        all.filter(move |tcp| tcp.streams == streams && forward.is_none_or(|forward| tcp.forward == forward))
    }

    fn both_ways(&self, streams: usize, of: fn(&Tcp) -> f64, digits: usize, between: &str) -> String {
        [true, false]
            .map(|forward| median(self.tcp(streams, Some(forward)).map(of), digits))
            .join(between)
    }

    fn cost(&self, streams: usize) -> String {
        [|tcp: &Tcp| tcp.encrypting, |tcp: &Tcp| tcp.decrypting]
            .map(|of| median(self.tcp(streams, None).map(of), 2))
            .join(" + ")
    }
}

fn rate(udp: &[Udp]) -> String {
    let limited = udp.iter().any(|udp| udp.generator_limited);
    // The generator had no more to give: the tunnel might.
    let sign = if limited { ">= " } else { "" };
    let lost = udp.iter().any(|udp| udp.loss_percent >= 0.5);
    let remark = if lost { " (lossy)" } else { "" };
    format!(
        "{sign}{}{remark}",
        median(udp.iter().map(|udp| udp.rate / 1e3), 1)
    )
}

fn per_packet(udp: &[Udp]) -> String {
    [0, 1]
        .map(|at| median(udp.iter().map(|udp| udp.microseconds[at]), 1))
        .join(" + ")
}

fn line(text: &mut String, cells: impl Iterator<Item = String>) {
    text.push_str(&format!("| {} |\n", cells.collect::<Vec<_>>().join(" | ")));
}

fn median(values: impl Iterator<Item = f64>, digits: usize) -> String {
    middle(values).map_or_else(|| "-".to_owned(), |middle| format!("{middle:.digits$}"))
}

fn middle(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[odd / 2]),
        even => Some(f64::midpoint(values[even / 2 - 1], values[even / 2])),
    }
}

const MEASURES: [&str; 14] = [
    "TCP, 1 stream, a>b / b>a, Gbit/s",
    "TCP, 4 streams",
    "CPU, s/GB, encrypting + decrypting gateway, 1 stream",
    "CPU, 4 streams",
    "retransmits, 1 stream, a>b / b>a",
    "UDP, 1372 octets, kpps",
    "CPU, us/packet, gateway a + b",
    "UDP, 64 octets, kpps",
    "CPU, us/packet, gateway a + b",
    "UDP, late in their flow",
    "ping, idle, median / p99, ms",
    "ping beside 1 TCP stream, median / p99, ms",
    "memory at peak, MiB, a / b",
    "CPU of others meanwhile, %",
];
