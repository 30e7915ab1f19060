//! Negotiations that must fail, and say why on both sides.

use xvpn::testbed::wait_until;

use crate::harness::pair::{PATIENCE, Plan, with_pair};
use crate::harness::runner::{Outcome, check};

/// `xvpn up` says all of `here`, and so does `xvpn status` there; the log of the other side says all of `there`, and so
/// does its `xvpn status`.
fn refused(plan: &Plan, here: &[&str], there: &[&str]) -> Outcome {
    with_pair(plan, |pair| {
        pair.start()?;
        let said = pair.up_in_vain()?;
        says_all("xvpn up", &said, here)?;
        check(said.contains("remedy"), format!("xvpn up said: {said}"))?;
        let heard = wait_until(PATIENCE, || {
            there.iter().all(|words| pair.azure.log().contains(words))
        });
        check(heard, format!("the other side's log does not say {there:?}"))?;
        for (gateway, words) in [(&pair.aws, here), (&pair.azure, there)] {
            let shown = String::from_utf8_lossy(&gateway.xvpn(&["status"])?.stdout).into_owned();
            says_all(
                &format!("xvpn status of {}", gateway.machine.name()),
                &shown,
                words,
            )?;
        }
        pair.ping_is_refused(false)?;
        pair.wire_is_clean()
    })
}

fn says_all(who: &str, said: &str, words: &[&str]) -> Outcome {
    words.iter().try_for_each(|words| {
        check(
            said.contains(words),
            format!("{who} does not say `{words}`: {said}"),
        )
    })
}

pub fn says_that_keys_differ() -> Outcome {
    let mut plan = Plan::new();
    plan.azure.psk = "another key that is long enough, too";
    refused(
        &plan,
        &[
            "the peer refused us as aws.example: the shared secrets differ, or it does not know one of the names",
            "here `psk`, `local.id`, `remote.id`; at the peer the pre-shared key for us",
        ],
        &["the peer, as aws.example, failed to prove its identity: the shared secrets differ"],
    )
}

pub fn says_that_no_proposal_is_common() -> Outcome {
    let mut plan = Plan::new();
    plan.aws.tunnel += "ike_proposals = [\"aes256gcm16-prfsha256-x25519\"]\n";
    plan.azure.tunnel += "ike_proposals = [\"aes128-sha256-modp2048\"]\n";
    refused(
        &plan,
        &[
            "the peer accepts none of our IKE proposals (aes256gcm16-prfsha256-x25519)",
            "here `ike_proposals`; at the peer its IKE proposals",
        ],
        &[
            "no common IKE proposal: we accept aes128-sha256-prfsha256-modp2048, the peer offers aes256gcm16-prfsha256-x25519",
        ],
    )
}

pub fn says_that_the_group_differs() -> Outcome {
    let mut plan = Plan::new();
    plan.aws.tunnel += "ike_proposals = [\"aes256gcm16-prfsha256-x25519\"]\n";
    plan.azure.tunnel += "ike_proposals = [\"aes256gcm16-prfsha256-ecp384\"]\n";
    refused(
        &plan,
        &["the peer accepts none of our IKE proposals (aes256gcm16-prfsha256-x25519)"],
        &["they offer DH x25519, we accept ecp384"],
    )
}

pub fn says_that_a_name_is_wrong() -> Outcome {
    let mut plan = Plan::new();
    plan.aws.id = Some("mallory.example");
    refused(
        &plan,
        &["the peer refused us as mallory.example"],
        &[
            "the peer says it is mallory.example, but aws.example is expected",
            "set `remote.id = \"mallory.example\"` here if that is the right peer",
        ],
    )
}

pub fn says_that_networks_do_not_meet() -> Outcome {
    let mut plan = Plan::new();
    plan.azure.local = vec!["10.77.0.0/24".into()];
    refused(
        &plan,
        &[
            "the peer refused our networks: ours 10.1.0.0/24, fd00:1::/64 to 10.2.0.0/24, fd00:2::/64",
            "here `local.networks`, `remote.networks`; at the peer the same networks the other way round",
        ],
        &["the peer's networks do not overlap ours: ours 10.77.0.0/24 to"],
    )
}

/// Who has no connection for us says nothing: what is left is a silence, and a count on the other side.
pub fn says_that_nobody_knows_us() -> Outcome {
    let mut plan = Plan::new();
    plan.azure.peer = Some("192.0.2.99");
    with_pair(&plan, |pair| {
        pair.start()?;
        let output = pair.aws.xvpn(&["up", "--timeout", "3"])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        check(!output.status.success(), "xvpn up succeeded")?;
        says_all(
            "xvpn up",
            &said,
            &["no answer from", "knows this gateway's address"],
        )?;
        let shown = String::from_utf8_lossy(&pair.azure.xvpn(&["status"])?.stdout).into_owned();
        says_all("xvpn status", &shown, &["no_connection"])
    })
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
