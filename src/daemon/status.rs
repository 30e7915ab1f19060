//! What is known of every tunnel: events go in, the status and the operator's messages come out.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use xvpn_ike::api::{ChildFacts, Encapsulation, Event, IkeFacts, Path, Spi, Usage};
use xvpn_ike::auth::verified::Means;
use xvpn_ike::config::ConnectionId;

use super::demand::Demand;
use super::totals::Totals;
use super::words;
use crate::admin::api::{
    ChildStatus, FailureReport, IkeStatus, MissingChild, Progress, TunnelState, TunnelStatus,
};
use crate::config::{Iptfs, Pace, RemoteAddress, Start, TunnelConfig};

/// One tunnel as it is now.
#[derive(Debug)]
pub struct Tunnel {
    /// Its configuration.
    pub config: TunnelConfig,
    /// The operator wants it up.
    pub wanted: bool,
    /// The operator said `xvpn down`: the peer is not answered either.
    pub barred: bool,
    /// Whether packets wait for it.
    pub demand: Demand,
    /// The MTU of its interface; 0 before it is set.
    pub mtu: u16,
    state: TunnelState,
    since: Instant,
    failure: Option<(FailureReport, Option<Instant>)>,
    ike: Option<(IkeFacts, Instant)>,
    children: BTreeMap<Spi, Child>,
    missing: BTreeMap<String, (FailureReport, Option<Instant>)>,
    totals: Totals,
}

#[derive(Debug)]
struct Child {
    facts: ChildFacts,
    since: Instant,
    usage: Option<Usage>,
}

impl Tunnel {
    /// A tunnel that nothing happened to yet.
    pub fn new(config: TunnelConfig, mtu: u16, now: Instant) -> Self {
        let wanted = match config.start {
            Start::Up | Start::Listen | Start::OnDemand => true,
            Start::Manual => false,
        };
        let mut tunnel = Self {
            config,
            wanted,
            barred: false,
            demand: Demand::default(),
            mtu,
            state: TunnelState::Down,
            since: now,
            failure: None,
            ike: None,
            children: BTreeMap::new(),
            missing: BTreeMap::new(),
            totals: Totals::default(),
        };
        tunnel.state = tunnel.idle();
        tunnel
    }

    /// Only the peer may begin.
    pub fn passive(&self) -> bool {
        self.config.start == Start::Listen
            || self.config.remote_address == RemoteAddress::Any
            || self.config.redirect_to.is_some()
    }

    /// It is made when a packet wants it.
    pub fn on_demand(&self) -> bool {
        self.config.start == Start::OnDemand
    }

    /// There is an IKE SA or a CHILD SA.
    pub fn has_sa(&self) -> bool {
        self.ike.is_some() || !self.children.is_empty()
    }

    /// How it is.
    pub fn state(&self) -> TunnelState {
        self.state
    }

    /// The path of its IKE SA.
    pub fn outer(&self) -> Option<Path> {
        self.ike.as_ref().map(|(facts, _)| facts.path)
    }

    /// It carries traffic.
    pub fn established(&self) -> bool {
        !self.children.is_empty()
    }

    /// The operator wants it up, or no longer. Progress, if that is news.
    pub fn want(&mut self, wanted: bool, now: Instant) -> Option<Progress> {
        (self.wanted, self.barred) = (wanted, !wanted);
        let state = match (wanted, self.has_sa()) {
            (true, _) if self.established() => TunnelState::Established,
            (true, _) => self.idle(),
            (false, true) => TunnelState::Closing,
            (false, false) => TunnelState::Down,
        };
        if wanted {
            // What failed under an earlier wish says nothing about this one.
            self.failure = None;
        }
        (state != self.state).then(|| {
            self.enter(state, now);
            self.progress(words::wish(state).to_owned())
        })
    }

    /// An attempt could not even begin.
    pub fn could_not_begin(
        &mut self,
        message: String,
        remedy: String,
        retry_in: Option<Duration>,
        now: Instant,
    ) -> Progress {
        let failure = words::not_begun(message, remedy, unix_ms());
        self.fail(failure, retry_in, now)
    }

