//! Messages too large for the path travel in fragments, each protected on its own (RFC 7383).

use std::time::Duration;

use xvpn_ike::api::Output;
use xvpn_ike::config::{ConnectionConfig, EndpointConfig};
use xvpn_ike::testing::{BOB, Faults, Pair, Who, config, ip};
use xvpn_ike::wire::PayloadType;

use crate::{LATER, SOON, intermediate};

/// So many networks on each side make IKE_AUTH larger than a thousand octets, both ways.
pub(crate) fn with_networks(who: Who, networks: u8) -> ConnectionConfig {
    let selectors = |first: u8| {
        (0..networks)
            .filter_map(|third| format!("10.{first}.{third}.0/24").parse::<ipnet::IpNet>().ok())
            .map(Into::into)
            .collect()
    };
    let (local, remote) = match who {
        Who::Alice => (1, 2),
        Who::Bob => (2, 1),
    };
    ConnectionConfig {
        local_selectors: selectors(local),
        remote_selectors: selectors(remote),
        ..config(who)
    }
}

pub(crate) fn is_fragment(bytes: &[u8]) -> bool {
    bytes.get(16) == Some(&PayloadType::SKF.0)
}

fn sizes(outputs: &[Output]) -> Vec<usize> {
    let transmitted = |output: &Output| match output {
        Output::Transmit(transmit) if is_fragment(&transmit.bytes) => Some(transmit.bytes.len()),
        _ => None,
    };
    outputs.iter().filter_map(transmitted).collect()
}

#[test]
fn sends_large_messages_in_fragments_of_the_size_asked_for() {
    let small = |who| ConnectionConfig {
        fragment_size: 600,
        ..with_networks(who, 60)
    };
    let mut pair = Pair::configured(small(Who::Alice), small(Who::Bob));
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    for host in [&pair.alice, &pair.bob] {
        let sizes = sizes(&host.outputs);
        assert!(sizes.len() > 3, "{sizes:?}");
        // Without NAT IKE stays on port 500: 28 octets of IP and UDP, and no marker.
        assert!(sizes.iter().all(|octets| *octets <= 600 - 28), "{sizes:?}");
        assert!(sizes.iter().any(|octets| *octets > 600 - 28 - 16), "{sizes:?}");
    }
}

#[test]
fn sends_what_fits_in_one_piece() {
    let mut pair = Pair::configured(config(Who::Alice), config(Who::Bob));
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    assert_eq!(
        sizes(&pair.alice.outputs).len() + sizes(&pair.bob.outputs).len(),
        0
    );
}

#[test]
fn puts_fragments_together_whatever_the_network_does_to_them() {
    for seed in 0..300 {
        let mut pair = Pair::with(
            seed,
            Faults::MANY,
            EndpointConfig::default(),
            with_networks(Who::Alice, 100),
            with_networks(Who::Bob, 100),
        );
        pair.up(Who::Alice);
        assert!(
            pair.run_until(Duration::from_secs(120), Pair::has_settled),
            "seed {seed}"
        );
    }
}

#[test]
fn makes_fragments_smaller_when_the_larger_ones_get_no_answer() {
    let mut pair = Pair::configured(with_networks(Who::Alice, 100), with_networks(Who::Bob, 100));
    pair.net.largest = Some((None, 800));
    pair.up(Who::Alice);
    assert!(pair.run_until(LATER, Pair::has_settled));
    for host in [&pair.alice, &pair.bob] {
        assert!(sizes(&host.outputs).iter().any(|octets| *octets <= 576 - 28));
    }
}

#[test]
fn makes_the_answer_smaller_when_the_request_comes_again_and_again() {
    // Alice wants little, so that her request fits; Bob narrows it to much.
    let alice = ConnectionConfig {
        remote_selectors: config(Who::Alice).remote_selectors,
        local_selectors: config(Who::Alice).local_selectors,
        ..config(Who::Alice)
    };
    let mut pair = Pair::configured(alice, with_networks(Who::Bob, 100));
    pair.net.largest = Some((None, 1000));
    pair.up(Who::Alice);
    assert!(pair.run_until(LATER, Pair::has_settled));
    assert_eq!(sizes(&pair.alice.outputs).len(), 0);
    assert!(sizes(&pair.bob.outputs).iter().any(|octets| *octets <= 576 - 28));
}

#[test]
fn auth_covers_a_key_exchange_that_came_in_fragments() {
    for seed in 0..100 {
        let of = |who| ConnectionConfig {
            fragment_size: 576,
            ..intermediate::with(who, &["x25519-ke1_mlkem768-ke2_mlkem1024"])
        };
        let endpoint = EndpointConfig::default();
        let mut pair = Pair::with(seed, Faults::MANY, endpoint, of(Who::Alice), of(Who::Bob));
        pair.up(Who::Alice);
        assert!(
            pair.run_until(Duration::from_secs(120), Pair::has_settled),
            "seed {seed}"
        );
    }
}

#[test]
fn answers_in_smaller_fragments_with_the_keys_of_before_a_key_exchange() {
    // The request fits in one piece (1,184 octets of ML-KEM-768), and so does the answer (1,088); the network takes
    // the one and not the other.
    let of = |who| intermediate::with(who, &["x25519-ke1_mlkem768"]);
    let mut pair = Pair::configured(of(Who::Alice), of(Who::Bob));
    pair.up(Who::Alice);
    let asked = |pair: &Pair| pair.bob.endpoint.poll_timeout().is_some();
    assert!(pair.run_until(SOON, asked));
    // From here on what Bob sends is answers to IKE_INTERMEDIATE and IKE_AUTH.
    pair.net.largest = Some((Some(ip(BOB)), 1000));
    assert!(pair.run_until(LATER, Pair::has_settled));
    assert!(sizes(&pair.bob.outputs).iter().any(|octets| *octets <= 576 - 28));
}
