//! What a preset makes of a tunnel agrees with what its cloud's documentation says that its gateway takes. The lists here are the clouds',
//! as far as we speak what is in them, and not derived from the presets.

use std::time::Duration;

use xvpn::config::{Purpose, TunnelConfig, load};
use xvpn_ike::api::{Event, Spi};
use xvpn_ike::config::ConnectionConfig;
use xvpn_ike::error::Cause;
use xvpn_ike::negotiate::offer::{esp_offer, ike_offer};
use xvpn_ike::negotiate::proposal::{EspProposal, IkeProposal};
use xvpn_ike::negotiate::select::{ChildExchange, accept_esp, accept_ike, select_esp, select_ike};
use xvpn_ike::negotiate::transform::{Encryption, Integrity, KeyExchangeMethod, Prf};
use xvpn_ike::testing::{Pair, Who, config};

use super::Folder;

const CLOUDS: [&str; 5] = ["aws", "azure", "gcp", "oci", "alibaba"];

/// The tunnel of a configuration that says no more than it must, and `extra`.
fn tunnel(preset: &str, extra: &str) -> TunnelConfig {
    let folder = Folder::new();
    let text = format!(
        "[gateway]\nid = \"203.0.113.10\"\n[[tunnel]]\nname = \"cloud\"\npreset = \"{preset}\"\n{extra}\n\
         local = {{ networks = [\"10.1.0.0/16\"] }}\n\
         remote = {{ address = \"198.51.100.7\", networks = [\"10.2.0.0/16\"] }}\npsk = {{ file = \"good.psk\" }}\n"
    );
    folder.write("xvpn.toml", &text, 0o600);
    let loaded = load(&folder.0.join("xvpn.toml"), Purpose::Run).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(loaded.warnings.warnings(), 0, "{:?}", loaded.warnings);
    loaded.config.tunnels.into_iter().next().unwrap()
}

fn esp_of(tunnel: &TunnelConfig) -> &[EspProposal] {
    &tunnel.children[0].esp_proposals
}

fn ike(words: &[&str]) -> Vec<IkeProposal> {
    words.iter().map(|text| text.parse().unwrap()).collect()
}

fn esp(words: &[&str]) -> Vec<EspProposal> {
    words.iter().map(|text| text.parse().unwrap()).collect()
}

/// What the cloud answers us, and what we answer it.
fn agreed_ike(ours: &[IkeProposal], theirs: &[&str]) -> [String; 2] {
    let theirs = ike(theirs);
    let we_begin = select_ike(&theirs, &ike_offer(ours, None)).unwrap_or_else(|why| panic!("{why}"));
    let they_begin = select_ike(ours, &ike_offer(&theirs, None)).unwrap_or_else(|why| panic!("{why}"));
    [we_begin.suite.to_string(), they_begin.suite.to_string()]
}

/// The same for a CHILD SA that replaces another.
fn agreed_esp(ours: &[EspProposal], theirs: &[&str]) -> [String; 2] {
    let (theirs, spi, exchange) = (esp(theirs), Spi(0x1000), ChildExchange::CreateChildSa);
    let we_begin = select_esp(&theirs, &esp_offer(ours, spi), exchange).unwrap_or_else(|why| panic!("{why}"));
    let they_begin =
        select_esp(ours, &esp_offer(&theirs, spi), exchange).unwrap_or_else(|why| panic!("{why}"));
    [we_begin.suite.to_string(), they_begin.suite.to_string()]
}