    /// Takes an event of this tunnel. Progress, if an operator cares.
    pub fn on_event(&mut self, event: &Event, now: Instant) -> Option<Progress> {
        match event {
            Event::Progress { step, path, .. } => {
                if !self.established() && self.state != TunnelState::Closing && (self.wanted || !self.barred)
                {
                    self.enter(TunnelState::Connecting, now);
                }
                Some(self.progress(words::step(*step, path)))
            }
            Event::IkeEstablished { ike, .. } => {
                self.totals.on_ike(self.ike.is_some());
                self.ike = Some((ike.clone(), now));
                Some(self.progress(words::ike_established(ike)))
            }
            Event::ChildEstablished { connection, child } => {
                let same =
                    |other: &Child| other.facts.name == child.name && other.facts.resource == child.resource;
                let replaces = self.children.values().any(same);
                self.totals.on_child(child, replaces);
                self.totals.begin(child, *connection);
                let child_entry = Child {
                    facts: child.clone(),
                    since: now,
                    usage: None,
                };
                self.children.insert(child.inbound_spi, child_entry);
                self.missing.remove(&child.name);
                self.failure = None;
                self.enter(TunnelState::Established, now);
                let wanted = self.iptfs(&child.name).filter(|_| child.aggfrag.is_none());
                if !replaces && wanted.is_some_and(|iptfs| matches!(iptfs.pace, Pace::Constant { .. })) {
                    // Whoever wants nothing to be seen must not only learn that by looking at the status.
                    tracing::warn!(
                        "tunnel {}: `iptfs` was not agreed on for {}: the lengths and times of packets can be seen; give the peer `iptfs`, too, without congestion control",
                        self.config.name,
                        child.name
                    );
                }
                let ours = self.iptfs(&child.name);
                let warning = words::too_short_for_ipv6(child, ours, self.config.path_mtu);
                if let Some(warning) = warning.filter(|_| !replaces) {
                    tracing::warn!("tunnel {}: {}: {warning}", self.config.name, child.name);
                }
                Some(self.progress(words::child_established(child, wanted.is_some())))
            }
            Event::Moved {
                ike, encapsulation, ..
            } => {
                if let Some((facts, _)) = &mut self.ike {
                    facts.clone_from(ike);
                }
                for child in self.children.values_mut() {
                    child.facts.encapsulation = *encapsulation;
                }
                Some(self.progress(words::moved(ike, *encapsulation)))
            }
            Event::Redirected { path, to, by, .. } => Some(self.progress(words::redirected(path, to, *by))),
            Event::ChildClosed { inbound_spi, .. } => {
                self.children.remove(inbound_spi)?;
                if !self.children.is_empty() || self.state == TunnelState::Closing {
                    return None;
                }
                self.enter(self.idle(), now);
                Some(self.progress("carries no traffic any more: its CHILD SA is gone".to_owned()))
            }
            Event::ChildFailed {
                child,
                failure,
                retry_in,
                ..
            } => {
                let report = words::child_failure(failure, unix_ms());
                let message = format!("CHILD SA {child}: {}; {}", report.message, report.remedy);
                let retry = retry_in.map(|wait| now + wait);
                self.missing.insert(child.clone(), (report, retry));
                Some(self.progress(message))
            }
            Event::ReauthFailed {
                failure,
                path,
                retry_in,
                ..
            } => {
                let report = words::failure(failure, path, unix_ms());
                let message = format!(
                    "reauthentication failed, and is tried again in {} s; the tunnel stands: {}; {}",
                    retry_in.as_secs(),
                    report.message,
                    report.remedy
                );
                Some(self.progress(message))
            }
            Event::IkeClosed { reason, .. } => {
                self.ike = None;
                self.missing.clear();
                self.children.clear();
                if self.failure.is_none() || self.state != TunnelState::Failed {
                    self.enter(self.idle(), now);
                }
                Some(self.progress(words::closed(*reason).to_owned()))
            }
            Event::Failed {
                failure,
                path,
                retry_in,
                ..
            } => {
                let report = words::failure(failure, path, unix_ms());
                Some(self.fail(report, *retry_in, now))
            }
            Event::StatusUnknown { .. } | Event::Ignored { .. } => None,
        }
    }

