//! AGGFRAG payloads: several inner packets, and pieces of them, in one ESP packet (RFC 9347 2.2, 6.1).
//!
//! ```text
//!   sub-type 0     +----------+----------+----------------------+
//!   (6.1.1)        | sub-type | reserved |     block offset     |  data blocks ...
//!                  +----------+----------+----------------------+
//!   sub-type 1     +----------+----------+----------------------+----- 20 octets ------+
//!   (6.1.2)        | sub-type | P, E     |     block offset     | loss, times, delays  |  data blocks ...
//!                  +----------+----------+----------------------+----------------------+
//! ```
//!
//! A data block is an IP packet, whose own header tells how long it is, or padding to the end. The block offset is where the first block
//! begins that was not begun in an earlier payload; that may be beyond the end of this one.

use crate::discard::Discard;

/// Where the data of a payload begins, and where in them the first new block does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preamble {
    /// Octets of the header.
    pub header: usize,
    /// The block offset.
    pub offset: usize,
}

impl Preamble {
    /// Reads the header of a payload. What a peer with congestion control says of loss and delay is skipped: we do not answer it.
    pub fn parse(payload: &[u8]) -> Result<Self, Discard> {
        let &[sub_type, _, high, low] = payload.first_chunk::<HEADER>().ok_or(Discard::AggfragHeader)?;
        let header = match sub_type {
            BASIC => HEADER,
            CONGESTION_CONTROL => CONGESTION_CONTROL_HEADER,
            _ => return Err(Discard::AggfragHeader),
        };
        if payload.len() < header {
            return Err(Discard::AggfragHeader);
        }
        Ok(Self {
            header,
            offset: usize::from(u16::from_be_bytes([high, low])),
        })
    }

    /// The header of a payload without congestion control whose first `offset` octets are the rest of an earlier block.
    pub fn emit(offset: usize) -> [u8; HEADER] {
        // An inner packet is shorter than this.
        let [high, low] = u16::try_from(offset).unwrap_or(u16::MAX).to_be_bytes();
        [BASIC, 0, high, low]
    }
}

/// What begins at some place of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// Padding to the end of the payload.
    Pad,
    /// An IP packet of this length.
    Packet(usize),
    /// An IP packet of which too little is there to tell its length.
    Runt,
}

impl Block {
    /// Looks at what begins with the first octet.
    pub fn at(data: &[u8]) -> Result<Self, Discard> {
        let (least, len) = match data.first().map(|octet| octet >> 4) {
            None | Some(0) => return Ok(Self::Pad),
            Some(4) => (20, word(data, 2).map(usize::from)),
            Some(6) => (40, word(data, 4).map(|len| 40 + usize::from(len))),
            Some(_) => return Err(Discard::AggfragBlock),
        };
        match len {
            None => Ok(Self::Runt),
            Some(len) if len >= least => Ok(Self::Packet(len)),
            Some(_) => Err(Discard::AggfragBlock),
        }
    }
}

fn word(data: &[u8], at: usize) -> Option<u16> {
    data.get(at..)?
        .first_chunk()
        .map(|octets| u16::from_be_bytes(*octets))
}

/// ESP's next header for them.
pub const NEXT_HEADER: u8 = 144;
/// Octets of the header that we send.
pub const HEADER: usize = 4;
const BASIC: u8 = 0;
const CONGESTION_CONTROL: u8 = 1;
const CONGESTION_CONTROL_HEADER: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_headers_and_no_other() {
        let header = |header, offset| Ok(Preamble { header, offset });
        assert_eq!(Preamble::parse(&[0, 0xff, 1, 2]), header(4, 258));
        let mut long = [0_u8; 24];
        (long[0], long[3]) = (1, 7);
        assert_eq!(Preamble::parse(&long), header(24, 7));
        assert_eq!(Preamble::parse(&long[..23]), Err(Discard::AggfragHeader));
        assert_eq!(Preamble::parse(&[0, 0, 0]), Err(Discard::AggfragHeader));
        assert_eq!(Preamble::parse(&[2, 0, 0, 0, 0x45]), Err(Discard::AggfragHeader));
        assert_eq!(Preamble::parse(&Preamble::emit(1400)), header(4, 1400));
    }

    #[test]
    fn tells_blocks_apart_by_their_first_nibble() {
        assert_eq!(Block::at(&[]), Ok(Block::Pad));
        assert_eq!(Block::at(&[0x0f, 1]), Ok(Block::Pad));
        assert_eq!(Block::at(&[0x45, 0, 0, 20]), Ok(Block::Packet(20)));
        assert_eq!(Block::at(&[0x45, 0, 0]), Ok(Block::Runt));
        assert_eq!(Block::at(&[0x45, 0, 0, 19]), Err(Discard::AggfragBlock));
        assert_eq!(Block::at(&[0x60, 0, 0, 0, 0, 0]), Ok(Block::Packet(40)));
        assert_eq!(Block::at(&[0x60, 0, 0, 0, 0]), Ok(Block::Runt));
        for nibble in [0x10, 0x50, 0x70, 0xf0] {
            assert_eq!(Block::at(&[nibble; 40]), Err(Discard::AggfragBlock));
        }
    }
}
