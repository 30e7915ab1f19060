//! The search for a tunnel's ends: names and routes change, so it is repeated when it fails and after every lost connection.

use std::time::{Duration, Instant};

use xvpn_ike::api::{Command, Input};
use xvpn_ike::config::{ConnectionConfig, ConnectionId};

use super::connection::{self, Ends, Unlocated};
use super::mobility;
use super::supervisor::Supervisor;

/// The ends of a tunnel, or why they are not known.
#[derive(Debug)]
pub struct Found {
    /// Of which tunnel.
    pub id: ConnectionId,
    /// What came of it.
    pub result: Result<Ends, Unlocated>,
    /// They are those towards a gateway that the peer has sent us to (RFC 5685).
    pub redirected: bool,
}

/// What is known of a tunnel's ends.
#[derive(Debug, Default)]
pub struct Search {
    /// What `ike` was told last.
    pub told: Option<Ends>,
    /// `ike` was told to bring it up.
    pub up: bool,
    /// It failed: again at this time.
    pub again: Option<Instant>,
    /// So often in a row.
    pub failures: u32,
}

impl Supervisor {
    /// Looks for the ends of a tunnel in a task beside the loop.
    pub(super) fn search(&mut self, id: ConnectionId) {
        let Some(tunnel) = self.tunnels.get(&id).filter(|tunnel| !tunnel.barred) else {
            return;
        };
        let (config, listen, found) = (
            tunnel.config.clone(),
            self.gateway.listen.clone(),
            self.found.0.clone(),
        );
        let initiate = tunnel.wanted && !tunnel.passive();
        tokio::spawn(async move {
            let result = connection::locate(&config, &listen, initiate).await;
            // The loop may have ended meanwhile.
            let redirected = false;
            drop(
                found
                    .send(Found {
                        id,
                        result,
                        redirected,
                    })
                    .await,
            );
        });
    }

    /// Tells `ike` what was found, or the operator why nothing was.
    pub(super) fn on_found(&mut self, found: Found) {
        let Found {
            id,
            result,
            redirected,
        } = found;
        if redirected {
            return self.on_gateway_found(id, result);
        }
        let now = Instant::now();
        let (Some(tunnel), Some(search)) = (self.tunnels.get_mut(&id), self.searches.get_mut(&id)) else {
            return;
        };
        if tunnel.barred || self.ending.is_some() {
            return;
        }
        let checked = result
            .and_then(|ends| connection::check_pinned(&tunnel.config, &ends, &self.pinned).map(|()| ends));
        match checked {
            Ok(ends) => {
                let configure = search.told != Some(ends);
                let demand = std::mem::take(&mut tunnel.demand.waits) && tunnel.on_demand() && tunnel.wanted;
                let up = tunnel.wanted && !tunnel.passive() && !tunnel.on_demand() && !search.up;
                *search = Search {
                    told: Some(ends),
                    up: search.up || up,
                    again: None,
                    failures: 0,
                };
                let others = mobility::others(tunnel, &self.addresses, &self.gateway.listen);
                let config = configure.then(|| ConnectionConfig {
                    other_addresses: others,
                    ..connection::config(id, &tunnel.config, ends)
                });
                if let Some(config) = config {
                    self.handle(Input::Command(Command::Configure(Box::new(config))));
                }
                if up {
                    self.handle(Input::Command(Command::Up(id)));
                }
                if demand {
                    self.handle(Input::Command(Command::Demand(id)));
                }
            }
            Err(Unlocated { message, remedy }) => {
                let (first, longest) = tunnel.config.retry;
                let wait = first
                    .saturating_mul(1 << search.failures.min(16))
                    .min(longest)
                    .max(SHORTEST_RETRY);
                search.failures = search.failures.saturating_add(1);
                search.again = Some(now + wait);
                let progress = tunnel.could_not_begin(message, remedy, Some(wait), now);
                self.publish(progress, true);
            }
        }
    }
}

const SHORTEST_RETRY: Duration = Duration::from_secs(1);
