//! From what is written to what is meant: defaults filled in, every value judged. Goes on after an error, to find them all.

mod auth;
mod children;
mod ends;
mod iptfs;
mod iptfs_fit;
mod lifetimes;
mod metrics;
mod ppk;
mod redirect;
mod resumption;
mod settings;
mod transport;

use std::net::IpAddr;
use std::path::PathBuf;

use xvpn_ike::api::GatewayIdentity;
use xvpn_ike::auth::identity::{Identity, IdentityError};
use xvpn_ike::config::Retransmission;

use super::diagnostic::{Diagnostic, Report, Severity};
use super::raw::{Raw, RawEnd, RawGateway, RawTunnel};
use super::rules::{Facts, Network};
use super::source::At;
use super::{Config, GatewayConfig, Offload, Purpose, TunnelConfig};
use super::{defaults, network, preset, proposals, rules};
use auth::Auth;

/// Resolves all of it. `None` if anything is wrong; what, is in the report.
pub(super) fn resolve(mut raw: Raw, path: PathBuf, purpose: Purpose, out: &mut Report) -> Option<Config> {
    preset::apply(&mut raw, out);
    let mut resolver = Resolver {
        purpose,
        default_id: None,
        listen: Vec::new(),
        redirect_to: None,
        listens_on_tcp: raw.gateway.tcp_port.is_some(),
        static_nat: defaults::STATIC_NAT,
        out,
    };
    let gateway = resolver.gateway(&raw.gateway);
    let mut tunnels = Vec::new();
    let mut facts = Vec::new();
    for tunnel in &raw.tunnels {
        let mut known = Facts::default();
        tunnels.extend(resolver.tunnel(tunnel, &mut known));
        facts.push(known);
    }
    resolver.tcp_of_gateway(&raw, &tunnels);
    rules::check(&facts, out);
    if raw.tunnels.is_empty() && out.errors() == 0 {
        out.push(Diagnostic::warning(
            "no-tunnel",
            "there is no [[tunnel]]",
            "add one; `xvpn check --help` shows an example",
        ));
    }
    (out.errors() == 0).then_some(Config {
        path,
        gateway,
        tunnels,
    })
}

struct Resolver<'a> {
    purpose: Purpose,
    default_id: Option<Identity>,
    listen: Vec<IpAddr>,
    redirect_to: Option<GatewayIdentity>,
    /// `gateway.tcp_port` is set.
    listens_on_tcp: bool,
    static_nat: bool,
    out: &'a mut Report,
}

