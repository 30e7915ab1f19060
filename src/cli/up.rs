//! `xvpn up`: brings tunnels up, waits until they are, and says why if they are not.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
    let began = Began {
        at: Instant::now(),
        unix_ms: unix_ms(),
    };
    let state_dir = config::state_dir(&global.config);
    let mut client = match connect_or_start(global, &state_dir) {
        Ok(client) => client,
        Err(exit) => return exit,
    };
    match ask(&mut client, &state_dir, arguments, began) {
        Ok(exit) => exit,
        Err(error) => complain_of(&error),
    }
}

fn ask(
    client: &mut Client,
    state_dir: &Path,
    arguments: &Arguments,
    began: Began,
) -> Result<Exit, ClientError> {
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
        began,
        pending: names.into_iter().map(|name| (name, None)).collect(),
        last: BTreeMap::new(),
        failed: 0,
    };
    wait.until(client, events, began.at + Duration::from_secs(arguments.timeout))?;
    wait.give_up(&client.status()?.tunnels);
    Ok(if wait.failed == 0 {
        Exit::Success
    } else {
        Exit::Failed
    })
}

/// When the command was given.
#[derive(Clone, Copy)]
struct Began {
    at: Instant,
    /// The same in Unix time: the daemon, on the same host, dates failures by it.
    unix_ms: u64,
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

struct Wait {
    style: Style,
    began: Began,
    /// The tunnels that are not up yet, with what went wrong last.
    pending: BTreeMap<String, Option<FailureReport>>,
    /// What was said of a tunnel last.
    last: BTreeMap<String, String>,
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
        let name = &progress.tunnel;
        if !self.pending.contains_key(name) {
            return;
        }
        let news = progress
            .failure
            .as_ref()
            .filter(|failure| self.is_news(name, failure));
        match (progress.state, news) {
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
            ) => {
                let again = progress
                    .failure
                    .as_ref()
                    .is_some_and(|failure| progress.message.starts_with(&failure.message));
                if !again {
                    eprintln!("{name}: {}", progress.message);
                    self.last.insert(name.clone(), progress.message.clone());
                }
            }
        }
    }

    /// The daemon repeats the last failure while it tries again, and one from before this command is history.
    fn is_news(&self, name: &str, failure: &FailureReport) -> bool {
        let told = self.pending.get(name).and_then(Option::as_ref);
        failure.at_ms >= self.began.unix_ms && told.is_none_or(|told| told.at_ms != failure.at_ms)
    }

    fn look(&mut self, client: &mut Client) -> Result<(), ClientError> {
        for tunnel in client.status()?.tunnels {
            if !self.pending.contains_key(&tunnel.name) {
                continue;
            }
            if tunnel.state == TunnelState::Established {
                self.established(&tunnel.name);
            } else if let Some(failure) = tunnel
                .failure
                .filter(|failure| self.is_news(&tunnel.name, failure))
            {
                self.stumbled(&tunnel.name, &failure);
            }
        }
        Ok(())
    }

    fn established(&mut self, name: &str) {
        self.pending.remove(name);
        let seconds = self.began.at.elapsed().as_secs_f64();
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
            let seconds = self.began.at.elapsed().as_secs();
            let state = tunnel.map_or("gone", |tunnel| tunnel.state.word());
            let remedy = if state == TunnelState::Listening.word() {
                "only the peer may begin here (start = \"listen\", or address = \"any\"): bring the tunnel up there"
            } else {
                "check that the peer's IKE service runs and knows this gateway's address, and that UDP 500 and 4500 pass in both \
                 directions; `xvpn status` shows what becomes of it"
            };
            let last = self
                .last
                .get(&name)
                .map_or_else(String::new, |said| format!("; last: {said}"));
            complain(&format!("{name}: still {state} after {seconds} s{last}"), remedy);
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
    let settings = failure.details.settings().map_or_else(String::new, |settings| {
        format!("  {}: {settings}\n", style.strong("settings"))
    });
    format!(
        "{name}: {} at {}: {}\n  {}: {whose}\n  {}: {}\n{settings}",
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
