//! Who has crashed and come back proves it (RFC 6290).

use std::time::Duration;

use xvpn_ike::api::{Command, Input, Output, Path, Rekey};
use xvpn_ike::config::{EndpointConfig, Secret};
use xvpn_ike::error::{Cause, Ignore};
use xvpn_ike::testing::{Faults, Host, LINK, Pair, Who, config, path};

use super::{LATER, SOON};

pub(super) fn with_secret() -> EndpointConfig {
    EndpointConfig {
        crash_secret: Some(Secret::new(vec![42; 32])),
        ..EndpointConfig::default()
    }
}

pub(super) fn pair() -> Pair {
    let mut pair = Pair::with(
        3,
        Faults::NONE,
        with_secret(),
        config(Who::Alice),
        config(Who::Bob),
    );
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    pair.run_for(SOON);
    pair.alice.clear();
    pair.bob.clear();
    pair
}

/// Bob forgets everything, and waits for Alice.
pub(super) fn crash(pair: &mut Pair, endpoint: EndpointConfig) {
    pair.bob = Host::new(endpoint, 99);
    pair.command(Who::Bob, Command::Configure(Box::new(config(Who::Bob))));
}

fn transmitted(outputs: &[Output]) -> Vec<Vec<u8>> {
    let transmits = outputs.iter().filter_map(|output| match output {
        Output::Transmit(transmit) => Some(transmit.bytes.clone()),
        _ => None,
    });
    transmits.collect()
}

/// Alice's next message, not sent yet.
fn next_of_alice(pair: &mut Pair, what: Rekey) -> Vec<u8> {
    let now = pair.clock.now();
    let command = Command::Rekey {
        connection: LINK,
        what,
    };
    let outputs = pair.alice.handle(now, Input::Command(command));
    transmitted(&outputs).remove(0)
}

fn noticed(pair: &Pair) -> bool {
    let failures = pair.alice.failures();
    failures.iter().any(|failure| failure.cause == Cause::Crashed)
}

#[test]
fn the_next_message_after_a_crash_is_enough() {
    let mut pair = pair();
    crash(&mut pair, with_secret());
    pair.command(
        Who::Alice,
        Command::Rekey {
            connection: LINK,
            what: Rekey::Child,
        },
    );
    // One way there, one way back: 20 ms.
    pair.run_for(Duration::from_millis(20));
    assert!(noticed(&pair));
    assert!(pair.run_until(SOON, Pair::has_settled), "and it connects at once");
}

#[test]
fn a_liveness_check_is_long_enough_for_the_answer() {
    let mut pair = pair();
    crash(&mut pair, with_secret());
    assert!(pair.run_until(Duration::from_secs(31), noticed));
    assert!(pair.run_until(SOON, Pair::has_settled));
}

#[test]
fn another_secret_proves_nothing() {
    let mut pair = pair();
    let other = EndpointConfig {
        crash_secret: Some(Secret::new(vec![43; 32])),
        ..EndpointConfig::default()
    };
    crash(&mut pair, other);
    pair.command(
        Who::Alice,
        Command::Rekey {
            connection: LINK,
            what: Rekey::Child,
        },
    );
    pair.run_for(SOON);
    assert!(!noticed(&pair) && !pair.alice.is_bare());
    assert!(pair.alice.ignored(Ignore::BadIcv) > 0);
}

#[test]
fn a_new_ike_sa_has_a_new_token_on_both_sides() {
    for asker in [Who::Alice, Who::Bob] {
        let mut pair = pair();
        pair.command(
            asker,
            Command::Rekey {
                connection: LINK,
                what: Rekey::Ike,
            },
        );
        pair.run_for(LATER);
        crash(&mut pair, with_secret());
        pair.command(
            Who::Alice,
            Command::Rekey {
                connection: LINK,
                what: Rekey::Child,
            },
        );
        pair.run_for(Duration::from_millis(20));
        assert!(noticed(&pair), "{asker:?} asked");
    }
}

