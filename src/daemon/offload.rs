//! Which offloads are safe on the kernel that is running.
//!
//! What a kernel lacks is found when it is asked for, and what it refuses when it is used. This is about what it takes and then does
//! wrong without a word.

use crate::config::{Offload, defaults};

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
    fn this_machine_has_a_kernel() {
        assert!(
            kernel().starts_with(|c: char| c.is_ascii_digit()),
            "{:?}",
            kernel()
        );
    }
}
