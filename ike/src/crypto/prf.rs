//! The PRFs, prf+, and the integrity algorithms: all of them HMAC (RFC 2104, RFC 4868).

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::negotiate::transform::{Integrity, Prf};

/// prf+ was asked for more than 255 blocks (RFC 7296 2.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("prf+ gives no more than 255 blocks")]
pub struct PrfPlusExhausted;

impl Prf {
    /// `prf(key, parts[0] | parts[1] | ...)`.
    pub fn compute(self, key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        match self {
            Self::HmacSha1 => hmac::<Hmac<Sha1>>(key, parts),
            Self::HmacSha2_256 => hmac::<Hmac<Sha256>>(key, parts),
            Self::HmacSha2_384 => hmac::<Hmac<Sha384>>(key, parts),
            Self::HmacSha2_512 => hmac::<Hmac<Sha512>>(key, parts),
        }
    }

    /// prf+(key, seed): T1 | T2 | ..., Tn = prf(key, Tn-1 | seed | n) (RFC 7296 2.13).
    pub fn plus(
        self,
        key: &[u8],
        seed: &[&[u8]],
        len: usize,
    ) -> Result<Zeroizing<Vec<u8>>, PrfPlusExhausted> {
        // Allocated once: a growing vector would leave copies of key material behind.
        let mut output = Zeroizing::new(Vec::with_capacity(len));
        let mut block = Zeroizing::new(Vec::new());
        let mut counter = 0u8;
        while output.len() < len {
            counter = counter.checked_add(1).ok_or(PrfPlusExhausted)?;
            let number = [counter];
            let mut parts: Vec<&[u8]> = vec![block.as_slice()];
            parts.extend_from_slice(seed);
            parts.push(&number);
            block = self.compute(key, &parts);
            let wanted = (len - output.len()).min(block.len());
            output.extend(block.iter().take(wanted));
        }
        Ok(output)
    }
}

impl Integrity {
    /// The ICV of the parts, one behind the other, truncated as the algorithm demands.
    pub fn compute(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        let mut icv = self.prf().compute(key, parts).to_vec();
        icv.truncate(self.icv_len());
        icv
    }

    /// Is this the ICV? In constant time.
    pub fn verify(self, key: &[u8], parts: &[&[u8]], icv: &[u8]) -> bool {
        self.compute(key, parts).as_slice().ct_eq(icv).into()
    }
}

fn hmac<M: Mac + KeyInit>(key: &[u8], parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    // HMAC takes keys of any length (RFC 2104 2); the error of this constructor is for other MACs.
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else {
        return Zeroizing::new(Vec::new());
    };
    parts.iter().for_each(|part| mac.update(part));
    Zeroizing::new(mac.finalize().into_bytes().to_vec())
}
