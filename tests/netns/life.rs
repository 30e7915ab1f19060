//! The life of a daemon: down, up again, SIGTERM, a crash, a start by `xvpn up`; and the host afterwards.

use std::time::Duration;

use xvpn::admin::api::TunnelState;
use xvpn::testbed::{Kind, end_orphan};

use crate::harness::pair::{PATIENCE, Plan, tunnel, with_pair};
use crate::harness::runner::{Outcome, check};

pub fn down_refuses_packets() -> Outcome {
    with_pair(&Plan::new(), |pair| {
        pair.establish()?;
        pair.pings_pass()?;
        let output = pair.aws.xvpn(&["down"])?;
        check(output.status.success(), String::from_utf8_lossy(&output.stderr))?;
        check(
            pair.azure.wait_for(TunnelState::Listening, PATIENCE),
            "the peer was not told",
        )?;
        pair.wire.take();
        for v6 in [false, true] {
            pair.ping_is_refused(v6)?;
        }
        pair.wire_is_clean()?;
        let seen = pair.wire.seen();
        check(
            seen.count(&Kind::EspInUdp) == 0,
            format!("ESP after down: {:?}", seen.frames),
        )
    })
}

pub fn comes_back_after_down() -> Outcome {
    with_pair(&Plan::new(), |pair| {
        pair.establish()?;
        let output = pair.aws.xvpn(&["down"])?;
        check(output.status.success(), String::from_utf8_lossy(&output.stderr))?;
        pair.up()?;
        pair.pings_pass()
    })
}

pub fn sigterm_tells_the_peer() -> Outcome {
    with_pair(&Plan::new(), |pair| {
        pair.establish()?;
        let ended = pair.aws.stop(Duration::from_secs(2))?;
        check(ended.status.success(), format!("ended with {}", ended.status))?;
        check(
            pair.azure
                .wait_for(TunnelState::Listening, Duration::from_secs(2)),
            "the peer was not told",
        )?;
        check(
            tunnel(&pair.azure)?.children.is_empty(),
            "the peer still has a CHILD SA",
        )
    })
}

pub fn leaves_the_host_as_it_was() -> Outcome {
    with_pair(&Plan::new(), |pair| {
        let before = pair.inventories()?;
        pair.establish()?;
        pair.pings_pass()?;
        check(
            pair.inventories()? != before,
            "no interface, no route: this test would pass without a tunnel",
        )?;
        pair.ends_cleanly(&before)
    })
}

pub fn recovers_from_a_crash() -> Outcome {
    with_pair(&Plan::new(), |pair| {
        let before = pair.inventories()?;
        pair.establish()?;
        pair.pings_pass()?;
        pair.aws.crash()?;
        pair.wire.take();
        // Between a crash and the restart nothing leaks, either.
        pair.ping_is_refused(false)?;
        pair.wire_is_clean()?;
        pair.aws.start()?;
        pair.up()?;
        pair.pings_pass()?;
        pair.ends_cleanly(&before)
    })
}

pub fn up_starts_the_gateway() -> Outcome {
    with_pair(&Plan::new(), |pair| {
        pair.azure.start()?;
        let output = pair.aws.xvpn(&["up", "--timeout", "20"])?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let pid = pair.aws.status()?.pid;
        let result = (|| {
            check(
                output.status.success() && said.contains("started one"),
                format!("xvpn up said: {said}"),
            )?;
            pair.pings_pass()
        })();
        let ended = end_orphan(pid, libc::SIGTERM, Duration::from_secs(3));
        check(ended, "the gateway in the background does not end on SIGTERM")?;
        result
    })
}
