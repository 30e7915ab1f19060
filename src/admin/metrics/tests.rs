use std::collections::BTreeSet;

use super::*;
use crate::admin::api::{ChildTotals, Counter, QueueReport, TunnelTotals};

fn tunnel(name: &str, state: TunnelState) -> TunnelStatus {
    TunnelStatus {
        name: name.into(),
        state,
        since_ms: 0,
        wanted: true,
        failure: None,
        interface: format!("xv-{name}"),
        mtu: 1406,
        local_id: String::new(),
        remote_id: String::new(),
        remote: String::new(),
        local_networks: vec![],
        remote_networks: vec![],
        ike: None,
        children: vec![],
        missing: vec![],
        totals: TunnelTotals {
            ike_established: 3,
            ike_rekeys: 2,
            failures: vec![Counter {
                name: "IKE_AUTH".into(),
                count: 4,
            }],
            children: vec![ChildTotals {
                name: name.into(),
                established: 9,
                rekeys: 8,
                packets_in: 100,
                bytes_in: 140_000,
                packets_out: 50,
                bytes_out: 4000,
            }],
        },
    }
}

fn status() -> StatusReport {
    let counter = |name: &str, count| Counter {
        name: name.into(),
        count,
    };
    let stage = |name: &str| StageReport {
        name: name.into(),
        batches: 10,
        packets: 640,
        octets: 900_000,
        system_calls: 20,
        timed_packets: 64,
        timed_octets: 90_000,
        timed_ns: 1_000_000_007,
    };
    StatusReport {
        version: "1.2.3".into(),
        uptime_ms: 61_500,
        queues: 2,
        tunnels: vec![
            tunnel("azure", TunnelState::Established),
            tunnel("lab", TunnelState::Failed),
        ],
        discards: vec![counter("bad_icv", 7), counter("unusable_sa", 2)],
        control_discards: vec![counter("unusable_sa", 2)],
        ignored: vec![Counter {
            name: "not_sent".into(),
            count: 1,
        }],
        queue_stages: vec![
            QueueReport {
                stages: vec![stage("tun_read"), stage("seal")],
                discards: vec![counter("bad_icv", 4)],
                waits_in_vain: 0,
            },
            QueueReport {
                stages: vec![],
                discards: vec![counter("bad_icv", 3)],
                waits_in_vain: 6,
            },
        ],
        ..StatusReport::default()
    }
}

#[test]
fn writes_what_its_golden_says() {
    let text = render(&status());
    if std::env::var_os("XVPN_UPDATE_GOLDENS").is_some() {
        std::fs::write("src/admin/metrics/example.txt", &text).unwrap();
    }
    assert_eq!(text, include_str!("example.txt"));
}

#[test]
fn a_tunnel_that_is_down_is_there_with_a_zero() {
    let text = render(&status());
    assert!(text.contains("xvpn_tunnel_up{tunnel=\"azure\"} 1\n"));
    assert!(text.contains("xvpn_tunnel_up{tunnel=\"lab\"} 0\n"));
}

/// The rules of the format that a careless change breaks: a family is described once and its samples follow it, names end as their
/// kind demands, no sample is there twice, and the end is marked.
#[test]
fn keeps_the_rules_of_the_format() {
    let text = render(&status());
    assert!(text.ends_with("# EOF\n"));
    let (mut families, mut samples) = (BTreeSet::new(), BTreeSet::new());
    let mut family = ("", "");
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split_once(' ').unwrap();
            assert!(families.insert(family.0), "{line}");
            assert!(
                family.0.starts_with("xvpn_") && !family.0.ends_with("_total"),
                "{line}"
            );
        } else if let Some(rest) = line.strip_prefix("# ") {
            assert!(rest.split(' ').nth(1) == Some(family.0), "{line}");
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let suffix = match family.1 {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            let name = sample.split('{').next().unwrap();
            assert_eq!(name, format!("{}{suffix}", family.0), "{line}");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(samples.insert(sample), "{line} is there twice");
        }
    }
}

#[test]
fn a_label_cannot_break_out() {
    let mut page = Page::default();
    page.family("xvpn_x", Kind::Gauge, "X.");
    page.sample(&[("name", "a\"b\\c\nd")], 1);
    assert!(
        page.text.ends_with("xvpn_x{name=\"a\\\"b\\\\c\\nd\"} 1\n"),
        "{}",
        page.text
    );
}
