//! A session that was lost goes on by a ticket, without a key exchange (RFC 5723).

use std::time::Duration;

use xvpn_ike::api::{Command, Event, Input, Rekey};
use xvpn_ike::auth::ppk::Ppk;
use xvpn_ike::auth::verified::Means;
use xvpn_ike::config::{Childless, ConnectionConfig, EndpointConfig, Secret};
use xvpn_ike::negotiate::proposal::post_quantum_ike;
use xvpn_ike::testing::{ALICE, BOB, Faults, Host, LINK, Nat, Pair, WALL_CLOCK, Who, config, ip};

use super::intermediate::agreed;
use super::{LATER, SOON, count};

/// The exchange types of RFC 7296, RFC 5723 and RFC 9242.
pub(super) const INIT: u8 = 34;
pub(super) const AUTH: u8 = 35;
pub(super) const RESUME: u8 = 38;
pub(super) const INTERMEDIATE: u8 = 43;

pub(super) fn resuming(who: Who) -> ConnectionConfig {
    ConnectionConfig {
        resumption: true,
        ..config(who)
    }
}

/// What outlives a crash of both hosts: these keys of tickets, and the secret that proves a crash.
pub(super) fn lasting(ticket_key: u8) -> EndpointConfig {
    EndpointConfig {
        ticket_keys: vec![Secret::new(vec![ticket_key; 32])],
        crash_secret: Some(Secret::new(vec![42; 32])),
        ..EndpointConfig::default()
    }
}

/// A connection with a ticket; what was said so far is forgotten.
pub(super) fn with_ticket(alice: ConnectionConfig, bob: ConnectionConfig) -> Pair {
    let mut pair = Pair::with(3, Faults::NONE, lasting(1), alice, bob);
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    pair.run_for(SOON);
    forget(&mut pair);
    pair
}

pub(super) fn forget(pair: &mut Pair) {
    pair.alice.clear();
    pair.bob.clear();
    pair.net.tape.clear();
}

/// Bob loses everything but his secrets, and Alice notices by his answer to her next request (RFC 6290).
pub(super) fn crash_of_bob(pair: &mut Pair, endpoint: EndpointConfig, bob: ConnectionConfig) {
    pair.bob = Host::new(endpoint, 99);
    let clock = WALL_CLOCK + Duration::from_secs(2);
    pair.input(Who::Bob, Input::WallClock(clock));
    pair.command(Who::Bob, Command::Configure(Box::new(bob)));
    pair.command(
        Who::Alice,
        Command::Rekey {
            connection: LINK,
            what: Rekey::Child,
        },
    );
}

/// The first message that was sent of each exchange of a new IKE SA, requests only.
pub(super) fn begun_by(pair: &Pair) -> Vec<u8> {
    let requests = pair.net.tape.iter().filter(|sent| sent.bytes[19] & 0x20 == 0);
    let exchanges = requests.map(|sent| sent.bytes[18]);
    let mut begun: Vec<u8> = exchanges
        .filter(|kind| [INIT, AUTH, RESUME, INTERMEDIATE].contains(kind))
        .collect();
    begun.dedup();
    begun
}

/// By what the two sides of the last IKE SA of a host have proven who they are.
pub(super) fn means(host: &Host) -> (Option<Means>, Option<Means>) {
    let facts = host.events().filter_map(|event| match event {
        Event::IkeEstablished { ike, .. } => Some((ike.local_auth, ike.remote_auth)),
        _ => None,
    });
    facts.last().unwrap()
}

pub(super) const BY_TICKET: (Option<Means>, Option<Means>) = (Some(Means::Ticket), Some(Means::Ticket));

fn is_resumed(pair: &Pair) -> bool {
    pair.has_settled() && means(&pair.alice) == BY_TICKET && means(&pair.bob) == BY_TICKET
}

