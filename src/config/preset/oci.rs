//! Oracle Cloud Infrastructure, Site-to-Site VPN (its documentation: "Supported IPSec Parameters").

use super::super::diagnostic::Report;
use super::super::raw::RawTunnel;
use super::super::rules::Facts;
use super::Preset;

/// For IKE there is AES-CBC; a custom proposal there must be met exactly, so all good combinations are offered. When we begin a CHILD SA, Oracle
/// takes whatever it supports; PFS is on there, with group 5, which is not spoken here, unless told otherwise. IKE SAs last
/// 28,800 s, CHILD SAs 3,600 s there; ours are replaced at 80 to 90 % of 8 h and 55 minutes.
pub(super) const PRESET: Preset = Preset {
    name: "oci",
    gateway: "Oracle Site-to-Site VPN",
    ike: &["aes256-sha384-sha256-ecp384-ecp256-modp2048"],
    legacy_ike: &[
        "aes256-aes128-sha384-sha256-modp2048-modp1024",
        "aes256-aes128-sha1-modp2048-modp1024",
    ],
    esp: &[
        "aes256gcm16-ecp384-ecp256-modp2048",
        "aes256-sha256-ecp384-ecp256-modp2048",
    ],
    legacy_esp: &[
        "aes256-aes128-sha256-modp2048-modp1024",
        "aes256-aes128-sha1-modp2048-modp1024",
    ],
    keys: "child_lifetime = \"55m\"\nike_lifetime = \"8h\"\nliveness = \"30s\"\n",
    notes: &[
        "set the tunnel to IKEv2 there, and its DH group and PFS group to 20, 19 or 14 (the default of PFS, group 5, is not spoken here)",
        "Oracle's own IKE_SA_INIT may come in IP fragments: let them pass the firewall",
        "Oracle sends through either tunnel of a connection, whichever we use: let both carry traffic",
    ],
    psk: None,
    judge: |_: &RawTunnel, _: &Facts, _: &mut Report| {},
};
