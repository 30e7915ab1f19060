//! Putting messages together again from their fragments (RFC 7383 2.6).
//!
//! Only what the peer itself has sealed is stored, one request and one response at a time, so much of it and so long.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::timers::after;
use crate::wire::fragment::{Fragment, Numbers, assemble};
use crate::wire::{MessageId, Opened};

/// The messages of which some fragments are there.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    request: Option<Queue>,
    response: Option<Queue>,
}

/// The fragments of one message.
#[derive(Debug)]
struct Queue {
    id: MessageId,
    total: u16,
    parts: BTreeMap<u16, Fragment>,
    expires: Instant,
}

/// A message that is complete.
#[derive(Debug)]
pub(crate) struct Whole {
    /// The message.
    pub(crate) opened: Opened,
    /// Octets of the largest of its datagrams. `None`: it came in one.
    pub(crate) largest: Option<usize>,
}

impl Reassembly {
    /// Whether a fragment with these claims is worth the check of its ICV: it is possible, new, and not of a set that the
    /// sender has replaced by one of smaller fragments.
    pub(crate) fn wants(&self, response: bool, id: MessageId, numbers: Numbers) -> bool {
        if !numbers.are_valid() || numbers.total > MOST_FRAGMENTS {
            return false;
        }
        match self.queue(response).filter(|queue| queue.id == id) {
            None => true,
            Some(queue) if numbers.total == queue.total => !queue.parts.contains_key(&numbers.number),
            Some(queue) => numbers.total > queue.total,
        }
    }

    /// Stores a fragment that was wanted and whose ICV was right. `Err`: with it there would be more than `limit` octets,
    /// and nothing of the message is kept. `Ok(None)`: others are missing.
    pub(crate) fn add(
        &mut self,
        now: Instant,
        fragment: Fragment,
        limit: usize,
    ) -> Result<Option<Whole>, TooLarge> {
        let slot = match fragment.header().is_response() {
            true => &mut self.response,
            false => &mut self.request,
        };
        let (id, total) = (fragment.header().message_id, fragment.numbers().total);
        // RFC 7383 2.6: a fragment of a newer set starts everything over.
        let queue = match slot.take().filter(|queue| queue.id == id && queue.total == total) {
            Some(queue) => slot.insert(queue),
            None => slot.insert(Queue {
                id,
                total,
                parts: BTreeMap::new(),
                expires: after(now, PATIENCE),
            }),
        };
        queue.parts.insert(fragment.numbers().number, fragment);
        // What stands in the clear before a fragment is the peer's choice, too.
        let kept = queue.parts.values().map(Fragment::kept);
        if kept.sum::<usize>() > limit {
            *slot = None;
            return Err(TooLarge);
        }
        if queue.parts.len() < usize::from(total) {
            return Ok(None);
        }
        let parts: Vec<Fragment> = slot
            .take()
            .into_iter()
            .flat_map(|queue| queue.parts.into_values())
            .collect();
        let largest = parts
            .iter()
            .map(Fragment::octets)
            .max()
            .filter(|_| parts.len() > 1);
        Ok(assemble(parts).map(|opened| Whole { opened, largest }))
    }

    /// Forgets what of the peer's requests, or of its responses, is there: the message came another way.
    pub(crate) fn forget(&mut self, response: bool) {
        match response {
            true => self.response = None,
            false => self.request = None,
        }
    }

    /// When the next message is given up.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let queues = [&self.request, &self.response];
        queues.into_iter().flatten().map(|queue| queue.expires).min()
    }

    /// Forgets what stayed incomplete for too long.
    pub(crate) fn on_timeout(&mut self, now: Instant) {
        for slot in [&mut self.request, &mut self.response] {
            if slot.as_ref().is_some_and(|queue| queue.expires <= now) {
                *slot = None;
            }
        }
    }

    fn queue(&self, response: bool) -> Option<&Queue> {
        match response {
            true => self.response.as_ref(),
            false => self.request.as_ref(),
        }
    }
}

/// The fragments of a message have more octets than are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// Fragments of one message at most: enough for [`MOST_OCTETS`] on the narrowest path.
const MOST_FRAGMENTS: u16 = 128;
/// Octets kept of a message of a peer: no IKE message is larger than a datagram (RFC 7383 5).
pub(crate) const MOST_OCTETS: usize = 65_536;
/// The same of somebody who has proven nothing yet: a long chain of certificates, and no more.
pub(crate) const MOST_OCTETS_OF_STRANGERS: usize = 32_768;
/// How long fragments wait for the others: about as long as a peer goes on asking (RFC 7383 2.6).
const PATIENCE: Duration = Duration::from_secs(40);
