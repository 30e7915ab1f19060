//! Failures in the operator's words: which side, which step, what to change.

use std::fmt;

use super::{Cause, Exchange, Negotiated, Side, Stay};
use crate::auth::x509::CertificateError;
use crate::negotiate::aggfrag::CONGESTION_CONTROL;
use crate::negotiate::transform::KeyExchangeMethod;
use crate::wire::payload::NotifyType;

impl Cause {
    /// What the operator should do.
    pub(super) fn remedy(&self, exchange: Exchange) -> String {
        match self {
            Self::NoResponse { .. } => match exchange {
                Exchange::IkeSaInit => "check `remote.address`, that the peer's IKE service runs and knows this host's \
                     address, and that UDP 500 is open both ways in every firewall and security group"
                    .into(),
                Exchange::IkeIntermediate => "UDP 500 works, so check that UDP 4500 is open both ways in every firewall and \
                     security group, and that packets of the path's full size get through"
                    .into(),
                Exchange::IkeAuth => "UDP 500 works, so check that UDP 4500 is open both ways in every firewall and \
                     security group; a peer that refuses silently has the reason in its own log"
                    .into(),
                Exchange::CreateChildSa | Exchange::Informational => {
                    "the peer or the way to it is down: check that it runs, and the path on UDP 500 and 4500".into()
                }
            },
            Self::NoProposal { of, refused_by, .. } => match (of, refused_by) {
                (Negotiated::Ike, Side::Us) => "make `ike_proposals` the same on both sides (cipher, PRF, group)".into(),
                // Some answer the same to whom they do not know at all, strongSwan for one.
                (Negotiated::Ike, Side::Peer) => "make `ike_proposals` the same on both sides (cipher, PRF, group), and check that the \
                     peer has a connection for this host's address: without one, some answer the same"
                    .into(),
                (Negotiated::Child, Side::Us | Side::Peer) => {
                    "make `esp_proposals` the same on both sides (cipher, integrity, ESN, no PFS group for the first one)".into()
                }
            },
            Self::InvalidKeyExchange { wanted, .. } => {
                format!("add {} to `ike_proposals`, or take it from the peer's", group(*wanted))
            }
            Self::RekeyRefused { of, notify, group, .. } => rekey_remedy(*of, *notify, *group),
            Self::OtherVersion { major: 0 | 1 } => "IKEv1 is retired (RFC 9395): have the peer speak IKEv2: strongSwan `keyexchange=ikev2` \
                     (swanctl `version = 2`), libreswan `ikev2=insist` (`keyexchange=ikev2`), Openswan `ikev2=insist`, AWS and \
                     Azure an IKEv2 connection"
                .into(),
            Self::OtherVersion { .. } => "have the peer speak IKEv2".into(),
            Self::AuthenticationFailed { refused_by, .. } => match refused_by {
                Side::Us => "set the same `psk` on both sides (look for a stray space or newline), and check that \
                     `remote.id` names the peer that has it"
                    .into(),
                Side::Peer => "set the same `psk` on both sides (look for a stray space or newline), and check that \
                     `local.id` here is what the peer expects, that `remote.id` here is what the peer calls itself, and \
                     that the peer knows no other connection for this address; which of these it is stands in the peer's log, for IKE \
                     tells it to nobody who has not proven who it is"
                    .into(),
            },
            Self::IdentityMismatch { got, .. } => {
                format!("set `remote.id = \"{got}\"` here if that is the right peer, or `local.id` at the peer")
            }
            Self::WrongResponder { wanted, .. } => {
                format!("set `local.id = \"{wanted}\"` here, or `remote.id` at the peer")
            }
            Self::Revocation { error } => error.remedy(),
            Self::UnsupportedIdentity { .. } => "let the peer identify itself by an IP address, a name, a mail address, a key ID or a \
                     distinguished name, and set `remote.id` here to the same"
                .into(),
            Self::UnsupportedAuthMethod { wanted, .. } => format!("set the peer to authenticate with {wanted}, or change `remote` here"),
            Self::Certificate { error, .. } => certificate(error).into(),
            Self::UnknownKey { .. } => "put the peer's public key into `remote.public_key` here, if it was replaced on purpose".into(),
            Self::BadSignature { .. } => {
                "the peer does not have the private key it claims: check its key and certificate; an old peer that signs with SHA-1 \
                     needs `legacy = true` here"
                    .into()
            }
            Self::NoCommonSignature { .. } => {
                "give this side an ECDSA or RSA key, or let the peer speak RFC 7427 with SHA-256 or better".into()
            }
            Self::CredentialRefused { .. } => "look at the peer's log: it must trust the authority of `local.certificate` (or have our public \
                     key), the certificate must name `local.id`, and `remote.id` here must be what the peer calls itself"
                .into(),
            Self::SelectorMismatch { .. } => {
                "`local.networks` here must overlap `remote.networks` at the peer, and the other way round".into()
            }
            Self::NoPpk => "give both sides the same `ppk` and `ppk_id`, or write `ppk_required = false` here to do without".into(),
            Self::UnknownPpk { id } => format!(
                "write `ppk_id = \"{id}\"` and the key as `ppk` here if it is the right one, or let both sides do without \
                 (`ppk_required = false`)"
            ),
            Self::NotChildless => "write `childless = \"prefer\"` here, or let the peer allow it (strongSwan `childless = allow`)".into(),
            Self::AggfragDemand { .. } => {
                "switch congestion control of IP-TFS off at the peer, or write `iptfs = \"off\"` here; until then packets go alone".into()
            }
            Self::ChildInAuth => "write `childless = \"allow\"` here, or let the peer begin without (strongSwan `childless = force`)".into(),
            Self::NoPolicy => "add a connection whose `remote.address` (or `remote.id`) fits this peer, or ignore a stranger".into(),
            Self::NoAddress => "set `remote.address`; without it this side can only wait for the peer".into(),
            Self::CookieLoop => "the peer is under load or its cookies do not work: look at its log, try again later".into(),
            Self::PuzzleTooHard { .. } => {
                "the peer is under attack, or its puzzles are set too hard: look at its log, lower their difficulty there, try again later".into()
            }
            Self::Crashed => "look at the peer's log and host: it crashed; this side connects again by itself".into(),
            Self::Redirected { to, why } => match why {
                Stay::NotWanted => format!("set `follow_redirect = true` to follow it, or `remote.address = \"{to}\"`"),
                Stay::TooMany => "gateways probably send us to each other: look at their logs, and at where each of them redirects to".into(),
                Stay::Nonsense => "look at what the peer redirects to: it must be an address or a name by which this host reaches it".into(),
            },
            Self::NotReachable => "the peer does not receive where its messages say it is: look at the NATs and firewalls between, or set \
                     `mobike = false`"
                .into(),
            Self::ForbiddenNat => "take the NAT from the path, or let both sides speak NAT traversal".into(),
            Self::Deleted | Self::NoChild => "look at the peer's log: it ended the connection".into(),
            Self::TooOften => "look at the peer: its lifetimes or its limits by octets or packets are far too low, or it does not take what it \
                     asked for; until it slows down it gets no more, and what stands goes on"
                .into(),
            Self::Expired => "look at the peer's log: it did not replace the SA in time; let it accept rekeying, or make `child_lifetime` and \
                     `ike_lifetime` longer"
                .into(),
            Self::Abandoned => "look at the peer's log: it gave up, or its messages do not arrive (UDP 4500)".into(),
            // RFC 6023: the first CHILD SA cannot be one too many.
            Self::PeerNotify {
                notify: NotifyType::NO_ADDITIONAL_SAS,
            } if exchange == Exchange::IkeAuth => "the peer begins without a CHILD SA (RFC 6023): write `childless = \"prefer\"` here, or let it \
                     make one there (xvpn and strongSwan `childless = allow`)"
                .into(),
            Self::PeerNotify {
                notify: NotifyType::NO_ADDITIONAL_SAS,
            } => "the peer takes no further CHILD SA on this IKE SA: join networks into fewer `[[tunnel.child]]`, or give some a \
                     tunnel of their own"
                .into(),
            Self::PeerNotify { .. } => "look at the peer's log for the reason of this notification".into(),
            Self::BadPublicValue | Self::InvalidSyntax { .. } | Self::UnsupportedCritical { .. } => {
                "the two implementations do not understand each other: please report this with the peer's version".into()
            }
            Self::Internal { .. } => "this is a defect of xvpn: please report it".into(),
        }
    }
}

