//! Every way in which a negotiation fails is played by Alice and Bob, or by hand, and what each of the two is told is
//! written down in `explained.txt`: the exchange, the cause, who said no, what both sides have, what keeps them apart, the
//! settings of either side, and the words. A cause that no scene plays fails the test.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use xvpn_ike::api::{Command, Event, Rekey};
use xvpn_ike::config::{Childless, ConnectionConfig};
use xvpn_ike::error::{Cause, Exchange, Failure, Side};
use xvpn_ike::message::{AuthResponse, CreateChildRequest, InitResponse, NewChild, NewIke};
use xvpn_ike::negotiate::offer::ike_offer;
use xvpn_ike::negotiate::selector::to_payload;
use xvpn_ike::testing::{Faults, Host, LINK, Pair, Who, config, name, path};
use xvpn_ike::wire::payload::{IdType, KeyExchange, Nonce, Notify, NotifyType};
use xvpn_ike::wire::{ExchangeType, PayloadType};

use super::by_hand::{ByHand, Responder, unknown_payload};
use super::certificate::{certificate, certified, knowing, raw};
use super::pki::{Authority, host};
use super::unprotected::answer;
use super::{
    LATER, SOON, childless, children, crash, hostile, hostile_peer, ppk, puzzle, redirect, refused_rekey,
    rekey_child, revocation, unreachable, version,
};

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
    ("nobody answers", nobody_answers),
    ("nobody answers on port 4500", nobody_answers_4500),
    ("no common IKE proposal", no_ike_proposal),
    ("only the group of the IKE proposals differs", no_group),
    ("the peer wants a group that is not ours", other_group),
    ("no common ESP proposal", no_esp_proposal),
    ("other pre-shared keys", other_keys),
    ("the initiator has another name", other_initiator),
    ("the initiator means another responder", other_responder),
    ("the responder has another name", responder_says_another_name),
    ("no connection for the initiator any more", no_policy),
    ("the networks do not overlap", other_networks),
    ("a name of a kind that nobody has", strange_identity),
    ("a pre-shared key where a signature is wanted", other_method),
    ("a certificate of another authority", other_authority),
    (
        "a responder's certificate of another authority",
        responder_of_other_authority,
    ),
    ("a certificate without its key", stolen_certificate),
    ("another public key", other_public_key),
    ("no signature in common", no_signature),
    ("no post-quantum key at the peer", no_ppk),
    ("another post-quantum key", other_ppk),
    ("a peer that cannot begin without a CHILD SA", not_childless),
    ("a CHILD SA where none is made", child_in_auth),
    ("a revoked certificate", revoked),
    ("perfect forward secrecy on one side only", other_pfs),
    (
        "the peer wants other ciphers when the IKE SA is replaced",
        other_when_rekeyed,
    ),
    ("another CHILD SA for networks of nobody", another_child_of_nobody),
    ("another version", other_version),
    ("a public value that is none", bad_public),
    ("cookies without end", cookies),
    ("a puzzle that is too hard", too_hard),
    ("a message that does not parse", nonsense),
    ("our message is called malformed", nonsense_of_ours),
    ("a critical payload that nobody knows", critical),
    (
        "a critical payload of ours that the peer does not know",
        critical_of_ours,
    ),
    ("another error of the peer", other_error),
    ("the peer forgets the connection", forgotten),
    ("a NAT that the peer forbids", forbidden_nat),
    ("a crash of the peer", crashed),
    (
        "the peer sends us elsewhere against our wish",
        redirect::against_our_wish,
    ),
    ("the peer takes the CHILD SA away", no_child),
    ("the peer asks for new SAs without end", too_often),
    ("nobody replaces the SA in time", expired),
    ("no address to begin at", no_address),
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

/// Alice begins; they have these configurations.
fn attempt(alice: ConnectionConfig, bob: ConnectionConfig) -> Pair {
    let mut pair = Pair::configured(alice, bob);
    pair.up(Who::Alice);
    pair.run_for(Duration::from_millis(1500));
    pair
}

