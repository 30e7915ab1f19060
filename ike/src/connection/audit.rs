//! What a connection has, for tests: every SPI in use must have an owner, and whoever is named by a message can read it.

use super::Connection;
use crate::api::Spi;
use crate::state::{Request, State};
use crate::wire::{Header, IkeSpi, Opened};

/// The SPIs that something will release some day, and how much else there is.
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    /// Of IKE SAs.
    pub(crate) ike: Vec<IkeSpi>,
    /// Of CHILD SAs.
    pub(crate) esp: Vec<Spi>,
    /// Whatever else may grow: what waits for something, and notes.
    pub(crate) notes: usize,
}

impl Connection {
    /// Adds what it has.
    pub(crate) fn holdings(&self, sum: &mut Holdings) {
        for (spi, state) in &self.sas {
            sum.ike.push(*spi);
            match state {
                State::InitSent(_) | State::ResumeSent(_) | State::IntermediateSent(_) => {}
                State::AuthSent(sent) => sum.esp.extend(sent.child_spi),
                State::Closing(closing) => sum.esp.extend(closing.children.keys()),
                State::Established(established) => {
                    sum.esp.extend(established.children.keys());
                    sum.notes +=
                        established.wants.len() + established.heirs.len() + established.pending.len();
                    for pending in &established.pending {
                        let (ike, esp) = pending.series.spi();
                        sum.ike.extend(ike);
                        sum.esp.extend(esp);
                    }
                    match established.in_flight() {
                        Some(Request::AddChild(sent)) => {
                            sum.esp.push(sent.begun.spi);
                            sum.notes += sent.rivals.len();
                        }
                        Some(Request::RekeyChild(sent)) => {
                            sum.esp.push(sent.begun.spi);
                            sum.notes += sent.rivals.len();
                        }
                        Some(Request::RekeyIke(sent)) => sum.ike.push(sent.spi),
                        Some(Request::FollowUp(sent)) => {
                            let (ike, esp) = sent.series.spi();
                            sum.ike.extend(ike);
                            sum.esp.extend(esp);
                        }
                        Some(
                            Request::Liveness
                            | Request::Ticket
                            | Request::Mobike(_)
                            | Request::DeleteChild(_),
                        )
                        | None => {}
                    }
                }
            }
        }
    }

    /// Opens a message of one of its IKE SAs, whichever side sent it. Changes nothing.
    pub(crate) fn unseal(&self, header: &Header, bytes: &[u8]) -> Option<Opened> {
        self.sas.values().find_map(|state| match state {
            State::InitSent(_) | State::ResumeSent(_) | State::IntermediateSent(_) => None,
            State::AuthSent(sent) => sent.ike.unseal(header, bytes),
            State::Established(established) => established.ike.unseal(header, bytes),
            State::Closing(closing) => closing.ike.unseal(header, bytes),
        })
    }
}
