//! What is only for old peers, and why.

/// An algorithm that an operator must ask for, and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Legacy {
    /// Its keyword.
    pub name: &'static str,
    /// Why.
    pub reason: LegacyReason,
}

/// Why an algorithm is only for old peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LegacyReason {
    /// SHA-1 (RFC 8247 2.3).
    Sha1,
    /// A group that can be broken (RFC 8247 2.4).
    SmallGroup,
    /// CCM with an ICV of 8 or 12 octets (RFC 8247 2.1, RFC 8221 5).
    ShortIcv,
    /// GCM with an ICV of 8 or 12 octets: here each octet less costs more than with CCM (NIST SP 800-38D appendix C).
    ShortIcvOfGcm,
    /// CCM as such: nothing is wrong with it, but whoever has it has GCM too, which costs half (RFC 8247 2.1, RFC 8221 5).
    Ccm,
}

impl LegacyReason {
    /// What is wrong with it, for an operator.
    pub const fn cause(self) -> &'static str {
        match self {
            Self::Sha1 | Self::SmallGroup => {
                "RFC 8247 advises against it: SHA-1 and 1024-bit groups are within reach of an attacker with means"
            }
            Self::ShortIcv => {
                "each forged packet passes an ICV of n bits with a chance of 2^-n; RFC 8221 and RFC 8247 want CCM with 8 octets \
                 for small devices only, and leave 12 at MAY"
            }
            Self::ShortIcvOfGcm => {
                "a forged packet of m blocks passes an ICV of GCM of n bits with a chance of up to m * 2^-n, and each that \
                 passes helps to forge the next; RFC 8247 leaves 8 and 12 octets at MAY"
            }
            Self::Ccm => {
                "it is not weak, but computes twice what AES-GCM does, and RFC 8221 and RFC 8247 do not ask for it"
            }
        }
    }

    /// What to name in its place, for an operator.
    pub const fn instead(self) -> &'static str {
        match self {
            Self::Sha1 => "sha256",
            Self::SmallGroup => "modp2048",
            Self::ShortIcv | Self::ShortIcvOfGcm | Self::Ccm => "aes256gcm16 or aes128gcm16",
        }
    }
}
