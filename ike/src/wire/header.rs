//! The IKE header (RFC 7296 3.1).
//!
//! ```text
//!                      1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                       IKE SA Initiator's SPI                  |
//! |                                                               |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                       IKE SA Responder's SPI                  |
//! |                                                               |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |  Next Payload | MjVer | MnVer | Exchange Type |     Flags     |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                          Message ID                           |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                            Length                             |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use std::fmt;

use super::chain::PayloadType;
use super::malformed::{Fault, Malformed};
use super::reader::Reader;
use super::writer::Writer;

/// The SPI of one side of an IKE SA. Zero stands for "not yet known" (RFC 7296 2.6).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IkeSpi(pub u64);

impl IkeSpi {
    /// The responder's SPI before the responder has chosen one.
    pub const ZERO: Self = Self(0);

    /// Not yet known.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// As on the wire.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

impl fmt::Debug for IkeSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for IkeSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a message is part of. Types we do not know are kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeType(pub u8);

impl ExchangeType {
    /// RFC 7296 1.2: algorithms, nonces, key exchange; in the clear.
    pub const IKE_SA_INIT: Self = Self(34);
    /// RFC 7296 1.2: identities, proof, the first CHILD SA.
    pub const IKE_AUTH: Self = Self(35);
    /// RFC 7296 1.3: further CHILD SAs and rekeying.
    pub const CREATE_CHILD_SA: Self = Self(36);
    /// RFC 7296 1.4: deletes, notifies, liveness.
    pub const INFORMATIONAL: Self = Self(37);
    /// RFC 5723 4.3.2: in the place of IKE_SA_INIT.
    pub const IKE_SESSION_RESUME: Self = Self(38);
    /// RFC 9242: between IKE_SA_INIT and IKE_AUTH.
    pub const IKE_INTERMEDIATE: Self = Self(43);
    /// RFC 9370 2.2.4: after CREATE_CHILD_SA.
    pub const IKE_FOLLOWUP_KE: Self = Self(44);
}

impl fmt::Debug for ExchangeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ExchangeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IKE_SA_INIT => f.write_str("IKE_SA_INIT"),
            Self::IKE_AUTH => f.write_str("IKE_AUTH"),
            Self::CREATE_CHILD_SA => f.write_str("CREATE_CHILD_SA"),
            Self::INFORMATIONAL => f.write_str("INFORMATIONAL"),
            Self::IKE_SESSION_RESUME => f.write_str("IKE_SESSION_RESUME"),
            Self::IKE_INTERMEDIATE => f.write_str("IKE_INTERMEDIATE"),
            Self::IKE_FOLLOWUP_KE => f.write_str("IKE_FOLLOWUP_KE"),
            Self(other) => write!(f, "exchange type {other}"),
        }
    }
}

/// The flags of the header; the other five bits are RESERVED.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// I: the sender is the original initiator of the IKE SA.
    pub initiator: bool,
    /// V: the sender could speak a higher major version. We never set it.
    pub version: bool,
    /// R: this is the response to the request with the same message ID.
    pub response: bool,
}

impl Flags {
    const INITIATOR: u8 = 0x08;
    const VERSION: u8 = 0x10;
    const RESPONSE: u8 = 0x20;

    /// From the octet; RESERVED bits are ignored (RFC 7296 3.1).
    pub fn from_octet(octet: u8) -> Self {
        Self {
            initiator: octet & Self::INITIATOR != 0,
            version: octet & Self::VERSION != 0,
            response: octet & Self::RESPONSE != 0,
        }
    }

    /// To the octet.
    pub fn to_octet(self) -> u8 {
        let bit = |set: bool, mask: u8| if set { mask } else { 0 };
        bit(self.initiator, Self::INITIATOR)
            | bit(self.version, Self::VERSION)
            | bit(self.response, Self::RESPONSE)
    }
}

/// Pairs a response with its request and refuses replays (RFC 7296 2.2).
pub type MessageId = u32;

/// The header without the two fields that only describe the octets behind it (next payload and length).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The SPI of the original initiator. Never zero.
    pub initiator_spi: IkeSpi,
    /// The SPI of the responder; zero in the first request.
    pub responder_spi: IkeSpi,
    /// What the message is part of.
    pub exchange: ExchangeType,
    /// Initiator, response, version.
    pub flags: Flags,
    /// Pairs requests and responses.
    pub message_id: MessageId,
}

impl Header {
    /// Where the type of the first payload is.
    pub(super) const NEXT_PAYLOAD_AT: usize = 16;
    /// Octets of a header.
    pub const LEN: usize = 28;
    /// Where its last field begins, the length.
    pub(super) const LENGTH_AT: usize = 24;
    /// The one major version spoken here.
    pub const MAJOR_VERSION: u8 = 2;

    /// Reads the header of a whole datagram and the type of the first payload.
    ///
    /// The length field must be the length of the datagram: neither less (something is smuggled behind the
    /// message) nor more (it was cut off).
    pub fn parse(datagram: &[u8]) -> Result<(Self, PayloadType), Malformed> {
        let mut reader = Reader::new(datagram);
        let mut fixed = reader.part(Self::LEN, "the IKE header")?;
        let initiator_spi = IkeSpi(fixed.u64("the initiator's SPI")?);
        let responder_spi = IkeSpi(fixed.u64("the responder's SPI")?);
        let first = PayloadType(fixed.u8("the next payload")?);
        let version = fixed.u8("the version")?;
        // RFC 7296 2.5: a higher major version is refused, any minor version is accepted.
        if version >> 4 != Self::MAJOR_VERSION {
            return Err(Malformed::new(Fault::MajorVersion(version >> 4), 17));
        }
        let exchange = ExchangeType(fixed.u8("the exchange type")?);
        let flags = Flags::from_octet(fixed.u8("the flags")?);
        let message_id = fixed.u32("the message ID")?;
        let length = fixed.u32("the length")?;
        if usize::try_from(length).ok() != Some(datagram.len()) {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            return Err(Malformed::new(
                Fault::Length {
                    what: "the message length",
                    length,
                },
                24,
            ));
        }
        // RFC 7296 3.1: the initiator's SPI MUST NOT be zero.
        if initiator_spi.is_zero() {
            return Err(Malformed::new(
                Fault::Value {
                    what: "the initiator's SPI",
                    value: 0,
                },
                0,
            ));
        }
        Ok((
            Self {
                initiator_spi,
                responder_spi,
                exchange,
                flags,
                message_id,
            },
            first,
        ))
    }

    /// Writes the header in front of a message that will be `length` octets long, header included.
    pub fn emit(&self, first: PayloadType, length: u32, out: &mut Writer) {
        out.u64(self.initiator_spi.0);
        out.u64(self.responder_spi.0);
        out.u8(first.0);
        out.u8(Self::MAJOR_VERSION << 4);
        out.u8(self.exchange.0);
        out.u8(self.flags.to_octet());
        out.u32(self.message_id);
        out.u32(length);
    }

    /// It is a response.
    pub fn is_response(&self) -> bool {
        self.flags.response
    }
}
