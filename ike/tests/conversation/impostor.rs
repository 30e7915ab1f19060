//! A responder that is not what it should be: Alice refuses, and tells it (RFC 7296 2.21.2).

use xvpn_ike::error::{Cause, Side};
use xvpn_ike::message::{ChildAnswer, Informational};
use xvpn_ike::negotiate::selector::{TrafficSelector, to_payload};
use xvpn_ike::testing::name;
use xvpn_ike::wire::payload::{AuthMethod, IdType, Notify, NotifyType};

use super::by_hand::Responder;
use super::kinds;

fn refused() -> Option<Informational> {
    let notifies = vec![Notify::new(NotifyType::AUTHENTICATION_FAILED)];
    Some(Informational {
        notifies,
        ..Informational::default()
    })
}

fn cause(responder: &Responder) -> Cause {
    responder.pair.alice.failures().swap_remove(0).cause
}

#[test]
fn the_right_one_is_accepted() {
    let mut responder = Responder::init();
    let answer = responder.accepted("bob.example");
    assert_eq!(responder.answer(answer), None);
    assert_eq!(
        kinds(&responder.pair.alice.outputs).last(),
        Some(&"child established")
    );
}

#[test]
fn another_name_is_refused_even_with_the_right_secret() {
    let mut responder = Responder::init();
    let answer = responder.accepted("carol.example");
    assert_eq!(responder.answer(answer), refused());
    let expected = vec![name("bob.example")];
    assert_eq!(
        cause(&responder),
        Cause::IdentityMismatch {
            expected,
            got: name("carol.example")
        }
    );
    assert!(
        responder.pair.alice.failures()[0]
            .remedy()
            .contains("`remote.id = \"carol.example\"`")
    );
}

#[test]
fn a_kind_of_name_nobody_can_configure_is_refused_as_such() {
    let mut responder = Responder::init();
    let mut answer = responder.accepted("bob.example");
    answer.idr.kind = IdType::NULL;
    assert_eq!(responder.answer(answer), refused());
    assert_eq!(cause(&responder), Cause::UnsupportedIdentity { id_type: 13 });
    let words = responder.pair.alice.failures()[0].to_string();
    assert!(words.contains("ID type 13 (ID_NULL)"), "{words}");
}

#[test]
fn a_wrong_proof_is_refused() {
    let mut responder = Responder::init();
    let mut answer = responder.accepted("bob.example");
    answer.auth.data[0] ^= 1;
    assert_eq!(responder.answer(answer), refused());
    let identity = name("bob.example");
    assert_eq!(
        cause(&responder),
        Cause::AuthenticationFailed {
            refused_by: Side::Us,
            identity
        }
    );
    assert!(responder.pair.alice.is_bare());
}

#[test]
fn another_method_is_refused() {
    let mut responder = Responder::init();
    let mut answer = responder.accepted("bob.example");
    answer.auth.method = AuthMethod::DIGITAL_SIGNATURE;
    assert_eq!(responder.answer(answer), refused());
    assert_eq!(
        cause(&responder),
        Cause::UnsupportedAuthMethod {
            method: 14,
            wanted: "a pre-shared key"
        }
    );
}

#[test]
fn traffic_that_was_not_offered_is_refused() {
    let mut responder = Responder::init();
    let mut answer = responder.accepted("bob.example");
    if let ChildAnswer::Accepted(child) = &mut answer.child {
        child.tsr = to_payload(&[TrafficSelector::ANY_IPV4]);
    }
    assert_eq!(responder.answer(answer), Some(Informational::delete_ike()));
    assert!(matches!(
        cause(&responder),
        Cause::SelectorMismatch {
            refused_by: Side::Us,
            ..
        }
    ));
    assert!(responder.pair.alice.is_bare());
}

#[test]
fn algorithms_that_were_not_offered_are_refused() {
    let mut responder = Responder::init();
    let mut answer = responder.accepted("bob.example");
    if let ChildAnswer::Accepted(child) = &mut answer.child {
        child.sa.proposals[0].transforms[0].attributes.clear();
    }
    assert_eq!(responder.answer(answer), Some(Informational::delete_ike()));
    assert!(matches!(
        cause(&responder),
        Cause::InvalidSyntax {
            refused_by: Side::Us,
            ..
        }
    ));
}
