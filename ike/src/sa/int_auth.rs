//! IntAuth: what both sides said in IKE_INTERMEDIATE, for AUTH to cover (RFC 9242 3.3.2).

use zeroize::Zeroizing;

use super::keymat::IkeKeys;
use crate::negotiate::transform::Prf;

/// IntAuth_i and IntAuth_r so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntAuth {
    initiator: Option<Zeroizing<Vec<u8>>>,
    responder: Option<Zeroizing<Vec<u8>>>,
}

impl IntAuth {
    /// Adds an exchange: IntAuth_n = prf(SK_p, IntAuth_n-1 | A | P), with the keys that protected it. Both messages as if
    /// nothing had been encrypted (`A | P` with adjusted lengths).
    pub fn add(&mut self, prf: Prf, keys: &IkeKeys, request: &[u8], response: &[u8]) {
        let next = |key: &[u8], before: &Option<Zeroizing<Vec<u8>>>, message: &[u8]| {
            let before = before
                .as_ref()
                .map(|octets| octets.as_slice())
                .unwrap_or_default();
            Some(prf.compute(key, &[before, message]))
        };
        self.initiator = next(&keys.sk_pi, &self.initiator, request);
        self.responder = next(&keys.sk_pr, &self.responder, response);
    }

    /// IntAuth = IntAuth_i | IntAuth_r | IKE_AUTH_MID, or nothing if there was no such exchange.
    pub fn octets(&self, auth_message_id: u32) -> Vec<u8> {
        match (&self.initiator, &self.responder) {
            (Some(initiator), Some(responder)) => {
                [initiator.as_slice(), responder, &auth_message_id.to_be_bytes()].concat()
            }
            (Some(_) | None, _) => Vec::new(),
        }
    }
}
