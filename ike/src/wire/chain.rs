//! The chain of payloads behind the header (RFC 7296 3.2).
//!
//! ```text
//!                      1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Next Payload  |C|  RESERVED   |         Payload Length        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use std::fmt;

use super::header::Header;
use super::malformed::{Fault, Malformed};
use super::payload::Body;
use super::reader::Reader;
use super::writer::Writer;

/// What a payload is. Types we do not know are kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PayloadType(pub u8);

impl PayloadType {
    /// No payload follows.
    pub const NONE: Self = Self(0);
    /// Security Association.
    pub const SA: Self = Self(33);
    /// Key Exchange.
    pub const KE: Self = Self(34);
    /// Identification of the initiator.
    pub const IDI: Self = Self(35);
    /// Identification of the responder.
    pub const IDR: Self = Self(36);
    /// Certificate.
    pub const CERT: Self = Self(37);
    /// Certificate Request.
    pub const CERTREQ: Self = Self(38);
    /// Authentication.
    pub const AUTH: Self = Self(39);
    /// Nonce.
    pub const NONCE: Self = Self(40);
    /// Notify.
    pub const NOTIFY: Self = Self(41);
    /// Delete.
    pub const DELETE: Self = Self(42);
    /// Vendor ID.
    pub const VENDOR_ID: Self = Self(43);
    /// Traffic Selectors of the initiator.
    pub const TSI: Self = Self(44);
    /// Traffic Selectors of the responder.
    pub const TSR: Self = Self(45);
    /// Encrypted and Authenticated.
    pub const SK: Self = Self(46);
    /// Configuration.
    pub const CP: Self = Self(47);
    /// Extensible Authentication.
    pub const EAP: Self = Self(48);
    /// Encrypted and Authenticated Fragment (RFC 7383).
    pub const SKF: Self = Self(53);
    /// Puzzle Solution (RFC 8019).
    pub const PS: Self = Self(54);

    /// RFC 7296 2.5: every implementation understands the payloads of RFC 7296, whether it uses them or not.
    pub fn is_known(self) -> bool {
        (Self::SA.0..=Self::EAP.0).contains(&self.0) || self == Self::SKF || self == Self::PS
    }

    /// The next-payload field of such a payload names what is inside it; nothing follows it (RFC 7296 3.14).
    pub fn is_encrypted(self) -> bool {
        self == Self::SK || self == Self::SKF
    }

    fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::SA => "SA",
            Self::KE => "KE",
            Self::IDI => "IDi",
            Self::IDR => "IDr",
            Self::CERT => "CERT",
            Self::CERTREQ => "CERTREQ",
            Self::AUTH => "AUTH",
            Self::NONCE => "Nonce",
            Self::NOTIFY => "Notify",
            Self::DELETE => "Delete",
            Self::VENDOR_ID => "Vendor ID",
            Self::TSI => "TSi",
            Self::TSR => "TSr",
            Self::SK => "SK",
            Self::CP => "CP",
            Self::EAP => "EAP",
            Self::SKF => "SKF",
            Self::PS => "PS",
            Self(_) => return None,
        })
    }
}

impl fmt::Debug for PayloadType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for PayloadType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "type {}", self.0),
        }
    }
}

/// One payload of a chain, its body not yet looked at. Borrows from the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// What it is.
    pub kind: PayloadType,
    /// The critical bit.
    pub critical: bool,
    /// The octets behind the generic payload header.
    pub body: &'a [u8],
    /// Where the body starts, from where offsets are counted.
    pub offset: usize,
    /// The next-payload field: what follows, or for an encrypted payload what is inside.
    pub next: PayloadType,
}

impl Payload<'_> {
    /// Parses the body; a fault is reported with the place in the message.
    pub fn read<T: Body>(&self) -> Result<T, Malformed> {
        T::parse(self.body).map_err(|error| error.within(self.kind, self.offset))
    }

    /// A fault of the payload as a whole.
    pub fn fault(&self, fault: Fault) -> Malformed {
        Malformed {
            fault,
            payload: Some(self.kind),
            offset: self.offset,
        }
    }
}

/// All payloads of a message (or of an SK payload) that are understood, in their order.
///
/// Unknown payloads without the critical bit were skipped (RFC 7296 2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain<'a> {
    payloads: Vec<Payload<'a>>,
}

impl<'a> Chain<'a> {
    /// More payloads than this are not read. The largest sane message (IKE_AUTH with a chain of certificates
    /// and every notify there is) has about thirty.
    pub const LIMIT: usize = 64;

    /// Walks a chain whose first payload is of type `first`. Offsets are counted from `offset`.
    ///
    /// Refuses unknown critical payloads, more than [`Self::LIMIT`] payloads, and octets behind the last one.
    pub fn parse(first: PayloadType, bytes: &'a [u8], offset: usize) -> Result<Self, Malformed> {
        let mut chain = Self::walk(first, bytes, offset)?;
        chain.refuse_unknown_critical()?;
        chain.payloads.retain(|payload| payload.kind.is_known());
        Ok(chain)
    }