#[test]
fn every_preset_tries_a_rekeying_at_once_and_leaves_the_rest_to_the_operator() {
    for cloud in CLOUDS {
        let preset = tunnel(cloud, "");
        assert!(preset.rekey_probe, "{cloud}");
        assert!(
            !preset.ike_proposals.iter().any(IkeProposal::is_legacy),
            "{cloud}"
        );
        assert!(!esp_of(&preset).iter().any(EspProposal::is_legacy), "{cloud}");
        let written = tunnel(
            cloud,
            "rekey_probe = false\nchild_lifetime = \"10m\"\nike_lifetime = \"3h\"\nliveness = \"off\"\n\
             ike_proposals = [\"aes128-sha256-modp2048\"]\nesp_proposals = [\"aes128-sha256-noesn\"]\n\
             mobike = true\nesn = true\nmtu = 1300\npath_mtu = 1400\nchild_bytes = \"off\"\n\
             peer_replay_window = 64",
        );
        assert_eq!(
            written.preset.as_ref().unwrap().set,
            Vec::<String>::new(),
            "{cloud}"
        );
        assert!(
            !written.rekey_probe && written.liveness.is_none() && written.mobike,
            "{cloud}"
        );
        assert_eq!(
            written.children[0].lifetime.time,
            Duration::from_secs(600),
            "{cloud}"
        );
        assert_eq!(written.children[0].lifetime.bytes, None, "{cloud}");
        assert_eq!((written.mtu, written.path_mtu), (Some(1300), 1400), "{cloud}");
        assert_eq!(written.ike_proposals, ike(&["aes128-sha256-modp2048"]), "{cloud}");
        assert_eq!(esp_of(&written), esp(&["aes128-sha256-noesn"]), "{cloud}");
    }
}

#[test]
fn replaces_every_sa_before_the_cloud_would() {
    // Cloud, seconds of a CHILD SA and of an IKE SA there, and how long before that it begins itself at the earliest.
    for (cloud, child, whole_ike, margin) in [
        ("aws", 3600, 28800, 540),
        ("azure", 27000, 28800, 0),
        ("gcp", 10800, 36000, 0),
        ("oci", 3600, 28800, 0),
        ("alibaba", 86400, 86400, 0),
    ] {
        let tunnel = tunnel(cloud, "");
        // A soft limit is at most 90 % of the hard one.
        let latest = |hard: Duration| hard * 9 / 10;
        assert!(
            latest(tunnel.children[0].lifetime.time) < Duration::from_secs(child - margin),
            "{cloud}"
        );
        assert!(
            latest(tunnel.ike_lifetime) < Duration::from_secs(whole_ike - margin),
            "{cloud}"
        );
    }
    let bytes = tunnel("azure", "").children[0].lifetime.bytes.unwrap();
    assert!(bytes / 10 * 9 < 102_400_000 * 1024);
}

#[test]
fn a_gateway_of_azure_as_it_comes_is_met_with_legacy_only() {
    // Azure's own list for IKE, and its lists for IPsec as initiator and as responder.
    let main_mode = [
        "aes256-sha1-modp1024",
        "aes256-sha256-modp1024",
        "aes128-sha1-modp1024",
        "aes128-sha256-modp1024",
    ];
    let initiator = ["aes256gcm16", "aes256-sha1", "aes256-sha256", "aes128-sha1"];
    let responder = [
        "aes256gcm16",
        "aes256-sha1",
        "aes256-sha256",
        "aes128-sha1",
        "aes256-sha1-modp1024",
        "aes256-sha1-modp2048",
        "aes128-sha1-modp1024",
        "aes128-sha1-modp2048",
        "aes256-sha256-modp1024",
        "aes256-sha256-modp2048",
        "aes128-sha256",
        "aes128-sha256-modp1024",
        "aes128-sha256-modp2048",
    ];
    let strict = tunnel("azure", "");
    assert!(select_ike(&ike(&main_mode), &ike_offer(&strict.ike_proposals, None)).is_err());
    let old = tunnel("azure", "legacy = true");
    assert_eq!(
        agreed_ike(&old.ike_proposals, &main_mode),
        ["aes256-sha1-prfsha1-modp1024", "aes256-sha256-prfsha256-modp1024"]
    );
    for theirs in [&initiator[..], &responder] {
        for ours in [esp_of(&strict), esp_of(&old)] {
            // No PFS and no extended sequence numbers: nothing changes when SAs are replaced.
            assert_eq!(agreed_esp(ours, theirs), ["aes256gcm16", "aes256gcm16"]);
        }
    }
    assert_eq!(strict.mtu, Some(1350 + 40));
}