    /// More became known about the failure that was reported last.
    pub fn amend(&mut self, progress: &Progress) {
        if let (Some((known, _)), Some(told)) = (&mut self.failure, &progress.failure)
            && known.at_ms == told.at_ms
        {
            known.message.clone_from(&told.message);
        }
    }

    /// Takes the counts of one of its CHILD SAs.
    pub fn on_usage(&mut self, usage: &Usage) {
        if let Some(child) = self.children.get_mut(&usage.inbound_spi) {
            child.usage = Some(*usage);
        }
        self.totals.on_usage(usage);
    }

    /// The dataplane has forgotten what it received one of its CHILD SAs with.
    pub fn on_forgotten(&mut self, inbound: Spi) {
        self.totals.end(inbound);
    }

    /// For the control socket.
    pub fn report(&self, now: Instant) -> TunnelStatus {
        let networks = |networks: &[ipnet::IpNet]| networks.iter().map(ToString::to_string).collect();
        let failure = self.failure.as_ref().map(|(report, retry)| {
            let retry_in_ms = retry.map(|at| ms(at.saturating_duration_since(now)));
            FailureReport {
                retry_in_ms,
                ..report.clone()
            }
        });
        TunnelStatus {
            name: self.config.name.clone(),
            state: self.state,
            since_ms: ms(now.saturating_duration_since(self.since)),
            wanted: self.wanted,
            failure,
            interface: self.config.interface.clone(),
            mtu: u32::from(self.mtu),
            local_id: self.config.local_identity.to_string(),
            remote_id: self.config.remote_identity.to_string(),
            remote: self.config.remote_address.to_string(),
            local_networks: networks(&self.config.local_networks),
            remote_networks: networks(&self.config.remote_networks),
            ike: self
                .ike
                .as_ref()
                .map(|(facts, since)| ike_status(facts, now.saturating_duration_since(*since))),
            children: self
                .children
                .values()
                .map(|child| self.child(child, now))
                .collect(),
            missing: self.missing(now),
            totals: self.totals.report(self.config.child_names()),
        }
    }

    fn child(&self, child: &Child, now: Instant) -> ChildStatus {
        let ours = self.iptfs(&child.facts.name);
        let iptfs = child.facts.aggfrag.zip(ours).map(|(theirs, ours)| {
            let whole = if theirs.reassembles { "" } else { ", packets whole" };
            format!("{ours}{whole}")
        });
        let refused = ours.map(|_| "refused by the peer".to_owned());
        ChildStatus {
            iptfs: iptfs.or(refused),
            ..child.status(now)
        }
    }

    /// What the configuration says of this CHILD SA's AGGFRAG payloads.
    fn iptfs(&self, child: &str) -> Option<Iptfs> {
        let mut all = self.config.children.iter();
        all.find(|config| config.name == child)?.iptfs
    }

    /// The CHILD SAs that the configuration has and the tunnel has not, while there is an IKE SA.
    fn missing(&self, now: Instant) -> Vec<MissingChild> {
        if self.ike.is_none() {
            return Vec::new();
        }
        let stands = |name: &str| self.children.values().any(|child| child.facts.name == name);
        let missing = self.config.child_names().filter(|name| !stands(name));
        missing
            .map(|name| MissingChild {
                name: name.to_owned(),
                failure: self.missing.get(name).map(|(report, retry)| FailureReport {
                    retry_in_ms: retry.map(|at| ms(at.saturating_duration_since(now))),
                    ..report.clone()
                }),
            })
            .collect()
    }

    /// Something to tell the operator that changes nothing.
    pub fn progress(&self, message: String) -> Progress {
        let failure = match self.state {
            TunnelState::Failed | TunnelState::Connecting => {
                self.failure.as_ref().map(|(report, _)| report.clone())
            }
            TunnelState::Down | TunnelState::Listening | TunnelState::Established | TunnelState::Closing => {
                None
            }
        };
        Progress {
            tunnel: self.config.name.clone(),
            state: self.state,
            message,
            failure,
        }
    }

