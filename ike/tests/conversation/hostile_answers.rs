//! Nonsense in answer to our wish to replace an SA. What stands goes on, what may be there on the other side is deleted, the
//! operator is told, and it is tried again. Only what cannot be read ends the IKE SA (RFC 7296 2.21.3).

use std::time::Duration;

use xvpn_ike::api::{Rekey, Spi};
use xvpn_ike::config::{ConnectionConfig, EndpointConfig};
use xvpn_ike::error::Cause;
use xvpn_ike::message::{
    CreateChildRequest, CreateChildResponse, FollowUpResponse, Informational, NewChild, NewIke, Opened,
};
use xvpn_ike::negotiate::offer::esp_offer;
use xvpn_ike::testing::{Faults, Pair, Who, config};
use xvpn_ike::wire::payload::{KeyExchange, Nonce, Notify, NotifyType};
use xvpn_ike::wire::{ExchangeType, PayloadType, Payloads};

use super::by_hand::ByHand;
use super::count;
use super::hostile_peer::{asked, failed, idle, sent};

const PFS: &str = "aes256gcm16-esn-x25519";
const HYBRID: &str = "aes256gcm16-esn-x25519-ke1_mlkem768";

fn mallory(esp: &str) -> ByHand {
    let with = |who| ConnectionConfig {
        esp_proposals: vec![esp.parse().unwrap()],
        // Each message in one datagram.
        fragment_size: 4000,
        ..config(who)
    };
    let endpoint = EndpointConfig::default();
    let pair = Pair::with(11, Faults::NONE, endpoint, with(Who::Alice), with(Who::Bob));
    ByHand::established_with(pair)
}

/// What Bob offered.
fn child(request: &Opened) -> NewChild {
    match CreateChildRequest::parse(&request.chain().unwrap()).unwrap() {
        CreateChildRequest::Child { child, .. } => child,
        CreateChildRequest::RekeyIke(_) => panic!("an IKE SA"),
    }
}

fn ike(request: &Opened) -> NewIke {
    match CreateChildRequest::parse(&request.chain().unwrap()).unwrap() {
        CreateChildRequest::RekeyIke(new) => new,
        CreateChildRequest::Child { .. } => panic!("a CHILD SA"),
    }
}

/// What an honest peer would answer, but for its public value, with a change.
fn answer(offer: NewChild, esp: &str, change: impl Fn(&mut NewChild)) -> Payloads {
    let mut answer = offer;
    answer.offer.sa = esp_offer(&[esp.parse().unwrap()], Spi(0x4000));
    answer.nonce = Nonce(vec![9; 32]);
    change(&mut answer);
    CreateChildResponse::Child(answer).emit()
}

/// Bob's tunnel stands as before, he deletes on the other side what he cannot use, and tries again within two minutes.
fn goes_on(mallory: &mut ByHand, before: Option<Spi>, what: Rekey) {
    let bob = &mallory.pair.bob;
    let told = failed(bob);
    assert!(
        matches!(
            told.as_slice(),
            [(Cause::InvalidSyntax { .. } | Cause::BadPublicValue, true)]
        ),
        "{told:?}"
    );
    assert_eq!(bob.sending(), before);
    assert_eq!(bob.endpoint.spis_in_use(), (1, 1));
    bob.endpoint.audit().unwrap();
    let end = mallory.pair.clock.now() + Duration::from_secs(120);
    let mut again = 0;
    while mallory.pair.clock.now() < end && again == 0 {
        idle(mallory, Duration::from_secs(1));
        // A request in flight holds an SPI of what it asks for.
        let in_use = mallory.pair.bob.endpoint.spis_in_use();
        again = match what {
            Rekey::Child => in_use.1 - 1,
            Rekey::Ike => in_use.0 - 1,
        };
    }
    assert_eq!(again, 1, "it is tried again");
    assert_eq!(count(&mallory.pair.bob, "ike closed"), 0);
}

