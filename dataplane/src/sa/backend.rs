//! The AEADs of the fast suites, each from whichever library is faster on this machine.
//!
//! ring and aws-lc-rs do the same with other instructions: ring has AES-GCM for AVX2 with VAES, aws-lc for AVX-512. Which is faster
//! depends on the processor, so it is tried, once per process, before the first packet.

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use aws_lc_rs::aead as aws;
use ring::aead as ring;

use super::BadKeys;

/// A cipher that both libraries have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// AES-GCM with a key of 128 bits.
    Aes128Gcm,
    /// AES-GCM with a key of 256 bits.
    Aes256Gcm,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305,
}

/// A library that implements them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// The crate ring.
    Ring,
    /// The crate aws-lc-rs.
    AwsLc,
}

/// Which library seals and opens with a cipher, and what was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The cipher.
    pub algorithm: Algorithm,
    /// The library that this process uses for it.
    pub library: Library,
    /// Nanoseconds to seal [`TRIAL`] octets, the best of several rounds: ring's, and aws-lc's.
    pub nanoseconds: [u32; 2],
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Aes128Gcm, Self::Aes256Gcm, Self::ChaCha20Poly1305];

    /// Its name in proposals.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "aes128gcm16",
            Self::Aes256Gcm => "aes256gcm16",
            Self::ChaCha20Poly1305 => "chacha20poly1305",
        }
    }

    fn key_len(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes256Gcm | Self::ChaCha20Poly1305 => 32,
        }
    }

    fn ring(self) -> &'static ring::Algorithm {
        match self {
            Self::Aes128Gcm => &ring::AES_128_GCM,
            Self::Aes256Gcm => &ring::AES_256_GCM,
            Self::ChaCha20Poly1305 => &ring::CHACHA20_POLY1305,
        }
    }

    fn aws(self) -> &'static aws::Algorithm {
        match self {
            Self::Aes128Gcm => &aws::AES_128_GCM,
            Self::Aes256Gcm => &aws::AES_256_GCM,
            Self::ChaCha20Poly1305 => &aws::CHACHA20_POLY1305,
        }
    }

    fn choice(self) -> Choice {
        let [aes128, aes256, chacha] = *choices();
        match self {
            Self::Aes128Gcm => aes128,
            Self::Aes256Gcm => aes256,
            Self::ChaCha20Poly1305 => chacha,
        }
    }
}

impl Library {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ring, Self::AwsLc];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::AwsLc => "aws-lc",
        }
    }
}

/// The choices of this process, in the order of [`Algorithm::ALL`]. The first call takes some milliseconds to measure.
pub fn choices() -> &'static [Choice; 3] {
    CHOICES.get_or_init(|| Algorithm::ALL.map(choose))
}

/// This library for everything, without a measurement: for benches that count instructions, where the clock chooses now the one
/// and now the other. No effect once there are choices.
#[doc(hidden)]
pub fn settle(library: Library) {
    let settled = |algorithm| Choice {
        algorithm,
        library,
        nanoseconds: [0; 2],
    };
    CHOICES.get_or_init(|| Algorithm::ALL.map(settled));
}

static CHOICES: OnceLock<[Choice; 3]> = OnceLock::new();

fn choose(algorithm: Algorithm) -> Choice {
    let nanoseconds = Library::ALL.map(|library| measure(algorithm, library).unwrap_or(u32::MAX));
    let [ring, aws] = nanoseconds.map(u64::from);
    // A few percent are noise; without a reason it is the library that has been used the longest here.
    let library = if aws * 20 < ring * 19 {
        Library::AwsLc
    } else {
        Library::Ring
    };
    Choice {
        algorithm,
        library,
        nanoseconds,
    }
}

fn measure(algorithm: Algorithm, library: Library) -> Option<u32> {
    let key = Key::with(library, algorithm, &[0x5a; 32][..algorithm.key_len()]).ok()?;
    let (mut octets, mut tag) = ([0; TRIAL], [0; TAG]);
    let mut best = Duration::MAX;
    // The key is for this measurement only; nothing sealed with it leaves.
    let mut nonce = [0; NONCE];
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for count in 0..PER_ROUND {
            nonce[0] = count;
            key.seal(nonce, &[0; 8], &mut octets, &mut tag)?;
        }
        best = best.min(start.elapsed());
    }
    u32::try_from(best.as_nanos() / u128::from(PER_ROUND)).ok()
}

/// The key of one SA.
///
/// Neither library wipes its key schedule when dropped (a limit of both); the octets it was made of are wiped by their owner.
///
/// Concurrency: immutable; all queues use it at once.
pub(super) enum Key {
    Ring(Box<ring::LessSafeKey>),
    AwsLc(Box<aws::LessSafeKey>),
}

impl Key {
    /// With the library that was chosen.
    pub(super) fn new(algorithm: Algorithm, octets: &[u8]) -> Result<Self, BadKeys> {
        Self::with(algorithm.choice().library, algorithm, octets)
    }