/// Bob crashes, and the session goes on by the ticket.
fn resumes(pair: &mut Pair, bob: ConnectionConfig) {
    forget(pair);
    crash_of_bob(pair, lasting(1), bob);
    assert!(pair.run_until(SOON, |pair| count(&pair.alice, "ike established") > 0));
    assert!(pair.run_until(SOON, is_resumed), "{:?}", begun_by(pair));
    assert_eq!(begun_by(pair), [RESUME, AUTH]);
}

#[test]
fn a_lost_session_goes_on_without_a_key_exchange_and_with_other_keys() {
    let mut pair = with_ticket(resuming(Who::Alice), resuming(Who::Bob));
    let before: Vec<_> = pair.alice.inbound.values().map(|sa| sa.keys.clone()).collect();
    resumes(&mut pair, resuming(Who::Bob));
    assert!(pair.agree());
    assert!(pair.alice.inbound.values().all(|sa| !before.contains(&sa.keys)));
    pair.run_for(LATER);
    assert!(pair.has_settled(), "and stands");
    assert_eq!(pair.alice.endpoint.spis_in_use(), pair.bob.endpoint.spis_in_use());
}

#[test]
fn a_resumed_session_has_a_new_ticket_and_can_be_resumed_again() {
    let mut pair = with_ticket(resuming(Who::Alice), resuming(Who::Bob));
    for _ in 0..3 {
        resumes(&mut pair, resuming(Who::Bob));
        pair.run_for(SOON);
    }
}

#[test]
fn nobody_asks_for_tickets_or_gives_them_unless_told_to() {
    for (alice, bob) in [(false, false), (true, false), (false, true)] {
        let config = |who, resumption| ConnectionConfig {
            resumption,
            ..config(who)
        };
        let mut pair = with_ticket(config(Who::Alice, alice), config(Who::Bob, bob));
        crash_of_bob(&mut pair, lasting(1), config(Who::Bob, bob));
        assert!(pair.run_until(SOON, |pair| count(&pair.alice, "ike established") > 0));
        assert_eq!(begun_by(&pair), [INIT, AUTH], "{alice} {bob}");
    }
}

#[test]
fn a_rekeyed_ike_sa_has_a_ticket_of_its_own_whoever_asked() {
    for asker in [Who::Alice, Who::Bob] {
        let mut pair = with_ticket(resuming(Who::Alice), resuming(Who::Bob));
        let rekey = Command::Rekey {
            connection: LINK,
            what: Rekey::Ike,
        };
        pair.command(asker, rekey);
        pair.run_for(SOON);
        resumes(&mut pair, resuming(Who::Bob));
    }
}

#[test]
fn where_the_path_was_lost_the_old_sa_goes_without_a_word_and_nothing_is_there_twice() {
    // Bob does not notice, and still has the old SA when Alice comes back.
    let patient = ConnectionConfig {
        liveness: None,
        ..resuming(Who::Bob)
    };
    let mut pair = with_ticket(resuming(Who::Alice), patient);
    pair.net.faults.loss = 100;
    assert!(pair.run_until(Duration::from_secs(200), |pair| pair.alice.is_bare()));
    assert!(!pair.bob.is_bare());
    pair.net.clear();
    pair.net.faults = Faults::NONE;
    forget(&mut pair);
    assert!(pair.run_until(Duration::from_secs(120), is_resumed));
    assert_eq!(begun_by(&pair), [RESUME, AUTH]);
    // RFC 5723 4.3.4: no delete; what Bob says is the two answers.
    let of_bob = pair
        .net
        .tape
        .iter()
        .filter(|sent| sent.path.remote.ip() == ip(BOB));
    assert_eq!(of_bob.count(), 2);
    assert_eq!(pair.bob.endpoint.spis_in_use(), (1, 1));
}

