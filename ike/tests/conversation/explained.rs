//! Every way in which a negotiation fails is played by Alice and Bob, or by hand, and what each of the two is told is
//! written down in `explained.txt`: the exchange, the cause, who said no, what both sides have, what keeps them apart, the
//! settings of either side, and the words. A cause that no scene plays fails the test.

mod scenes;

use std::collections::BTreeSet;
use std::fmt::Write;

use xvpn_ike::api::Event;
use xvpn_ike::error::{Cause, Exchange, Failure, Side};
use xvpn_ike::testing::{Host, Pair};

use super::redirect;

/// What is compared with what the two are told.
const EXPECTED: &str = include_str!("explained.txt");

macro_rules! causes {
    ($($name:ident),* $(,)?) => {
        /// The name of a cause. Exhaustive: a new one does not compile before it is in the list below, and fails the
        /// test before a scene plays it.
        fn cause_name(cause: &Cause) -> &'static str {
            match cause {
                $(Cause::$name { .. } => stringify!($name),)*
            }
        }

        const CAUSES: &[&str] = &[$(stringify!($name)),*];
    };
}

causes!(
    NoResponse,
    NoProposal,
    InvalidKeyExchange,
    RekeyRefused,
    OtherVersion,
    BadPublicValue,
    CookieLoop,
    PuzzleTooHard,
    AuthenticationFailed,
    IdentityMismatch,
    UnsupportedIdentity,
    UnsupportedAuthMethod,
    Certificate,
    UnknownKey,
    BadSignature,
    NoCommonSignature,
    NoPpk,
    UnknownPpk,
    NotChildless,
    AggfragDemand,
    ChildInAuth,
    CredentialRefused,
    SelectorMismatch,
    WrongResponder,
    NoPolicy,
    InvalidSyntax,
    UnsupportedCritical,
    PeerNotify,
    Revocation,
    Deleted,
    Abandoned,
    NotReachable,
    ForbiddenNat,
    Crashed,
    Redirected,
    NoChild,
    TooOften,
    Expired,
    NoAddress,
    Internal,
);

/// What no conversation of this test leads to; their words are written down all the same.
fn told_without_a_scene() -> [Failure; 2] {
    [
        // It takes a host that answers without receiving: `mobike.rs` has the address, not the liar.
        Failure::new(Exchange::Informational, Cause::NotReachable),
        // A defect of ours.
        Failure::new(Exchange::IkeSaInit, Cause::Internal { detail: "a defect" }),
    ]
}

