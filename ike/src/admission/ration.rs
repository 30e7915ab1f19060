//! Reports of what strangers did: they must not fill a log.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Lets something be said about each of a bounded number of things once in a while.
#[derive(Debug)]
pub(crate) struct Ration<K> {
    said: BTreeMap<K, Instant>,
    interval: Duration,
    most: usize,
}

impl<K: Ord> Ration<K> {
    /// About each thing at most once in `interval`, about `most` different things in that time.
    pub(crate) fn new(interval: Duration, most: usize) -> Self {
        Self {
            said: BTreeMap::new(),
            interval,
            most,
        }
    }

    /// Whether it may be said now; then it is.
    pub(crate) fn take(&mut self, now: Instant, about: K) -> bool {
        let interval = self.interval;
        let fresh = |at: &Instant| now.saturating_duration_since(*at) < interval;
        if self.said.get(&about).is_some_and(fresh) {
            return false;
        }
        if self.said.len() >= self.most {
            self.said.retain(|_, at| fresh(at));
        }
        if self.said.len() >= self.most && !self.said.contains_key(&about) {
            return false;
        }
        self.said.insert(about, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Clock;

    #[test]
    fn says_each_thing_once_in_a_while_and_not_too_many() {
        let now = Clock::new().now();
        let mut ration = Ration::new(Duration::from_secs(10), 2);
        let later = now + Duration::from_secs(10);
        let said = [(now, 1), (now, 1), (now, 2), (now, 3), (later, 3), (later, 1)]
            .map(|(at, about)| ration.take(at, about));
        assert_eq!(said, [true, false, true, false, true, true]);
        assert_eq!(ration.said.len(), 2);
    }
}
