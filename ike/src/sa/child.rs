//! A CHILD SA: a pair of ESP SAs, one each way (RFC 7296 1.2, 2.17), and where it is in its life (2.8).

use std::time::{Duration, Instant};

use crate::api::{
    ChildFacts, ChildSaKeys, ChildSuite, Direction, Encapsulation, ExportedKeys, InstallInbound,
    InstallOutbound, Output, Path, Remove, Role, SaKeys, Spi,
};
use crate::config::{Aggfrag, ChildId, ConnectionConfig, ConnectionId};
use crate::negotiate::proposal::EspSuite;
use crate::negotiate::selector::TrafficSelector;
use crate::sa::keymat::ChildKeys;
use crate::sa::lifetime::Limits;
use crate::timers::after;

/// What two sides agreed on.
#[derive(Debug)]
pub(crate) struct ChildAgreement {
    /// Which of the connection's CHILD SAs it is.
    pub(crate) id: ChildId,
    /// The queue or CPU that it is for; `None`: any (RFC 9611).
    pub(crate) resource: Option<u32>,
    /// Our SPI.
    pub(crate) inbound_spi: Spi,
    /// The peer's SPI.
    pub(crate) outbound_spi: Spi,
    /// Algorithms.
    pub(crate) suite: EspSuite,
    /// The networks behind us.
    pub(crate) local: Vec<TrafficSelector>,
    /// The networks behind the peer.
    pub(crate) remote: Vec<TrafficSelector>,
    /// In UDP or not.
    pub(crate) encapsulation: Encapsulation,
    /// The peer is an xvpn.
    pub(crate) xvpn: bool,
    /// The peer receives it on another queue than other SAs of ours.
    pub(crate) apart: bool,
    /// ESP may come to the peer from any UDP port.
    pub(crate) any_port: bool,
    /// It carries AGGFRAG payloads; what the peer does with them (RFC 9347).
    pub(crate) aggfrag: Option<Aggfrag>,
}

/// A CHILD SA and how much of it the dataplane knows.
///
/// Its keys go to the dataplane with the outputs; they are kept until it is removed, as the dataplane keeps them, for an
/// operator who wants to read what was captured of an SA that stands.
#[derive(Debug)]
pub(crate) struct ChildSa {
    agreement: ChildAgreement,
    inbound: Half,
    outbound: Half,
    /// Packets the dataplane has reported so far.
    pub(crate) inbound_packets: u64,
    /// Where it is in its life.
    pub(crate) stage: Stage,
    /// When the stage ends by itself, if it does.
    pub(crate) deadline: Option<Instant>,
    /// When it stops receiving, whatever still arrives.
    drained: Option<Instant>,
    /// The exchange that made it, if that was not IKE_AUTH.
    pub(crate) origin: Option<Origin>,
    /// How long it may be used.
    pub(crate) limits: Limits,
    /// It is to be replaced, not before this time.
    pub(crate) worn: Option<Instant>,
    /// The operator was told of it.
    pub(crate) announced: bool,
}

/// Where a CHILD SA is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It is used both ways.
    Current,
    /// The peer made it in the place of another. It receives; it sends once the peer has shown that it receives too.
    Young,
    /// It lost against another. The peer made it and is to delete it.
    Redundant,
    /// It is to be deleted by us as soon as a request may be sent.
    Doomed,
    /// Our delete awaits its answer.
    Deleting,
    /// Neither side sends on it. What is still on the way is received.
    Draining,
}

/// The CREATE_CHILD_SA exchange that made a CHILD SA.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// Our SPI of the one in whose place it was made, if it was made by rekeying.
    pub(crate) replaced: Option<Spi>,
    /// Our side of the exchange.
    pub(crate) role: Role,
    /// When it was.
    pub(crate) at: Instant,
    /// The lower of its two nonces (RFC 7296 2.8.1).
    pub(crate) lowest: Vec<u8>,
}

/// One direction, on its way from agreed to installed to removed. Each step is taken at most once.
#[derive(Debug)]
enum Half {
    Agreed(SaKeys),
    Installed(SaKeys),
    Removed,
}

