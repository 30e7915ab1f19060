//! A conversation by hand: the test says which datagram arrives when, or never, and gets every output as a line of text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use xvpn_ike::api::{Command, Direction, Event, Input, Output, Path, Rekey, Spi};
use xvpn_ike::testing::{ALICE, Faults, LINK, Pair, Who, ip};
use xvpn_ike::wire::{ExchangeType, Header, IkeSpi};

use super::SOON;

/// Two hosts without a network.
pub(crate) struct Table {
    pub(crate) pair: Pair,
    /// What has happened, line by line.
    pub(crate) said: String,
    wires: [Vec<(Path, Vec<u8>)>; 2],
    children: BTreeMap<Spi, String>,
    ikes: BTreeMap<IkeSpi, usize>,
}

impl Table {
    /// A connection that stands: the IKE SA is `ike 0`, Alice receives on `a0`, Bob on `b0`.
    pub(crate) fn new(seed: u64) -> Self {
        let mut pair = Pair::new(seed, Faults::NONE);
        pair.up(Who::Alice);
        assert!(pair.run_until(SOON, Pair::has_settled));
        let mut table = Self {
            pair,
            said: String::new(),
            wires: [Vec::new(), Vec::new()],
            children: BTreeMap::new(),
            ikes: BTreeMap::new(),
        };
        for who in [Who::Alice, Who::Bob] {
            let spis: Vec<Spi> = table.pair.host(who).inbound.keys().copied().collect();
            spis.into_iter().for_each(|spi| table.name(who, spi));
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
        self.line(who, "down");
        self.give(who, Input::Command(Command::Down(LINK)));
    }

    /// The oldest message on the way arrives.
    pub(crate) fn arrive(&mut self, at: Who) {
        self.arrive_nth(at, 0);
    }

    /// A later one overtakes the others.
    pub(crate) fn arrive_nth(&mut self, at: Who, nth: usize) {
        let (path, bytes) = self.wires[index(at)].remove(nth);
        let what = self.describe(&bytes);
        self.line(at, &format!("receives {what}"));
        self.give(at, Input::Datagram { path, bytes: &bytes });
    }

    /// The oldest message on the way vanishes.
    pub(crate) fn lose(&mut self, to: Who) {
        let (_, bytes) = self.wires[index(to)].remove(0);
        let what = self.describe(&bytes);
        self.line(to, &format!("never receives {what}"));
    }

    /// Time passes.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.pair.clock.now() + time;
        let _ = writeln!(self.said, "{time:?} later");
        loop {
            let due =
                |who: Who, pair: &mut Pair| pair.host(who).endpoint.poll_timeout().map(|(at, _)| (at, who));
            let next = [Who::Alice, Who::Bob]
                .into_iter()
                .filter_map(|who| due(who, &mut self.pair))
                .min()
                .filter(|(at, _)| *at <= end);
            let Some((at, who)) = next else { break };
            self.pair.clock.advance_to(at);
            self.give(who, Input::Timeout);
        }
        self.pair.clock.advance_to(end);
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

    fn give(&mut self, who: Who, input: Input<'_>) {
        let now = self.pair.clock.now();
        let outputs = self.pair.host(who).handle(now, input);
        for output in outputs {
            let words = self.output(who, output);
            let _ = writeln!(self.said, "    {words}");
        }
    }

    fn output(&mut self, who: Who, output: Output) -> String {
        match output {
            Output::InstallInbound(sa) => {
                self.name(who, sa.spi);
                format!("install inbound {}", self.children[&sa.spi])
            }
            Output::InstallOutbound(sa) => format!("install outbound {}", self.children[&sa.spi]),
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
                self.wires[index(to)].push((path, transmit.bytes));
                format!("send {what}")
            }
            Output::SetPath { .. } => "set path".into(),
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
            other => panic!("{other:?}"),
        };
        let kind = if header.is_response() {
            "response"
        } else {
            "request"
        };
        let number = self.ike(header.initiator_spi);
        format!("{exchange} {kind} {} on ike {number}", header.message_id)
    }

    fn ike(&mut self, spi: IkeSpi) -> usize {
        let next = self.ikes.len();
        *self.ikes.entry(spi).or_insert(next)
    }

    fn name(&mut self, who: Who, spi: Spi) {
        let letter = match who {
            Who::Alice => 'a',
            Who::Bob => 'b',
        };
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

fn index(who: Who) -> usize {
    match who {
        Who::Alice => 0,
        Who::Bob => 1,
    }
}
