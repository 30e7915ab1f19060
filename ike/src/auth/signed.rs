//! What AUTH covers (RFC 7296 2.15).

use crate::negotiate::transform::Prf;

/// What one side signs.
#[derive(Clone, Copy)]
pub struct SignedOctets<'a> {
    /// RealMessage: that side's whole first message, as it was on the wire (without a non-ESP marker).
    pub message: &'a [u8],
    /// The other side's nonce, without its payload header.
    pub nonce: &'a [u8],
    /// That side's SK_pi or SK_pr.
    pub sk_p: &'a [u8],
    /// That side's RestOfIDPayload: the ID payload's body as it was on the wire, RESERVED included.
    pub rest_of_id: &'a [u8],
    /// IntAuth: what was said in IKE_INTERMEDIATE, and the message ID of IKE_AUTH; empty if nothing was (RFC 9242 3.3.2).
    pub int_auth: &'a [u8],
}

impl SignedOctets<'_> {
    /// The octets themselves, for a signature.
    pub fn concatenated(&self, prf: Prf) -> Vec<u8> {
        let maced_id = prf.compute(self.sk_p, &[self.rest_of_id]);
        [self.message, self.nonce, &maced_id, self.int_auth].concat()
    }
}