/// Alice begins; they have these but for what is changed.
fn attempt_with(change: fn(&mut ConnectionConfig, &mut ConnectionConfig)) -> Pair {
    let (mut alice, mut bob) = (config(Who::Alice), config(Who::Bob));
    change(&mut alice, &mut bob);
    attempt(alice, bob)
}

fn nobody_answers() -> Pair {
    let mut pair = Pair::new(1, unreachable::lost());
    pair.up(Who::Alice);
    pair.run_for(Duration::from_secs(90));
    pair
}

fn nobody_answers_4500() -> Pair {
    let mut pair = Pair::new(1, Faults::NONE);
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, |pair| pair.alice.outputs.len() == 4));
    pair.net.clear();
    pair.net.faults = unreachable::lost();
    pair.run_for(Duration::from_secs(90));
    pair
}

fn no_ike_proposal() -> Pair {
    attempt_with(|_, bob| bob.ike_proposals = vec!["aes256-sha256-x25519".parse().unwrap()])
}

fn no_group() -> Pair {
    attempt_with(|_, bob| bob.ike_proposals = vec!["aes256gcm16-prfsha256-ecp384".parse().unwrap()])
}

/// Alice's first message is answered by hand.
fn answered(response: InitResponse) -> Pair {
    let mut pair = Pair::new(5, Faults::NONE);
    let outputs = pair.command(Who::Alice, Command::Up(LINK));
    pair.net.clear();
    pair.net.faults.loss = 100;
    let reply = answer(&outputs, response);
    pair.inject(Who::Alice, path(Who::Alice, 500), &reply);
    pair.run_for(LATER);
    pair
}

fn other_group() -> Pair {
    answered(InitResponse::InvalidKe(14))
}

fn other_error() -> Pair {
    answered(InitResponse::OtherError(NotifyType(9_999)))
}

fn nonsense_of_ours() -> Pair {
    answered(InitResponse::OtherError(NotifyType::INVALID_SYNTAX))
}

fn cookies() -> Pair {
    let mut pair = Pair::new(5, Faults::NONE);
    let mut outputs = pair.command(Who::Alice, Command::Up(LINK));
    for round in 0..20 {
        pair.net.clear();
        if hostile::transmissions(&outputs).is_empty() {
            break;
        }
        let reply = answer(&outputs, InitResponse::Cookie(vec![round; 16]));
        outputs = pair.inject(Who::Alice, path(Who::Alice, 500), &reply);
    }
    pair.net.faults.loss = 100;
    pair.run_for(LATER);
    pair
}

fn too_hard() -> Pair {
    *puzzle::given(255, config(Who::Alice)).err().unwrap()
}

fn no_esp_proposal() -> Pair {
    attempt_with(|_, bob| bob.esp_proposals = vec!["aes256-sha256".parse().unwrap()])
}

fn other_keys() -> Pair {
    attempt_with(|alice, _| {
        let secret = xvpn_ike::config::Secret::new(b"incorrect horse".to_vec());
        (alice.local_auth, alice.remote_auth) = xvpn_ike::auth::method::shared(secret);
    })
}

fn other_initiator() -> Pair {
    attempt_with(|alice, _| alice.local_identity = name("mallory.example"))
}

fn other_responder() -> Pair {
    attempt_with(|alice, _| alice.remote_identity = name("carol.example"))
}

fn responder_says_another_name() -> Pair {
    let mut responder = Responder::init();
    let accepted = responder.accepted("mallory.example");
    responder.answer(accepted);
    responder.pair
}

/// Bob's operator takes the connection down between the two exchanges.
fn no_policy() -> Pair {
    let mut pair = Pair::configured(config(Who::Alice), config(Who::Bob));
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, |pair| !pair.bob.outputs.is_empty()));
    pair.down(Who::Bob);
    pair.run_for(SOON);
    pair
}

fn other_networks() -> Pair {
    attempt_with(|_, bob| {
        bob.local_selectors = vec!["192.168.0.0/16".parse::<ipnet::IpNet>().unwrap().into()];
    })
}

