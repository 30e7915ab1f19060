//! A table of deadlines, one per [`Reason`].

use std::time::{Duration, Instant};

use crate::api::{Random, Reason};

/// The deadlines of one SA, one connection or the endpoint: at most one for each reason.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    due: [Option<Instant>; REASONS.len()],
}

impl Timers {
    /// Sets or moves a deadline.
    pub(crate) fn set(&mut self, reason: Reason, at: Instant) {
        self.due[index(reason)] = Some(at);
    }

    /// Takes a deadline away.
    pub(crate) fn clear(&mut self, reason: Reason) {
        self.due[index(reason)] = None;
    }

    /// Whether a deadline is set.
    pub(crate) fn is_set(&self, reason: Reason) -> bool {
        self.due[index(reason)].is_some()
    }

    /// Takes one deadline that has passed, in the order of [`Reason`].
    pub(crate) fn take_expired(&mut self, now: Instant) -> Option<Reason> {
        let reason = REASONS
            .into_iter()
            .find(|&reason| self.due[index(reason)].is_some_and(|at| at <= now))?;
        self.clear(reason);
        Some(reason)
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<(Instant, Reason)> {
        REASONS
            .into_iter()
            .filter_map(|reason| Some((self.due[index(reason)]?, reason)))
            .min()
    }
}

/// `wait` after `now`: at least a moment, so that no deadline sets itself anew within the same call, and at most as far
/// as time reaches.
pub(crate) fn after(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait.clamp(SHORTEST, LONGEST)).unwrap_or(now)
}

/// The wait before the next attempt to connect: doubled each time up to `longest`, and then scattered by up to a
/// quarter either way, so that two sides that fail together do not stay in step.
pub(crate) fn back_off(
    first: Duration,
    longest: Duration,
    failures: u32,
    random: &mut dyn Random,
) -> Duration {
    let doubled = first
        .saturating_mul(1u32.checked_shl(failures.min(16)).unwrap_or(u32::MAX))
        .min(longest);
    let mut octet = [0];
    random.fill(&mut octet);
    // 75 % to 125 % in 256 steps.
    doubled.saturating_mul(768 + 2 * u32::from(octet[0])) / 1024
}

/// No configured time is taken for shorter.
const SHORTEST: Duration = Duration::from_millis(10);
/// No configured time is taken for longer: a year.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

const fn index(reason: Reason) -> usize {
    match reason {
        Reason::Retransmit => 0,
        Reason::Liveness => 1,
        Reason::Keepalive => 2,
        Reason::Retry => 3,
        Reason::Expire => 4,
        Reason::Rekey => 5,
        Reason::Fetch => 6,
    }
}

const REASONS: [Reason; 7] = [
    Reason::Retransmit,
    Reason::Liveness,
    Reason::Keepalive,
    Reason::Retry,
    Reason::Expire,
    Reason::Rekey,
    Reason::Fetch,
];

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(u8);

    impl Random for Fixed {
        fn fill(&mut self, out: &mut [u8]) {
            out.fill(self.0);
        }
    }

    #[test]
    fn gives_the_earliest_deadline_first_and_each_only_once() {
        let start = Instant::now_for_test();
        let mut timers = Timers::default();
        timers.set(Reason::Liveness, start + Duration::from_secs(1));
        timers.set(Reason::Retransmit, start + Duration::from_secs(2));
        assert_eq!(
            timers.next(),
            Some((start + Duration::from_secs(1), Reason::Liveness))
        );
        assert_eq!(timers.take_expired(start), None);
        assert_eq!(
            timers.take_expired(start + Duration::from_secs(1)),
            Some(Reason::Liveness)
        );
        assert_eq!(timers.take_expired(start + Duration::from_secs(1)), None);
        assert_eq!(
            timers.take_expired(start + Duration::from_secs(9)),
            Some(Reason::Retransmit)
        );
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn survives_absurd_waits() {
        let now = Instant::now_for_test();
        assert!(after(now, Duration::MAX) > now);
        assert!(after(now, Duration::ZERO) > now);
    }

    #[test]
    fn doubles_the_wait_up_to_the_longest() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(60));
        let middle = |failures| back_off(first, longest, failures, &mut Fixed(128));
        assert_eq!(middle(0), Duration::from_secs(1));
        assert_eq!(middle(3), Duration::from_secs(8));
        assert_eq!(middle(u32::MAX), Duration::from_secs(60));
    }

    #[test]
    fn scatters_the_wait_by_a_quarter_either_way() {
        let wait = |octet| {
            back_off(
                Duration::from_secs(4),
                Duration::from_secs(60),
                0,
                &mut Fixed(octet),
            )
        };
        assert_eq!(wait(0), Duration::from_secs(3));
        assert!(wait(255) > Duration::from_millis(4900) && wait(255) < Duration::from_secs(5));
    }

    /// Any instant will do; tests need one to start from.
    trait NowForTest {
        fn now_for_test() -> Instant;
    }

    impl NowForTest for Instant {
        #[allow(clippy::disallowed_methods)]
        fn now_for_test() -> Instant {
            Self::now()
        }
    }
}
