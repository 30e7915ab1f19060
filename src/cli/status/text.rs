//! The status for people: one block per tunnel, the state first, what to do about a failure beside it.

use std::fmt::Write;

use crate::admin::api::{
    ChildStatus, Counter, FailureReport, IkeStatus, StatusReport, TunnelState, TunnelStatus,
};
use crate::cli::terminal::Style;

/// The whole report.
pub(super) fn render(report: &StatusReport, style: Style) -> String {
    let mut out = String::new();
    let established = report
        .tunnels
        .iter()
        .filter(|t| t.state == TunnelState::Established)
        .count();
    let head = format!(
        "xvpn {}, {established} of {} tunnels established",
        report.version,
        report.tunnels.len()
    );
    line(
        &mut out,
        &format!(
            "{}, up {}, {}",
            style.strong(&head),
            span(report.uptime_ms),
            report.config.display()
        ),
    );
    for export in &report.key_exports {
        let words = format!(
            "KEYS ARE BEING EXPORTED to {} (xvpn trace), for another {}: it can read the traffic of every tunnel",
            export.to,
            span(export.left_ms)
        );
        line(&mut out, &style.bad(&words));
    }
    for tunnel in &report.tunnels {
        out.push('\n');
        render_tunnel(&mut out, tunnel, style);
    }
    for (title, counters) in [
        ("packets refused", &report.discards),
        ("IKE datagrams ignored", &report.ignored),
    ] {
        render_counters(&mut out, title, counters, style);
    }
    out
}

fn render_tunnel(out: &mut String, tunnel: &TunnelStatus, style: Style) {
    let state = format!("{} for {}", tunnel.state.word(), span(tunnel.since_ms));
    let state = match tunnel.state {
        TunnelState::Established => style.good(&state),
        TunnelState::Failed => style.bad(&state),
        TunnelState::Connecting | TunnelState::Closing | TunnelState::Listening => style.busy(&state),
        TunnelState::Down => style.faint(&state),
    };
    line(out, &format!("{}: {state}", style.strong(&tunnel.name)));
    let mut row = |label: &str, text: &str| {
        let label = style.faint(&format!("  {label:<10}"));
        line(out, &format!("{label} {text}"));
    };
    if let Some(failure) = tunnel
        .failure
        .as_ref()
        // While it stands, only what will end it one day is worth a line.
        .filter(|failure| tunnel.state != TunnelState::Established || failure.step == "CREATE_CHILD_SA")
    {
        render_failure(&mut row, failure);
    }
    match &tunnel.ike {
        Some(ike) => render_ike(&mut row, tunnel, ike),
        None => {
            row("peer", &format!("{} ({})", tunnel.remote_id, tunnel.remote));
            row("us", &tunnel.local_id);
        }
    }
    let mtu = if tunnel.mtu == 0 {
        String::new()
    } else {
        format!(", mtu {}", tunnel.mtu)
    };
    row("interface", &format!("{}{mtu}", tunnel.interface));
    if tunnel.children.is_empty() {
        row(
            "networks",
            &networks(&tunnel.local_networks, &tunnel.remote_networks),
        );
    }
    let several = tunnel.children.len() + tunnel.missing.len() > 1;
    for child in &tunnel.children {
        if several {
            let queue = child.resource.map(|n| format!(", for queue {n}"));
            row(
                "CHILD SA",
                &format!("{}{}", child.name, queue.unwrap_or_default()),
            );
        }
        render_child(&mut row, child);
    }
    for missing in &tunnel.missing {
        row("CHILD SA", &format!("{}: not there", missing.name));
        if let Some(failure) = &missing.failure {
            render_failure(&mut row, failure);
        }
    }
}

fn render_failure(row: &mut impl FnMut(&str, &str), failure: &FailureReport) {
    row("failed at", &format!("{}: {}", failure.step, failure.message));
    row("remedy", &failure.remedy);
    if let Some(settings) = failure.details.settings() {
        row("settings", &settings);
    }
    if let Some(ms) = failure.retry_in_ms {
        row("next try", &format!("in {}", span(ms)));
    }
}

