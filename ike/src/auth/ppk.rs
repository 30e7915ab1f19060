//! Post-quantum pre-shared keys (RFC 8784): a secret that goes into the keys of the SAs, so that who records them and breaks
//! the key exchange later has nothing.

use crate::config::Secret;

/// A post-quantum pre-shared key.
#[derive(Clone, Debug)]
pub struct Ppk {
    /// Its name, the same on both sides; not secret.
    pub id: Vec<u8>,
    /// The key.
    pub secret: Secret,
    /// No connection without it (mandatory_or_not).
    pub required: bool,
}

impl Ppk {
    /// PPK_ID, as PPK_IDENTITY carries it (RFC 8784 5.1).
    pub(crate) fn to_wire(&self) -> Vec<u8> {
        let mut data = vec![PPK_ID_FIXED];
        data.extend_from_slice(&self.id);
        data
    }

    /// The peer means this one.
    pub(crate) fn is_named(&self, data: &[u8]) -> bool {
        data.split_first()
            .is_some_and(|(kind, id)| *kind == PPK_ID_FIXED && id == self.id)
    }
}

/// RFC 8784 5.1: the key and its name are fixed octets that both sides are configured with.
const PPK_ID_FIXED: u8 = 2;
