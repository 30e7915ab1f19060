//! Post-quantum pre-shared keys (RFC 8784): every row of what the two sides may have and may want.

use xvpn_ike::api::{Command, Event, Rekey};
use xvpn_ike::auth::ppk::Ppk;
use xvpn_ike::config::{ConnectionConfig, Secret};
use xvpn_ike::error::Cause;
use xvpn_ike::negotiate::transform::Prf;
use xvpn_ike::testing::{Host, LINK, Pair, Who, config};

use super::{LATER, SOON};

/// What a side has: nothing, or a key of this name and whether it insists.
pub(super) type Has = Option<(&'static str, &'static [u8], bool)>;

const KEY: &[u8] = b"thirty-two octets of randomness!";
const OTHER: &[u8] = b"thirty-two octets of something !";

fn having(who: Who, has: Has) -> ConnectionConfig {
    let mut config = config(who);
    config.ppk = has.map(|(id, key, required)| Ppk {
        id: id.as_bytes().to_vec(),
        secret: Secret::new(key.to_vec()),
        required,
    });
    config
}

pub(super) fn meeting(alice: Has, bob: Has) -> Pair {
    let mut pair = Pair::configured(having(Who::Alice, alice), having(Who::Bob, bob));
    pair.up(Who::Alice);
    pair.run_for(SOON * 3);
    pair
}

/// Whether the keys of the last IKE SA that was announced have a PPK in them.
fn uses_ppk(host: &Host) -> bool {
    let facts = host.events().filter_map(|event| match event {
        Event::IkeEstablished { ike, .. } => Some(ike.ppk),
        _ => None,
    });
    facts.last().unwrap()
}

#[test]
fn it_is_used_where_both_have_it_whether_they_insist_or_not() {
    for (alice, bob) in [(false, false), (false, true), (true, false), (true, true)] {
        let pair = meeting(Some(("a", KEY, alice)), Some(("a", KEY, bob)));
        assert!(pair.has_settled());
        assert!(uses_ppk(&pair.alice) && uses_ppk(&pair.bob));
    }
}

#[test]
fn it_changes_the_keys_of_the_child_sa() {
    let with = meeting(Some(("a", KEY, true)), Some(("a", KEY, true)));
    let without = meeting(None, None);
    let keys = |pair: &Pair| pair.alice.inbound.values().next().unwrap().keys.clone();
    // Randomness is the same in both, so without the PPK the keys would be, too.
    assert_ne!(keys(&with), keys(&without));
    let again = meeting(Some(("a", KEY, true)), Some(("a", KEY, true)));
    assert_eq!(keys(&with), keys(&again));
    let other = meeting(Some(("a", OTHER, true)), Some(("a", OTHER, true)));
    assert_ne!(keys(&with), keys(&other));
}

#[test]
fn who_need_not_have_it_does_without_where_the_other_side_has_none_or_another() {
    let mine = Some(("a", KEY, false));
    for (alice, bob) in [
        (mine, None),
        (None, mine),
        (mine, Some(("b", OTHER, false))),
        (None, None),
    ] {
        let pair = meeting(alice, bob);
        assert!(pair.has_settled());
        assert!(!uses_ppk(&pair.alice) && !uses_ppk(&pair.bob));
    }
}

#[test]
fn who_insists_refuses_whom_it_cannot_have_it_with() {
    let must = Some(("a", KEY, true));
    let unknown = |id: &str| Cause::UnknownPpk { id: id.into() };
    let causes = |host: &Host| -> Vec<Cause> { host.failures().into_iter().map(|f| f.cause).collect() };
    // The initiator stops after IKE_SA_INIT, and Bob hears no more of it.
    let pair = meeting(must, None);
    assert_eq!(causes(&pair.alice).first(), Some(&Cause::NoPpk));
    assert!(pair.alice.inbound.is_empty() && pair.bob.inbound.is_empty());
    // The responder refuses who has none.
    let pair = meeting(None, must);
    assert_eq!(causes(&pair.bob).first(), Some(&Cause::NoPpk));
    assert!(pair.alice.inbound.is_empty() && pair.bob.is_bare());
    // One of another name is none.
    for (alice, bob) in [(false, true), (true, false), (true, true)] {
        let pair = meeting(Some(("b", OTHER, alice)), Some(("a", KEY, bob)));
        assert_eq!(causes(&pair.bob).first(), Some(&unknown("b")));
        assert!(pair.alice.inbound.is_empty() && pair.bob.is_bare());
        assert!(pair.bob.failures()[0].remedy().contains("ppk_id"));
    }
}

