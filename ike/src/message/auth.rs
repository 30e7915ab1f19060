//! IKE_AUTH (RFC 7296 1.2, 2.15, 2.21.2).
//!
//! ```text
//! HDR, SK {IDi, [CERT+], [N(INITIAL_CONTACT)], [CERTREQ+], [IDr], AUTH, [CP], SAi2, TSi, TSr, [N+], [V+]}  -->
//!                 <--  HDR, SK {IDr, [CERT+], AUTH, [CP], SAr2, TSi, TSr, [N+], [V+]}
//!          or     <--  HDR, SK {IDr, [CERT+], AUTH, N(TS_UNACCEPTABLE)}: the IKE SA stands, the CHILD SA does not
//!          or     <--  HDR, SK {IDr, [CERT+], AUTH, N(REDIRECT)}: the same, and another gateway is to be asked
//!          or     <--  HDR, SK {N(AUTHENTICATION_FAILED)}
//! ```

use super::collect::{need, notifies, once, push_notifies};
use crate::wire::payload::{
    Authentication, Certificate, CertificateRequest, Identification, Notify, NotifyType, SecurityAssociation,
    TrafficSelectors,
};
use crate::wire::{Chain, Malformed, Payload, PayloadType, Payloads};

/// The initiator shows who it is and asks for the first CHILD SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthRequest {
    /// IDi.
    pub idi: Identification,
    /// IDr: whom the initiator wants to talk to.
    pub idr: Option<Identification>,
    /// AUTH. Missing with EAP only, which is not spoken here, so that it is required.
    pub auth: Authentication,
    /// CERT.
    pub certificates: Vec<Certificate>,
    /// CERTREQ.
    pub certificate_requests: Vec<CertificateRequest>,
    /// INITIAL_CONTACT (RFC 7296 2.4).
    pub initial_contact: bool,
    /// MOBIKE_SUPPORTED (RFC 4555).
    pub mobike_supported: bool,
    /// The CHILD SA asked for; none in a childless initiation (RFC 6023 5).
    pub child: Option<ChildOffer>,
    /// A configuration payload was there: the peer wants an address.
    pub wants_configuration: bool,
    /// All other notifies that are no errors.
    pub other: Vec<Notify>,
}

/// What a CHILD SA shall be or is: the common part of IKE_AUTH and CREATE_CHILD_SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildOffer {
    /// SAi2 or SAr2.
    pub sa: SecurityAssociation,
    /// TSi.
    pub tsi: TrafficSelectors,
    /// TSr.
    pub tsr: TrafficSelectors,
    /// USE_TRANSPORT_MODE (RFC 7296 1.3.1).
    pub transport_mode: bool,
    /// ESP_TFC_PADDING_NOT_SUPPORTED (RFC 7296 1.3.1).
    pub no_tfc_padding: bool,
    /// USE_AGGFRAG (RFC 9347 5.1).
    pub aggfrag: Option<Notify>,
}

/// The answer to an [`AuthRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthResponse {
    /// The responder shows who it is. Whether that is true is still to be verified.
    Accepted(Box<AuthAccepted>),
    /// The responder refuses the IKE SA: an error notify and no AUTH (RFC 7296 2.21.2).
    Refused(Notify),
}

/// A responder that shows who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthAccepted {
    /// IDr.
    pub idr: Identification,
    /// AUTH.
    pub auth: Authentication,
    /// CERT.
    pub certificates: Vec<Certificate>,
    /// MOBIKE_SUPPORTED (RFC 4555).
    pub mobike_supported: bool,
    /// The first CHILD SA, or why there is none.
    pub child: ChildAnswer,
    /// All other notifies that are no errors.
    pub other: Vec<Notify>,
}

/// What became of the CHILD SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChildAnswer {
    /// It is this.
    Accepted(ChildOffer),
    /// It is refused, by an error or by REDIRECT (RFC 5685 6); the IKE SA stands nevertheless (RFC 7296 1.2).
    Refused(Notify),
    /// None was asked for (RFC 6023 5).
    Absent,
}

impl AuthRequest {
    /// Reads the payloads of a request.
    pub fn parse(chain: &Chain<'_>) -> Result<Self, Malformed> {
        let slots = Slots::fill(chain)?;
        let statuses = Statuses::collect(chain)?;
        let child = slots.child.asked(&statuses)?;
        Ok(Self {
            idi: need(slots.idi, PayloadType::IDI)?,
            idr: slots.idr,
            auth: need(slots.auth, PayloadType::AUTH)?,
            certificates: slots.certificates,
            certificate_requests: slots.certificate_requests,
            initial_contact: statuses.initial_contact,
            mobike_supported: statuses.mobike_supported,
            child,
            wants_configuration: chain.find(PayloadType::CP).is_some(),
            other: statuses.other,
        })
    }