/// What to do about an SA that cannot be replaced.
fn rekey_remedy(of: Negotiated, notify: NotifyType, group: bool) -> String {
    let until = "until then traffic goes on, but is interrupted whenever a lifetime is over";
    match (of, notify) {
        (Negotiated::Ike, NotifyType::NO_PROPOSAL_CHOSEN | NotifyType::INVALID_KE_PAYLOAD) => {
            format!("make `ike_proposals` the same on both sides; {until}")
        }
        // The first CHILD SA has no key exchange of its own, so the two sides never compared their groups before.
        (Negotiated::Child, NotifyType::NO_PROPOSAL_CHOSEN | NotifyType::INVALID_KE_PAYLOAD) => {
            let act = if group {
                "`esp_proposals` here name a group (PFS on), and the peer probably has PFS off or another group: set the \
                 same group there (strongSwan `esp_proposals`, AWS \"Phase 2 DH group\", Azure \"PFS Group\"), or remove the \
                 group from `esp_proposals` here"
            } else {
                "`esp_proposals` here name no group (PFS off), and the peer probably has PFS on: add its group to \
                 `esp_proposals` here (such as `aes256gcm16-ecp256`), or switch PFS off there (strongSwan `esp_proposals` \
                 without a group, AWS \"Phase 2 DH group\", Azure \"PFS Group: None\")"
            };
            format!("probably a PFS mismatch: {act}; {until}")
        }
        (Negotiated::Ike | Negotiated::Child, _) => {
            format!("look at the peer's log for the reason, and let it accept rekeying; {until}")
        }
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IkeSaInit => "IKE_SA_INIT",
            Self::IkeIntermediate => "IKE_INTERMEDIATE",
            Self::IkeAuth => "IKE_AUTH",
            Self::CreateChildSa => "CREATE_CHILD_SA",
            Self::Informational => "INFORMATIONAL",
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoResponse { tries } => write!(f, "the peer did not answer ({tries} tries)"),
            Self::NoProposal {
                of,
                refused_by,
                ours,
                theirs,
                difference,
            } => {
                let sa = match of {
                    Negotiated::Ike => "IKE",
                    Negotiated::Child => "ESP",
                };
                match refused_by {
                    Side::Peer => write!(f, "the peer accepts none of our {sa} proposals ({ours})"),
                    Side::Us => {
                        let theirs = theirs.as_deref().unwrap_or("nothing we know");
                        write!(
                            f,
                            "no common {sa} proposal: we accept {ours}, the peer offers {theirs}"
                        )?;
                        difference
                            .as_ref()
                            .map_or(Ok(()), |difference| write!(f, " ({difference})"))
                    }
                }
            }
            Self::InvalidKeyExchange { wanted, ours } => {
                write!(
                    f,
                    "the peer wants key exchange {}, which is not among ours ({ours})",
                    group(*wanted)
                )
            }
            Self::RekeyRefused {
                of,
                refused_by,
                notify,
                ours,
                theirs,
                difference,
                group: _,
            } => {
                let sa = match of {
                    Negotiated::Ike => "the IKE SA",
                    Negotiated::Child => "the CHILD SA",
                };
                match refused_by {
                    Side::Peer => write!(f, "the peer refuses to replace {sa} ({notify}): we offer {ours}")?,
                    Side::Us => write!(
                        f,
                        "we refuse to let the peer replace {sa} ({notify}): we accept {ours}"
                    )?,
                }
                match (refused_by, theirs) {
                    (_, None) => {}
                    (Side::Peer, Some(theirs)) => write!(f, ", the peer wants {theirs}")?,
                    (Side::Us, Some(theirs)) => write!(f, ", the peer offers {theirs}")?,
                }
                difference
                    .as_ref()
                    .map_or(Ok(()), |difference| write!(f, " ({difference})"))
            }
            Self::OtherVersion { major } => {
                write!(f, "the peer speaks IKEv{major}, and only IKEv2 is spoken here")
            }
            Self::BadPublicValue => f.write_str("the peer's public key is invalid"),
            Self::CookieLoop => f.write_str("the peer keeps asking for cookies"),
            Self::PuzzleTooHard { difficulty } => {
                write!(
                    f,
                    "the peer wants a puzzle solved that is too hard ({difficulty} zero bits)"
                )
            }
            Self::AuthenticationFailed {
                refused_by: Side::Us,
                identity,
            } => {
                write!(
                    f,
                    "the peer, as {identity}, failed to prove its identity: the shared secrets differ"
                )
            }
            Self::AuthenticationFailed {
                refused_by: Side::Peer,
                identity,
            } => {
                write!(
                    f,
                    "the peer refused us as {identity}: the shared secrets differ, or it does not know one of the names we gave (ours, or the one we call it)"
                )
            }
            Self::IdentityMismatch { expected, got } => {
                write!(f, "the peer says it is {got}, but {} is expected", List(expected))
            }
            Self::WrongResponder { ours, wanted } => {
                write!(f, "the peer wants to talk to {wanted}, but we are {}", List(ours))
            }
            Self::Revocation { error } => write!(f, "{error}"),
            Self::UnsupportedIdentity { id_type } => {
                write!(f, "the peer identifies itself by ID type {id_type}")?;
                match id_type_name(*id_type) {
                    Some(name) => write!(f, " ({name}), which is not supported"),
                    None => f.write_str(", which is not known"),
                }
            }
            Self::UnsupportedAuthMethod { method, wanted } => {
                write!(
                    f,
                    "the peer authenticates by {}, which is not {wanted}",
                    method_name(*method)
                )
            }
            Self::Certificate { identity, error } => {
                write!(f, "the peer, as {identity}, is not believed: {error}")
            }
            Self::UnknownKey { identity } => write!(
                f,
                "the peer, as {identity}, shows a public key that is not known here"
            ),
            Self::BadSignature { identity, error } => {
                write!(
                    f,
                    "the peer, as {identity}, failed to prove its identity: {error}"
                )
            }
            Self::NoCommonSignature { ours } => {
                write!(f, "the peer accepts no signature that our {ours} key can make")
            }
            Self::CredentialRefused { identity } => {
                write!(f, "the peer refused our signature or certificate as {identity}")
            }
            Self::SelectorMismatch {
                refused_by,
                ours,
                theirs,
            } => {
                match refused_by {
                    Side::Us => f.write_str("the peer's networks do not overlap ours")?,
                    Side::Peer => f.write_str("the peer refused our networks")?,
                }
                write!(f, ": ours {} to {}", List(&ours.0), List(&ours.1))?;
                match theirs {
                    Some(theirs) => write!(f, ", the peer's view {} to {}", List(&theirs.0), List(&theirs.1)),
                    None => Ok(()),
                }
            }
            Self::NoPpk => f.write_str(
                "the peer does not use a post-quantum pre-shared key (PPK), and one is required here",
            ),
            Self::UnknownPpk { id } => write!(
                f,
                "the peer uses the post-quantum pre-shared key (PPK) `{id}`, which is not known here"
            ),
            Self::NotChildless => f.write_str("the peer makes no IKE SA without a CHILD SA"),
            Self::AggfragDemand { flags } => {
                let what = match flags & CONGESTION_CONTROL {
                    0 => "what is not known here",
                    _ => "congestion control, which is not done here",
                };
                write!(
                    f,
                    "the peer demands {what}, for AGGFRAG payloads (flags {flags:#04x} of USE_AGGFRAG)"
                )
            }
            Self::ChildInAuth => f.write_str("the peer wants a CHILD SA in IKE_AUTH, where none is made"),
            Self::NoPolicy => f.write_str("no connection is configured for this peer"),
            Self::InvalidSyntax {
                refused_by: Side::Us,
                detail,
            } => write!(f, "the peer's message is malformed: {detail}"),
            Self::InvalidSyntax {
                refused_by: Side::Peer,
                detail,
            } => write!(f, "the peer calls our message malformed: {detail}"),
            Self::UnsupportedCritical {
                refused_by: Side::Us,
                payload,
            } => {
                write!(
                    f,
                    "the peer insists on payload type {payload}, which we do not know"
                )
            }
            Self::UnsupportedCritical {
                refused_by: Side::Peer,
                payload,
            } => {
                write!(f, "the peer does not know our critical payload type {payload}")
            }
            Self::PeerNotify { notify } => write!(f, "the peer answered {notify}"),
            Self::Deleted => f.write_str("the peer deleted the IKE SA"),
            Self::NotReachable => {
                f.write_str("the peer answers without receiving at the address that it gives")
            }
            Self::Crashed => f.write_str("the peer has crashed and come back without its SAs"),
            Self::ForbiddenNat => {
                f.write_str("a NAT on the path changes addresses that the peer wants to stay as they are")
            }
            Self::Abandoned => f.write_str("the peer began and never finished"),
            Self::Redirected { to, why } => {
                write!(f, "the peer sends us to {to} (RFC 5685), ")?;
                f.write_str(match why {
                    Stay::NotWanted => "which `follow_redirect` does not allow",
                    Stay::TooMany => "which is one redirect too many within five minutes",
                    Stay::Nonsense => "where no gateway can be",
                })
            }
            Self::NoChild => f.write_str("the CHILD SA is gone"),
            Self::TooOften => f.write_str("the peer asks for new SAs all the time"),
            Self::Expired => f.write_str("the lifetime of the SA is over and there is no new one"),
            Self::NoAddress => f.write_str("no address to connect to or from"),
            Self::Internal { detail } => write!(f, "internal: {detail}"),
        }
    }
}

