//! IKE_SA_INIT (RFC 7296 1.2, 2.6, 2.7, 2.23).
//!
//! ```text
//! HDR(SPIi, 0), [N(COOKIE), [PS]], SAi1, KEi, Ni, [N+], [V+]   -->
//!                                <--  HDR(SPIi, SPIr), SAr1, KEr, Nr, [N+], [V+], [CERTREQ]
//!                         or     <--  HDR(SPIi, 0), N(COOKIE), [N(PUZZLE)]
//!                         or     <--  HDR(SPIi, 0), N(REDIRECT)
//!                         or     <--  HDR(SPIi, 0), N(INVALID_KE_PAYLOAD) and the like
//! ```

use super::collect::{fixed_data, need, notifies, once, push_notifies};
use super::only_notify;
use crate::crypto::puzzle::Puzzle;
use crate::negotiate::transform::Prf;
use crate::wire::payload::{
    Body, CertificateRequest, KeyExchange, Nonce, Notify, NotifyType, PuzzleSolution, Redirect,
    SecurityAssociation, VendorId,
};
use crate::wire::{Chain, Fault, Malformed, Payload, PayloadType, Payloads};

/// The first message of an IKE SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitRequest {
    /// The responder's cookie, given back (RFC 7296 2.6).
    pub cookie: Option<Vec<u8>>,
    /// The solution of the puzzle that came with the cookie (RFC 8019 7.1.2).
    pub puzzle_solution: Option<PuzzleSolution>,
    /// SAi1.
    pub sa: SecurityAssociation,
    /// KEi.
    pub ke: KeyExchange,
    /// Ni.
    pub nonce: Nonce,
    /// What else the initiator says.
    pub notifies: InitNotifies,
    /// Who made the initiator.
    pub vendor_ids: Vec<VendorId>,
}

/// The answer to an [`InitRequest`]. Nothing vouches for it yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InitResponse {
    /// The responder goes on.
    Accepted(Box<InitAccepted>),
    /// The request shall be repeated with this cookie in front.
    Cookie(Vec<u8>),
    /// The same, and with the solution of this puzzle if the initiator wants to be served under load (RFC 8019 7.1.1).
    Puzzle {
        /// The cookie.
        cookie: Vec<u8>,
        /// What is to be solved.
        puzzle: Puzzle,
    },
    /// The request shall be repeated with a public value of this method.
    InvalidKe(u16),
    /// Another gateway shall be asked (RFC 5685 3).
    Redirect(Redirect),
    /// None of the proposals is acceptable.
    NoProposalChosen,
    /// Any other error notify.
    OtherError(NotifyType),
}

/// A responder that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitAccepted {
    /// SAr1. That it is one proposal, and one of ours, is for the negotiation to check.
    pub sa: SecurityAssociation,
    /// KEr.
    pub ke: KeyExchange,
    /// Nr.
    pub nonce: Nonce,
    /// What else the responder says.
    pub notifies: InitNotifies,
    /// Who made the responder.
    pub vendor_ids: Vec<VendorId>,
    /// CERTREQ.
    pub certificate_requests: Vec<CertificateRequest>,
}

/// The status notifies of IKE_SA_INIT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitNotifies {
    /// NAT_DETECTION_SOURCE_IP: several, if the sender does not know which of its addresses is used.
    pub nat_detection_source: Vec<[u8; 20]>,
    /// NAT_DETECTION_DESTINATION_IP: one; more are accepted.
    pub nat_detection_destination: Vec<[u8; 20]>,
    /// IKEV2_FRAGMENTATION_SUPPORTED (RFC 7383).
    pub fragmentation_supported: bool,
    /// In an answer: solve this before IKE_AUTH (RFC 8019 7.2.1).
    pub puzzle: Option<Puzzle>,
    /// SIGNATURE_HASH_ALGORITHMS (RFC 7427).
    pub signature_hash_algorithms: Vec<u16>,
    /// INTERMEDIATE_EXCHANGE_SUPPORTED (RFC 9242).
    pub intermediate_supported: bool,
    /// All the others that are no errors.
    pub other: Vec<Notify>,
}

impl InitRequest {
    /// Reads the payloads of a request.
    pub fn parse(chain: &Chain<'_>) -> Result<Self, Malformed> {
        let mut slots = Slots::default();
        let mut cookie = None;
        for payload in chain {
            slots.fill(payload)?;
        }
        let mut statuses = InitNotifies::default();
        for item in notifies(chain) {
            let (payload, notify) = item?;
            if notify.kind == NotifyType::COOKIE {
                if cookie.is_some() {
                    return Err(payload.fault(Fault::Duplicate(PayloadType::NOTIFY)));
                }
                cookie = Some(checked_cookie(notify, payload)?);
            } else {
                // RFC 7296 3.10.1: an error type in a request is ignored.
                statuses.take(notify, payload)?;
            }
        }
        Ok(Self {
            cookie,
            puzzle_solution: slots.puzzle_solution,
            sa: need(slots.sa, PayloadType::SA)?,
            ke: need(slots.ke, PayloadType::KE)?,
            nonce: need(slots.nonce, PayloadType::NONCE)?,
            notifies: statuses,
            vendor_ids: slots.vendor_ids,
        })
    }

