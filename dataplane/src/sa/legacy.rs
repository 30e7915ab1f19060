//! AEADs for old peers: AES-CCM (RFC 4309), and AES-GCM with a short ICV (RFC 4106).
//!
//! Of RustCrypto, which wipes its key schedules on drop. They are an order of magnitude slower than ring's, and nobody is
//! meant to stay with them.

use aes::{Aes128, Aes192, Aes256};
use ccm::aead::array::ArraySize;
use ccm::aead::{AeadInOut, KeyInit, Nonce, Tag};
use ccm::consts::U11;
use ccm::{Ccm, TagSize};
use zeroize::Zeroizing;

use super::BadKeys;
use super::gcm::ShortGcm;
use crate::api::{AesKey, Keys};

/// An AEAD with its key and salt.
///
/// Concurrency: immutable; all queues use it at once.
pub(super) trait Legacy: Send + Sync {
    /// Encrypts `payload` in place and writes the ICV.
    fn seal(&self, iv: &[u8], aad: &[u8], payload: &mut [u8], icv: &mut [u8]) -> Option<()>;

    /// Decrypts `payload` in place if the ICV is right. If it is not, `payload` has nothing of the plaintext.
    fn open(&self, iv: &[u8], aad: &[u8], payload: &mut [u8], icv: &[u8]) -> Option<()>;
}

/// AES-CCM with an ICV of `T` octets. RFC 4309 4, 7.1: three octets of salt; a nonce of 11 octets leaves 4 to the counter.
pub(super) fn ccm<T>(key: AesKey, keys: &Keys) -> Result<Box<dyn Legacy>, BadKeys>
where
    T: ArraySize + TagSize + Send + Sync + 'static,
{
    match key {
        AesKey::Bits128 => salted::<Ccm<Aes128, T, U11>, 3>(keys),
        AesKey::Bits192 => salted::<Ccm<Aes192, T, U11>, 3>(keys),
        AesKey::Bits256 => salted::<Ccm<Aes256, T, U11>, 3>(keys),
    }
}

/// AES-GCM with an ICV of `T` octets. RFC 4106 4, 8.1: four octets of salt.
pub(super) fn short_gcm<T>(key: AesKey, keys: &Keys) -> Result<Box<dyn Legacy>, BadKeys>
where
    T: ArraySize + Send + Sync + 'static,
{
    match key {
        AesKey::Bits128 => salted::<ShortGcm<Aes128, T>, 4>(keys),
        AesKey::Bits192 => salted::<ShortGcm<Aes192, T>, 4>(keys),
        AesKey::Bits256 => salted::<ShortGcm<Aes256, T>, 4>(keys),
    }
}

struct Salted<A, const SALT: usize> {
    cipher: A,
    salt: Zeroizing<[u8; SALT]>,
}

fn salted<A, const SALT: usize>(keys: &Keys) -> Result<Box<dyn Legacy>, BadKeys>
where
    A: AeadInOut + KeyInit + Send + Sync + 'static,
{
    let (key, salt) = keys.encryption.split_last_chunk::<SALT>().ok_or(BadKeys)?;
    if !keys.integrity.is_empty() {
        return Err(BadKeys);
    }
    Ok(Box::new(Salted {
        cipher: A::new_from_slice(key).map_err(|_| BadKeys)?,
        salt: Zeroizing::new(*salt),
    }))
}

impl<A: AeadInOut + Send + Sync, const SALT: usize> Salted<A, SALT> {
    /// RFC 4309 4, RFC 4106 4: salt and IV.
    fn nonce(&self, iv: &[u8]) -> Option<Nonce<A>> {
        let mut nonce = Nonce::<A>::default();
        let (front, back) = nonce.split_at_mut_checked(SALT)?;
        front.copy_from_slice(self.salt.as_slice());
        if back.len() != iv.len() {
            return None;
        }
        back.copy_from_slice(iv);
        Some(nonce)
    }
}

impl<A: AeadInOut + Send + Sync, const SALT: usize> Legacy for Salted<A, SALT> {
    fn seal(&self, iv: &[u8], aad: &[u8], payload: &mut [u8], icv: &mut [u8]) -> Option<()> {
        let nonce = self.nonce(iv)?;
        if icv.len() != Tag::<A>::default().len() {
            return None;
        }
        let tag = self.cipher.encrypt_inout_detached(&nonce, aad, payload.into());
        icv.copy_from_slice(&tag.ok()?);
        Some(())
    }

    fn open(&self, iv: &[u8], aad: &[u8], payload: &mut [u8], icv: &[u8]) -> Option<()> {
        let nonce = self.nonce(iv)?;
        let tag = Tag::<A>::try_from(icv).ok()?;
        // CCM has to decrypt to verify (NIST SP 800-38C 6.2); what was not authentic is overwritten with zeros.
        let opened = self
            .cipher
            .decrypt_inout_detached(&nonce, aad, payload.into(), &tag);
        opened.ok()
    }
}