impl ChildSa {
    /// An agreed but not yet installed CHILD SA. `role` is ours in the exchange that made it.
    pub(crate) fn new(agreement: ChildAgreement, keys: ChildKeys, role: Role, limits: Limits) -> Self {
        let (inbound, outbound) = match role {
            Role::Initiator => (keys.responder, keys.initiator),
            Role::Responder => (keys.initiator, keys.responder),
        };
        Self {
            agreement,
            inbound: Half::Agreed(inbound),
            outbound: Half::Agreed(outbound),
            inbound_packets: 0,
            stage: Stage::Current,
            deadline: None,
            drained: None,
            origin: None,
            limits,
            worn: None,
            announced: false,
        }
    }

    /// Enters a stage, which ends by itself at the deadline if there is one.
    pub(crate) fn enter(&mut self, stage: Stage, deadline: Option<Instant>) {
        (self.stage, self.deadline) = (stage, deadline);
    }

    /// Neither side sends on it any more: what is on the way is received for a while.
    pub(crate) fn drain(&mut self, now: Instant) {
        self.enter(Stage::Draining, Some(after(now, DRAIN)));
        self.drained.get_or_insert(after(now, DRAIN_AT_MOST));
    }

    /// Something has arrived on it, so more may: the time on the way counts from now.
    pub(crate) fn drain_on(&mut self, now: Instant) {
        if self.stage == Stage::Draining {
            let latest = self.drained.unwrap_or(now);
            self.deadline = Some(after(now, DRAIN).min(latest));
        }
    }

    /// Whether nothing can be on the way any more. Who looks much later than it wanted to was kept from running, and so
    /// were the threads that receive, perhaps: what arrived meanwhile still waits for them.
    pub(crate) fn is_drained(&mut self, now: Instant) -> bool {
        let over = |at: Option<Instant>, grace| at.is_none_or(|at| at + grace <= now);
        if over(self.deadline, LATE) && !over(self.drained, Duration::ZERO) {
            self.drain_on(now);
        }
        over(self.deadline, Duration::ZERO)
    }

    /// Traffic is or will be sent on it.
    pub(crate) fn lives(&self) -> bool {
        match self.stage {
            Stage::Current | Stage::Young => true,
            Stage::Redundant | Stage::Doomed | Stage::Deleting | Stage::Draining => false,
        }
    }

    /// It was made in the place of this one.
    pub(crate) fn replaces(&self, old: Spi) -> bool {
        self.origin
            .as_ref()
            .is_some_and(|origin| origin.replaced == Some(old))
    }

    /// Which of the connection's CHILD SAs it is.
    pub(crate) fn id(&self) -> ChildId {
        self.agreement.id
    }

    /// The queue or CPU that it is for; `None`: any.
    pub(crate) fn resource(&self) -> Option<u32> {
        self.agreement.resource
    }

    /// It carries AGGFRAG payloads; what the peer does with them.
    pub(crate) fn aggfrag(&self) -> Option<Aggfrag> {
        self.agreement.aggfrag
    }

    /// The networks of both sides: ours, the peer's.
    pub(crate) fn selectors(&self) -> (&[TrafficSelector], &[TrafficSelector]) {
        (&self.agreement.local, &self.agreement.remote)
    }

    /// Our SPI.
    pub(crate) fn inbound_spi(&self) -> Spi {
        self.agreement.inbound_spi
    }

    /// The peer's SPI.
    pub(crate) fn outbound_spi(&self) -> Spi {
        self.agreement.outbound_spi
    }

    /// ESP goes in UDP from now on, or no longer (RFC 4555 3.5).
    pub(crate) fn encapsulate(&mut self, encapsulation: Encapsulation) {
        self.agreement.encapsulation = encapsulation;
    }

    /// Facts for the status.
    pub(crate) fn facts(&self, config: &ConnectionConfig) -> ChildFacts {
        let agreed = &self.agreement;
        ChildFacts {
            name: config.child(agreed.id).name.to_owned(),
            resource: agreed.resource,
            inbound_spi: agreed.inbound_spi,
            outbound_spi: agreed.outbound_spi,
            suite: agreed.suite.to_string(),
            local: agreed.local.clone(),
            remote: agreed.remote.clone(),
            encapsulation: agreed.encapsulation,
            aggfrag: agreed.aggfrag,
            soft: self.limits.soft(),
        }
    }