fn strange_identity() -> Pair {
    let mut mallory = ByHand::init();
    let mut request = mallory.auth_request();
    request.idi.kind = IdType(201);
    mallory.ask(ExchangeType::IKE_AUTH, &request.emit());
    mallory.pair
}

fn pki() -> (ConnectionConfig, ConnectionConfig) {
    let root = Authority::root("Root");
    certified(&root, &root.host("alice.example"), &root.host("bob.example"))
}

fn other_method() -> Pair {
    attempt(config(Who::Alice), pki().1)
}

fn other_authority() -> Pair {
    let (mut alice, bob) = pki();
    alice.local_auth = certificate(&Authority::root("Other").host("alice.example"), &[]);
    attempt(alice, bob)
}

fn responder_of_other_authority() -> Pair {
    let (alice, mut bob) = pki();
    bob.local_auth = certificate(&Authority::root("Other").host("bob.example"), &[]);
    attempt(alice, bob)
}

fn stolen_certificate() -> Pair {
    let root = Authority::root("Root");
    let (real, eve) = (root.host("alice.example"), root.host("eve.example"));
    let (mut alice, bob) = certified(&root, &real, &root.host("bob.example"));
    alice.local_auth = xvpn_ike::auth::method::LocalAuth::Certificate {
        chain: [real.der.clone()].into(),
        key: std::sync::Arc::new(eve.signing_key()),
        padding: xvpn_ike::auth::signature::RsaPadding::Auto,
    };
    attempt(alice, bob)
}

fn other_public_key() -> Pair {
    let root = Authority::root("Nobody asks");
    let [a, b, other] = ["a", "b", "c"].map(|of| root.issue(&host(of), &rcgen::PKCS_ED25519));
    let (mut alice, mut bob) = (config(Who::Alice), config(Who::Bob));
    (alice.local_auth, alice.remote_auth) = (raw(&other), knowing(&b));
    (bob.local_auth, bob.remote_auth) = (raw(&b), knowing(&a));
    attempt(alice, bob)
}

/// Bob announces no hash: only the old ways of RSA and ECDSA are left (RFC 7427 4), and Alice's key knows none.
fn no_signature() -> Pair {
    let root = Authority::root("Root");
    let alice = root.issue(&host("alice.example"), &rcgen::PKCS_ED25519);
    let (alice, _) = certified(&root, &alice, &root.host("bob.example"));
    attempt(alice, config(Who::Bob))
}

const PPK: ppk::Has = Some(("a", b"thirty-two octets of randomness!", true));

fn no_ppk() -> Pair {
    ppk::meeting(PPK, None)
}

fn other_ppk() -> Pair {
    ppk::meeting(PPK, Some(("b", b"thirty-two octets of something !", true)))
}

fn not_childless() -> Pair {
    let mut pair = childless::meeting(Childless::Force, Childless::Never);
    pair.run_for(Duration::from_secs(1));
    pair
}

fn child_in_auth() -> Pair {
    childless::meeting(Childless::Allow, Childless::Force)
}

fn revoked() -> Pair {
    revocation::revoked_pair()
}

fn other_pfs() -> Pair {
    let mut pair = refused_rekey::with("aes256gcm16-esn", "aes256gcm16-x25519-esn");
    pair.run_for(Duration::from_secs(60));
    pair
}

/// An initiator that has another mind about the successor.
fn other_when_rekeyed() -> Pair {
    let mut by_hand = ByHand::established();
    let proposals = ["aes256-sha256-x25519".parse().unwrap()];
    let new = NewIke {
        sa: ike_offer(&proposals, Some(0xbeef)),
        nonce: Nonce(vec![5; 32]),
        ke: KeyExchange {
            method: 31,
            data: vec![9; 32],
        },
        other: Vec::new(),
    };
    by_hand.ask(
        ExchangeType::CREATE_CHILD_SA,
        &CreateChildRequest::RekeyIke(new).emit(),
    );
    by_hand.pair
}

