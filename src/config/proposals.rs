//! Lists of proposals.

use std::str::FromStr;

use xvpn_ike::negotiate::proposal::{EspProposal, IkeProposal, ProposalError, ProposalErrorKind};
use xvpn_ike::negotiate::transform::Legacy;

use super::defaults;
use super::diagnostic::{Diagnostic, Report};
use super::source::{At, Span};

type Written = At<Vec<At<String>>>;

/// `post_quantum`: whether the IKE SA shall withstand a quantum computer (RFC 9370).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PostQuantum {
    /// With a peer that can do it.
    Prefer,
    /// Or there is none.
    Require,
    /// It is not offered.
    Off,
}

/// `ike_proposals`.
pub(super) fn ike(
    written: Option<&Written>,
    legacy: bool,
    post_quantum: PostQuantum,
    out: &mut Report,
) -> Vec<IkeProposal> {
    let Some(written) = written else {
        return defaults::ike_proposals(legacy, post_quantum);
    };
    let mut proposals = Vec::new();
    for at in check_not_empty("ike_proposals", written, out) {
        let proposal: Option<IkeProposal> = read_one("ike_proposals", at, legacy, IkeProposal::legacy, out);
        if let Some(proposal) = proposal {
            check_post_quantum(at, &proposal, post_quantum, out);
            proposals.push(proposal);
        }
    }
    proposals
}

/// The two keys must not contradict each other.
fn check_post_quantum(at: &At<String>, proposal: &IkeProposal, wanted: PostQuantum, out: &mut Report) {
    let additional = &proposal.additional;
    let (title, remedy, label) = match wanted {
        PostQuantum::Require if !additional.requires_post_quantum() => (
            "post_quantum = \"require\", and this proposal can do without",
            "add `-ke1_mlkem768` to it (and no `ke1_none`), or remove one of the two keys",
            "no post-quantum key exchange",
        ),
        PostQuantum::Off if additional.names_post_quantum() => (
            "post_quantum = \"off\", and this proposal names a post-quantum key exchange",
            "take it out of the proposal, or remove post_quantum",
            "the opposite",
        ),
        PostQuantum::Prefer | PostQuantum::Require | PostQuantum::Off => return,
    };
    out.push(Diagnostic::error("post-quantum", title, remedy).at(&at.span, label));
}

/// `esp_proposals`. One that does not say `esn` or `noesn` follows the key `esn`.
pub(super) fn esp(written: Option<&Written>, legacy: bool, esn: bool, out: &mut Report) -> Vec<EspProposal> {
    let wanted = if esn { vec![true, false] } else { vec![false] };
    let Some(written) = written else {
        let mut proposals = defaults::esp_proposals(legacy);
        proposals
            .iter_mut()
            .filter(|_| !esn)
            .for_each(|proposal| proposal.esn.clone_from(&wanted));
        return proposals;
    };
    let mut proposals = Vec::new();
    for at in check_not_empty("esp_proposals", written, out) {
        let Some(mut proposal) = read_one("esp_proposals", at, legacy, EspProposal::legacy, out) else {
            continue;
        };
        let says = at
            .value
            .split('-')
            .any(|word| matches!(word.trim(), "esn" | "noesn"));
        if !says {
            proposal.esn.clone_from(&wanted);
        }
        proposals.push(proposal);
    }
    proposals
}

fn check_not_empty<'a>(key: &str, written: &'a Written, out: &mut Report) -> &'a [At<String>] {
    if written.value.is_empty() {
        let remedy = "remove the line to offer the defaults, or name at least one";
        out.push(
            Diagnostic::error("empty-list", format!("`{key}` is empty"), remedy)
                .at(&written.span, "nothing to offer"),
        );
    }
    &written.value
}

