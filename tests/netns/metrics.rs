//! The metrics over HTTP, read as a Prometheus server reads them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use xvpn::admin::api::TunnelState;
use xvpn::testbed::{Gateway, wait_until};

use crate::harness::pair::{PATIENCE, Plan, with_pair};
use crate::harness::runner::{Failure, Outcome, check};

const DOOR: &str = "127.0.0.1:9469";

/// A tunnel that is down is there as a zero; what it has carried outlives its SAs; the file of `xvpn metrics` is the same.
pub fn tell_how_tunnels_are() -> Outcome {
    let mut plan = Plan::new();
    plan.aws.gateway.push_str(&format!("metrics = \"{DOOR}\"\n"));
    with_pair(&plan, |pair| {
        pair.start()?;
        let page = scrape(&pair.aws)?;
        check(page.ends_with("# EOF\n"), &page)?;
        is(&page, "xvpn_tunnel_up{tunnel=\"azure\"}", 0)?;
        is(
            &page,
            "xvpn_child_packets_total{tunnel=\"azure\",child=\"azure\",direction=\"out\"}",
            0,
        )?;

        pair.up()?;
        pair.pings_pass()?;
        let page = scrape(&pair.aws)?;
        is(&page, "xvpn_tunnel_up{tunnel=\"azure\"}", 1)?;
        is(&page, "xvpn_child_sas{tunnel=\"azure\",child=\"azure\"}", 1)?;
        let before = carried(&page)?;
        check(before.iter().all(|packets| *packets >= 2), format!("{before:?}"))?;

        let output = pair.aws.xvpn(&["rekey"])?;
        check(output.status.success(), "xvpn rekey")?;
        let rekeyed = || {
            let page = scrape(&pair.aws).unwrap_or_default();
            is(
                &page,
                "xvpn_child_rekeys_total{tunnel=\"azure\",child=\"azure\"}",
                1,
            )
            .is_ok()
        };
        check(wait_until(PATIENCE, rekeyed), "a rekeying is counted")?;
        pair.pings_pass()?;
        let output = pair.aws.xvpn(&["down"])?;
        check(output.status.success(), "xvpn down")?;
        check(pair.aws.wait_for(TunnelState::Down, PATIENCE), "down")?;
        std::thread::sleep(Duration::from_millis(300));
        let page = scrape(&pair.aws)?;
        is(&page, "xvpn_tunnel_up{tunnel=\"azure\"}", 0)?;
        let after = carried(&page)?;
        // Two pings each way before, two after.
        let grown = after
            .iter()
            .zip(&before)
            .all(|(after, before)| *after >= before + 2);
        check(grown, format!("{before:?}, then {after:?}"))?;

        let printed = pair.aws.xvpn(&["metrics"])?;
        let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
        check(names(&printed) == names(&page), printed)
    })
}

/// Clients that hold all places, and say nothing or not all, cost the daemon nothing, and leave for one that asks.
pub fn slow_clients_cost_nothing() -> Outcome {
    let mut plan = Plan::new();
    plan.aws.gateway.push_str(&format!("metrics = \"{DOOR}\"\n"));
    with_pair(&plan, |pair| {
        pair.establish()?;
        let mut slow = Vec::new();
        for number in 0..40 {
            let mut stream = connect(&pair.aws)?;
            if number % 2 == 0 {
                stream.write_all(b"GET /metrics HTTP/1.1\r\nHost:")?;
            }
            slow.push(stream);
        }
        let begin = Instant::now();
        for _ in 0..20 {
            pair.aws.status()?;
        }
        pair.pings_pass()?;
        check(
            begin.elapsed() < Duration::from_secs(3),
            format!("{:?}", begin.elapsed()),
        )?;
        // The places are given on while all of the slow are still there, not as their time runs out: five seconds for each eight.
        let page = scrape(&pair.aws)?;
        check(
            begin.elapsed() < Duration::from_secs(6),
            format!("{:?}", begin.elapsed()),
        )?;
        let mut first = slow.swap_remove(0);
        first.set_read_timeout(Some(Duration::from_secs(8)))?;
        check(first.read(&mut [0; 16])? == 0, "a slow client is sent away")?;
        is(&page, "xvpn_tunnel_up{tunnel=\"azure\"}", 1)
    })
}

fn connect(gateway: &Gateway<'_>) -> Result<TcpStream, Failure> {
    let address: SocketAddr = DOOR.parse().map_err(|_| "no address")?;
    Ok(gateway.machine.run(|| TcpStream::connect(address))??)
}

fn scrape(gateway: &Gateway<'_>) -> Result<String, Failure> {
    // No page from before what the test has just done.
    std::thread::sleep(Duration::from_millis(260));
    let mut stream = connect(gateway)?;
    stream.set_read_timeout(Some(Duration::from_secs(15)))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: xvpn\r\nAccept: */*\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no head")?;
    let right = head.starts_with("HTTP/1.1 200 OK\r\n")
        && head.contains("application/openmetrics-text; version=1.0.0")
        && head.contains(&format!("Content-Length: {}\r\n", body.len()));
    check(right, head)?;
    Ok(body.to_owned())
}

fn value(page: &str, sample: &str) -> Result<u64, Failure> {
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    let line = line.ok_or_else(|| format!("no {sample} in {page}"))?;
    Ok(line.parse()?)
}

fn is(page: &str, sample: &str, expected: u64) -> Outcome {
    let value = value(page, sample)?;
    check(value == expected, format!("{sample} is {value}, not {expected}"))
}

fn carried(page: &str) -> Result<[u64; 2], Failure> {
    let of = |direction: &str| {
        let sample =
            format!("xvpn_child_packets_total{{tunnel=\"azure\",child=\"azure\",direction=\"{direction}\"}}");
        value(page, &sample)
    };
    Ok([of("in")?, of("out")?])
}

fn names(page: &str) -> Vec<&str> {
    page.lines().filter(|line| line.starts_with("# TYPE")).collect()
}
