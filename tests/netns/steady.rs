//! A constant stream through a thousand changes of keys.

use std::thread;
use std::time::{Duration, Instant};

use xvpn::admin::api::Request;
use xvpn::admin::client::Client;
use xvpn::testbed::{Gateway, set_queue_length, wait_until};

use super::stream::{drops, nothing_lost, since, streaming};
use crate::harness::pair::{Pair, Plan, tunnel, with_pair};
use crate::harness::runner::{Failure, Outcome, check};

/// 20,000 packets a second through 1,000 CHILD SAs and 100 IKE SAs, replaced by either side and by both at once.
pub fn a_thousand_rekeys_lose_no_packet() -> Outcome {
    const CHILDREN: usize = 1000;
    const IKES: usize = 100;
    with_pair(&Plan::new(), |pair| {
        pair.establish()?;
        pair.pings_pass()?;
        // A second's worth: where other tests run at the same time, a queue thread may have to wait for a CPU.
        for (gateway, interface) in [(&pair.aws, "xv-azure"), (&pair.azure, "xv-aws")] {
            gateway.machine.run(|| set_queue_length(interface, 20_000))??;
        }
        let before = drops(pair, true)?;
        let (tally, took) = streaming(&pair.clouds.aws, &pair.clouds.azure, 20_000, || {
            let begin = Instant::now();
            rekey(pair, CHILDREN, IKES)?;
            Ok(begin.elapsed())
        })?;
        let dropped = since(&before, &drops(pair, true)?);
        println!("  {CHILDREN} CHILD SAs and {IKES} IKE SAs were replaced in {took:.1?}");
        nothing_lost(&tally, &dropped)?;
        pair.pings_pass()
    })
}

/// Replaces so many CHILD and IKE SAs, each awaited: by one side, by the other, by both at once.
pub fn rekey(pair: &Pair<'_>, children: usize, ikes: usize) -> Outcome {
    let connect = |gateway: &Gateway<'_>| {
        Client::connect(&gateway.state_dir()).map_err(|error| Failure(error.to_string()))
    };
    let (mut aws, mut azure) = (connect(&pair.aws)?, connect(&pair.azure)?);
    let total = children + ikes;
    for round in 0..total {
        // Spread evenly: every so many rounds an IKE SA.
        let ike = (round + 1) * ikes / total > round * ikes / total;
        let old = keys(&pair.aws)?;
        let askers: &mut [&mut Client] = match round % 3 {
            0 => &mut [&mut aws],
            1 => &mut [&mut azure],
            _ => &mut [&mut aws, &mut azure],
        };
        for client in askers {
            let request = Request::Rekey {
                names: Vec::new(),
                ike,
            };
            client
                .command(request)
                .map_err(|error| Failure(error.to_string()))?;
        }
        let replaced = |new: &(String, Vec<String>)| match ike {
            true => new.0 != old.0,
            false => new.1.iter().any(|spi| !old.1.contains(spi)),
        };
        let done = wait_until(ROUND_PATIENCE, || keys(&pair.aws).is_ok_and(|new| replaced(&new)));
        check(done, format!("round {round} (ike: {ike}): still {old:?}"))?;
        // Both sides have finished with it before the next one is asked for.
        thread::sleep(Duration::from_millis(15));
    }
    Ok(())
}

/// The SPIs of the IKE SA and of the CHILD SAs.
fn keys(gateway: &Gateway<'_>) -> Result<(String, Vec<String>), Failure> {
    let tunnel = tunnel(gateway)?;
    let ike = tunnel.ike.map(|ike| format!("{} {}", ike.spi_i, ike.spi_r));
    let children = tunnel.children.into_iter().map(|child| child.spi_in).collect();
    Ok((ike.unwrap_or_default(), children))
}

/// For one rekey: TEMPORARY_FAILURE is tried again after a while (RFC 7296 2.25).
const ROUND_PATIENCE: Duration = Duration::from_secs(30);
