//! One type over the ciphers of ESP: seals and opens an ESP packet in place.
//!
//! AEADs are those of [`backend`](super::backend), but those for old peers (`legacy`). AES-CBC is RustCrypto's, its HMAC ring's:
//! encrypt-then-MAC (RFC 4303 3.3.2).
//! ring and aws-lc do not wipe their key schedules on drop; RustCrypto's are wiped. The raw keys are zeroized by their owner.

use aes::cipher::{
    Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit,
};
use aes::{Aes128, Aes192, Aes256};
use ccm::consts::{U8, U12, U16};
use ring::hmac;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::BadKeys;
use super::backend::{Algorithm, Key, NONCE};
use super::legacy::{self, Legacy};
use crate::api::{Integrity, Keys, Suite};
use crate::discard::Discard;
use crate::esp::layout::{HEADER, Layout};

/// The keyed transform of one SA.
///
/// Concurrency: immutable; all queues use it at once.
pub(crate) struct Transform {
    layout: Layout,
    cipher: Cipher,
}

enum Cipher {
    Aead {
        key: Key,
        salt: Zeroizing<[u8; SALT]>,
    },
    Cbc {
        block: Box<Aes>,
        iv_key: Box<Aes128>,
        mac: Box<hmac::Key>,
    },
    Legacy(Box<dyn Legacy>),
}

enum Aes {
    Aes128(Aes128),
    Aes192(Aes192),
    Aes256(Aes256),
}

impl Transform {
    pub(crate) fn new(suite: Suite, keys: &Keys) -> Result<Self, BadKeys> {
        let cipher = match suite {
            Suite::AesGcm128 | Suite::AesGcm128Iiv => Cipher::aead(Algorithm::Aes128Gcm, keys)?,
            Suite::AesGcm256 | Suite::AesGcm256Iiv => Cipher::aead(Algorithm::Aes256Gcm, keys)?,
            Suite::ChaCha20Poly1305 | Suite::ChaCha20Poly1305Iiv => {
                Cipher::aead(Algorithm::ChaCha20Poly1305, keys)?
            }
            Suite::AesCbc { key_bits, integrity } => Cipher::cbc(key_bits, integrity, keys)?,
            Suite::AesCcm8(key) | Suite::AesCcm8Iiv(key) => Cipher::Legacy(legacy::ccm::<U8>(key, keys)?),
            Suite::AesCcm12(key) => Cipher::Legacy(legacy::ccm::<U12>(key, keys)?),
            Suite::AesCcm16(key) => Cipher::Legacy(legacy::ccm::<U16>(key, keys)?),
            Suite::AesGcm8(key) => Cipher::Legacy(legacy::short_gcm::<U8>(key, keys)?),
            Suite::AesGcm12(key) => Cipher::Legacy(legacy::short_gcm::<U12>(key, keys)?),
        };
        Ok(Self {
            layout: Layout::of(suite),
            cipher,
        })
    }

    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Writes header, IV and ICV of `esp` and encrypts what lies between them in place.
    ///
    /// `esp` is a whole ESP packet by [`Layout`], padded, with header, IV and ICV still to be written.
    pub(crate) fn seal(&self, spi: u32, seq: u64, esn: bool, esp: &mut [u8]) -> Result<(), Discard> {
        let Parts {
            header,
            iv,
            payload,
            icv,
        } = self.parts(esp).ok_or(Discard::NoRoom)?;
        header[..4].copy_from_slice(&spi.to_be_bytes());
        header[4..].copy_from_slice(&low(seq).to_be_bytes());
        match &self.cipher {
            Cipher::Aead { key, salt } => {
                // RFC 4106 3.1: the IV must be unique for the key. The sequence number is, in all of its 64 bits.
                let unique = seq.to_be_bytes();
                if !self.layout.has_implicit_iv() {
                    iv.copy_from_slice(&unique);
                }
                let nonce = nonce(salt, &unique).ok_or(Discard::NoRoom)?;
                let (aad, len) = associated_data(spi, seq, esn);
                key.seal(nonce, &aad[..len], payload, icv)
                    .ok_or(Discard::NoRoom)?;
            }
            Cipher::Cbc { block, iv_key, mac } => {
                iv.copy_from_slice(&unpredictable_iv(iv_key, spi, seq));
                block.encrypt(iv, payload).ok_or(Discard::NoRoom)?;
                let tag = authenticate(mac, header, iv, payload, seq, esn);
                icv.copy_from_slice(tag.as_ref().get(..icv.len()).ok_or(Discard::NoRoom)?);
            }
            Cipher::Legacy(aead) => {
                // RFC 4309 3.1, RFC 4106 3.1: unique for the key, as above.
                let unique = seq.to_be_bytes();
                if !self.layout.has_implicit_iv() {
                    iv.copy_from_slice(&unique);
                }
                let (aad, len) = associated_data(spi, seq, esn);
                aead.seal(&unique, &aad[..len], payload, icv)
                    .ok_or(Discard::NoRoom)?;
            }
        }
        Ok(())
    }

