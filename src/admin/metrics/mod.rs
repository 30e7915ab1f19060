//! The status as OpenMetrics text (the format of Prometheus): a page for its server, and a file for its textfile collector.
//!
//! The names are a contract: a test compares all of them literally. Everything that the configuration names is there whether it is up or
//! not, because what is missing cannot be told from what was never configured.

pub mod http;
mod room;

use std::fmt::{self, Write as _};

use super::api::{Counter, StageReport, StatusReport, TunnelState, TunnelStatus};

/// What the text is, for HTTP.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The text for a status.
pub fn render(status: &StatusReport) -> String {
    let mut page = Page::default();
    gateway(&mut page, status);
    tunnels(&mut page, &status.tunnels);
    children(&mut page, &status.tunnels);
    stages(&mut page, status);
    page.text.push_str("# EOF\n");
    page.text
}

fn gateway(page: &mut Page, status: &StatusReport) {
    page.family("xvpn_build", Kind::Info, "The version of the program.");
    page.sample(&[("version", &status.version)], 1);
    page.family("xvpn_uptime_seconds", Kind::Gauge, "Since the daemon started.");
    page.sample(&[], Seconds::of_ms(status.uptime_ms));
    page.family("xvpn_queues", Kind::Gauge, "Threads of the packet path.");
    page.sample(&[], status.queues);
    page.family(
        "xvpn_key_exports",
        Kind::Gauge,
        "Who is being given the keys of all SAs at the moment (xvpn trace).",
    );
    page.sample(&[], status.key_exports.len());
    page.family(
        "xvpn_discarded_packets",
        Kind::Counter,
        "Packets refused by each queue, or by their control; reasons never seen are left out.",
    );
    for (queue, report) in (0_u32..).zip(&status.queue_stages) {
        discards(page, &queue.to_string(), &report.discards);
    }
    discards(page, "control", &status.control_discards);
    page.family(
        "xvpn_waits_in_vain",
        Kind::Counter,
        "Batches that a queue sent although another one, which it had waited for, still held lower sequence numbers.",
    );
    for (queue, report) in (0_u32..).zip(&status.queue_stages) {
        page.sample(&[("queue", &queue.to_string())], report.waits_in_vain);
    }
    page.family(
        "xvpn_ignored_datagrams",
        Kind::Counter,
        "IKE datagrams that changed nothing; reasons never seen are left out.",
    );
    for counter in &status.ignored {
        page.sample(&[("reason", &counter.name)], counter.count);
    }
}

fn discards(page: &mut Page, queue: &str, counters: &[Counter]) {
    for counter in counters {
        page.sample(&[("queue", queue), ("reason", &counter.name)], counter.count);
    }
}

fn tunnels(page: &mut Page, tunnels: &[TunnelStatus]) {
    let mut each = |name, kind, help, value: fn(&TunnelStatus) -> u64| {
        page.family(name, kind, help);
        for tunnel in tunnels {
            page.sample(&[("tunnel", &tunnel.name)], value(tunnel));
        }
    };
    each(
        "xvpn_tunnel_up",
        Kind::Gauge,
        "1 if it carries traffic, else 0.",
        |tunnel| u64::from(tunnel.state == TunnelState::Established),
    );
    each(
        "xvpn_tunnel_wanted",
        Kind::Gauge,
        "1 if it shall be up, else 0.",
        |tunnel| u64::from(tunnel.wanted),
    );
    each(
        "xvpn_tunnel_mtu_bytes",
        Kind::Gauge,
        "The MTU of its interface.",
        |tunnel| u64::from(tunnel.mtu),
    );
    each("xvpn_ike_sas", Kind::Gauge, "IKE SAs that stand.", |tunnel| {
        u64::from(tunnel.ike.is_some())
    });
    each(
        "xvpn_ike_sas_established",
        Kind::Counter,
        "IKE SAs that came to stand.",
        |tunnel| tunnel.totals.ike_established,
    );
    each(
        "xvpn_ike_rekeys",
        Kind::Counter,
        "IKE SAs that took the place of one that stood.",
        |tunnel| tunnel.totals.ike_rekeys,
    );
    page.family("xvpn_tunnel_state", Kind::StateSet, "How it is.");
    for tunnel in tunnels {
        for state in STATES {
            let labels = [("tunnel", &*tunnel.name), ("xvpn_tunnel_state", state.word())];
            page.sample(&labels, u8::from(tunnel.state == state));
        }
    }
    page.family(
        "xvpn_handshake_failures",
        Kind::Counter,
        "Attempts that failed, by the step at which; steps that never failed are left out.",
    );
    for tunnel in tunnels {
        for failure in &tunnel.totals.failures {
            page.sample(
                &[("tunnel", &tunnel.name), ("step", &failure.name)],
                failure.count,
            );
        }
    }
}

