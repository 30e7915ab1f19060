//! `xvpn up`: brings tunnels up, waits until they are, and says why if they are not.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;

use super::background::connect_or_start;
use super::terminal::Style;
use super::{Exit, Global, complain, complain_of};
use crate::admin::api::{Actor, FailureReport, Progress, Request, TunnelState, TunnelStatus};
use crate::admin::client::{Client, ClientError, Subscription};
use crate::config;

/// Arguments of `xvpn up`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Names of tunnels; none: all
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Seconds to wait until they are established
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
    /// Does not wait
    #[arg(long, conflicts_with = "timeout")]
    no_wait: bool,
}

pub(super) fn up(global: &Global, arguments: &Arguments) -> Exit {
    let state_dir = config::state_dir(&global.config);
    let mut client = match connect_or_start(global, &state_dir) {
        Ok(client) => client,
        Err(exit) => return exit,
    };
    match ask(&mut client, &state_dir, arguments) {
        Ok(exit) => exit,
        Err(error) => complain_of(&error),
    }
}

fn ask(client: &mut Client, state_dir: &Path, arguments: &Arguments) -> Result<Exit, ClientError> {
    let start = Instant::now();
    // First the ear, then the word: nothing that happens in between is missed.
    let events = Client::connect(state_dir)?.subscribe()?;
    let names = client.command(Request::Up {
        names: arguments.names.clone(),
    })?;
    if names.is_empty() {
        complain(
            "there is no tunnel to bring up",
            "add a [[tunnel]] to the configuration and restart the gateway",
        );
        return Ok(Exit::Failed);
    }
    if arguments.no_wait {
        return Ok(Exit::Success);
    }
    let mut wait = Wait {
        style: Style::stderr(),
        start,
        pending: names.into_iter().map(|name| (name, None)).collect(),
        failed: 0,
    };
    wait.until(client, events, start + Duration::from_secs(arguments.timeout))?;
    wait.give_up(&client.status()?.tunnels);
    Ok(if wait.failed == 0 {
        Exit::Success
    } else {
        Exit::Failed
    })
}

struct Wait {
    style: Style,
    start: Instant,
    /// The tunnels that are not up yet, with what went wrong last.
    pending: BTreeMap<String, Option<FailureReport>>,
    failed: usize,
}

impl Wait {
    fn until(
        &mut self,
        client: &mut Client,
        mut events: Subscription,
        deadline: Instant,
    ) -> Result<(), ClientError> {
        self.look(client)?;
        let mut looked = Instant::now();
        while !self.pending.is_empty() && Instant::now() < deadline {
            let patience = deadline.saturating_duration_since(Instant::now()).min(LOOK);
            if let Some(progress) = events.next(patience)? {
                self.hear(&progress);
            }
            // A state that was reached without a word counts as well.
            if looked.elapsed() >= LOOK {
                self.look(client)?;
                looked = Instant::now();
            }
        }
        Ok(())
    }

    fn hear(&mut self, progress: &Progress) {
        if !self.pending.contains_key(&progress.tunnel) {
            return;
        }
        let name = &progress.tunnel;
        match (progress.state, &progress.failure) {
            (TunnelState::Established, _) => self.established(name),
            (TunnelState::Failed | TunnelState::Connecting | TunnelState::Listening, Some(failure)) => {
                self.stumbled(name, failure)
            }
            (TunnelState::Down | TunnelState::Closing, Some(failure)) => self.lost(name, failure),
            (
                TunnelState::Failed
                | TunnelState::Connecting
                | TunnelState::Listening
                | TunnelState::Down
                | TunnelState::Closing,
                None,
            ) => eprintln!("{name}: {}", progress.message),
        }
    }

    fn look(&mut self, client: &mut Client) -> Result<(), ClientError> {
        for tunnel in client.status()?.tunnels {
            if !self.pending.contains_key(&tunnel.name) {
                continue;
            }
            match (tunnel.state, &tunnel.failure) {
                (TunnelState::Established, _) => self.established(&tunnel.name),
                // Only one that was not told yet: a failure from before this command is history.
                (TunnelState::Failed, Some(failure)) if failure.permanent && tunnel.since_ms < self.age() => {
                    self.lost(&tunnel.name, failure);
                }
                (
                    TunnelState::Failed
                    | TunnelState::Connecting
                    | TunnelState::Listening
                    | TunnelState::Down
                    | TunnelState::Closing,
                    _,
                ) => {}
            }
        }
        Ok(())
    }

    fn age(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn established(&mut self, name: &str) {
        self.pending.remove(name);
        let seconds = self.start.elapsed().as_secs_f64();
        eprintln!("{name}: {} ({seconds:.1} s)", self.style.good("established"));
    }

    /// An attempt failed. If the next may succeed by itself (the peer is still starting, say), it is waited for.
    fn stumbled(&mut self, name: &str, failure: &FailureReport) {
        if failure.permanent {
            return self.lost(name, failure);
        }
        let next = failure.retry_in_ms.map_or_else(String::new, |ms| {
            format!("; next attempt in {:.0} s", ms_to_seconds(ms))
        });
        eprintln!("{name}: {}{next}", self.style.busy(&failure.message));
        self.pending.insert(name.to_owned(), Some(failure.clone()));
    }

    fn lost(&mut self, name: &str, failure: &FailureReport) {
        self.pending.remove(name);
        self.failed += 1;
        eprint!("{}", explain(name, failure, self.style));
    }

    /// The time is over: says of each tunnel that is not up what stands in its way.
    fn give_up(&mut self, tunnels: &[TunnelStatus]) {
        for (name, last) in std::mem::take(&mut self.pending) {
            self.failed += 1;
            let tunnel = tunnels.iter().find(|tunnel| tunnel.name == name);
            if let Some(failure) = last
                .as_ref()
                .or(tunnel.and_then(|tunnel| tunnel.failure.as_ref()))
            {
                eprint!("{}", explain(&name, failure, self.style));
                continue;
            }
            let seconds = self.start.elapsed().as_secs();
            let state = tunnel.map_or("gone", |tunnel| tunnel.state.word());
            let remedy = if state == TunnelState::Listening.word() {
                "only the peer may begin here (start = \"listen\", or address = \"any\"): bring the tunnel up there"
            } else {
                "look at `xvpn status`; check that UDP 500 and 4500 pass between the gateways in both directions"
            };
            complain(&format!("{name}: still {state} after {seconds} s"), remedy);
        }
    }
}

/// Why, where, and what to do.
fn explain(name: &str, failure: &FailureReport, style: Style) -> String {
    let whose = match failure.actor {
        Actor::Here => "the configuration of this gateway",
        Actor::Peer => "the peer's side",
        Actor::Both => "the two configurations do not fit together",
        Actor::Network => "the network between the gateways",
        Actor::Authors => "a bug in xvpn: please report it",
    };
    format!(
        "{name}: {} at {}: {}\n  {}: {whose}\n  {}: {}\n",
        style.bad("failed"),
        failure.step,
        failure.message,
        style.strong("where"),
        style.strong("remedy"),
        failure.remedy,
    )
}

fn ms_to_seconds(ms: u64) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

/// Between looks at the state.
const LOOK: Duration = Duration::from_secs(1);
