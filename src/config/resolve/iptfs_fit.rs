//! Whether what a constant rate carries is what an operator can have meant (RFC 9347).
//!
//! A packet longer than a payload is no mistake: it is cut, and put together again, and nothing is lost. Warned of is what loses packets.

use super::super::defaults::ROOM_FOR_IPV6;
use super::super::diagnostic::Diagnostic;
use super::super::raw::{RawIptfs, RawTunnel};
use super::super::{Iptfs, Pace};
use super::Resolver;
use super::iptfs::path_mtu;

impl Iptfs {
    /// Packets that must not be cut (the D flag of RFC 9347 6.1.4) and are longer than a payload of a constant length are dropped, and IPv6
    /// packets of 1280 octets must pass (RFC 8200 5). The length of the outer packets, if these may be among them.
    pub(crate) fn may_drop_ipv6(&self, path_mtu: u16) -> Option<u16> {
        match self.pace {
            Pace::AtHand { .. } => None,
            Pace::Constant { .. } => {
                let size = self.size.map_or(path_mtu, |size| size.min(path_mtu));
                (size < ROOM_FOR_IPV6).then_some(size)
            }
        }
    }
}

impl Resolver<'_> {
    /// Warns if IPv6 packets may be lost for their length. `ipv6`: there are any.
    pub(super) fn iptfs_holds_ipv6(
        &mut self,
        raw: &RawTunnel,
        own: &RawIptfs,
        iptfs: Option<Iptfs>,
        ipv6: bool,
    ) {
        let Some(iptfs) = iptfs else { return };
        let keys = own.or(&raw.iptfs);
        let path_mtu = u16::try_from(path_mtu(raw)).unwrap_or(u16::MAX);
        if let Some(size) = iptfs.may_drop_ipv6(path_mtu).filter(|_| ipv6)
            && let Some(whole) = keys.fragments.as_ref().filter(|at| !at.value)
        {
            let title = format!(
                "IPv6 packets of up to 1280 octets may not fit into outer packets of {size}, and are not to be cut"
            );
            let remedy = format!(
                "remove `iptfs_fragments` on both sides, or let the outer packets have at least {ROOM_FOR_IPV6} octets: \
                 `iptfs_size`, `path_mtu`"
            );
            let diagnostic = Diagnostic::warning("iptfs-too-short", title, remedy)
                .at(&whole.span, "the peer must not cut")
                .because(
                    "at a constant rate a packet that is longer than a payload and must not be cut is dropped by who sends it: by a peer that \
                     is configured like this, and here if the peer says the same",
                );
            self.out.push(match &keys.size {
                Some(at) => diagnostic.and(&at.span, "so long"),
                None => diagnostic,
            });
        }
    }

    /// Warns if the longest packet takes so long that its sender gives it up.
    pub(super) fn iptfs_is_fast_enough(&mut self, raw: &RawTunnel, keys: &RawIptfs, iptfs: Iptfs) {
        let Pace::Constant { per_second } = iptfs.pace else {
            return;
        };
        let path_mtu = path_mtu(raw);
        let size = iptfs.size.map_or(path_mtu, u32::from).min(path_mtu);
        let written = raw.mtu.as_ref().map(|at| at.value);
        let longest = written.unwrap_or_else(|| path_mtu.saturating_sub(OVERHEAD));
        let payloads = longest.div_ceil(size.saturating_sub(OVERHEAD).max(1));
        if payloads > per_second
            && let Some(at) = &keys.rate
        {
            let title = format!("a packet of {longest} octets takes more than a second at this rate");
            let remedy = format!(
                "write at least iptfs_rate = {}, or longer outer packets",
                payloads * 10
            );
            self.out.push(
                Diagnostic::warning("iptfs-too-slow", title, remedy)
                    .at(
                        &at.span,
                        format!("{per_second} outer packets in a second, and it needs {payloads}"),
                    )
                    .because(
                        "who sends it takes it for lost and sends it again (RFC 6298 2.1), and what waits behind it is dropped (`backlog_full`)",
                    ),
            );
        }
    }
}

/// What ESP and the headers around it take at most, roughly.
const OVERHEAD: u32 = 100;
