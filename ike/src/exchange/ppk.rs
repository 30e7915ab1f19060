//! Post-quantum pre-shared keys in IKE_SA_INIT and IKE_AUTH (RFC 8784 3).
//!
//! ```text
//! initiator                                               responder
//!   SAi1, KEi, Ni, N(USE_PPK)                      -->
//!                                                  <--    SAr1, KEr, Nr, N(USE_PPK)
//!   SK {.., AUTH (with the PPK), .., N(PPK_IDENTITY, id), [N(NO_PPK_AUTH, AUTH without)]}  -->
//!                                                  <--    SK {.., AUTH (with the PPK), .., N(PPK_IDENTITY)}
//!                                                   or:   SK {.., AUTH (without)}: it does not know the PPK
//! ```
//!
//! Who is allowed to do without says so by NO_PPK_AUTH (initiator) or by its configuration (responder).

use crate::auth::ppk::Ppk;
use crate::config::ConnectionConfig;
use crate::error::Cause;
use crate::sa::ike_sa::IkeSa;
use crate::sa::keymat::PpkKeys;
use crate::wire::payload::{Authentication, Notify, NotifyType};

/// By what the initiator's IKE_AUTH request is to be verified.
pub(crate) struct Accepted {
    /// The keys with the PPK, if it is used.
    pub(crate) keys: Option<PpkKeys>,
    /// The Authentication Data that the initiator made without the PPK, which is not used.
    pub(crate) instead: Option<Authentication>,
}

/// USE_PPK, if a PPK is configured.
pub(crate) fn announcement(config: &ConnectionConfig) -> Option<Notify> {
    config.ppk.as_ref().map(|_| Notify::new(NotifyType::USE_PPK))
}

/// USE_PPK is there.
pub(crate) fn announced(notifies: &[Notify]) -> bool {
    find(notifies, NotifyType::USE_PPK).is_some()
}

/// RFC 8784 3: an initiator that must have the PPK goes no further with a responder that did not answer USE_PPK.
pub(crate) fn lacks_required(config: &ConnectionConfig, notifies: &[Notify]) -> bool {
    config.ppk.as_ref().is_some_and(|ppk| ppk.required) && !announced(notifies)
}

/// The PPK that the initiator uses, and the keys with it.
pub(crate) fn offer<'a>(
    ike: &IkeSa,
    config: &'a ConnectionConfig,
) -> Result<Option<(&'a Ppk, PpkKeys)>, Cause> {
    match &config.ppk {
        Some(ppk) if ike.features.ppk => Ok(Some((ppk, mixed(ike, ppk)?))),
        Some(ppk) if ppk.required => Err(Cause::NoPpk),
        Some(_) | None => Ok(None),
    }
}

/// PPK_IDENTITY, and NO_PPK_AUTH if the PPK may be left out.
pub(crate) fn identity(ppk: &Ppk, without: Option<Authentication>) -> Vec<Notify> {
    let mut notifies = vec![Notify::with_data(NotifyType::PPK_IDENTITY, ppk.to_wire())];
    notifies.extend(without.map(|auth| Notify::with_data(NotifyType::NO_PPK_AUTH, auth.data)));
    notifies
}

/// The responder has used the PPK.
pub(crate) fn is_used(notifies: &[Notify]) -> bool {
    find(notifies, NotifyType::PPK_IDENTITY).is_some()
}

/// The responder uses the PPK. What is in the notify means nothing (RFC 8784 3).
pub(crate) fn confirmation() -> Notify {
    Notify::new(NotifyType::PPK_IDENTITY)
}

/// The responder's choice (RFC 8784 3, table 1), for one of the connections that the initiator may mean.
pub(crate) fn accept(
    ike: &IkeSa,
    config: &ConnectionConfig,
    auth: &Authentication,
    notifies: &[Notify],
) -> Result<Accepted, Cause> {
    let required = config.ppk.as_ref().is_some_and(|ppk| ppk.required);
    let standard = |instead| Accepted { keys: None, instead };
    if !ike.features.ppk {
        return if required {
            Err(Cause::NoPpk)
        } else {
            Ok(standard(None))
        };
    }
    let Some(identity) = find(notifies, NotifyType::PPK_IDENTITY) else {
        return Err(Cause::NoPpk);
    };
    if let Some(ppk) = config.ppk.as_ref().filter(|ppk| ppk.is_named(&identity.data)) {
        return Ok(Accepted {
            keys: Some(mixed(ike, ppk)?),
            instead: None,
        });
    }
    match find(notifies, NotifyType::NO_PPK_AUTH) {
        Some(without) if !required => Ok(standard(Some(Authentication {
            method: auth.method,
            data: without.data.clone(),
        }))),
        Some(_) | None => Err(Cause::UnknownPpk {
            id: String::from_utf8_lossy(identity.data.get(1..).unwrap_or_default())
                .chars()
                .filter(|c| !c.is_control())
                .take(LONGEST_SHOWN)
                .collect(),
        }),
    }
}

fn mixed(ike: &IkeSa, ppk: &Ppk) -> Result<PpkKeys, Cause> {
    ike.keys
        .with_ppk(ike.suite.prf, ppk.secret.expose())
        .map_err(|_| Cause::Internal {
            detail: "keys do not fit the algorithms",
        })
}

fn find(notifies: &[Notify], kind: NotifyType) -> Option<&Notify> {
    notifies.iter().find(|notify| notify.kind == kind)
}

/// Of a stranger's name for its key nothing longer is put into a log.
const LONGEST_SHOWN: usize = 64;
