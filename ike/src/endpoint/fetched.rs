//! What waits for answers of the network: `Output::Fetch` asked, `Input::Fetched` tells.

use std::time::Instant;

use super::Endpoint;
use crate::api::{Event, FetchId, Output};
use crate::wire::IkeSpi;

impl Endpoint {
    /// An answer came, or will not come.
    pub(super) fn on_fetched(&mut self, now: Instant, id: FetchId, result: Result<&[u8], &str>) {
        let date = self.split(now).0.wall_clock;
        let asked = match date {
            Some(date) => self.checker.fetched(id, result, now, date),
            None => self
                .checker
                .fetched_in_vain(id, "the time of day is not known", now),
        };
        if asked {
            self.resume(now, &[id]);
        }
    }

    /// Everything that waited for these, and for no others, goes on.
    pub(super) fn resume(&mut self, now: Instant, done: &[FetchId]) {
        if done.is_empty() {
            return;
        }
        for spi in self.admission.take_note(done) {
            self.judge_again(now, spi);
        }
        let (mut cx, connections, _) = self.split(now);
        connections
            .values_mut()
            .for_each(|connection| connection.on_fetched(&mut cx, done));
    }

    /// The kept IKE_AUTH request of a half-open SA.
    fn judge_again(&mut self, now: Instant, spi: IkeSpi) {
        let Some((path, opened)) = self.admission.take_deferred(spi) else {
            return;
        };
        if let Err(reason) = self.answer_half_open(now, path, spi, opened) {
            self.outputs.push_back(Output::Event(Event::Ignored { reason }));
        }
    }
}
