//! `ppk`, `ppk_id`, `ppk_required`: a post-quantum pre-shared key (RFC 8784).

use xvpn_ike::auth::ppk::Ppk;

use super::super::diagnostic::Diagnostic;
use super::super::raw::RawTunnel;
use super::super::secret;
use super::Resolver;

impl Resolver<'_> {
    /// `None` if something is wrong with it, which was reported.
    pub(super) fn ppk(&mut self, raw: &RawTunnel) -> Option<Option<Ppk>> {
        let required = raw.ppk_required.as_ref();
        let is_there = |key| super::has(&raw.keys, key);
        if !is_there("ppk") {
            if let Some(at) = raw
                .ppk_id
                .as_ref()
                .map(|at| &at.span)
                .or(required.map(|at| &at.span))
            {
                let title = "there is no `ppk` that this could be about";
                let remedy = "make a key with `xvpn genpsk`, and add ppk = { file = \"/etc/xvpn/NAME.ppk\" }, or remove the line";
                self.out
                    .push(Diagnostic::error("missing-key", title, remedy).at(at, "without `ppk`"));
                return None;
            }
            return Some(None);
        }
        if !is_there("ppk_id") {
            let remedy =
                "add ppk_id = \"NAME\": by this name the two sides agree on the key (strongSwan `ppk_id`)";
            let span = raw.ppk.as_ref().map_or(&raw.span, |ppk| ppk.span());
            self.out.push(
                Diagnostic::error("missing-key", "`ppk` has no `ppk_id`", remedy).at(span, "without a name"),
            );
        }
        let id = raw.ppk_id.as_ref();
        // RFC 8784 5.1: both sides can write these.
        let fits = |c: char| c.is_ascii_graphic();
        if let Some(at) =
            id.filter(|at| at.value.is_empty() || at.value.len() > LONGEST_ID || !at.value.chars().all(fits))
        {
            let title = "not a name for a post-quantum pre-shared key";
            let remedy = "use 1 to 64 letters, digits and signs of ASCII, without spaces; it is no secret";
            self.out
                .push(Diagnostic::error("bad-name", title, remedy).at(&at.span, "this name"));
        }
        let weak_allowed = raw.weak_psk.as_ref().is_some_and(|at| at.value);
        let secret = secret::load(raw.ppk.as_ref()?, weak_allowed, self.out)?;
        Some(Some(Ppk {
            id: id?.value.clone().into_bytes(),
            secret,
            required: required.is_some_and(|at| at.value),
        }))
    }
}

/// Octets of a name.
const LONGEST_ID: usize = 64;
