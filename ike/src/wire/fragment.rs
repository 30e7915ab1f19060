//! The Encrypted and Authenticated Fragment payload: a message in parts, each protected on its own (RFC 7383 2.5).
//!
//! ```text
//!                      1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Next Payload  |C|  RESERVED   |         Payload Length        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |        Fragment Number        |        Total Fragments        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                     Initialization Vector                     |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                      Encrypted content                        ~
//! +               +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |               |             Padding (0-255 octets)            |
//! +-+-+-+-+-+-+-+-+                               +-+-+-+-+-+-+-+-+
//! |                                               |  Pad Length   |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                    Integrity Checksum Data                    ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! What the ICV covers begins with the IKE header and includes the two numbers.

use std::fmt;

use zeroize::Zeroizing;

use super::chain::{Chain, GENERIC_HEADER, PayloadType};
use super::header::Header;
use super::malformed::Malformed;
use super::reader::Reader;
use super::sealed::{OpenError, Opened, Plain, Protect, decrypt, pad, strip_padding};
use super::writer::{Writer, saturating_u16, saturating_u32};

/// A fragment as it came: nobody vouches for it yet.
#[derive(Debug)]
pub struct SealedFragment<'a> {
    header: Header,
    numbers: Numbers,
    first: PayloadType,
    outside: Result<(), Malformed>,
    aad: &'a [u8],
    body: &'a [u8],
    /// Where the next-payload field is that announces the SKF payload.
    announced_at: usize,
    octets: usize,
}

/// Which part of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers {
    /// Fragment Number, from 1.
    pub number: u16,
    /// Total Fragments.
    pub total: u16,
}

impl Numbers {
    /// RFC 7383 2.6: both non-zero, and the one not above the other.
    pub fn are_valid(self) -> bool {
        (1..=self.total).contains(&self.number)
    }
}

/// A fragment whose ICV was right.
pub struct Fragment {
    header: Header,
    numbers: Numbers,
    first: PayloadType,
    outside: Result<(), Malformed>,
    /// The octets in the clear, as they would be if the message had not been cut; of the first one only.
    clear: Vec<u8>,
    content: Zeroizing<Vec<u8>>,
    octets: usize,
}

impl fmt::Debug for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Numbers { number, total } = self.numbers;
        write!(f, "Fragment({number} of {total}, {} octets)", self.content.len())
    }
}

impl<'a> SealedFragment<'a> {
    /// Looks at a message. `None`: it is no fragment.
    pub fn parse(datagram: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let (header, first) = Header::parse(datagram)?;
        let behind = datagram.get(Header::LEN..).unwrap_or_default();
        let outside = Chain::walk(first, behind, Header::LEN)?;
        let Some(skf) = outside.last().filter(|payload| payload.kind == PayloadType::SKF) else {
            return Ok(None);
        };
        // In the header, or in the payload before.
        let before = outside.iter().rev().nth(1);
        let announced_at = before.map_or(Header::NEXT_PAYLOAD_AT, |payload| {
            payload.offset.saturating_sub(GENERIC_HEADER)
        });
        let mut reader = Reader::at(skf.body, skf.offset);
        let number = reader.u16("the fragment number")?;
        let total = reader.u16("the total of fragments")?;
        let aad_len = skf.offset.saturating_add(NUMBERS);
        Ok(Some(Self {
            header,
            numbers: Numbers { number, total },
            first: skf.next,
            outside: outside.refuse_unknown_critical(),
            aad: datagram.get(..aad_len).unwrap_or_default(),
            body: skf.body.get(NUMBERS..).unwrap_or_default(),
            announced_at,
            octets: datagram.len(),
        }))
    }

    /// Its place, as claimed.
    pub fn numbers(&self) -> Numbers {
        self.numbers
    }

    /// Checks and decrypts.
    pub fn open(&self, protect: &dyn Protect) -> Result<Fragment, OpenError> {
        let mut content = decrypt(protect, self.aad, self.body)?;
        let length = strip_padding(&content).map_err(OpenError::Malformed)?.len();
        content.truncate(length);
        // Of the others nobody needs it.
        let clear = (self.numbers.number == 1).then(|| self.clear());
        Ok(Fragment {
            header: self.header,
            numbers: self.numbers,
            first: self.first,
            outside: self.outside.clone(),
            clear: clear.unwrap_or_default(),
            content,
            octets: self.octets,
        })
    }

