//! The ciphers of the SK payload: AES-GCM, AES-CCM and ChaCha20-Poly1305 (RFC 5282, RFC 7634), and AES-CBC with an HMAC
//! (RFC 3602, RFC 4868; encrypt-then-MAC).

use std::fmt;

use aes::{Aes128, Aes192, Aes256};
use aes_gcm::aead::array::ArraySize;
use aes_gcm::aead::{AeadCore, AeadInOut, KeyInit, Nonce, Tag};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use ccm::Ccm;
use ccm::consts::{U8, U11, U12, U16};
use chacha20poly1305::ChaCha20Poly1305;
use zeroize::{Zeroize, Zeroizing};

use super::gcm::ShortGcm;
use crate::negotiate::transform::{AesKey, Encryption, Integrity};
use crate::wire::sealed::{NotAuthentic, Protect};

/// One direction of an IKE SA's protection, with its keys. Zeroized on drop, never printed.
pub struct SkCipher {
    encryption: Encryption,
    kind: Kind,
}

enum Kind {
    Aead(Box<dyn Aead>),
    Aes128Cbc(EncryptThenMac),
    Aes256Cbc(EncryptThenMac),
}

/// An AEAD with its key and salt.
trait Aead: Send + Sync {
    fn seal(&self, iv: &[u8], aad: &[u8], text: &mut Vec<u8>) -> Option<()>;
    fn open(&self, iv: &[u8], aad: &[u8], text: &mut [u8]) -> Option<usize>;
}

struct Salted<A> {
    cipher: A,
    salt: Zeroizing<Vec<u8>>,
}

struct EncryptThenMac {
    sk_e: Zeroizing<Vec<u8>>,
    sk_a: Zeroizing<Vec<u8>>,
    integrity: Integrity,
}

/// The keys do not fit the algorithms: a mistake of ours, never of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("keys and algorithms do not fit together")]
pub struct KeyMismatch;

impl SkCipher {
    /// Takes SK_ei with SK_ai, or SK_er with SK_ar. With an AEAD `sk_e` ends in the salt, and there is neither
    /// `integrity` nor `sk_a`.
    pub fn new(
        encryption: Encryption,
        integrity: Option<Integrity>,
        sk_e: &[u8],
        sk_a: &[u8],
    ) -> Result<Self, KeyMismatch> {
        let fits = encryption.is_aead() == integrity.is_none()
            && sk_e.len() == encryption.key_len()
            && sk_a.len() == integrity.map_or(0, Integrity::key_len);
        if !fits {
            return Err(KeyMismatch);
        }
        let mac = || {
            let integrity = integrity.ok_or(KeyMismatch)?;
            Ok(EncryptThenMac {
                sk_e: Zeroizing::new(sk_e.to_vec()),
                sk_a: Zeroizing::new(sk_a.to_vec()),
                integrity,
            })
        };
        let salt = encryption.salt_len();
        let kind = match encryption {
            Encryption::AesGcm16_128 => salted::<Aes128Gcm>(sk_e, salt),
            Encryption::AesGcm16_256 => salted::<Aes256Gcm>(sk_e, salt),
            Encryption::ChaCha20Poly1305 => salted::<ChaCha20Poly1305>(sk_e, salt),
            Encryption::AesCcm8(key) => ccm::<U8>(key, sk_e, salt),
            Encryption::AesCcm12(key) => ccm::<U12>(key, sk_e, salt),
            Encryption::AesCcm16(key) => ccm::<U16>(key, sk_e, salt),
            Encryption::AesGcm8(key) => short_gcm::<U8>(key, sk_e, salt),
            Encryption::AesGcm12(key) => short_gcm::<U12>(key, sk_e, salt),
            // RFC 8750 7: there is no implicit IV in IKE.
            Encryption::AesGcm16Iiv128
            | Encryption::AesGcm16Iiv256
            | Encryption::ChaCha20Poly1305Iiv
            | Encryption::AesCcm8Iiv(_) => Err(KeyMismatch),
            Encryption::AesCbc128 => mac().map(Kind::Aes128Cbc),
            Encryption::AesCbc256 => mac().map(Kind::Aes256Cbc),
        }?;
        Ok(Self { encryption, kind })
    }
}

impl Protect for SkCipher {
    fn iv_len(&self) -> usize {
        self.encryption.iv_len()
    }

    fn icv_len(&self) -> usize {
        match &self.kind {
            Kind::Aead(_) => self.encryption.icv_len(),
            Kind::Aes128Cbc(mac) | Kind::Aes256Cbc(mac) => mac.integrity.icv_len(),
        }
    }

    fn block_len(&self) -> usize {
        self.encryption.block_len()
    }

    fn seal(&self, iv: &[u8], aad: &[u8], text: &mut Vec<u8>) {
        let sealed = match &self.kind {
            Kind::Aead(aead) => aead.seal(iv, aad, text),
            Kind::Aes128Cbc(mac) => mac.seal::<cbc::Encryptor<Aes128>>(iv, aad, text),
            Kind::Aes256Cbc(mac) => mac.seal::<cbc::Encryptor<Aes256>>(iv, aad, text),
        };
        if sealed.is_none() {
            // Only an IV or a text of a wrong length gets here, against the contract. Plaintext must not leave.
            text.zeroize();
        }
    }

    fn open(&self, iv: &[u8], aad: &[u8], text: &mut [u8]) -> Result<usize, NotAuthentic> {
        let opened = match &self.kind {
            Kind::Aead(aead) => aead.open(iv, aad, text),
            Kind::Aes128Cbc(mac) => mac.open::<cbc::Decryptor<Aes128>>(iv, aad, text),
            Kind::Aes256Cbc(mac) => mac.open::<cbc::Decryptor<Aes256>>(iv, aad, text),
        };
        opened.ok_or(NotAuthentic)
    }
}

