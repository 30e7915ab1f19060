//! `iptfs` and what goes with it, of a tunnel or one of its CHILD SAs.

use std::time::Duration;

use toml::de::DeValue;

use super::super::diagnostic::{Diagnostic, Report};
use super::super::read::{Section, wrong_type};
use super::super::source::At;

/// The keys of IP-TFS.
#[derive(Clone)]
pub(in super::super) struct RawIptfs {
    pub(in super::super) mode: Option<At<String>>,
    pub(in super::super) rate: Option<At<Rate>>,
    pub(in super::super) size: Option<At<u32>>,
    pub(in super::super) delay: Option<At<Option<Duration>>>,
    pub(in super::super) fragments: Option<At<bool>>,
}

/// How much leaves in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Rate {
    /// ESP packets.
    Packets(u32),
    /// Bits of outer packets.
    Bits(u64),
}

impl RawIptfs {
    pub(super) fn read(section: &mut Section<'_, '_>, out: &mut Report) -> Self {
        Self {
            mode: section.string("iptfs", out),
            rate: read_rate(section, out),
            size: section.integer("iptfs_size", LEAST_SIZE..=9216, out),
            delay: section.duration("iptfs_delay", true, out),
            fragments: section.boolean("iptfs_fragments", out),
        }
    }

    /// What is written here, and else what is written there.
    pub(in super::super) fn or(&self, other: &Self) -> Self {
        Self {
            mode: self.mode.clone().or_else(|| other.mode.clone()),
            rate: self.rate.clone().or_else(|| other.rate.clone()),
            size: self.size.clone().or_else(|| other.size.clone()),
            delay: self.delay.clone().or_else(|| other.delay.clone()),
            fragments: self.fragments.clone().or_else(|| other.fragments.clone()),
        }
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of all kinds of TOML values two are wanted, and the rest is wrong"
)]
fn read_rate(section: &mut Section<'_, '_>, out: &mut Report) -> Option<At<Rate>> {
    let (value, span) = section.value("iptfs_rate")?;
    let rate = match value {
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok().map(Rate::Packets),
        DeValue::String(text) => parse_bits(text).map(Rate::Bits),
        other => {
            let wanted = "a whole number, or a string such as \"10Mbit\"";
            return wrong_type("iptfs_rate", wanted, other, &span, out);
        }
    };
    if let Some(value) = rate {
        return Some(At { value, span });
    }
    let title = "`iptfs_rate` is not a rate";
    let remedy = "write a number of packets in a second, such as 500, or of bits with its unit: \"500kbit\", \"10Mbit\", \"1Gbit\"";
    out.push(Diagnostic::error("bad-amount", title, remedy).at(&span, "no rate"));
    None
}

fn parse_bits(text: &str) -> Option<u64> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit);
    let bits = match unit.trim_start() {
        "kbit" => 1_000,
        "Mbit" => 1_000_000,
        "Gbit" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(bits)
}

/// An outer packet shorter than this carries more headers than packets.
const LEAST_SIZE: u32 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_bits_and_refuses_what_are_none() {
        assert_eq!(parse_bits("500kbit"), Some(500_000));
        assert_eq!(parse_bits("10 Mbit"), Some(10_000_000));
        assert_eq!(parse_bits("1Gbit"), Some(1_000_000_000));
        for text in [
            "",
            "10",
            "Mbit",
            "10MB",
            "-1Mbit",
            "1.5Mbit",
            "99999999999999999999Gbit",
        ] {
            assert_eq!(parse_bits(text), None, "{text}");
        }
    }
}
