//! Writing octets, with length fields that are filled in afterwards.

/// A growing message.
///
/// Writing cannot fail. A length that does not fit its field is written as the largest value the field can
/// hold, which no peer accepts; the limits of the configuration keep us from ever writing that much.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

/// A 16-bit length field that waits for its value.
#[derive(Debug)]
#[must_use = "a length that is never closed stays zero"]
pub struct LengthField {
    at: usize,
    counts_from: usize,
}

impl Writer {
    /// An empty message.
    pub fn new() -> Self {
        Self::default()
    }

    /// Octets written so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// One octet.
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// Two octets, big endian.
    pub fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// Four octets, big endian.
    pub fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// Eight octets, big endian.
    pub fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// Octets as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// `n` zero octets: what the RFC calls RESERVED.
    pub fn reserved(&mut self, n: usize) {
        self.bytes.resize(self.bytes.len().saturating_add(n), 0);
    }

    /// Leaves room for a 16-bit length that counts from `back` octets before itself, until [`Self::close`].
    pub fn open_length(&mut self, back: usize) -> LengthField {
        let at = self.bytes.len();
        self.u16(0);
        LengthField {
            at,
            counts_from: at.saturating_sub(back),
        }
    }

    /// Fills in a length: it counts up to here.
    pub fn close(&mut self, field: LengthField) {
        let length = saturating_u16(self.bytes.len().saturating_sub(field.counts_from));
        self.overwrite(field.at, &length.to_be_bytes());
    }

    /// Replaces octets that were written before. Outside of what was written it does nothing.
    pub fn overwrite(&mut self, at: usize, bytes: &[u8]) {
        let end = at.saturating_add(bytes.len());
        if let Some(slot) = self.bytes.get_mut(at..end) {
            slot.copy_from_slice(bytes);
        }
    }

    /// What was written so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// The message.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// A count for a one-octet field, or the largest the field can hold.
pub(crate) fn saturating_u8(n: usize) -> u8 {
    u8::try_from(n).unwrap_or(u8::MAX)
}

/// A length for a two-octet field, or the largest the field can hold.
pub(crate) fn saturating_u16(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

/// A length for a four-octet field, or the largest the field can hold.
pub(crate) fn saturating_u32(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_in_a_length_that_counts_its_own_header() {
        let mut writer = Writer::new();
        writer.u8(0xaa);
        writer.u16(0x0102);
        let length = writer.open_length(2);
        writer.u32(5);
        writer.reserved(1);
        writer.close(length);
        assert_eq!(writer.into_bytes(), [0xaa, 1, 2, 0, 9, 0, 0, 0, 5, 0]);
    }

    #[test]
    fn saturates_instead_of_wrapping() {
        let mut writer = Writer::new();
        let length = writer.open_length(0);
        writer.reserved(70_000);
        writer.close(length);
        assert_eq!(&writer.as_slice()[..2], &[0xff, 0xff]);
        assert_eq!(saturating_u8(256), 255);
        assert_eq!(saturating_u32(usize::MAX), u32::MAX);
    }

    #[test]
    fn overwrites_only_what_was_written() {
        let mut writer = Writer::new();
        writer.u16(0);
        writer.overwrite(1, &[1, 2]);
        writer.overwrite(usize::MAX, &[1]);
        writer.overwrite(0, &[7]);
        assert_eq!(writer.as_slice(), &[7, 0]);
    }
}