#[test]
fn another_key_of_the_same_name_is_a_wrong_proof() {
    for insist in [false, true] {
        let pair = meeting(Some(("a", KEY, insist)), Some(("a", OTHER, insist)));
        assert!(matches!(
            pair.bob.failures()[0].cause,
            Cause::AuthenticationFailed { .. }
        ));
        assert!(pair.alice.inbound.is_empty() && pair.bob.is_bare());
    }
}

#[test]
fn the_keys_that_replace_others_need_no_ppk_and_stay_protected_by_it() {
    let mut pair = meeting(Some(("a", KEY, true)), Some(("a", KEY, true)));
    for what in [Rekey::Child, Rekey::Ike, Rekey::Ike, Rekey::Child] {
        for who in [Who::Alice, Who::Bob] {
            pair.command(
                who,
                Command::Rekey {
                    connection: LINK,
                    what,
                },
            );
            pair.run_for(LATER * 2);
            assert!(pair.agree(), "{what:?} by {who:?}");
            assert!(uses_ppk(&pair.alice) && uses_ppk(&pair.bob));
        }
    }
}

#[test]
fn it_goes_with_an_additional_key_exchange() {
    let hybrid = |who| {
        let mut config = having(who, Some(("a", KEY, true)));
        config.ike_proposals = "aes256gcm16-prfsha384-x25519-ke1_mlkem768"
            .parse()
            .into_iter()
            .collect();
        config
    };
    let mut pair = Pair::configured(hybrid(Who::Alice), hybrid(Who::Bob));
    pair.up(Who::Alice);
    pair.run_for(SOON);
    assert!(pair.has_settled());
    assert!(uses_ppk(&pair.alice) && uses_ppk(&pair.bob));
}

#[test]
fn three_keys_change_as_the_rfc_says_and_the_others_stay() {
    use xvpn_ike::negotiate::proposal::IkeProposal;
    use xvpn_ike::negotiate::select::{accept_ike, select_ike};
    use xvpn_ike::sa::keymat::{IkeKeys, Seeds};
    let proposals: Vec<IkeProposal> = config(Who::Alice).ike_proposals;
    let offer = xvpn_ike::negotiate::offer::ike_offer(&proposals, None);
    let chosen = select_ike(&proposals, &offer).unwrap();
    let answer = xvpn_ike::negotiate::offer::ike_answer(&chosen, None);
    let suite = accept_ike(&proposals, &answer).unwrap().suite;
    let seeds = Seeds {
        nonce_i: &[1; 32],
        nonce_r: &[2; 32],
        spi_i: 3,
        spi_r: 4,
    };
    let keys = IkeKeys::derive(&suite, &[5; 32], seeds).unwrap();
    let mixed = keys.with_ppk(Prf::HmacSha2_256, KEY).unwrap();
    // RFC 8784 3: with a PRF whose output is as long as its key, prf(PPK, SK | 0x01).
    let by_hand = |key: &[u8]| Prf::HmacSha2_256.compute(KEY, &[key, &[1]]).to_vec();
    assert_eq!(mixed.sk_d.to_vec(), by_hand(&keys.sk_d));
    assert_eq!(mixed.sk_pi.to_vec(), by_hand(&keys.sk_pi));
    assert_eq!(mixed.sk_pr.to_vec(), by_hand(&keys.sk_pr));
}
