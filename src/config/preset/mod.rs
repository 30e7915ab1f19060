//! `preset`: what the managed gateway of a cloud takes, as defaults of one tunnel. Whatever the operator writes wins.
//!
//! One cloud is one file. To add one, add its file and its place in `ALL`; the facts and where they are from belong beside the values.

mod alibaba;
mod aws;
mod azure;
mod fill;
mod gcp;
mod oci;

use toml::de::DeTable;
use xvpn_ike::config::Secret;

use super::diagnostic::{Diagnostic, Report};
use super::raw::{Raw, RawTunnel};
use super::read::Section;
use super::rules::Facts;
use super::source::{Source, Span};
use super::suggest::nearest;

/// What is known of one cloud's gateway.
pub(super) struct Preset {
    /// As the operator writes it.
    pub(super) name: &'static str,
    /// What it is for.
    gateway: &'static str,
    /// `ike_proposals`.
    ike: &'static [&'static str],
    /// Those that come last with `legacy = true`.
    legacy_ike: &'static [&'static str],
    /// `esp_proposals`.
    esp: &'static [&'static str],
    /// Those that come last with `legacy = true`.
    legacy_esp: &'static [&'static str],
    /// Further keys, as the operator would write them.
    keys: &'static str,
    /// What to know of the other side, or to set there.
    notes: &'static [&'static str],
    /// What its pre-shared keys may be; `None` if nothing is known.
    psk: Option<PskRule>,
    /// What cannot come to anything with this gateway.
    judge: fn(&RawTunnel, &Facts, &mut Report),
}

/// What a cloud takes as a pre-shared key.
#[derive(Clone, Copy)]
struct PskRule {
    fits: fn(&[u8]) -> bool,
    words: &'static str,
}

/// What a preset made of one tunnel, for `xvpn check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The preset's name.
    pub name: &'static str,
    /// The gateway it is for.
    pub gateway: &'static str,
    /// The keys that it set, with their values, as they would be written.
    pub set: Vec<String>,
    /// What to know of the other side.
    pub notes: &'static [&'static str],
}

/// Every preset.
const ALL: [&Preset; 5] = [
    &aws::PRESET,
    &azure::PRESET,
    &gcp::PRESET,
    &oci::PRESET,
    &alibaba::PRESET,
];

/// Fills in what the tunnels leave to their presets.
pub(super) fn apply(raw: &mut Raw, out: &mut Report) {
    for tunnel in &mut raw.tunnels {
        let Some(preset) = find(tunnel, out) else { continue };
        let text = preset.text(tunnel);
        let set = match preset.read(&text, out) {
            Some(defaults) => fill::fill(tunnel, defaults),
            None => Vec::new(),
        };
        let lines = text
            .lines()
            .filter(|line| set.iter().any(|key| line.starts_with(&format!("{key} = "))));
        tunnel.applied = Some(Applied {
            name: preset.name,
            gateway: preset.gateway,
            set: lines.map(str::to_owned).collect(),
            notes: preset.notes,
        });
    }
}

/// Reports what the gateway of the tunnel's preset is known not to do.
pub(super) fn judge(tunnel: &RawTunnel, facts: &Facts, psk: Option<&Secret>, out: &mut Report) {
    let name = tunnel.applied.as_ref().map(|applied| applied.name);
    let Some(preset) = ALL.into_iter().find(|preset| Some(preset.name) == name) else {
        return;
    };
    (preset.judge)(tunnel, facts, out);
    let refused = preset
        .psk
        .filter(|rule| psk.is_some_and(|psk| !(rule.fits)(psk.expose())));
    if let (Some(rule), Some(psk)) = (refused, &tunnel.psk) {
        let title = format!("{} does not take such a pre-shared key", preset.gateway);
        let remedy = "make one with `xvpn genpsk`, which every cloud takes";
        out.push(
            Diagnostic::warning("preset", title, remedy)
                .at(psk.span(), "this key")
                .because(rule.words),
        );
    }
}

fn find(tunnel: &RawTunnel, out: &mut Report) -> Option<&'static Preset> {
    let at = tunnel.preset.as_ref().filter(|at| at.value != "off")?;
    let found = ALL.into_iter().find(|preset| preset.name == at.value);
    if found.is_none() {
        let names = || ALL.into_iter().map(|preset| preset.name);
        let remedy = match nearest(&at.value, names()) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("write one of {}, or \"off\"", quoted(names())),
        };
        out.push(
            Diagnostic::error("bad-choice", "there is no such preset", remedy).at(&at.span, "not known"),
        );
    }
    found
}

impl Preset {
    /// All that it would set in this tunnel, in the words of the configuration.
    fn text(&self, tunnel: &RawTunnel) -> String {
        let legacy = tunnel.legacy.as_ref().is_some_and(|at| at.value);
        let with = |strong: &[&str], old: &[&str]| -> Vec<String> {
            let old = old.iter().filter(|_| legacy);
            strong.iter().chain(old).map(|&text| text.to_owned()).collect()
        };
        let ike = post_quantum(tunnel, with(self.ike, self.legacy_ike));
        let esp = with(self.esp, self.legacy_esp);
        let list = |proposals: &[String]| quoted(proposals.iter().map(String::as_str));
        format!(
            "ike_proposals = [{}]\nesp_proposals = [{}]\nrekey_probe = true\n{}",
            list(&ike),
            list(&esp),
            self.keys
        )
    }

    /// Reads it as a file of its own, so that a diagnostic that ends up there shows whose words it is about.
    fn read(&self, text: &str, out: &mut Report) -> Option<RawTunnel> {
        let table = DeTable::parse(text).ok()?;
        let span = Span::new(out.sources.0.len(), 0..0);
        out.sources.0.push(Source::of_preset(self.name, text.to_owned()));
        Some(RawTunnel::read(
            Section::new(table.get_ref(), span, "the preset"),
            out,
        ))
    }
}

/// No cloud's gateway is known to have ML-KEM, so presets are without, unless the operator says `post_quantum`.
fn post_quantum(tunnel: &RawTunnel, classical: Vec<String>) -> Vec<String> {
    let said = tunnel.post_quantum.as_ref().map(|at| at.value.as_str());
    let hybrid = classical
        .iter()
        .filter(|text| !text.contains("modp1024"))
        .map(|text| format!("{text}-ke1_mlkem768"));
    match said {
        Some("prefer") => hybrid.chain(classical.iter().cloned()).collect(),
        Some("require") => hybrid.collect(),
        Some(_) | None => classical,
    }
}

/// A setting that this gateway cannot follow.
fn impossible(title: &str, remedy: &str, span: &Span, cause: &str) -> Diagnostic {
    Diagnostic::error("preset", title, remedy)
        .at(span, "not with this peer")
        .because(cause)
}

fn quoted<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.map(|word| format!("\"{word}\"")).collect();
    words.join(", ")
}