    /// The payloads in the order of the RFC. A configuration payload is never sent.
    pub fn emit(&self) -> Payloads {
        let mut payloads = Payloads::new();
        payloads.push(PayloadType::IDI, &self.idi);
        payloads.push_all(PayloadType::CERT, &self.certificates);
        push_flag(&mut payloads, NotifyType::INITIAL_CONTACT, self.initial_contact);
        payloads.push_all(PayloadType::CERTREQ, &self.certificate_requests);
        payloads.push_some(PayloadType::IDR, self.idr.as_ref());
        payloads.push(PayloadType::AUTH, &self.auth);
        if self.wants_configuration {
            payloads.push_octets(PayloadType::CP, &EMPTY_REQUEST);
        }
        if let Some(child) = &self.child {
            child.emit(&mut payloads);
        }
        push_flag(&mut payloads, NotifyType::MOBIKE_SUPPORTED, self.mobike_supported);
        push_notifies(&mut payloads, &self.other);
        payloads
    }
}

impl AuthResponse {
    /// Reads the payloads of a response.
    pub fn parse(chain: &Chain<'_>) -> Result<Self, Malformed> {
        let mut statuses = Statuses::collect(chain)?;
        // RFC 7296 2.21.2: an error without AUTH means that there is no IKE SA.
        if let (None, Some(error)) = (chain.find(PayloadType::AUTH), &statuses.error) {
            return Ok(Self::Refused(error.clone()));
        }
        let slots = Slots::fill(chain)?;
        // RFC 5685 6: there is no CHILD SA then, whatever else the message says.
        let mut others = statuses.other.iter();
        let redirect = others.position(|notify| notify.kind == NotifyType::REDIRECT);
        let child = match redirect.map(|place| statuses.other.remove(place)) {
            Some(redirect) => ChildAnswer::Refused(redirect),
            None => slots.child.answer_or_none(&statuses)?,
        };
        Ok(Self::Accepted(Box::new(AuthAccepted {
            idr: need(slots.idr, PayloadType::IDR)?,
            auth: need(slots.auth, PayloadType::AUTH)?,
            certificates: slots.certificates,
            mobike_supported: statuses.mobike_supported,
            child,
            other: statuses.other,
        })))
    }

    /// The payloads in the order of the RFC.
    pub fn emit(&self) -> Payloads {
        match self {
            Self::Accepted(accepted) => accepted.emit(),
            Self::Refused(notify) => super::only_notify(notify),
        }
    }
}

impl AuthAccepted {
    fn emit(&self) -> Payloads {
        let mut payloads = Payloads::new();
        payloads.push(PayloadType::IDR, &self.idr);
        payloads.push_all(PayloadType::CERT, &self.certificates);
        payloads.push(PayloadType::AUTH, &self.auth);
        self.child.emit(&mut payloads);
        push_flag(&mut payloads, NotifyType::MOBIKE_SUPPORTED, self.mobike_supported);
        push_notifies(&mut payloads, &self.other);
        payloads
    }
}

impl ChildAnswer {
    pub(super) fn emit(&self, payloads: &mut Payloads) {
        match self {
            Self::Accepted(child) => child.emit(payloads),
            Self::Refused(notify) => payloads.push(PayloadType::NOTIFY, notify),
            Self::Absent => {}
        }
    }
}

impl ChildOffer {
    fn emit(&self, payloads: &mut Payloads) {
        payloads.push(PayloadType::SA, &self.sa);
        self.emit_behind_sa(payloads);
    }

    /// What follows SA (and in CREATE_CHILD_SA the nonce and KE).
    pub(super) fn emit_behind_sa(&self, payloads: &mut Payloads) {
        payloads.push(PayloadType::TSI, &self.tsi);
        payloads.push(PayloadType::TSR, &self.tsr);
        push_flag(payloads, NotifyType::USE_TRANSPORT_MODE, self.transport_mode);
        push_flag(
            payloads,
            NotifyType::ESP_TFC_PADDING_NOT_SUPPORTED,
            self.no_tfc_padding,
        );
        payloads.push_some(PayloadType::NOTIFY, self.aggfrag.as_ref());
    }
}

/// The slots of a CHILD SA.
#[derive(Default)]
pub(super) struct ChildSlots {
    pub(super) sa: Option<SecurityAssociation>,
    tsi: Option<TrafficSelectors>,
    tsr: Option<TrafficSelectors>,
}

