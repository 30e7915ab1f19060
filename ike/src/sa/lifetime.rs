//! How long an SA is used (RFC 7296 2.8): a soft limit at which it is replaced, a hard limit at which it ends.

use std::time::{Duration, Instant};

use crate::api::{Random, SoftLimit, Usage};
use crate::config::Lifetime;
use crate::timers::after;

/// The limits of one SA.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    soft: Bounds,
    hard: Bounds,
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    at: Instant,
    bytes: u64,
    packets: u64,
}

/// How an SA stands to its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wear {
    /// Below both.
    Fresh,
    /// To be replaced.
    Worn,
    /// Not to be used any more.
    Over,
}

impl Limits {
    /// For a CHILD SA made now. The soft limits lie at a random point between 80 % and 90 % of the hard ones, so that
    /// two sides with the same configuration seldom replace it at the same time (RFC 7296 2.8.1).
    pub(crate) fn of_child(now: Instant, lifetime: Lifetime, esn: bool, random: &mut dyn Random) -> Self {
        // RFC 4303 3.3.3: a sequence number must not cycle.
        let most = if esn { u64::MAX } else { u64::from(u32::MAX) };
        let packets = lifetime.packets.unwrap_or(u64::MAX).min(most);
        Self::new(
            now,
            lifetime.time,
            lifetime.bytes.unwrap_or(u64::MAX),
            packets,
            random,
        )
    }

    /// For an IKE SA made now.
    pub(crate) fn of_ike(now: Instant, lifetime: Duration, random: &mut dyn Random) -> Self {
        Self::new(now, lifetime, u64::MAX, u64::MAX, random)
    }

    fn new(now: Instant, time: Duration, bytes: u64, packets: u64, random: &mut dyn Random) -> Self {
        let mut octet = [0];
        random.fill(&mut octet);
        // 819 to 921 of 1024.
        let share = 819 + u32::from(octet[0]) * 103 / 256;
        let part = |whole: u64| whole / 1024 * u64::from(share) + whole % 1024 * u64::from(share) / 1024;
        let time = time.max(SHORTEST);
        let hard = Bounds {
            at: after(now, time),
            bytes,
            packets,
        };
        let soft = Bounds {
            at: after(now, time / 1024 * share),
            bytes: part(bytes),
            packets: part(packets),
        };
        Self { soft, hard }
    }

    /// How it stands by time alone.
    pub(crate) fn by_time(&self, now: Instant) -> Wear {
        match () {
            () if self.hard.at <= now => Wear::Over,
            () if self.soft.at <= now => Wear::Worn,
            () => Wear::Fresh,
        }
    }

    /// How it stands by what it has carried.
    pub(crate) fn by_usage(&self, usage: &Usage) -> Wear {
        let bytes = usage.inbound_bytes.max(usage.outbound_bytes);
        let packets = usage.inbound_packets.max(usage.outbound_packets);
        let passed = |bounds: &Bounds| bytes >= bounds.bytes || packets >= bounds.packets;
        match () {
            () if passed(&self.hard) => Wear::Over,
            () if passed(&self.soft) => Wear::Worn,
            () => Wear::Fresh,
        }
    }

    /// The soft limits, for the status.
    pub(crate) fn soft(&self) -> SoftLimit {
        let limited = |most: u64| (most < UNLIMITED).then_some(most);
        SoftLimit {
            at: self.soft.at,
            bytes: limited(self.soft.bytes),
            packets: limited(self.soft.packets),
        }
    }

    /// The two moments at which time alone makes a difference.
    pub(crate) fn moments(&self) -> [Instant; 2] {
        [self.soft.at, self.hard.at]
    }
}

/// A limit above this is none: no SA carries so much in its time (80 % of what 64 bits count to).
const UNLIMITED: u64 = u64::MAX / 10 * 7;
/// No SA is replaced more often, whatever the configuration says.
const SHORTEST: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Spi;
    use crate::config::ConnectionId;
    use crate::testing::Clock;

    struct Fixed(u8);

    impl Random for Fixed {
        fn fill(&mut self, out: &mut [u8]) {
            out.fill(self.0);
        }
    }

    fn usage(packets: u64, bytes: u64) -> Usage {
        Usage {
            connection: ConnectionId(1),
            inbound_spi: Spi(256),
            inbound_bytes: 0,
            inbound_packets: 0,
            outbound_bytes: bytes,
            outbound_packets: packets,
        }
    }

    #[test]
    fn replaces_an_sa_between_eighty_and_ninety_percent_of_its_time() {
        let start = Clock::new().now();
        for octet in [0, 255] {
            let limits = Limits::of_child(start, Lifetime::default(), true, &mut Fixed(octet));
            let at = |seconds| limits.by_time(start + Duration::from_secs(seconds));
            assert_eq!(
                (at(2870), at(3242), at(3600)),
                (Wear::Fresh, Wear::Worn, Wear::Over)
            );
        }
    }

    #[test]
    fn never_lets_a_short_sequence_number_run_out() {
        let start = Clock::new().now();
        let limits = |esn| Limits::of_child(start, Lifetime::default(), esn, &mut Fixed(9));
        let most = u64::from(u32::MAX);
        assert_eq!(limits(false).by_usage(&usage(most / 10 * 9, 0)), Wear::Worn);
        assert_eq!(limits(false).by_usage(&usage(most, 0)), Wear::Over);
        assert_eq!(limits(true).by_usage(&usage(most, 0)), Wear::Fresh);
    }

    #[test]
    fn counts_octets_where_a_limit_is_set() {
        let lifetime = Lifetime {
            bytes: Some(1000),
            ..Lifetime::default()
        };
        let limits = Limits::of_child(Clock::new().now(), lifetime, true, &mut Fixed(0));
        let at = |bytes| limits.by_usage(&usage(1, bytes));
        assert_eq!(
            (at(700), at(900), at(1000)),
            (Wear::Fresh, Wear::Worn, Wear::Over)
        );
    }
}
