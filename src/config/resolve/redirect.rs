//! `redirect_to`: another gateway for the peers (RFC 5685).

use xvpn_ike::api::GatewayIdentity;

use super::super::diagnostic::Diagnostic;
use super::super::raw::RawTunnel;
use super::super::source::At;
use super::Resolver;

impl Resolver<'_> {
    /// The tunnel's own, else that of the gateway; "off" for none.
    pub(super) fn redirect_to(&mut self, raw: &RawTunnel) -> Option<GatewayIdentity> {
        match &raw.redirect_to {
            Some(at) => self.other_gateway(at),
            None => self.redirect_to.clone(),
        }
    }

    /// "off", an address or a name.
    pub(super) fn other_gateway(&mut self, at: &At<String>) -> Option<GatewayIdentity> {
        if at.value == "off" {
            return None;
        }
        let gateway: Option<GatewayIdentity> = at.value.parse().ok();
        let gateway = gateway.filter(GatewayIdentity::is_usable);
        if gateway.is_none() {
            let remedy = "write the address or the DNS name by which the peers reach the other gateway, without a port; \
                 \"off\" for none";
            self.out.push(
                Diagnostic::error("bad-gateway", "no gateway can be at `redirect_to`", remedy)
                    .at(&at.span, "neither an address of a host nor a name"),
            );
        }
        gateway
    }
}
