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