fn read_one<P: FromStr<Err = ProposalError>>(
    key: &str,
    at: &At<String>,
    legacy: bool,
    legacy_in: fn(&P) -> Vec<Legacy>,
    out: &mut Report,
) -> Option<P> {
    let proposal: P = match at.value.parse() {
        Ok(proposal) => proposal,
        Err(error) => {
            out.push(explain(key, at, &error));
            return None;
        }
    };
    let old = legacy_in(&proposal);
    // Where they are allowed, a preset's last resorts are as little worth a word as the defaults'.
    let by_preset = legacy && out.sources.get(&at.span).is_some_and(|source| source.preset);
    if !old.is_empty() && !by_preset {
        out.push(only_for_old_peers(at, &old, legacy));
    }
    (legacy || old.is_empty()).then_some(proposal)
}

/// What a proposal has that is only for old peers: refused, or, if it is allowed, a warning.
fn only_for_old_peers(at: &At<String>, old: &[Legacy], allowed: bool) -> Diagnostic {
    let once = |list: Vec<&'static str>| {
        let mut seen: Vec<&'static str> = Vec::new();
        list.into_iter().for_each(|item| {
            if !seen.contains(&item) {
                seen.push(item);
            }
        });
        seen
    };
    let names: Vec<&str> = old.iter().map(|legacy| legacy.name).collect();
    let title = format!("only for old peers: {}", names.join(", "));
    let instead = once(old.iter().map(|legacy| legacy.reason.instead()).collect()).join(", ");
    let causes = once(old.iter().map(|legacy| legacy.reason.cause()).collect()).join("; ");
    let diagnostic = if allowed {
        let remedy =
            format!("name {instead} in its place, here and at the peer, as soon as the peer can do that");
        Diagnostic::warning("legacy", title, remedy)
    } else {
        let remedy = format!(
            "choose a stronger one ({instead}), or write legacy = true for a peer that knows no better"
        );
        Diagnostic::error("legacy", title, remedy)
    };
    let length = |name: &str| at.value.find(name).map(|offset| (offset, name.len()));
    let (offset, length) = names.iter().find_map(|name| length(name)).unwrap_or_default();
    diagnostic.at(&word(at, offset, length), "legacy").because(causes)
}

fn explain(key: &str, at: &At<String>, error: &ProposalError) -> Diagnostic {
    let place = word(at, error.offset, error.token.len());
    // What the core says is one sentence with its remedy behind a semicolon.
    let said = error.kind.to_string();
    let (cause, remedy) = said
        .split_once("; ")
        .unwrap_or((&said, "write for example aes256gcm16-prfsha256-x25519"));
    let title = match &error.kind {
        ProposalErrorKind::Unknown { .. } => format!("`{}` is not an algorithm", error.token),
        ProposalErrorKind::IntegrityWithAead => format!("`{}` does not go with an AEAD", error.token),
        ProposalErrorKind::Unsupported { .. }
        | ProposalErrorKind::Twice
        | ProposalErrorKind::Empty
        | ProposalErrorKind::NoEncryption
        | ProposalErrorKind::NoIntegrity
        | ProposalErrorKind::MixedCiphers
        | ProposalErrorKind::NoPrf
        | ProposalErrorKind::NoKeyExchange
        | ProposalErrorKind::SameKeyExchange
        | ProposalErrorKind::AdditionalGap
        | ProposalErrorKind::AdditionalNothing
        | ProposalErrorKind::AdditionalWithoutFirst
        | ProposalErrorKind::PrfInEsp
        | ProposalErrorKind::ImplicitIvInIke
        | ProposalErrorKind::EsnInIke => format!("a proposal of `{key}` cannot be used"),
    };
    Diagnostic::error("bad-proposal", title, remedy).at(&place, cause)
}

/// The place of a word within a string, if the string has no escapes; else the whole string.
fn word(at: &At<String>, offset: usize, length: usize) -> Span {
    let span = &at.span;
    let verbatim = span.end.saturating_sub(span.start) == at.value.len() + 2;
    if !verbatim || offset + length > at.value.len() || length == 0 {
        return span.clone();
    }
    let start = span.start + 1 + offset;
    Span {
        file: span.file,
        start,
        end: start + length,
    }
}
