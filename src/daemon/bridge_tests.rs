//! One table: everything that can be negotiated has its counterpart in the dataplane.

use xvpn_ike::config::ChildId;
use zeroize::Zeroizing;

use super::*;

const PORTS: Ports = Ports {
    ike: 500,
    nat_t: 4500,
    tcp: 4500,
};

fn child(encryption: Encryption, integrity: Option<Integrity>) -> ike::ChildSuite {
    ike::ChildSuite {
        encryption,
        integrity,
        esn: true,
    }
}

#[test]
fn every_cipher_and_integrity_algorithm_has_its_counterpart() {
    for encryption in Encryption::ALL {
        if encryption.is_aead() {
            let theirs = suite(&child(encryption, None)).unwrap();
            if encryption.is_legacy() {
                assert_eq!(
                    format!("{theirs:?}"),
                    format!("{encryption:?}"),
                    "the two cores use the same RFC nouns"
                );
            }
            let layout = Layout::of(theirs);
            assert_eq!(
                (layout.iv, layout.icv),
                (encryption.iv_len(), encryption.icv_len()),
                "{encryption:?}"
            );
            for hmac in Integrity::ALL {
                assert_eq!(
                    suite(&child(encryption, Some(hmac))),
                    Err(Unbridgeable(child(encryption, Some(hmac))))
                );
            }
        } else {
            assert_eq!(
                suite(&child(encryption, None)),
                Err(Unbridgeable(child(encryption, None)))
            );
            for hmac in Integrity::ALL {
                let dp::Suite::AesCbc { key_bits, integrity } =
                    suite(&child(encryption, Some(hmac))).unwrap()
                else {
                    panic!("{encryption:?} became an AEAD");
                };
                assert_eq!(Some(key_bits), encryption.key_length());
                assert_eq!(
                    format!("{integrity:?}"),
                    format!("{hmac:?}"),
                    "the two cores use the same RFC nouns"
                );
            }
        }
    }
    assert_eq!(
        suite(&child(Encryption::AesGcm16_128, None)),
        Ok(dp::Suite::AesGcm128)
    );
    assert_eq!(
        suite(&child(Encryption::AesGcm16_256, None)),
        Ok(dp::Suite::AesGcm256)
    );
    assert_eq!(
        suite(&child(Encryption::ChaCha20Poly1305, None)),
        Ok(dp::Suite::ChaCha20Poly1305)
    );
    assert_eq!(
        suite(&child(Encryption::AesGcm16Iiv128, None)),
        Ok(dp::Suite::AesGcm128Iiv)
    );
    assert_eq!(
        suite(&child(Encryption::AesGcm16Iiv256, None)),
        Ok(dp::Suite::AesGcm256Iiv)
    );
    assert_eq!(
        suite(&child(Encryption::ChaCha20Poly1305Iiv, None)),
        Ok(dp::Suite::ChaCha20Poly1305Iiv)
    );
}

#[test]
fn flows_are_spread_where_the_peers_window_is_known_to_be_wide_or_the_operator_wants_it() {
    let lane = |spread, peer_replay_window, xvpn| {
        Known {
            replay_window: 4096,
            peer_replay_window,
            spread,
            iptfs: Vec::new(),
        }
        .lane(xvpn)
    };
    assert_eq!(lane(Spread::Auto, None, false), (32, false));
    assert_eq!(lane(Spread::Auto, None, true), (4096, true));
    assert_eq!(lane(Spread::Auto, Some(1024), false), (1024, true));
    assert_eq!(lane(Spread::Auto, Some(256), true), (256, false));
    assert_eq!(lane(Spread::On, None, false), (32, true));
    assert_eq!(lane(Spread::Off, Some(1024), true), (1024, false));
}

#[test]
fn an_outbound_sa_crosses_with_every_field() {
    let net = |text: &str| TrafficSelector::from(text.parse::<ipnet::IpNet>().unwrap());
    let sa = ike::InstallOutbound {
        connection: ConnectionId(3),
        spi: ike::Spi(0x1111),
        inbound_spi: ike::Spi(0x2222),
        suite: child(Encryption::AesGcm16_256, None),
        keys: ike::SaKeys {
            encryption: Zeroizing::new(vec![7; 36]),
            integrity: Zeroizing::new(vec![]),
        },
        local: vec![net("10.1.0.0/16")],
        remote: vec![net("10.2.0.0/16"), net("10.3.0.0/24")],
        encapsulation: ike::Encapsulation::Udp,
        path: ike::Path {
            local: "192.0.2.1:4500".parse().unwrap(),
            remote: "198.51.100.7:1027".parse().unwrap(),
        },
        resource: None,
        child: ChildId(5),
        xvpn: true,
        apart: false,
        any_port: false,
        aggfrag: Some(Aggfrag { reassembles: false }),
    };
    let path = direct(sa.path, encapsulation(sa.encapsulation), &PORTS);
    let constant = Iptfs {
        pace: Pace::Constant { per_second: 500 },
        size: Some(1200),
        fragments: true,
    };
    let spec = outbound(sa.clone(), path, (1024, true), Some(constant)).unwrap();
    assert_eq!(
        (spec.tunnel, spec.spi, spec.inbound_spi),
        (dp::TunnelId(3), dp::Spi(0x1111), dp::Spi(0x2222))
    );
    assert_eq!(spec.order, 5);
    let aggregation = dp::Aggregation {
        fragments: false,
        size: Some(1200),
        pace: dp::Pace::Constant { per_second: 500 },
    };
    assert_eq!(spec.aggregation, Some(aggregation));
    assert_eq!(
        (spec.lane.window, spec.lane.spread),
        (64, false),
        "one queue keeps the rate"
    );
    let plain = ike::InstallOutbound { aggfrag: None, ..sa };
    let plain = outbound(plain, path, (1024, true), None).unwrap();
    assert_eq!((plain.lane.window, plain.lane.spread), (1024, true));
    assert_eq!(plain.aggregation, None);
    assert!(spec.esn);
    assert_eq!(spec.keys.encryption.len(), 36);
    assert_eq!(spec.local.len(), 1);
    let first = spec.remote[0];
    assert_eq!(
        (first.first, first.last),
        ("10.2.0.0".parse().unwrap(), "10.2.255.255".parse().unwrap())
    );
    assert_eq!((first.protocol, first.first_port, first.last_port), (0, 0, 65535));
    assert_eq!(spec.path.remote, "198.51.100.7:1027".parse().unwrap());
    assert_eq!(spec.path.encapsulation, dp::Encapsulation::Udp);
}
