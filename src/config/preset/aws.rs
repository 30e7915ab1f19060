//! AWS Site-to-Site VPN (its user guide: "Tunnel options", "Requirements for your customer gateway device", "Quotas").

use ipnet::IpNet;

use super::super::diagnostic::{Diagnostic, Report};
use super::super::raw::RawTunnel;
use super::super::rules::{Facts, Network};
use super::{Preset, PskRule, impossible};

/// AWS takes "the lowest configured value", whatever the order of the offer: so nothing is offered that ought not to be taken.
/// For ESP that is AES-256-GCM alone, which is the fastest and leaves the largest MTU. PFS is among the requirements.
///
/// AWS replaces a CHILD SA between 540 and 270 s before its 3,600 s are over, at 3,060 s at the earliest: we do so at 80 to 90 % of
/// 55 minutes, 2,970 s at the latest. With acceleration, AWS even demands that the customer's side does it. An IKE SA lasts 28,800 s
/// there, of which our 8 h use 90 %. Its replay window is one of the tunnel options, 64 to 2,048 packets, by default 1,024. AWS gives up a peer after 30 s of silence, and tunnels without traffic may be taken down.
pub(super) const PRESET: Preset = Preset {
    name: "aws",
    gateway: "AWS Site-to-Site VPN",
    ike: &[
        "aes256gcm16-prfsha384-prfsha256-prfsha512-ecp384-ecp256-modp2048",
        "aes256-sha384-sha256-sha512-ecp384-ecp256-modp2048",
    ],
    legacy_ike: &[
        "aes256-aes128-sha256-modp2048-modp1024",
        "aes256-aes128-sha1-modp2048-modp1024",
    ],
    esp: &["aes256gcm16-ecp384-ecp256-modp2048"],
    legacy_esp: &[
        "aes256-aes128-sha256-modp2048-modp1024",
        "aes256-aes128-sha1-modp2048-modp1024",
    ],
    keys: "child_lifetime = \"55m\"\nike_lifetime = \"8h\"\nliveness = \"10s\"\nmobike = false\npath_mtu = 1500\npeer_replay_window = 1024\n",
    notes: &[
        "a connection of AWS is two tunnels: give each its own [[tunnel]], with different `metric`s",
        "if the tunnel options of AWS were narrowed, they must allow AES256-GCM-16 and one of the DH groups 14, 19, 20 in both phases",
        "if the replay window of the tunnel options of AWS is not 1024, write it as peer_replay_window",
    ],
    psk: Some(PskRule {
        fits: psk_fits,
        words: "AWS takes 8 to 64 letters, digits, `.` and `_`, not beginning with 0",
    }),
    judge,
};

fn psk_fits(psk: &[u8]) -> bool {
    (8..=64).contains(&psk.len())
        && !psk.starts_with(b"0")
        && psk
            .iter()
            .all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'_'))
}

fn judge(tunnel: &RawTunnel, facts: &Facts, out: &mut Report) {
    const ONE_PAIR: &str = "AWS has one pair of SAs for each tunnel";
    if let Some(child) = tunnel.children.get(1).or_else(|| {
        let own = tunnel.local.as_ref().is_some_and(|end| end.networks.is_some());
        tunnel.children.first().filter(|_| own)
    }) {
        let title = "an AWS tunnel has one CHILD SA";
        let remedy =
            "put the networks into one list, or remove the preset if the peer is not a VPN gateway of AWS";
        out.push(impossible(title, remedy, &child.span, ONE_PAIR));
    }
    if let Some(at) = tunnel.per_resource.as_ref().filter(|at| at.value > 0) {
        let title = "an AWS tunnel has one CHILD SA, and `per_resource` asks for several";
        out.push(impossible(title, "remove `per_resource`", &at.span, ONE_PAIR));
    }
    let v6 = |network: &&Network| matches!(network.net, IpNet::V6(_));
    let all = || facts.local.iter().chain(&facts.remote);
    if let (Some(six), Some(four)) = (all().find(v6), all().find(|network| !v6(network))) {
        let title = "an AWS tunnel carries IPv4 or IPv6, not both";
        let remedy = "make a second VPN connection there, and a second [[tunnel]] here, for the other family";
        let cause = "AWS has one address family for each VPN connection";
        out.push(impossible(title, remedy, &six.span, cause).and(&four.span, "IPv4"));
    }
    several(&facts.local, "local", out);
    several(&facts.remote, "remote", out);
    if let Some(at) = tunnel.start.as_ref().filter(|at| at.value == "listen") {
        let title = "AWS waits for the customer's side, and so does this tunnel";
        let remedy = "remove `start`, or set the startup action of the tunnel to Start at AWS (IKEv2 only)";
        out.push(Diagnostic::warning("preset", title, remedy).at(&at.span, "who begins?"));
    }
}

fn several(networks: &[Network], side: &str, out: &mut Report) {
    if let [_, second, ..] = networks {
        let title = format!("AWS may take only the first of several networks in `{side}.networks`");
        let remedy =
            "name one network that holds them all, 0.0.0.0/0 if need be; `xvpn status` shows what was agreed";
        let cause = "AWS has one network of each side for a tunnel, 0.0.0.0/0 unless told otherwise";
        out.push(
            Diagnostic::warning("preset", title, remedy)
                .at(&second.span, "the second")
                .because(cause),
        );
    }
}
