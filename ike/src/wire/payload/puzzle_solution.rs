//! Puzzle Solution payload (RFC 8019 8.2).
//!
//! ```text
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                     Puzzle Solution Data                      ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```

use super::Body;
use crate::wire::malformed::{Fault, Malformed};
use crate::wire::reader::Reader;
use crate::wire::writer::Writer;

/// Four keys of the same length, one behind the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PuzzleSolution(pub Vec<u8>);

impl PuzzleSolution {
    /// The longest: four keys of the longest PRF.
    pub const MAX: usize = 4 * 64;

    /// The four keys.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.0.chunks_exact((self.0.len() / 4).max(1))
    }
}

impl Body for PuzzleSolution {
    fn parse(body: &[u8]) -> Result<Self, Malformed> {
        // RFC 8019 8.2: never empty, always a multiple of four octets.
        if (4..=Self::MAX).contains(&body.len()) && body.len().is_multiple_of(4) {
            Ok(Self(body.to_vec()))
        } else {
            Err(Reader::new(body).fault(Fault::Length {
                what: "a puzzle solution of length",
                length: body.len(),
            }))
        }
    }

    fn emit(&self, out: &mut Writer) {
        out.bytes(&self.0);
    }
}
