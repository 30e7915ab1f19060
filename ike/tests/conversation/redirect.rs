//! A gateway sends its peer to another one (RFC 5685): in IKE_SA_INIT, in IKE_AUTH, and while the IKE SA stands.

use std::time::Duration;

use xvpn_ike::api::{Command, Event, GatewayIdentity, Output, Rekey};
use xvpn_ike::config::{ConnectionConfig, ConnectionId, EndpointConfig};
use xvpn_ike::error::{Cause, Side, Stay};
use xvpn_ike::message::InitRequest;
use xvpn_ike::testing::{Faults, LINK, Pair, Who, config, ip, name, path};
use xvpn_ike::wire::payload::NotifyType;
use xvpn_ike::wire::{Chain, ExchangeType};

use super::redirect_answers::{ask, literal};
use super::{LATER, SOON, count};

/// Bob's other address: another gateway of the same peer.
pub(super) const OTHER: &str = "198.51.100.3";

pub(super) fn to(text: &str) -> GatewayIdentity {
    text.parse().unwrap()
}

fn redirecting(to_whom: &str) -> ConnectionConfig {
    ConnectionConfig {
        redirect_to: Some(to(to_whom)),
        ..config(Who::Bob)
    }
}

/// Alice, and Bob with two addresses: one connection for each.
pub(super) fn two_gateways(
    first: ConnectionConfig,
    second: ConnectionConfig,
    alice: ConnectionConfig,
) -> Pair {
    let mut pair = Pair::with(5, Faults::NONE, EndpointConfig::default(), alice, first);
    pair.homes.push((ip(OTHER), Who::Bob));
    let second = ConnectionConfig {
        id: ConnectionId(2),
        local: Some(ip(OTHER)),
        ..second
    };
    pair.command(Who::Bob, Command::Configure(Box::new(second)));
    pair
}

/// What the program does with the events, for as long as this: it finds the gateways that Alice is sent to.
fn run_and_follow(pair: &mut Pair, duration: Duration) -> Vec<GatewayIdentity> {
    let end = pair.clock.now() + duration;
    let mut followed = Vec::new();
    loop {
        let wanted: Vec<GatewayIdentity> = redirects(pair, Who::Alice, Side::Peer);
        for new in wanted.into_iter().skip(followed.len()) {
            let address = match &new {
                GatewayIdentity::Ip(address) => *address,
                // The only name that there is.
                GatewayIdentity::Fqdn(name) => {
                    assert_eq!(name.as_str(), "gw2.example");
                    ip(OTHER)
                }
            };
            followed.push(new);
            pair.command(
                Who::Alice,
                Command::Follow {
                    connection: LINK,
                    local: path(Who::Alice, 500).local.ip(),
                    remote: (address, 500).into(),
                },
            );
        }
        if !pair.step(end) {
            return followed;
        }
    }
}

pub(super) fn redirects(pair: &mut Pair, who: Who, wanted: Side) -> Vec<GatewayIdentity> {
    let events = pair.host(who).events();
    let redirects = events.filter_map(|event| match event {
        Event::Redirected { to, by, .. } if *by == wanted => Some(to.clone()),
        _ => None,
    });
    redirects.collect()
}

/// Where Alice sends her packets to.
fn peer_of_alice(pair: &Pair) -> Option<std::net::IpAddr> {
    let spi = pair.alice.sending()?;
    Some(pair.alice.outbound[&spi].path.remote.ip())
}

/// The IKE_SA_INIT requests on tape, with the address each went to.
pub(super) fn first_messages(pair: &Pair) -> Vec<(std::net::IpAddr, InitRequest)> {
    let firsts = pair.net.tape.iter().filter_map(|sent| {
        let (header, chain) = Chain::parse_message(&sent.bytes).ok()?;
        let asks = header.exchange == ExchangeType::IKE_SA_INIT && !header.is_response();
        asks.then(|| (sent.path.local.ip(), InitRequest::parse(&chain).unwrap()))
    });
    firsts.collect()
}

fn failures(pair: &Pair) -> Vec<Cause> {
    pair.alice
        .failures()
        .into_iter()
        .map(|failure| failure.cause)
        .collect()
}

