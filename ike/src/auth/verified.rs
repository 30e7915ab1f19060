//! The proof that a proof was seen.

use std::fmt;
use std::time::Instant;

use super::psk::Generation;
use crate::crypto::sign::SignatureAlgorithm;

/// Proof that the peer showed the right AUTH. Only the verifications of this room make one.
#[derive(Debug)]
#[must_use = "an authenticated peer is what this is for"]
pub struct AuthVerified(());

impl AuthVerified {
    /// After a verification that succeeded.
    pub(super) fn new() -> Self {
        Self(())
    }

    /// For the IKE SA that replaces the one whose peer was authenticated (RFC 7296 2.8.3: nobody authenticates again).
    pub(crate) fn inherited(&self) -> Self {
        Self(())
    }
}

/// By what a side has proven who it is, for the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// A pre-shared key.
    Psk,
    /// The pre-shared key that is being replaced.
    PreviousPsk,
    /// The key of a certificate.
    Certificate(SignatureAlgorithm),
    /// A key that the other side knows.
    RawKey(SignatureAlgorithm),
    /// The keys of an IKE SA that was lost, whose peer had proven who it is (RFC 5723 4.3.3).
    Ticket,
}

impl fmt::Display for Means {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Psk => f.write_str("psk"),
            Self::PreviousPsk => f.write_str("previous_psk"),
            Self::Certificate(algorithm) => write!(f, "certificate {algorithm}"),
            Self::RawKey(algorithm) => write!(f, "public-key {algorithm}"),
            Self::Ticket => f.write_str("resumed"),
        }
    }
}

impl Means {
    /// Which of two pre-shared keys it was.
    pub(crate) fn generation(self) -> Generation {
        match self {
            Self::PreviousPsk => Generation::Previous,
            Self::Psk | Self::Certificate(_) | Self::RawKey(_) | Self::Ticket => Generation::Current,
        }
    }
}

/// By what both sides have proven who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BothMeans {
    /// We.
    pub local: Means,
    /// The peer.
    pub remote: Means,
}

/// When a peer has shown its credentials, not a ticket; and how long they are good.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credentials {
    /// When.
    pub(crate) shown: Instant,
    /// The last second of the certificates, since 1970; `None`: there were none.
    pub(crate) valid_until: Option<u64>,
}
