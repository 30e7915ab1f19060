//! AGGFRAG payloads, alone or as IP-TFS (RFC 9347).

use std::time::Duration;

use super::super::diagnostic::Diagnostic;
use super::super::raw::{Rate, RawIptfs, RawTunnel};
use super::super::source::Span;
use super::super::{Iptfs, Pace, defaults};
use super::Resolver;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Off,
    Aggregate,
    Constant,
}

impl Resolver<'_> {
    /// Of the tunnel itself, or of a CHILD SA, whose keys come before those of the tunnel. `resources`: as many SAs for single queues.
    pub(super) fn iptfs(&mut self, raw: &RawTunnel, own: &RawIptfs, resources: u32) -> Option<Iptfs> {
        let keys = &own.or(&raw.iptfs);
        let choices = [
            ("off", Mode::Off),
            ("aggregate", Mode::Aggregate),
            ("constant", Mode::Constant),
        ];
        let mode = match &keys.mode {
            Some(_) => self.choice("iptfs", keys.mode.as_ref(), &choices)?,
            // A packet that has a payload for itself arrives soonest.
            None => Mode::Off,
        };
        self.iptfs_unused(own, mode);
        let pace = match mode {
            Mode::Off => return None,
            Mode::Aggregate => Pace::AtHand {
                delay: self.iptfs_delay(keys),
            },
            Mode::Constant => Pace::Constant {
                per_second: self.iptfs_rate(raw, keys)?,
            },
        };
        if mode == Mode::Constant {
            self.iptfs_constant(raw, keys, resources);
        }
        let iptfs = Iptfs {
            pace,
            size: self.iptfs_size(raw, keys),
            fragments: keys
                .fragments
                .as_ref()
                .map_or(defaults::IPTFS_FRAGMENTS, |at| at.value),
        };
        self.iptfs_is_fast_enough(raw, keys, iptfs);
        Some(iptfs)
    }

    /// Keys that mean nothing in this mode.
    fn iptfs_unused(&mut self, keys: &RawIptfs, mode: Mode) {
        let rate = keys.rate.as_ref().filter(|_| mode != Mode::Constant);
        let delay = keys
            .delay
            .as_ref()
            .filter(|at| mode != Mode::Aggregate && at.value.is_some());
        let size = keys.size.as_ref().filter(|_| mode == Mode::Off);
        let unused: [(&str, Option<&Span>, &str); 3] = [
            ("iptfs_rate", rate.map(|at| &at.span), "iptfs = \"constant\""),
            ("iptfs_delay", delay.map(|at| &at.span), "iptfs = \"aggregate\""),
            (
                "iptfs_size",
                size.map(|at| &at.span),
                "iptfs = \"aggregate\" or \"constant\"",
            ),
        ];
        for (key, span, with) in unused {
            if let Some(span) = span {
                let title = format!("`{key}` means something with {with} only");
                let remedy = format!("write {with}, or remove `{key}`");
                self.out
                    .push(Diagnostic::error("iptfs", title, remedy).at(span, "for nothing"));
            }
        }
    }

    fn iptfs_delay(&mut self, keys: &RawIptfs) -> Duration {
        let Some(at) = &keys.delay else {
            return defaults::IPTFS_DELAY;
        };
        let delay = at.value.unwrap_or_default();
        if delay > LONGEST_DELAY {
            let title = "`iptfs_delay` is out of range";
            let remedy = "write \"off\", or a time up to \"100ms\": every packet may wait so long, and a TCP stream with it";
            self.out
                .push(Diagnostic::error("out-of-range", title, remedy).at(&at.span, "not a possible value"));
        }
        delay
    }

    fn iptfs_size(&mut self, raw: &RawTunnel, keys: &RawIptfs) -> Option<u16> {
        let at = keys.size.as_ref()?;
        let path_mtu = path_mtu(raw);
        if at.value > path_mtu {
            let title = format!("`iptfs_size` is more than the path takes ({path_mtu})");
            let remedy = "remove it to fill what the path takes, or correct `path_mtu`";
            self.out.push(
                Diagnostic::error("iptfs", title, remedy).at(&at.span, "outer packets are never so long"),
            );
        }
        u16::try_from(at.value).ok()
    }

    /// Payloads in a second.
    fn iptfs_rate(&mut self, raw: &RawTunnel, keys: &RawIptfs) -> Option<u32> {
        let Some(at) = &keys.rate else {
            let span = keys.mode.as_ref().map_or(&raw.span, |at| &at.span);
            let title = "`iptfs_rate` is missing";
            let remedy =
                "add iptfs_rate = \"10Mbit\" or the like: as much leaves all the time, and no more ever";
            self.out
                .push(Diagnostic::error("missing-key", title, remedy).at(span, "how many in a second?"));
            return None;
        };
        let per_second = match at.value {
            Rate::Packets(packets) => packets,
            Rate::Bits(bits) => {
                let size = keys.size.as_ref().map_or_else(|| path_mtu(raw), |at| at.value);
                u32::try_from(bits / (8 * u64::from(size))).unwrap_or(u32::MAX)
            }
        };
        if !(1..=MOST_PER_SECOND).contains(&per_second) {
            let title = "`iptfs_rate` is out of range";
            let remedy = format!("write a rate that is 1 to {MOST_PER_SECOND} packets in a second");
            let label = format!("{per_second} packets in a second");
            self.out
                .push(Diagnostic::error("out-of-range", title, remedy).at(&at.span, label));
            return None;
        }
        Some(per_second)
    }

    /// What cannot be together with a constant rate.
    fn iptfs_constant(&mut self, raw: &RawTunnel, keys: &RawIptfs, resources: u32) {
        let span = keys.mode.as_ref().map_or(&raw.span, |at| &at.span);
        if resources > 0 {
            let title = "a constant rate is that of one SA, and `per_resource` asks for several";
            let remedy = "remove `per_resource`, or write iptfs = \"aggregate\"";
            self.out
                .push(Diagnostic::error("iptfs", title, remedy).at(span, "one rate"));
        }
        let rests = raw.idle_timeout.as_ref().filter(|at| at.value.is_some());
        if let Some(at) = rests {
            let title = "a tunnel with a constant rate is never idle";
            let remedy = "remove `idle_timeout`, or write iptfs = \"aggregate\"";
            self.out.push(
                Diagnostic::error("iptfs", title, remedy)
                    .at(&at.span, "never comes")
                    .and(span, "sends all the time"),
            );
        }
    }
}

pub(super) fn path_mtu(raw: &RawTunnel) -> u32 {
    let written = raw.path_mtu.as_ref();
    written.map_or(u32::from(defaults::PATH_MTU), |at| at.value)
}

/// The dataplane sends no more, and one that did would not be constant.
const MOST_PER_SECOND: u32 = 100_000;
/// A packet that waits longer is taken for lost by many.
const LONGEST_DELAY: Duration = Duration::from_millis(100);
