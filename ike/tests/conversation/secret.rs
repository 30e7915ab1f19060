//! Different pre-shared keys: both sides say that it is the secret, and which identity was refused.

use xvpn_ike::auth::method::shared;
use xvpn_ike::config::Secret;
use xvpn_ike::error::{Blame, Cause, Exchange, Failure, Side};
use xvpn_ike::testing::{Pair, Who, config, name};

use super::SOON;

fn different_secrets() -> Pair {
    let mut alice = config(Who::Alice);
    (alice.local_auth, alice.remote_auth) = shared(Secret::new(b"incorrect horse".to_vec()));
    let mut pair = Pair::configured(alice, config(Who::Bob));
    pair.up(Who::Alice);
    pair.run_for(SOON);
    pair
}

#[test]
fn both_sides_name_the_secret_as_the_cause() {
    let pair = different_secrets();
    let failure = |refused_by| Failure {
        exchange: Exchange::IkeAuth,
        cause: Cause::AuthenticationFailed {
            refused_by,
            identity: name("alice.example"),
        },
        blame: Blame::Operator,
    };
    assert_eq!(pair.bob.failures(), [failure(Side::Us)]);
    assert_eq!(pair.alice.failures(), [failure(Side::Peer)]);
    assert!(pair.alice.failures()[0].remedy().contains("`psk`"));
    assert!(pair.alice.is_bare() && pair.bob.is_bare());
}

#[test]
fn the_refusal_is_repeated_when_it_was_lost() {
    let mut alice = config(Who::Alice);
    (alice.local_auth, alice.remote_auth) = shared(Secret::new(b"incorrect horse".to_vec()));
    let mut pair = Pair::configured(alice, config(Who::Bob));
    pair.up(Who::Alice);
    // Until Bob has refused; then his answer is lost.
    assert!(pair.run_until(SOON, |pair| !pair.bob.failures().is_empty()));
    pair.net.clear();
    pair.run_for(SOON);
    assert_eq!(pair.alice.failures().len(), 1);
    assert_eq!(
        pair.bob.failures().len(),
        1,
        "a repeated request is not judged a second time"
    );
}
