//! Virtual time.

use std::time::{Duration, Instant};

/// A clock that only moves when told.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    now: Instant,
}

impl Clock {
    /// A clock at its beginning.
    #[allow(clippy::disallowed_methods)] // `Instant` cannot be made otherwise; only differences to it are used.
    pub fn new() -> Self {
        let start = Instant::now();
        Self { start, now: start }
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// Moves on. Never back.
    pub fn advance_to(&mut self, to: Instant) {
        self.now = self.now.max(to);
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
