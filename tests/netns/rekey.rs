//! New keys while packets flow.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use xvpn::testbed::wait_until;

use crate::harness::pair::{Pair, Plan, child, with_pair};
use crate::harness::runner::{Outcome, check};

/// Streams both ways while either side, and both at once, replace CHILD and IKE SAs: every packet arrives.
pub fn new_keys_lose_no_packet() -> Outcome {
    const ROUNDS: usize = 40;
    with_pair(&Plan::new(), |pair| {
        pair.establish()?;
        pair.pings_pass()?;
        let before = child(&pair.aws)?.spi_in;
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
            let asked = ask_for_keys(pair, ROUNDS);
            over.store(true, Ordering::Relaxed);
            let counts: Vec<(u64, u64)> = running
                .into_iter()
                .map(|(sent, counted)| (sent.join().unwrap_or(0), counted.join().unwrap_or(0)))
                .collect();
            asked.map(|()| counts)
        })?;
        for (sent, received) in counts {
            check(
                sent > 1000 && sent == received,
                format!("{received} of {sent} packets arrived"),
            )?;
        }
        let settled = || child(&pair.aws).is_ok_and(|child| child.spi_in != before);
        check(
            wait_until(Duration::from_secs(20), settled),
            "one new CHILD SA is left",
        )?;
        pair.pings_pass()
    })
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