    /// Verifies the ICV of a received ESP packet and decrypts what lies between IV and ICV in place.
    ///
    /// `seq` is the whole sequence number: with ESN the half that was not sent is authenticated too.
    pub(crate) fn open(&self, spi: u32, seq: u64, esn: bool, esp: &mut [u8]) -> Result<(), Discard> {
        match &self.cipher {
            Cipher::Aead { key, salt } => {
                let (_, rest) = esp.split_at_mut_checked(HEADER).ok_or(Discard::TruncatedOuter)?;
                let (iv, sealed) = rest
                    .split_at_mut_checked(self.layout.iv)
                    .ok_or(Discard::TruncatedOuter)?;
                let nonce = nonce(salt, self.received_iv(iv, &seq.to_be_bytes()));
                let (aad, len) = associated_data(spi, seq, esn);
                // The ICV is read where it lies, behind the payload.
                key.open(nonce.ok_or(Discard::TruncatedOuter)?, &aad[..len], sealed)
                    .ok_or(Discard::BadIcv)
            }
            Cipher::Cbc {
                block,
                iv_key: _,
                mac,
            } => {
                let parts = self.parts(esp).ok_or(Discard::TruncatedOuter)?;
                let tag = authenticate(mac, parts.header, parts.iv, parts.payload, seq, esn);
                let expected = tag.as_ref().get(..parts.icv.len()).ok_or(Discard::BadIcv)?;
                if !bool::from(expected.ct_eq(parts.icv)) {
                    return Err(Discard::BadIcv);
                }
                // Authentic, so a length that is no multiple of the block is the peer's fault, not an attacker's.
                block.decrypt(parts.iv, parts.payload).ok_or(Discard::BadPadding)
            }
            Cipher::Legacy(aead) => {
                let parts = self.parts(esp).ok_or(Discard::TruncatedOuter)?;
                let unique = seq.to_be_bytes();
                let (aad, len) = associated_data(spi, seq, esn);
                let iv = self.received_iv(parts.iv, &unique);
                aead.open(iv, &aad[..len], parts.payload, parts.icv)
                    .ok_or(Discard::BadIcv)
            }
        }
    }

    /// RFC 8750 4: an implicit IV is the sequence number in 64 bits, of which the upper 32 are zero without ESN.
    fn received_iv<'a>(&self, sent: &'a [u8], sequence: &'a [u8; 8]) -> &'a [u8] {
        if self.layout.has_implicit_iv() {
            sequence
        } else {
            sent
        }
    }

    fn parts<'a>(&self, esp: &'a mut [u8]) -> Option<Parts<'a>> {
        let (header, rest) = esp.split_at_mut_checked(HEADER)?;
        let (iv, rest) = rest.split_at_mut_checked(self.layout.iv)?;
        let (payload, icv) = rest.split_at_mut_checked(rest.len().checked_sub(self.layout.icv)?)?;
        Some(Parts {
            header,
            iv,
            payload,
            icv,
        })
    }
}

struct Parts<'a> {
    header: &'a mut [u8],
    iv: &'a mut [u8],
    payload: &'a mut [u8],
    icv: &'a mut [u8],
}

impl Cipher {
    fn aead(algorithm: Algorithm, keys: &Keys) -> Result<Self, BadKeys> {
        let (key, salt) = keys.encryption.split_last_chunk::<SALT>().ok_or(BadKeys)?;
        if !keys.integrity.is_empty() {
            return Err(BadKeys);
        }
        Ok(Self::Aead {
            key: Key::new(algorithm, key)?,
            salt: Zeroizing::new(*salt),
        })
    }

    fn cbc(key_bits: u16, integrity: Integrity, keys: &Keys) -> Result<Self, BadKeys> {
        let (algorithm, mac_len) = match integrity {
            Integrity::HmacSha1_96 => (hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, 20),
            Integrity::HmacSha2_256_128 => (hmac::HMAC_SHA256, 32),
            Integrity::HmacSha2_384_192 => (hmac::HMAC_SHA384, 48),
            Integrity::HmacSha2_512_256 => (hmac::HMAC_SHA512, 64),
        };
        let key = keys.encryption.as_slice();
        if keys.integrity.len() != mac_len || key.len() * 8 != usize::from(key_bits) {
            return Err(BadKeys);
        }
        let block = match key_bits {
            128 => Aes::Aes128(Aes128::new_from_slice(key).map_err(|_| BadKeys)?),
            192 => Aes::Aes192(Aes192::new_from_slice(key).map_err(|_| BadKeys)?),
            256 => Aes::Aes256(Aes256::new_from_slice(key).map_err(|_| BadKeys)?),
            _ => return Err(BadKeys),
        };
        Ok(Self::Cbc {
            block: Box::new(block),
            iv_key: Box::new(iv_key(key)?),
            mac: Box::new(hmac::Key::new(algorithm, &keys.integrity)),
        })
    }
}

