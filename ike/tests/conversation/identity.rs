//! Who is who: refusals by identity, and finding the connection by it.

use xvpn_ike::api::{Command, Event};
use xvpn_ike::auth::method::shared;
use xvpn_ike::config::{ConnectionId, Secret};
use xvpn_ike::error::{Cause, Side};
use xvpn_ike::message::AuthResponse;
use xvpn_ike::testing::{Host, Pair, Who, config, name};
use xvpn_ike::wire::ExchangeType;
use xvpn_ike::wire::payload::{IdType, NotifyType};

use super::SOON;
use super::by_hand::ByHand;

fn cause(host: &Host) -> Option<Cause> {
    host.failures().first().map(|failure| failure.cause.clone())
}

#[test]
fn an_initiator_with_another_name_is_refused_by_name() {
    let mut alice = config(Who::Alice);
    alice.local_identity = name("mallory.example");
    let mut pair = Pair::configured(alice, config(Who::Bob));
    pair.up(Who::Alice);
    pair.run_for(SOON);
    assert_eq!(
        cause(&pair.bob),
        Some(Cause::IdentityMismatch {
            expected: vec![name("alice.example")],
            got: name("mallory.example")
        })
    );
    assert_eq!(
        cause(&pair.alice),
        Some(Cause::AuthenticationFailed {
            refused_by: Side::Peer,
            identity: name("mallory.example")
        })
    );
}

#[test]
fn an_initiator_that_wants_someone_else_is_told_so() {
    let mut alice = config(Who::Alice);
    alice.remote_identity = name("carol.example");
    let mut pair = Pair::configured(alice, config(Who::Bob));
    pair.up(Who::Alice);
    pair.run_for(SOON);
    assert_eq!(
        cause(&pair.bob),
        Some(Cause::WrongResponder {
            ours: vec![name("bob.example")],
            wanted: name("carol.example")
        })
    );
    assert!(matches!(
        cause(&pair.alice),
        Some(Cause::AuthenticationFailed {
            refused_by: Side::Peer,
            ..
        })
    ));
}

#[test]
fn among_connections_for_any_address_the_identity_decides() {
    let mut pair = Pair::configured(config(Who::Alice), {
        let mut bob = config(Who::Bob);
        bob.remote = None;
        bob.remote_identity = name("carol.example");
        (bob.local_auth, bob.remote_auth) = shared(Secret::new(b"carol's".to_vec()));
        bob
    });
    let mut second = config(Who::Bob);
    second.id = ConnectionId(2);
    second.remote = None;
    pair.command(Who::Bob, Command::Configure(Box::new(second)));
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, Pair::has_settled));
    let of = |event: &Event| match event {
        Event::IkeEstablished { connection, .. } => Some(*connection),
        _ => None,
    };
    assert_eq!(pair.bob.events().find_map(of), Some(ConnectionId(2)));
}

#[test]
fn a_stranger_is_ignored() {
    let mut bob = config(Who::Bob);
    bob.remote = Some("203.0.113.9:500".parse().unwrap());
    let mut pair = Pair::configured(config(Who::Alice), bob);
    pair.up(Who::Alice);
    pair.run_for(SOON);
    assert_eq!(
        pair.bob.outputs.len(),
        pair.bob.ignored(xvpn_ike::error::Ignore::NoConnection)
    );
}

#[test]
fn an_initiator_with_an_unknown_kind_of_name_is_refused_by_the_kind() {
    let mut mallory = ByHand::init();
    let mut request = mallory.auth_request();
    request.idi.kind = IdType(201);
    let answer = mallory.ask(ExchangeType::IKE_AUTH, &request.emit());
    let AuthResponse::Refused(notify) = AuthResponse::parse(&answer.chain().unwrap()).unwrap() else {
        panic!("accepted")
    };
    assert_eq!(notify.kind, NotifyType::AUTHENTICATION_FAILED);
    assert_eq!(
        cause(&mallory.pair.bob),
        Some(Cause::UnsupportedIdentity { id_type: 201 })
    );
}