#[test]
fn a_child_sa_that_was_not_asked_for_does_not_end_the_tunnel() {
    type Change = Box<dyn Fn(&mut NewChild)>;
    let changes: Vec<(&str, &str, Change)> = vec![
        (
            "another proposal than offered",
            "aes128gcm16-esn-x25519",
            Box::new(|_| {}),
        ),
        (
            "a proposal without the group",
            "aes256gcm16-esn",
            Box::new(|_| {}),
        ),
        ("no key exchange", PFS, Box::new(|new| new.ke = None)),
        (
            "a key exchange of another group",
            PFS,
            Box::new(|new| {
                new.ke = Some(KeyExchange {
                    method: 19,
                    data: vec![4; 64],
                });
            }),
        ),
        (
            "a public value that is none",
            PFS,
            Box::new(|new| {
                new.ke = Some(KeyExchange {
                    method: 31,
                    data: vec![0; 32],
                });
            }),
        ),
        (
            "selectors that are wider than asked for",
            PFS,
            Box::new(|new| {
                let away = ["10.0.0.0/8".parse::<ipnet::IpNet>().unwrap().into()];
                new.offer.tsi = xvpn_ike::negotiate::selector::to_payload(&away);
            }),
        ),
        (
            "the SPI of the old one",
            PFS,
            Box::new(|new| {
                let spi = Spi(super::hostile_peer::FIRST);
                new.offer.sa = esp_offer(&[PFS.parse().unwrap()], spi);
            }),
        ),
    ];
    for (name, esp, change) in changes {
        eprintln!("{name}");
        let mut mallory = mallory(PFS);
        let before = mallory.pair.bob.sending();
        let request = asked(&mut mallory, Rekey::Child);
        let payloads = answer(child(&request), esp, change);
        let outputs = mallory.respond(&request, &payloads);
        // He deletes what he cannot use.
        let said = sent(&mallory, &outputs);
        let delete = Informational::parse(&said[0].chain().unwrap()).unwrap();
        assert_eq!((said.len(), delete.delete_esp.len()), (1, 1));
        mallory.respond(&said[0], &Informational::default().emit());
        goes_on(&mut mallory, before, Rekey::Child);
    }
}

#[test]
fn an_ike_sa_that_was_not_asked_for_does_not_end_the_tunnel() {
    type Change = fn(&mut NewIke);
    let changes: [(&str, Change); 4] = [
        ("a key exchange of another group", |new| {
            new.ke = KeyExchange {
                method: 19,
                data: vec![4; 64],
            };
        }),
        ("a public value that is none", |new| new.ke.data = vec![0; 32]),
        ("another proposal than offered", |new| {
            let other = ["aes128gcm16-prfsha256-x25519".parse().unwrap()];
            new.sa = xvpn_ike::negotiate::offer::ike_offer(&other, Some(0x77));
        }),
        ("no SPI", |new| {
            new.sa = xvpn_ike::negotiate::offer::ike_offer(&config(Who::Bob).ike_proposals, None);
        }),
    ];
    for (name, change) in changes {
        eprintln!("{name}");
        let mut mallory = mallory(PFS);
        let before = mallory.pair.bob.sending();
        let request = asked(&mut mallory, Rekey::Ike);
        let mut new = ike(&request);
        new.nonce = Nonce(vec![9; 32]);
        change(&mut new);
        mallory.respond(&request, &CreateChildResponse::RekeyIke(new).emit());
        goes_on(&mut mallory, before, Rekey::Ike);
    }
}

#[test]
fn an_answer_about_an_sa_of_the_other_kind_does_not_end_the_tunnel() {
    let mut mallory = mallory(PFS);
    let before = mallory.pair.bob.sending();
    let request = asked(&mut mallory, Rekey::Ike);
    let mut other = super::hostile_peer::asked_child();
    other.nonce = Nonce(vec![9; 32]);
    mallory.respond(&request, &CreateChildResponse::Child(other).emit());
    goes_on(&mut mallory, before, Rekey::Ike);
}

