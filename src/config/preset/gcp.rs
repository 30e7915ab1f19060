//! Google Cloud VPN (its documentation: "Supported IKE ciphers", "Networks and tunnel routing").

use super::super::diagnostic::{Diagnostic, Report};
use super::super::raw::RawTunnel;
use super::super::rules::Facts;
use super::Preset;

/// Cloud VPN chooses by its own order, in both roles, and another choice at rekeying changes the MTU; so Google advises to name exactly
/// one algorithm of each kind. Its network has an MTU of 1,460. IKE SAs last 36,000 s, CHILD SAs 10,800 s there; ours are
/// replaced at 80 to 90 % of 9.5 h and 165 minutes.
pub(super) const PRESET: Preset = Preset {
    name: "gcp",
    gateway: "Google Cloud VPN",
    ike: &["aes256gcm16-prfsha384-ecp384"],
    legacy_ike: &[
        "aes256-aes128-sha256-modp2048-modp1024",
        "aes256-aes128-sha1-modp2048-modp1024",
    ],
    esp: &["aes256gcm16-ecp384"],
    legacy_esp: &[
        "aes256-aes128-sha256-modp2048-modp1024",
        "aes256-aes128-sha1-modp2048-modp1024",
    ],
    keys: "child_lifetime = \"165m\"\nike_lifetime = \"570m\"\nliveness = \"30s\"\npath_mtu = 1460\n",
    notes: &[
        "HA VPN is two tunnels: give each its own [[tunnel]], with different `metric`s and the same proposals and `child_lifetime`",
    ],
    psk: None,
    judge,
};

fn judge(tunnel: &RawTunnel, _: &Facts, out: &mut Report) {
    if let Some(child) = tunnel.children.first() {
        let title = "Cloud VPN expects all networks in one CHILD SA";
        let remedy =
            "put them into `local.networks` and `remote.networks`, or make one tunnel of each CHILD SA";
        let cause =
            "Cloud VPN has one CHILD SA for all networks of a tunnel, and chooses by destination alone";
        out.push(
            Diagnostic::warning("preset", title, remedy)
                .at(&child.span, "one more")
                .because(cause),
        );
    }
}
