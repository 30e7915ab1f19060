//! The header and the chain of payloads, octet by octet (RFC 7296 2.5, 3.1, 3.2).

use xvpn_ike::wire::payload::{Nonce, Notify, NotifyType, SecurityAssociation, VendorId};
use xvpn_ike::wire::{
    Chain, ExchangeType, Fault, Flags, Header, IkeSpi, Malformed, Payload, PayloadType, Payloads,
};

/// HDR(IKE_SA_INIT, I) with a Nonce and a Vendor ID payload.
#[rustfmt::skip]
const MESSAGE: [u8; 56] = [
    1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0,
    40, 0x20, 34, 0x08, 0, 0, 0, 0, 0, 0, 0, 56,
    43, 0, 0, 20, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9,
    0, 0, 0, 8, b'x', b'v', b'p', b'n',
];

#[test]
fn reads_a_header_and_its_chain() {
    let (header, chain) = Chain::parse_message(&MESSAGE).unwrap();
    let expected = Header {
        initiator_spi: IkeSpi(0x0102_0304_0506_0708),
        responder_spi: IkeSpi::ZERO,
        exchange: ExchangeType::IKE_SA_INIT,
        flags: Flags {
            initiator: true,
            ..Flags::default()
        },
        message_id: 0,
    };
    assert_eq!(header, expected);
    let kinds: Vec<(PayloadType, usize)> = chain
        .iter()
        .map(|payload| (payload.kind, payload.offset))
        .collect();
    assert_eq!(kinds, [(PayloadType::NONCE, 32), (PayloadType::VENDOR_ID, 52)]);
    let nonce: Nonce = chain
        .find(PayloadType::NONCE)
        .map(Payload::read)
        .unwrap()
        .unwrap();

    let mut payloads = Payloads::new();
    payloads.push(PayloadType::NONCE, &nonce);
    payloads.push(PayloadType::VENDOR_ID, &VendorId(b"xvpn".to_vec()));
    assert_eq!(xvpn_ike::message::build_plain(&header, &payloads), MESSAGE);
}

#[track_caller]
fn changed(changes: &[(usize, u8)]) -> Malformed {
    let mut octets = MESSAGE;
    for (at, value) in changes {
        octets[*at] = *value;
    }
    Chain::parse_message(&octets).expect_err("this message is wrong")
}

#[test]
fn refuses_a_length_that_is_not_the_datagrams() {
    assert_eq!(
        changed(&[(27, 55)]).fault,
        Fault::Length {
            what: "the message length",
            length: 55
        }
    );
    assert_eq!(
        changed(&[(27, 57)]).fault,
        Fault::Length {
            what: "the message length",
            length: 57
        }
    );
    assert!(matches!(
        Header::parse(&MESSAGE[..27]).unwrap_err().fault,
        Fault::Truncated { .. }
    ));
}

#[test]
fn tells_ikev1_and_the_future_from_ikev2() {
    let old = changed(&[(17, 0x10)]);
    assert_eq!(old.fault, Fault::MajorVersion(1));
    assert_eq!(
        old.to_string(),
        "the peer speaks IKE version 1, not IKEv2 (octet 17)"
    );
    assert_eq!(
        changed(&[(17, 0x30)]).answer().kind,
        NotifyType::INVALID_MAJOR_VERSION
    );
    let mut newer_minor = MESSAGE;
    newer_minor[17] = 0x2f;
    assert!(
        Chain::parse_message(&newer_minor).is_ok(),
        "RFC 7296 2.5: minor versions are ignored"
    );
}

#[test]
fn refuses_an_initiator_spi_of_zero() {
    let zeros: Vec<(usize, u8)> = (0..8).map(|at| (at, 0)).collect();
    assert_eq!(
        changed(&zeros).fault,
        Fault::Value {
            what: "the initiator's SPI",
            value: 0
        }
    );
}

#[test]
fn skips_unknown_payloads_unless_they_are_critical() {
    let mut octets = MESSAGE;
    octets[28] = 99; // the Vendor ID becomes something from the future
    let (_, chain) = Chain::parse_message(&octets).unwrap();
    assert_eq!(chain.len(), 1);
    octets[49] = 0x80;
    let error = Chain::parse_message(&octets).unwrap_err();
    assert_eq!(error.fault, Fault::UnsupportedCritical(PayloadType(99)));
    assert_eq!(
        error.answer(),
        Notify::with_data(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, vec![99])
    );
}

#[test]
fn ignores_the_critical_bit_of_known_payloads_and_reserved_bits() {
    let mut octets = MESSAGE;
    octets[29] = 0xff;
    octets[49] = 0xff;
    octets[19] |= 0xc7;
    assert_eq!(Chain::parse_message(&octets).unwrap().1.len(), 2);
}

#[test]
fn refuses_a_broken_chain() {
    assert!(
        matches!(changed(&[(28, 0)]).fault, Fault::Trailing { octets: 8, .. }),
        "something behind the end"
    );
    assert!(
        matches!(changed(&[(48, 43)]).fault, Fault::Truncated { .. }),
        "a payload is announced, none there"
    );
    assert_eq!(
        changed(&[(31, 3)]).fault,
        Fault::Length {
            what: "the payload length",
            length: 3
        }
    );
    let long = changed(&[(31, 29)]);
    assert!(matches!(long.fault, Fault::Truncated { .. }));
    assert_eq!(long.payload, Some(PayloadType::NONCE));
}

#[test]
fn refuses_more_payloads_than_anyone_needs() {
    let one_too_many: Vec<u8> = [43, 0, 0, 4].repeat(Chain::LIMIT + 1);
    let error = Chain::parse(PayloadType::VENDOR_ID, &one_too_many, 0).unwrap_err();
    assert_eq!(
        error.fault,
        Fault::TooMany {
            what: "payloads",
            limit: Chain::LIMIT
        }
    );
}

#[test]
fn tells_the_place_of_a_fault_in_the_message() {
    let mut octets = MESSAGE;
    octets[16] = 33; // the nonce is read as an SA
    let (_, chain) = Chain::parse_message(&octets).unwrap();
    let error = chain
        .iter()
        .next()
        .unwrap()
        .read::<SecurityAssociation>()
        .unwrap_err();
    assert_eq!((error.payload, error.offset), (Some(PayloadType::SA), 32));
    assert_eq!(
        error.to_string(),
        "Last Substruc of a proposal must not be 9 (in the SA payload, octet 32)"
    );
}
