//! What the kernel refused to do for many packets at once, by where they went.
//!
//! Whether it can depends on more than the kernel: on the device that a route leaves by, on a transformation of its own on the way. So it
//! is remembered for one place only, and not for ever.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Refusals by place: a peer's address, an interface.
///
/// Concurrency: owned by one queue thread. Where nothing was refused lately, asking costs a comparison.
#[derive(Debug)]
pub(super) struct Refusals<Place>(HashMap<Place, Refused>);

#[derive(Debug)]
struct Refused {
    in_a_row: u32,
    /// Not to be tried before.
    until: Option<Instant>,
}

impl<Place: Copy + Eq + Hash> Refusals<Place> {
    /// Whether nothing was refused lately, anywhere.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether to try.
    pub(super) fn allow(&self, place: Place) -> bool {
        let until = self.0.get(&place).and_then(|refused| refused.until);
        until.is_none_or(|until| until <= Instant::now())
    }

    /// It was tried and went well.
    pub(super) fn worked(&mut self, place: Place) {
        if !self.0.is_empty() {
            self.0.remove(&place);
        }
    }

    /// It was tried and refused, and the same packets went well one by one. True: it is given up for [`PAUSE`] from now on, and was not
    /// before.
    pub(super) fn refused(&mut self, place: Place) -> bool {
        if self.0.len() >= MOST && !self.0.contains_key(&place) {
            // Whoever is forgotten is tried again a few times.
            self.0.clear();
        }
        let refused = self.0.entry(place).or_insert(Refused {
            in_a_row: 0,
            until: None,
        });
        refused.in_a_row = refused.in_a_row.saturating_add(1);
        if refused.in_a_row < IN_A_ROW {
            return false;
        }
        let first = refused.until.is_none();
        refused.until = Some(Instant::now() + PAUSE);
        first
    }
}

impl<Place> Default for Refusals<Place> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

/// Refusals of one place without a success between them, after which it is not tried for a while.
pub(super) const IN_A_ROW: u32 = 8;
/// How long it is not tried then: a route may have moved to another device.
const PAUSE: Duration = Duration::from_secs(600);
/// Places that are remembered.
const MOST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn after(refusals: u32) -> Refusals<u8> {
        let mut all = Refusals::default();
        for number in 1..=refusals {
            assert_eq!(all.refused(1), number == IN_A_ROW, "said once");
        }
        all
    }

    #[test]
    fn a_place_is_given_up_after_some_in_a_row_and_no_other_is() {
        let mut all = after(IN_A_ROW - 1);
        assert!(all.allow(1) && !all.is_empty());
        all.refused(1);
        assert!(!all.allow(1));
        assert!(all.allow(2));
    }

    #[test]
    fn what_worked_between_them_makes_them_begin_anew() {
        let mut all = after(IN_A_ROW - 1);
        all.worked(1);
        assert!(all.is_empty());
        assert!(!all.refused(1) && all.allow(1));
    }

    #[test]
    fn after_a_while_it_is_tried_once_more_and_not_said_again() {
        let mut all = after(IN_A_ROW + 3);
        let past = Instant::now().checked_sub(Duration::from_millis(1)).unwrap();
        all.0.get_mut(&1).unwrap().until = Some(past);
        assert!(all.allow(1));
        assert!(!all.refused(1));
        assert!(!all.allow(1));
        all.0.get_mut(&1).unwrap().until = Some(past);
        all.worked(1);
        assert!(all.allow(1) && all.is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut all = Refusals::default();
        for place in 0..10_000_u32 {
            all.refused(place);
            assert!(all.0.len() <= MOST);
        }
    }
}
