//! An IKE SA: two SPIs, keys, two windows, a path (RFC 7296 1.2, 2.2, 2.14, 2.23).

use std::fmt;

use zeroize::Zeroizing;

use crate::api::{Encapsulation, ExportedKeys, IkeFacts, IkeSaKeys, Path, Role, SaKeys};
use crate::auth::identity::Identity;
use crate::auth::verified::Means;
use crate::config::{ConnectionConfig, Retransmission};
use crate::crypto::aead::SkCipher;
use crate::negotiate::nat::NatStatus;
use crate::negotiate::proposal::IkeSuite;
use crate::sa::features::Features;
use crate::sa::int_auth::IntAuth;
use crate::sa::keymat::{IkeKeys, PpkKeys, Seeds, SharedSecrets};
use crate::sa::reassembly::Reassembly;
use crate::sa::spis::FirstMessage;
use crate::sa::transmission::{FIRST_LIMIT, Ivs};
use crate::sa::window::{Requests, Responses};
use crate::wire::sealed::unencrypted;
use crate::wire::{ExchangeType, Flags, Header, IkeSpi, MessageId, Payloads};

/// An IKE SA whose keys exist. Whether its peer is authenticated is for the state that owns it to know.
pub(crate) struct IkeSa {
    /// Our side of it.
    pub(crate) role: Role,
    /// The initiator's SPI.
    pub(crate) spi_i: IkeSpi,
    /// The responder's SPI.
    pub(crate) spi_r: IkeSpi,
    /// The outer path.
    pub(crate) path: Path,
    /// Its algorithms.
    pub(crate) suite: IkeSuite,
    /// Its secrets.
    pub(crate) keys: IkeKeys,
    /// Ni and Nr, without payload headers.
    pub(crate) nonces: Nonces,
    /// Where there is a NAT.
    pub(crate) nat: NatStatus,
    /// How ESP travels.
    pub(crate) encapsulation: Encapsulation,
    /// The extensions that both sides speak.
    pub(crate) features: Features,
    /// By what we have proven who we are; `None` before that.
    pub(crate) local_means: Option<Means>,
    /// By what the peer has.
    pub(crate) remote_means: Option<Means>,
    /// A post-quantum pre-shared key is in its keys (RFC 8784).
    pub(crate) ppk: bool,
    /// Our requests.
    pub(crate) requests: Requests,
    /// The peer's requests.
    pub(crate) responses: Responses,
    /// The message that made it, if the peer sent it.
    pub(crate) first: Option<FirstMessage>,
    /// What was said in IKE_INTERMEDIATE.
    pub(crate) int_auth: IntAuth,
    /// The largest IP packet that a message of ours shall make.
    pub(super) fragment_size: usize,
    pub(super) reassembly: Reassembly,
    pub(super) reassembly_limit: usize,
    pub(super) ciphers: Ciphers,
    /// The ones before, while the peer may still repeat a request that was protected by them.
    pub(super) ciphers_before: Option<Ciphers>,
    pub(super) ivs: Ivs,
}

/// What protects the messages of an IKE SA.
pub(super) struct Ciphers {
    pub(super) outbound: SkCipher,
    pub(super) inbound: SkCipher,
}

impl Ciphers {
    fn new(role: Role, keys: &IkeKeys, suite: &IkeSuite) -> Option<Self> {
        let (initiator, responder) = keys.ciphers(suite).ok()?;
        let (outbound, inbound) = match role {
            Role::Initiator => (initiator, responder),
            Role::Responder => (responder, initiator),
        };
        Some(Self { outbound, inbound })
    }
}

/// Ni and Nr.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nonces {
    /// The initiator's.
    pub(crate) initiator: Vec<u8>,
    /// The responder's.
    pub(crate) responder: Vec<u8>,
}

impl Nonces {
    /// The smaller of the two: the SA that has the smallest of all is the one to close when two were made at once
    /// (RFC 7296 2.8.1).
    pub(crate) fn lowest(&self) -> &[u8] {
        self.initiator.as_slice().min(self.responder.as_slice())
    }
}

/// What IKE_SA_INIT, or the rekeying of an IKE SA, agreed on.
pub(crate) struct InitAgreement {
    /// Our side of it.
    pub(crate) role: Role,
    /// The initiator's SPI.
    pub(crate) spi_i: IkeSpi,
    /// The responder's SPI.
    pub(crate) spi_r: IkeSpi,
    /// The outer path.
    pub(crate) path: Path,
    /// Its algorithms.
    pub(crate) suite: IkeSuite,
    /// Ni and Nr.
    pub(crate) nonces: Nonces,
    /// Where there is a NAT.
    pub(crate) nat: NatStatus,
    /// How ESP travels.
    pub(crate) encapsulation: Encapsulation,
    /// The extensions that both sides speak.
    pub(crate) features: Features,
}

