//! An inbound SA: checks the window, opens, accepts.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::aead::Transform;
use super::outbound::{IPV4, IPV6};
use super::{BadKeys, Refusal, ReplayWindow, Selectors, UsageCounter};
use crate::api::{Encapsulation, InboundSpec, Spi, TunnelId};
use crate::buffer::Packet;
use crate::discard::Discard;
use crate::esp::demux::Datagram;
use crate::esp::reassembly::Reassembly;
use crate::esp::{aggfrag, padding};
use crate::ip::header;

/// What is needed to receive on one CHILD SA.
///
/// Concurrency: shared by all queues; window and usage are atomics.
pub struct InboundSa {
    tunnel: TunnelId,
    spi: Spi,
    esn: bool,
    selectors: Selectors,
    transform: Transform,
    window: ReplayWindow,
    usage: UsageCounter,
    reassembly: Option<Box<Mutex<Reassembly>>>,
}

/// A packet that was authentic and new; what is inside it is still to be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its whole sequence number.
    pub sequence: u64,
}

impl InboundSa {
    /// An SA that has received nothing yet.
    pub fn new(spec: &InboundSpec) -> Result<Self, BadKeys> {
        Ok(Self {
            tunnel: spec.tunnel,
            spi: spec.spi,
            esn: spec.esn,
            selectors: Selectors {
                local: spec.local.clone(),
                remote: spec.remote.clone(),
            },
            transform: Transform::new(spec.suite, &spec.keys)?,
            window: ReplayWindow::new(spec.replay_window),
            usage: UsageCounter::default(),
            reassembly: spec.aggfrag.then(Box::default),
        })
    }

    /// The same, with the right edge of the window at `highest`. For tests near the end of the numbers.
    pub fn after(spec: &InboundSpec, highest: u64) -> Result<Self, BadKeys> {
        Ok(Self {
            window: ReplayWindow::after(highest, spec.replay_window),
            ..Self::new(spec)?
        })
    }

    /// Makes the inner packet, or the AGGFRAG payload (with traffic flow padding, if any) of an ESP packet, in place.
    ///
    /// RFC 4303 3.4: window check, ICV, window accept, in that order; only then is the plaintext looked at.
    /// On failure the packet holds rubbish.
    pub fn open(&self, packet: &mut Packet) -> Result<Opened, Discard> {
        let sequence = match Datagram::parse(packet.octets(), Encapsulation::None) {
            Datagram::Esp { spi, sequence } if spi == self.spi => sequence,
            Datagram::Esp { .. } | Datagram::Ike(_) => return Err(Discard::UnknownSpi),
            Datagram::None(reason) => return Err(reason),
        };
        let seq = if self.esn {
            self.window.extend(sequence).ok_or(Discard::OutsideWindow)?
        } else {
            u64::from(sequence)
        };
        self.window.check(seq).map_err(discard)?;
        let opened = self
            .transform
            .open(self.spi.0, seq, self.esn, packet.octets_mut());
        opened.map_err(|reason| {
            let late = reason == Discard::BadIcv && self.esn && self.window.is_far_ahead(seq);
            if late { Discard::OutsideWindow } else { reason }
        })?;
        self.window.accept(seq).map_err(discard)?;

        let layout = self.transform.layout();
        packet.trim_front(layout.front());
        packet.truncate(packet.len().saturating_sub(layout.icv));
        let (len, next_header) = padding::parse(packet.octets())?;
        packet.truncate(len);
        let expected = match (next_header, &self.reassembly) {
            (IPV4, None) => 4,
            (IPV6, None) => 6,
            // RFC 9347 2.3: nothing else on such an SA.
            (aggfrag::NEXT_HEADER, Some(_)) => return Ok(Opened { sequence: seq }),
            _ => return Err(Discard::NextHeader),
        };
        if header::version(packet.octets()) != Some(expected) {
            return Err(Discard::MalformedInner);
        }
        Ok(Opened { sequence: seq })
    }

    /// Whose TUN gets the packets.
    pub fn tunnel(&self) -> TunnelId {
        self.tunnel
    }

    /// Our SPI.
    pub fn spi(&self) -> Spi {
        self.spi
    }

    /// What it may carry.
    pub fn selectors(&self) -> &Selectors {
        &self.selectors
    }

    /// Whether it carries AGGFRAG payloads.
    pub fn is_aggfrag(&self) -> bool {
        self.reassembly.is_some()
    }

    /// What makes inner packets of its AGGFRAG payloads; `None`: it carries single packets.
    pub fn reassembly(&self) -> Option<MutexGuard<'_, Reassembly>> {
        let reassembly = self.reassembly.as_ref()?;
        Some(reassembly.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What was accepted.
    pub fn window(&self) -> &ReplayWindow {
        &self.window
    }

    /// What it has carried.
    pub fn usage(&self) -> &UsageCounter {
        &self.usage
    }
}

fn discard(refusal: Refusal) -> Discard {
    match refusal {
        Refusal::Replayed => Discard::Replayed,
        Refusal::OutsideWindow => Discard::OutsideWindow,
    }
}

impl fmt::Debug for InboundSa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboundSa")
            .field("tunnel", &self.tunnel)
            .field("spi", &self.spi)
            .finish_non_exhaustive()
    }
}