#[test]
fn every_good_policy_of_azure_is_met() {
    let tunnel = tunnel("azure", "");
    for encryption in [
        "aes256gcm16-prfsha384",
        "aes256gcm16-prfsha256",
        "aes256-sha384",
        "aes256-sha256",
    ] {
        for group in ["ecp384", "ecp256", "modp2048"] {
            agreed_ike(&tunnel.ike_proposals, &[&format!("{encryption}-{group}")]);
        }
    }
    for encryption in ["aes256gcm16", "aes256-sha256"] {
        for pfs in ["", "-ecp384", "-ecp256", "-modp2048"] {
            let policy = format!("{encryption}{pfs}");
            assert_eq!(agreed_esp(esp_of(&tunnel), &[&policy]), [policy.clone(), policy]);
        }
    }
}

#[test]
fn aws_takes_the_lowest_of_an_offer_and_even_that_is_good() {
    use {Encryption as E, Integrity as I, KeyExchangeMethod as K};
    let tunnel = tunnel("aws", "");
    // In the order of the tunnel options, from which AWS takes the lowest that was offered.
    let ciphers = [E::AesCbc128, E::AesCbc256, E::AesGcm16_128, E::AesGcm16_256];
    let hashes = [
        (I::HmacSha1_96, Prf::HmacSha1),
        (I::HmacSha2_256_128, Prf::HmacSha2_256),
        (I::HmacSha2_384_192, Prf::HmacSha2_384),
        (I::HmacSha2_512_256, Prf::HmacSha2_512),
    ];
    let groups = [
        K::Modp1024,
        K::Modp2048,
        K::Modp3072,
        K::Modp4096,
        K::Ecp256,
        K::Ecp384,
        K::Ecp521,
    ];
    let offered = &tunnel.ike_proposals;
    let (cipher, proposal) = ciphers
        .iter()
        .find_map(|cipher| Some((*cipher, offered.iter().find(|p| p.encryption.contains(cipher))?)))
        .unwrap();
    let (integrity, prf) = *hashes.iter().find(|(_, prf)| proposal.prf.contains(prf)).unwrap();
    let group = *groups
        .iter()
        .find(|group| proposal.key_exchange.contains(group))
        .unwrap();
    let answer = IkeProposal {
        encryption: vec![cipher],
        integrity: if proposal.integrity.is_empty() {
            vec![]
        } else {
            vec![integrity]
        },
        prf: vec![prf],
        key_exchange: vec![group],
        ..proposal.clone()
    };
    let number = offered.iter().position(|p| p == proposal).unwrap();
    let mut sa = ike_offer(&[answer], None);
    sa.proposals[0].number = u8::try_from(number + 1).unwrap();
    let chosen = accept_ike(offered, &sa).unwrap().suite.to_string();
    assert_eq!(chosen, "aes256-sha256-prfsha256-modp2048");

    // For ESP there is one cipher, so that the lowest is the fastest.
    let lowest = esp(&["aes256gcm16-modp2048"]);
    let answer = esp_offer(&lowest, Spi(0x1000));
    let chosen = accept_esp(esp_of(&tunnel), &answer, ChildExchange::CreateChildSa).unwrap();
    assert_eq!(chosen.suite.to_string(), "aes256gcm16-modp2048");
    assert!(
        esp_of(&tunnel)
            .iter()
            .all(|p| p.encryption == [E::AesGcm16_256] && !p.key_exchange.is_empty())
    );
}

#[test]
fn options_of_aws_that_were_narrowed_to_what_is_good_are_met() {
    let tunnel = tunnel("aws", "");
    for group in ["modp2048", "ecp256", "ecp384"] {
        for cipher in [
            "aes256gcm16-prfsha256",
            "aes256gcm16-prfsha384",
            "aes256-sha256",
            "aes256-sha512",
        ] {
            agreed_ike(&tunnel.ike_proposals, &[&format!("{cipher}-{group}")]);
        }
        agreed_esp(esp_of(&tunnel), &[&format!("aes256gcm16-{group}")]);
    }
}

