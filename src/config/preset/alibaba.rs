//! Alibaba Cloud VPN Gateway (its provider's documentation of `vpn_gateway` connections, and ALIYUN::VPC::VpnConnection).

use super::super::diagnostic::Report;
use super::super::raw::RawTunnel;
use super::super::rules::Facts;
use super::Preset;

/// One value of each kind is set there: AES-CBC, SHA-2, a group, PFS or none. Group 14 is the only good one. Both
/// kinds of SA last 86,400 s there unless told otherwise; ours are replaced at 80 to 90 % of 20 hours.
pub(super) const PRESET: Preset = Preset {
    name: "alibaba",
    gateway: "Alibaba Cloud VPN Gateway",
    ike: &["aes256-aes128-sha256-sha384-sha512-modp2048"],
    legacy_ike: &[
        "aes256-aes128-sha256-modp2048-modp1024",
        "aes256-aes128-sha1-modp2048-modp1024",
    ],
    esp: &[
        "aes256-aes128-sha256-sha384-sha512-modp2048",
        "aes256-aes128-sha256-sha384-sha512",
    ],
    legacy_esp: &[
        "aes256-aes128-sha256-modp2048-modp1024",
        "aes256-aes128-sha256",
        "aes256-aes128-sha1-modp2048-modp1024",
        "aes256-aes128-sha1",
    ],
    keys: "child_lifetime = \"20h\"\nike_lifetime = \"20h\"\nliveness = \"30s\"\n",
    notes: &[
        "its defaults are IKEv1, MD5 or SHA-1, and group 2: set ikev2, aes256, sha256 and group14 there, for IPsec too",
    ],
    psk: None,
    judge: |_: &RawTunnel, _: &Facts, _: &mut Report| {},
};
