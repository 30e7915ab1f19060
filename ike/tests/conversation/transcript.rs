//! A conversation by hand: the test says which datagram arrives when, or never, and gets every output as a line of text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use xvpn_ike::api::{Command, Direction, Event, Input, Output, Path, Rekey, Spi, Usage};
use xvpn_ike::config::{ConnectionConfig, EndpointConfig};
use xvpn_ike::message::{
    CreateChildRequest, CreateChildResponse, FollowUpRequest, FollowUpResponse, Informational,
};
use xvpn_ike::testing::{ALICE, Faults, Host, LINK, Pair, Who, config, ip};
use xvpn_ike::wire::payload::NotifyType;
use xvpn_ike::wire::{ExchangeType, Header, IkeSpi, Opened};

use super::SOON;

/// Two hosts without a network.
pub(crate) struct Table {
    pub(crate) pair: Pair,
    /// What has happened, line by line.
    pub(crate) said: String,
    wires: [Vec<Letter>; 2],
    children: BTreeMap<Spi, String>,
    ikes: BTreeMap<IkeSpi, usize>,
    /// Somebody takes the connection down, or a CHILD SA is made where there was none: who is asked for it sends at once
    /// (RFC 7296 2.8), and so perhaps before the other one receives.
    pub(crate) loose: bool,
}

/// A message on the way.
struct Letter {
    path: Path,
    bytes: Vec<u8>,
    what: String,
}

impl Table {
    /// A connection that stands: the IKE SA is `ike 0`, Alice receives on `a0`, Bob on `b0`. No message is ever cut.
    pub(crate) fn new(seed: u64, change: impl Fn(&mut ConnectionConfig)) -> Self {
        let with = |who| {
            let mut config = ConnectionConfig {
                fragment_size: 4000,
                ..config(who)
            };
            change(&mut config);
            config
        };
        let (alice, bob) = (with(Who::Alice), with(Who::Bob));
        let children = 1 + alice.more_children.len();
        let mut pair = Pair::with(seed, Faults::NONE, EndpointConfig::default(), alice, bob);
        pair.up(Who::Alice);
        let stands = |pair: &Pair| {
            let host = |host: &Host| host.outbound.len() == children && host.inbound.len() == children;
            host(&pair.alice) && host(&pair.bob)
        };
        assert!(pair.run_until(SOON, stands));
        let mut table = Self {
            pair,
            said: String::new(),
            wires: [Vec::new(), Vec::new()],
            children: BTreeMap::new(),
            ikes: BTreeMap::new(),
            loose: false,
        };
        // The halves of one CHILD SA have the same number, in the order of the networks.
        for who in [Who::Alice, Who::Bob] {
            let mut sas: Vec<_> = table.pair.host(who).inbound.values().cloned().collect();
            sas.sort_by_key(|sa| (sa.local.clone(), sa.remote.clone()));
            sas.into_iter().for_each(|sa| table.give_name(who, sa.spi));
        }
        let message = table.pair.net.tape.last().unwrap().bytes.clone();
        let (header, _) = Header::parse(&message).unwrap();
        table.ikes.insert(header.initiator_spi, 0);
        table
    }

    pub(crate) fn rekey(&mut self, who: Who, what: Rekey) {
        self.line(who, &format!("rekey {what:?}"));
        let connection = LINK;
        self.give(who, Input::Command(Command::Rekey { connection, what }));
    }

    pub(crate) fn down(&mut self, who: Who) {
        self.loose = true;
        self.line(who, "down");
        self.give(who, Input::Command(Command::Down(LINK)));
    }

    /// The dataplane says that the first CHILD SA has reached its hard limit.
    pub(crate) fn wear_out(&mut self, who: Who) {
        let name = format!("{}0", letter(who));
        let spi = self.children.iter().find(|(_, child)| **child == name);
        let inbound_spi = *spi.unwrap().0;
        self.line(who, &format!("has used up {name}"));
        let usage = Usage {
            connection: LINK,
            inbound_spi,
            inbound_bytes: 0,
            inbound_packets: 0,
            outbound_bytes: 0,
            outbound_packets: u64::MAX,
        };
        self.give(who, Input::Usage(usage));
    }

    /// The oldest message on the way arrives.
    pub(crate) fn arrive(&mut self, at: Who) {
        self.arrive_nth(at, 0);
    }

    /// A later one overtakes the others.
    pub(crate) fn arrive_nth(&mut self, at: Who, nth: usize) {
        let Letter { path, bytes, what } = self.wires[index(at)].remove(nth);
        self.line(at, &format!("receives {what}"));
        self.give(at, Input::Datagram { path, bytes: &bytes });
    }

