//! Messages that are no IKEv2: another major version (RFC 7296 2.5), or no IKE at all.

use std::time::Instant;

use super::Endpoint;
use super::first::likely;
use crate::api::{Event, Path};
use crate::config::ConnectionId;
use crate::connection::Connection;
use crate::error::{Cause, Exchange, Failure, Ignore};
use crate::message::{build_plain, only_notify};
use crate::wire::payload::{Notify, NotifyType};
use crate::wire::{ExchangeType, Fault, Flags, Header, IkeSpi, Malformed};

/// What can be read of the header of another version: the first octets are the same in all (RFC 7296 3.1, RFC 2408 3.1).
struct Foreign {
    major: u8,
    spi_i: IkeSpi,
    spi_r: IkeSpi,
    exchange: u8,
    flags: Flags,
    message_id: u32,
}

impl Endpoint {
    /// A datagram without the header of an IKEv2 message. Changes nothing, but another version may get an answer, and
    /// the operator a word.
    pub(super) fn on_no_header(
        &mut self,
        now: Instant,
        path: Path,
        bytes: &[u8],
        malformed: &Malformed,
    ) -> Ignore {
        match (&malformed.fault, Foreign::read(bytes)) {
            (Fault::Truncated { .. }, _) => Ignore::Truncated,
            (Fault::MajorVersion(_), Some(foreign)) => {
                self.on_other_version(now, path, &foreign, bytes.len());
                Ignore::WrongVersion
            }
            (Fault::MajorVersion(_), None) => Ignore::WrongVersion,
            (Fault::Length { .. } | Fault::Value { .. }, _) => Ignore::NotIke,
            (
                Fault::Trailing { .. }
                | Fault::TooMany { .. }
                | Fault::UnsupportedCritical(_)
                | Fault::Missing(_)
                | Fault::Duplicate(_),
                _,
            ) => Ignore::Malformed,
        }
    }

    fn on_other_version(&mut self, now: Instant, path: Path, foreign: &Foreign, received: usize) {
        if self.spis.owner(foreign.spi_i).is_some() {
            // What answers to our request in another version speaks no IKEv2. A suspicion: anybody can have written it.
            return self.suspect_version(now, path, foreign);
        }
        let candidates = self.candidates(path);
        // Strangers are told nothing, and answers are not answered: two hosts must never keep each other busy.
        if candidates.is_empty() || !foreign.begins() {
            return;
        }
        let (mut cx, connections, admission) = self.split(now);
        if admission.versions.take(now, path.remote.ip()) {
            let answer = foreign.answer();
            // Nobody gets more octets than it sent.
            if answer.len() <= received {
                cx.transmit(path, answer);
            }
        }
        if admission.version_reports.take(now, path.remote.ip()) {
            let waits = |id: &ConnectionId| connections.get(id).is_some_and(Connection::waits_for_peer);
            cx.event(Event::Failed {
                connection: likely(&candidates).filter(waits),
                path,
                failure: foreign.failure(),
                retry_in: None,
            });
        }
    }

    fn suspect_version(&mut self, now: Instant, path: Path, foreign: &Foreign) {
        let cause = foreign.failure().cause;
        let (cx, connections, _) = self.split(now);
        for connection in connections.values_mut() {
            connection.suspect(cx.now, foreign.spi_i, path, cause.clone());
        }
    }
}

impl Foreign {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (spi_i, rest) = bytes.split_first_chunk::<8>()?;
        let (spi_r, rest) = rest.split_first_chunk::<8>()?;
        let (&[_, version, exchange, flags], rest) = rest.split_first_chunk::<4>()?;
        let (message_id, _) = rest.split_first_chunk::<4>()?;
        Some(Self {
            major: version >> 4,
            spi_i: IkeSpi(u64::from_be_bytes(*spi_i)),
            spi_r: IkeSpi(u64::from_be_bytes(*spi_r)),
            exchange,
            flags: Flags::from_octet(flags),
            message_id: u32::from_be_bytes(*message_id),
        })
    }

    /// The first message of a negotiation: Main Mode or Aggressive Mode of IKEv1 (RFC 2408 3.1), IKE_SA_INIT of what comes
    /// after IKEv2.
    fn begins(&self) -> bool {
        let first = self.spi_r.is_zero() && !self.spi_i.is_zero();
        let exchange = match self.major {
            0 | 1 => matches!(self.exchange, MAIN_MODE | AGGRESSIVE_MODE),
            _ => self.exchange == ExchangeType::IKE_SA_INIT.0 && !self.flags.response,
        };
        first && exchange
    }

    /// RFC 7296 2.5 and 1.5: INVALID_MAJOR_VERSION without data, for the header says which version is spoken here; exchange
    /// type, SPIs and message ID are those of the request.
    fn answer(&self) -> Vec<u8> {
        let header = Header {
            initiator_spi: self.spi_i,
            responder_spi: self.spi_r,
            exchange: ExchangeType(self.exchange),
            flags: Flags {
                initiator: false,
                version: false,
                response: true,
            },
            message_id: self.message_id,
        };
        build_plain(
            &header,
            &only_notify(&Notify::new(NotifyType::INVALID_MAJOR_VERSION)),
        )
    }

    fn failure(&self) -> Failure {
        Failure::new(Exchange::IkeSaInit, Cause::OtherVersion { major: self.major })
    }
}

/// "Identity Protection" (RFC 2408 3.1).
const MAIN_MODE: u8 = 2;
/// "Aggressive" (RFC 2408 3.1).
const AGGRESSIVE_MODE: u8 = 4;
