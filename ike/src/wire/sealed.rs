//! The Encrypted payload: sealing and opening (RFC 7296 3.14, RFC 5282 3).
//!
//! ```text
//!                      1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! | Next Payload  |C|  RESERVED   |         Payload Length        |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |                     Initialization Vector                     |
//! |         (length is block size for encryption algorithm)       |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                    Encrypted IKE Payloads                     ~
//! +               +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |               |             Padding (0-255 octets)            |
//! +-+-+-+-+-+-+-+-+                               +-+-+-+-+-+-+-+-+
//! |                                               |  Pad Length   |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ~                    Integrity Checksum Data                    ~
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! ```
//!
//! Opening has two steps with two kinds of error, because they call for opposite reactions:
//! [`open`] fails for octets nobody vouches for (ignore them, whatever they say); [`Opened::chain`] fails for
//! octets the peer itself got wrong (tell it, RFC 7296 2.21.3).

use std::fmt;

use zeroize::Zeroizing;

use super::chain::{Chain, GENERIC_HEADER, Payload, PayloadType, Payloads};
use super::header::Header;
use super::malformed::{Fault, Malformed};
use super::payload::Body;
use super::reader::Reader;
use super::writer::{Writer, saturating_u8, saturating_u16, saturating_u32};

/// One direction of an IKE SA's protection: SK_e and, without an AEAD, SK_a.
///
/// For an AEAD the ICV covers `aad` and the ciphertext. For a cipher with a separate integrity algorithm
/// (encrypt-then-MAC) it covers `aad`, the IV and the ciphertext, which is the whole message up to the ICV.
/// `aad` is always the message from its first octet to the end of the SK payload's generic header.
pub trait Protect {
    /// Octets of the explicit IV.
    fn iv_len(&self) -> usize;
    /// Octets of the ICV.
    fn icv_len(&self) -> usize;
    /// The plaintext with padding is a multiple of this; 1 for an AEAD.
    fn block_len(&self) -> usize;
    /// Encrypts `text` in place and appends the ICV. `text` is a multiple of the block length, `iv` as long as asked for.
    fn seal(&self, iv: &[u8], aad: &[u8], text: &mut Vec<u8>);
    /// Checks the ICV at the end of `text`, then decrypts in place; how many octets of plaintext `text` now begins with.
    fn open(&self, iv: &[u8], aad: &[u8], text: &mut [u8]) -> Result<usize, NotAuthentic>;
}

/// The ICV was not what the key makes of the octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAuthentic;

impl fmt::Display for NotAuthentic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the integrity check failed")
    }
}

impl std::error::Error for NotAuthentic {}

/// Why a datagram could not be opened. Anyone can cause each of these: they change nothing but a counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The octets outside the encryption are no IKE message.
    Malformed(Malformed),
    /// There is no SK payload where one must be. (Fragments: [`super::fragment`].)
    NotEncrypted,
    /// The SK payload is too short for an IV, a block and an ICV, or is not made of whole blocks.
    Length,
    /// The ICV is wrong.
    NotAuthentic,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => write!(f, "{malformed}"),
            Self::NotEncrypted => f.write_str("the message is not encrypted"),
            Self::Length => f.write_str("the encrypted payload has an impossible length"),
            Self::NotAuthentic => f.write_str("the integrity check failed"),
        }
    }
}

impl std::error::Error for OpenError {}

/// A message whose ICV was right. What is in it is the peer's word, but may still be nonsense.
#[derive(Clone)]
pub struct Opened {
    header: Header,
    outside: Result<(), Malformed>,
    /// The octets in the clear: from the header to the generic header of the SK payload.
    clear: Vec<u8>,
    first: PayloadType,
    plaintext: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opened({:?}, {} octets)", self.header, self.plaintext.len())
    }
}

impl Opened {
    /// A message put together from fragments. `plaintext` ends with a pad length.
    pub(super) fn assembled(
        header: Header,
        outside: Result<(), Malformed>,
        clear: Vec<u8>,
        first: PayloadType,
        plaintext: Zeroizing<Vec<u8>>,
    ) -> Self {
        Self {
            header,
            outside,
            clear,
            first,
            plaintext,
        }
    }

    /// The header of the message.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The payloads that were inside. Offsets in errors count from the start of the plaintext.
    pub fn chain(&self) -> Result<Chain<'_>, Malformed> {
        // Payloads beside SK are the peer's word too (the ICV covers them); an unknown critical one counts.
        self.outside.clone()?;
        let payloads = strip_padding(&self.plaintext)?;
        let chain = Chain::parse(self.first, payloads, 0)?;
        // RFC 7296 3.1: an Encrypted payload MUST NOT contain another Encrypted payload.
        match chain.iter().find(|payload| payload.kind.is_encrypted()) {
            Some(nested) => Err(nested.fault(Fault::Value {
                what: "a payload inside SK",
                value: u64::from(nested.kind.0),
            })),
            None => Ok(chain),
        }
    }
}

impl Opened {
    /// The message as if nothing had been encrypted, which is what IntAuth covers.
    pub fn unencrypted(&self) -> Result<Vec<u8>, Malformed> {
        Ok(adjusted(self.clear.clone(), strip_padding(&self.plaintext)?))
    }
}

/// A message of ours as if nothing were encrypted, which is what IntAuth covers.
pub fn unencrypted(header: &Header, payloads: &Payloads) -> Vec<u8> {
    let mut inside = Writer::new();
    payloads.emit(&mut inside);
    let mut clear = Writer::new();
    header.emit(PayloadType::SK, 0, &mut clear);
    clear.u8(payloads.first().0);
    clear.reserved(1);
    clear.u16(0);
    adjusted(clear.into_bytes(), inside.as_slice())
}

/// RFC 9242 3.3.2: A | P, with lengths that count neither IV nor padding nor ICV.
fn adjusted(mut clear: Vec<u8>, inside: &[u8]) -> Vec<u8> {
    let message = saturating_u32(clear.len().saturating_add(inside.len()));
    let payload = saturating_u16(inside.len().saturating_add(GENERIC_HEADER));
    if let Some(field) = clear.get_mut(Header::LENGTH_AT..Header::LEN) {
        field.copy_from_slice(&message.to_be_bytes());
    }
    if let Some(field) = clear.last_chunk_mut::<2>() {
        *field = payload.to_be_bytes();
    }
    clear.extend_from_slice(inside);
    clear
}

/// A message before it is sealed, whole or in fragments.
#[derive(Clone)]
pub struct Plain {
    header: Header,
    outside: Option<(PayloadType, Vec<u8>)>,
    first: PayloadType,
    inside: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plain({:?}, {} octets)", self.header, self.inside.len())
    }
}

impl Plain {
    /// A message with these payloads.
    pub fn new(header: Header, payloads: &Payloads) -> Self {
        let mut inside = Writer::new();
        payloads.emit(&mut inside);
        Self {
            header,
            outside: None,
            first: payloads.first(),
            inside: Zeroizing::new(inside.into_bytes()),
        }
    }

    /// The same with a payload in the clear before the others; of fragments only the first one has it (RFC 7383 2.5.3).
    pub fn behind<T: Body>(mut self, kind: PayloadType, body: &T) -> Self {
        let mut out = Writer::new();
        body.emit(&mut out);
        self.outside = Some((kind, out.into_bytes()));
        self
    }

    /// Octets of what stands in the clear before the others.
    pub(super) fn outside_len(&self) -> usize {
        let body = self.outside.as_ref().map(|(_, body)| body.len());
        body.map_or(0, |body| body.saturating_add(GENERIC_HEADER))
    }

    /// Writes the header and what stands in the clear; `encrypted` follows, with so many octets.
    pub(super) fn emit_head(&self, encrypted: PayloadType, octets: usize, out: &mut Writer) {
        let length = Header::LEN
            .saturating_add(self.outside_len())
            .saturating_add(octets);
        let Some((kind, body)) = &self.outside else {
            self.header.emit(encrypted, saturating_u32(length), out);
            return;
        };
        self.header.emit(*kind, saturating_u32(length), out);
        out.u8(encrypted.0);
        out.reserved(1);
        out.u16(saturating_u16(self.outside_len()));
        out.bytes(body);
    }

    /// The header, as all fragments have it, too.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The type of the first payload inside.
    pub fn first(&self) -> PayloadType {
        self.first
    }

    /// The chain of payloads.
    pub fn inside(&self) -> &[u8] {
        &self.inside
    }

    /// The octets of the message with all payloads inside one SK payload.
    pub fn sealed_len(&self, protect: &dyn Protect) -> usize {
        let text = padded_len(self.inside.len(), protect.block_len());
        Header::LEN
            .saturating_add(self.outside_len())
            .saturating_add(payload_len(text, protect))
    }

    /// Writes the message with all its payloads inside one SK payload.
    ///
    /// `iv` is as long as `protect` asks for: unpredictable for CBC (RFC 7296 3.14), never repeated for an AEAD
    /// (RFC 5282 3.1).
    pub fn seal(&self, protect: &dyn Protect, iv: &[u8]) -> Vec<u8> {
        let mut text = self.inside.to_vec();
        pad(&mut text, protect.block_len());

        // The length fields are part of what the ICV covers: they are right before anything is sealed.
        let payload = payload_len(text.len(), protect);
        let mut out = Writer::new();
        self.emit_head(PayloadType::SK, payload, &mut out);
        out.u8(self.first.0);
        out.reserved(1);
        out.u16(saturating_u16(payload));

        protect.seal(iv, out.as_slice(), &mut text);
        out.bytes(iv);
        out.bytes(&text);
        out.into_bytes()
    }
}

/// Writes a message with all its payloads inside one SK payload: [`Plain::seal`].
pub fn seal(header: &Header, payloads: &Payloads, protect: &dyn Protect, iv: &[u8]) -> Vec<u8> {
    Plain::new(*header, payloads).seal(protect, iv)
}

/// Checks and decrypts a message. The octets are not changed: AUTH and retransmission may need them (RFC 7296 2.15).
pub fn open(datagram: &[u8], protect: &dyn Protect) -> Result<Opened, OpenError> {
    let (header, first) = Header::parse(datagram).map_err(OpenError::Malformed)?;
    let behind = datagram.get(Header::LEN..).unwrap_or_default();
    let outside = Chain::walk(first, behind, Header::LEN).map_err(OpenError::Malformed)?;
    let sk = encrypted(&outside)?;

    let aad = datagram.get(..sk.offset).ok_or(OpenError::Length)?;
    let plaintext = decrypt(protect, aad, sk.body)?;
    Ok(Opened {
        header,
        outside: outside.refuse_unknown_critical(),
        clear: aad.to_vec(),
        first: sk.next,
        plaintext,
    })
}

/// Checks the ICV of the body of an SK or SKF payload, and decrypts.
pub(super) fn decrypt(
    protect: &dyn Protect,
    aad: &[u8],
    body: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let (iv, sealed) = body.split_at_checked(protect.iv_len()).ok_or(OpenError::Length)?;
    let text_len = sealed
        .len()
        .checked_sub(protect.icv_len())
        .ok_or(OpenError::Length)?;
    let block_len = protect.block_len().max(1);
    // At least the pad length octet was encrypted.
    if text_len == 0 || text_len % block_len != 0 {
        return Err(OpenError::Length);
    }
    let mut plaintext = Zeroizing::new(sealed.to_vec());
    let length = protect
        .open(iv, aad, &mut plaintext)
        .map_err(|NotAuthentic| OpenError::NotAuthentic)?;
    plaintext.truncate(length);
    Ok(plaintext)
}

/// RFC 7296 3.14: if there is an SK payload it is the last one.
fn encrypted<'c, 'a>(outside: &'c Chain<'a>) -> Result<&'c Payload<'a>, OpenError> {
    match outside.last() {
        Some(payload) if payload.kind == PayloadType::SK => Ok(payload),
        Some(_) | None => Err(OpenError::NotEncrypted),
    }
}

/// Appends the least padding that fills the last block, and the pad length octet.
pub(super) fn pad(text: &mut Vec<u8>, block_len: usize) {
    let padded = padded_len(text.len(), block_len).saturating_sub(1);
    let padding = padded.saturating_sub(text.len());
    text.resize(padded, 0);
    text.push(saturating_u8(padding));
}

/// The octets of a text with padding and pad length.
fn padded_len(text: usize, block_len: usize) -> usize {
    text.saturating_add(1).next_multiple_of(block_len.max(1))
}

/// The octets of an SK payload around a padded text.
fn payload_len(text: usize, protect: &dyn Protect) -> usize {
    GENERIC_HEADER
        .saturating_add(protect.iv_len())
        .saturating_add(text)
        .saturating_add(protect.icv_len())
}

/// The recipient accepts any padding (RFC 7296 3.14); that the blocks are whole was checked before opening.
pub(super) fn strip_padding(plaintext: &[u8]) -> Result<&[u8], Malformed> {
    let Some((&pad_length, padded)) = plaintext.split_last() else {
        return Err(Reader::new(plaintext).fault(Fault::Truncated {
            what: "the pad length",
            need: 1,
            have: 0,
        }));
    };
    let length = usize::from(pad_length);
    padded
        .len()
        .checked_sub(length)
        .and_then(|end| padded.get(..end))
        .ok_or_else(|| {
            Malformed::new(
                Fault::Length {
                    what: "the pad length",
                    length,
                },
                padded.len(),
            )
        })
}