#[test]
fn everybody_is_sent_elsewhere_in_ike_sa_init_before_anything_costly() {
    let mut pair = two_gateways(redirecting(OTHER), config(Who::Bob), config(Who::Alice));
    pair.up(Who::Alice);
    assert_eq!(run_and_follow(&mut pair, SOON), [to(OTHER)]);
    assert!(pair.has_settled());
    assert_eq!(peer_of_alice(&pair), Some(ip(OTHER)));
    let firsts = first_messages(&pair);
    assert_eq!(firsts.len(), 2);
    let data = |request: &InitRequest, kind| {
        let mut notifies = request.notifies.other.iter();
        notifies
            .find(|notify| notify.kind == kind)
            .map(|notify| notify.data.clone())
    };
    assert_eq!(data(&firsts[0].1, NotifyType::REDIRECT_SUPPORTED), Some(vec![]));
    assert_eq!(data(&firsts[0].1, NotifyType::REDIRECTED_FROM), None);
    // RFC 5685 9.3: type 1, four octets, the address of the gateway that sent us.
    let from = data(&firsts[1].1, NotifyType::REDIRECTED_FROM);
    assert_eq!(from, Some(vec![1, 4, 198, 51, 100, 2]));
    // Nothing stays at the first one, and its operator knows.
    assert_eq!(pair.bob.endpoint.spis_in_use(), (1, 1));
    assert_eq!(redirects(&mut pair, Who::Bob, Side::Us), [to(OTHER)]);
}

#[test]
fn a_gateway_may_be_named() {
    let mut pair = two_gateways(redirecting("gw2.example"), config(Who::Bob), config(Who::Alice));
    pair.up(Who::Alice);
    assert_eq!(run_and_follow(&mut pair, SOON), [to("gw2.example")]);
    assert!(pair.has_settled());
    assert_eq!(peer_of_alice(&pair), Some(ip(OTHER)));
}

/// Bob has another connection for the same address, so he does not know whom to redirect before he knows who asks.
fn with_a_neighbour() -> Pair {
    let mut pair = two_gateways(redirecting(OTHER), config(Who::Bob), config(Who::Alice));
    let neighbour = ConnectionConfig {
        id: ConnectionId(3),
        remote_identity: name("carol.example"),
        ..config(Who::Bob)
    };
    pair.command(Who::Bob, Command::Configure(Box::new(neighbour)));
    pair
}

#[test]
fn one_of_several_is_sent_elsewhere_in_ike_auth_once_it_has_proven_who_it_is() {
    let mut pair = with_a_neighbour();
    pair.up(Who::Alice);
    assert_eq!(run_and_follow(&mut pair, SOON), [to(OTHER)]);
    assert!(pair.has_settled());
    assert_eq!(peer_of_alice(&pair), Some(ip(OTHER)));
    assert_eq!(first_messages(&pair).len(), 2);
    // Alice has deleted the IKE SA that was of no use.
    assert_eq!(pair.bob.endpoint.spis_in_use(), (1, 1));
    assert_eq!(pair.alice.endpoint.spis_in_use(), (1, 1));
    assert_eq!(pair.alice.failures(), []);
}

#[test]
fn a_peer_that_does_not_speak_it_is_served() {
    for neighbour in [false, true] {
        let alice = ConnectionConfig {
            follow_redirect: false,
            ..config(Who::Alice)
        };
        let mut pair = if neighbour {
            with_a_neighbour()
        } else {
            two_gateways(redirecting(OTHER), config(Who::Bob), alice.clone())
        };
        pair.command(Who::Alice, Command::Configure(Box::new(alice)));
        pair.up(Who::Alice);
        assert!(pair.run_until(SOON, Pair::has_settled));
        assert_eq!(peer_of_alice(&pair), Some(path(Who::Alice, 500).remote.ip()));
    }
}

#[test]
fn an_established_peer_moves_before_it_leaves() {
    for rekeyed_by in [None, Some(Who::Alice), Some(Who::Bob)] {
        let mut pair = two_gateways(config(Who::Bob), config(Who::Bob), config(Who::Alice));
        pair.up(Who::Alice);
        assert!(pair.run_until(SOON, Pair::has_settled));
        // Who may redirect whom does not change with the IKE SA.
        if let Some(who) = rekeyed_by {
            pair.command(
                who,
                Command::Rekey {
                    connection: LINK,
                    what: Rekey::Ike,
                },
            );
            pair.run_for(LATER);
        }
        pair.alice.clear();
        pair.command(
            Who::Bob,
            Command::Redirect {
                connection: LINK,
                to: Some(to(OTHER)),
            },
        );
        let before = pair.alice.sending().unwrap();
        assert_eq!(run_and_follow(&mut pair, SOON), [to(OTHER)]);
        assert_eq!(peer_of_alice(&pair), Some(ip(OTHER)));
        // There was never a moment without an SA to send on.
        let changes: Vec<&str> = pair
            .alice
            .outputs
            .iter()
            .filter_map(|output| match output {
                Output::InstallOutbound(_) => Some("to the new one"),
                Output::Remove(remove) if remove.spi == before => Some("not to the old one"),
                _ => None,
            })
            .collect();
        assert_eq!(changes, ["to the new one", "not to the old one"]);
        pair.run_for(LATER);
        assert!(pair.has_settled());
        assert_eq!(count(&pair.alice, "failed"), 0);
        assert_eq!(pair.bob.endpoint.spis_in_use(), (1, 1));
    }
}

