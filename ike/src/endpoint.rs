//! All connections of one host: takes inputs, finds whom they concern, and keeps the one list of outputs.

use std::collections::VecDeque;
use std::time::Instant;

use crate::api::{Input, Output, Random, Reason};
use crate::config::EndpointConfig;

/// All connections of one host, as a pure state machine.
///
/// Concurrency: one owner, one thread at a time; `Send`, so that it may move.
pub struct Endpoint {
    config: EndpointConfig,
    random: Box<dyn Random + Send>,
    outputs: VecDeque<Output>,
}

impl Endpoint {
    /// An endpoint without connections. `random` must be unpredictable outside of tests.
    pub fn new(config: EndpointConfig, random: Box<dyn Random + Send>) -> Self {
        Self { config, random, outputs: VecDeque::new() }
    }

    /// Takes one input. Never fails: bad input becomes an event.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        let _ = (now, input, &self.config, &mut self.random);
    }

    /// The next effect, in order. To be drained to `None` after every `handle`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When `Input::Timeout` is wanted next, and for what.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        None
    }
}