    /// The header and the chain of a message that is not encrypted (or the outside of one that is).
    pub fn parse_message(datagram: &'a [u8]) -> Result<(Header, Self), Malformed> {
        let (header, first) = Header::parse(datagram)?;
        let behind = datagram.get(Header::LEN..).unwrap_or_default();
        Ok((header, Self::parse(first, behind, Header::LEN)?))
    }

    /// Walks a chain without an opinion on unknown payloads: for octets that are not yet authenticated.
    pub(crate) fn walk(first: PayloadType, bytes: &'a [u8], offset: usize) -> Result<Self, Malformed> {
        let mut reader = Reader::at(bytes, offset);
        let mut payloads = Vec::new();
        let mut kind = first;
        while kind != PayloadType::NONE {
            if payloads.len() == Self::LIMIT {
                return Err(reader.fault(Fault::TooMany {
                    what: "payloads",
                    limit: Self::LIMIT,
                }));
            }
            let payload = read_payload(kind, &mut reader)?;
            kind = if kind.is_encrypted() {
                PayloadType::NONE
            } else {
                payload.next
            };
            payloads.push(payload);
        }
        reader.finish("last payload")?;
        Ok(Self { payloads })
    }

    /// RFC 7296 2.5: an unknown payload with the critical bit set refuses the whole message.
    pub(crate) fn refuse_unknown_critical(&self) -> Result<(), Malformed> {
        match self
            .payloads
            .iter()
            .find(|payload| payload.critical && !payload.kind.is_known())
        {
            Some(payload) => Err(Malformed::new(
                Fault::UnsupportedCritical(payload.kind),
                payload.offset.saturating_sub(4),
            )),
            None => Ok(()),
        }
    }

    /// The payloads in their order.
    pub fn iter(&self) -> std::slice::Iter<'_, Payload<'a>> {
        self.payloads.iter()
    }

    /// The first payload of a type.
    pub fn find(&self, kind: PayloadType) -> Option<&Payload<'a>> {
        self.payloads.iter().find(|payload| payload.kind == kind)
    }

    /// The last payload.
    pub fn last(&self) -> Option<&Payload<'a>> {
        self.payloads.last()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.payloads.len()
    }

    /// There are none: in an INFORMATIONAL exchange, a liveness check (RFC 7296 1.4).
    pub fn is_empty(&self) -> bool {
        self.payloads.is_empty()
    }
}

impl<'c, 'a> IntoIterator for &'c Chain<'a> {
    type Item = &'c Payload<'a>;
    type IntoIter = std::slice::Iter<'c, Payload<'a>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Payloads on their way out, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payloads {
    list: Vec<(PayloadType, Vec<u8>)>,
}

impl Payloads {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a payload.
    pub fn push<T: Body>(&mut self, kind: PayloadType, body: &T) {
        let mut out = Writer::new();
        body.emit(&mut out);
        self.list.push((kind, out.into_bytes()));
    }

    /// Appends a payload of which only these octets are known.
    pub fn push_octets(&mut self, kind: PayloadType, octets: &[u8]) {
        self.list.push((kind, octets.to_vec()));
    }

    /// Appends a payload if there is one.
    pub fn push_some<T: Body>(&mut self, kind: PayloadType, body: Option<&T>) {
        if let Some(body) = body {
            self.push(kind, body);
        }
    }

    /// Appends a payload per element.
    pub fn push_all<'b, T: Body + 'b>(&mut self, kind: PayloadType, bodies: impl IntoIterator<Item = &'b T>) {
        for body in bodies {
            self.push(kind, body);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The type of the first, for the field before the chain.
    pub fn first(&self) -> PayloadType {
        self.list.first().map_or(PayloadType::NONE, |(kind, _)| *kind)
    }

    /// Writes the chain. We never set the critical bit: all our payloads are of RFC 7296 (2.5).
    pub fn emit(&self, out: &mut Writer) {
        for (index, (_, body)) in self.list.iter().enumerate() {
            let next = self
                .list
                .get(index.saturating_add(1))
                .map_or(PayloadType::NONE, |(kind, _)| *kind);
            out.u8(next.0);
            out.reserved(1);
            let length = out.open_length(2);
            out.bytes(body);
            out.close(length);
        }
    }
}

fn read_payload<'a>(kind: PayloadType, reader: &mut Reader<'a>) -> Result<Payload<'a>, Malformed> {
    let within = |error: Malformed| Malformed {
        payload: Some(kind),
        ..error
    };
    let start = reader.offset();
    let next = PayloadType(reader.u8("the payload header").map_err(within)?);
    let critical = reader.u8("the payload header").map_err(within)? & CRITICAL != 0;
    let length = usize::from(reader.u16("the payload header").map_err(within)?);
    let Some(body_length) = length.checked_sub(GENERIC_HEADER) else {
        return Err(within(Malformed::new(
            Fault::Length {
                what: "the payload length",
                length,
            },
            start,
        )));
    };
    let offset = reader.offset();
    let body = reader.take(body_length, "the payload").map_err(within)?;
    Ok(Payload {
        kind,
        critical,
        body,
        offset,
        next,
    })
}

/// Octets of a generic payload header.
pub(crate) const GENERIC_HEADER: usize = 4;
/// The C bit in the octet it shares with RESERVED.
const CRITICAL: u8 = 0x80;
