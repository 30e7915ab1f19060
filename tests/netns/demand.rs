//! A tunnel that is there when a packet wants it.

use std::time::Duration;

use xvpn::admin::api::TunnelState;

use crate::harness::pair::{PATIENCE, Plan, tunnel, with_pair};
use crate::harness::runner::{Outcome, check};

/// The first packet makes it, idleness ends it, the next packet makes it again; `xvpn down` takes the trap away, and the peer may begin.
pub fn comes_and_goes() -> Outcome {
    let mut plan = Plan::new();
    plan.aws.tunnel = "start = \"on-demand\"\nidle_timeout = \"10s\"\n".into();
    with_pair(&plan, |pair| {
        pair.azure.start()?;
        pair.aws.start()?;
        check(
            pair.aws.wait_for(TunnelState::Listening, PATIENCE),
            "it does not wait for a packet",
        )?;
        std::thread::sleep(Duration::from_millis(500));
        check(tunnel(&pair.aws)?.ike.is_none(), "nobody wanted it yet")?;
        for round in 0..2 {
            pair.ping_passes(false)?;
            let one = tunnel(&pair.aws)?.children.len() == 1 && tunnel(&pair.azure)?.children.len() == 1;
            check(one, format!("round {round}: not one CHILD SA on each side"))?;
            let patience = Duration::from_secs(25);
            check(
                pair.aws.wait_for(TunnelState::Listening, patience),
                format!("round {round}: idle, and still there"),
            )?;
            check(
                pair.azure.wait_for(TunnelState::Listening, PATIENCE),
                "the peer was not told",
            )?;
        }
        let output = pair.aws.xvpn(&["down"])?;
        check(output.status.success(), String::from_utf8_lossy(&output.stderr))?;
        pair.ping_is_refused(false)?;
        pair.up()?;
        pair.pings_pass()?;
        pair.wire_is_clean()
    })
}