    /// RFC 9242 3.3.2: AUTH covers a message as if it had come in one SK payload.
    fn clear(&self) -> Vec<u8> {
        let length = self.aad.len().saturating_sub(NUMBERS);
        let mut clear = self.aad.get(..length).unwrap_or_default().to_vec();
        if let Some(field) = clear.get_mut(self.announced_at) {
            *field = PayloadType::SK.0;
        }
        clear
    }
}

impl Fragment {
    /// The header, that of the whole message but for its length.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Its place.
    pub fn numbers(&self) -> Numbers {
        self.numbers
    }

    /// The octets of the message inside.
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// The octets that are kept of it.
    pub fn kept(&self) -> usize {
        self.content.len().saturating_add(self.clear.len())
    }

    /// The octets of the datagram.
    pub fn octets(&self) -> usize {
        self.octets
    }
}

/// Puts a message together. `fragments` are all there are, in their order; `None` only if there is none.
pub fn assemble(fragments: Vec<Fragment>) -> Option<Opened> {
    let first = fragments.first()?;
    let (header, kind, clear) = (first.header, first.first, first.clear.clone());
    // Whatever is outside counts wherever it is: each is the peer's word.
    let outside = fragments.iter().try_for_each(|fragment| fragment.outside.clone());
    let length: usize = fragments.iter().map(|fragment| fragment.content.len()).sum();
    let mut plaintext = Zeroizing::new(Vec::with_capacity(length.saturating_add(1)));
    for fragment in &fragments {
        plaintext.extend_from_slice(&fragment.content);
    }
    // The paddings were taken off one by one.
    plaintext.push(0);
    Some(Opened::assembled(header, outside, clear, kind, plaintext))
}

/// How many octets of a message fit into a fragment of at most `octets`. At least one, or there were no end.
pub fn capacity(octets: usize, protect: &dyn Protect) -> usize {
    let fixed = Header::LEN
        .saturating_add(GENERIC_HEADER)
        .saturating_add(NUMBERS)
        .saturating_add(protect.iv_len())
        .saturating_add(protect.icv_len());
    let room = octets.saturating_sub(fixed);
    let block = protect.block_len().max(1);
    // The last octet of the last block is the pad length.
    (room / block).saturating_mul(block).saturating_sub(1).max(1)
}

/// Writes a message as fragments of at most `octets` each. `next_iv` gives each one an IV of its own.
pub fn seal_fragments(
    plain: &Plain,
    octets: usize,
    protect: &dyn Protect,
    mut next_iv: impl FnMut() -> Vec<u8>,
) -> Vec<Vec<u8>> {
    // The first one has to have room for what stands in the clear; the others are as large.
    let room = octets.saturating_sub(plain.outside_len());
    let chunks: Vec<&[u8]> = plain.inside().chunks(capacity(room, protect)).collect();
    let total = saturating_u16(chunks.len());
    let numbers = (1..=total).map(|number| Numbers { number, total });
    numbers
        .zip(chunks)
        .map(|(numbers, chunk)| seal_fragment(plain, numbers, chunk, protect, &next_iv()))
        .collect()
}

fn seal_fragment(plain: &Plain, numbers: Numbers, chunk: &[u8], protect: &dyn Protect, iv: &[u8]) -> Vec<u8> {
    let mut text = chunk.to_vec();
    pad(&mut text, protect.block_len());
    let payload = GENERIC_HEADER
        .saturating_add(NUMBERS)
        .saturating_add(iv.len())
        .saturating_add(text.len())
        .saturating_add(protect.icv_len());
    let mut out = Writer::new();
    if numbers.number == 1 {
        // RFC 7383 2.5.3: what is not encrypted stands in the first one.
        plain.emit_head(PayloadType::SKF, payload, &mut out);
    } else {
        let length = saturating_u32(payload.saturating_add(Header::LEN));
        plain.header().emit(PayloadType::SKF, length, &mut out);
    }
    // RFC 7383 2.5: only the first one says what the message begins with.
    let inside = if numbers.number == 1 {
        plain.first()
    } else {
        PayloadType::NONE
    };
    out.u8(inside.0);
    out.reserved(1);
    out.u16(saturating_u16(payload));
    out.u16(numbers.number);
    out.u16(numbers.total);
    protect.seal(iv, out.as_slice(), &mut text);
    out.bytes(iv);
    out.bytes(&text);
    out.into_bytes()
}

/// Octets of the two numbers.
const NUMBERS: usize = 4;