type Scene = (&'static str, fn() -> Pair);

const SCENES: &[Scene] = &[
    ("nobody answers", scenes::nobody_answers),
    ("nobody answers on port 4500", scenes::nobody_answers_4500),
    ("no common IKE proposal", scenes::no_ike_proposal),
    ("only the group of the IKE proposals differs", scenes::no_group),
    ("the peer wants a group that is not ours", scenes::other_group),
    ("no common ESP proposal", scenes::no_esp_proposal),
    ("other pre-shared keys", scenes::other_keys),
    ("the initiator has another name", scenes::other_initiator),
    ("the initiator means another responder", scenes::other_responder),
    (
        "the responder has another name",
        scenes::responder_says_another_name,
    ),
    ("no connection for the initiator any more", scenes::no_policy),
    ("the networks do not overlap", scenes::other_networks),
    ("a name of a kind that nobody has", scenes::strange_identity),
    (
        "a pre-shared key where a signature is wanted",
        scenes::other_method,
    ),
    ("a certificate of another authority", scenes::other_authority),
    (
        "a responder's certificate of another authority",
        scenes::responder_of_other_authority,
    ),
    ("a certificate without its key", scenes::stolen_certificate),
    ("another public key", scenes::other_public_key),
    ("no signature in common", scenes::no_signature),
    ("no post-quantum key at the peer", scenes::no_ppk),
    ("another post-quantum key", scenes::other_ppk),
    (
        "a peer that cannot begin without a CHILD SA",
        scenes::not_childless,
    ),
    ("a CHILD SA where none is made", scenes::child_in_auth),
    (
        "congestion control of AGGFRAG payloads",
        scenes::congestion_control,
    ),
    ("a revoked certificate", scenes::revoked),
    ("perfect forward secrecy on one side only", scenes::other_pfs),
    (
        "the peer wants other ciphers when the IKE SA is replaced",
        scenes::other_when_rekeyed,
    ),
    (
        "another CHILD SA for networks of nobody",
        scenes::another_child_of_nobody,
    ),
    ("another version", scenes::other_version),
    ("a public value that is none", scenes::bad_public),
    ("cookies without end", scenes::cookies),
    ("a puzzle that is too hard", scenes::too_hard),
    ("a message that does not parse", scenes::nonsense),
    ("our message is called malformed", scenes::nonsense_of_ours),
    ("a critical payload that nobody knows", scenes::critical),
    (
        "a critical payload of ours that the peer does not know",
        scenes::critical_of_ours,
    ),
    ("another error of the peer", scenes::other_error),
    ("the peer forgets the connection", scenes::forgotten),
    ("a NAT that the peer forbids", scenes::forbidden_nat),
    ("a crash of the peer", scenes::crashed),
    (
        "the peer sends us elsewhere against our wish",
        redirect::against_our_wish,
    ),
    ("the peer takes the CHILD SA away", scenes::no_child),
    ("the peer asks for new SAs without end", scenes::too_often),
    ("nobody replaces the SA in time", scenes::expired),
    ("no address to begin at", scenes::no_address),
];

#[test]
fn every_cause_is_explained_at_both_ends() {
    let mut text = String::new();
    let mut played: BTreeSet<&str> = BTreeSet::new();
    for (title, play) in SCENES {
        let pair = play();
        let _ = writeln!(text, "== {title}");
        for (who, host) in [("Alice", &pair.alice), ("Bob", &pair.bob)] {
            let told = told(host);
            played.extend(told.iter().map(|failure| cause_name(&failure.cause)));
            write_down(&mut text, who, told.first());
        }
    }
    for failure in told_without_a_scene() {
        played.insert(cause_name(&failure.cause));
        let _ = writeln!(text, "== without a scene");
        write_down(&mut text, "either", Some(&failure));
    }
    let missing: Vec<_> = CAUSES.iter().filter(|cause| !played.contains(*cause)).collect();
    assert!(missing.is_empty(), "no scene plays {missing:?}");
    if let Some(place) = text
        .lines()
        .zip(EXPECTED.lines())
        .position(|(now, then)| now != then)
    {
        let line = |text: &str| text.lines().nth(place).unwrap_or_default().to_owned();
        panic!(
            "line {}:\n  now: {}\nbefore: {}\n\n{text}",
            place + 1,
            line(&text),
            line(EXPECTED)
        );
    }
    assert_eq!(text.lines().count(), EXPECTED.lines().count(), "{text}");
}

/// Whoever said no knows why, and both sides know a setting: in none of the scenes in which operators must act is
/// one of the two left without.
#[test]
fn who_must_act_is_told_where() {
    for (title, play) in SCENES {
        let pair = play();
        for failure in told(&pair.alice).iter().chain(&told(&pair.bob)) {
            let explained = failure.explain();
            if failure.blame == xvpn_ike::error::Blame::Operator {
                assert!(
                    explained.here.is_some() && explained.there.is_some(),
                    "{title}: {failure}"
                );
            }
            if let Cause::NoProposal {
                refused_by: Side::Us, ..
            } = failure.cause
            {
                let all = (&explained.ours, &explained.theirs, &explained.difference);
                assert!(matches!(all, (Some(_), Some(_), Some(_))), "{title}: {all:?}");
            }
            assert!(!failure.remedy().is_empty(), "{title}: {failure}");
        }
    }
}

/// The failures that were told, those of single CHILD SAs too.
fn told(host: &Host) -> Vec<Failure> {
    let failure = |event: &Event| match event {
        Event::Failed { failure, .. } | Event::ChildFailed { failure, .. } => Some(failure.clone()),
        _ => None,
    };
    host.events().filter_map(failure).collect()
}

fn write_down(text: &mut String, who: &str, failure: Option<&Failure>) {
    let Some(failure) = failure else {
        let _ = writeln!(text, "{who} is told nothing");
        return;
    };
    let explained = failure.explain();
    let side = match explained.refused_by {
        Some(Side::Us) => "refused here",
        Some(Side::Peer) => "refused by the peer",
        None => "refused by nobody",
    };
    let _ = writeln!(
        text,
        "{who}: {}, {}, {side}, {:?} must act",
        failure.exchange,
        cause_name(&failure.cause),
        failure.blame
    );
    let remedy = failure.remedy();
    let lines = [
        ("says", Some(timeless(&failure.cause.to_string()))),
        ("remedy", Some(remedy)),
        ("ours", explained.ours),
        ("theirs", explained.theirs),
        ("differs", explained.difference),
        ("here", explained.here.map(str::to_owned)),
        ("there", explained.there.map(str::to_owned)),
    ];
    for (label, line) in lines {
        if let Some(line) = line {
            let _ = writeln!(text, "    {label}: {line}");
        }
    }
}

/// The certificates of these tests are made anew now and then.
fn timeless(text: &str) -> String {
    match text.split_once(", revoked ") {
        Some((before, after)) => {
            let rest = after.split_once(',').map_or("", |(_time, rest)| rest);
            format!("{before}, revoked then,{rest}")
        }
        None => text.to_owned(),
    }
}