    /// The oldest message on the way vanishes.
    pub(crate) fn lose(&mut self, to: Who) {
        let what = self.wires[index(to)].remove(0).what;
        self.line(to, &format!("never receives {what}"));
    }

    /// Time passes.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.pair.clock.now() + time;
        let _ = writeln!(self.said, "{time:?} later");
        while let Some((at, who)) = self.next_deadline().filter(|(at, _)| *at <= end) {
            self.pair.clock.advance_to(at);
            self.look(who);
        }
        self.pair.clock.advance_to(end);
    }

    /// Time passes, and whatever is on the way arrives at once.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.pair.clock.now() + time;
        let _ = writeln!(self.said, "{time:?} later");
        self.finish();
        while let Some((at, who)) = self.next_deadline().filter(|(at, _)| *at <= end) {
            self.pair.clock.advance_to(at);
            self.look(who);
            self.finish();
        }
        self.pair.clock.advance_to(end);
    }

    fn next_deadline(&self) -> Option<(Instant, Who)> {
        let hosts = [(&self.pair.alice, Who::Alice), (&self.pair.bob, Who::Bob)];
        let due = |(host, who): (&Host, Who)| host.endpoint.poll_timeout().map(|(at, _)| (at, who));
        hosts.into_iter().filter_map(due).min()
    }

    /// Everything on the way arrives, oldest first, until nothing is left to be said.
    pub(crate) fn finish(&mut self) {
        while let Some(at) = [Who::Alice, Who::Bob]
            .into_iter()
            .find(|who| !self.wires[index(*who)].is_empty())
        {
            self.arrive(at);
        }
    }

    /// A deadline has passed.
    fn look(&mut self, who: Who) {
        let before = self.said.len();
        self.line(who, "looks at the clock");
        let line = self.said.len();
        self.give(who, Input::Timeout);
        if self.said.len() == line {
            self.said.truncate(before);
        }
    }

    fn give(&mut self, who: Who, input: Input<'_>) {
        let now = self.pair.clock.now();
        let outputs = self.pair.host(who).handle(now, input);
        // Whoever sends, sends what the other receives, at any time.
        assert!(self.loose || self.pair.agree_on_all(), "{}", self.said);
        for output in outputs {
            if matches!(&output, Output::Event(Event::Progress { .. })) {
                continue;
            }
            let words = self.output(who, output);
            let _ = writeln!(self.said, "    {words}");
        }
    }

    fn output(&mut self, who: Who, output: Output) -> String {
        match output {
            Output::InstallInbound(sa) => {
                self.give_name(who, sa.spi);
                format!("install inbound {}", self.children[&sa.spi])
            }
            Output::InstallOutbound(sa) => {
                let other = match who {
                    Who::Alice => Who::Bob,
                    Who::Bob => Who::Alice,
                };
                self.give_name(other, sa.spi);
                format!("install outbound {}", self.children[&sa.spi])
            }
            Output::Remove(remove) => {
                let direction = match remove.direction {
                    Direction::Inbound => "inbound",
                    Direction::Outbound => "outbound",
                };
                format!("remove {direction} {}", self.children[&remove.spi])
            }
            Output::Transmit(transmit) => {
                let what = self.describe(&transmit.bytes);
                let path = Path {
                    local: transmit.path.remote,
                    remote: transmit.path.local,
                };
                let to = if transmit.path.remote.ip() == ip(ALICE) {
                    Who::Alice
                } else {
                    Who::Bob
                };
                let bytes = transmit.bytes;
                let said = format!("send {what}");
                self.wires[index(to)].push(Letter { path, bytes, what });
                said
            }
            Output::SetPath { .. } => "set path".into(),
            Output::Fetch(_) => "fetch".into(),
            Output::Keys(_) => "keys".into(),
            Output::Event(event) => match event {
                Event::ChildEstablished { child, .. } => {
                    format!("tell: child {} established", self.children[&child.inbound_spi])
                }
                Event::ChildClosed { inbound_spi, .. } => {
                    format!("tell: child {} closed", self.children[&inbound_spi])
                }
                Event::IkeEstablished { ike, .. } => {
                    let number = self.ike(IkeSpi(ike.spi_i));
                    format!("tell: ike {number} established")
                }
                other => format!("tell: {}", super::event_kind(&other)),
            },
        }
    }

    fn describe(&mut self, bytes: &[u8]) -> String {
        let (header, _) = Header::parse(bytes).unwrap();
        let exchange = match header.exchange {
            ExchangeType::CREATE_CHILD_SA => "CREATE_CHILD_SA",
            ExchangeType::INFORMATIONAL => "INFORMATIONAL",
            ExchangeType::IKE_FOLLOWUP_KE => "IKE_FOLLOWUP_KE",
            ExchangeType::IKE_SA_INIT => "IKE_SA_INIT",
            other => panic!("{other:?}"),
        };
        let kind = if header.is_response() {
            "response"
        } else {
            "request"
        };
        let number = self.ike(header.initiator_spi);
        // Who has answered the end of an IKE SA has none of its keys any more; the other one still has.
        let opened = [&self.pair.alice, &self.pair.bob]
            .into_iter()
            .find_map(|host| host.endpoint.unseal(bytes));
        let inside = opened.map_or_else(|| "?".into(), |opened| self.inside(&opened));
        format!(
            "{exchange} {kind} {} on ike {number}: {inside}",
            header.message_id
        )
    }

    /// What a message says.
    fn inside(&self, opened: &Opened) -> String {
        let chain = opened.chain().unwrap();
        let header = opened.header();
        let linked = |notifies: &[xvpn_ike::wire::payload::Notify]| {
            let more = notifies
                .iter()
                .any(|n| n.kind == NotifyType::ADDITIONAL_KEY_EXCHANGE);
            if more { ", more key exchanges" } else { "" }
        };
        match (header.exchange, header.is_response()) {
            (ExchangeType::CREATE_CHILD_SA, false) => match CreateChildRequest::parse(&chain).unwrap() {
                CreateChildRequest::RekeyIke(_) => "replace the IKE SA".into(),
                CreateChildRequest::Child { rekeyed: None, .. } => "another CHILD SA".into(),
                CreateChildRequest::Child {
                    rekeyed: Some(spi), ..
                } => format!("replace {}", self.child(spi)),
            },
            (ExchangeType::CREATE_CHILD_SA, true) => match CreateChildResponse::parse(&chain).unwrap() {
                CreateChildResponse::RekeyIke(new) => format!("agreed{}", linked(&new.other)),
                CreateChildResponse::Child(new) => format!("agreed{}", linked(&new.other)),
                CreateChildResponse::Refused(notify) => notify.kind.to_string(),
            },
            (ExchangeType::IKE_FOLLOWUP_KE, false) => {
                FollowUpRequest::parse(&chain).unwrap();
                "the next key exchange".into()
            }
            (ExchangeType::IKE_FOLLOWUP_KE, true) => match FollowUpResponse::parse(&chain).unwrap() {
                FollowUpResponse::Accepted { link: None, .. } => "done".into(),
                FollowUpResponse::Accepted { link: Some(_), .. } => "one more key exchange".into(),
                FollowUpResponse::Refused(notify) => notify.kind.to_string(),
            },
            (_, _) => {
                let message = Informational::parse(&chain).unwrap();
                let deleted: Vec<_> = message.delete_esp.iter().map(|spi| self.child(*spi)).collect();
                match (
                    message.delete_ike,
                    deleted.is_empty(),
                    message.notifies.is_empty(),
                ) {
                    (true, ..) => "delete the IKE SA".into(),
                    (false, false, _) => format!("delete {}", deleted.join(" ")),
                    (false, true, true) => "nothing".into(),
                    (false, true, false) => {
                        let kinds = message.notifies.iter().map(|notify| notify.kind.to_string());
                        kinds.collect::<Vec<_>>().join(" ")
                    }
                }
            }
        }
    }

    fn child(&self, spi: u32) -> String {
        let name = self.children.get(&Spi(spi));
        name.cloned().unwrap_or_else(|| "an unknown SPI".into())
    }

    fn ike(&mut self, spi: IkeSpi) -> usize {
        let next = self.ikes.len();
        *self.ikes.entry(spi).or_insert(next)
    }

    fn give_name(&mut self, who: Who, spi: Spi) {
        let letter = letter(who);
        let next = self
            .children
            .values()
            .filter(|name| name.starts_with(letter))
            .count();
        self.children
            .entry(spi)
            .or_insert_with(|| format!("{letter}{next}"));
    }

    fn line(&mut self, who: Who, what: &str) {
        let _ = writeln!(self.said, "{who:?} {what}");
    }
}

fn letter(who: Who) -> char {
    match who {
        Who::Alice => 'a',
        Who::Bob => 'b',
    }
}

fn index(who: Who) -> usize {
    match who {
        Who::Alice => 0,
        Who::Bob => 1,
    }
}