fn children(page: &mut Page, tunnels: &[TunnelStatus]) {
    let all = || {
        tunnels.iter().flat_map(|tunnel| {
            let children = tunnel.totals.children.iter();
            children.map(move |child| (tunnel, child))
        })
    };
    page.family("xvpn_child_sas", Kind::Gauge, "CHILD SAs that stand.");
    for (tunnel, child) in all() {
        let standing = tunnel.children.iter().filter(|sa| sa.name == child.name);
        page.sample(
            &[("tunnel", &tunnel.name), ("child", &child.name)],
            standing.count(),
        );
    }
    page.family(
        "xvpn_child_sas_established",
        Kind::Counter,
        "CHILD SAs that came to stand.",
    );
    for (tunnel, child) in all() {
        page.sample(
            &[("tunnel", &tunnel.name), ("child", &child.name)],
            child.established,
        );
    }
    page.family(
        "xvpn_child_rekeys",
        Kind::Counter,
        "CHILD SAs that took the place of one that stood.",
    );
    for (tunnel, child) in all() {
        page.sample(&[("tunnel", &tunnel.name), ("child", &child.name)], child.rekeys);
    }
    page.family(
        "xvpn_child_packets",
        Kind::Counter,
        "Packets carried, whichever SA did it.",
    );
    for (tunnel, child) in all() {
        for (direction, packets) in [("in", child.packets_in), ("out", child.packets_out)] {
            let labels = [
                ("tunnel", &*tunnel.name),
                ("child", &*child.name),
                ("direction", direction),
            ];
            page.sample(&labels, packets);
        }
    }
    page.family(
        "xvpn_child_bytes",
        Kind::Counter,
        "Octets of these packets, before sealing and after opening.",
    );
    for (tunnel, child) in all() {
        for (direction, bytes) in [("in", child.bytes_in), ("out", child.bytes_out)] {
            let labels = [
                ("tunnel", &*tunnel.name),
                ("child", &*child.name),
                ("direction", direction),
            ];
            page.sample(&labels, bytes);
        }
    }
}

/// One family for each count of the stages of the packet path.
type StageFamily = (&'static str, &'static str, fn(&StageReport) -> u64);

fn stages(page: &mut Page, status: &StatusReport) {
    let families: [StageFamily; 6] = [
        ("xvpn_stage_batches", "Batches that went through.", |s| s.batches),
        (
            "xvpn_stage_packets",
            "Packets that went through; each segment is one.",
            |s| s.packets,
        ),
        ("xvpn_stage_bytes", "Octets of these packets.", |s| s.octets),
        (
            "xvpn_stage_system_calls",
            "System calls, those that found nothing included.",
            |s| s.system_calls,
        ),
        (
            "xvpn_stage_sampled_packets",
            "Packets of the batches whose time was taken, one in 32.",
            |s| s.timed_packets,
        ),
        ("xvpn_stage_sampled_bytes", "Octets of these.", |s| s.timed_octets),
    ];
    let all = || {
        let queues = (0..).zip(&status.queue_stages);
        queues.flat_map(|(index, queue): (u32, _)| {
            let stages = queue.stages.iter();
            stages.map(move |stage| (index.to_string(), stage))
        })
    };
    for (name, help, count) in families {
        page.family(name, Kind::Counter, help);
        for (queue, stage) in all() {
            page.sample(&[("queue", &queue), ("stage", &stage.name)], count(stage));
        }
    }
    page.family(
        "xvpn_stage_sampled_seconds",
        Kind::Counter,
        "What these took: divided by their packets, the cost of one.",
    );
    for (queue, stage) in all() {
        let labels = [("queue", &*queue), ("stage", &*stage.name)];
        page.sample(&labels, Seconds { ns: stage.timed_ns });
    }
}

const STATES: [TunnelState; 6] = [
    TunnelState::Down,
    TunnelState::Listening,
    TunnelState::Connecting,
    TunnelState::Established,
    TunnelState::Failed,
    TunnelState::Closing,
];

/// The text, and the family that is being written.
#[derive(Default)]
struct Page {
    text: String,
    name: &'static str,
    suffix: &'static str,
}

#[derive(Clone, Copy)]
enum Kind {
    Gauge,
    Counter,
    Info,
    StateSet,
}

impl Page {
    /// Samples of this family follow.
    fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        let (word, suffix) = match kind {
            Kind::Gauge => ("gauge", ""),
            Kind::Counter => ("counter", "_total"),
            Kind::Info => ("info", "_info"),
            Kind::StateSet => ("stateset", ""),
        };
        (self.name, self.suffix) = (name, suffix);
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "# TYPE {name} {word}");
        let unit = ["_bytes", "_seconds"].iter().find(|unit| name.ends_with(*unit));
        if let Some(unit) = unit {
            let _ = writeln!(self.text, "# UNIT {name} {}", unit.trim_start_matches('_'));
        }
        let _ = writeln!(self.text, "# HELP {name} {help}");
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: impl fmt::Display) {
        self.text.push_str(self.name);
        self.text.push_str(self.suffix);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            self.text.push_str(label);
            self.text.push_str("=\"");
            for character in text.chars() {
                match character {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

/// A time in the unit of Prometheus.
struct Seconds {
    ns: u64,
}

impl Seconds {
    fn of_ms(ms: u64) -> Self {
        Self {
            ns: ms.saturating_mul(1_000_000),
        }
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.ns / 1_000_000_000, self.ns % 1_000_000_000)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