impl Aes {
    fn encrypt(&self, iv: &[u8], payload: &mut [u8]) -> Option<()> {
        match self {
            Self::Aes128(aes) => encrypt(aes, iv, payload),
            Self::Aes192(aes) => encrypt(aes, iv, payload),
            Self::Aes256(aes) => encrypt(aes, iv, payload),
        }
    }

    fn decrypt(&self, iv: &[u8], payload: &mut [u8]) -> Option<()> {
        match self {
            Self::Aes128(aes) => decrypt(aes, iv, payload),
            Self::Aes192(aes) => decrypt(aes, iv, payload),
            Self::Aes256(aes) => decrypt(aes, iv, payload),
        }
    }
}

fn encrypt<C: BlockCipherEncrypt>(cipher: &C, iv: &[u8], payload: &mut [u8]) -> Option<()> {
    let iv = <&Array<u8, C::BlockSize>>::try_from(iv).ok()?;
    let (blocks, []) = Array::slice_as_chunks_mut(payload) else {
        return None;
    };
    cbc::Encryptor::inner_iv_init(cipher, iv).encrypt_blocks(blocks);
    Some(())
}

fn decrypt<C: BlockCipherDecrypt>(cipher: &C, iv: &[u8], payload: &mut [u8]) -> Option<()> {
    let iv = <&Array<u8, C::BlockSize>>::try_from(iv).ok()?;
    let (blocks, []) = Array::slice_as_chunks_mut(payload) else {
        return None;
    };
    cbc::Decryptor::inner_iv_init(cipher, iv).decrypt_blocks(blocks);
    Some(())
}

/// RFC 4106 4, RFC 7634 2: salt and IV.
fn nonce(salt: &[u8; SALT], iv: &[u8]) -> Option<[u8; NONCE]> {
    let mut nonce = [0; NONCE];
    let (front, back) = nonce.split_at_mut(SALT);
    front.copy_from_slice(salt);
    back.copy_from_slice(iv.first_chunk::<{ NONCE - SALT }>()?);
    Some(nonce)
}

/// RFC 4106 5, RFC 4309 5, RFC 7634 2.1: SPI and sequence number, all 64 bits of it with ESN. Gives the buffer and the length used.
fn associated_data(spi: u32, seq: u64, esn: bool) -> ([u8; 12], usize) {
    let mut aad = [0; 12];
    aad[..4].copy_from_slice(&spi.to_be_bytes());
    if esn {
        aad[4..].copy_from_slice(&seq.to_be_bytes());
        return (aad, 12);
    }
    aad[4..8].copy_from_slice(&low(seq).to_be_bytes());
    (aad, 8)
}

/// RFC 4303 2.8, 3.3.2.1: over the packet without the ICV; with ESN, the high half follows implicitly.
fn authenticate(key: &hmac::Key, header: &[u8], iv: &[u8], payload: &[u8], seq: u64, esn: bool) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    context.update(header);
    context.update(iv);
    context.update(payload);
    if esn {
        context.update(&seq.to_be_bytes()[..4]);
    }
    context.sign()
}

/// RFC 3602 3: a CBC IV must be unpredictable, or chosen plaintext can be compared with earlier packets.
///
/// The sequence number never repeats under a key; encrypted under a key that nobody else has, it is a new value that
/// nobody can foresee (NIST SP 800-38A appendix C), and needs neither a random generator nor state per queue.
fn unpredictable_iv(key: &Aes128, spi: u32, seq: u64) -> [u8; 16] {
    let mut block = Array::from([0; 16]);
    block[..8].copy_from_slice(&seq.to_be_bytes());
    block[8..12].copy_from_slice(&spi.to_be_bytes());
    key.encrypt_block(&mut block);
    block.into()
}

/// The key for the IVs: a one-way image of the cipher's key, which is secret and its own for each SA.
fn iv_key(key: &[u8]) -> Result<Aes128, BadKeys> {
    let image = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, key),
        b"xvpn: key for the IVs of ESP with AES-CBC",
    );
    let image = Zeroizing::new(*image.as_ref().first_chunk::<16>().ok_or(BadKeys)?);
    Aes128::new_from_slice(image.as_slice()).map_err(|_| BadKeys)
}

/// The half of a sequence number that is sent.
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
fn low(seq: u64) -> u32 {
    seq as u32
}

const SALT: usize = 4;
