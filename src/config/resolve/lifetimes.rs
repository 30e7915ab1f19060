//! How long the SAs of a tunnel are used.

use std::time::Duration;

use xvpn_ike::config::Lifetime;

use super::super::defaults;
use super::super::diagnostic::Diagnostic;
use super::super::raw::RawTunnel;
use super::Resolver;

impl Resolver<'_> {
    pub(super) fn child_lifetime(&mut self, raw: &RawTunnel) -> Lifetime {
        let time = raw.child_lifetime.as_ref().and_then(|at| at.value);
        Lifetime {
            time: time.unwrap_or(defaults::CHILD_LIFETIME),
            bytes: self.child_bytes(raw),
            packets: self.child_packets(raw),
        }
    }

    pub(super) fn ike_lifetime(&mut self, raw: &RawTunnel) -> Duration {
        let time = raw.ike_lifetime.as_ref().and_then(|at| at.value);
        time.unwrap_or(defaults::IKE_LIFETIME)
    }

    pub(super) fn reauth_time(&mut self, raw: &RawTunnel) -> Option<Duration> {
        let at = raw.reauth_time.as_ref()?;
        let time = at.value?;
        if time < SHORTEST_REAUTH {
            let remedy = "write at least \"10s\", better \"8h\" or more, or \"off\": rekeying, which goes on anyway, makes new keys for less";
            self.out.push(
                Diagnostic::error("lifetime", "`reauth_time` is too short", remedy).at(&at.span, "too short"),
            );
        }
        Some(time)
    }

    fn child_bytes(&mut self, raw: &RawTunnel) -> Option<u64> {
        let at = raw.child_bytes.as_ref()?;
        let bytes = at.value?;
        if bytes < LEAST_BYTES {
            let remedy = "write at least \"100MB\", better \"100GB\" or more, or \"off\"";
            let title =
                "`child_bytes` is too little: a fast transfer uses it up before a new CHILD SA can be made";
            self.out
                .push(Diagnostic::error("lifetime", title, remedy).at(&at.span, "too little"));
        }
        Some(bytes)
    }

    fn child_packets(&mut self, raw: &RawTunnel) -> Option<u64> {
        let at = raw.child_packets.as_ref().filter(|at| at.value > 0)?;
        if at.value < LEAST_PACKETS {
            let remedy = "write at least 100000, better 100000000 or more, or 0 for no limit";
            let title =
                "`child_packets` is too little: a fast transfer uses it up before a new CHILD SA can be made";
            self.out
                .push(Diagnostic::error("lifetime", title, remedy).at(&at.span, "too little"));
        }
        Some(u64::from(at.value))
    }
}

/// Each takes a whole negotiation.
const SHORTEST_REAUTH: Duration = Duration::from_secs(10);
/// The dataplane is asked about once a second what it has carried; the tenth between the soft and the hard limit must
/// outlast that.
const LEAST_BYTES: u64 = 100_000_000;
/// The same for packets.
const LEAST_PACKETS: u32 = 100_000;
