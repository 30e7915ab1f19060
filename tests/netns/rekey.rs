//! New keys while packets flow.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use xvpn::testbed::wait_until;

use crate::harness::pair::{Pair, Plan, child, tunnel, with_pair};
use crate::harness::runner::{Outcome, check};

/// Streams both ways while either side, and both at once, replace CHILD and IKE SAs: every packet arrives.
pub fn new_keys_lose_no_packet() -> Outcome {
    const ROUNDS: usize = 40;
    with_pair(&Plan::new(), |pair| {
        pair.establish()?;
        pair.pings_pass()?;
        let before = child(&pair.aws)?.spi_in;
        stream_during(pair, || ask_for_keys(pair, ROUNDS))?;
        let settled = || child(&pair.aws).is_ok_and(|child| child.spi_in != before);
        check(
            wait_until(Duration::from_secs(20), settled),
            "one new CHILD SA is left",
        )?;
        pair.pings_pass()
    })
}

/// Streams both ways while the two prove anew who they are, several times: every packet arrives, and one of each is left.
pub fn reauthentication_loses_no_packet() -> Outcome {
    const TIMES: usize = 4;
    with_pair(&Plan::new().both("reauth_time = \"10s\""), |pair| {
        pair.establish()?;
        pair.pings_pass()?;
        let names = || {
            let ike = tunnel(&pair.aws).ok().and_then(|tunnel| tunnel.ike);
            ike.map(|ike| (ike.spi_i, ike.spi_r))
        };
        let mut seen = BTreeSet::new();
        stream_during(pair, || {
            let done = wait_until(Duration::from_secs(60), || {
                seen.extend(names());
                seen.len() > TIMES
            });
            check(done, format!("{} IKE SAs in a minute", seen.len()))
        })?;
        for gateway in [&pair.aws, &pair.azure] {
            let single = || tunnel(gateway).is_ok_and(|tunnel| tunnel.children.len() == 1);
            check(
                wait_until(Duration::from_secs(20), single),
                "one CHILD SA is left",
            )?;
            let log = gateway.log();
            check(!log.contains("reauthentication failed"), "none has failed")?;
        }
        pair.pings_pass()
    })
}

/// A packet every millisecond in both directions until `act` is done. All of them arrive.
fn stream_during(pair: &Pair<'_>, act: impl FnOnce() -> Outcome) -> Outcome {
    let mut streams = Vec::new();
    for (from, to) in pair.directions() {
        let address = SocketAddr::new(to.host_address(false), 7007);
        let receiver = to.host.run(|| UdpSocket::bind(address))??;
        let sender = from.host.run(|| UdpSocket::bind("0.0.0.0:0"))??;
        receiver.set_read_timeout(Some(Duration::from_secs(2)))?;
        streams.push((sender, receiver, address));
    }
    let over = AtomicBool::new(false);
    let over = &over;
    let counts = thread::scope(|scope| {
        let running: Vec<_> = streams
            .iter()
            .map(|(sender, receiver, address)| {
                let counted = scope.spawn(|| {
                    let mut octets = [0; 64];
                    let mut count = 0;
                    while receiver.recv(&mut octets).is_ok() {
                        count += 1;
                    }
                    count
                });
                let sent = scope.spawn(move || {
                    let mut count = 0_u64;
                    while !over.load(Ordering::Relaxed) {
                        count += u64::from(sender.send_to(&count.to_be_bytes(), address).is_ok());
                        thread::sleep(Duration::from_millis(1));
                    }
                    count
                });
                (sent, counted)
            })
            .collect();
        let acted = act();
        over.store(true, Ordering::Relaxed);
        let counts: Vec<(u64, u64)> = running
            .into_iter()
            .map(|(sent, counted)| (sent.join().unwrap_or(0), counted.join().unwrap_or(0)))
            .collect();
        acted.map(|()| counts)
    })?;
    for (sent, received) in counts {
        check(
            sent > 1000 && sent == received,
            format!("{received} of {sent} packets arrived"),
        )?;
    }
    Ok(())
}

/// Either side in turn, and sometimes both at once; mostly for a CHILD SA.
fn ask_for_keys(pair: &Pair<'_>, rounds: usize) -> Outcome {
    for round in 0..rounds {
        let askers: &[_] = match round % 3 {
            0 => &[&pair.aws],
            1 => &[&pair.azure],
            _ => &[&pair.aws, &pair.azure],
        };
        for gateway in askers {
            let words: &[&str] = if round % 5 == 4 {
                &["rekey", "--ike"]
            } else {
                &["rekey"]
            };
            let output = gateway.xvpn(words)?;
            check(output.status.success(), String::from_utf8_lossy(&output.stderr))?;
        }
        thread::sleep(Duration::from_millis(150));
    }
    Ok(())
}
