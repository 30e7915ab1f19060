use super::*;
use crate::testing::{LINK, SeededRandom, name};

const OTHER: ConnectionId = ConnectionId(2);

fn session() -> Session {
    Session {
        sk_d: Zeroizing::new(vec![7; 32]),
        suite: suite(b"aes256gcm16-prfsha256-x25519-ke1_mlkem768").unwrap(),
        ppk: true,
        remote: name("alice.example"),
        policy: [3; 32],
        proven_at: 900,
        valid_until: Some(5000),
        expires: 2000,
    }
}

fn tickets(secrets: &[u8]) -> Tickets {
    Tickets::new(
        secrets
            .iter()
            .map(|octet| Secret::new(vec![*octet; 32]))
            .collect(),
    )
}

fn sealed(now: u64, session: &Session) -> (Serial, Vec<u8>) {
    let mut random = SeededRandom::new(1);
    tickets(&[1]).seal(&mut random, now, session).unwrap()
}

#[test]
fn opens_what_it_sealed_while_it_is_good_and_knows_the_key() {
    let (serial, ticket) = sealed(1000, &session());
    let opened = Some((serial, session()));
    assert_eq!(tickets(&[1]).open(1500, &ticket), opened);
    assert_eq!(tickets(&[2, 1]).open(1999, &ticket), opened, "the key before");
    assert_eq!(tickets(&[1]).open(2000, &ticket), None, "expired");
    assert_eq!(tickets(&[1]).open(999, &ticket), None, "of the future");
    assert_eq!(tickets(&[2]).open(1500, &ticket), None, "of another gateway");
    assert_eq!(tickets(&[]).open(1500, &ticket), None);
    assert!(
        tickets(&[])
            .seal(&mut SeededRandom::new(1), 1000, &session())
            .is_none()
    );
}

#[test]
fn every_suite_comes_out_as_it_went_in() {
    for text in [
        "aes256gcm16-prfsha384-ecp384",
        "chacha20poly1305-prfsha512-modp3072",
        "aes128-sha256-prfsha256-modp2048",
        "aes256gcm16-prfsha256-x25519-ke1_mlkem768-ke2_mlkem1024",
    ] {
        let session = Session {
            suite: suite(text.as_bytes()).unwrap(),
            ppk: false,
            valid_until: None,
            ..session()
        };
        let (serial, ticket) = sealed(1000, &session);
        assert_eq!(
            tickets(&[1]).open(1500, &ticket),
            Some((serial, session)),
            "{text}"
        );
    }
}

#[test]
fn opens_nothing_that_was_changed_or_cut_and_shows_nothing() {
    let (_, ticket) = sealed(1000, &session());
    for bit in 0..ticket.len() * 8 {
        let mut forged = ticket.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(tickets(&[1]).open(1500, &forged), None, "bit {bit}");
    }
    for length in 0..ticket.len() {
        assert_eq!(
            tickets(&[1]).open(1500, &ticket[..length]),
            None,
            "{length} octets"
        );
    }
    assert_eq!(
        tickets(&[1]).open(1500, &[ticket.as_slice(), &[0]].concat()),
        None
    );
    assert!(
        !ticket
            .windows(4)
            .any(|octets| octets == b"alic" || octets == [7; 4])
    );
}

#[test]
fn no_two_tickets_of_one_session_are_alike() {
    let mut gateway = tickets(&[1]);
    let mut random = SeededRandom::new(1);
    let (first, one) = gateway.seal(&mut random, 1000, &session()).unwrap();
    let (second, other) = gateway.seal(&mut random, 1000, &session()).unwrap();
    assert!(first < second && one != other);
}

#[test]
fn a_ticket_is_spent_once_with_all_before_it_and_of_its_connection_only() {
    let mut gateway = tickets(&[1]);
    let mut random = SeededRandom::new(1);
    let mut give = || gateway.seal(&mut random, 1000, &session()).unwrap().0;
    let (first, second, third) = (give(), give(), give());
    assert!(gateway.is_good(LINK, second));
    assert!(gateway.spend(LINK, second));
    assert!(!gateway.spend(LINK, second));
    assert!(!gateway.is_good(LINK, first) && gateway.is_good(LINK, third));
    assert!(!gateway.spend(LINK, first));
    assert!(
        gateway.is_good(LINK, third),
        "an older one does not turn the clock back or on"
    );
    assert!(gateway.is_good(OTHER, first));
}

#[test]
fn a_name_that_is_too_long_for_a_first_message_has_no_ticket() {
    let long = Session {
        remote: Identity::KeyId(vec![1; LONGEST]),
        ..session()
    };
    assert!(
        tickets(&[1])
            .seal(&mut SeededRandom::new(1), 1000, &long)
            .is_none()
    );
}
