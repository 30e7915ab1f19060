//! Azure VPN Gateway, route-based (its documentation: "About VPN devices and IPsec/IKE parameters", "About cryptographic
//! requirements", "IPsec/IKE policy FAQ"; the lists of 2023-10, the policies of 2024-01).

use super::super::diagnostic::Report;
use super::super::raw::RawTunnel;
use super::super::rules::Facts;
use super::{Preset, PskRule, impossible};

/// Azure without a policy of its own knows DH group 2 only for IKE, which is legacy here. With a policy there is exactly one
/// combination, so all good ones are offered. For ESP Azure offers no PFS, and as responder takes none with AES-GCM, so that comes first;
/// a policy may demand PFS, so that is offered besides. It has no extended sequence numbers.
///
/// CHILD SAs last 27,000 s or 102,400,000 KB (104.8 GB) there, which a fast tunnel uses up in a quarter of an hour; IKE SAs 28,800 s. Ours are
/// replaced at 80 to 90 % of 7 h, 100 GB and 8 h. How far its replay window goes back is not documented. TCP must be clamped to 1,350, so the interface has 40 octets more.
pub(super) const PRESET: Preset = Preset {
    name: "azure",
    gateway: "Azure VPN Gateway",
    ike: &[
        "aes256gcm16-prfsha384-prfsha256-ecp384-ecp256-modp2048",
        "aes256-sha384-sha256-ecp384-ecp256-modp2048",
    ],
    legacy_ike: &["aes256-aes128-sha256-modp1024", "aes256-aes128-sha1-modp1024"],
    esp: &[
        "aes256gcm16",
        "aes256-sha256",
        "aes256gcm16-ecp384-ecp256-modp2048",
        "aes256-sha256-ecp384-ecp256-modp2048",
    ],
    legacy_esp: &["aes256-aes128-sha256", "aes256-aes128-sha1"],
    keys: "child_lifetime = \"7h\"\nchild_bytes = \"100GB\"\nike_lifetime = \"8h\"\nliveness = \"30s\"\nesn = false\nmtu = 1390\n",
    notes: &[
        "without an IPsec/IKE policy of its own, Azure has DH group 2 only: give the connection a policy (AES256 or GCMAES256, \
         SHA384 or SHA256, ECP384, ECP256 or DHGroup14), or write legacy = true",
        "a gateway of Azure that is policy-based speaks IKEv1 only; it must be route-based",
    ],
    psk: Some(PskRule {
        fits: psk_fits,
        words: "Azure takes printable ASCII without space, `-` and `~`",
    }),
    judge,
};

fn psk_fits(psk: &[u8]) -> bool {
    psk.iter()
        .all(|octet| octet.is_ascii_graphic() && !matches!(octet, b'-' | b'~'))
}

fn judge(tunnel: &RawTunnel, _: &Facts, out: &mut Report) {
    if let Some(at) = tunnel.post_quantum.as_ref().filter(|at| at.value == "require") {
        let title = "Azure has no post-quantum key exchange";
        let remedy = "remove `post_quantum`, or remove the preset if the peer is not Azure's VPN gateway";
        let cause = "Azure's key exchanges are a fixed list of DH groups";
        out.push(impossible(title, remedy, &at.span, cause));
    }
    if let Some(at) = tunnel.ppk_required.as_ref().filter(|at| at.value) {
        let title = "Azure knows no post-quantum pre-shared keys";
        let remedy = "remove `ppk`, `ppk_id` and `ppk_required`";
        let cause = "Azure's connections have one pre-shared key, and nothing like RFC 8784";
        out.push(impossible(title, remedy, &at.span, cause));
    }
    if let Some(at) = tunnel.transport.as_ref().filter(|at| at.value == "tcp") {
        let title = "Azure does not speak IKE over TCP";
        let remedy = "remove `transport`, and let UDP 500 and 4500 pass";
        let cause = "Azure's gateways take IKE and ESP by UDP (RFC 3948), not by TCP (RFC 9329)";
        out.push(impossible(title, remedy, &at.span, cause));
    }
}