#[test]
fn the_key_exchanges_of_the_first_session_are_in_the_keys_and_not_made_again() {
    let hybrid = |who| ConnectionConfig {
        ike_proposals: post_quantum_ike(),
        ..resuming(who)
    };
    let mut pair = with_ticket(hybrid(Who::Alice), hybrid(Who::Bob));
    resumes(&mut pair, hybrid(Who::Bob));
    assert_eq!(agreed(&pair.alice), "x25519-ke1_mlkem768");
    // The next IKE SA has a hybrid key exchange of its own.
    forget(&mut pair);
    let rekey = Command::Rekey {
        connection: LINK,
        what: Rekey::Ike,
    };
    pair.command(Who::Alice, rekey);
    pair.run_for(SOON);
    assert_eq!(agreed(&pair.alice), "x25519-ke1_mlkem768");
    assert!(pair.has_settled());
}

#[test]
fn a_post_quantum_pre_shared_key_stays_in_the_keys() {
    let with_ppk = |who| ConnectionConfig {
        ppk: Some(Ppk {
            id: b"a".to_vec(),
            secret: Secret::new(b"thirty-two octets of randomness!".to_vec()),
            required: true,
        }),
        ..resuming(who)
    };
    let mut pair = with_ticket(with_ppk(Who::Alice), with_ppk(Who::Bob));
    resumes(&mut pair, with_ppk(Who::Bob));
    let ppk = pair.bob.events().filter_map(|event| match event {
        Event::IkeEstablished { ike, .. } => Some(ike.ppk),
        _ => None,
    });
    assert_eq!(ppk.last(), Some(true));
}

#[test]
fn a_childless_connection_is_resumed_childless() {
    let childless = |who| ConnectionConfig {
        childless: Childless::Force,
        ..resuming(who)
    };
    let mut pair = with_ticket(childless(Who::Alice), childless(Who::Bob));
    resumes(&mut pair, childless(Who::Bob));
}

#[test]
fn nat_traversal_is_found_out_anew() {
    let mut pair = with_ticket(resuming(Who::Alice), resuming(Who::Bob));
    pair.net.nat = Some(Nat {
        inside: ip(ALICE),
        outside: ip("203.0.113.10"),
        port_shift: 0,
    });
    // A peer anywhere: its address is another one now.
    let anywhere = ConnectionConfig {
        remote: None,
        ..resuming(Who::Bob)
    };
    resumes(&mut pair, anywhere);
    let nat = pair.bob.events().filter_map(|event| match event {
        Event::IkeEstablished { ike, .. } => Some((ike.nat_remote, ike.path.remote.port())),
        _ => None,
    });
    assert_eq!(nat.last(), Some((true, 4500)));
}

#[test]
fn a_cookie_is_demanded_and_returned() {
    let mut pair = with_ticket(resuming(Who::Alice), resuming(Who::Bob));
    let wary = EndpointConfig {
        cookie_threshold: 0,
        ..lasting(1)
    };
    crash_of_bob(&mut pair, wary, resuming(Who::Bob));
    assert!(pair.run_until(SOON, |pair| count(&pair.alice, "ike established") > 0));
    assert!(pair.run_until(SOON, is_resumed));
    assert_eq!(begun_by(&pair), [RESUME, AUTH]);
    let asked = pair
        .net
        .tape
        .iter()
        .filter(|sent| sent.bytes[18] == RESUME)
        .count();
    assert_eq!(
        asked, 4,
        "the request, the cookie, the request with it, the answer"
    );
}

#[test]
fn a_key_of_tickets_that_was_replaced_opens_those_that_it_sealed() {
    let mut pair = with_ticket(resuming(Who::Alice), resuming(Who::Bob));
    let rotated = EndpointConfig {
        ticket_keys: vec![Secret::new(vec![2; 32]), Secret::new(vec![1; 32])],
        ..lasting(1)
    };
    crash_of_bob(&mut pair, rotated, resuming(Who::Bob));
    assert!(pair.run_until(SOON, |pair| count(&pair.alice, "ike established") > 0));
    assert!(pair.run_until(SOON, is_resumed));
}