    /// Installs the inbound half, unless that was done.
    pub(crate) fn install_inbound(&mut self, connection: ConnectionId, path: Path) -> Option<Output> {
        let keys = self.inbound.install()?;
        let agreed = &self.agreement;
        Some(Output::InstallInbound(InstallInbound {
            connection,
            spi: agreed.inbound_spi,
            suite: suite(agreed.suite),
            keys,
            local: agreed.local.clone(),
            remote: agreed.remote.clone(),
            encapsulation: agreed.encapsulation,
            path,
            resource: agreed.resource,
            aggfrag: agreed.aggfrag,
        }))
    }

    /// Installs the outbound half, unless that was done: the keys of an outbound SA are installed once, because
    /// its sequence numbers, which are the nonces of an AEAD, start over with it (RFC 4106 3.1).
    pub(crate) fn install_outbound(&mut self, connection: ConnectionId, path: Path) -> Option<Output> {
        let keys = self.outbound.install()?;
        let agreed = &self.agreement;
        Some(Output::InstallOutbound(InstallOutbound {
            connection,
            spi: agreed.outbound_spi,
            inbound_spi: agreed.inbound_spi,
            suite: suite(agreed.suite),
            keys,
            local: agreed.local.clone(),
            remote: agreed.remote.clone(),
            encapsulation: agreed.encapsulation,
            path,
            resource: agreed.resource,
            child: agreed.id,
            xvpn: agreed.xvpn,
            apart: agreed.apart,
            any_port: agreed.any_port,
            aggfrag: agreed.aggfrag,
        }))
    }

    /// The keys of the halves that are installed, for an operator who wants to read its packets.
    pub(crate) fn exported(&self, path: Path) -> impl Iterator<Item = ExportedKeys> {
        let agreed = &self.agreement;
        let halves = [
            (Direction::Inbound, agreed.inbound_spi, &self.inbound),
            (Direction::Outbound, agreed.outbound_spi, &self.outbound),
        ];
        let suite = suite(agreed.suite);
        halves.into_iter().filter_map(move |(direction, spi, half)| {
            Some(ExportedKeys::Child(ChildSaKeys {
                direction,
                spi,
                suite: suite.clone(),
                keys: half.in_use()?.clone(),
                path,
            }))
        })
    }

    /// Removes the outbound half if it was installed.
    pub(crate) fn remove_outbound(&mut self, connection: ConnectionId) -> Option<Output> {
        let spi = self.agreement.outbound_spi;
        self.outbound.remove().then_some(Output::Remove(Remove {
            connection,
            direction: Direction::Outbound,
            spi,
        }))
    }

    /// Removes the inbound half if it was installed.
    pub(crate) fn remove_inbound(&mut self, connection: ConnectionId) -> Option<Output> {
        let spi = self.agreement.inbound_spi;
        self.inbound.remove().then_some(Output::Remove(Remove {
            connection,
            direction: Direction::Inbound,
            spi,
        }))
    }
}

impl Half {
    fn install(&mut self) -> Option<SaKeys> {
        let (half, installed) = match std::mem::replace(self, Self::Removed) {
            Self::Agreed(keys) => (Self::Installed(keys.clone()), Some(keys)),
            other @ (Self::Installed(_) | Self::Removed) => (other, None),
        };
        *self = half;
        installed
    }

    /// The keys, while they are in use.
    fn in_use(&self) -> Option<&SaKeys> {
        match self {
            Self::Installed(keys) => Some(keys),
            Self::Agreed(_) | Self::Removed => None,
        }
    }

    /// Whether it was installed.
    fn remove(&mut self) -> bool {
        match std::mem::replace(self, Self::Removed) {
            Self::Installed(_) => true,
            Self::Agreed(_) | Self::Removed => false,
        }
    }
}

/// How long packets may be on the way.
const DRAIN: Duration = Duration::from_secs(5);
/// The same for a peer that does not stop.
const DRAIN_AT_MOST: Duration = Duration::from_secs(60);
/// A deadline is looked at within this time by a process that gets a CPU.
const LATE: Duration = Duration::from_secs(1);

fn suite(suite: EspSuite) -> ChildSuite {
    ChildSuite {
        encryption: suite.encryption,
        integrity: suite.integrity,
        esn: suite.esn,
    }
}
