//! What is written: the mirror of the TOML, every value with its place, nothing filled in and nothing judged.

mod iptfs;

use toml::de::DeValue;
use zeroize::Zeroizing;

use super::diagnostic::{Diagnostic, Report};
use super::preset::Applied;
use super::read::{Section, wrong_type};
use super::source::{At, Span};
pub(super) use iptfs::{Rate, RawIptfs};

/// All files together.
#[derive(Default)]
pub(super) struct Raw {
    /// `[gateway]`.
    pub(super) gateway: RawGateway,
    /// `[[tunnel]]`, in the order of the files.
    pub(super) tunnels: Vec<RawTunnel>,
}

/// `[gateway]`.
#[derive(Default)]
pub(super) struct RawGateway {
    pub(super) listen: Option<At<Vec<At<String>>>>,
    pub(super) port: Option<At<u32>>,
    pub(super) nat_port: Option<At<u32>>,
    pub(super) tcp_port: Option<At<u32>>,
    pub(super) queues: Option<At<u32>>,
    pub(super) static_nat: Option<At<bool>>,
    pub(super) offload: Option<At<Vec<At<String>>>>,
    pub(super) id: Option<At<String>>,
    pub(super) state_dir: Option<At<String>>,
    pub(super) manage_sysctls: Option<At<bool>>,
    pub(super) log: Option<At<String>>,
    pub(super) metrics: Option<At<String>>,
    pub(super) redirect_to: Option<At<String>>,
}

/// `local` or `remote`.
pub(super) struct RawEnd {
    pub(super) span: Span,
    /// The keys that are there, readable or not.
    pub(super) keys: Vec<String>,
    pub(super) id: Option<At<String>>,
    pub(super) address: Option<At<String>>,
    pub(super) port: Option<At<u32>>,
    /// `remote` only.
    pub(super) tcp_port: Option<At<u32>>,
    pub(super) networks: Option<At<Vec<At<String>>>>,
    /// `local` only.
    pub(super) certificate: Option<At<String>>,
    /// `local` only.
    pub(super) key: Option<At<String>>,
    /// `local` only.
    pub(super) signature: Option<At<String>>,
    /// `remote` only.
    pub(super) ca: Option<At<Vec<At<String>>>>,
    /// `remote` only.
    pub(super) public_key: Option<At<Vec<At<String>>>>,
}

/// `psk`.
pub(super) enum RawPsk {
    Inline(At<Zeroizing<String>>),
    File(At<String>),
    Env(At<String>),
    Credential(At<String>),
    Command(At<Vec<At<String>>>),
}

impl RawPsk {
    /// Where it is written.
    pub(super) fn span(&self) -> &Span {
        match self {
            Self::Inline(at) => &at.span,
            Self::File(at) | Self::Env(at) | Self::Credential(at) => &at.span,
            Self::Command(at) => &at.span,
        }
    }
}