    fn fail(&mut self, report: FailureReport, retry_in: Option<Duration>, now: Instant) -> Progress {
        self.totals.on_failure(&report.step);
        let message = format!("{}; {}", report.message, report.remedy);
        let report = FailureReport {
            retry_in_ms: retry_in.map(ms),
            ..report
        };
        self.failure = Some((report.clone(), retry_in.map(|wait| now + wait)));
        // A second negotiation that fails takes nothing from one that stands.
        if !self.established() {
            let state = if self.wanted {
                TunnelState::Failed
            } else {
                self.idle()
            };
            self.enter(state, now);
        }
        Progress {
            tunnel: self.config.name.clone(),
            state: self.state,
            message,
            failure: Some(report),
        }
    }

    /// The state while there is no SA.
    fn idle(&self) -> TunnelState {
        match (self.wanted, self.passive()) {
            (false, _) => TunnelState::Down,
            (true, true) => TunnelState::Listening,
            (true, false) if self.on_demand() => TunnelState::Listening,
            (true, false) => TunnelState::Connecting,
        }
    }

    fn enter(&mut self, state: TunnelState, now: Instant) {
        if self.state != state {
            (self.state, self.since) = (state, now);
        }
    }
}

impl Child {
    fn status(&self, now: Instant) -> ChildStatus {
        let facts = &self.facts;
        let count = |of: fn(&Usage) -> u64| self.usage.as_ref().map_or(0, of);
        let bytes = count(|usage| usage.inbound_bytes.max(usage.outbound_bytes));
        let packets = count(|usage| usage.inbound_packets.max(usage.outbound_packets));
        ChildStatus {
            name: facts.name.clone(),
            resource: facts.resource,
            spi_in: facts.inbound_spi.to_string(),
            spi_out: facts.outbound_spi.to_string(),
            suite: facts.suite.clone(),
            encapsulation: match facts.encapsulation {
                Encapsulation::Udp => "udp".into(),
                Encapsulation::None => "esp".into(),
                Encapsulation::Tcp => "tcp".into(),
            },
            local: facts.local.iter().map(ToString::to_string).collect(),
            remote: facts.remote.iter().map(ToString::to_string).collect(),
            packets_in: count(|usage| usage.inbound_packets),
            bytes_in: count(|usage| usage.inbound_bytes),
            packets_out: count(|usage| usage.outbound_packets),
            bytes_out: count(|usage| usage.outbound_bytes),
            age_ms: ms(now.saturating_duration_since(self.since)),
            rekey_in_ms: ms(facts.soft.at.saturating_duration_since(now)),
            rekey_in_bytes: facts.soft.bytes.map(|most| most.saturating_sub(bytes)),
            rekey_in_packets: facts.soft.packets.map(|most| most.saturating_sub(packets)),
            iptfs: None,
        }
    }
}

/// The connection an event belongs to, if it belongs to one.
pub fn connection_of(event: &Event) -> Option<ConnectionId> {
    match event {
        Event::Progress { connection, .. }
        | Event::IkeEstablished { connection, .. }
        | Event::ChildEstablished { connection, .. }
        | Event::Moved { connection, .. }
        | Event::Redirected { connection, .. }
        | Event::ChildClosed { connection, .. }
        | Event::ChildFailed { connection, .. }
        | Event::ReauthFailed { connection, .. }
        | Event::IkeClosed { connection, .. }
        | Event::StatusUnknown { connection, .. } => Some(*connection),
        Event::Failed { connection, .. } => *connection,
        Event::Ignored { .. } => None,
    }
}

/// Milliseconds, for the contract.
pub fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn ike_status(facts: &IkeFacts, age: Duration) -> IkeStatus {
    let by = |means: Option<Means>| match (means, facts.ppk) {
        (None, _) => String::new(),
        (Some(means), false) => means.to_string(),
        (Some(means), true) => format!("{means} + ppk"),
    };
    IkeStatus {
        role: words::role(facts.role).into(),
        spi_i: format!("{:016x}", facts.spi_i),
        spi_r: format!("{:016x}", facts.spi_r),
        suite: facts.suite.clone(),
        local: facts.path.local,
        remote: facts.path.remote,
        nat_local: facts.nat_local,
        nat_remote: facts.nat_remote,
        redirectable: facts.redirectable,
        local_auth: by(facts.local_auth),
        remote_auth: by(facts.remote_auth),
        age_ms: ms(age),
    }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, ms)
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
