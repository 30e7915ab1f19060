//! Which connection the initiator is of: by the identities it claims, then by its proof, then by what the CHILD SA shall
//! carry. The candidates are what RFC 4301 4.4.3 calls the Peer Authorization Database.

use std::sync::Arc;

use super::Awaited;
use crate::auth::identity::Identity;
use crate::auth::signed::SignedOctets;
use crate::config::{Childless, ConnectionConfig};
use crate::error::Cause;
use crate::exchange::auth::identity;
use crate::exchange::narrowed::Narrowed;
use crate::exchange::proof::{self, Believed, Shown};
use crate::exchange::{Cx, ppk, resume};
use crate::message::{AuthRequest, ChildOffer};
use crate::negotiate::select::ChildExchange;
use crate::sa::keymat::PpkKeys;
use crate::wire::payload::Body;
use crate::wire::{Fault, Malformed, PayloadType};

/// The connection the peer has proven to be of, the proof, and what its CHILD SA would be.
type Choice = (Arc<ConnectionConfig>, Verified, Result<Option<Narrowed>, Cause>);

/// A peer that is believed, and the keys with the PPK if that is used (RFC 8784).
type Verified = (Believed, Option<PpkKeys>);

/// The peer's claims, read.
pub(super) struct Claim {
    pub(super) idi: Identity,
    idr: Option<Identity>,
    pub(super) message: AuthRequest,
}

impl Awaited {
    /// Finds the connection: by identities, then by proof, then by what the CHILD SA shall carry.
    pub(super) fn choose(
        &self,
        cx: &Cx<'_>,
        claim: &Claim,
        candidates: &[Arc<ConnectionConfig>],
    ) -> Result<Choice, Cause> {
        if candidates.is_empty() {
            return Err(Cause::NoPolicy);
        }
        let named: Vec<_> = candidates
            .iter()
            .filter(|config| config.remote_identity.matches(&claim.idi))
            .collect();
        if named.is_empty() {
            let expected = candidates
                .iter()
                .map(|config| config.remote_identity.clone())
                .collect();
            return Err(Cause::IdentityMismatch {
                expected,
                got: claim.idi.clone(),
            });
        }
        let meant: Vec<_> = match &claim.idr {
            Some(idr) => named
                .iter()
                .filter(|config| config.local_identity.matches(idr))
                .copied()
                .collect(),
            None => named.clone(),
        };
        if let (true, Some(wanted)) = (meant.is_empty(), &claim.idr) {
            let ours = named.iter().map(|config| config.local_identity.clone()).collect();
            return Err(Cause::WrongResponder {
                ours,
                wanted: wanted.clone(),
            });
        }
        let mut found = None;
        let mut refusal = None;
        for config in meant {
            let proof = match self.verify(cx, config, claim) {
                Ok(proof) => proof,
                Err(cause) => {
                    // The first is the one with the peer's address, if there is one.
                    refusal.get_or_insert(cause);
                    continue;
                }
            };
            let narrowed = narrow(config, claim.message.child.as_ref());
            // A connection that can serve the CHILD SA is better than one that cannot.
            let better = narrowed.is_ok();
            if better || found.is_none() {
                found = Some((Arc::clone(config), proof, narrowed));
            }
            if better {
                break;
            }
        }
        found.ok_or_else(|| refusal.unwrap_or(Cause::NoPolicy))
    }

    fn verify(&self, cx: &Cx<'_>, config: &ConnectionConfig, claim: &Claim) -> Result<Verified, Cause> {
        // RFC 6023 3: who does not want it behaves as if it did not know it.
        if claim.message.child.is_none() && !config.childless.accepts() {
            return Err(Cause::from_malformed(&Malformed::new(
                Fault::Missing(PayloadType::SA),
                0,
            )));
        }
        let rest_of_id = claim.message.idi.to_bytes();
        let signed = SignedOctets {
            message: &self.request,
            nonce: &self.ike.nonces.responder,
            sk_p: &self.ike.keys.sk_pi,
            rest_of_id: &rest_of_id,
            int_auth: &self.int_auth,
        };
        if let Some(presented) = &self.presented {
            let shown = (&claim.idi, &claim.message.auth);
            let believed = resume::verify(&self.ike, &presented.past.remote, signed, shown)?;
            return Ok((believed, None));
        }
        let accepted = ppk::accept(&self.ike, config, &claim.message.auth, &claim.message.other)?;
        let keys = accepted.keys.as_ref();
        let signed = SignedOctets {
            sk_p: keys.map_or(signed.sk_p, |keys| &keys.sk_pi),
            ..signed
        };
        let shown = Shown {
            identity: &claim.idi,
            auth: accepted.instead.as_ref().unwrap_or(&claim.message.auth),
            certificates: &claim.message.certificates,
        };
        let believed = proof::verify(&self.ike, config, signed, shown, cx.wall_clock)?;
        Ok((believed, accepted.keys))
    }
}

impl Claim {
    pub(super) fn read(message: AuthRequest) -> Result<Self, Cause> {
        let idi = identity(&message.idi)?;
        // A kind of IDr we do not know cannot be one of ours, but it is the initiator's wish, not its proof.
        let idr = message.idr.as_ref().and_then(|idr| identity(idr).ok());
        Ok(Self { idi, idr, message })
    }
}

/// What the CHILD SA would be, if one is asked for.
fn narrow(config: &ConnectionConfig, child: Option<&ChildOffer>) -> Result<Option<Narrowed>, Cause> {
    let Some(child) = child else { return Ok(None) };
    if config.childless == Childless::Force {
        return Err(Cause::ChildInAuth);
    }
    Narrowed::choose(config, child, ChildExchange::IkeAuth, |_| false).map(Some)
}
