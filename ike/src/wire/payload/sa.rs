//! Security Association payload (RFC 7296 3.3).
//!
//! ```text
//!                      1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Last Substruc |   RESERVED    |         Proposal Length       |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Proposal Num  |  Protocol ID  |    SPI Size   |Num  Transforms|
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                        SPI (variable)                         ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Last Substruc |   RESERVED    |        Transform Length       |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |Transform Type |   RESERVED    |          Transform ID         |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |A|       Attribute Type        |    AF=0  Attribute Length     |
//! |F|                             |    AF=1  Attribute Value      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                   AF=0  Attribute Value                       |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! Everything is kept as it came, unknown transform types, IDs and attributes too: whether a transform with an
//! attribute it should not have is acceptable is for the negotiation to say (RFC 7296 3.3.6).

use std::fmt;

use super::Body;
use super::protocol::ProtocolId;
use crate::wire::malformed::{Fault, Malformed};
use crate::wire::reader::Reader;
use crate::wire::writer::{Writer, saturating_u8, saturating_u16};

/// The proposals of one side, most wanted first; in an answer exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityAssociation {
    /// At least one.
    pub proposals: Vec<Proposal>,
}

/// One way to protect an SA: an algorithm of each transform type is to be picked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// 1 for the first and one more for each that follows; an answer repeats the number it picked.
    pub number: u8,
    /// What the SA is to be.
    pub protocol: ProtocolId,
    /// The sender's SPI: none for the first IKE SA, 8 octets when an IKE SA is rekeyed, 4 for ESP and AH.
    pub spi: Vec<u8>,
    /// Several of one type are alternatives.
    pub transforms: Vec<Transform>,
}

/// One algorithm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    /// What it does.
    pub kind: TransformType,
    /// Which one it is, in the registry of its type.
    pub id: u16,
    /// Its parameters: none or the key length.
    pub attributes: Vec<Attribute>,
}

/// What an algorithm does (RFC 7296 3.3.2). Unknown ones are kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransformType(pub u8);

impl TransformType {
    /// ENCR.
    pub const ENCRYPTION: Self = Self(1);
    /// PRF.
    pub const PRF: Self = Self(2);
    /// INTEG.
    pub const INTEGRITY: Self = Self(3);
    /// KE, once called D-H.
    pub const KEY_EXCHANGE: Self = Self(4);
    /// ESN.
    pub const ESN: Self = Self(5);
}

impl fmt::Debug for TransformType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ENCRYPTION => f.write_str("ENCR"),
            Self::PRF => f.write_str("PRF"),
            Self::INTEGRITY => f.write_str("INTEG"),
            Self::KEY_EXCHANGE => f.write_str("KE"),
            Self::ESN => f.write_str("ESN"),
            Self(other) => write!(f, "transform type {other}"),
        }
    }
}

/// A parameter of a transform (RFC 7296 3.3.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// 15 bits.
    pub kind: u16,
    /// In one of the two formats.
    pub value: AttributeValue,
}

/// The two formats of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue {
    /// AF=1: two octets.
    Short(u16),
    /// AF=0: as many octets as its length says.
    Long(Vec<u8>),
}

impl Attribute {
    /// The length of a key in bits: the only attribute there is.
    pub const KEY_LENGTH: u16 = 14;
}

impl Transform {
    /// A transform without attributes.
    pub fn new(kind: TransformType, id: u16) -> Self {
        Self {
            kind,
            id,
            attributes: Vec::new(),
        }
    }

    /// A transform whose key has this many bits.
    pub fn with_key_length(kind: TransformType, id: u16, bits: u16) -> Self {
        let key_length = Attribute {
            kind: Attribute::KEY_LENGTH,
            value: AttributeValue::Short(bits),
        };
        Self {
            kind,
            id,
            attributes: vec![key_length],
        }
    }

    /// The key length in bits, if exactly one is given in the short format the RFC demands.
    pub fn key_length(&self) -> Option<u16> {
        let mut lengths = self
            .attributes
            .iter()
            .filter(|attribute| attribute.kind == Attribute::KEY_LENGTH);
        match (lengths.next(), lengths.next()) {
            (
                Some(Attribute {
                    value: AttributeValue::Short(bits),
                    ..
                }),
                None,
            ) => Some(*bits),
            (Some(_), _) | (None, _) => None,
        }
    }

    /// It has an attribute other than the key length, or the key length not just once and short. RFC 7296 3.3.6:
    /// such a transform is not acceptable.
    pub fn has_unknown_attribute(&self) -> bool {
        match self.attributes.as_slice() {
            [] => false,
            [_] => self.key_length().is_none(),
            [_, ..] => true,
        }
    }
}

impl Body for SecurityAssociation {
    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let mut proposals = Vec::new();
        loop {
            if proposals.len() == MAX_PROPOSALS {
                return Err(reader.fault(Fault::TooMany {
                    what: "proposals",
                    limit: MAX_PROPOSALS,
                }));
            }
            let (proposal, more) = parse_proposal(&mut reader)?;
            proposals.push(proposal);
            if !more {
                break;
            }
        }
        reader.finish("last proposal")?;
        Ok(Self { proposals })
    }

    fn emit(&self, out: &mut Writer) {
        let last = self.proposals.len().saturating_sub(1);
        for (index, proposal) in self.proposals.iter().enumerate() {
            emit_proposal(proposal, index < last, out);
        }
    }
}