#[test]
fn a_token_of_a_live_sa_is_never_shown() {
    let mut pair = pair();
    let mut message = next_of_alice(&mut pair, Rekey::Child);
    // With another ICV, with each of the two SPIs changed, and as if it were the other side's, or an answer.
    let last = message.len() - 1;
    message[last] ^= 1;
    for (octet, change) in [(last, 3), (0, 1), (8, 1), (19, 0x08), (19, 0x20), (19, 0x28)] {
        let mut forged = message.clone();
        forged[octet] ^= change;
        let now = pair.clock.now();
        let input = Input::Datagram {
            path: path(Who::Bob, 500),
            bytes: &forged,
        };
        let outputs = pair.bob.handle(now, input);
        for answer in transmitted(&outputs) {
            // What is shown for other SPIs is not the token of these.
            pair.inject(Who::Alice, path(Who::Alice, 500), &answer);
        }
        pair.run_for(SOON);
        assert!(!noticed(&pair), "octet {octet} changed by {change:#x}");
    }
    assert!(pair.run_until(LATER, Pair::has_settled));
}

#[test]
fn answers_are_no_longer_than_requests_and_few() {
    let mut pair = pair();
    crash(&mut pair, with_secret());
    let message = next_of_alice(&mut pair, Rekey::Child);
    let mut answers = 0;
    for _ in 0..1000 {
        let now = pair.clock.now();
        let at: Path = path(Who::Bob, 500);
        let outputs = pair.bob.handle(
            now,
            Input::Datagram {
                path: at,
                bytes: &message,
            },
        );
        for answer in transmitted(&outputs) {
            assert!(answer.len() <= message.len());
            answers += 1;
        }
    }
    assert_eq!(answers, 20);
}

#[test]
fn both_crash_and_come_back_to_one_connection() {
    for seed in 0..50 {
        let mut pair = Pair::with(
            seed,
            Faults::MANY,
            with_secret(),
            config(Who::Alice),
            config(Who::Bob),
        );
        pair.up(Who::Alice);
        pair.up(Who::Bob);
        assert!(
            pair.run_until(Duration::from_secs(300), Pair::has_settled),
            "seed {seed}"
        );
        // One after the other, in the middle of whatever the other one is doing; both want the connection.
        for (who, again) in [(Who::Bob, 7), (Who::Alice, 8), (Who::Bob, 9)] {
            *pair.host(who) = Host::new(with_secret(), seed * 100 + again);
            pair.command(who, Command::Configure(Box::new(config(who))));
            pair.up(who);
            pair.run_for(Duration::from_millis(200 * (seed % 7)));
        }
        assert!(
            pair.run_until(Duration::from_secs(300), Pair::has_settled),
            "seed {seed}: not again"
        );
        // And no second one comes of it, nor is anything left over.
        pair.net.faults = Faults::NONE;
        pair.run_for(Duration::from_secs(300));
        assert!(pair.has_settled(), "seed {seed}: duplicates");
        assert_eq!(
            pair.alice.endpoint.spis_in_use(),
            pair.bob.endpoint.spis_in_use(),
            "seed {seed}"
        );
    }
}

#[test]
fn both_notice_at_once_and_still_make_one_connection() {
    // Both lose the other for a while, and both connect again in the same moment.
    let mut pair = Pair::with(
        5,
        Faults::NONE,
        with_secret(),
        config(Who::Alice),
        config(Who::Bob),
    );
    pair.up(Who::Alice);
    pair.up(Who::Bob);
    assert!(pair.run_until(SOON, Pair::has_settled));
    pair.net.faults = Faults {
        loss: 100,
        ..Faults::NONE
    };
    assert!(pair.run_until(Duration::from_secs(300), |pair| {
        pair.alice.is_bare() && pair.bob.is_bare()
    }));
    pair.net.faults = Faults::NONE;
    assert!(pair.run_until(Duration::from_secs(120), Pair::has_settled));
    pair.run_for(Duration::from_secs(120));
    assert!(pair.has_settled());
    assert_eq!(pair.alice.endpoint.spis_in_use(), (1, 1));
    assert_eq!(pair.bob.endpoint.spis_in_use(), (1, 1));
}