/// A key exchange by its name and number.
pub(super) fn group(id: u16) -> String {
    match KeyExchangeMethod::from_wire(id) {
        Some(method) => format!("{} (group {id})", method.name()),
        None => format!("group {id}"),
    }
}

/// An authentication method in an operator's words (RFC 7296 3.8, RFC 4754, RFC 7427, RFC 7619).
pub(super) fn method_name(method: u8) -> String {
    match method {
        0 => "EAP".into(),
        1 => "an RSA signature".into(),
        2 => "a pre-shared key".into(),
        9..=11 => "an ECDSA signature".into(),
        13 => "no proof at all".into(),
        14 => "a signature".into(),
        other => format!("method {other}"),
    }
}

/// The ID Types that are registered and that we do not speak (RFC 7296 3.5, RFC 4595, RFC 7619).
fn id_type_name(id_type: u8) -> Option<&'static str> {
    match id_type {
        10 => Some("ID_DER_ASN1_GN"),
        12 => Some("ID_FC_NAME"),
        13 => Some("ID_NULL"),
        _ => None,
    }
}

/// What the operator should do about a certificate.
fn certificate(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Missing => "let the peer send its certificate (strongSwan: send_cert = always)",
        CertificateError::TooMuch | CertificateError::Malformed { .. } => {
            "look at the peer's certificates with `openssl x509 -text`"
        }
        CertificateError::Key { .. } | CertificateError::WeakSignature => {
            "give the peer a certificate with a key and a signature of today: RSA from 2048 bits on with SHA-256, ECDSA or Ed25519"
        }
        CertificateError::NotYetValid { .. } => "check the clocks of both sides, or wait",
        CertificateError::Expired { .. } => {
            "renew the peer's certificate (or that of its authority), and check our clock"
        }
        CertificateError::WrongName { .. } => {
            "set `remote.id` here and the id at the peer to a name in the peer's certificate, or give it one with that name"
        }
        CertificateError::UnknownIssuer { .. } => {
            "add the authority to `remote.ca` here, or let the peer send the certificates between its own and that authority"
        }
        CertificateError::WrongUsage { .. } => {
            "give the peer a certificate with digitalSignature, and with ipsecIKE if it has an ExtendedKeyUsage"
        }
        CertificateError::BadSignature => {
            "somebody issues certificates in the name of a trusted authority, or `remote.ca` has an older key of it"
        }
        CertificateError::Constraint { .. } => {
            "let the authority issue the peer's certificate as its own certificate allows"
        }
        CertificateError::Revoked { .. } => {
            "give the peer a new certificate, unless its key was stolen: then find out who this was"
        }
        CertificateError::NoClock => "this is a defect of xvpn: please report it",
    }
}

/// Items with commas between.
pub(super) struct List<'a, T>(pub(super) &'a [T]);

impl<T: fmt::Display> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{item}")?;
        }
        Ok(())
    }
}
