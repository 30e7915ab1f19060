//! CHILD SAs whose networks overlap (RFC 4301 4.4.1).

use std::fmt::Write as _;
use std::time::Duration;

use xvpn::admin::api::ChildStatus;
use xvpn::testbed::{Gateway, wait_until};

use crate::harness::pair::{PATIENCE, Plan, tunnel, with_pair};
use crate::harness::runner::{Failure, Outcome, check};

/// Behind the CHILD SA of the hosts' networks stands a wide one, which is made later: it carries nothing of theirs, whichever of the two
/// has the newest keys.
pub fn overlapping_children() -> Outcome {
    let mut plan = Plan::new();
    for (side, own, other) in [(&mut plan.aws, 1, 2), (&mut plan.azure, 2, 1)] {
        let _ = writeln!(
            side.tunnel,
            "[[tunnel.child]]\nname = \"wide\"\nlocal = [\"10.{own}.0.0/16\"]\nremote = [\"10.{other}.0.0/16\"]"
        );
    }
    with_pair(&plan, |pair| {
        pair.establish()?;
        for keys in 0..3 {
            let there = || both(&pair.aws).is_ok() && both(&pair.azure).is_ok();
            check(wait_until(PATIENCE, there), format!("two CHILD SAs, keys {keys}"))?;
            let (_, before) = both(&pair.aws)?;
            pair.ping_passes(false)?;
            for gateway in [&pair.aws, &pair.azure] {
                let counted =
                    || both(gateway).is_ok_and(|(own, _)| own.packets_in > 0 && own.packets_out > 0);
                check(
                    wait_until(PATIENCE, counted),
                    format!("nothing was carried, keys {keys}"),
                )?;
                let (_, wide) = both(gateway)?;
                check(
                    (wide.packets_in, wide.packets_out) == (0, 0),
                    format!("keys {keys}: {wide:?}"),
                )?;
            }
            // Asked for by either side; what is replaced stays until what was under way has arrived.
            let asked = if keys == 0 { &pair.aws } else { &pair.azure };
            let output = asked.xvpn(&["rekey"])?;
            check(output.status.success(), String::from_utf8_lossy(&output.stderr))?;
            let replaced = || both(&pair.aws).is_ok_and(|(_, wide)| wide.spi_in != before.spi_in);
            check(
                wait_until(Duration::from_secs(20), replaced),
                format!("no new keys after {keys}"),
            )?;
        }
        Ok(())
    })
}

/// The tunnel's own CHILD SA and the wide one, if there are these two and no others.
fn both(gateway: &Gateway<'_>) -> Result<(ChildStatus, ChildStatus), Failure> {
    let mut children = tunnel(gateway)?.children;
    let wide = children.iter().position(|child| child.name == "wide");
    let wide = wide.map(|at| children.remove(at));
    match (children.pop(), wide, children.is_empty()) {
        (Some(own), Some(wide), true) => Ok((own, wide)),
        (own, wide, _) => Err(Failure(format!("{own:?} {wide:?} {children:?}"))),
    }
}
