//! AUTH, made and verified (RFC 7296 2.15): the same for both roles.

use crate::auth::method::{LocalAuth, RemoteAuth};
use crate::auth::psk;
use crate::auth::signed::SignedOctets;
use crate::auth::verified::AuthVerified;
use crate::config::ConnectionConfig;
use crate::sa::ike_sa::IkeSa;
use crate::wire::payload::{AuthMethod, Authentication};

/// Why AUTH of the peer is not believed.
pub(crate) enum Disbelief {
    /// It is of a method that is not the one wanted.
    Method(AuthMethod),
    /// It is of the right method, and wrong.
    Mismatch,
}

/// AUTH of ours.
pub(crate) fn prove(ike: &IkeSa, config: &ConnectionConfig, signed: SignedOctets<'_>) -> Authentication {
    match &config.local_auth {
        LocalAuth::Psk { secret } => Authentication {
            method: AuthMethod::PSK,
            data: psk::authentication_data(ike.suite.prf, secret, signed).to_vec(),
        },
    }
}

/// Verifies the peer's AUTH.
pub(crate) fn verify(
    ike: &IkeSa,
    config: &ConnectionConfig,
    signed: SignedOctets<'_>,
    received: &Authentication,
) -> Result<AuthVerified, Disbelief> {
    match &config.remote_auth {
        RemoteAuth::Psk { secret } => {
            if received.method != AuthMethod::PSK {
                return Err(Disbelief::Method(received.method));
            }
            psk::verify(ike.suite.prf, secret, signed, &received.data).map_err(|_| Disbelief::Mismatch)
        }
    }
}
