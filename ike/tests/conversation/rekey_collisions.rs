//! Every collision of RFC 7296 2.8.1, 2.8.2 and 2.25, output by output, with messages in order, lost, and reordered. The
//! transcripts are in `rekey_collisions/`; `XVPN_UPDATE_GOLDENS=1` writes them anew: read the difference.

use std::path::Path;
use std::time::Duration;

use xvpn_ike::api::Rekey::{Child, Ike};
use xvpn_ike::testing::Who::{Alice, Bob};

use super::transcript::Table;

const SECOND: Duration = Duration::from_secs(1);

/// Plays a conversation, and compares what was said with the transcript of this name.
fn play(name: &str, seed: u64, conversation: impl Fn(&mut Table)) -> Table {
    let mut table = Table::new(seed);
    conversation(&mut table);
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/conversation/rekey_collisions")
        .join(format!("{name}.txt"));
    if std::env::var_os("XVPN_UPDATE_GOLDENS").is_some_and(|set| set == "1") {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &table.said).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(expected == table.said, "{name}:\n{}", table.said);
    table
}

/// The same, and at the end both have one IKE SA and one CHILD SA.
fn settles(name: &str, seed: u64, conversation: impl Fn(&mut Table)) {
    let table = play(name, seed, |table| {
        conversation(table);
        table.finish();
        table.wait(6 * SECOND);
        table.finish();
    });
    assert!(table.pair.has_settled(), "{}", table.said);
    let spis = [&table.pair.alice, &table.pair.bob].map(|host| host.endpoint.spis_in_use());
    assert_eq!(spis, [(1, 1), (1, 1)], "{}", table.said);
}

/// Seeds whose nonces let Alice's or Bob's new SA be the one that is closed.
const SEEDS: [(u64, &str); 2] = [(ALICE_LOSES, "alice_loses"), (BOB_LOSES, "bob_loses")];
const ALICE_LOSES: u64 = 1;
const BOB_LOSES: u64 = 2;

#[test]
fn both_replace_the_child_sa_at_once() {
    for (seed, who) in SEEDS {
        settles(&format!("child_child_{who}"), seed, |table| {
            table.rekey(Alice, Child);
            table.rekey(Bob, Child);
            table.arrive(Alice);
            table.arrive(Bob);
        });
    }
}

#[test]
fn both_replace_the_child_sa_at_once_and_an_answer_is_lost() {
    for (seed, who) in SEEDS {
        settles(&format!("child_child_lost_{who}"), seed, |table| {
            table.rekey(Alice, Child);
            table.rekey(Bob, Child);
            table.arrive(Alice);
            table.arrive(Bob);
            table.lose(Bob);
            table.arrive(Alice);
            table.wait(SECOND);
        });
    }
}

#[test]
fn both_replace_the_child_sa_at_once_and_messages_overtake_each_other() {
    for (seed, who) in SEEDS {
        settles(&format!("child_child_reordered_{who}"), seed, |table| {
            table.rekey(Alice, Child);
            table.rekey(Bob, Child);
            // RFC 7296 2.8.1: Bob learns of Alice's request only after he has the answer to his own.
            table.arrive(Alice);
            table.arrive_nth(Bob, 1);
        });
    }
}

#[test]
fn both_replace_the_ike_sa_at_once() {
    for (seed, who) in SEEDS {
        settles(&format!("ike_ike_{who}"), seed, |table| {
            table.rekey(Alice, Ike);
            table.rekey(Bob, Ike);
            table.arrive(Alice);
            table.arrive(Bob);
        });
    }
}

#[test]
fn both_replace_the_ike_sa_at_once_and_an_answer_is_lost() {
    for (seed, who) in SEEDS {
        settles(&format!("ike_ike_lost_{who}"), seed, |table| {
            table.rekey(Alice, Ike);
            table.rekey(Bob, Ike);
            table.arrive(Alice);
            table.arrive(Bob);
            table.lose(Alice);
            table.finish();
            table.wait(SECOND);
        });
    }
}