    fn with(library: Library, algorithm: Algorithm, octets: &[u8]) -> Result<Self, BadKeys> {
        match library {
            Library::Ring => ring::UnboundKey::new(algorithm.ring(), octets)
                .map(|key| Self::Ring(Box::new(ring::LessSafeKey::new(key))))
                .map_err(|_| BadKeys),
            Library::AwsLc => aws::UnboundKey::new(algorithm.aws(), octets)
                .map(|key| Self::AwsLc(Box::new(aws::LessSafeKey::new(key))))
                .map_err(|_| BadKeys),
        }
    }

    /// Encrypts `payload` in place and writes its tag, of 16 octets. A nonce must never be used twice.
    pub(super) fn seal(
        &self,
        nonce: [u8; NONCE],
        aad: &[u8],
        payload: &mut [u8],
        icv: &mut [u8],
    ) -> Option<()> {
        let icv = <&mut [u8; TAG]>::try_from(icv).ok()?;
        match self {
            Self::Ring(key) => {
                let nonce = ring::Nonce::assume_unique_for_key(nonce);
                let tag = key.seal_in_place_separate_tag(nonce, ring::Aad::from(aad), payload);
                *icv = *tag.ok()?.as_ref().first_chunk()?;
            }
            Self::AwsLc(key) => {
                let nonce = aws::Nonce::assume_unique_for_key(nonce);
                let tag = key.seal_in_place_separate_tag(nonce, aws::Aad::from(aad), payload);
                *icv = *tag.ok()?.as_ref().first_chunk()?;
            }
        }
        Some(())
    }

    /// Verifies the tag, the last 16 octets of `sealed`, and decrypts what is before it in place. `None`: it is another's.
    pub(super) fn open(&self, nonce: [u8; NONCE], aad: &[u8], sealed: &mut [u8]) -> Option<()> {
        match self {
            Self::Ring(key) => {
                let nonce = ring::Nonce::assume_unique_for_key(nonce);
                key.open_in_place(nonce, ring::Aad::from(aad), sealed).ok()?;
            }
            Self::AwsLc(key) => {
                let nonce = aws::Nonce::assume_unique_for_key(nonce);
                key.open_in_place(nonce, aws::Aad::from(aad), sealed).ok()?;
            }
        }
        Some(())
    }
}

impl fmt::Debug for Key {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ring(_) => "Key(ring)",
            Self::AwsLc(_) => "Key(aws-lc)",
        })
    }
}

/// Octets sealed in a measurement: an inner packet of a path MTU of 1,500.
pub const TRIAL: usize = 1_438;
/// Octets of a nonce: salt and IV.
pub(super) const NONCE: usize = 12;
const TAG: usize = 16;
const ROUNDS: usize = 12;
const PER_ROUND: u8 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_library_opens_what_the_other_sealed_and_nothing_else() {
        for algorithm in Algorithm::ALL {
            let octets = &[7; 32][..algorithm.key_len()];
            let keys = Library::ALL.map(|library| Key::with(library, algorithm, octets).unwrap());
            for (sealing, opening) in [(0, 1), (1, 0), (0, 0), (1, 1)] {
                let mut packet = *b"an inner packet.----------------";
                let (payload, icv) = packet.split_at_mut(16);
                keys[sealing].seal([1; NONCE], b"header", payload, icv).unwrap();
                let sealed = packet;
                keys[opening].open([1; NONCE], b"header", &mut packet).unwrap();
                assert_eq!(&packet[..16], b"an inner packet.");
                for (nonce, aad) in [([2; NONCE], b"header"), ([1; NONCE], b"HEADER")] {
                    assert!(keys[opening].open(nonce, aad, &mut sealed.clone()).is_none());
                }
                for at in 0..sealed.len() {
                    let mut forged = sealed;
                    forged[at] ^= 1;
                    assert!(keys[opening].open([1; NONCE], b"header", &mut forged).is_none());
                }
            }
            assert!(Key::with(Library::Ring, algorithm, &octets[1..]).is_err());
            assert!(Key::with(Library::AwsLc, algorithm, &octets[1..]).is_err());
        }
    }

    #[test]
    fn every_cipher_is_measured_with_both_libraries() {
        for (choice, algorithm) in choices().iter().zip(Algorithm::ALL) {
            assert_eq!(choice.algorithm, algorithm);
            assert!(
                choice.nanoseconds.iter().all(|ns| (1..u32::MAX).contains(ns)),
                "{choice:?}"
            );
        }
    }

    #[test]
    fn a_tag_that_is_no_tag_is_refused() {
        let key = Key::new(Algorithm::Aes128Gcm, &[1; 16]).unwrap();
        assert!(key.seal([0; NONCE], b"", &mut [0; 4], &mut [0; 12]).is_none());
        assert!(key.open([0; NONCE], b"", &mut [0; 15]).is_none());
        assert!(!format!("{key:?}").contains('1'));
    }
}
