//! The conversations that fail, each in its own way.

use std::time::Duration;

use xvpn_ike::api::{Command, Rekey};
use xvpn_ike::config::{Aggfrag, Childless, ConnectionConfig};
use xvpn_ike::message::{AuthResponse, ChildAnswer, CreateChildRequest, InitResponse, NewChild, NewIke};
use xvpn_ike::negotiate::offer::ike_offer;
use xvpn_ike::negotiate::selector::to_payload;
use xvpn_ike::testing::{Faults, LINK, Pair, Who, config, name, path};
use xvpn_ike::wire::payload::{IdType, KeyExchange, Nonce, Notify, NotifyType};
use xvpn_ike::wire::{ExchangeType, PayloadType};

use super::super::by_hand::{ByHand, Responder, unknown_payload};
use super::super::certificate::{certificate, certified, knowing, raw};
use super::super::pki::{Authority, host};
use super::super::unprotected::answer;
use super::super::{
    LATER, SOON, childless, children, crash, hostile, hostile_peer, ppk, puzzle, refused_rekey, rekey_child,
    revocation, unreachable, version,
};

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

pub(super) fn nobody_answers() -> Pair {
    let mut pair = Pair::new(1, unreachable::lost());
    pair.up(Who::Alice);
    pair.run_for(Duration::from_secs(90));
    pair
}

pub(super) fn nobody_answers_4500() -> Pair {
    let mut pair = Pair::new(1, Faults::NONE);
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, |pair| pair.alice.outputs.len() == 4));
    pair.net.clear();
    pair.net.faults = unreachable::lost();
    pair.run_for(Duration::from_secs(90));
    pair
}

pub(super) fn no_ike_proposal() -> Pair {
    attempt_with(|_, bob| bob.ike_proposals = vec!["aes256-sha256-x25519".parse().unwrap()])
}