#[test]
fn key_exchanges_that_do_not_go_on_do_not_end_the_tunnel() {
    // No link; then a link, and nonsense for the next key exchange.
    for link in [false, true] {
        let mut mallory = mallory(HYBRID);
        let before = mallory.pair.bob.sending();
        let request = asked(&mut mallory, Rekey::Child);
        let payloads = answer(child(&request), HYBRID, |new| {
            if let Some(ke) = &mut new.ke {
                ke.data = vec![9; 32];
            }
            if link {
                let notify = Notify::with_data(NotifyType::ADDITIONAL_KEY_EXCHANGE, vec![1]);
                new.other.push(notify);
            }
        });
        let mut outputs = mallory.respond(&request, &payloads);
        if link {
            let next = sent(&mallory, &outputs).remove(0);
            assert_eq!(next.header().exchange, ExchangeType::IKE_FOLLOWUP_KE);
            let nonsense = FollowUpResponse::Accepted {
                ke: KeyExchange {
                    method: 19,
                    data: vec![4; 64],
                },
                link: None,
            };
            outputs = mallory.respond(&next, &nonsense.emit());
        }
        let said = sent(&mallory, &outputs);
        let delete = Informational::parse(&said[0].chain().unwrap()).unwrap();
        assert_eq!((said.len(), delete.delete_esp.len()), (1, 1));
        mallory.respond(&said[0], &Informational::default().emit());
        goes_on(&mut mallory, before, Rekey::Child);
    }
}

#[test]
fn an_answer_that_cannot_be_read_ends_the_ike_sa_and_leaves_nothing_behind() {
    for what in [Rekey::Child, Rekey::Ike] {
        for missing in [PayloadType::SA, PayloadType::NONCE] {
            let mut mallory = mallory(PFS);
            let request = asked(&mut mallory, what);
            let mut payloads = Payloads::new();
            if missing != PayloadType::SA {
                let sa = esp_offer(&[PFS.parse().unwrap()], Spi(0x4000));
                payloads.push(PayloadType::SA, &sa);
            }
            // RFC 7296 2.10: a nonce has 16 octets at least.
            payloads.push(PayloadType::NONCE, &Nonce(vec![9; 3]));
            mallory.respond(&request, &payloads);
            let told = failed(&mallory.pair.bob);
            assert!(
                matches!(told.as_slice(), [(Cause::InvalidSyntax { .. }, _)]),
                "{told:?}"
            );
            idle(&mut mallory, Duration::from_secs(100));
            assert!(mallory.pair.bob.is_bare());
            assert_eq!(mallory.pair.bob.endpoint.spis_in_use(), (0, 0));
        }
    }
}

#[test]
fn a_peer_that_does_not_answer_the_last_key_exchange_is_dead_like_any_other_that_is_silent() {
    let mut mallory = mallory(HYBRID);
    let request = asked(&mut mallory, Rekey::Child);
    let payloads = answer(child(&request), HYBRID, |new| {
        if let Some(ke) = &mut new.ke {
            ke.data = vec![9; 32];
        }
        let notify = Notify::with_data(NotifyType::ADDITIONAL_KEY_EXCHANGE, vec![1]);
        new.other.push(notify);
    });
    mallory.respond(&request, &payloads);
    assert_eq!(mallory.pair.bob.endpoint.spis_in_use(), (1, 2));
    idle(&mut mallory, Duration::from_secs(600));
    let told = failed(&mallory.pair.bob);
    assert!(
        matches!(told.as_slice(), [(Cause::NoResponse { .. }, _)]),
        "{told:?}"
    );
    assert!(mallory.pair.bob.is_bare());
    assert_eq!(mallory.pair.bob.endpoint.spis_in_use(), (0, 0));
}