impl IkeSa {
    /// Derives the keys. `None` only if algorithms and keys do not fit, which is a defect of ours.
    pub(crate) fn new(agreed: InitAgreement, shared: &[u8], config: &ConnectionConfig) -> Option<Self> {
        let seeds = Seeds {
            nonce_i: &agreed.nonces.initiator,
            nonce_r: &agreed.nonces.responder,
            spi_i: agreed.spi_i.0,
            spi_r: agreed.spi_r.0,
        };
        let keys = IkeKeys::derive(&agreed.suite, shared, seeds).ok()?;
        // RFC 7296 2.2: the initiator has used up ID 0, the responder has answered it.
        let ids = match agreed.role {
            Role::Initiator => (1, 0),
            Role::Responder => (0, 1),
        };
        Self::with_keys(agreed, keys, ids, (config.retransmission, config.fragment_size))
    }

    /// One that goes on from a lost one, whose SK_d this is (RFC 5723 5). `None` only if algorithms and keys do not fit.
    pub(crate) fn resumed(
        agreed: InitAgreement,
        (old_sk_d, ppk): (&[u8], bool),
        config: &ConnectionConfig,
    ) -> Option<Self> {
        let seeds = Seeds {
            nonce_i: &agreed.nonces.initiator,
            nonce_r: &agreed.nonces.responder,
            spi_i: agreed.spi_i.0,
            spi_r: agreed.spi_r.0,
        };
        let keys = IkeKeys::resume(old_sk_d, &agreed.suite, seeds).ok()?;
        // RFC 5723 4.3.2: message IDs are as after IKE_SA_INIT.
        let ids = match agreed.role {
            Role::Initiator => (1, 0),
            Role::Responder => (0, 1),
        };
        let policy = (config.retransmission, config.fragment_size);
        let mut ike = Self::with_keys(agreed, keys, ids, policy)?;
        // It is in the old SK_d already, and must not go into the keys again (RFC 8784 3).
        ike.ppk = ppk;
        Some(ike)
    }

    /// The successor of `old` (RFC 7296 2.18): its keys come of SK_d of the old one, and both sides count from 0.
    pub(crate) fn rekeyed(
        old: &Self,
        agreed: InitAgreement,
        secrets: &SharedSecrets,
        policy: Retransmission,
    ) -> Option<Self> {
        let seeds = Seeds {
            nonce_i: &agreed.nonces.initiator,
            nonce_r: &agreed.nonces.responder,
            spi_i: agreed.spi_i.0,
            spi_r: agreed.spi_r.0,
        };
        let keys = IkeKeys::rekey(old.suite.prf, &old.keys.sk_d, &agreed.suite, secrets, seeds).ok()?;
        let mut successor = Self::with_keys(agreed, keys, (0, 0), (policy, old.fragment_size))?;
        // RFC 7296 2.8.3: nobody authenticates again.
        (successor.local_means, successor.remote_means) = (old.local_means, old.remote_means);
        // It is in SK_d, of which the new keys come, and must not go into them again (RFC 8784 3).
        successor.ppk = old.ppk;
        successor.trust();
        Some(successor)
    }

    fn with_keys(
        agreed: InitAgreement,
        keys: IkeKeys,
        (requests, responses): (u32, u32),
        (policy, fragment_size): (Retransmission, usize),
    ) -> Option<Self> {
        let ciphers = Ciphers::new(agreed.role, &keys, &agreed.suite)?;
        Some(Self {
            role: agreed.role,
            spi_i: agreed.spi_i,
            spi_r: agreed.spi_r,
            path: agreed.path,
            suite: agreed.suite,
            keys,
            nonces: agreed.nonces,
            nat: agreed.nat,
            encapsulation: agreed.encapsulation,
            features: agreed.features,
            local_means: None,
            remote_means: None,
            ppk: false,
            requests: Requests::starting_at(requests, policy),
            responses: Responses::starting_at(responses),
            first: None,
            int_auth: IntAuth::default(),
            fragment_size,
            reassembly: Reassembly::default(),
            reassembly_limit: FIRST_LIMIT,
            ciphers,
            ciphers_before: None,
            ivs: Ivs::new(agreed.suite.encryption),
        })
    }

    /// The SPI by which messages to us name it.
    pub(crate) fn local_spi(&self) -> IkeSpi {
        match self.role {
            Role::Initiator => self.spi_i,
            Role::Responder => self.spi_r,
        }
    }

