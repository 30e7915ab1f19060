//! The extensions that both sides of an IKE SA speak.

/// What both sides announced in IKE_SA_INIT. The successor of an IKE SA inherits it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features {
    /// The peer is an xvpn, too.
    pub(crate) xvpn: bool,
    /// IKE_INTERMEDIATE (RFC 9242), and with it additional key exchanges (RFC 9370).
    pub(crate) intermediate: bool,
}