/// `[[tunnel]]`.
pub(super) struct RawTunnel {
    /// Its header, for what is missing.
    pub(super) span: Span,
    /// The keys that are there, readable or not.
    pub(super) keys: Vec<String>,
    pub(super) name: Option<At<String>>,
    pub(super) preset: Option<At<String>>,
    /// What the preset set, once it was applied.
    pub(super) applied: Option<Applied>,
    pub(super) local: Option<RawEnd>,
    pub(super) remote: Option<RawEnd>,
    /// `None` if there is none or an unreadable one, which was reported.
    pub(super) psk: Option<RawPsk>,
    pub(super) previous_psk: Option<RawPsk>,
    pub(super) ppk: Option<RawPsk>,
    pub(super) ppk_id: Option<At<String>>,
    pub(super) ppk_required: Option<At<bool>>,
    pub(super) childless: Option<At<String>>,
    pub(super) weak_psk: Option<At<bool>>,
    pub(super) revocation: Option<At<String>>,
    pub(super) crl: Option<At<Vec<At<String>>>>,
    pub(super) ike_proposals: Option<At<Vec<At<String>>>>,
    pub(super) esp_proposals: Option<At<Vec<At<String>>>>,
    pub(super) post_quantum: Option<At<String>>,
    pub(super) legacy: Option<At<bool>>,
    pub(super) encapsulation: Option<At<String>>,
    pub(super) transport: Option<At<String>>,
    pub(super) udp_tries: Option<At<u32>>,
    pub(super) start: Option<At<String>>,
    pub(super) idle_timeout: Option<At<Option<std::time::Duration>>>,
    pub(super) liveness: Option<At<Option<std::time::Duration>>>,
    pub(super) keepalive: Option<At<Option<std::time::Duration>>>,
    pub(super) child_lifetime: Option<At<Option<std::time::Duration>>>,
    pub(super) child_bytes: Option<At<Option<u64>>>,
    pub(super) child_packets: Option<At<u32>>,
    pub(super) rekey_probe: Option<At<bool>>,
    pub(super) ike_lifetime: Option<At<Option<std::time::Duration>>>,
    pub(super) reauth_time: Option<At<Option<std::time::Duration>>>,
    pub(super) resumption: Option<At<bool>>,
    pub(super) replay_window: Option<At<u32>>,
    pub(super) peer_replay_window: Option<At<u32>>,
    pub(super) spread: Option<At<String>>,
    pub(super) esn: Option<At<bool>>,
    pub(super) interface: Option<At<String>>,
    pub(super) path_mtu: Option<At<u32>>,
    pub(super) fragment_size: Option<At<u32>>,
    pub(super) mtu: Option<At<u32>>,
    pub(super) clamp_mss: Option<At<bool>>,
    pub(super) mobike: Option<At<bool>>,
    pub(super) follow_redirect: Option<At<bool>>,
    pub(super) redirect_to: Option<At<String>>,
    pub(super) copy_dscp: Option<At<bool>>,
    pub(super) metric: Option<At<u32>>,
    pub(super) address: Option<At<Vec<At<String>>>>,
    pub(super) per_resource: Option<At<u32>>,
    pub(super) iptfs: RawIptfs,
    pub(super) children: Vec<RawChild>,
}

/// `[[tunnel.child]]`.
pub(super) struct RawChild {
    pub(super) span: Span,
    /// The keys that are there, readable or not.
    pub(super) keys: Vec<String>,
    pub(super) name: Option<At<String>>,
    pub(super) local: Option<At<Vec<At<String>>>>,
    pub(super) remote: Option<At<Vec<At<String>>>>,
    pub(super) esp_proposals: Option<At<Vec<At<String>>>>,
    pub(super) lifetime: Option<At<Option<std::time::Duration>>>,
    pub(super) per_resource: Option<At<u32>>,
    pub(super) iptfs: RawIptfs,
}

impl Raw {
    /// Adds one file.
    pub(super) fn merge(&mut self, mut top: Section<'_, '_>, out: &mut Report) {
        if let Some(section) = top.section("gateway", out) {
            self.gateway.merge(section, out);
        }
        for section in top.sections("tunnel", "[[tunnel]]", out) {
            self.tunnels.push(RawTunnel::read(section, out));
        }
        top.finish(out);
    }
}

