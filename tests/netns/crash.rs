//! A gateway that is killed and started again, and the peer that waits for nothing (RFC 6290).

use std::time::Duration;

use xvpn::admin::api::TunnelState;
use xvpn::testbed::wait_until;

use crate::harness::pair::{Plan, with_pair};
use crate::harness::runner::{Outcome, check};

/// The side that only listens is killed: without its word the other one would send into the void for a minute.
pub fn tells_the_peer() -> Outcome {
    with_pair(&Plan::new(), |pair| {
        pair.establish()?;
        pair.pings_pass()?;
        pair.azure.crash()?;
        pair.azure.start()?;
        // Any message will do; this is the one that an operator can send.
        let output = pair.aws.xvpn(&["rekey"])?;
        check(output.status.success(), String::from_utf8_lossy(&output.stderr))?;
        let noticed = || pair.aws.log().contains("crashed and come back");
        check(
            wait_until(Duration::from_secs(1), noticed),
            "the peer did not notice",
        )?;
        let back = pair
            .azure
            .wait_for(TunnelState::Established, Duration::from_secs(3));
        check(back, "not connected again")?;
        pair.pings_pass()
    })
}

/// With tickets the session goes on without a key exchange: the key of the tickets outlives `kill -9` (RFC 5723).
pub fn resumes_the_session() -> Outcome {
    with_pair(&Plan::new().both("resumption = true"), |pair| {
        pair.establish()?;
        pair.pings_pass()?;
        pair.azure.crash()?;
        pair.azure.start()?;
        let output = pair.aws.xvpn(&["rekey"])?;
        check(output.status.success(), String::from_utf8_lossy(&output.stderr))?;
        let resumed = || pair.aws.log().contains("resumed: the peer at");
        check(wait_until(Duration::from_secs(3), resumed), "not resumed")?;
        let back = pair
            .azure
            .wait_for(TunnelState::Established, Duration::from_secs(3));
        check(back, "not established on the other side")?;
        for gateway in [&pair.aws, &pair.azure] {
            let status = gateway.status()?;
            let by = status.tunnels.iter().filter_map(|tunnel| tunnel.ike.as_ref());
            let by: Vec<_> = by
                .map(|ike| (ike.local_auth.clone(), ike.remote_auth.clone()))
                .collect();
            let wanted = vec![("resumed".to_owned(), "resumed".to_owned())];
            check(by == wanted, format!("the status says {by:?}"))?;
        }
        pair.pings_pass()
    })
}

/// A gateway that has lost the key of its tickets is asked for a new session, and the operator has nothing to do.
pub fn begins_anew_without_the_key() -> Outcome {
    with_pair(&Plan::new().both("resumption = true"), |pair| {
        pair.establish()?;
        pair.azure.crash()?;
        std::fs::remove_file(pair.azure.state_dir().join("ticket.key"))?;
        pair.azure.start()?;
        let output = pair.aws.xvpn(&["rekey"])?;
        check(output.status.success(), String::from_utf8_lossy(&output.stderr))?;
        let back = pair
            .azure
            .wait_for(TunnelState::Established, Duration::from_secs(3));
        check(back, "not connected again")?;
        let refused = pair
            .aws
            .log()
            .contains("does not resume the session; beginning anew");
        check(refused, "the log does not say that the ticket was refused")?;
        pair.pings_pass()
    })
}
