//! Traffic Selector payloads, TSi and TSr (RFC 7296 3.13).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Number of TSs |                 RESERVED                      |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |   TS Type     |IP Protocol ID*|       Selector Length         |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |           Start Port*         |           End Port*           |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                         Starting Address*                     ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                         Ending Address*                       ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Body;
use crate::wire::malformed::{Fault, Malformed};
use crate::wire::reader::Reader;
use crate::wire::writer::{Writer, saturating_u8};

/// The traffic of one side of a CHILD SA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficSelectors(pub Vec<Selector>);

/// One traffic selector, as it came: an empty or backward range is for the narrowing to refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// TS_IPV4_ADDR_RANGE.
    Ipv4(Range<Ipv4Addr>),
    /// TS_IPV6_ADDR_RANGE.
    Ipv6(Range<Ipv6Addr>),
    /// A type we do not know (such as a security label): never matches anything (RFC 7296 2.9).
    Unknown {
        /// The TS Type.
        kind: u8,
        /// The octet that would be the IP protocol.
        second: u8,
        /// What is behind the selector length.
        data: Vec<u8>,
    },
}

/// Addresses, ports and protocol; all bounds are inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range<A> {
    /// The IP protocol; zero for any.
    pub protocol: u8,
    /// The smallest port (or ICMP type and code).
    pub start_port: u16,
    /// The largest port.
    pub end_port: u16,
    /// The smallest address.
    pub start: A,
    /// The largest address.
    pub end: A,
}

impl<A> Range<A> {
    /// All traffic of these addresses.
    pub fn addresses(start: A, end: A) -> Self {
        Self {
            protocol: 0,
            start_port: 0,
            end_port: u16::MAX,
            start,
            end,
        }
    }

    /// RFC 7296 3.13.1: start 65535 and end 0 is OPAQUE: only packets whose ports cannot be seen.
    pub fn is_opaque(&self) -> bool {
        self.start_port == u16::MAX && self.end_port == 0
    }
}

impl Body for TrafficSelectors {
    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let count = reader.u8("the number of traffic selectors")?;
        reader.array::<3>("RESERVED")?;
        let selectors = (0..count)
            .map(|_| parse_selector(&mut reader))
            .collect::<Result<_, _>>()?;
        reader.finish("last traffic selector")?;
        Ok(Self(selectors))
    }

    fn emit(&self, out: &mut Writer) {
        out.u8(saturating_u8(self.0.len()));
        out.reserved(3);
        for selector in self.0.iter().take(usize::from(u8::MAX)) {
            emit_selector(selector, out);
        }
    }
}

fn parse_selector(reader: &mut Reader<'_>) -> Result<Selector, Malformed> {
    let start = reader.offset();
    let kind = reader.u8("the TS type")?;
    let second = reader.u8("the IP protocol")?;
    let length = usize::from(reader.u16("the selector length")?);
    let Some(inner) = length.checked_sub(SELECTOR_HEADER) else {
        return Err(Malformed::new(
            Fault::Length {
                what: "the selector length",
                length,
            },
            start,
        ));
    };
    let mut inner = reader.part(inner, "a traffic selector")?;
    let selector = match kind {
        IPV4_ADDR_RANGE => Selector::Ipv4(parse_range(second, &mut inner, |octets: [u8; 4]| {
            Ipv4Addr::from(octets)
        })?),
        IPV6_ADDR_RANGE => Selector::Ipv6(parse_range(second, &mut inner, |octets: [u8; 16]| {
            Ipv6Addr::from(octets)
        })?),
        kind => Selector::Unknown {
            kind,
            second,
            data: inner.rest().to_vec(),
        },
    };
    inner.finish("traffic selector")?;
    Ok(selector)
}

fn parse_range<const N: usize, A>(
    protocol: u8,
    reader: &mut Reader<'_>,
    address: impl Fn([u8; N]) -> A,
) -> Result<Range<A>, Malformed> {
    Ok(Range {
        protocol,
        start_port: reader.u16("the start port")?,
        end_port: reader.u16("the end port")?,
        start: address(reader.array("the starting address")?),
        end: address(reader.array("the ending address")?),
    })
}

fn emit_selector(selector: &Selector, out: &mut Writer) {
    match selector {
        Selector::Ipv4(range) => {
            emit_range(
                IPV4_ADDR_RANGE,
                range,
                &range.start.octets(),
                &range.end.octets(),
                out,
            );
        }
        Selector::Ipv6(range) => {
            emit_range(
                IPV6_ADDR_RANGE,
                range,
                &range.start.octets(),
                &range.end.octets(),
                out,
            );
        }
        Selector::Unknown { kind, second, data } => {
            out.u8(*kind);
            out.u8(*second);
            let length = out.open_length(2);
            out.bytes(data);
            out.close(length);
        }
    }
}

fn emit_range<A>(kind: u8, range: &Range<A>, start: &[u8], end: &[u8], out: &mut Writer) {
    out.u8(kind);
    out.u8(range.protocol);
    let length = out.open_length(2);
    out.u16(range.start_port);
    out.u16(range.end_port);
    out.bytes(start);
    out.bytes(end);
    out.close(length);
}

const SELECTOR_HEADER: usize = 4;
const IPV4_ADDR_RANGE: u8 = 7;
const IPV6_ADDR_RANGE: u8 = 8;
