//! The networks of the two sides do not overlap.

use xvpn_ike::error::{Cause, Exchange, Side};
use xvpn_ike::testing::{Pair, Who, config};

use super::SOON;

#[test]
fn both_sides_name_the_networks() {
    let mut bob = config(Who::Bob);
    bob.local_selectors = vec!["192.168.0.0/16".parse::<ipnet::IpNet>().unwrap().into()];
    let bobs = (bob.local_selectors.clone(), bob.remote_selectors.clone());
    let alices = (
        config(Who::Alice).local_selectors,
        config(Who::Alice).remote_selectors,
    );
    let mut pair = Pair::configured(config(Who::Alice), bob);
    pair.up(Who::Alice);
    pair.run_for(SOON);

    let of_alice = pair.alice.failures().swap_remove(0);
    assert_eq!(of_alice.exchange, Exchange::IkeAuth);
    assert_eq!(
        of_alice.cause,
        Cause::SelectorMismatch {
            refused_by: Side::Peer,
            ours: alices.clone(),
            theirs: None
        }
    );
    let of_bob = pair.bob.failures().swap_remove(0);
    // For Bob the peer's view is the other way round: first what it wants of him.
    let theirs = Some((alices.1, alices.0));
    assert_eq!(
        of_bob.cause,
        Cause::SelectorMismatch {
            refused_by: Side::Us,
            ours: bobs,
            theirs
        }
    );
    assert!(of_bob.remedy().contains("`local.networks`"));
    assert!(of_bob.to_string().contains("192.168.0.0/16"));
}