#[test]
fn a_drained_gateway_redirects_whoever_comes_until_it_serves_again() {
    let mut pair = two_gateways(config(Who::Bob), config(Who::Bob), config(Who::Alice));
    pair.command(
        Who::Bob,
        Command::Redirect {
            connection: LINK,
            to: Some(to(OTHER)),
        },
    );
    pair.up(Who::Alice);
    assert_eq!(run_and_follow(&mut pair, SOON), [to(OTHER)]);
    pair.down(Who::Alice);
    pair.run_for(LATER);
    pair.command(
        Who::Bob,
        Command::Redirect {
            connection: LINK,
            to: None,
        },
    );
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    assert_eq!(peer_of_alice(&pair), Some(path(Who::Alice, 500).remote.ip()));
}

#[test]
fn two_gateways_that_send_everybody_to_each_other_are_left_after_five_redirects() {
    let mut pair = two_gateways(
        redirecting(OTHER),
        redirecting("198.51.100.2"),
        config(Who::Alice),
    );
    pair.up(Who::Alice);
    assert_eq!(run_and_follow(&mut pair, Duration::from_secs(250)).len(), 5);
    let too_many = |cause: &Cause| {
        matches!(
            cause,
            Cause::Redirected {
                why: Stay::TooMany,
                ..
            }
        )
    };
    assert!(!failures(&pair).is_empty() && failures(&pair).iter().all(too_many));
    // And after RFC 5685's five minutes it may be different.
    assert!(run_and_follow(&mut pair, Duration::from_secs(120)).len() > 5);
}

#[test]
fn after_a_place_where_nobody_answers_the_known_gateway_is_tried_again() {
    let mut pair = two_gateways(redirecting("203.0.113.9"), config(Who::Bob), config(Who::Alice));
    pair.up(Who::Alice);
    run_and_follow(&mut pair, SOON);
    pair.command(Who::Bob, Command::Configure(Box::new(config(Who::Bob))));
    run_and_follow(&mut pair, Duration::from_secs(120));
    assert!(pair.has_settled());
    assert!(
        failures(&pair)
            .iter()
            .any(|cause| matches!(cause, Cause::NoResponse { .. }))
    );
}

#[test]
fn if_nobody_finds_the_other_gateway_the_known_one_is_tried_again() {
    let mut pair = two_gateways(redirecting(OTHER), config(Who::Bob), config(Who::Alice));
    pair.up(Who::Alice);
    pair.run_for(SOON);
    pair.command(Who::Bob, Command::Configure(Box::new(config(Who::Bob))));
    assert!(pair.run_until(Duration::from_secs(11), Pair::has_settled));
}

#[test]
fn another_gateway_must_prove_to_be_the_same_peer() {
    let impostor = ConnectionConfig {
        local_identity: name("eve.example"),
        ..config(Who::Bob)
    };
    let mut pair = two_gateways(redirecting(OTHER), impostor, config(Who::Alice));
    pair.up(Who::Alice);
    run_and_follow(&mut pair, SOON);
    assert!(pair.alice.is_bare());
    assert_eq!(failures(&pair).len(), 1);
}

#[test]
fn who_is_not_to_follow_says_so_and_stays() {
    // Alice did not say that she can be redirected; somebody redirects her all the same.
    let alice = ConnectionConfig {
        follow_redirect: false,
        ..config(Who::Alice)
    };
    let mut pair = two_gateways(config(Who::Bob), config(Who::Bob), alice);
    let first = ask(&mut pair);
    let answer = literal(&first, &[1, 4, 198, 51, 100, 3], &first.nonce.0);
    let outputs = pair.inject(Who::Alice, path(Who::Alice, 500), &answer);
    assert_eq!(super::kinds(&outputs), ["ignored"]);
    assert!(
        pair.run_until(SOON, Pair::has_settled),
        "the genuine answer counts"
    );
}

/// The same, where no genuine answer comes.
pub(crate) fn against_our_wish() -> Pair {
    let alice = ConnectionConfig {
        follow_redirect: false,
        ..config(Who::Alice)
    };
    let mut pair = two_gateways(config(Who::Bob), config(Who::Bob), alice);
    let asked = ask(&mut pair);
    pair.net.clear();
    let answer = literal(&asked, &[1, 4, 198, 51, 100, 3], &asked.nonce.0);
    pair.inject(Who::Alice, path(Who::Alice, 500), &answer);
    // The answer is a suspicion for a second, and the next attempt comes later.
    pair.run_for(Duration::from_millis(1050));
    pair
}
