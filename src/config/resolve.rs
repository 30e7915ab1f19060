//! From what is written to what is meant: defaults filled in, every value judged. Goes on after an error, to find them all.

use std::net::IpAddr;
use std::path::PathBuf;

use xvpn_ike::auth::identity::Identity;
use xvpn_ike::config::{EncapsulationPolicy, Retransmission};

use super::diagnostic::{Diagnostic, Report, Severity};
use super::raw::{Raw, RawEnd, RawGateway, RawTunnel};
use super::rules::{Facts, Network};
use super::source::{At, Span};
use super::suggest::nearest;
use super::{Config, GatewayConfig, Purpose, RemoteAddress, Start, TunnelConfig};
use super::{defaults, network, proposals, rules, secret};

/// Resolves all of it. `None` if anything is wrong; what, is in the report.
pub(super) fn resolve(raw: &Raw, path: PathBuf, purpose: Purpose, out: &mut Report) -> Option<Config> {
    let mut resolver = Resolver {
        purpose,
        default_id: None,
        listen: Vec::new(),
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
    out: &'a mut Report,
}

impl Resolver<'_> {
    fn gateway(&mut self, raw: &RawGateway) -> GatewayConfig {
        self.default_id = raw.id.as_ref().and_then(|id| self.identity(id));
        self.listen = self.listen_addresses(raw.listen.as_ref());
        let port = |at: &Option<At<u32>>, default| {
            at.as_ref()
                .and_then(|p| u16::try_from(p.value).ok())
                .unwrap_or(default)
        };
        let gateway = GatewayConfig {
            listen: self.listen.clone(),
            port: port(&raw.port, xvpn_ike::api::PORT_IKE),
            nat_port: port(&raw.nat_port, xvpn_ike::api::PORT_NAT_T),
            queues: raw
                .queues
                .as_ref()
                .and_then(|q| usize::try_from(q.value).ok())
                .unwrap_or(defaults::QUEUES),
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
        let (local_address, local_identity, local_networks) = self.local(raw, facts);
        let remote_address = self.remote_address(raw, local_address, facts);
        let remote_identity = self.remote_identity(raw, remote_address.as_ref(), facts);
        let remote_networks = self.networks(raw.remote.as_ref(), "remote", raw);
        facts.local = local_networks;
        facts.remote = remote_networks;
        facts.metric = raw.metric.as_ref().map(|at| at.value);
        let psk = self.psk(raw);
        let legacy = raw.legacy.as_ref().is_some_and(|at| at.value);
        let esn = raw.esn.as_ref().map_or(defaults::ESN, |at| at.value);
        let ike_proposals = proposals::ike(raw.ike_proposals.as_ref(), legacy, self.out);
        let esp_proposals = proposals::esp(raw.esp_proposals.as_ref(), legacy, esn, self.out);
        let encapsulation = self.encapsulation(raw);
        let start = self.start(raw, remote_address.as_ref());
        let addresses = self.inner_addresses(raw);
        let path_mtu = raw
            .path_mtu
            .as_ref()
            .and_then(|at| u16::try_from(at.value).ok())
            .unwrap_or(defaults::PATH_MTU);
        let mtu = self.mtu(raw, path_mtu);
        let nets = |networks: &[Network]| networks.iter().map(|n| n.net).collect::<Vec<_>>();
        Some(TunnelConfig {
            name: name?,
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
            psk: psk?,
            ike_proposals,
            esp_proposals,
            encapsulation,
            start,
            liveness: raw
                .liveness
                .as_ref()
                .map_or(Some(defaults::LIVENESS), |at| at.value),
            keepalive: raw
                .keepalive
                .as_ref()
                .and_then(|at| at.value)
                .unwrap_or(defaults::KEEPALIVE),
            retransmission: Retransmission::default(),
            retry: defaults::RETRY,
            replay_window: self.replay_window(raw),
            path_mtu,
            mtu,
            clamp_mss: raw.clamp_mss.as_ref().map_or(defaults::CLAMP_MSS, |at| at.value),
            copy_dscp: raw.copy_dscp.as_ref().map_or(defaults::COPY_DSCP, |at| at.value),
            metric: facts.metric,
            addresses,
        })
    }

    fn name(&mut self, raw: &RawTunnel, facts: &mut Facts) -> Option<String> {
        let Some(at) = &raw.name else {
            self.missing(
                &raw.span,
                "name",
                "add name = \"azure\" or the like: `xvpn up azure` will mean this tunnel",
            );
            return None;
        };
        facts.name = Some(at.clone());
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if at.value.is_empty()
            || at.value.len() > 64
            || !at.value.chars().all(fits)
            || at.value.starts_with(['-', '.'])
        {
            let remedy = "use 1 to 64 letters, digits, `-`, `_` and `.`, beginning with a letter or digit";
            self.out.push(
                Diagnostic::error("bad-name", "not a name for a tunnel", remedy).at(&at.span, "this name"),
            );
            return None;
        }
        Some(at.value.clone())
    }

    fn interface(&mut self, raw: &RawTunnel, name: Option<&str>, facts: &mut Facts) -> Option<String> {
        let Some(at) = &raw.interface else {
            let derived = derive_interface(name?);
            facts.interface = Some(At {
                value: derived.clone(),
                span: raw.name.as_ref()?.span.clone(),
            });
            return Some(derived);
        };
        facts.interface = Some(at.clone());
        let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | ':' | '%');
        let length = at.value.len();
        if length == 0
            || length > defaults::INTERFACE_LENGTH
            || !at.value.chars().all(fits)
            || [".", ".."].contains(&at.value.as_str())
        {
            let remedy = format!(
                "use 1 to {} letters and digits, or remove the line to have one made from the name",
                defaults::INTERFACE_LENGTH
            );
            let label = format!("{length} octets");
            self.out.push(
                Diagnostic::error("bad-interface", "not a name for a network interface", remedy)
                    .at(&at.span, label),
            );
            return None;
        }
        Some(at.value.clone())
    }

    fn local(
        &mut self,
        raw: &RawTunnel,
        facts: &mut Facts,
    ) -> (Option<IpAddr>, Option<Identity>, Vec<Network>) {
        let end = raw.local.as_ref();
        let address_at = end.and_then(|end| end.address.as_ref());
        let address = address_at.and_then(|at| self.address(at, "local.address"));
        if let (Some(address), Some(at)) = (address, address_at) {
            self.require_on_host(
                address,
                at,
                "remove `address` to let the route to the peer decide, or use one that `ip address` shows",
            );
            self.require_listening(address, at);
        }
        let identity = match end.and_then(|end| end.id.as_ref()) {
            Some(id) => self.identity(id),
            None => self.default_id.clone().or(address.map(Identity::from)),
        };
        if identity.is_none() && end.is_none_or(|end| end.id.is_none()) {
            let span = end.map_or(&raw.span, |end| &end.span);
            let remedy = "add id = \"aws.example\" to `local`, or to [gateway] for all tunnels; it must be what the peer expects";
            self.out.push(
                Diagnostic::error("missing-key", "nothing says who we are towards the peer", remedy)
                    .at(span, "has no `id`"),
            );
        }
        facts.local_identity = identity.clone();
        let networks = self.networks(end, "local", raw);
        (address, identity, networks)
    }

    fn require_listening(&mut self, address: IpAddr, at: &At<String>) {
        let covered = |l: &IpAddr| *l == address || (l.is_unspecified() && l.is_ipv4() == address.is_ipv4());
        if !self.listen.iter().any(covered) {
            let remedy = format!("add \"{address}\" to `listen` in [gateway], or remove `listen` there");
            let title = format!("nobody listens on {address}");
            self.out
                .push(Diagnostic::error("not-listening", title, remedy).at(&at.span, "not among `listen`"));
        }
    }

    fn remote_address(
        &mut self,
        raw: &RawTunnel,
        local: Option<IpAddr>,
        facts: &mut Facts,
    ) -> Option<RemoteAddress> {
        let span = raw.remote.as_ref().map_or(&raw.span, |end| &end.span);
        let Some(at) = raw.remote.as_ref().and_then(|end| end.address.as_ref()) else {
            self.missing(
                span,
                "remote.address",
                "write the peer's public address or DNS name, or \"any\" to wait for it to come",
            );
            return None;
        };
        let address = match network::remote(&at.value) {
            Ok(address) => address,
            Err(why) => {
                let remedy = "write an address, a DNS name, or \"any\" for a peer that comes from anywhere";
                self.out.push(
                    Diagnostic::error("bad-address", "not an address or name of a peer", remedy)
                        .at(&at.span, why),
                );
                return None;
            }
        };
        facts.remote_address = Some(At {
            value: address.clone(),
            span: at.span.clone(),
        });
        if let RemoteAddress::Ip(remote) = address {
            if !self.listen.is_empty() && !self.listen.iter().any(|l| l.is_ipv4() == remote.is_ipv4()) {
                let remedy = "add \"0.0.0.0\" or \"::\" to `listen` in [gateway]";
                let title = "no `listen` address is of the peer's address family";
                self.out.push(
                    Diagnostic::error("address-family", title, remedy).at(&at.span, "cannot be reached"),
                );
            }
            if let Some(local) = local.filter(|local| local.is_ipv4() != remote.is_ipv4()) {
                let title = format!("{remote} cannot be reached from {local}");
                let remedy = "give both addresses in the same family, or remove local.address";
                self.out.push(
                    Diagnostic::error("address-family", title, remedy).at(&at.span, "another address family"),
                );
            }
        }
        Some(address)
    }

    fn remote_identity(
        &mut self,
        raw: &RawTunnel,
        address: Option<&RemoteAddress>,
        facts: &mut Facts,
    ) -> Option<Identity> {
        let identity = match raw.remote.as_ref().and_then(|end| end.id.as_ref()) {
            Some(id) => self.identity(id),
            None => {
                match address? {
                    RemoteAddress::Ip(address) => Some(Identity::from(*address)),
                    RemoteAddress::Name(name) => Some(Identity::Fqdn(name.clone())),
                    RemoteAddress::Any => {
                        let span = raw.remote.as_ref().map_or(&raw.span, |end| &end.span);
                        self.missing(span, "remote.id", "a peer that comes from anywhere is known only by its id; add id = \"azure.example\"");
                        None
                    }
                }
            }
        };
        facts.remote_identity = identity.clone();
        identity
    }

    fn networks(&mut self, end: Option<&RawEnd>, which: &str, raw: &RawTunnel) -> Vec<Network> {
        let span = end.map_or(&raw.span, |end| &end.span);
        let Some(list) = end.and_then(|end| end.networks.as_ref()) else {
            let side = if which == "local" { "us" } else { "the peer" };
            self.missing(
                span,
                &format!("{which}.networks"),
                &format!("add networks = [\"10.1.0.0/16\"]: what is behind {side}"),
            );
            return Vec::new();
        };
        if list.value.is_empty() {
            let title = format!("`{which}.networks` is empty");
            let remedy = "name at least one network, such as \"10.1.0.0/16\", or \"0.0.0.0/0\" for all";
            self.out
                .push(Diagnostic::error("empty-list", title, remedy).at(&list.span, "no network"));
        }
        list.value
            .iter()
            .filter_map(|at| network::network(at, self.out))
            .collect()
    }

    fn psk(&mut self, raw: &RawTunnel) -> Option<xvpn_ike::config::Secret> {
        if !raw.has_psk {
            self.missing(
                &raw.span,
                "psk",
                "make a key with `xvpn genpsk`, and add psk = { file = \"/etc/xvpn/NAME.psk\" }",
            );
        }
        let weak_allowed = raw.weak_psk.as_ref().is_some_and(|at| at.value);
        raw.psk
            .as_ref()
            .and_then(|psk| secret::load(psk, weak_allowed, self.out))
    }

    fn encapsulation(&mut self, raw: &RawTunnel) -> EncapsulationPolicy {
        let choices = [
            ("force", EncapsulationPolicy::Force),
            ("auto", EncapsulationPolicy::Auto),
        ];
        self.choice("encapsulation", raw.encapsulation.as_ref(), &choices)
            .unwrap_or(defaults::ENCAPSULATION)
    }

    fn start(&mut self, raw: &RawTunnel, remote: Option<&RemoteAddress>) -> Start {
        let choices = [
            ("up", Start::Up),
            ("listen", Start::Listen),
            ("manual", Start::Manual),
        ];
        let anywhere = remote == Some(&RemoteAddress::Any);
        let default = if anywhere {
            defaults::START_ANY
        } else {
            defaults::START
        };
        let start = self
            .choice("start", raw.start.as_ref(), &choices)
            .unwrap_or(default);
        if let Some(at) = raw.start.as_ref().filter(|_| anywhere && start == Start::Up) {
            let title = "a peer at \"any\" address cannot be called";
            let remedy = "write start = \"listen\", or give the peer's address or DNS name";
            self.out
                .push(Diagnostic::error("start-any", title, remedy).at(&at.span, "where to?"));
        }
        start
    }

    fn choice<T: Copy>(&mut self, key: &str, at: Option<&At<String>>, choices: &[(&str, T)]) -> Option<T> {
        let at = at?;
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == at.value) {
            return Some(*value);
        }
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let remedy = match nearest(&at.value, choices.iter().map(|(word, _)| *word)) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("write one of {}", words.join(", ")),
        };
        self.out.push(
            Diagnostic::error("bad-choice", format!("`{key}` cannot be that"), remedy)
                .at(&at.span, "not a choice"),
        );
        None
    }

    fn replay_window(&mut self, raw: &RawTunnel) -> u32 {
        let Some(at) = &raw.replay_window else {
            return defaults::REPLAY_WINDOW;
        };
        if !(64..=65536).contains(&at.value) || !at.value.is_multiple_of(64) {
            let nearest = at.value.clamp(64, 65536).next_multiple_of(64);
            let remedy = format!(
                "write a multiple of 64 from 64 to 65536; the nearest is {nearest}, the default is 1024"
            );
            let title = "`replay_window` is not possible";
            self.out
                .push(Diagnostic::error("replay-window", title, remedy).at(&at.span, "not a possible size"));
        }
        at.value
    }

    fn mtu(&mut self, raw: &RawTunnel, path_mtu: u16) -> Option<u16> {
        let at = raw.mtu.as_ref()?;
        let mtu = u16::try_from(at.value).ok()?;
        if mtu >= path_mtu {
            let title = format!("an MTU of {mtu} leaves no room for ESP on a path of {path_mtu}");
            let remedy = format!(
                "remove `mtu` to have it computed, or write at most {}",
                path_mtu.saturating_sub(100)
            );
            self.out
                .push(Diagnostic::error("mtu", title, remedy).at(&at.span, "too large"));
        }
        Some(mtu)
    }

    fn inner_addresses(&mut self, raw: &RawTunnel) -> Vec<ipnet::IpNet> {
        let list = raw
            .address
            .as_ref()
            .map(|list| list.value.as_slice())
            .unwrap_or_default();
        list.iter()
            .filter_map(|at| network::inner_address(at, self.out))
            .collect()
    }

    fn identity(&mut self, at: &At<String>) -> Option<Identity> {
        match at.value.parse() {
            Ok(identity) => Some(identity),
            Err(error) => {
                let error: xvpn_ike::auth::identity::IdentityError = error;
                let remedy = "write an address (192.0.2.1), a name (gw.example.org), a mail address (ops@example.org) or keyid:TEXT";
                self.out.push(
                    Diagnostic::error("bad-identity", error.to_string(), remedy).at(&at.span, "this id"),
                );
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

    fn missing(&mut self, span: &Span, key: &str, remedy: &str) {
        let title = format!("`{key}` is missing");
        self.out
            .push(Diagnostic::error("missing-key", title, remedy).at(span, format!("has no `{key}`")));
    }
}

fn remote_port(end: &RawEnd) -> Option<u16> {
    end.port.as_ref().and_then(|at| u16::try_from(at.value).ok())
}

/// `xv-NAME`; of a long name its beginning and four hexadecimal digits of a hash, so that long names stay apart.
fn derive_interface(name: &str) -> String {
    let whole = format!("{}{name}", defaults::INTERFACE_PREFIX);
    if whole.len() <= defaults::INTERFACE_LENGTH {
        return whole;
    }
    // FNV-1a: the name must be the same after every upgrade, which the standard library does not promise of its hashes.
    let hash = name.bytes().fold(0x811c_9dc5u32, |hash, octet| {
        (hash ^ u32::from(octet)).wrapping_mul(0x0100_0193)
    });
    let beginning: String = whole.chars().take(defaults::INTERFACE_LENGTH - 5).collect();
    format!("{beginning}-{:04x}", hash & 0xffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derives_interface_names_that_the_kernel_takes() {
        assert_eq!(derive_interface("azure"), "xv-azure");
        assert_eq!(derive_interface("azure-west-1"), "xv-azure-west-1");
        let (a, b) = (
            derive_interface("azure-germany-west-central-1"),
            derive_interface("azure-germany-west-central-2"),
        );
        assert_eq!((a.len(), b.len()), (15, 15));
        assert_ne!(a, b);
    }
}
