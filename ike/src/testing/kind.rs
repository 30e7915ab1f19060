//! The kinds of connections that a [`Model`](super::Model) is tried with.

use std::time::Duration;

use super::pair::{Who, config, ip};
use crate::config::{ChildConfig, ConnectionConfig, FRAGMENT_SIZE, Lifetime, Retransmission};

/// A configuration of a kind: with or without a NAT before Alice, perfect forward secrecy, further key exchanges, short
/// lifetimes, probes, several CHILD SAs, messages in many fragments. Each bit pair of `kind` decides on one of these.
pub(super) fn kind_of(who: Who, kind: u64) -> ConnectionConfig {
    let esp = match kind >> 1 & 3 {
        0 => "aes256gcm16-esn-x25519",
        1 => "aes256gcm16",
        _ => "aes256gcm16-esn",
    };
    // Further key exchanges (RFC 9370) make every replacement one of several exchanges.
    let (ike, esp) = match kind >> 6 & 7 {
        0 => (IKE_HYBRID, "aes256gcm16-esn-x25519-ke1_mlkem768"),
        1 => (IKE_HYBRID, esp),
        2 => (IKE, "aes256gcm16-esn-x25519-ke1_mlkem768-ke2_ecp256"),
        _ => (IKE, esp),
    };
    let mut config = ConnectionConfig {
        ike_proposals: ike.parse().into_iter().collect(),
        esp_proposals: esp.parse().into_iter().collect(),
        rekey_probe: kind >> 4 & 3 == 0,
        fragment_size: match kind >> 11 & 3 {
            0 => 576,
            _ => FRAGMENT_SIZE,
        },
        // So patient that nobody is given up for lost on a bad network.
        retransmission: Retransmission {
            cap: Duration::from_secs(2),
            tries: 40,
            ..Retransmission::default()
        },
        ..config(who)
    };
    if kind >> 3 & 1 == 0 {
        config.child_lifetime = Lifetime {
            time: Duration::from_secs(300),
            packets: Some(5_000),
            ..Lifetime::default()
        };
        config.ike_lifetime = Duration::from_secs(700);
    }
    if kind & 1 == 0 && who == Who::Bob {
        config.remote = Some((ip(OUTSIDE), 500).into());
    }
    // Of every four one has two CHILD SAs, and one three.
    let more = (kind >> 9 & 3).saturating_sub(1);
    let further = (0..more).map(|number| further(who, number, &config));
    config.more_children = further.collect();
    config
}

fn further(who: Who, number: u64, config: &ConnectionConfig) -> ChildConfig {
    let net = |side: u64| format!("10.{}.0.0/16", 100 + 2 * number + side).parse::<ipnet::IpNet>();
    let (local, remote) = match who {
        Who::Alice => (net(0), net(1)),
        Who::Bob => (net(1), net(0)),
    };
    ChildConfig {
        name: format!("child{number}"),
        esp_proposals: config.esp_proposals.clone(),
        local_selectors: local.map(Into::into).into_iter().collect(),
        remote_selectors: remote.map(Into::into).into_iter().collect(),
        lifetime: config.child_lifetime,
        resources: 0,
        aggfrag: None,
    }
}

const IKE: &str = "aes256gcm16-prfsha256-x25519";
const IKE_HYBRID: &str = "aes256gcm16-prfsha256-x25519-ke1_mlkem768";
/// Alice as the world sees her.
pub(super) const OUTSIDE: &str = "203.0.113.1";