impl ChildSlots {
    pub(super) fn fill(&mut self, payload: &Payload<'_>) -> Result<(), Malformed> {
        match payload.kind {
            PayloadType::SA => once(&mut self.sa, payload),
            PayloadType::TSI => once(&mut self.tsi, payload),
            PayloadType::TSR => once(&mut self.tsr, payload),
            PayloadType(_) => Ok(()),
        }
    }

    pub(super) fn need(self, statuses: &Statuses) -> Result<ChildOffer, Malformed> {
        Ok(ChildOffer {
            sa: need(self.sa, PayloadType::SA)?,
            tsi: need(self.tsi, PayloadType::TSI)?,
            tsr: need(self.tsr, PayloadType::TSR)?,
            transport_mode: statuses.transport_mode,
            no_tfc_padding: statuses.no_tfc_padding,
            aggfrag: statuses.aggfrag.clone(),
        })
    }

    fn is_empty(&self) -> bool {
        self.sa.is_none() && self.tsi.is_none() && self.tsr.is_none()
    }

    /// RFC 6023 5: all of it or nothing.
    fn asked(self, statuses: &Statuses) -> Result<Option<ChildOffer>, Malformed> {
        match self.is_empty() {
            true => Ok(None),
            false => self.need(statuses).map(Some),
        }
    }

    /// The same of a response.
    fn answer_or_none(self, statuses: &Statuses) -> Result<ChildAnswer, Malformed> {
        match (self.is_empty(), &statuses.error) {
            (true, None) => Ok(ChildAnswer::Absent),
            (true, Some(_)) | (false, _) => self.answer(statuses),
        }
    }

    /// RFC 7296 3.10.1: an error type in a response, known or not, means that the request has failed.
    pub(super) fn answer(self, statuses: &Statuses) -> Result<ChildAnswer, Malformed> {
        match &statuses.error {
            Some(error) => Ok(ChildAnswer::Refused(error.clone())),
            None => Ok(ChildAnswer::Accepted(self.need(statuses)?)),
        }
    }
}

/// The notifies of IKE_AUTH and CREATE_CHILD_SA.
#[derive(Default)]
pub(super) struct Statuses {
    pub(super) error: Option<Notify>,
    initial_contact: bool,
    mobike_supported: bool,
    transport_mode: bool,
    no_tfc_padding: bool,
    aggfrag: Option<Notify>,
    pub(super) other: Vec<Notify>,
}

impl Statuses {
    pub(super) fn collect(chain: &Chain<'_>) -> Result<Self, Malformed> {
        let mut statuses = Self::default();
        for item in notifies(chain) {
            let (_, notify) = item?;
            match notify.kind {
                NotifyType::INITIAL_CONTACT => statuses.initial_contact = true,
                NotifyType::MOBIKE_SUPPORTED => statuses.mobike_supported = true,
                NotifyType::USE_TRANSPORT_MODE => statuses.transport_mode = true,
                NotifyType::ESP_TFC_PADDING_NOT_SUPPORTED => statuses.no_tfc_padding = true,
                NotifyType::USE_AGGFRAG => statuses.aggfrag = Some(notify),
                kind if kind.is_error() => {
                    statuses.error.get_or_insert(notify);
                }
                NotifyType(_) => statuses.other.push(notify),
            }
        }
        Ok(statuses)
    }
}

#[derive(Default)]
struct Slots {
    idi: Option<Identification>,
    idr: Option<Identification>,
    auth: Option<Authentication>,
    certificates: Vec<Certificate>,
    certificate_requests: Vec<CertificateRequest>,
    child: ChildSlots,
}

impl Slots {
    fn fill(chain: &Chain<'_>) -> Result<Self, Malformed> {
        let mut slots = Self::default();
        for payload in chain {
            match payload.kind {
                PayloadType::IDI => once(&mut slots.idi, payload)?,
                PayloadType::IDR => once(&mut slots.idr, payload)?,
                PayloadType::AUTH => once(&mut slots.auth, payload)?,
                PayloadType::CERT => slots.certificates.push(payload.read()?),
                PayloadType::CERTREQ => slots.certificate_requests.push(payload.read()?),
                PayloadType(_) => slots.child.fill(payload)?,
            }
        }
        Ok(slots)
    }
}

fn push_flag(payloads: &mut Payloads, kind: NotifyType, set: bool) {
    if set {
        payloads.push(PayloadType::NOTIFY, &Notify::new(kind));
    }
}

/// RFC 7296 3.15: CFG_REQUEST without attributes.
const EMPTY_REQUEST: [u8; 4] = [1, 0, 0, 0];