    /// The payloads in the order of the RFC.
    pub fn emit(&self) -> Payloads {
        let mut payloads = Payloads::new();
        if let Some(cookie) = &self.cookie {
            // RFC 7296 2.6: the cookie is the first payload.
            payloads.push(
                PayloadType::NOTIFY,
                &Notify::with_data(NotifyType::COOKIE, cookie.clone()),
            );
        }
        if let Some(solution) = &self.puzzle_solution {
            payloads.push(PayloadType::PS, solution);
        }
        emit_common(&mut payloads, &self.sa, &self.ke, &self.nonce);
        self.notifies.emit(&mut payloads);
        payloads.push_all(PayloadType::VENDOR_ID, &self.vendor_ids);
        payloads
    }
}

impl InitResponse {
    /// Reads the payloads of a response.
    pub fn parse(chain: &Chain<'_>) -> Result<Self, Malformed> {
        let mut statuses = InitNotifies::default();
        let (mut cookie, mut puzzle, mut redirect) = (None, None, None);
        for item in notifies(chain) {
            let (payload, notify) = item?;
            match notify.kind {
                NotifyType::INVALID_KE_PAYLOAD => {
                    let method = fixed_data(&notify, "INVALID_KE_PAYLOAD data of length", payload)?;
                    return Ok(Self::InvalidKe(u16::from_be_bytes(method)));
                }
                NotifyType::NO_PROPOSAL_CHOSEN => return Ok(Self::NoProposalChosen),
                kind if kind.is_error() => return Ok(Self::OtherError(kind)),
                NotifyType::COOKIE => cookie = Some(checked_cookie(notify, payload)?),
                NotifyType::PUZZLE => puzzle = read_puzzle(&notify, payload)?,
                NotifyType::REDIRECT => redirect = Some(Redirect::parse(&notify.data)?),
                NotifyType(_) => statuses.take(notify, payload)?,
            }
        }
        if let (Some(cookie), None) = (cookie, chain.find(PayloadType::SA)) {
            return Ok(match puzzle {
                Some(puzzle) => Self::Puzzle { cookie, puzzle },
                None => Self::Cookie(cookie),
            });
        }
        if let (Some(redirect), None) = (redirect, chain.find(PayloadType::SA)) {
            return Ok(Self::Redirect(redirect));
        }
        statuses.puzzle = puzzle;
        let mut slots = Slots::default();
        for payload in chain {
            slots.fill(payload)?;
        }
        Ok(Self::Accepted(Box::new(InitAccepted {
            sa: need(slots.sa, PayloadType::SA)?,
            ke: need(slots.ke, PayloadType::KE)?,
            nonce: need(slots.nonce, PayloadType::NONCE)?,
            notifies: statuses,
            vendor_ids: slots.vendor_ids,
            certificate_requests: slots.certificate_requests,
        })))
    }

    /// The payloads in the order of the RFC.
    pub fn emit(&self) -> Payloads {
        match self {
            Self::Accepted(accepted) => accepted.emit(),
            Self::Cookie(cookie) => only_notify(&Notify::with_data(NotifyType::COOKIE, cookie.clone())),
            Self::Puzzle { cookie, puzzle } => {
                let mut payloads = only_notify(&Notify::with_data(NotifyType::COOKIE, cookie.clone()));
                let data = puzzle_data(*puzzle);
                payloads.push(PayloadType::NOTIFY, &Notify::with_data(NotifyType::PUZZLE, data));
                payloads
            }
            Self::InvalidKe(method) => only_notify(&Notify::with_data(
                NotifyType::INVALID_KE_PAYLOAD,
                method.to_be_bytes().to_vec(),
            )),
            Self::Redirect(redirect) => only_notify(&redirect.notify()),
            Self::NoProposalChosen => only_notify(&Notify::new(NotifyType::NO_PROPOSAL_CHOSEN)),
            Self::OtherError(kind) => only_notify(&Notify::new(*kind)),
        }
    }
}

impl InitAccepted {
    fn emit(&self) -> Payloads {
        let mut payloads = Payloads::new();
        emit_common(&mut payloads, &self.sa, &self.ke, &self.nonce);
        self.notifies.emit(&mut payloads);
        payloads.push_all(PayloadType::VENDOR_ID, &self.vendor_ids);
        payloads.push_all(PayloadType::CERTREQ, &self.certificate_requests);
        payloads
    }
}

