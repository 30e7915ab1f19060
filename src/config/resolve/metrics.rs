//! `metrics`: where a Prometheus server finds the counters.

use std::net::SocketAddr;

use super::super::diagnostic::Diagnostic;
use super::super::source::At;
use super::Resolver;

impl Resolver<'_> {
    /// An address and a port, or "off".
    pub(super) fn metrics(&mut self, at: &At<String>) -> Option<SocketAddr> {
        if at.value == "off" {
            return None;
        }
        let Some(address) = at
            .value
            .parse::<SocketAddr>()
            .ok()
            .filter(|address| address.port() > 0)
        else {
            let title = "`metrics` needs an IP address and a port";
            let remedy = "write \"127.0.0.1:9469\", \"[::1]:9469\" or the like, or \"off\"";
            self.out
                .push(Diagnostic::error("bad-address", title, remedy).at(&at.span, "no address and port"));
            return None;
        };
        if !address.ip().is_loopback() {
            let title = "everybody who reaches this address can read the metrics";
            let remedy = "write \"127.0.0.1:PORT\" and let a collector on this host read them, or let a firewall keep others away";
            let cause = "they name the tunnels and say how much each carries, over HTTP without encryption or a password";
            self.out.push(
                Diagnostic::warning("metrics", title, remedy)
                    .at(&at.span, "not a loopback address")
                    .because(cause),
            );
        }
        Some(address)
    }
}