#[test]
fn google_is_offered_one_algorithm_of_each_kind() {
    let tunnel = tunnel("gcp", "");
    let lists = tunnel.ike_proposals.iter().flat_map(|p| {
        [
            p.encryption.len(),
            p.prf.len(),
            p.key_exchange.len(),
            p.integrity.len() + 1,
        ]
    });
    let lists = lists.chain(
        esp_of(&tunnel)
            .iter()
            .flat_map(|p| [p.encryption.len(), p.key_exchange.len(), p.integrity.len() + 1]),
    );
    assert!(lists.clone().count() > 0 && lists.into_iter().all(|length| length == 1));
    let theirs = [
        "aes256gcm16-aes128gcm16-prfsha256-prfsha384-prfsha512-x25519-ecp256-ecp384-ecp521-modp3072-modp2048",
    ];
    assert_eq!(
        agreed_ike(&tunnel.ike_proposals, &theirs),
        ["aes256gcm16-prfsha384-ecp384"; 2]
    );
    assert_eq!(tunnel.path_mtu, 1460);
}

#[test]
fn what_oracle_recommends_is_met() {
    let tunnel = tunnel("oci", "");
    agreed_ike(&tunnel.ike_proposals, &["aes256-sha384-ecp384"]);
    agreed_ike(&tunnel.ike_proposals, &["aes256-sha384-modp2048"]);
    agreed_esp(esp_of(&tunnel), &["aes256gcm16-modp2048"]);
    agreed_esp(esp_of(&tunnel), &["aes256-sha256-ecp384"]);
}

#[test]
fn alibaba_is_met_with_sha2_and_group_14_and_as_it_comes_with_legacy_only() {
    let good = tunnel("alibaba", "");
    for cipher in ["aes128", "aes256"] {
        for hash in ["sha256", "sha384", "sha512"] {
            agreed_ike(&good.ike_proposals, &[&format!("{cipher}-{hash}-modp2048")]);
            for pfs in ["", "-modp2048"] {
                agreed_esp(esp_of(&good), &[&format!("{cipher}-{hash}{pfs}")]);
            }
        }
    }
    let (old_ike, old_esp) = ("aes128-sha1-modp1024", "aes128-sha1-modp1024");
    assert!(select_ike(&good.ike_proposals, &ike_offer(&ike(&[old_ike]), None)).is_err());
    let legacy = tunnel("alibaba", "legacy = true");
    agreed_ike(&legacy.ike_proposals, &[old_ike]);
    agreed_esp(esp_of(&legacy), &[old_esp]);
}

#[test]
fn post_quantum_is_offered_to_a_cloud_only_when_asked_for() {
    let hybrid = |tunnel: &TunnelConfig| {
        let proposals = tunnel.ike_proposals.iter();
        proposals.filter(|p| p.additional.names_post_quantum()).count()
    };
    for cloud in CLOUDS {
        let (plain, preferred) = (tunnel(cloud, ""), tunnel(cloud, "post_quantum = \"prefer\""));
        assert_eq!(hybrid(&plain), 0, "{cloud}");
        assert_eq!(hybrid(&preferred), plain.ike_proposals.len(), "{cloud}");
        assert!(preferred.ike_proposals.ends_with(&plain.ike_proposals), "{cloud}");
    }
    let required = tunnel("aws", "post_quantum = \"require\"");
    assert_eq!(hybrid(&required), required.ike_proposals.len());
}

/// AWS' tunnel options may be narrowed to a PFS group that the preset does not name. IKE_AUTH does not show it.
#[test]
fn a_pfs_group_that_does_not_fit_is_reported_within_the_first_minute() {
    let tunnel = tunnel("aws", "");
    let with = |who, esp_proposals: &[EspProposal], rekey_probe| ConnectionConfig {
        esp_proposals: esp_proposals.to_vec(),
        rekey_probe,
        ..config(who)
    };
    let mut pair = Pair::configured(
        with(Who::Alice, esp_of(&tunnel), tunnel.rekey_probe),
        with(Who::Bob, &esp(&["aes256gcm16-ecp521"]), false),
    );
    pair.up(Who::Alice);
    assert!(pair.run_until(Duration::from_secs(5), Pair::has_settled));
    pair.run_for(Duration::from_secs(60));
    let mut told = pair.alice.events().filter_map(|event| {
        let Event::Failed { failure, .. } = event else {
            return None;
        };
        Some(failure.clone())
    });
    let failure = told.next().unwrap();
    assert!(matches!(failure.cause, Cause::RekeyRefused { .. }), "{failure:?}");
    assert!(told.next().is_none());
}
