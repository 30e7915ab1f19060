//! Negotiations that must fail, and say why on both sides.

use xvpn::testbed::wait_until;

use crate::harness::pair::{PATIENCE, Plan, with_pair};
use crate::harness::runner::{Outcome, check};

fn refused(plan: &Plan, here: &str, there: &str) -> Outcome {
    with_pair(plan, |pair| {
        pair.start()?;
        let said = pair.up_in_vain()?;
        check(
            said.contains(here) && said.contains("remedy"),
            format!("xvpn up said: {said}"),
        )?;
        let heard = wait_until(PATIENCE, || pair.azure.log().contains(there));
        check(heard, format!("the other side does not say `{there}`"))?;
        pair.ping_is_refused(false)?;
        pair.wire_is_clean()
    })
}

pub fn says_that_keys_differ() -> Outcome {
    let mut plan = Plan::new();
    plan.azure.psk = "another key that is long enough, too";
    refused(&plan, "the shared secrets differ", "the shared secrets differ")
}

pub fn says_that_no_proposal_is_common() -> Outcome {
    let mut plan = Plan::new();
    plan.aws.tunnel += "ike_proposals = [\"aes256gcm16-prfsha256-x25519\"]\n";
    plan.azure.tunnel += "ike_proposals = [\"aes128-sha256-modp2048\"]\n";
    refused(
        &plan,
        "accepts none of our IKE proposals",
        "no common IKE proposal",
    )
}

pub fn says_that_networks_do_not_meet() -> Outcome {
    let mut plan = Plan::new();
    plan.azure.local = vec!["10.77.0.0/24".into()];
    refused(&plan, "the peer refused our networks", "networks do not overlap")
}

pub fn says_that_nobody_answers() -> Outcome {
    with_pair(&Plan::new(), |pair| {
        pair.aws.start()?;
        let output = pair.aws.xvpn(&["up", "--timeout", "3"])?;
        let said = String::from_utf8_lossy(&output.stderr);
        check(
            !output.status.success() && said.contains("UDP 500"),
            format!("xvpn up said: {said}"),
        )?;
        pair.ping_is_refused(false)?;
        pair.wire_is_clean()
    })
}
