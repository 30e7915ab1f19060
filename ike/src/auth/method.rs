//! How each side proves who it is. The two need not do it alike (RFC 7296 2.15).

use std::sync::Arc;

use super::announcement::Announced;
use super::signature::RsaPadding;
use super::x509::{Anchor, CertificateDer};
use crate::config::Secret;
use crate::crypto::sign::{PublicKey, SigningKey};

/// How we prove who we are.
#[derive(Clone, Debug)]
pub enum LocalAuth {
    /// By a pre-shared key.
    Psk {
        /// The key.
        secret: Secret,
        /// The one that it replaces, for a peer that does not know it yet.
        previous: Option<Secret>,
    },
    /// By a signature, with the key of a certificate.
    Certificate {
        /// Our certificate, then those between it and the authority that the peer trusts.
        chain: Arc<[CertificateDer<'static>]>,
        /// Its key.
        key: Arc<SigningKey>,
        /// How an RSA key signs.
        padding: RsaPadding,
    },
    /// By a signature, with a key that the peer knows as ours (RFC 7670).
    RawKey {
        /// The key.
        key: Arc<SigningKey>,
        /// How an RSA key signs.
        padding: RsaPadding,
    },
}

/// How the peer must prove who it is. Nothing else is accepted of it.
#[derive(Clone, Debug)]
pub enum RemoteAuth {
    /// By a pre-shared key.
    Psk {
        /// The key.
        secret: Secret,
        /// The one that it replaces, which will do as well.
        previous: Option<Secret>,
    },
    /// By a signature, with the key of a certificate that leads to one of these authorities. Never none.
    Certificate {
        /// The authorities.
        anchors: Arc<[Anchor]>,
    },
    /// By a signature, with one of these keys (RFC 7670): several while one replaces the other. Never none.
    RawKey {
        /// The peer's keys.
        keys: Arc<[PublicKey]>,
    },
}

/// Both sides prove themselves by the same pre-shared key.
pub fn shared(secret: Secret) -> (LocalAuth, RemoteAuth) {
    rotated(secret, None)
}

/// The same while one key replaces another: the peer may not know the new one yet.
pub fn rotated(secret: Secret, previous: Option<Secret>) -> (LocalAuth, RemoteAuth) {
    let local = LocalAuth::Psk {
        secret: secret.clone(),
        previous: previous.clone(),
    };
    (local, RemoteAuth::Psk { secret, previous })
}

impl LocalAuth {
    /// We sign.
    pub(crate) fn signs(&self) -> bool {
        match self {
            Self::Psk { .. } => false,
            Self::Certificate { .. } | Self::RawKey { .. } => true,
        }
    }

    /// There is an older key to try with a peer that refuses this one.
    pub(crate) fn has_previous(&self) -> bool {
        match self {
            Self::Psk { previous, .. } => previous.is_some(),
            Self::Certificate { .. } | Self::RawKey { .. } => false,
        }
    }
}

impl RemoteAuth {
    /// The peer must sign.
    pub(crate) fn signs(&self) -> bool {
        match self {
            Self::Psk { .. } => false,
            Self::Certificate { .. } | Self::RawKey { .. } => true,
        }
    }

    /// What the peer may prove itself by (RFC 9593).
    pub(crate) fn announced(&self) -> Announced {
        match self {
            Self::Psk { .. } => Announced::psk(),
            Self::Certificate { .. } | Self::RawKey { .. } => Announced::signatures(),
        }
    }
}