    /// Replaces all keys after an additional key exchange (RFC 9370 2.2.2). `None` only if algorithms and keys do not fit,
    /// which is a defect of ours.
    pub(crate) fn add_key_exchange(&mut self, shared: &[u8]) -> Option<()> {
        let seeds = Seeds {
            nonce_i: &self.nonces.initiator,
            nonce_r: &self.nonces.responder,
            spi_i: self.spi_i.0,
            spi_r: self.spi_r.0,
        };
        let keys = self.keys.update(&self.suite, shared, seeds).ok()?;
        let ciphers = Ciphers::new(self.role, &keys, &self.suite)?;
        self.keys = keys;
        self.ciphers_before = Some(std::mem::replace(&mut self.ciphers, ciphers));
        Some(())
    }

    /// The post-quantum pre-shared key is used (RFC 8784 3).
    pub(crate) fn mix(&mut self, keys: PpkKeys) {
        (self.keys.sk_d, self.keys.sk_pi, self.keys.sk_pr) = (keys.sk_d, keys.sk_pi, keys.sk_pr);
        self.ppk = true;
    }

    /// RFC 7296 2.23: a peer behind a NAT is followed to the address that its last fresh, authenticated message
    /// came from. Our own end stays: a NAT before the peer cannot move it, but who is on the path can send a message on
    /// to our port 500, where ESP in UDP does not live. Whether the path changed.
    pub(crate) fn follow(&mut self, path: Path) -> bool {
        // RFC 9329 6.1: a peer that has lost its TCP connection opens another, from wherever it is then.
        if path.is_tcp_of_peer() && self.path.is_tcp_of_peer() {
            let moved = path != self.path;
            self.path = path;
            return moved;
        }
        // RFC 4555 3.8: with MOBIKE the peer says that it has moved.
        if self.features.mobike || !self.nat.nat_remote || path == self.path || path.local != self.path.local
        {
            return false;
        }
        self.path = path;
        true
    }

    /// How many requests either side may still send (RFC 7296 2.2).
    pub(crate) fn message_ids_left(&self) -> u32 {
        u32::MAX - self.requests.next_id().max(self.responses.expected_id())
    }

    /// As if so many requests had been sent and answered, by both sides.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn use_up_message_ids(&mut self, many: u32) {
        self.requests.skip(many);
        self.responses.skip(many);
    }

    /// Facts for the status.
    pub(crate) fn facts(&self, remote_identity: Identity) -> IkeFacts {
        IkeFacts {
            role: self.role,
            spi_i: self.spi_i.0,
            spi_r: self.spi_r.0,
            suite: self.suite.to_string(),
            key_exchange: self.suite.key_exchange,
            remote_identity,
            path: self.path,
            nat_local: self.nat.nat_local,
            nat_remote: self.nat.nat_remote,
            redirectable: self.features.redirect == Some(Role::Responder),
            local_auth: self.local_means,
            remote_auth: self.remote_means,
            ppk: self.ppk,
        }
    }

    /// What protects its messages, for an operator who wants to read them.
    pub(crate) fn exported(&self) -> ExportedKeys {
        let keys = |encryption: &Zeroizing<Vec<u8>>, integrity: &Zeroizing<Vec<u8>>| SaKeys {
            encryption: encryption.clone(),
            integrity: integrity.clone(),
        };
        ExportedKeys::Ike(IkeSaKeys {
            spi_i: self.spi_i.0,
            spi_r: self.spi_r.0,
            encryption: self.suite.encryption,
            integrity: self.suite.integrity,
            initiator: keys(&self.keys.sk_ei, &self.keys.sk_ai),
            responder: keys(&self.keys.sk_er, &self.keys.sk_ar),
        })
    }

    /// What IntAuth covers of a message of ours.
    pub(crate) fn unencrypted(
        &self,
        exchange: ExchangeType,
        response: bool,
        id: MessageId,
        payloads: &Payloads,
    ) -> Vec<u8> {
        unencrypted(&self.header(exchange, response, id), payloads)
    }

    pub(super) fn header(&self, exchange: ExchangeType, response: bool, message_id: MessageId) -> Header {
        let flags = Flags {
            initiator: self.role == Role::Initiator,
            version: false,
            response,
        };
        Header {
            initiator_spi: self.spi_i,
            responder_spi: self.spi_r,
            exchange,
            flags,
            message_id,
        }
    }
}

impl fmt::Debug for IkeSa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "IkeSa({:?}, {}, {}, {})",
            self.role, self.spi_i, self.spi_r, self.suite
        )
    }
}
