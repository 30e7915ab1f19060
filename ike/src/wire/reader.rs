//! Reading octets without ever reading past them.

use super::malformed::{Fault, Malformed};

/// A cursor over borrowed octets that knows how far from the start of the message it is.
///
/// Every method takes the name of the field it reads, for the message to the operator. After an error the
/// cursor has not moved.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`, counting offsets from 0.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self::at(bytes, 0)
    }

    /// Reads `bytes`, which begin `offset` octets into whatever offsets are counted from.
    pub fn at(bytes: &'a [u8], offset: usize) -> Self {
        Self { rest: bytes, offset }
    }

    /// Where the next octet is.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// How many octets are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `n` octets.
    pub fn take(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], Malformed> {
        match self.rest.split_at_checked(n) {
            Some((head, tail)) => {
                self.advance(n, tail);
                Ok(head)
            }
            None => Err(self.truncated(n, what)),
        }
    }

    /// The next `N` octets as an array.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], Malformed> {
        match self.rest.split_first_chunk::<N>() {
            Some((head, tail)) => {
                self.advance(N, tail);
                Ok(*head)
            }
            None => Err(self.truncated(N, what)),
        }
    }

    /// One octet.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, Malformed> {
        Ok(u8::from_be_bytes(self.array(what)?))
    }

    /// Two octets, big endian.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array(what)?))
    }

    /// Four octets, big endian.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, Malformed> {
        Ok(u32::from_be_bytes(self.array(what)?))
    }

    /// Eight octets, big endian.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, Malformed> {
        Ok(u64::from_be_bytes(self.array(what)?))
    }

    /// A cursor over the next `n` octets alone; this one goes on behind them.
    pub fn part(&mut self, n: usize, what: &'static str) -> Result<Reader<'a>, Malformed> {
        let offset = self.offset;
        Ok(Reader::at(self.take(n, what)?, offset))
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = self.rest;
        self.advance(rest.len(), &[]);
        rest
    }

    /// Asserts that `what` ends here.
    pub fn finish(&self, what: &'static str) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.fault(Fault::Trailing {
                what,
                octets: self.rest.len(),
            }))
        }
    }

    /// A fault at the cursor.
    pub fn fault(&self, fault: Fault) -> Malformed {
        Malformed::new(fault, self.offset)
    }

    fn truncated(&self, need: usize, what: &'static str) -> Malformed {
        self.fault(Fault::Truncated {
            what,
            need,
            have: self.rest.len(),
        })
    }

    fn advance(&mut self, n: usize, tail: &'a [u8]) {
        self.rest = tail;
        self.offset = self.offset.saturating_add(n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_big_endian_fields_in_order() {
        let mut reader = Reader::new(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
        assert_eq!(reader.u8("a").unwrap(), 1);
        assert_eq!(reader.u16("b").unwrap(), 0x0203);
        assert_eq!(reader.u32("c").unwrap(), 0x0405_0607);
        assert_eq!(reader.u64("d").unwrap(), 0x0809_0a0b_0c0d_0e0f);
        assert_eq!((reader.offset(), reader.remaining()), (15, 1));
        assert_eq!(reader.rest(), &[16]);
        assert!(reader.is_empty() && reader.finish("all").is_ok());
    }

    #[test]
    fn names_the_field_that_is_cut_off_and_stays_where_it_was() {
        let mut reader = Reader::at(&[1, 2, 3], 40);
        let error = reader.u32("the window").unwrap_err();
        assert_eq!(
            error,
            Malformed::new(
                Fault::Truncated {
                    what: "the window",
                    need: 4,
                    have: 3
                },
                40
            )
        );
        assert_eq!(
            error.to_string(),
            "the window is cut off: needs 4 octets, 3 are left (octet 40)"
        );
        assert_eq!(reader.remaining(), 3);
    }

    #[test]
    fn a_part_cannot_read_past_itself() {
        let mut reader = Reader::new(&[1, 2, 3, 4]);
        reader.u8("first").unwrap();
        let mut part = reader.part(2, "part").unwrap();
        assert_eq!((part.offset(), part.rest()), (1, &[2u8, 3][..]));
        assert!(part.u8("more").is_err());
        assert_eq!(
            reader.finish("all").unwrap_err().fault,
            Fault::Trailing {
                what: "all",
                octets: 1
            }
        );
        assert!(reader.part(usize::MAX, "huge").is_err());
    }
}
