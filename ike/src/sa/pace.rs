//! How often a peer may have new SAs made. Each costs a key exchange and a change of the dataplane's tables, which every
//! other peer of this host waits for.

use std::time::{Duration, Instant};

/// What is left for now, handed down from IKE SA to IKE SA.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace {
    /// The time at which all would be left again.
    full_at: Option<Instant>,
    told: Option<Instant>,
}

/// Whether another SA may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permit {
    /// It may.
    Granted,
    /// Not now.
    Refused {
        /// The operator was not told of it lately.
        news: bool,
    },
}

impl Pace {
    /// Asks for one more.
    pub(crate) fn take(&mut self, now: Instant) -> Permit {
        let full_at = self.full_at.filter(|at| *at > now).unwrap_or(now) + EACH;
        if full_at.saturating_duration_since(now) > EACH * AT_ONCE {
            let news = self
                .told
                .is_none_or(|at| now.saturating_duration_since(at) >= REMIND);
            if news {
                self.told = Some(now);
            }
            return Permit::Refused { news };
        }
        self.full_at = Some(full_at);
        Permit::Granted
    }
}

/// In the long run one SA in this time, which is far more often than anybody has reason to.
const EACH: Duration = Duration::from_millis(50);
/// So many without a pause.
const AT_ONCE: u32 = 500;
/// An operator who was told is told again after this time.
const REMIND: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Clock;

    #[test]
    fn grants_five_hundred_at_once_and_twenty_a_second_in_the_long_run() {
        let start = Clock::new().now();
        let mut pace = Pace::default();
        let granted = |pace: &mut Pace, now, asked: u32| {
            let permits = (0..asked).map(|_| pace.take(now));
            permits.filter(|permit| *permit == Permit::Granted).count()
        };
        assert_eq!(granted(&mut pace, start, 1000), 500);
        assert_eq!(granted(&mut pace, start + Duration::from_secs(10), 1000), 200);
        assert_eq!(granted(&mut pace, start + Duration::from_secs(3600), 1000), 500);
    }

    #[test]
    fn is_news_once_an_hour() {
        let start = Clock::new().now();
        let mut pace = Pace::default();
        let mut news = |now| {
            let permits = (0..1000).map(|_| pace.take(now));
            permits
                .filter(|permit| *permit == Permit::Refused { news: true })
                .count()
        };
        assert_eq!(news(start), 1);
        assert_eq!(news(start + Duration::from_secs(100)), 0);
        assert_eq!(news(start + Duration::from_secs(3600)), 1);
    }
}