pub(super) fn no_group() -> Pair {
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

pub(super) fn other_group() -> Pair {
    answered(InitResponse::InvalidKe(14))
}

pub(super) fn other_error() -> Pair {
    answered(InitResponse::OtherError(NotifyType(9_999)))
}

pub(super) fn nonsense_of_ours() -> Pair {
    answered(InitResponse::OtherError(NotifyType::INVALID_SYNTAX))
}

pub(super) fn cookies() -> Pair {
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

pub(super) fn too_hard() -> Pair {
    *puzzle::given(255, config(Who::Alice)).err().unwrap()
}

pub(super) fn no_esp_proposal() -> Pair {
    attempt_with(|_, bob| bob.esp_proposals = vec!["aes256-sha256".parse().unwrap()])
}

pub(super) fn other_keys() -> Pair {
    attempt_with(|alice, _| {
        let secret = xvpn_ike::config::Secret::new(b"incorrect horse".to_vec());
        (alice.local_auth, alice.remote_auth) = xvpn_ike::auth::method::shared(secret);
    })
}

pub(super) fn other_initiator() -> Pair {
    attempt_with(|alice, _| alice.local_identity = name("mallory.example"))
}

pub(super) fn other_responder() -> Pair {
    attempt_with(|alice, _| alice.remote_identity = name("carol.example"))
}

pub(super) fn responder_says_another_name() -> Pair {
    let mut responder = Responder::init();
    let accepted = responder.accepted("mallory.example");
    responder.answer(accepted);
    responder.pair
}

/// Bob's operator takes the connection down between the two exchanges.
pub(super) fn no_policy() -> Pair {
    let mut pair = Pair::configured(config(Who::Alice), config(Who::Bob));
    pair.up(Who::Alice);
    assert!(pair.run_until(SOON, |pair| !pair.bob.outputs.is_empty()));
    pair.down(Who::Bob);
    pair.run_for(SOON);
    pair
}

pub(super) fn other_networks() -> Pair {
    attempt_with(|_, bob| {
        bob.local_selectors = vec!["192.168.0.0/16".parse::<ipnet::IpNet>().unwrap().into()];
    })
}

pub(super) fn strange_identity() -> Pair {
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

pub(super) fn other_method() -> Pair {
    attempt(config(Who::Alice), pki().1)
}

pub(super) fn other_authority() -> Pair {
    let (mut alice, bob) = pki();
    alice.local_auth = certificate(&Authority::root("Other").host("alice.example"), &[]);
    attempt(alice, bob)
}

pub(super) fn responder_of_other_authority() -> Pair {
    let (alice, mut bob) = pki();
    bob.local_auth = certificate(&Authority::root("Other").host("bob.example"), &[]);
    attempt(alice, bob)
}

pub(super) fn stolen_certificate() -> Pair {
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

pub(super) fn other_public_key() -> Pair {
    let root = Authority::root("Nobody asks");
    let [a, b, other] = ["a", "b", "c"].map(|of| root.issue(&host(of), &rcgen::PKCS_ED25519));
    let (mut alice, mut bob) = (config(Who::Alice), config(Who::Bob));
    (alice.local_auth, alice.remote_auth) = (raw(&other), knowing(&b));
    (bob.local_auth, bob.remote_auth) = (raw(&b), knowing(&a));
    attempt(alice, bob)
}

/// Bob announces no hash: only the old ways of RSA and ECDSA are left (RFC 7427 4), and Alice's key knows none.
pub(super) fn no_signature() -> Pair {
    let root = Authority::root("Root");
    let alice = root.issue(&host("alice.example"), &rcgen::PKCS_ED25519);
    let (alice, _) = certified(&root, &alice, &root.host("bob.example"));
    attempt(alice, config(Who::Bob))
}

const PPK: ppk::Has = Some(("a", b"thirty-two octets of randomness!", true));

pub(super) fn no_ppk() -> Pair {
    ppk::meeting(PPK, None)
}

pub(super) fn other_ppk() -> Pair {
    ppk::meeting(PPK, Some(("b", b"thirty-two octets of something !", true)))
}

pub(super) fn not_childless() -> Pair {
    let mut pair = childless::meeting(Childless::Force, Childless::Never);
    pair.run_for(Duration::from_secs(1));
    pair
}

pub(super) fn child_in_auth() -> Pair {
    childless::meeting(Childless::Allow, Childless::Force)
}

pub(super) fn revoked() -> Pair {
    revocation::revoked_pair()
}

pub(super) fn other_pfs() -> Pair {
    let mut pair = refused_rekey::with("aes256gcm16-esn", "aes256gcm16-x25519-esn");
    pair.run_for(Duration::from_secs(60));
    pair
}

/// An initiator that has another mind about the successor.
pub(super) fn other_when_rekeyed() -> Pair {
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
pub(super) fn another_child_of_nobody() -> Pair {
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

pub(super) fn other_version() -> Pair {
    let mut pair = Pair::new(5, Faults::NONE);
    pair.inject(Who::Bob, path(Who::Bob, 500), &version::main_mode(0xa11ce));
    pair
}

pub(super) fn bad_public() -> Pair {
    let mut pair = Pair::new(5, Faults::NONE);
    // RFC 7748 6.1: it leads to a shared secret of zeros.
    let request = hostile::first_with_nonce(7, [0; 32], None, 32);
    pair.inject(Who::Bob, path(Who::Bob, 500), &request);
    pair
}

pub(super) fn nonsense() -> Pair {
    let mut by_hand = ByHand::established();
    by_hand.ask_raw(ExchangeType::INFORMATIONAL, PayloadType::DELETE, &[0, 0, 0, 5, 3]);
    by_hand.pair
}

pub(super) fn critical() -> Pair {
    let mut by_hand = ByHand::init();
    let (kind, chain) = unknown_payload(true);
    by_hand.ask_raw(ExchangeType::IKE_AUTH, kind, &chain);
    by_hand.pair
}

pub(super) fn critical_of_ours() -> Pair {
    let mut responder = Responder::init();
    let notify = Notify::with_data(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, vec![200]);
    responder.respond(&AuthResponse::Refused(notify));
    responder.pair
}

/// It cannot be told before the answer (RFC 9347 5.1).
pub(super) fn congestion_control() -> Pair {
    let mut responder = Responder::init_of(ConnectionConfig {
        child_aggfrag: Some(Aggfrag { reassembles: true }),
        ..config(Who::Alice)
    });
    let mut accepted = responder.accepted("bob.example");
    if let ChildAnswer::Accepted(offer) = &mut accepted.child {
        offer.aggfrag = Some(Notify::with_data(NotifyType::USE_AGGFRAG, vec![2]));
    }
    responder.answer(accepted);
    responder.pair
}

pub(super) fn forgotten() -> Pair {
    let mut pair = super::super::settled();
    pair.command(Who::Bob, Command::Forget(LINK));
    pair.run_for(SOON);
    pair
}

/// RFC 4555 3.9: the addresses in the notification are not those of the datagram.
pub(super) fn forbidden_nat() -> Pair {
    let mut bob = config(Who::Bob);
    bob.mobike = true;
    let mut by_hand = ByHand::init_with(Pair::configured(config(Who::Alice), bob), 0);
    let mut request = by_hand.auth_request();
    request.other = vec![Notify::with_data(NotifyType::NO_NATS_ALLOWED, vec![1; 12])];
    by_hand.ask(ExchangeType::IKE_AUTH, &request.emit());
    by_hand.pair
}

pub(super) fn crashed() -> Pair {
    let mut pair = crash::pair();
    crash::crash(&mut pair, crash::with_secret());
    rekey_child::rekey(&mut pair, Who::Alice, Rekey::Child);
    pair.run_for(Duration::from_millis(20));
    pair
}

pub(super) fn no_child() -> Pair {
    let mut by_hand = ByHand::established();
    let delete = xvpn_ike::message::Informational::delete_esp(vec![0x1234_5678]);
    by_hand.ask(ExchangeType::INFORMATIONAL, &delete.emit());
    by_hand.pair
}

pub(super) fn too_often() -> Pair {
    let mut mallory = ByHand::established();
    for round in 0..1000_u32 {
        let request = hostile_peer::wanted(0xdead_0000 + round, 0x2000 + round, 1);
        mallory.ask(ExchangeType::CREATE_CHILD_SA, &request.emit());
    }
    mallory.pair
}

/// A hard limit is reached at once, and nothing had the time to take the place of the SA.
pub(super) fn expired() -> Pair {
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

pub(super) fn no_address() -> Pair {
    attempt_with(|alice, _| alice.local = None)
}