fn render_ike(row: &mut impl FnMut(&str, &str), tunnel: &TunnelStatus, ike: &IkeStatus) {
    let nat = |there: bool| if there { ", behind a NAT" } else { "" };
    // A peer that wants UDP encapsulation without a NAT pretends one (RFC 7296 2.23): the two look the same from here.
    let nat_or_forced = |there: bool| {
        if there {
            ", behind a NAT (or it forces UDP)"
        } else {
            ""
        }
    };
    row(
        "peer",
        &format!(
            "{} at {}{}{}",
            tunnel.remote_id,
            ike.remote,
            nat_or_forced(ike.nat_remote),
            by(&ike.remote_auth)
        ),
    );
    row(
        "us",
        &format!(
            "{} at {}{}{}",
            tunnel.local_id,
            ike.local,
            nat(ike.nat_local),
            by(&ike.local_auth)
        ),
    );
    row(
        "IKE",
        &format!(
            "{}, {}, spi {} {}, {} old",
            ike.suite,
            ike.role,
            ike.spi_i,
            ike.spi_r,
            span(ike.age_ms)
        ),
    );
}

/// How a side proved who it is.
fn by(means: &str) -> String {
    if means.is_empty() {
        String::new()
    } else {
        format!(", by {means}")
    }
}

fn render_child(row: &mut impl FnMut(&str, &str), child: &ChildStatus) {
    let how = match child.encapsulation.as_str() {
        "udp" => "in UDP",
        "tcp" => "in TCP",
        _ => "as IP protocol 50",
    };
    row(
        "ESP",
        &format!(
            "{} {how}, spi {} in, {} out, {} old, {}",
            child.suite,
            child.spi_in,
            child.spi_out,
            span(child.age_ms),
            replaced(child)
        ),
    );
    row("networks", &networks(&child.local, &child.remote));
    if let Some(iptfs) = &child.iptfs {
        row("ip-tfs", iptfs);
    }
    row("in", &traffic(child.packets_in, child.bytes_in));
    row("out", &traffic(child.packets_out, child.bytes_out));
}

fn render_counters(out: &mut String, title: &str, counters: &[Counter], style: Style) {
    if let Some(seen) = seen(counters) {
        line(out, &format!("\n{}: {seen}", style.strong(title)));
    }
}

/// Those that are not 0; `None` if all are.
pub(super) fn seen(counters: &[Counter]) -> Option<String> {
    // Keepalives are meant to go no further; an operator at night need not wonder about them.
    let seen: Vec<String> = (counters
        .iter()
        .filter(|c| c.count > 0 && c.name != "nat_keepalive"))
    .map(|c| format!("{} {}", c.name, grouped(c.count)))
    .collect();
    (!seen.is_empty()).then(|| seen.join(", "))
}

fn line(out: &mut String, text: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{text}");
}

fn networks(local: &[String], remote: &[String]) -> String {
    format!("{} <-> {}", local.join(", "), remote.join(", "))
}

/// When a CHILD SA is replaced.
fn replaced(child: &ChildStatus) -> String {
    let mut limits = vec![format!("in {}", span(child.rekey_in_ms))];
    limits.extend(child.rekey_in_bytes.map(|bytes| format!("after {}", size(bytes))));
    let packets = child
        .rekey_in_packets
        .map(|packets| format!("after {} packets", grouped(packets)));
    limits.extend(packets);
    format!("new one {}", limits.join(" or "))
}

fn traffic(packets: u64, bytes: u64) -> String {
    let plural = if packets == 1 { "" } else { "s" };
    format!("{} in {} packet{plural}", size(bytes), grouped(packets))
}

fn size(bytes: u64) -> String {
    // More digits than shown are of no interest.
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {unit}")
    }
}

pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A time in its two largest units.
fn span(ms: u64) -> String {
    let seconds = ms / 1000;
    let units = [
        (seconds / 86400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let first = units
        .iter()
        .position(|(number, _)| *number > 0)
        .unwrap_or(units.len() - 1);
    let two = units.iter().skip(first).take(2).enumerate();
    let shown: Vec<String> = two
        .filter(|(n, (number, _))| *n == 0 || *number > 0)
        .map(|(_, (n, unit))| format!("{n}{unit}"))
        .collect();
    shown.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::api::{Actor, FailureDetails, TunnelTotals};

    #[test]
    fn writes_times_sizes_and_numbers_as_people_do() {
        assert_eq!(
            [span(0), span(61_000), span(3_600_000), span(90_061_000)],
            ["0s", "1m 1s", "1h", "1d 1h"]
        );
        assert_eq!(
            [size(0), size(1023), size(1536), size(5 << 30)],
            ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]
        );
        assert_eq!(
            [grouped(7), grouped(1000), grouped(1_234_567)],
            ["7", "1,000", "1,234,567"]
        );
    }

    #[test]
    fn shows_an_established_and_a_failed_tunnel() {
        let report = StatusReport {
            version: "0.1.0".into(),
            uptime_ms: 65_000,
            config: "/etc/xvpn/xvpn.toml".into(),
            tunnels: vec![established(), failed()],
            discards: vec![
                Counter {
                    name: "replayed".into(),
                    count: 3,
                },
                Counter {
                    name: "bad_icv".into(),
                    count: 0,
                },
            ],
            ..StatusReport::default()
        };
        let expected = include_str!("example.txt");
        assert_eq!(render(&report, Style::none()), expected);
    }

    fn established() -> TunnelStatus {
        TunnelStatus {
            name: "azure".into(),
            state: TunnelState::Established,
            since_ms: 60_000,
            wanted: true,
            failure: None,
            interface: "xv-azure".into(),
            mtu: 1426,
            local_id: "aws.example".into(),
            remote_id: "azure.example".into(),
            remote: "198.51.100.7".into(),
            local_networks: vec!["10.1.0.0/16".into()],
            remote_networks: vec!["10.2.0.0/16".into()],
            ike: Some(IkeStatus {
                role: "initiator".into(),
                spi_i: "0123456789abcdef".into(),
                spi_r: "fedcba9876543210".into(),
                suite: "aes256gcm16-prfsha256-x25519".into(),
                local: "10.0.0.4:4500".parse().unwrap(),
                remote: "198.51.100.7:4500".parse().unwrap(),
                nat_local: true,
                nat_remote: false,
                redirectable: false,
                local_auth: "psk".into(),
                remote_auth: "certificate ecdsa-sha256".into(),
                age_ms: 60_000,
            }),
            missing: vec![],
            totals: TunnelTotals::default(),
            children: vec![ChildStatus {
                name: "azure".into(),
                resource: None,
                spi_in: "c0ffee01".into(),
                spi_out: "deadbeef".into(),
                suite: "aes256gcm16-esn".into(),
                encapsulation: "udp".into(),
                local: vec!["10.1.0.0/16".into()],
                remote: vec!["10.2.0.0/16".into()],
                packets_in: 1_234_567,
                bytes_in: 5 << 30,
                packets_out: 1,
                bytes_out: 84,
                age_ms: 60_000,
                rekey_in_ms: 2_940_000,
                rekey_in_bytes: Some(95 << 30),
                rekey_in_packets: None,
                iptfs: None,
            }],
        }
    }

    fn failed() -> TunnelStatus {
        TunnelStatus {
            name: "gcp".into(),
            state: TunnelState::Failed,
            since_ms: 2_000,
            failure: Some(FailureReport {
                step: "IKE_AUTH".into(),
                actor: Actor::Both,
                message: "the peer refused our identity or our key".into(),
                remedy: "compare the pre-shared keys and the ids of both sides".into(),
                permanent: true,
                at_ms: 0,
                retry_in_ms: Some(8_000),
                details: FailureDetails {
                    here: Some("`psk`".into()),
                    there: Some("the pre-shared key for us".into()),
                    ..FailureDetails::default()
                },
            }),
            interface: "xv-gcp".into(),
            mtu: 0,
            remote: "vpn.gcp.example".into(),
            remote_id: "vpn.gcp.example".into(),
            ike: None,
            children: vec![],
            ..established()
        }
    }
}