/// An initiator that asks for another CHILD SA, between networks of nobody.
fn another_child_of_nobody() -> Pair {
    let mut by_hand = ByHand::established();
    let mut offer = by_hand.auth_request().child.unwrap();
    offer.tsr = to_payload(&["172.16.0.0/12".parse::<ipnet::IpNet>().unwrap().into()]);
    let child = NewChild {
        offer,
        nonce: Nonce(vec![1; 32]),
        ke: None,
        other: Vec::new(),
    };
    by_hand.ask(
        ExchangeType::CREATE_CHILD_SA,
        &CreateChildRequest::Child { rekeyed: None, child }.emit(),
    );
    by_hand.pair
}

fn other_version() -> Pair {
    let mut pair = Pair::new(5, Faults::NONE);
    pair.inject(Who::Bob, path(Who::Bob, 500), &version::main_mode(0xa11ce));
    pair
}

fn bad_public() -> Pair {
    let mut pair = Pair::new(5, Faults::NONE);
    // RFC 7748 6.1: it leads to a shared secret of zeros.
    let request = hostile::first_with_nonce(7, [0; 32], None, 32);
    pair.inject(Who::Bob, path(Who::Bob, 500), &request);
    pair
}

fn nonsense() -> Pair {
    let mut by_hand = ByHand::established();
    by_hand.ask_raw(ExchangeType::INFORMATIONAL, PayloadType::DELETE, &[0, 0, 0, 5, 3]);
    by_hand.pair
}

fn critical() -> Pair {
    let mut by_hand = ByHand::init();
    let (kind, chain) = unknown_payload(true);
    by_hand.ask_raw(ExchangeType::IKE_AUTH, kind, &chain);
    by_hand.pair
}

fn critical_of_ours() -> Pair {
    let mut responder = Responder::init();
    let notify = Notify::with_data(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, vec![200]);
    responder.respond(&AuthResponse::Refused(notify));
    responder.pair
}

fn forgotten() -> Pair {
    let mut pair = super::settled();
    pair.command(Who::Bob, Command::Forget(LINK));
    pair.run_for(SOON);
    pair
}

/// RFC 4555 3.9: the addresses in the notification are not those of the datagram.
fn forbidden_nat() -> Pair {
    let mut bob = config(Who::Bob);
    bob.mobike = true;
    let mut by_hand = ByHand::init_with(Pair::configured(config(Who::Alice), bob), 0);
    let mut request = by_hand.auth_request();
    request.other = vec![Notify::with_data(NotifyType::NO_NATS_ALLOWED, vec![1; 12])];
    by_hand.ask(ExchangeType::IKE_AUTH, &request.emit());
    by_hand.pair
}

fn crashed() -> Pair {
    let mut pair = crash::pair();
    crash::crash(&mut pair, crash::with_secret());
    rekey_child::rekey(&mut pair, Who::Alice, Rekey::Child);
    pair.run_for(Duration::from_millis(20));
    pair
}

fn no_child() -> Pair {
    let mut by_hand = ByHand::established();
    let delete = xvpn_ike::message::Informational::delete_esp(vec![0x1234_5678]);
    by_hand.ask(ExchangeType::INFORMATIONAL, &delete.emit());
    by_hand.pair
}

fn too_often() -> Pair {
    let mut mallory = ByHand::established();
    for round in 0..1000_u32 {
        let request = hostile_peer::wanted(0xdead_0000 + round, 0x2000 + round, 1);
        mallory.ask(ExchangeType::CREATE_CHILD_SA, &request.emit());
    }
    mallory.pair
}

/// A hard limit is reached at once, and nothing had the time to take the place of the SA.
fn expired() -> Pair {
    let short = |who| {
        let mut config = children::three(who);
        config.more_children[0].lifetime.packets = Some(1000);
        config
    };
    let mut pair = Pair::configured(short(Who::Alice), short(Who::Bob));
    pair.up(Who::Alice);
    pair.run_for(SOON);
    pair.traffic(Who::Alice, 1000);
    pair.run_for(LATER);
    pair
}

fn no_address() -> Pair {
    attempt_with(|alice, _| alice.local = None)
}
