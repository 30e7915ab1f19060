//! The queues for people: what each stage carries and what it costs, and what went wrong.

use std::fmt::Write;

use super::text::{grouped, seen};
use crate::admin::api::{Counter, StageReport, StatusReport};
use crate::cli::terminal::Style;

/// One table per queue, and who does the ciphers.
pub(super) fn render(report: &StatusReport, style: Style) -> String {
    let mut out = String::new();
    if !report.ciphers.is_empty() {
        let _ = writeln!(out, "\n{}", style.strong("ciphers of ESP"));
    }
    for cipher in &report.ciphers {
        let measured = cipher.measured.iter();
        let measured: Vec<String> = measured
            .map(|speed| format!("{} {} ns", speed.library, speed.ns))
            .collect();
        let octets = cipher.measured.first().map_or(0, |speed| speed.octets);
        let _ = writeln!(
            out,
            "  {:<18} by {}; for {octets} octets: {}",
            cipher.name,
            cipher.library,
            measured.join(", ")
        );
    }
    for (index, queue) in report.queue_stages.iter().enumerate() {
        let _ = writeln!(out, "\n{}", style.strong(&format!("queue {index}")));
        let head = format!(
            "  {:<13}{:>14}{:>11}{:>13}{:>11}{:>10}{:>7}",
            "stage", "packets", "per batch", "octets/call", "ns/packet", "ns/octet", "time"
        );
        let _ = writeln!(out, "{}", style.faint(&head));
        let all: u64 = queue.stages.iter().map(|stage| stage.timed_ns).sum();
        for stage in &queue.stages {
            let _ = writeln!(out, "{}", row(stage, all));
        }
        refused(&mut out, &queue.discards);
        if queue.waits_in_vain > 0 {
            let times = grouped(queue.waits_in_vain);
            let _ = writeln!(out, "  {:<13} waited for another queue {times} times", "in vain");
        }
    }
    if seen(&report.control_discards).is_some() {
        let _ = writeln!(out, "\n{}", style.strong("control"));
        refused(&mut out, &report.control_discards);
    }
    out
}

/// The reasons, if there are any.
fn refused(out: &mut String, counters: &[Counter]) {
    if let Some(seen) = seen(counters) {
        let _ = writeln!(out, "  {:<13} {seen}", "refused");
    }
}

fn row(stage: &StageReport, all_ns: u64) -> String {
    let or_dash = |value: Option<f64>, places: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.places$}"))
    };
    let share = (stage.timed_ns * 100)
        .checked_div(all_ns)
        .map_or_else(|| "-".to_owned(), |percent| format!("{percent}%"));
    format!(
        "  {:<13}{:>14}{:>11}{:>13}{:>11}{:>10}{:>7}",
        stage.name,
        stage.packets,
        or_dash(stage.packets_per_batch(), 1),
        or_dash(stage.octets_per_call(), 0),
        or_dash(stage.ns_per_packet(), 0),
        or_dash(stage.ns_per_octet(), 2),
        share
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::api::{CipherReport, CipherSpeed, QueueReport};

    #[test]
    fn shows_what_each_stage_carries_and_costs_and_what_each_queue_refused() {
        let stage = StageReport {
            name: "seal".into(),
            batches: 10,
            packets: 640,
            octets: 640_000,
            system_calls: 0,
            timed_packets: 64,
            timed_octets: 64_000,
            timed_ns: 32_000,
        };
        let idle = StageReport {
            name: "open".into(),
            ..StageReport::default()
        };
        let counter = |name: &str, count| Counter {
            name: name.into(),
            count,
        };
        let busy = QueueReport {
            stages: vec![stage, idle],
            discards: vec![counter("no_outbound_sa", 1), counter("bad_icv", 3000)],
            waits_in_vain: 0,
        };
        let calm = QueueReport {
            stages: vec![],
            discards: vec![counter("nat_keepalive", 5), counter("replayed", 0)],
            waits_in_vain: 4,
        };
        let report = StatusReport {
            queue_stages: vec![busy, calm],
            control_discards: vec![counter("unusable_sa", 2)],
            ..StatusReport::default()
        };
        let expected = "\nqueue 0\n  \
            stage               packets  per batch  octets/call  ns/packet  ns/octet   time\n  \
            seal                    640       64.0            -        500      0.50   100%\n  \
            open                      0          -            -          -         -     0%\n  \
            refused       no_outbound_sa 1, bad_icv 3,000\n\n\
            queue 1\n  \
            stage               packets  per batch  octets/call  ns/packet  ns/octet   time\n  \
            in vain       waited for another queue 4 times\n\n\
            control\n  \
            refused       unusable_sa 2\n";
        assert_eq!(render(&report, Style::none()), expected);
    }

    #[test]
    fn shows_who_does_the_ciphers() {
        let speed = |library: &str, ns| CipherSpeed {
            library: library.into(),
            octets: 1_438,
            ns,
        };
        let cipher = CipherReport {
            name: "aes128gcm16".into(),
            library: "ring".into(),
            measured: vec![speed("ring", 287), speed("aws-lc", 483)],
        };
        let expected = "\nciphers of ESP\n  \
            aes128gcm16        by ring; for 1438 octets: ring 287 ns, aws-lc 483 ns\n";
        let report = StatusReport {
            ciphers: vec![cipher],
            ..StatusReport::default()
        };
        assert_eq!(render(&report, Style::none()), expected);
    }
}
