//! UDP, TCP, or one after the other (RFC 9329).

use xvpn_ike::config::TransportPolicy;

use super::super::diagnostic::Diagnostic;
use super::super::raw::{Raw, RawTunnel};
use super::super::{Start, TunnelConfig, defaults};
use super::Resolver;

impl Resolver<'_> {
    pub(super) fn transport(&mut self, raw: &RawTunnel, start: Start) -> TransportPolicy {
        let udp_tries = raw.udp_tries.as_ref().map_or(defaults::UDP_TRIES, |at| at.value);
        let choices = [
            ("udp", TransportPolicy::Udp),
            ("auto", TransportPolicy::Auto { udp_tries }),
            ("tcp", TransportPolicy::Tcp),
        ];
        let transport = self
            .choice("transport", raw.transport.as_ref(), &choices)
            .unwrap_or(defaults::TRANSPORT);
        let falls_back = matches!(transport, TransportPolicy::Auto { .. });
        if let Some(at) = raw.udp_tries.as_ref().filter(|_| !falls_back) {
            let title = "`udp_tries` says when TCP is tried after UDP, but this tunnel has only one of them";
            let remedy = "write transport = \"auto\", or remove `udp_tries`";
            self.out
                .push(Diagnostic::warning("udp-tries", title, remedy).at(&at.span, "after what?"));
        }
        self.check_port_of_peer(raw, transport);
        // Who only waits for the peer needs somewhere to wait.
        let waits = start == Start::Listen && !self.listens_on_tcp;
        if let Some(at) = raw.transport.as_ref().filter(|_| waits) {
            let remedy = "add tcp_port = 4500 to [gateway], and let the firewall pass it";
            let found = match transport {
                TransportPolicy::Udp => None,
                TransportPolicy::Auto { .. } => Some(Diagnostic::warning(
                    "tcp-unheard",
                    "the peer can come by UDP only: nobody listens on TCP",
                    remedy,
                )),
                TransportPolicy::Tcp => Some(Diagnostic::error(
                    "tcp-unheard",
                    "the peer can never come: it may only use TCP, and nobody listens there",
                    remedy,
                )),
            };
            let label = "the peer is waited for, but [gateway] has no `tcp_port`";
            self.out
                .diagnostics
                .extend(found.map(|diagnostic| diagnostic.at(&at.span, label)));
        }
        transport
    }

    fn check_port_of_peer(&mut self, raw: &RawTunnel, transport: TransportPolicy) {
        let port = raw.remote.as_ref().and_then(|end| end.tcp_port.as_ref());
        if let Some(at) = port.filter(|_| transport == TransportPolicy::Udp) {
            let title = "`remote.tcp_port` is never used: this tunnel does not use TCP";
            let remedy =
                "write transport = \"auto\" (TCP where UDP does not pass) or \"tcp\", or remove `tcp_port`";
            self.out
                .push(Diagnostic::warning("tcp-unused", title, remedy).at(&at.span, "for nothing"));
        }
    }

    /// A port that is open for nobody is only there to be attacked.
    pub(super) fn tcp_of_gateway(&mut self, raw: &Raw, tunnels: &[TunnelConfig]) {
        let used = tunnels
            .iter()
            .any(|tunnel| tunnel.transport != TransportPolicy::Udp);
        if let Some(at) = raw
            .gateway
            .tcp_port
            .as_ref()
            .filter(|_| !used && !tunnels.is_empty())
        {
            let title = "TCP is listened on, but no tunnel may use it";
            let remedy = "write transport = \"auto\" into the tunnels whose peers may come by TCP, or remove `tcp_port`";
            self.out
                .push(Diagnostic::warning("tcp-unused", title, remedy).at(&at.span, "for nobody"));
        }
    }
}
