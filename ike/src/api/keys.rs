//! The keys of SAs, for who asked for them by `Command::ExportKeys`: with them a protocol analyser reads what was captured.

use super::{ChildSuite, Direction, Output, Path, SaKeys, Spi};
use crate::negotiate::transform::{Encryption, Integrity};

/// The keys of one SA. Zeroized on drop, never printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportedKeys {
    /// Of an IKE SA: SK_e* and SK_a* (RFC 7296 2.14). When additional key exchanges replace them (RFC 9370 2.2.2), they
    /// are told again, and the last ones are those of IKE_AUTH and of all that follows.
    Ike(IkeSaKeys),
    /// Of one direction of a CHILD SA (RFC 7296 2.17).
    Child(ChildSaKeys),
}

/// What protects the messages of an IKE SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IkeSaKeys {
    /// The initiator's SPI.
    pub spi_i: u64,
    /// The responder's SPI.
    pub spi_r: u64,
    /// The cipher.
    pub encryption: Encryption,
    /// The integrity algorithm; `None` with an AEAD.
    pub integrity: Option<Integrity>,
    /// SK_ei and SK_ai.
    pub initiator: SaKeys,
    /// SK_er and SK_ar.
    pub responder: SaKeys,
}

/// What protects the packets of one direction of a CHILD SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildSaKeys {
    /// To us or to the peer.
    pub direction: Direction,
    /// The receiver's SPI: the one in the packets.
    pub spi: Spi,
    /// Algorithms.
    pub suite: ChildSuite,
    /// Keys.
    pub keys: SaKeys,
    /// The outer path when they were told.
    pub path: Path,
}

impl ExportedKeys {
    /// The keys that this effect brings into use, if it does.
    pub(crate) fn of(output: &Output) -> Option<Self> {
        match output {
            Output::InstallInbound(sa) => Some(Self::Child(ChildSaKeys {
                direction: Direction::Inbound,
                spi: sa.spi,
                suite: sa.suite.clone(),
                keys: sa.keys.clone(),
                path: sa.path,
            })),
            Output::InstallOutbound(sa) => Some(Self::Child(ChildSaKeys {
                direction: Direction::Outbound,
                spi: sa.spi,
                suite: sa.suite.clone(),
                keys: sa.keys.clone(),
                path: sa.path,
            })),
            Output::Transmit(_)
            | Output::Remove(_)
            | Output::SetPath { .. }
            | Output::Fetch(_)
            | Output::Keys(_)
            | Output::Event(_) => None,
        }
    }
}