impl RawGateway {
    fn merge(&mut self, mut section: Section<'_, '_>, out: &mut Report) {
        merge_key("listen", &mut self.listen, section.strings("listen", out), out);
        merge_key(
            "port",
            &mut self.port,
            section.integer("port", 1..=65535, out),
            out,
        );
        merge_key(
            "nat_port",
            &mut self.nat_port,
            section.integer("nat_port", 1..=65535, out),
            out,
        );
        merge_key(
            "tcp_port",
            &mut self.tcp_port,
            section.integer("tcp_port", 1..=65535, out),
            out,
        );
        merge_key(
            "queues",
            &mut self.queues,
            section.integer("queues", 0..=256, out),
            out,
        );
        merge_key(
            "static_nat",
            &mut self.static_nat,
            section.boolean("static_nat", out),
            out,
        );
        merge_key("offload", &mut self.offload, section.strings("offload", out), out);
        merge_key("id", &mut self.id, section.string("id", out), out);
        merge_key(
            "state_dir",
            &mut self.state_dir,
            section.string("state_dir", out),
            out,
        );
        merge_key(
            "manage_sysctls",
            &mut self.manage_sysctls,
            section.boolean("manage_sysctls", out),
            out,
        );
        merge_key("log", &mut self.log, section.string("log", out), out);
        merge_key("metrics", &mut self.metrics, section.string("metrics", out), out);
        merge_key(
            "redirect_to",
            &mut self.redirect_to,
            section.string("redirect_to", out),
            out,
        );
        section.finish(out);
    }
}

/// Two files of one configuration must not answer the same question.
fn merge_key<T>(key: &str, have: &mut Option<At<T>>, new: Option<At<T>>, out: &mut Report) {
    let Some(new) = new else { return };
    match have {
        None => *have = Some(new),
        Some(first) => out.push(
            Diagnostic::error(
                "twice",
                format!("`gateway.{key}` is set in two files"),
                "keep one of the two",
            )
            .at(&new.span, "set again")
            .and(&first.span, "set here first"),
        ),
    }
}

impl RawTunnel {
    /// Reads one `[[tunnel]]`.
    pub(super) fn read(mut section: Section<'_, '_>, out: &mut Report) -> Self {
        let s = &mut section;
        let psk = read_psk(s, "psk", out);
        let previous_psk = read_psk(s, "previous_psk", out);
        let ppk = read_psk(s, "ppk", out);
        let tunnel = Self {
            span: s.span.clone(),
            keys: s.keys(),
            name: s.string("name", out),
            preset: s.string("preset", out),
            applied: None,
            local: s.section("local", out).map(|end| RawEnd::read(end, false, out)),
            remote: s.section("remote", out).map(|end| RawEnd::read(end, true, out)),
            psk,
            previous_psk,
            ppk,
            ppk_id: s.string("ppk_id", out),
            ppk_required: s.boolean("ppk_required", out),
            childless: s.string("childless", out),
            weak_psk: s.boolean("weak_psk", out),
            revocation: s.string("revocation", out),
            crl: s.strings("crl", out),
            ike_proposals: s.strings("ike_proposals", out),
            esp_proposals: s.strings("esp_proposals", out),
            post_quantum: s.string("post_quantum", out),
            legacy: s.boolean("legacy", out),
            encapsulation: s.string("encapsulation", out),
            transport: s.string("transport", out),
            udp_tries: s.integer("udp_tries", 2..=8, out),
            start: s.string("start", out),
            idle_timeout: s.duration("idle_timeout", true, out),
            liveness: s.duration("liveness", true, out),
            keepalive: s.duration("keepalive", false, out),
            child_lifetime: s.duration("child_lifetime", false, out),
            child_bytes: s.octets("child_bytes", out),
            child_packets: s.integer("child_packets", 0..=u32::MAX, out),
            rekey_probe: s.boolean("rekey_probe", out),
            ike_lifetime: s.duration("ike_lifetime", false, out),
            reauth_time: s.duration("reauth_time", true, out),
            replay_window: s.integer("replay_window", 0..=u32::MAX, out),
            peer_replay_window: s.integer("peer_replay_window", 32..=1 << 24, out),
            spread: s.string("spread", out),
            esn: s.boolean("esn", out),
            interface: s.string("interface", out),
            path_mtu: s.integer("path_mtu", 576..=9216, out),
            fragment_size: s.integer("fragment_size", 576..=9216, out),
            mtu: s.integer("mtu", 576..=9216, out),
            clamp_mss: s.boolean("clamp_mss", out),
            mobike: s.boolean("mobike", out),
            resumption: s.boolean("resumption", out),
            follow_redirect: s.boolean("follow_redirect", out),
            redirect_to: s.string("redirect_to", out),
            copy_dscp: s.boolean("copy_dscp", out),
            metric: s.integer("metric", 0..=u32::MAX, out),
            address: s.strings("address", out),
            per_resource: s.integer("per_resource", 0..=MOST_RESOURCES, out),
            iptfs: RawIptfs::read(s, out),
            children: s
                .sections("child", "[[tunnel.child]]", out)
                .into_iter()
                .map(|child| RawChild::read(child, out))
                .collect(),
        };
        section.finish(out);
        tunnel
    }
}