fn parse_proposal(reader: &mut Reader<'_>) -> Result<(Proposal, bool), Malformed> {
    let (mut inner, more) = substructure(reader, MORE_PROPOSALS, PROPOSAL_NAMES)?;
    let number = inner.u8("the proposal number")?;
    let protocol = ProtocolId(inner.u8("the protocol ID")?);
    let spi_size = inner.u8("the SPI size")?;
    let count = usize::from(inner.u8("the number of transforms")?);
    if !matches!(spi_size, 0 | 4 | 8) {
        return Err(inner.fault(Fault::Value {
            what: "the SPI size",
            value: u64::from(spi_size),
        }));
    }
    let spi = inner.take(usize::from(spi_size), "the SPI")?.to_vec();
    let mut transforms = Vec::new();
    while !inner.is_empty() {
        // A count is at most 255, so this also bounds the list.
        if transforms.len() == count {
            return Err(inner.fault(Fault::Length {
                what: "the number of transforms",
                length: count,
            }));
        }
        let (transform, more) = parse_transform(&mut inner)?;
        if more == inner.is_empty() {
            return Err(inner.fault(Fault::Value {
                what: "Last Substruc of a transform",
                value: u64::from(more),
            }));
        }
        transforms.push(transform);
    }
    if transforms.len() != count {
        return Err(inner.fault(Fault::Length {
            what: "the number of transforms",
            length: count,
        }));
    }
    Ok((
        Proposal {
            number,
            protocol,
            spi,
            transforms,
        },
        more,
    ))
}

fn parse_transform(reader: &mut Reader<'_>) -> Result<(Transform, bool), Malformed> {
    let (mut inner, more) = substructure(reader, MORE_TRANSFORMS, TRANSFORM_NAMES)?;
    let kind = TransformType(inner.u8("the transform type")?);
    inner.u8("RESERVED")?;
    let id = inner.u16("the transform ID")?;
    let mut attributes = Vec::new();
    while !inner.is_empty() {
        if attributes.len() == MAX_ATTRIBUTES {
            return Err(inner.fault(Fault::TooMany {
                what: "attributes of a transform",
                limit: MAX_ATTRIBUTES,
            }));
        }
        attributes.push(parse_attribute(&mut inner)?);
    }
    Ok((Transform { kind, id, attributes }, more))
}

fn parse_attribute(reader: &mut Reader<'_>) -> Result<Attribute, Malformed> {
    let tagged = reader.u16("the attribute type")?;
    let kind = tagged & !SHORT_FORMAT;
    let field = reader.u16("the attribute value")?;
    let value = if tagged & SHORT_FORMAT != 0 {
        AttributeValue::Short(field)
    } else {
        AttributeValue::Long(reader.take(usize::from(field), "the attribute value")?.to_vec())
    };
    Ok(Attribute { kind, value })
}

/// The four octets that proposals and transforms begin with; a cursor over the rest, and whether another follows.
fn substructure<'a>(
    reader: &mut Reader<'a>,
    more: u8,
    names: SubstructureNames,
) -> Result<(Reader<'a>, bool), Malformed> {
    let start = reader.offset();
    let last = reader.u8(names.last)?;
    if last != 0 && last != more {
        return Err(Malformed::new(
            Fault::Value {
                what: names.last,
                value: u64::from(last),
            },
            start,
        ));
    }
    reader.u8("RESERVED")?;
    let length = usize::from(reader.u16(names.length)?);
    let Some(inner) = length.checked_sub(SUBSTRUCTURE_HEADER) else {
        return Err(Malformed::new(
            Fault::Length {
                what: names.length,
                length,
            },
            start,
        ));
    };
    Ok((reader.part(inner, names.whole)?, last == more))
}

fn emit_proposal(proposal: &Proposal, more: bool, out: &mut Writer) {
    out.u8(if more { MORE_PROPOSALS } else { 0 });
    out.reserved(1);
    let length = out.open_length(2);
    out.u8(proposal.number);
    out.u8(proposal.protocol.0);
    out.u8(saturating_u8(proposal.spi.len()));
    out.u8(saturating_u8(proposal.transforms.len()));
    out.bytes(&proposal.spi);
    let last = proposal.transforms.len().saturating_sub(1);
    for (index, transform) in proposal.transforms.iter().enumerate() {
        emit_transform(transform, index < last, out);
    }
    out.close(length);
}

fn emit_transform(transform: &Transform, more: bool, out: &mut Writer) {
    out.u8(if more { MORE_TRANSFORMS } else { 0 });
    out.reserved(1);
    let length = out.open_length(2);
    out.u8(transform.kind.0);
    out.reserved(1);
    out.u16(transform.id);
    for attribute in &transform.attributes {
        match &attribute.value {
            AttributeValue::Short(value) => {
                out.u16(attribute.kind | SHORT_FORMAT);
                out.u16(*value);
            }
            AttributeValue::Long(value) => {
                out.u16(attribute.kind & !SHORT_FORMAT);
                out.u16(saturating_u16(value.len()));
                out.bytes(value);
            }
        }
    }
    out.close(length);
}

#[derive(Clone, Copy)]
struct SubstructureNames {
    whole: &'static str,
    last: &'static str,
    length: &'static str,
}

const PROPOSAL_NAMES: SubstructureNames = SubstructureNames {
    whole: "a proposal",
    last: "Last Substruc of a proposal",
    length: "the proposal length",
};
const TRANSFORM_NAMES: SubstructureNames = SubstructureNames {
    whole: "a transform",
    last: "Last Substruc of a transform",
    length: "the transform length",
};
const MORE_PROPOSALS: u8 = 2;
const MORE_TRANSFORMS: u8 = 3;
const SUBSTRUCTURE_HEADER: usize = 4;
/// The AF bit.
const SHORT_FORMAT: u16 = 0x8000;
/// Some peers offer a proposal per combination; more than this is an attack on the negotiation's time.
const MAX_PROPOSALS: usize = 64;
/// There is only one kind of attribute.
const MAX_ATTRIBUTES: usize = 8;
