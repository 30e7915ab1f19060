//! `resumption`: lost sessions go on by a ticket (RFC 5723).

use xvpn_ike::auth::method::RemoteAuth;
use xvpn_ike::auth::x509::revocation::{Policy, Rules};

use super::super::defaults;
use super::super::diagnostic::Diagnostic;
use super::super::raw::RawTunnel;
use super::Resolver;

impl Resolver<'_> {
    pub(super) fn resumption(
        &mut self,
        raw: &RawTunnel,
        remote: Option<&RemoteAuth>,
        revocation: &Rules,
    ) -> bool {
        let Some(at) = &raw.resumption else {
            return defaults::RESUMPTION;
        };
        let by_certificate = remote.is_some_and(|remote| match remote {
            RemoteAuth::Certificate { .. } => true,
            RemoteAuth::Psk { .. } | RemoteAuth::RawKey { .. } => false,
        });
        if at.value && by_certificate && revocation.policy != Policy::Off {
            let title =
                "a peer that resumes a session shows no certificate, so nobody would see that it was revoked";
            let remedy = "remove `resumption`, or write revocation = \"off\" if certificates of these authorities are never revoked";
            self.out
                .push(Diagnostic::error("resumption", title, remedy).at(&at.span, "with certificates"));
        }
        at.value
    }
}
