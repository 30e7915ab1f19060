//! The queues for people: what each stage carries and what it costs.

use std::fmt::Write;

use crate::admin::api::{CipherReport, QueueReport, StageReport};
use crate::cli::terminal::Style;

/// One table per queue, and who does the ciphers.
pub(super) fn render(queues: &[QueueReport], ciphers: &[CipherReport], style: Style) -> String {
    let mut out = String::new();
    if !ciphers.is_empty() {
        let _ = writeln!(out, "\n{}", style.strong("ciphers of ESP"));
    }
    for cipher in ciphers {
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
    for (index, queue) in queues.iter().enumerate() {
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
    }
    out
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
    use crate::admin::api::CipherSpeed;

    #[test]
    fn shows_what_each_stage_carries_and_costs() {
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
        let stages = vec![stage, idle];
        let expected = "\nqueue 0\n  \
            stage               packets  per batch  octets/call  ns/packet  ns/octet   time\n  \
            seal                    640       64.0            -        500      0.50   100%\n  \
            open                      0          -            -          -         -     0%\n";
        assert_eq!(render(&[QueueReport { stages }], &[], Style::none()), expected);
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
        assert_eq!(render(&[], &[cipher], Style::none()), expected);
    }
}
