//! How each side proves who it is. The two need not do it alike (RFC 7296 2.15).

use crate::config::Secret;

/// How we prove who we are.
#[derive(Clone, Debug)]
pub enum LocalAuth {
    /// By a pre-shared key.
    Psk {
        /// The key.
        secret: Secret,
    },
}

/// How the peer must prove who it is. Nothing else is accepted of it.
#[derive(Clone, Debug)]
pub enum RemoteAuth {
    /// By a pre-shared key.
    Psk {
        /// The key.
        secret: Secret,
    },
}

/// Both sides prove themselves by the same pre-shared key.
pub fn shared(secret: Secret) -> (LocalAuth, RemoteAuth) {
    let local = LocalAuth::Psk {
        secret: secret.clone(),
    };
    (local, RemoteAuth::Psk { secret })
}
