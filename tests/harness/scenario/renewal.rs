//! What happens to a tunnel that stands: new keys, another address, authentication anew.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Duration;

use ipnet::IpNet;
use xvpn::testbed::{Gateway, change_address, wait_until};

use super::{Scenario, Side, Stage};
use crate::harness::pair::{PATIENCE, ping_between, tunnel};
use crate::harness::runner::{Failure, Outcome, check};
use crate::harness::strongswan::Kind;

impl Stage<'_> {
    /// New keys of either kind, asked for by either side, twice.
    pub(super) fn replace(&mut self, scenario: &Scenario, xvpn: &Gateway<'_>) -> Outcome {
        let names = |xvpn: &Gateway<'_>| -> Result<(Vec<String>, Option<[String; 2]>), Failure> {
            let tunnel = tunnel(xvpn)?;
            let children = tunnel.children.into_iter().map(|child| child.spi_in).collect();
            Ok((children, tunnel.ike.map(|ike| [ike.spi_i, ike.spi_r])))
        };
        for (words, ike) in [
            (Some("rekey"), false),
            (None, false),
            (Some("rekey --ike"), true),
            (None, true),
        ]
        .repeat(2)
        {
            let before = names(xvpn)?;
            let what = match words {
                Some(words) => {
                    let output = xvpn.xvpn(&words.split(' ').collect::<Vec<_>>())?;
                    check(output.status.success(), String::from_utf8_lossy(&output.stderr))?;
                    words
                }
                None if ike => self.peer.swanctl("--rekey --ike site").map(|_| "peer's ike")?,
                None => self.peer.swanctl("--rekey --child net").map(|_| "peer's child")?,
            };
            let changed = wait_until(PATIENCE, || {
                names(xvpn).is_ok_and(|after| {
                    if ike {
                        after.1 != before.1
                    } else {
                        after.0 != before.0
                    }
                })
            });
            check(changed, format!("{what}: still {before:?}"))?;
            let alone = wait_until(Duration::from_secs(15), || {
                tunnel(xvpn).is_ok_and(|tunnel| tunnel.children.len() == scenario.children)
            });
            check(alone, format!("{what}: the old CHILD SA stays"))?;
        }
        Ok(())
    }

    /// A gateway gets another outer address, and its old one back (RFC 4555).
    pub(super) fn moves(
        &mut self,
        side: Side,
        scenario: &Scenario,
        xvpn: &Gateway<'_>,
        folder: &Path,
    ) -> Outcome {
        let cloud = match side {
            Side::Xvpn => &self.clouds.aws,
            Side::Peer => &self.clouds.azure,
        };
        let home = cloud.own4;
        let [a, b, c, _] = home.octets();
        let router = Ipv4Addr::new(a, b, c, 1);
        let go = |to: Ipv4Addr| {
            let network = IpNet::new_assert(to.into(), 24);
            let changed = cloud
                .gateway
                .run(|| change_address("wan", network, router.into()));
            changed.and_then(|changed| changed)
        };
        let before = self.spis(xvpn)?;
        let outcome = [Ipv4Addr::new(a, b, c, 77), home].into_iter().try_for_each(|to| {
            go(to)?;
            self.follows(side, to, xvpn)?;
            self.settles(scenario, xvpn)?;
            self.carries_traffic(scenario, xvpn, folder)
        });
        if outcome.is_err() {
            // Other scenarios are played on this stage.
            go(home)?;
            return outcome;
        }
        let after = self.spis(xvpn)?;
        check(
            before == after,
            format!("{before:?} became {after:?}: negotiated anew"),
        )
    }

    /// The path ends where the gateway is now: at its new address, or, as strongSwan likes it better, at its IPv6 address.
    pub(super) fn follows(&self, side: Side, to: Ipv4Addr, xvpn: &Gateway<'_>) -> Outcome {
        let (aws, azure) = (self.clouds.aws.public6, self.clouds.azure.public6);
        let followed = wait_until(Duration::from_secs(15), || {
            let ike = tunnel(xvpn).ok().and_then(|tunnel| tunnel.ike);
            ike.is_some_and(|ike| match side {
                Side::Xvpn => [IpAddr::V4(to), aws.into()].contains(&ike.local.ip()),
                Side::Peer => [IpAddr::V4(to), azure.into()].contains(&ike.remote.ip()),
            })
        });
        check(followed, format!("{side:?} went to {to}, and the tunnel stayed"))
    }

    /// The SPIs that a move leaves as they are. strongSwan's kernel-libipsec cannot change the addresses of a CHILD SA, so it
    /// replaces it.
    pub(super) fn spis(&self, xvpn: &Gateway<'_>) -> Result<Vec<String>, Failure> {
        let tunnel = tunnel(xvpn)?;
        let ike = tunnel.ike.into_iter().flat_map(|ike| [ike.spi_i, ike.spi_r]);
        let children = tunnel.children.into_iter().map(|child| child.spi_in);
        let children = children.filter(|_| self.peer.kind() == Kind::Kernel);
        Ok(ike.chain(children).collect())
    }

    /// What was replaced is gone.
    pub(super) fn settles(&self, scenario: &Scenario, xvpn: &Gateway<'_>) -> Outcome {
        let alone = || tunnel(xvpn).is_ok_and(|tunnel| tunnel.children.len() == scenario.children);
        // A replacement may not have begun yet.
        std::thread::sleep(Duration::from_secs(1));
        check(
            wait_until(Duration::from_secs(15), alone),
            "an old CHILD SA stays",
        )
    }

    /// Several IKE SAs one after the other, no ping lost, and one of each at the end on both sides.
    pub(super) fn reauthenticate(&mut self, scenario: &Scenario, xvpn: &Gateway<'_>) -> Outcome {
        let (aws, azure) = (&self.clouds.aws, &self.clouds.azure);
        let mut seen = BTreeSet::new();
        let (mut sent, mut lost) = (0, 0);
        let done = wait_until(Duration::from_secs(75), || {
            seen.extend(
                tunnel(xvpn)
                    .ok()
                    .and_then(|tunnel| tunnel.ike)
                    .map(|ike| (ike.spi_i, ike.spi_r)),
            );
            for (from, to) in [(aws, azure), (azure, aws)] {
                let answer = ping_between(from, to, false, Duration::from_secs(1));
                sent += 1;
                lost += usize::from(!answer.is_ok_and(|answer| answer.is_reply()));
            }
            seen.len() > 3
        });
        check(done, format!("{} IKE SAs in 75 s", seen.len()))?;
        let most = if scenario.peer_sends_early {
            2 * seen.len()
        } else {
            0
        };
        check(lost <= most, format!("{lost} of {sent} pings were lost"))?;
        let mut theirs = String::new();
        let alone = wait_until(Duration::from_secs(20), || {
            theirs = self.peer.list().unwrap_or_else(|Failure(words)| words);
            let single = tunnel(xvpn).is_ok_and(|tunnel| tunnel.children.len() == scenario.children);
            single && theirs.matches("site: #").count() == 1
        });
        check(alone, format!("old SAs stay, strongSwan has:\n{theirs}"))
    }
}
