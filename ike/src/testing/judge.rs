//! What must hold after every step of two hosts, whatever befell them, and what must hold once they have come to rest.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::host::Host;
use super::pair::{Pair, Who};
use crate::api::{Event, Spi};

/// The laws, and since when somebody is on the verge of breaking one.
#[derive(Debug)]
pub(super) struct Judge {
    /// CHILD SAs of the connection.
    children: usize,
    lonely: BTreeMap<(Who, Spi), Instant>,
}

impl Judge {
    /// For a connection of so many CHILD SAs.
    pub(super) fn new(children: usize) -> Self {
        Self {
            children,
            lonely: BTreeMap::new(),
        }
    }

    /// No SPI leaks, nothing grows.
    pub(super) fn bounds(&self, pair: &Pair) -> Result<(), String> {
        for (who, host) in both(pair) {
            let (ike, esp) = host.endpoint.spis_in_use();
            if ike > MOST_IKE || esp > MOST_ESP * self.children {
                return Err(format!("{who:?} grows: {ike} IKE SPIs, {esp} ESP SPIs"));
            }
            if host.inbound.len() > esp {
                return Err(format!("{who:?} receives on an SPI that is not reserved"));
            }
            match host.endpoint.audit() {
                Ok(notes) if notes <= MOST_NOTES => {}
                Ok(notes) => return Err(format!("{who:?} keeps {notes} things in mind")),
                Err(leak) => return Err(format!("{who:?} leaks: {leak}")),
            }
        }
        Ok(())
    }

    /// Both sides agree on the installed SAs: whatever one can send on, the other receives on, with the same keys.
    pub(super) fn harmony(pair: &Pair) -> Result<(), String> {
        let spis = |host: &Host| {
            (
                host.inbound.keys().copied().collect::<Vec<_>>(),
                host.sending_each(),
            )
        };
        if pair.agree_on_all() {
            return Ok(());
        }
        let (alice, bob) = (spis(&pair.alice), spis(&pair.bob));
        Err(format!(
            "somebody may send what nobody receives: Alice {alice:?}, Bob {bob:?}"
        ))
    }

    /// No SA is without a peer for long: to be asked once a second.
    pub(super) fn company(&mut self, pair: &Pair) -> Result<(), String> {
        let now = pair.clock.now();
        let mut lonely = BTreeMap::new();
        for (who, host, other) in [
            (Who::Alice, &pair.alice, &pair.bob),
            (Who::Bob, &pair.bob, &pair.alice),
        ] {
            for spi in host
                .inbound
                .keys()
                .filter(|spi| !other.outbound.contains_key(spi))
            {
                let since = self.lonely.get(&(who, *spi)).copied().unwrap_or(now);
                if now - since > LONELY {
                    return Err(format!("{who:?} keeps {spi}, on which nobody sends"));
                }
                lonely.insert((who, *spi), since);
            }
        }
        self.lonely = lonely;
        Ok(())
    }

    /// One IKE SA and the wanted CHILD SAs, on both sides the same, and nothing else.
    pub(super) fn at_rest(&self, pair: &Pair) -> bool {
        let one = |host: &Host| {
            host.endpoint.spis_in_use() == (1, self.children)
                && host.inbound.len() == self.children
                && host.outbound.len() == self.children
        };
        one(&pair.alice) && one(&pair.bob) && pair.agree_on_all()
    }
}

/// The loss of something that stood, if a host has told of one.
pub(super) fn failed(host: &Host) -> Option<&Event> {
    host.events().find(|event| match event {
        Event::Failed { .. }
        | Event::IkeClosed { .. }
        | Event::ChildFailed { .. }
        | Event::ReauthFailed { .. } => true,
        Event::Progress { .. }
        | Event::IkeEstablished { .. }
        | Event::ChildEstablished { .. }
        | Event::ChildClosed { .. }
        | Event::Moved { .. }
        | Event::Redirected { .. }
        | Event::StatusUnknown { .. }
        | Event::Ignored { .. } => false,
    })
}

fn both(pair: &Pair) -> [(Who, &Host); 2] {
    [(Who::Alice, &pair.alice), (Who::Bob, &pair.bob)]
}

/// SPIs of IKE SAs that a host may have for one connection.
const MOST_IKE: usize = 24;
/// SPIs of ESP that a host may have for one CHILD SA: several replacements within the time that the old ones receive.
const MOST_ESP: usize = 24;
/// Whatever else waits for something.
const MOST_NOTES: usize = 40;
/// An SA that was given up is deleted within this time: the peer's patience, ours, and lost messages.
const LONELY: Duration = Duration::from_secs(400);