impl InitNotifies {
    pub(super) fn take(&mut self, notify: Notify, payload: &Payload<'_>) -> Result<(), Malformed> {
        match notify.kind {
            NotifyType::NAT_DETECTION_SOURCE_IP => {
                self.nat_detection_source
                    .push(fixed_data(&notify, NAT_DETECTION, payload)?);
            }
            NotifyType::NAT_DETECTION_DESTINATION_IP => {
                self.nat_detection_destination
                    .push(fixed_data(&notify, NAT_DETECTION, payload)?);
            }
            NotifyType::IKEV2_FRAGMENTATION_SUPPORTED => self.fragmentation_supported = true,
            NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED => self.intermediate_supported = true,
            NotifyType::SIGNATURE_HASH_ALGORITHMS => {
                self.signature_hash_algorithms = hash_algorithms(&notify, payload)?;
            }
            NotifyType(_) if notify.kind.is_error() => {}
            NotifyType(_) => self.other.push(notify),
        }
        Ok(())
    }

    pub(super) fn emit(&self, payloads: &mut Payloads) {
        let mut push = |kind, data| payloads.push(PayloadType::NOTIFY, &Notify::with_data(kind, data));
        for hash in &self.nat_detection_source {
            push(NotifyType::NAT_DETECTION_SOURCE_IP, hash.to_vec());
        }
        for hash in &self.nat_detection_destination {
            push(NotifyType::NAT_DETECTION_DESTINATION_IP, hash.to_vec());
        }
        if let Some(puzzle) = self.puzzle {
            push(NotifyType::PUZZLE, puzzle_data(puzzle));
        }
        if self.fragmentation_supported {
            push(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, Vec::new());
        }
        if !self.signature_hash_algorithms.is_empty() {
            let data = self
                .signature_hash_algorithms
                .iter()
                .flat_map(|hash| hash.to_be_bytes())
                .collect();
            push(NotifyType::SIGNATURE_HASH_ALGORITHMS, data);
        }
        if self.intermediate_supported {
            push(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED, Vec::new());
        }
        push_notifies(payloads, &self.other);
    }
}

#[derive(Default)]
struct Slots {
    puzzle_solution: Option<PuzzleSolution>,
    sa: Option<SecurityAssociation>,
    ke: Option<KeyExchange>,
    nonce: Option<Nonce>,
    vendor_ids: Vec<VendorId>,
    certificate_requests: Vec<CertificateRequest>,
}

impl Slots {
    fn fill(&mut self, payload: &Payload<'_>) -> Result<(), Malformed> {
        match payload.kind {
            PayloadType::PS => once(&mut self.puzzle_solution, payload),
            PayloadType::SA => once(&mut self.sa, payload),
            PayloadType::KE => once(&mut self.ke, payload),
            PayloadType::NONCE => once(&mut self.nonce, payload),
            PayloadType::VENDOR_ID => {
                self.vendor_ids.push(payload.read()?);
                Ok(())
            }
            PayloadType::CERTREQ => {
                self.certificate_requests.push(payload.read()?);
                Ok(())
            }
            PayloadType(_) => Ok(()),
        }
    }
}

fn emit_common(payloads: &mut Payloads, sa: &SecurityAssociation, ke: &KeyExchange, nonce: &Nonce) {
    payloads.push(PayloadType::SA, sa);
    payloads.push(PayloadType::KE, ke);
    payloads.push(PayloadType::NONCE, nonce);
}

/// RFC 7296 2.6: between 1 and 64 octets.
pub(super) fn checked_cookie(notify: Notify, payload: &Payload<'_>) -> Result<Vec<u8>, Malformed> {
    match notify.data.len() {
        1..=64 => Ok(notify.data),
        length => Err(payload.fault(Fault::Length {
            what: "a cookie of length",
            length,
        })),
    }
}

/// RFC 8019 8.1. A PRF that we do not know makes a puzzle that we cannot solve, which is like none (RFC 8019 7.1.2).
fn read_puzzle(notify: &Notify, payload: &Payload<'_>) -> Result<Option<Puzzle>, Malformed> {
    let [high, low, difficulty] = fixed_data(notify, "PUZZLE data of length", payload)?;
    let prf = Prf::from_wire(u16::from_be_bytes([high, low]));
    Ok(prf.map(|prf| Puzzle { prf, difficulty }))
}

/// RFC 8019 8.1.
fn puzzle_data(puzzle: Puzzle) -> Vec<u8> {
    let [high, low] = puzzle.prf.id().to_be_bytes();
    vec![high, low, puzzle.difficulty]
}

/// RFC 7427 4: two octets each.
fn hash_algorithms(notify: &Notify, payload: &Payload<'_>) -> Result<Vec<u16>, Malformed> {
    let (pairs, odd) = notify.data.as_chunks::<2>();
    if !odd.is_empty() {
        let length = notify.data.len();
        return Err(payload.fault(Fault::Length {
            what: "SIGNATURE_HASH_ALGORITHMS data of length",
            length,
        }));
    }
    Ok(pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect())
}

const NAT_DETECTION: &str = "NAT detection data of length";
