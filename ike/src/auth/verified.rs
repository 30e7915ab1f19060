//! The proof that a proof was seen.

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