#[test]
fn reauthentication_is_never_done_by_a_ticket_and_not_put_off_by_one() {
    let tiring = |who| ConnectionConfig {
        reauthentication: Some(Duration::from_secs(100)),
        ..resuming(who)
    };
    let mut pair = with_ticket(tiring(Who::Alice), tiring(Who::Bob));
    pair.run_for(Duration::from_secs(60));
    resumes(&mut pair, tiring(Who::Bob));
    forget(&mut pair);
    // Due between 80 and 90 seconds after the credentials were shown, which was more than 60 seconds ago.
    let done = |pair: &Pair| count(&pair.alice, "ike established") > 0;
    assert!(pair.run_until(Duration::from_secs(30), done));
    assert_eq!(begun_by(&pair), [INIT, AUTH]);
    assert_eq!(means(&pair.alice), (Some(Means::Psk), Some(Means::Psk)));
}

#[test]
fn a_ticket_is_not_shown_once_a_reauthentication_is_due() {
    let tiring = |who| ConnectionConfig {
        reauthentication: Some(Duration::from_secs(100)),
        liveness: None,
        ..resuming(who)
    };
    let mut pair = with_ticket(tiring(Who::Alice), tiring(Who::Bob));
    pair.net.faults.loss = 100;
    pair.command(
        Who::Alice,
        Command::Rekey {
            connection: LINK,
            what: Rekey::Child,
        },
    );
    pair.run_for(Duration::from_secs(120));
    forget(&mut pair);
    pair.net.faults = Faults::NONE;
    assert!(pair.run_until(Duration::from_secs(120), Pair::has_settled));
    assert!(!begun_by(&pair).contains(&RESUME));
}

#[test]
fn what_an_operator_or_the_peer_has_deleted_is_not_resumed() {
    for who in [Who::Alice, Who::Bob] {
        let mut pair = with_ticket(resuming(Who::Alice), resuming(Who::Bob));
        pair.down(who);
        pair.run_for(SOON);
        forget(&mut pair);
        pair.up(who);
        pair.up(Who::Alice);
        assert!(pair.run_until(LATER, Pair::has_settled));
        assert!(!begun_by(&pair).contains(&RESUME), "{who:?}");
    }
}

#[test]
fn both_lose_each_other_and_resume_once() {
    let mut pair = with_ticket(resuming(Who::Alice), resuming(Who::Bob));
    pair.up(Who::Bob);
    pair.net.faults.loss = 100;
    let bare = |pair: &Pair| pair.alice.is_bare() && pair.bob.is_bare();
    assert!(pair.run_until(Duration::from_secs(300), bare));
    pair.net.faults = Faults::NONE;
    assert!(pair.run_until(Duration::from_secs(120), Pair::has_settled));
    pair.run_for(Duration::from_secs(120));
    assert!(pair.has_settled());
    assert_eq!(pair.alice.endpoint.spis_in_use(), (1, 1));
    assert_eq!(pair.bob.endpoint.spis_in_use(), (1, 1));
}

#[test]
fn whatever_the_network_does_both_sides_agree_after_a_crash() {
    for seed in 0..super::simulation::seeds() / 20 {
        let (alice, bob) = (resuming(Who::Alice), resuming(Who::Bob));
        let mut pair = Pair::with(seed, Faults::MANY, lasting(1), alice, bob);
        pair.up(Who::Alice);
        assert!(
            pair.run_until(Duration::from_secs(300), Pair::has_settled),
            "seed {seed}"
        );
        for _ in 0..2 {
            pair.run_for(Duration::from_millis(300 * (seed % 5)));
            crash_of_bob(&mut pair, lasting(1), resuming(Who::Bob));
            assert!(
                pair.run_until(Duration::from_secs(300), Pair::has_settled),
                "seed {seed}: not again"
            );
        }
        pair.net.faults = Faults::NONE;
        pair.run_for(Duration::from_secs(300));
        assert!(pair.has_settled(), "seed {seed} left something twice");
        let (alice, bob) = (pair.alice.endpoint.audit(), pair.bob.endpoint.audit());
        assert!(alice.is_ok() && bob.is_ok(), "seed {seed}: {alice:?} {bob:?}");
    }
}