impl Resolver<'_> {
    fn gateway(&mut self, raw: &RawGateway) -> GatewayConfig {
        self.default_id = raw.id.as_ref().and_then(|id| self.identity(id));
        self.listen = self.listen_addresses(raw.listen.as_ref());
        self.static_nat = raw
            .static_nat
            .as_ref()
            .map_or(defaults::STATIC_NAT, |at| at.value);
        self.redirect_to = raw.redirect_to.as_ref().and_then(|at| self.other_gateway(at));
        let port = |at: &Option<At<u32>>, default| {
            at.as_ref()
                .and_then(|p| u16::try_from(p.value).ok())
                .unwrap_or(default)
        };
        let gateway = GatewayConfig {
            listen: self.listen.clone(),
            port: port(&raw.port, xvpn_ike::api::PORT_IKE),
            nat_port: port(&raw.nat_port, xvpn_ike::api::PORT_NAT_T),
            tcp_port: raw.tcp_port.as_ref().and_then(|at| u16::try_from(at.value).ok()),
            queues: raw
                .queues
                .as_ref()
                .and_then(|q| usize::try_from(q.value).ok())
                .unwrap_or(defaults::QUEUES),
            offload: raw.offload.as_ref().map(|names| self.offload(&names.value)),
            state_dir: raw
                .state_dir
                .as_ref()
                .map_or(defaults::STATE_DIR, |dir| &dir.value)
                .into(),
            manage_sysctls: raw
                .manage_sysctls
                .as_ref()
                .map_or(defaults::MANAGE_SYSCTLS, |at| at.value),
            log: raw
                .log
                .as_ref()
                .map_or(defaults::LOG, |log| &log.value)
                .to_owned(),
            metrics: raw.metrics.as_ref().and_then(|at| self.metrics(at)),
        };
        if let Some(at) = raw
            .nat_port
            .as_ref()
            .or(raw.port.as_ref())
            .filter(|_| gateway.port == gateway.nat_port)
        {
            let remedy = "give them different numbers; what arrives on nat_port is told from ESP by a marker (RFC 3948 2.2)";
            let title = "`port` and `nat_port` are the same";
            self.out
                .push(Diagnostic::error("same-port", title, remedy).at(&at.span, "the same number"));
        }
        if let Some(at) = raw.state_dir.as_ref().filter(|dir| !dir.value.starts_with('/')) {
            let remedy = "write it from the root, such as /run/xvpn: every `xvpn` command must find the same";
            let title = "`state_dir` is a relative path";
            self.out.push(
                Diagnostic::error("relative-path", title, remedy).at(&at.span, "does not begin with /"),
            );
        }
        if let Some(at) = raw
            .log
            .as_ref()
            .filter(|log| crate::log::check_filter(&log.value).is_err())
        {
            let remedy = "write a level (error, warn, info, debug, trace), or info,xvpn_ike=debug";
            let title = "`log` is not a log filter";
            self.out
                .push(Diagnostic::error("bad-log", title, remedy).at(&at.span, "not understood"));
        }
        gateway
    }

    fn offload(&mut self, names: &[At<String>]) -> Offload {
        let mut offload = Offload {
            tun: false,
            gso: false,
            gro: false,
        };
        for name in names {
            match name.value.as_str() {
                "tun" => offload.tun = true,
                "gso" => offload.gso = true,
                "gro" => offload.gro = true,
                other => {
                    let remedy = "name those that may be used out of \"tun\", \"gso\" and \"gro\"; [] is none, no line is all";
                    let title = format!("there is no offload {other:?}");
                    self.out
                        .push(Diagnostic::error("unknown-choice", title, remedy).at(&name.span, "not known"));
                }
            }
        }
        offload
    }

    fn listen_addresses(&mut self, listen: Option<&At<Vec<At<String>>>>) -> Vec<IpAddr> {
        let Some(listen) = listen else {
            return defaults::LISTEN
                .iter()
                .filter_map(|text| text.parse().ok())
                .collect();
        };
        if listen.value.is_empty() {
            let remedy = "remove the line to listen on every address, or name at least one";
            self.out.push(
                Diagnostic::error("empty-list", "`listen` is empty", remedy)
                    .at(&listen.span, "nothing to listen on"),
            );
        }
        let mut addresses = Vec::new();
        for at in &listen.value {
            let Some(address) = self.address(at, "listen") else {
                continue;
            };
            self.require_on_host(
                address,
                at,
                "listen on 0.0.0.0 and ::, or on an address that `ip address` shows",
            );
            addresses.push(address);
        }
        addresses
    }

    /// A cloud's public address is on its NAT, not on the host: the commonest mistake there is.
    fn require_on_host(&mut self, address: IpAddr, at: &At<String>, remedy: &str) {
        if network::is_on_this_host(address) {
            return;
        }
        let mut diagnostic = Diagnostic::error("not-on-this-host", format!("this host does not have the address {address}"), remedy)
            .at(&at.span, "no interface has it")
            .because("a public address of a cloud (Elastic IP, Azure public IP) is on a NAT before the host, not on the host");
        if self.purpose == Purpose::Run {
            // It may come later in the boot; binding will tell.
            diagnostic.severity = Severity::Warning;
        }
        self.out.push(diagnostic);
    }

    fn tunnel(&mut self, raw: &RawTunnel, facts: &mut Facts) -> Option<TunnelConfig> {
        let name = self.name(raw, facts);
        let interface = self.interface(raw, name.as_deref(), facts);
        let own = self.own_credential(raw);
        let (local_address, local_identity, local_networks) =
            self.local(raw, own.identity(self.default_id.as_ref()), facts);
        let remote_address = self.remote_address(raw, local_address, facts);
        let remote_identity = self.remote_identity(raw, remote_address.as_ref(), facts);
        let remote_networks = self.networks(raw.remote.as_ref(), "remote", raw);
        let auth = self.auth(raw, own, local_identity.as_ref(), remote_identity.as_ref());
        let ppk = self.ppk(raw);
        let childless = self.childless(raw);
        facts.metric = raw.metric.as_ref().map(|at| at.value);
        let legacy = raw.legacy.as_ref().is_some_and(|at| at.value);
        let post_quantum = self.post_quantum(raw);
        let ike_proposals = proposals::ike(raw.ike_proposals.as_ref(), legacy, post_quantum, self.out);
        let children = self.children(raw, (local_networks, remote_networks), facts);
        let (revocation, crl_files) = self.revocation(raw);
        let resumption = self.resumption(raw, auth.as_ref().map(|auth| &auth.remote), &revocation);
        let encapsulation = self.encapsulation(raw);
        let redirect_to = self.redirect_to(raw);
        let start = self.start(raw, remote_address.as_ref(), redirect_to.is_some());
        let transport = self.transport(raw, start);
        let idle_timeout = self.idle_timeout(raw, start);
        let addresses = self.inner_addresses(raw);
        let ike_lifetime = self.ike_lifetime(raw);
        let reauth_time = self.reauth_time(raw);
        let path_mtu = raw
            .path_mtu
            .as_ref()
            .and_then(|at| u16::try_from(at.value).ok())
            .unwrap_or(defaults::PATH_MTU);
        let mtu = self.mtu(raw, path_mtu, facts);
        preset::judge(raw, facts, auth.as_ref().and_then(Auth::psk), self.out);
        let nets = |networks: &[Network]| networks.iter().map(|n| n.net).collect::<Vec<_>>();
        let auth = auth?;
        Some(TunnelConfig {
            name: name?,
            preset: raw.applied.clone(),
            interface: interface?,
            local_address,
            local_identity: local_identity?,
            local_networks: nets(&facts.local),
            remote_address: remote_address?,
            remote_port: raw
                .remote
                .as_ref()
                .and_then(remote_port)
                .unwrap_or(xvpn_ike::api::PORT_IKE),
            remote_identity: remote_identity?,
            remote_networks: nets(&facts.remote),
            local_auth: auth.local,
            remote_auth: auth.remote,
            ppk: ppk?,
            childless,
            legacy,
            revocation,
            crl_files,
            ike_proposals,
            children,
            encapsulation,
            transport,
            tcp_port: raw
                .remote
                .as_ref()
                .and_then(|end| end.tcp_port.as_ref())
                .and_then(|at| u16::try_from(at.value).ok())
                .unwrap_or(defaults::TCP_PORT),
            start,
            idle_timeout,
            liveness: raw
                .liveness
                .as_ref()
                .map_or(Some(defaults::LIVENESS), |at| at.value),
            keepalive: raw
                .keepalive
                .as_ref()
                .and_then(|at| at.value)
                .unwrap_or(defaults::KEEPALIVE),
            rekey_probe: raw
                .rekey_probe
                .as_ref()
                .map_or(defaults::REKEY_PROBE, |at| at.value),
            ike_lifetime,
            reauth_time,
            resumption,
            retransmission: Retransmission::default(),
            retry: defaults::RETRY,
            replay_window: self.replay_window(raw),
            peer_replay_window: raw.peer_replay_window.as_ref().map(|at| at.value),
            spread: self.spread(raw),
            path_mtu,
            fragment_size: raw
                .fragment_size
                .as_ref()
                .and_then(|at| usize::try_from(at.value).ok())
                .unwrap_or(defaults::FRAGMENT_SIZE),
            mtu,
            clamp_mss: raw.clamp_mss.as_ref().map_or(defaults::CLAMP_MSS, |at| at.value),
            mobike: raw.mobike.as_ref().map_or(defaults::MOBIKE, |at| at.value),
            static_nat: self.static_nat,
            follow_redirect: raw
                .follow_redirect
                .as_ref()
                .map_or(defaults::FOLLOW_REDIRECT, |at| at.value),
            redirect_to,
            copy_dscp: raw.copy_dscp.as_ref().map_or(defaults::COPY_DSCP, |at| at.value),
            metric: facts.metric,
            addresses,
        })
    }

    fn identity(&mut self, at: &At<String>) -> Option<Identity> {
        match at.value.parse() {
            Ok(identity) => Some(identity),
            Err(error) => {
                let title = match error {
                    IdentityError::Empty | IdentityError::Hex(_) => error.to_string(),
                    IdentityError::Malformed(text) => format!("`{text}` is not an identity"),
                };
                let remedy = "write an address (192.0.2.1), a name (gw.example.org), a mail address (ops@example.org), a distinguished name (C=CH, O=Example, CN=gw) or keyid:TEXT";
                self.out
                    .push(Diagnostic::error("bad-identity", title, remedy).at(&at.span, "this id"));
                None
            }
        }
    }

    fn address(&mut self, at: &At<String>, key: &str) -> Option<IpAddr> {
        let address = at.value.parse().ok();
        if address.is_none() {
            let remedy = "write an IPv4 or IPv6 address without port and prefix length, such as 192.0.2.1 or 2001:db8::1";
            let title = format!("`{key}` needs an IP address");
            self.out
                .push(Diagnostic::error("bad-address", title, remedy).at(&at.span, "not an address"));
        }
        address
    }

    /// Reports a key that is not there. One that is, but could not be read, was reported already.
    fn missing(&mut self, raw: &RawTunnel, side: &str, key: &str, remedy: &str) {
        let end = match side {
            "local" => raw.local.as_ref(),
            _ => raw.remote.as_ref(),
        };
        let (span, unread) = match end.filter(|_| !side.is_empty()) {
            Some(end) => (&end.span, has(&end.keys, key)),
            None => (
                &raw.span,
                has(&raw.keys, if side.is_empty() { key } else { side }),
            ),
        };
        if !unread {
            let key = if side.is_empty() {
                key.to_owned()
            } else {
                format!("{side}.{key}")
            };
            let title = format!("`{key}` is missing");
            self.out
                .push(Diagnostic::error("missing-key", title, remedy).at(span, format!("has no `{key}`")));
        }
    }
}

fn remote_port(end: &RawEnd) -> Option<u16> {
    end.port.as_ref().and_then(|at| u16::try_from(at.value).ok())
}

fn has(keys: &[String], key: &str) -> bool {
    keys.iter().any(|written| written == key)
}
