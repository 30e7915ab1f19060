//! Delete payload (RFC 7296 3.11).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Protocol ID   |   SPI Size    |          Num of SPIs          |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~               Security Parameter Index(es) (SPI)              ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use super::Body;
use super::protocol::ProtocolId;
use crate::wire::malformed::{Fault, Malformed};
use crate::wire::reader::Reader;
use crate::wire::writer::{Writer, saturating_u16};

/// What the sender has deleted. The SPIs are the ones the sender received on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delete {
    /// This IKE SA, and with it all its CHILD SAs.
    Ike,
    /// CHILD SAs with ESP.
    Esp(Vec<u32>),
    /// CHILD SAs with AH; there are none here, but a peer may say so.
    Ah(Vec<u32>),
}

impl Body for Delete {
    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let protocol = ProtocolId(reader.u8("the protocol ID")?);
        let spi_size = reader.u8("the SPI size")?;
        let count = reader.u16("the number of SPIs")?;
        // RFC 7296 3.11: the SPI size is zero for IKE and four for AH and ESP.
        let expected = match protocol {
            ProtocolId::IKE => 0,
            ProtocolId::AH | ProtocolId::ESP => 4,
            ProtocolId(other) => {
                return Err(Malformed::new(
                    Fault::Value {
                        what: "the protocol ID",
                        value: u64::from(other),
                    },
                    0,
                ));
            }
        };
        if spi_size != expected {
            return Err(Malformed::new(
                Fault::Value {
                    what: "the SPI size",
                    value: u64::from(spi_size),
                },
                1,
            ));
        }
        if protocol == ProtocolId::IKE {
            if count != 0 {
                let length = usize::from(count);
                return Err(Malformed::new(
                    Fault::Length {
                        what: "the number of SPIs",
                        length,
                    },
                    2,
                ));
            }
            reader.finish("Delete payload")?;
            return Ok(Self::Ike);
        }
        // At most 65535, and each is backed by four octets of the message.
        let spis = (0..count)
            .map(|_| reader.u32("an SPI"))
            .collect::<Result<Vec<u32>, Malformed>>()?;
        reader.finish("Delete payload")?;
        Ok(if protocol == ProtocolId::ESP {
            Self::Esp(spis)
        } else {
            Self::Ah(spis)
        })
    }

    fn emit(&self, out: &mut Writer) {
        let (protocol, spi_size, spis) = match self {
            Self::Ike => (ProtocolId::IKE, 0, &[][..]),
            Self::Esp(spis) => (ProtocolId::ESP, 4, spis.as_slice()),
            Self::Ah(spis) => (ProtocolId::AH, 4, spis.as_slice()),
        };
        out.u8(protocol.0);
        out.u8(spi_size);
        out.u16(saturating_u16(spis.len()));
        for spi in spis {
            out.u32(*spi);
        }
    }
}
