//! The settings of a tunnel besides its two ends.

use std::path::PathBuf;
use std::time::Duration;

use xvpn_ike::auth::x509::revocation::{Policy, Rules};
use xvpn_ike::config::{Childless, EncapsulationPolicy, Secret};

use super::super::diagnostic::{Diagnostic, Report};
use super::super::proposals::PostQuantum;
use super::super::raw::{RawPsk, RawTunnel};
use super::super::rules::Facts;
use super::super::source::At;
use super::super::suggest::nearest;
use super::super::{RemoteAddress, Spread, Start, crls, defaults, secret};
use super::Resolver;

impl Resolver<'_> {
    pub(super) fn name(&mut self, raw: &RawTunnel, facts: &mut Facts) -> Option<String> {
        let Some(at) = &raw.name else {
            self.missing(
                raw,
                "",
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

    pub(super) fn interface(
        &mut self,
        raw: &RawTunnel,
        name: Option<&str>,
        facts: &mut Facts,
    ) -> Option<String> {
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
            || [".", "..", "all", "default", "lo"].contains(&at.value.as_str())
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

    /// `psk`, and `previous_psk` if there is one.
    pub(super) fn psk(&mut self, raw: &RawTunnel) -> Option<(Secret, Option<Secret>)> {
        if raw.psk.is_none() {
            self.missing(
                raw,
                "",
                "psk",
                "make a key with `xvpn genpsk`, and add psk = { file = \"/etc/xvpn/NAME.psk\" }",
            );
        }
        let weak_allowed = raw.weak_psk.as_ref().is_some_and(|at| at.value);
        let load = |out: &mut Report, psk: &RawPsk| secret::load(psk, weak_allowed, out);
        let current = raw.psk.as_ref().and_then(|psk| load(self.out, psk));
        let previous = raw.previous_psk.as_ref().map(|psk| load(self.out, psk));
        if super::has(&raw.keys, "previous_psk") && previous.is_none() {
            // It is there and could not be read, which was reported.
            return None;
        }
        let (current, previous) = (current?, previous.map_or(Some(None), |read| read.map(Some))?);
        if previous.as_ref() == Some(&current) {
            let title = "`psk` and `previous_psk` are the same key";
            let remedy = "write the new key as `psk` and the old one as `previous_psk`; when the peer has the new one, remove \
                          `previous_psk`";
            let span = raw.previous_psk.as_ref().map_or(&raw.span, RawPsk::span);
            self.out
                .push(Diagnostic::error("same-psk", title, remedy).at(span, "nothing to rotate"));
        }
        Some((current, previous))
    }

    pub(super) fn encapsulation(&mut self, raw: &RawTunnel) -> EncapsulationPolicy {
        let choices = [
            ("force", EncapsulationPolicy::Force),
            ("auto", EncapsulationPolicy::Auto),
        ];
        self.choice("encapsulation", raw.encapsulation.as_ref(), &choices)
            .unwrap_or(defaults::ENCAPSULATION)
    }

    pub(super) fn childless(&mut self, raw: &RawTunnel) -> Childless {
        let choices = [
            ("never", Childless::Never),
            ("allow", Childless::Allow),
            ("prefer", Childless::Prefer),
            ("force", Childless::Force),
        ];
        self.choice("childless", raw.childless.as_ref(), &choices)
            .unwrap_or_default()
    }

    pub(super) fn spread(&mut self, raw: &RawTunnel) -> Spread {
        let choices = [("auto", Spread::Auto), ("on", Spread::On), ("off", Spread::Off)];
        self.choice("spread", raw.spread.as_ref(), &choices)
            .unwrap_or(defaults::SPREAD)
    }

    pub(super) fn post_quantum(&mut self, raw: &RawTunnel) -> PostQuantum {
        let choices = [
            ("prefer", PostQuantum::Prefer),
            ("require", PostQuantum::Require),
            ("off", PostQuantum::Off),
        ];
        self.choice("post_quantum", raw.post_quantum.as_ref(), &choices)
            .unwrap_or(defaults::POST_QUANTUM)
    }

    pub(super) fn start(
        &mut self,
        raw: &RawTunnel,
        remote: Option<&RemoteAddress>,
        redirects: bool,
    ) -> Start {
        let choices = [
            ("up", Start::Up),
            ("listen", Start::Listen),
            ("on-demand", Start::OnDemand),
            ("manual", Start::Manual),
        ];
        let anywhere = remote == Some(&RemoteAddress::Any);
        let default = if anywhere || redirects {
            defaults::START_ANY
        } else {
            defaults::START
        };
        let start = self
            .choice("start", raw.start.as_ref(), &choices)
            .unwrap_or(default);
        let calls = match start {
            Start::Up | Start::OnDemand => true,
            Start::Listen | Start::Manual => false,
        };
        if let Some(at) = raw.start.as_ref().filter(|_| anywhere && calls) {
            let title = "a peer at \"any\" address cannot be called";
            let remedy = "write start = \"listen\", or give the peer's address or DNS name";
            self.out
                .push(Diagnostic::error("start-any", title, remedy).at(&at.span, "where to?"));
        }
        if let Some(at) = raw.start.as_ref().filter(|_| redirects && calls) {
            let title = "a peer that is sent to another gateway cannot be called";
            let remedy = "write start = \"listen\", or remove `redirect_to`";
            self.out
                .push(Diagnostic::error("start-redirect", title, remedy).at(&at.span, "what for?"));
        }
        start
    }

    pub(super) fn revocation(&mut self, raw: &RawTunnel) -> (Rules, Vec<PathBuf>) {
        let choices = [
            ("off", Policy::Off),
            ("if-available", Policy::IfAvailable),
            ("require", Policy::Require),
        ];
        let policy = self
            .choice("revocation", raw.revocation.as_ref(), &choices)
            .unwrap_or_default();
        crls::load(policy, raw.crl.as_ref(), self.out)
    }

    pub(super) fn idle_timeout(&mut self, raw: &RawTunnel, start: Start) -> Option<Duration> {
        let at = raw.idle_timeout.as_ref()?;
        let timeout = at.value?;
        if start != Start::OnDemand {
            let title = "`idle_timeout` closes a tunnel that nothing would open again";
            let remedy = "write start = \"on-demand\", or remove `idle_timeout`";
            self.out
                .push(Diagnostic::error("idle-timeout", title, remedy).at(&at.span, "when?"));
        } else if timeout < SHORTEST_IDLE {
            let remedy = "write at least \"10s\": the next packet has to wait for a whole negotiation";
            self.out.push(
                Diagnostic::error("idle-timeout", "`idle_timeout` is too short", remedy)
                    .at(&at.span, "too short"),
            );
        }
        Some(timeout)
    }

    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &str,
        at: Option<&At<String>>,
        choices: &[(&str, T)],
    ) -> Option<T> {
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

    pub(super) fn replay_window(&mut self, raw: &RawTunnel) -> u32 {
        let Some(at) = &raw.replay_window else {
            return defaults::REPLAY_WINDOW;
        };
        if !(64..=65536).contains(&at.value) || !at.value.is_multiple_of(64) {
            let nearest = at.value.clamp(64, 65536).next_multiple_of(64);
            let remedy = format!(
                "write a multiple of 64 from 64 to 65536; the nearest is {nearest}, the default is {}",
                defaults::REPLAY_WINDOW
            );
            let title = "`replay_window` is not possible";
            self.out
                .push(Diagnostic::error("replay-window", title, remedy).at(&at.span, "not a possible size"));
        }
        at.value
    }

    pub(super) fn mtu(&mut self, raw: &RawTunnel, path_mtu: u16, facts: &Facts) -> Option<u16> {
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
        let ipv6 = facts
            .local
            .iter()
            .chain(&facts.remote)
            .find(|n| n.net.addr().is_ipv6());
        if let Some(network) = ipv6.filter(|_| mtu < IPV6_MIN_MTU) {
            let title = format!("an MTU of {mtu} is too small for IPv6");
            let remedy = "remove `mtu`, write at least 1280, or take the IPv6 networks from this tunnel";
            self.out.push(
                Diagnostic::error("mtu", title, remedy)
                    .at(&at.span, "too small")
                    .and(&network.span, "IPv6")
                    .because(
                        "the kernel switches IPv6 off on an interface with an MTU below 1280 (RFC 8200 5)",
                    ),
            );
        }
        Some(mtu)
    }
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

/// A tunnel is not closed more eagerly.
const SHORTEST_IDLE: Duration = Duration::from_secs(10);

/// RFC 8200 5.
const IPV6_MIN_MTU: u16 = 1280;

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
