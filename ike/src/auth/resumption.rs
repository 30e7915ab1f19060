//! AUTH of a session that is resumed (RFC 5723 4.3.3), and what must not have changed since it was begun.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::method::{LocalAuth, RemoteAuth};
use super::psk::AuthMismatch;
use super::signed::SignedOctets;
use super::verified::AuthVerified;
use crate::config::{ConnectionConfig, Secret};
use crate::negotiate::transform::Prf;

/// AUTH = prf(SK_px, message octets): who has the keys of the session has its SK_d, and that it has from the peer.
pub(crate) fn authentication_data(prf: Prf, signed: SignedOctets<'_>) -> Zeroizing<Vec<u8>> {
    let maced_id = prf.compute(signed.sk_p, &[signed.rest_of_id]);
    prf.compute(
        signed.sk_p,
        &[signed.message, signed.nonce, &maced_id, signed.int_auth],
    )
}

/// Compares the peer's Authentication Data with what it should be, in constant time.
pub(crate) fn verify(
    prf: Prf,
    signed: SignedOctets<'_>,
    received: &[u8],
) -> Result<AuthVerified, AuthMismatch> {
    let expected = authentication_data(prf, signed);
    if bool::from(expected.as_slice().ct_eq(received)) {
        Ok(AuthVerified::new())
    } else {
        Err(AuthMismatch)
    }
}

/// A digest of the names, credentials and algorithms of a connection: with others no session is resumed (RFC 5723 6.2).
/// It covers secrets, and is therefore only ever kept in memory and in sealed tickets.
pub(crate) fn policy(config: &ConnectionConfig) -> [u8; 32] {
    let mut digest = Digested(Sha256::new());
    digest.add(&config.local_identity.rest_of_id());
    digest.add(&config.remote_identity.rest_of_id());
    match &config.local_auth {
        LocalAuth::Psk { secret, previous } => digest.add_psk(secret, previous.as_ref()),
        LocalAuth::Certificate { chain, key, .. } => {
            digest.add(b"certificate");
            chain.iter().for_each(|certificate| digest.add(certificate));
            digest.add(key.public().spki());
        }
        LocalAuth::RawKey { key, .. } => {
            digest.add(b"public key");
            digest.add(key.public().spki());
        }
    }
    match &config.remote_auth {
        RemoteAuth::Psk { secret, previous } => digest.add_psk(secret, previous.as_ref()),
        RemoteAuth::Certificate { anchors } => {
            digest.add(b"authorities");
            anchors
                .iter()
                .for_each(|anchor| digest.add(&anchor.fingerprint()));
        }
        RemoteAuth::RawKey { keys } => {
            digest.add(b"public keys");
            keys.iter().for_each(|key| digest.add(key.spki()));
        }
    }
    if let Some(ppk) = &config.ppk {
        digest.add(b"ppk");
        digest.add(&ppk.id);
        digest.add(ppk.secret.expose());
        digest.add(&[u8::from(ppk.required)]);
    }
    digest.add(b"algorithms");
    for proposal in &config.ike_proposals {
        digest.add(proposal.to_string().as_bytes());
    }
    digest.0.finalize().into()
}

struct Digested(Sha256);

impl Digested {
    fn add(&mut self, octets: &[u8]) {
        // The length before each, so that nothing can be moved from one to the next.
        let length = u64::try_from(octets.len()).unwrap_or(u64::MAX);
        self.0.update(length.to_be_bytes());
        self.0.update(octets);
    }

    fn add_psk(&mut self, secret: &Secret, previous: Option<&Secret>) {
        self.add(b"psk");
        self.add(secret.expose());
        if let Some(previous) = previous {
            self.add(b"previous psk");
            self.add(previous.expose());
        }
    }
}
