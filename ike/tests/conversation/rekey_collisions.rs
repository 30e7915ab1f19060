//! Every collision of RFC 7296 2.8.1, 2.8.2 and 2.25, output by output, with messages in order, lost, and reordered. The
//! transcripts are in `rekey_collisions/`; `XVPN_UPDATE_GOLDENS=1` writes them anew: read the difference.

use std::path::Path;
use std::time::Duration;

use xvpn_ike::api::Rekey::{self, Child, Ike};
use xvpn_ike::config::{ChildConfig, Lifetime};
use xvpn_ike::testing::Who::{Alice, Bob};
use xvpn_ike::testing::{ip, name};

use super::transcript::Table;

const SECOND: Duration = Duration::from_secs(1);

/// Plays a conversation, and compares what was said with the transcript of this name.
fn play(name: &str, mut table: Table, conversation: impl Fn(&mut Table)) -> Table {
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

/// The same, and at the end both have one IKE SA and as many CHILD SAs as before.
fn settles(name: &str, table: Table, conversation: impl Fn(&mut Table)) {
    let children = table.pair.alice.inbound.len();
    let mut table = play(name, table, |table| {
        conversation(table);
        table.finish();
        table.pass(6 * SECOND);
    });
    // An IKE SA that nobody uses waits that long.
    table.pass(100 * SECOND);
    let spis = [&table.pair.alice, &table.pair.bob].map(|host| host.endpoint.spis_in_use());
    assert_eq!(spis, [(1, children), (1, children)], "{}", table.said);
    assert!(table.pair.agree_on_all());
    assert_eq!(
        (table.pair.alice.failures(), table.pair.bob.failures()),
        (vec![], vec![])
    );
}

fn plain(seed: u64) -> Table {
    Table::new(seed, |_| {})
}

/// Every replacement takes two exchanges.
fn hybrid(seed: u64) -> Table {
    Table::new(seed, |config| {
        config.ike_proposals = vec!["aes256gcm16-prfsha256-x25519-ke1_mlkem768".parse().unwrap()];
        config.esp_proposals = vec!["aes256gcm16-esn-x25519-ke1_mlkem768".parse().unwrap()];
    })
}

/// There are two CHILD SAs, `a0` and `a1`, so that the IKE SA outlives each.
fn two(seed: u64) -> Table {
    let mut table = Table::new(seed, |config| {
        let away = |net: &str| net.parse::<ipnet::IpNet>().map(Into::into).into_iter().collect();
        let (local, remote) = match config.local_identity == name("alice.example") {
            true => ("10.11.0.0/16", "10.12.0.0/16"),
            false => ("10.12.0.0/16", "10.11.0.0/16"),
        };
        config.child_lifetime.packets = Some(1000);
        config.more_children = vec![ChildConfig {
            name: "voice".into(),
            esp_proposals: config.esp_proposals.clone(),
            local_selectors: away(local),
            remote_selectors: away(remote),
            lifetime: Lifetime::default(),
            resources: 0,
            aggfrag: None,
        }];
    });
    table.loose = true;
    table
}

/// Seeds whose nonces let Alice's or Bob's new SA be the one that is closed (RFC 7296 2.8.1): of two CHILD SAs or of two
/// IKE SAs, and for a table of either kind. What is closed is asserted by the transcripts, which name it.
fn seeds(table: fn(u64) -> Table, what: Rekey) -> [(u64, &'static str); 2] {
    let loser = |seed: u64| {
        let mut table = table(seed);
        table.rekey(Alice, what);
        table.rekey(Bob, what);
        table.arrive(Alice);
        table.arrive(Bob);
        // Alice has the answer now, and only she.
        table.said.clear();
        table.arrive(Alice);
        let wins = match what {
            Child => table.said.contains("delete a0") || table.said.contains("IKE_FOLLOWUP_KE"),
            Ike => table.said.contains("on ike 0: delete") || table.said.contains("IKE_FOLLOWUP_KE"),
        };
        if wins { "bob_loses" } else { "alice_loses" }
    };
    ["alice_loses", "bob_loses"].map(|who| ((1..).find(|seed| loser(*seed) == who).unwrap(), who))
}

#[test]
fn both_replace_the_child_sa_at_once() {
    for (seed, who) in seeds(plain, Child) {
        settles(&format!("child_child_{who}"), plain(seed), |table| {
            table.rekey(Alice, Child);
            table.rekey(Bob, Child);
            table.arrive(Alice);
            table.arrive(Bob);
        });
    }
}

#[test]
fn both_replace_the_child_sa_at_once_and_an_answer_is_lost() {
    for (seed, who) in seeds(plain, Child) {
        settles(&format!("child_child_lost_{who}"), plain(seed), |table| {
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
    for (seed, who) in seeds(plain, Child) {
        settles(&format!("child_child_reordered_{who}"), plain(seed), |table| {
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
    for (seed, who) in seeds(plain, Ike) {
        settles(&format!("ike_ike_{who}"), plain(seed), |table| {
            table.rekey(Alice, Ike);
            table.rekey(Bob, Ike);
            table.arrive(Alice);
            table.arrive(Bob);
        });
    }
}

#[test]
fn both_replace_the_ike_sa_at_once_and_an_answer_is_lost() {
    for (seed, who) in seeds(plain, Ike) {
        settles(&format!("ike_ike_lost_{who}"), plain(seed), |table| {
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
    for (seed, who) in seeds(plain, Ike) {
        settles(&format!("ike_ike_reordered_{who}"), plain(seed), |table| {
            table.rekey(Alice, Ike);
            table.rekey(Bob, Ike);
            table.arrive(Alice);
            table.arrive_nth(Bob, 1);
        });
    }
}

#[test]
fn one_deletes_the_child_sa_that_the_other_wants_to_replace() {
    settles("child_delete", plain(3), |table| {
        table.rekey(Bob, Child);
        table.arrive(Alice);
        table.arrive(Bob);
        // Bob's delete of the old one and Alice's wish to replace it pass each other.
        table.rekey(Alice, Child);
    });
    settles("child_delete_lost", plain(3), |table| {
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
    settles("child_not_found_reordered", plain(3), |table| {
        table.rekey(Alice, Child);
        table.rekey(Bob, Child);
        table.arrive(Alice);
        table.arrive_nth(Bob, 1);
        table.arrive(Alice);
        table.arrive_nth(Bob, 1);
    });
    settles("child_not_found_lost", plain(3), |table| {
        table.rekey(Alice, Child);
        table.lose(Bob);
        table.rekey(Bob, Child);
        table.finish();
        table.wait(SECOND);
    });
}

#[test]
fn one_replaces_the_ike_sa_and_the_other_the_child_sa() {
    settles("ike_child", plain(3), |table| {
        table.rekey(Alice, Ike);
        table.rekey(Bob, Child);
        table.arrive(Alice);
        table.arrive(Bob);
        table.finish();
        table.pass(3 * SECOND);
    });
    settles("ike_child_lost", plain(3), |table| {
        table.rekey(Alice, Ike);
        table.rekey(Bob, Child);
        table.arrive(Alice);
        table.arrive(Bob);
        table.lose(Alice);
        table.lose(Bob);
        table.wait(SECOND);
        table.finish();
        table.pass(3 * SECOND);
    });
    // The IKE SA has been replaced when the request to replace a CHILD SA on the old one arrives.
    settles("ike_child_reordered", plain(3), |table| {
        table.rekey(Alice, Ike);
        table.rekey(Bob, Child);
        table.arrive(Bob);
        table.arrive_nth(Alice, 1);
        table.finish();
        table.pass(3 * SECOND);
    });
}

#[test]
fn one_asks_for_another_child_sa_while_the_other_replaces_the_ike_sa() {
    settles("add_ike", two(3), |table| {
        table.wear_out(Alice);
        table.arrive(Bob);
        table.arrive(Alice);
        // Her request for a new one and his for a new IKE SA pass each other.
        table.rekey(Bob, Ike);
        table.finish();
        table.pass(6 * SECOND);
    });
}

#[test]
fn one_replaces_the_ike_sa_that_the_other_deletes() {
    let ends = |name: &str, conversation: &dyn Fn(&mut Table)| {
        let table = play(name, plain(3), |table| {
            conversation(table);
            table.finish();
            table.wait(SECOND / 2);
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
    ends("delete_both", &|table| {
        table.down(Alice);
        table.down(Bob);
    });
    ends("child_ike_delete", &|table| {
        table.rekey(Alice, Child);
        table.down(Bob);
        table.arrive(Bob);
        table.arrive(Alice);
    });
    ends("ike_delete_reordered", &|table| {
        table.rekey(Alice, Ike);
        table.arrive(Bob);
        table.down(Bob);
        table.arrive_nth(Alice, 1);
    });
}

#[test]
fn both_replace_the_child_sa_at_once_and_a_request_is_lost() {
    for (seed, who) in seeds(plain, Child) {
        settles(&format!("child_child_request_lost_{who}"), plain(seed), |table| {
            table.rekey(Alice, Child);
            table.rekey(Bob, Child);
            table.lose(Bob);
            table.arrive(Alice);
            table.wait(SECOND);
        });
    }
}

#[test]
fn both_replace_the_child_sa_at_once_and_the_delete_of_the_old_one_is_lost() {
    for (seed, who) in seeds(plain, Child) {
        settles(&format!("child_child_delete_lost_{who}"), plain(seed), |table| {
            table.rekey(Alice, Child);
            table.rekey(Bob, Child);
            table.arrive(Alice);
            table.arrive(Bob);
            table.arrive(Alice);
            table.arrive(Bob);
            table.lose(Alice);
            table.lose(Bob);
            table.wait(SECOND);
        });
    }
}

#[test]
fn both_replace_the_child_sa_at_once_in_several_exchanges() {
    for (seed, who) in seeds(hybrid, Child) {
        settles(&format!("child_child_hybrid_{who}"), hybrid(seed), |table| {
            table.rekey(Alice, Child);
            table.rekey(Bob, Child);
            table.arrive(Alice);
            table.arrive(Bob);
        });
        settles(
            &format!("child_child_hybrid_reordered_{who}"),
            hybrid(seed),
            |table| {
                table.rekey(Alice, Child);
                table.rekey(Bob, Child);
                table.arrive(Alice);
                // Bob goes on with his key exchanges when Alice's request arrives (RFC 9370 2.2.4).
                table.arrive_nth(Bob, 1);
                table.finish();
                table.pass(3 * SECOND);
            },
        );
        settles(&format!("child_child_hybrid_lost_{who}"), hybrid(seed), |table| {
            table.rekey(Alice, Child);
            table.rekey(Bob, Child);
            table.arrive(Alice);
            table.arrive(Bob);
            table.lose(Alice);
            table.arrive(Bob);
            table.wait(SECOND);
        });
    }
}

#[test]
fn both_replace_the_ike_sa_at_once_in_several_exchanges() {
    for (seed, who) in seeds(hybrid, Ike) {
        settles(&format!("ike_ike_hybrid_{who}"), hybrid(seed), |table| {
            table.rekey(Alice, Ike);
            table.rekey(Bob, Ike);
            table.arrive(Alice);
            table.arrive(Bob);
        });
        settles(
            &format!("ike_ike_hybrid_reordered_{who}"),
            hybrid(seed),
            |table| {
                table.rekey(Alice, Ike);
                table.rekey(Bob, Ike);
                table.arrive(Alice);
                table.arrive_nth(Bob, 1);
                table.finish();
                table.pass(3 * SECOND);
            },
        );
    }
}

#[test]
fn both_delete_the_same_child_sa_at_once() {
    settles("delete_delete", two(3), |table| {
        table.wear_out(Alice);
        table.wear_out(Bob);
        table.finish();
        table.pass(3 * SECOND);
    });
    settles("delete_delete_lost", two(3), |table| {
        table.wear_out(Alice);
        table.wear_out(Bob);
        table.arrive(Alice);
        table.arrive(Bob);
        table.lose(Alice);
        table.lose(Bob);
        table.wait(SECOND);
        table.finish();
        table.pass(3 * SECOND);
    });
}

#[test]
fn one_deletes_a_child_sa_while_the_other_replaces_it() {
    // Bob replaces the one with the lowest SPI first.
    let seed = (1..).find(|seed| {
        let mut bob = two(*seed).pair.bob;
        bob.inbound.pop_first().unwrap().1.local[0].start == ip("10.2.0.0")
    });
    let seed = seed.unwrap();
    settles("delete_child", two(seed), |table| {
        table.wear_out(Alice);
        table.rekey(Bob, Child);
        table.finish();
        table.pass(3 * SECOND);
    });
    settles("delete_child_reordered", two(seed), |table| {
        table.rekey(Bob, Child);
        table.wear_out(Alice);
        // Her delete, then the answer to his request.
        table.arrive(Alice);
        table.arrive_nth(Bob, 1);
        table.finish();
        table.pass(3 * SECOND);
    });
}

#[test]
fn one_deletes_a_child_sa_while_the_other_replaces_the_ike_sa() {
    settles("delete_ike", two(3), |table| {
        table.wear_out(Alice);
        table.rekey(Bob, Ike);
        table.finish();
        table.pass(3 * SECOND);
    });
    settles("delete_ike_reordered", two(3), |table| {
        table.rekey(Bob, Ike);
        table.wear_out(Alice);
        table.arrive(Bob);
        table.finish();
        table.pass(3 * SECOND);
    });
}
