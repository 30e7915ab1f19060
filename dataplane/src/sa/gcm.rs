//! AES-GCM with an ICV of 8 or 12 octets (RFC 4106 6): for old peers.
//!
//! No library of ours takes an ICV of 8 octets, for good reasons; what it is made of, AES in counter mode and GHASH, is
//! RustCrypto's. The ICV is the front of GCM's of 16 octets (NIST SP 800-38D 7.1, step 6), and is compared before
//! anything is decrypted.

use std::marker::PhantomData;

use ccm::aead::array::{Array, ArraySize};
use ccm::aead::inout::InOutBuf;
use ccm::aead::{AeadCore, AeadInOut, Error, Key, KeyInit, KeySizeUser, Nonce, Result, Tag, TagPosition};
use ccm::consts::{U12, U16};
use ctr::cipher::{BlockCipherEncrypt, BlockSizeUser, InnerIvInit, StreamCipher};
use ctr::{Ctr32BE, CtrCore};
use ghash::GHash;
use ghash::universal_hash::UniversalHash;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// GCM over the block cipher `C`, with an ICV of `T` octets.
pub(super) struct ShortGcm<C, T> {
    block: C,
    hash: GHash,
    icv: PhantomData<T>,
}

/// Block ciphers that GCM is defined for.
pub(super) trait Block128: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> {}

impl<C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>> Block128 for C {}

impl<C: KeySizeUser, T> KeySizeUser for ShortGcm<C, T> {
    type KeySize = C::KeySize;
}

impl<C: Block128 + KeyInit, T> KeyInit for ShortGcm<C, T> {
    fn new(key: &Key<Self>) -> Self {
        let block = C::new(key);
        let mut subkey = Array::default();
        block.encrypt_block(&mut subkey);
        let hash = GHash::new(&subkey);
        subkey.zeroize();
        Self {
            block,
            hash,
            icv: PhantomData,
        }
    }
}

impl<C: Block128, T: ArraySize> AeadCore for ShortGcm<C, T> {
    type NonceSize = U12;
    type TagSize = T;
    const TAG_POSITION: TagPosition = TagPosition::Postfix;
}

impl<C: Block128, T: ArraySize> AeadInOut for ShortGcm<C, T> {
    fn encrypt_inout_detached(
        &self,
        nonce: &Nonce<Self>,
        aad: &[u8],
        mut text: InOutBuf<'_, '_, u8>,
    ) -> Result<Tag<Self>> {
        let (mut stream, mask) = self.start(nonce)?;
        stream
            .try_apply_keystream_inout(text.reborrow())
            .map_err(|_| Error)?;
        self.icv(aad, text.get_out(), mask)
    }

    fn decrypt_inout_detached(
        &self,
        nonce: &Nonce<Self>,
        aad: &[u8],
        text: InOutBuf<'_, '_, u8>,
        tag: &Tag<Self>,
    ) -> Result<()> {
        let (mut stream, mask) = self.start(nonce)?;
        let expected = self.icv(aad, text.get_in(), mask)?;
        if !bool::from(expected.as_slice().ct_eq(tag.as_slice())) {
            return Err(Error);
        }
        stream.try_apply_keystream_inout(text).map_err(|_| Error)
    }
}

impl<C: Block128, T: ArraySize> ShortGcm<C, T> {
    /// The key stream for the text, which begins with the counter 2, and the block of the counter 1, which masks the ICV.
    fn start(&self, nonce: &Nonce<Self>) -> Result<(Stream<'_, C>, [u8; 16])> {
        let mut first = [0; 16];
        let (front, counter) = first.split_at_mut(nonce.len());
        front.copy_from_slice(nonce);
        counter.copy_from_slice(&1_u32.to_be_bytes());
        let mut stream = Stream::from_core(CtrCore::inner_iv_init(&self.block, &Array::from(first)));
        let mut mask = [0; 16];
        stream.try_apply_keystream(&mut mask).map_err(|_| Error)?;
        Ok((stream, mask))
    }

    /// NIST SP 800-38D 7.1, steps 4 to 6.
    fn icv(&self, aad: &[u8], encrypted: &[u8], mask: [u8; 16]) -> Result<Tag<Self>> {
        let mut hash = self.hash.clone();
        hash.update_padded(aad);
        hash.update_padded(encrypted);
        let bits = |octets: &[u8]| u64::try_from(octets.len()).map(|len| len.saturating_mul(8).to_be_bytes());
        let (Ok(aad), Ok(encrypted)) = (bits(aad), bits(encrypted)) else {
            return Err(Error);
        };
        let mut lengths = [0; 16];
        let (front, back) = lengths.split_at_mut(8);
        front.copy_from_slice(&aad);
        back.copy_from_slice(&encrypted);
        hash.update(&[lengths.into()]);
        let full = hash.finalize();
        Ok(Array::from_fn(|at| {
            full.get(at)
                .zip(mask.get(at))
                .map_or(0, |(hashed, masked)| hashed ^ masked)
        }))
    }
}

type Stream<'a, C> = Ctr32BE<&'a C>;
