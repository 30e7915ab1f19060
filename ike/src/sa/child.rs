//! A CHILD SA: a pair of ESP SAs, one each way (RFC 7296 1.2, 2.17).

use crate::api::{
    ChildFacts, ChildSuite, Direction, Encapsulation, InstallInbound, InstallOutbound, Output, Path, Remove,
    Role, SaKeys, Spi,
};
use crate::config::ConnectionId;
use crate::negotiate::proposal::EspSuite;
use crate::negotiate::selector::TrafficSelector;
use crate::sa::keymat::ChildKeys;

/// What two sides agreed on.
#[derive(Debug)]
pub(crate) struct ChildAgreement {
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
}

/// A CHILD SA and how much of it the dataplane knows.
///
/// Its keys go to the dataplane with the outputs and are not kept longer than until both halves are installed.
#[derive(Debug)]
pub(crate) struct ChildSa {
    agreement: ChildAgreement,
    inbound: Half,
    outbound: Half,
    /// Packets the dataplane has reported so far.
    pub(crate) inbound_packets: u64,
}

/// One direction, on its way from agreed to installed to removed. Each step is taken at most once.
#[derive(Debug)]
enum Half {
    Agreed(SaKeys),
    Installed,
    Removed,
}

impl ChildSa {
    /// An agreed but not yet installed CHILD SA. `role` is ours in the exchange that made it.
    pub(crate) fn new(agreement: ChildAgreement, keys: ChildKeys, role: Role) -> Self {
        let (inbound, outbound) = match role {
            Role::Initiator => (keys.responder, keys.initiator),
            Role::Responder => (keys.initiator, keys.responder),
        };
        Self {
            agreement,
            inbound: Half::Agreed(inbound),
            outbound: Half::Agreed(outbound),
            inbound_packets: 0,
        }
    }

    /// Our SPI.
    pub(crate) fn inbound_spi(&self) -> Spi {
        self.agreement.inbound_spi
    }

    /// The peer's SPI.
    pub(crate) fn outbound_spi(&self) -> Spi {
        self.agreement.outbound_spi
    }

    /// Facts for the status.
    pub(crate) fn facts(&self) -> ChildFacts {
        let agreed = &self.agreement;
        ChildFacts {
            inbound_spi: agreed.inbound_spi,
            outbound_spi: agreed.outbound_spi,
            suite: agreed.suite.to_string(),
            local: agreed.local.clone(),
            remote: agreed.remote.clone(),
            encapsulation: agreed.encapsulation,
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
        }))
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
        match std::mem::replace(self, Self::Installed) {
            Self::Agreed(keys) => Some(keys),
            Self::Installed => None,
            Self::Removed => {
                *self = Self::Removed;
                None
            }
        }
    }

    /// Whether it was installed.
    fn remove(&mut self) -> bool {
        match std::mem::replace(self, Self::Removed) {
            Self::Installed => true,
            Self::Agreed(_) | Self::Removed => false,
        }
    }
}

fn suite(suite: EspSuite) -> ChildSuite {
    ChildSuite {
        encryption: suite.encryption,
        integrity: suite.integrity,
        esn: suite.esn,
    }
}
