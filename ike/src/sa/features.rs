//! The extensions that both sides of an IKE SA speak.

use crate::api::Role;
use crate::auth::announcement::Announced;

/// What both sides announced in IKE_SA_INIT and IKE_AUTH. The successor of an IKE SA inherits it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features {
    /// The peer is an xvpn, too.
    pub(crate) xvpn: bool,
    /// Large messages travel in fragments (RFC 7383 2.3).
    pub(crate) fragmentation: bool,
    /// IKE_INTERMEDIATE (RFC 9242), and with it additional key exchanges (RFC 9370).
    pub(crate) intermediate: bool,
    /// The hashes of signatures that the peer verifies (RFC 7427 4); none if it does not speak RFC 7427.
    pub(crate) signature_hashes: Vec<u16>,
    /// How the responder would like the initiator to authenticate (RFC 9593).
    pub(crate) auth_methods: Option<Announced>,
    /// Both sides have post-quantum pre-shared keys (RFC 8784); whether the same, IKE_AUTH tells.
    pub(crate) ppk: bool,
    /// The responder makes IKE SAs without a CHILD SA (RFC 6023).
    pub(crate) childless: bool,
    /// NAT traversal (RFC 7296 2.23): both sides notify what they see of the path.
    pub(crate) nat_traversal: bool,
    /// MOBIKE (RFC 4555); announced in IKE_AUTH.
    pub(crate) mobike: bool,
    /// Our side of the first IKE SA, if its responder may send its initiator elsewhere (RFC 5685 10). Rekeying does not turn
    /// that round.
    pub(crate) redirect: Option<Role>,
    /// The responder wants an OCSP response with the initiator's certificate (RFC 4806).
    pub(crate) wants_ocsp: bool,
}