impl fmt::Debug for SkCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SkCipher({}, ..)", self.encryption)
    }
}

/// RFC 5282 7.1: the salt is behind the key.
fn salted<A>(sk_e: &[u8], salt_len: usize) -> Result<Kind, KeyMismatch>
where
    A: AeadInOut + KeyInit + Send + Sync + 'static,
{
    let key_len = sk_e.len().checked_sub(salt_len).ok_or(KeyMismatch)?;
    let (key, salt) = sk_e.split_at_checked(key_len).ok_or(KeyMismatch)?;
    Ok(Kind::Aead(Box::new(Salted {
        cipher: A::new_from_slice(key).map_err(|_| KeyMismatch)?,
        salt: Zeroizing::new(salt.to_vec()),
    })))
}

/// RFC 5282 4, RFC 4309 4: a nonce of 11 octets leaves 4 to the counter.
fn ccm<T>(key: AesKey, sk_e: &[u8], salt_len: usize) -> Result<Kind, KeyMismatch>
where
    T: ArraySize + ccm::TagSize + Send + Sync + 'static,
{
    match key {
        AesKey::Bits128 => salted::<Ccm<Aes128, T, U11>>(sk_e, salt_len),
        AesKey::Bits192 => salted::<Ccm<Aes192, T, U11>>(sk_e, salt_len),
        AesKey::Bits256 => salted::<Ccm<Aes256, T, U11>>(sk_e, salt_len),
    }
}

fn short_gcm<T>(key: AesKey, sk_e: &[u8], salt_len: usize) -> Result<Kind, KeyMismatch>
where
    T: ArraySize + Send + Sync + 'static,
{
    match key {
        AesKey::Bits128 => salted::<ShortGcm<Aes128, T>>(sk_e, salt_len),
        AesKey::Bits192 => salted::<ShortGcm<Aes192, T>>(sk_e, salt_len),
        AesKey::Bits256 => salted::<ShortGcm<Aes256, T>>(sk_e, salt_len),
    }
}

impl<A: AeadInOut + Send + Sync> Aead for Salted<A> {
    fn seal(&self, iv: &[u8], aad: &[u8], text: &mut Vec<u8>) -> Option<()> {
        let nonce = nonce::<A>(&self.salt, iv)?;
        let tag = self
            .cipher
            .encrypt_inout_detached(&nonce, aad, text.as_mut_slice().into())
            .ok()?;
        text.extend_from_slice(&tag);
        Some(())
    }

    fn open(&self, iv: &[u8], aad: &[u8], text: &mut [u8]) -> Option<usize> {
        let nonce = nonce::<A>(&self.salt, iv)?;
        let length = text.len().checked_sub(Tag::<A>::default().len())?;
        let (text, tag) = text.split_at_mut_checked(length)?;
        let tag = Tag::<A>::try_from(&*tag).ok()?;
        // CCM has to decrypt to verify (NIST SP 800-38C 6.2); what was not authentic is overwritten with zeros.
        self.cipher
            .decrypt_inout_detached(&nonce, aad, text.into(), &tag)
            .ok()?;
        Some(length)
    }
}

/// RFC 5282 4: the nonce is salt | IV.
fn nonce<A: AeadCore>(salt: &[u8], iv: &[u8]) -> Option<Nonce<A>> {
    let octets: Vec<u8> = salt.iter().chain(iv).copied().collect();
    Nonce::<A>::try_from(octets.as_slice()).ok()
}

impl EncryptThenMac {
    fn seal<C: BlockModeEncrypt + KeyIvInit>(&self, iv: &[u8], aad: &[u8], text: &mut Vec<u8>) -> Option<()> {
        cbc_encrypt::<C>(&self.sk_e, iv, text)?;
        // RFC 7296 3.14: the ICV covers the whole message in front of it.
        let icv = self.integrity.compute(&self.sk_a, &[aad, iv, text]);
        text.extend_from_slice(&icv);
        Some(())
    }

    fn open<C: BlockModeDecrypt + KeyIvInit>(&self, iv: &[u8], aad: &[u8], text: &mut [u8]) -> Option<usize> {
        let length = text.len().checked_sub(self.integrity.icv_len())?;
        let (text, icv) = text.split_at_mut_checked(length)?;
        if !self.integrity.verify(&self.sk_a, &[aad, iv, text], icv) {
            return None;
        }
        cbc_decrypt::<C>(&self.sk_e, iv, text)?;
        Some(length)
    }
}

/// Whole blocks only; the padding is the caller's.
fn cbc_encrypt<C: BlockModeEncrypt + KeyIvInit>(key: &[u8], iv: &[u8], text: &mut [u8]) -> Option<()> {
    let mut cipher = C::new_from_slices(key, iv).ok()?;
    if !text.len().is_multiple_of(CBC_BLOCK_LEN) {
        return None;
    }
    text.chunks_exact_mut(CBC_BLOCK_LEN).try_for_each(|block| {
        cipher.encrypt_block(block.try_into().ok()?);
        Some(())
    })
}

fn cbc_decrypt<C: BlockModeDecrypt + KeyIvInit>(key: &[u8], iv: &[u8], text: &mut [u8]) -> Option<()> {
    let mut cipher = C::new_from_slices(key, iv).ok()?;
    if !text.len().is_multiple_of(CBC_BLOCK_LEN) {
        return None;
    }
    text.chunks_exact_mut(CBC_BLOCK_LEN).try_for_each(|block| {
        cipher.decrypt_block(block.try_into().ok()?);
        Some(())
    })
}

const CBC_BLOCK_LEN: usize = 16;