#[test]
fn both_replace_the_ike_sa_at_once_and_messages_overtake_each_other() {
    for (seed, who) in SEEDS {
        settles(&format!("ike_ike_reordered_{who}"), seed, |table| {
            table.rekey(Alice, Ike);
            table.rekey(Bob, Ike);
            table.arrive(Alice);
            table.arrive_nth(Bob, 1);
        });
    }
}

#[test]
fn one_deletes_the_child_sa_that_the_other_wants_to_replace() {
    settles("child_delete", 3, |table| {
        table.rekey(Bob, Child);
        table.arrive(Alice);
        table.arrive(Bob);
        // Bob's delete of the old one and Alice's wish to replace it pass each other.
        table.rekey(Alice, Child);
    });
    settles("child_delete_lost", 3, |table| {
        table.rekey(Bob, Child);
        table.arrive(Alice);
        table.arrive(Bob);
        table.lose(Alice);
        table.rekey(Alice, Child);
        table.finish();
        table.wait(SECOND);
    });
}

#[test]
fn one_wants_to_replace_a_child_sa_that_the_other_has_no_more() {
    // Alice's request arrives only when Bob has replaced and deleted the same one (RFC 7296 2.25).
    settles("child_not_found_reordered", 3, |table| {
        table.rekey(Alice, Child);
        table.rekey(Bob, Child);
        table.arrive(Alice);
        table.arrive_nth(Bob, 1);
        table.arrive(Alice);
        table.arrive_nth(Bob, 1);
    });
    settles("child_not_found_lost", 3, |table| {
        table.rekey(Alice, Child);
        table.lose(Bob);
        table.rekey(Bob, Child);
        table.finish();
        table.wait(SECOND);
    });
}

#[test]
fn one_replaces_the_ike_sa_and_the_other_the_child_sa() {
    settles("ike_child", 3, |table| {
        table.rekey(Alice, Ike);
        table.rekey(Bob, Child);
        table.arrive(Alice);
        table.arrive(Bob);
        table.finish();
        table.wait(3 * SECOND);
        table.finish();
        table.wait(3 * SECOND);
    });
    settles("ike_child_lost", 3, |table| {
        table.rekey(Alice, Ike);
        table.rekey(Bob, Child);
        table.arrive(Alice);
        table.arrive(Bob);
        table.lose(Alice);
        table.lose(Bob);
        table.wait(SECOND);
        table.finish();
        table.wait(3 * SECOND);
        table.finish();
        table.wait(3 * SECOND);
    });
    // The IKE SA has been replaced when the request to replace a CHILD SA on the old one arrives.
    settles("ike_child_reordered", 3, |table| {
        table.rekey(Alice, Ike);
        table.rekey(Bob, Child);
        table.arrive(Bob);
        table.arrive_nth(Alice, 1);
        table.finish();
        table.wait(3 * SECOND);
        table.finish();
        table.wait(3 * SECOND);
    });
}

#[test]
fn one_replaces_the_ike_sa_that_the_other_deletes() {
    let ends = |name: &str, conversation: &dyn Fn(&mut Table)| {
        let table = play(name, 3, |table| {
            conversation(table);
            table.finish();
        });
        assert_eq!(table.pair.bob.endpoint.spis_in_use(), (0, 0), "{}", table.said);
        assert!(table.pair.bob.is_bare());
    };
    ends("ike_delete", &|table| {
        table.rekey(Alice, Ike);
        table.down(Bob);
        table.arrive(Bob);
        table.arrive(Alice);
    });
    ends("ike_delete_lost", &|table| {
        table.rekey(Alice, Ike);
        table.lose(Bob);
        table.down(Bob);
        table.lose(Alice);
        table.wait(SECOND);
    });
    ends("ike_delete_reordered", &|table| {
        table.rekey(Alice, Ike);
        table.arrive(Bob);
        table.down(Bob);
        table.arrive_nth(Alice, 1);
    });
}
