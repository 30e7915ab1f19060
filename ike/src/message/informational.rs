//! INFORMATIONAL (RFC 7296 1.4).
//!
//! ```text
//! HDR, SK {[N+], [D+], [CP]}   -->   <--   HDR, SK {[N+], [D+], [CP]}
//! ```
//!
//! Requests and responses have the same form. An empty one is a liveness check, or its answer (RFC 7296 2.4).

use super::collect::push_notifies;
use crate::wire::payload::{Delete, Notify};
use crate::wire::{Chain, Malformed, PayloadType, Payloads};

/// Deletes and notifies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Informational {
    /// The IKE SA this travels in is deleted.
    pub delete_ike: bool,
    /// CHILD SAs are deleted: the SPIs the sender received on.
    pub delete_esp: Vec<u32>,
    /// Errors and statuses.
    pub notifies: Vec<Notify>,
}

impl Informational {
    /// Deletes the IKE SA.
    pub fn delete_ike() -> Self {
        Self {
            delete_ike: true,
            ..Self::default()
        }
    }

    /// Deletes CHILD SAs.
    pub fn delete_esp(spis: Vec<u32>) -> Self {
        Self {
            delete_esp: spis,
            ..Self::default()
        }
    }

    /// Asks for a sign of life, or gives one.
    pub fn liveness() -> Self {
        Self::default()
    }

    /// It asks for nothing but a sign of life.
    pub fn is_empty(&self) -> bool {
        !self.delete_ike && self.delete_esp.is_empty() && self.notifies.is_empty()
    }

    /// Reads the payloads. Configuration and SAs of AH are ignored: there are none here.
    pub fn parse(chain: &Chain<'_>) -> Result<Self, Malformed> {
        let mut message = Self::default();
        for payload in chain {
            match payload.kind {
                PayloadType::DELETE => match payload.read()? {
                    Delete::Ike => message.delete_ike = true,
                    Delete::Esp(spis) => message.delete_esp.extend(spis),
                    Delete::Ah(_) => {}
                },
                PayloadType::NOTIFY => message.notifies.push(payload.read()?),
                PayloadType(_) => {}
            }
        }
        Ok(message)
    }

    /// The payloads in the order of the RFC.
    pub fn emit(&self) -> Payloads {
        let mut payloads = Payloads::new();
        push_notifies(&mut payloads, &self.notifies);
        if !self.delete_esp.is_empty() {
            payloads.push(PayloadType::DELETE, &Delete::Esp(self.delete_esp.clone()));
        }
        if self.delete_ike {
            payloads.push(PayloadType::DELETE, &Delete::Ike);
        }
        payloads
    }
}
