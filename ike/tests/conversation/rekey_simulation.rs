//! A stream of packets both ways while both sides replace their SAs at random, on a bad network; and the same while
//! operators take it down and up and hosts crash. What must never happen: `xvpn_ike::testing::Model`.
//! `XVPN_SEEDS=200000 cargo test -p xvpn-ike --test conversation rekey_simulation` runs more.

use std::time::Duration;

use xvpn_ike::testing::{Model, Operation, SeededRandom};

/// How many conversations to try.
fn seeds() -> u64 {
    let asked = std::env::var("XVPN_SEEDS").ok();
    asked.and_then(|seeds| seeds.parse().ok()).unwrap_or(10_000)
}

/// Names the seed if the test dies in the middle of it.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("it was seed {}", self.0);
        }
    }
}

/// Plays a conversation of random operations.
fn play(seed: u64, operations: u32, rough: bool) -> Result<(), String> {
    let _named = Seed(seed);
    let mut dice = SeededRandom::new(seed.wrapping_mul(31).wrapping_add(u64::from(rough)));
    let mut model = Model::new(seed)?;
    let mut done = 0;
    while done < operations {
        let [kind, argument, wait, ..] = dice.next_u64().to_le_bytes();
        let operation = Operation::decode(kind, argument);
        if operation.is_rough() && !rough {
            continue;
        }
        done += 1;
        model.apply(operation, Duration::from_millis(1 << (wait % 12)))?;
    }
    model.settle()?;
    if !rough && model.delivered < 20 {
        return Err("there was no traffic".into());
    }
    Ok(())
}

/// A quarter of the seeds: several tests share them, so that several cores do.
fn play_quarter(quarter: u64, rough: bool) {
    let wrong: Vec<String> = (0..seeds())
        .filter(|seed| seed % 4 == quarter)
        .filter_map(|seed| {
            let outcome = play(seed, 8, rough);
            outcome.err().map(|what| format!("seed {seed}: {what}"))
        })
        .take(5)
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_packet_is_refused_whatever_is_replaced_and_whatever_the_network_does() {
    play_quarter(0, false);
}

#[test]
fn nothing_is_lost_while_both_sides_replace_everything() {
    play_quarter(1, false);
}

#[test]
fn they_find_together_again_whoever_crashes_or_gives_up() {
    play_quarter(2, true);
}

#[test]
fn nothing_is_left_behind_by_who_crashed_or_gave_up() {
    play_quarter(3, true);
}
