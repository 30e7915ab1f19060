//! Which offloads are safe on the kernel that is running.
//!
//! What a kernel lacks is found when it is asked for, and what it refuses when it is used. This is about what it takes and then does
//! wrong without a word.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::config::{Offload, defaults};

/// Something that the kernel refused when it was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// To cut runs of ESP packets.
    Gso {
        /// To whom.
        remote: IpAddr,
    },
    /// Super-packets to an interface.
    Tun {
        /// The number of its tunnel.
        tunnel: u32,
        /// Those of UDP; else those of TCP.
        udp: bool,
    },
}

/// What the kernel refused when it was used; each is told once, whichever queues find it.
#[derive(Debug, Default)]
pub struct RefusedOffloads(HashSet<Refused>);

impl RefusedOffloads {
    /// What the operator should know, if it is new. `name` gives the name of a tunnel by its number.
    pub(super) fn tell(&mut self, refused: Refused, name: impl Fn(u32) -> Option<String>) -> Option<String> {
        if self.0.len() >= MOST_TOLD || !self.0.insert(refused) {
            return None;
        }
        let (what, offload) = match refused {
            Refused::Gso { remote } => (
                format!("to cut ESP packets to {remote} (UDP_SEGMENT): each is sent by itself"),
                "gso",
            ),
            Refused::Tun { tunnel, udp } => {
                let protocol = if udp { "UDP" } else { "TCP" };
                let name = name(tunnel).unwrap_or_else(|| tunnel.to_string());
                let what = format!(
                    "super-packets of {protocol} to the interface of tunnel {name}: each packet is written by itself"
                );
                (what, "tun")
            }
        };
        Some(format!(
            "the kernel refuses {what}, and it is tried again every ten minutes; leave {offload:?} out of `offload` to do without"
        ))
    }
}

/// Different refusals told in the life of a daemon.
const MOST_TOLD: usize = 256;

/// What to use, and what the operator should know about it.
///
/// `asked` is what the configuration names: it is taken at its word, for a distribution may have mended its kernel.
pub(super) fn for_kernel(asked: Option<Offload>, release: &str) -> (Offload, Option<String>) {
    let offload = asked.unwrap_or(defaults::OFFLOAD);
    if !(offload.gso && cuts_udp_wrong(release)) {
        return (offload, None);
    }
    let what = format!(
        "Linux {release} may cut UDP_SEGMENT sends of equal datagrams into broken ones (7.0 to 7.1.4, since commit b10b446, mended by 78effd8 and 5f17ae0)"
    );
    if asked.is_some() {
        let warning = format!(
            "{what}; \"gso\" is used because `offload` names it: leave it out if peers report losses"
        );
        return (offload, Some(warning));
    }
    let warning = format!(
        "{what}: each ESP packet is sent by itself, which costs throughput; if this kernel has the fixes, write offload = [\"tun\", \"gso\", \"gro\"]"
    );
    (
        Offload {
            gso: false,
            ..offload
        },
        Some(warning),
    )
}

/// The release of the kernel, such as `6.18.44-aws`; nothing where it cannot be read.
pub(super) fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}

/// Linux 7.0 to 7.1.4, release candidates included.
fn cuts_udp_wrong(release: &str) -> bool {
    let number = |text: &str| {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        text.get(..digits).and_then(|digits| digits.parse::<u32>().ok())
    };
    // A release candidate has two numbers: `7.1-rc2`.
    let numbers: Vec<_> = release.splitn(3, '.').map_while(number).collect();
    match numbers[..] {
        [7, 0, ..] | [7, 1] => true,
        [7, 1, patch] => patch <= 4,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gso_is_left_out_on_kernels_that_cut_wrong() {
        for release in [
            "7.0.0",
            "7.0-rc1",
            "7.0.2-6-pve",
            "7.0.0-14-generic",
            "7.1-rc3",
            "7.1.0",
            "7.1.4+deb14",
        ] {
            let (offload, warning) = for_kernel(None, release);
            assert_eq!(
                (offload.tun, offload.gso, offload.gro),
                (true, false, true),
                "{release}"
            );
            assert!(warning.is_some_and(|words| words.contains(release)), "{release}");
        }
    }

    #[test]
    fn it_is_used_on_all_others() {
        for release in [
            "6.18.44-fc",
            "6.1.0-41-amd64",
            "7.1.5",
            "7.1.10",
            "7.2-rc1",
            "7.10.0",
            "70.0.1",
            "",
            "strange",
        ] {
            assert_eq!(for_kernel(None, release), (defaults::OFFLOAD, None), "{release}");
        }
    }

    #[test]
    fn who_names_it_gets_it_and_a_warning() {
        let (offload, warning) = for_kernel(Some(defaults::OFFLOAD), "7.0.1");
        assert!(offload.gso && warning.is_some());
        let none = Offload {
            gso: false,
            ..defaults::OFFLOAD
        };
        assert_eq!(for_kernel(Some(none), "7.0.1"), (none, None));
    }

    #[test]
    fn a_refusal_is_told_once_with_what_it_is_about() {
        let mut all = RefusedOffloads::default();
        let name = |id| (id == 3).then(|| "azure".to_owned());
        let gso = Refused::Gso {
            remote: IpAddr::from([192, 0, 2, 1]),
        };
        let told = all.tell(gso, name).unwrap();
        assert!(told.contains("192.0.2.1") && told.contains("\"gso\""), "{told}");
        assert_eq!(all.tell(gso, name), None);
        let tun = |udp| Refused::Tun { tunnel: 3, udp };
        let told = all.tell(tun(true), name).unwrap();
        assert!(
            told.contains("UDP") && told.contains("azure") && told.contains("\"tun\""),
            "{told}"
        );
        assert!(all.tell(tun(false), name).unwrap().contains("TCP"));
    }

    #[test]
    fn this_machine_has_a_kernel() {
        assert!(
            kernel().starts_with(|c: char| c.is_ascii_digit()),
            "{:?}",
            kernel()
        );
    }
}
