//! The parts of an ESP packet and their lengths (RFC 4303 2).
//!
//! ```text
//!   +-------+----------+------+=================+=========+=====+======+-------+
//!   | SPI 4 | Seq.no 4 |  IV  | inner IP packet | padding | len | next |  ICV  |
//!   +-------+----------+------+=================+=========+=====+======+-------+
//!                             |<------------- encrypted -------------->|
//! ```

use crate::api::{Integrity, Suite};

/// The lengths that a suite fixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The explicit IV; 0 if it is implicit.
    pub iv: usize,
    /// What is encrypted is a multiple of this.
    pub block: usize,
    /// The ICV.
    pub icv: usize,
}

impl Layout {
    /// The layout of a suite.
    pub const fn of(suite: Suite) -> Self {
        match suite {
            // RFC 4106 3, 6; RFC 7634 2. RFC 4303 2.4: a cipher without blocks still aligns to 4 octets.
            Suite::AesGcm128 | Suite::AesGcm256 | Suite::ChaCha20Poly1305 => Self {
                iv: 8,
                block: 4,
                icv: 16,
            },
            // RFC 8750 4: the IV is not sent.
            Suite::AesGcm128Iiv | Suite::AesGcm256Iiv | Suite::ChaCha20Poly1305Iiv => Self {
                iv: 0,
                block: 4,
                icv: 16,
            },
            // RFC 3602 2.1, 3: IV and block of 16.
            Suite::AesCbc {
                key_bits: _,
                integrity,
            } => Self {
                iv: 16,
                block: 16,
                icv: icv_len(integrity),
            },
            // RFC 4309 3, 6.
            Suite::AesCcm8(_) | Suite::AesGcm8(_) => Self {
                iv: 8,
                block: 4,
                icv: 8,
            },
            Suite::AesCcm12(_) | Suite::AesGcm12(_) => Self {
                iv: 8,
                block: 4,
                icv: 12,
            },
            Suite::AesCcm16(_) => Self {
                iv: 8,
                block: 4,
                icv: 16,
            },
            Suite::AesCcm8Iiv(_) => Self {
                iv: 0,
                block: 4,
                icv: 8,
            },
        }
    }

    /// The IV is the sequence number and is not sent (RFC 8750).
    pub const fn has_implicit_iv(&self) -> bool {
        self.iv == 0
    }

    /// Octets between the start of the ESP packet and what is encrypted.
    pub const fn front(&self) -> usize {
        HEADER + self.iv
    }

    /// Padding octets (0..=255) after an inner packet of `inner` octets (RFC 4303 2.4).
    pub const fn padding(&self, inner: usize) -> usize {
        let tail = (inner + TRAILER) % self.block;
        (self.block - tail) % self.block
    }

    /// The length of the ESP packet for an inner packet of `inner` octets.
    pub const fn sealed(&self, inner: usize) -> usize {
        self.front() + inner + self.padding(inner) + TRAILER + self.icv
    }

    /// The longest inner packet whose ESP packet is at most `esp` octets; 0 if none fits.
    pub const fn inner(&self, esp: usize) -> usize {
        let room = esp.saturating_sub(self.front() + self.icv);
        (room - room % self.block).saturating_sub(TRAILER)
    }
}

/// The truncated HMAC (RFC 4868 2.6, RFC 2404 3).
pub(crate) const fn icv_len(integrity: Integrity) -> usize {
    match integrity {
        Integrity::HmacSha1_96 => 12,
        Integrity::HmacSha2_256_128 => 16,
        Integrity::HmacSha2_384_192 => 24,
        Integrity::HmacSha2_512_256 => 32,
    }
}

/// SPI and sequence number.
pub const HEADER: usize = 8;

/// Pad length and next header.
pub const TRAILER: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::AesKey;

    const SUITES: [Suite; 8] = [
        Suite::AesCcm8(AesKey::Bits128),
        Suite::AesGcm12(AesKey::Bits192),
        Suite::AesCcm8Iiv(AesKey::Bits256),
        Suite::AesGcm128,
        Suite::AesGcm256Iiv,
        Suite::ChaCha20Poly1305,
        Suite::AesCbc {
            key_bits: 128,
            integrity: Integrity::HmacSha1_96,
        },
        Suite::AesCbc {
            key_bits: 256,
            integrity: Integrity::HmacSha2_512_256,
        },
    ];

    #[test]
    fn the_longest_inner_packet_fits_and_one_more_octet_does_not() {
        for layout in SUITES.map(Layout::of) {
            for esp in 80..2000 {
                let inner = layout.inner(esp);
                assert!(layout.sealed(inner) <= esp, "{layout:?} {esp}");
                assert!(layout.sealed(inner + 1) > esp, "{layout:?} {esp}");
            }
        }
    }

    #[test]
    fn gcm_in_udp_over_a_path_of_1500_carries_1438() {
        assert_eq!(Layout::of(Suite::AesGcm128).inner(1500 - 20 - 8), 1438);
    }

    #[test]
    fn an_implicit_iv_leaves_8_octets_more_to_the_inner_packet() {
        assert_eq!(Layout::of(Suite::AesGcm128Iiv).inner(1500 - 20 - 8), 1446);
        assert_eq!(Layout::of(Suite::ChaCha20Poly1305Iiv).inner(1500 - 20 - 8), 1446);
    }
}
