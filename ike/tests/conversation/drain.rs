//! An SA that was replaced receives until what is on the way has arrived, however late this host looks at its clock
//! (RFC 7296 2.8).

use std::time::Duration;

use xvpn_ike::api::{Input, Rekey, Spi, Usage};
use xvpn_ike::testing::{LINK, Pair, Who};

use super::rekey_child::rekey;
use super::{SOON, settled};

/// Alice has replaced the CHILD SA; Bob's old SPI, which only receives.
fn replaced() -> (Pair, Spi) {
    let mut pair = settled();
    let old = *pair.bob.inbound.keys().next().unwrap();
    rekey(&mut pair, Who::Alice, Rekey::Child);
    assert!(pair.run_until(SOON, |pair| pair.alice.outbound.len() == 1
        && pair.bob.outbound.len() == 1
        && pair.bob.inbound.len() == 2));
    pair.run_for(SOON);
    (pair, old)
}

fn arrived(pair: &mut Pair, inbound_spi: Spi, inbound_packets: u64) {
    let usage = Usage {
        connection: LINK,
        inbound_spi,
        inbound_bytes: 0,
        inbound_packets,
        outbound_bytes: 0,
        outbound_packets: 0,
    };
    pair.input(Who::Bob, Input::Usage(usage));
}

#[test]
fn the_old_one_receives_for_five_seconds() {
    let (mut pair, old) = replaced();
    pair.run_for(Duration::from_secs(4));
    assert!(pair.bob.inbound.contains_key(&old));
    pair.run_for(Duration::from_secs(1));
    assert!(!pair.bob.inbound.contains_key(&old));
}

#[test]
fn the_old_one_receives_for_five_seconds_after_the_last_packet_and_for_a_minute_at_most() {
    let (mut pair, old) = replaced();
    let mut seconds = 0;
    while pair.bob.inbound.contains_key(&old) && seconds < 120 {
        if seconds < 20 {
            arrived(&mut pair, old, seconds + 1);
        } else {
            arrived(&mut pair, old, 20);
        }
        pair.run_for(Duration::from_secs(1));
        seconds += 1;
    }
    assert!((23..=25).contains(&seconds), "{seconds}");

    let (mut pair, old) = replaced();
    let mut seconds = 0;
    while pair.bob.inbound.contains_key(&old) && seconds < 120 {
        arrived(&mut pair, old, seconds + 1);
        pair.run_for(Duration::from_secs(1));
        seconds += 1;
    }
    assert!((58..=60).contains(&seconds), "{seconds}");
}

#[test]
fn a_host_that_was_kept_from_running_gives_what_waits_the_same_time_again() {
    let (mut pair, old) = replaced();
    // The machine stood still for half a minute: whatever arrived waits in the socket.
    pair.clock.advance_to(pair.clock.now() + Duration::from_secs(30));
    pair.run_for(Duration::from_secs(4));
    assert!(pair.bob.inbound.contains_key(&old));
    pair.run_for(Duration::from_secs(2));
    assert!(!pair.bob.inbound.contains_key(&old));
    pair.run_for(Duration::from_secs(60));
    assert!(pair.has_settled());
}