impl RawChild {
    fn read(mut section: Section<'_, '_>, out: &mut Report) -> Self {
        let child = Self {
            span: section.span.clone(),
            keys: section.keys(),
            name: section.string("name", out),
            local: section.strings("local", out),
            remote: section.strings("remote", out),
            esp_proposals: section.strings("esp_proposals", out),
            lifetime: section.duration("child_lifetime", false, out),
            per_resource: section.integer("per_resource", 0..=MOST_RESOURCES, out),
            iptfs: RawIptfs::read(&mut section, out),
        };
        section.finish(out);
        child
    }
}

impl RawEnd {
    fn read(mut section: Section<'_, '_>, remote: bool, out: &mut Report) -> Self {
        let mut end = Self {
            span: section.span.clone(),
            keys: section.keys(),
            id: section.string("id", out),
            address: section.string("address", out),
            port: if remote {
                section.integer("port", 1..=65535, out)
            } else {
                None
            },
            tcp_port: None,
            networks: section.strings("networks", out),
            certificate: None,
            key: None,
            signature: None,
            ca: None,
            public_key: None,
        };
        if remote {
            end.tcp_port = section.integer("tcp_port", 1..=65535, out);
            end.ca = section.strings("ca", out);
            end.public_key = section.strings("public_key", out);
        } else {
            end.certificate = section.string("certificate", out);
            end.key = section.string("key", out);
            end.signature = section.string("signature", out);
        }
        section.finish(out);
        end
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of all kinds of TOML values two are wanted, and the rest is wrong"
)]
fn read_psk(section: &mut Section<'_, '_>, key: &'static str, out: &mut Report) -> Option<RawPsk> {
    let (value, span) = section.value(key)?;
    match value {
        DeValue::String(text) => Some(RawPsk::Inline(At {
            value: Zeroizing::new(text.to_string()),
            span,
        })),
        DeValue::Table(table) => read_psk_source(Section::new(table, span, key), key, out),
        other => wrong_type(
            key,
            "a string, or a table such as { file = \"/etc/xvpn/NAME.psk\" }",
            other,
            &span,
            out,
        ),
    }
}

fn read_psk_source(mut section: Section<'_, '_>, key: &str, out: &mut Report) -> Option<RawPsk> {
    let before = out.diagnostics.len();
    let mut sources: Vec<RawPsk> = Vec::new();
    sources.extend(section.string("file", out).map(RawPsk::File));
    sources.extend(section.string("env", out).map(RawPsk::Env));
    sources.extend(section.string("credential", out).map(RawPsk::Credential));
    sources.extend(section.strings("command", out).map(RawPsk::Command));
    let span = section.span.clone();
    section.finish(out);
    if sources.len() == 1 {
        return sources.pop();
    }
    if out.diagnostics.len() == before {
        let title = format!("`{key}` must name exactly one source");
        let remedy =
            "write one of { file = \"…\" }, { env = \"…\" }, { credential = \"…\" } or { command = [\"…\"] }";
        let label = format!("{} sources", sources.len());
        out.push(Diagnostic::error("psk-source", title, remedy).at(&span, label));
    }
    None
}

/// A gateway with more queues than this has fewer SAs than queues.
const MOST_RESOURCES: u32 = 64;
