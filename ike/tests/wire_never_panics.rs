//! Whole datagrams: random ones, and good ones with something wrong, through everything that reads the network.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use xvpn_ike::message::{
    AuthRequest, AuthResponse, CreateChildRequest, CreateChildResponse, Informational, InitNotifies,
    InitRequest, InitResponse, Protect, ResumeRequest, ResumeResponse, build_plain, open, seal,
};
use xvpn_ike::wire::payload::{
    AuthMethod, Authentication, Delete, IdType, Identification, KeyExchange, Nonce, Notify, NotifyType,
    Proposal, ProtocolId, Range, SecurityAssociation, Selector, TrafficSelectors, Transform, TransformType,
    VendorId,
};
use xvpn_ike::wire::{Chain, ExchangeType, Flags, Header, IkeSpi, NotAuthentic, PayloadType, Payloads};

/// Finds everything authentic and leaves it as it is: the worst case for the parsers behind it.
struct Believer {
    block: usize,
}

impl Protect for Believer {
    fn iv_len(&self) -> usize {
        8
    }

    fn icv_len(&self) -> usize {
        4
    }

    fn block_len(&self) -> usize {
        self.block
    }

    fn seal(&self, _iv: &[u8], _aad: &[u8], text: &mut Vec<u8>) {
        text.extend([0; 4]);
    }

    fn open(&self, _iv: &[u8], _aad: &[u8], text: &mut [u8]) -> Result<usize, NotAuthentic> {
        text.len().checked_sub(4).ok_or(NotAuthentic)
    }
}

/// Everything that may happen to a datagram. What can be read can be written and read again.
fn read_in_every_way(bytes: &[u8]) {
    if let Ok((header, chain)) = Chain::parse_message(bytes) {
        let _ = format!("{header:?} {chain:?}");
        read_as_every_message(&header, &chain);
    }
    for block in [1, 4, 16] {
        match open(bytes, &Believer { block }) {
            Ok(opened) => match opened.chain() {
                Ok(chain) => read_as_every_message(opened.header(), &chain),
                Err(malformed) => drop((malformed.to_string(), malformed.answer())),
            },
            Err(error) => drop(error.to_string()),
        }
    }
}

fn read_as_every_message(header: &Header, chain: &Chain<'_>) {
    macro_rules! read {
        ($($message:ty),*) => {$(
            match <$message>::parse(chain) {
                Ok(message) => {
                    let again = build_plain(header, &message.emit());
                    let (_, chain) = Chain::parse_message(&again).expect("our own octets");
                    assert_eq!(<$message>::parse(&chain).expect("our own message"), message);
                }
                Err(malformed) => drop((malformed.to_string(), malformed.answer())),
            }
        )*};
    }
    read!(
        InitRequest,
        InitResponse,
        AuthRequest,
        AuthResponse,
        CreateChildRequest,
        CreateChildResponse
    );
    read!(Informational, ResumeRequest, ResumeResponse);
}

/// A header that is right in front of octets that may not be.
fn framed(first: u8, exchange: u8, flags: u8, behind: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1; 16];
    bytes.extend([first, 0x20, exchange, flags, 0, 0, 0, 0]);
    bytes.extend(u32::try_from(28 + behind.len()).expect("short").to_be_bytes());
    bytes.extend(behind);
    bytes
}

/// Payloads whose frames are right, with bodies that may not be.
fn chained(payloads: &[(u8, bool, Vec<u8>)]) -> (u8, Vec<u8>) {
    let mut bytes = Vec::new();
    for (index, (_, critical, body)) in payloads.iter().enumerate() {
        let next = payloads.get(index + 1).map_or(0, |(kind, _, _)| *kind);
        bytes.extend([next, if *critical { 0x80 } else { 0 }]);
        bytes.extend(u16::try_from(4 + body.len()).expect("short").to_be_bytes());
        bytes.extend(body);
    }
    (payloads.first().map_or(0, |(kind, _, _)| *kind), bytes)
}

fn good_request() -> Vec<u8> {
    let transforms = vec![
        Transform::with_key_length(TransformType::ENCRYPTION, 20, 256),
        Transform::new(TransformType::PRF, 5),
        Transform::new(TransformType::KEY_EXCHANGE, 31),
    ];
    let proposal = Proposal {
        number: 1,
        protocol: ProtocolId::IKE,
        spi: vec![],
        transforms,
    };
    let request = InitRequest {
        cookie: Some(vec![1, 2, 3]),
        puzzle_solution: None,
        sa: SecurityAssociation {
            proposals: vec![proposal],
        },
        ke: KeyExchange {
            method: 31,
            data: vec![9; 32],
        },
        nonce: Nonce(vec![8; 32]),
        notifies: InitNotifies {
            nat_detection_source: vec![[1; 20]],
            nat_detection_destination: vec![[2; 20]],
            fragmentation_supported: true,
            puzzle: None,
            signature_hash_algorithms: vec![2, 3, 4],
            intermediate_supported: false,
            other: vec![Notify::new(NotifyType(40961))],
        },
        vendor_ids: vec![VendorId(b"xvpn".to_vec())],
    };
    let header = Header {
        initiator_spi: IkeSpi(1),
        responder_spi: IkeSpi::ZERO,
        exchange: ExchangeType::IKE_SA_INIT,
        flags: Flags {
            initiator: true,
            ..Flags::default()
        },
        message_id: 0,
    };
    build_plain(&header, &request.emit())
}

/// An IKE_AUTH request with a bit of everything, in an SK payload that [`Believer`] reads.
fn good_sealed_request() -> Vec<u8> {
    let transforms = vec![Transform::with_key_length(TransformType::ENCRYPTION, 20, 256)];
    let proposal = Proposal {
        number: 1,
        protocol: ProtocolId::ESP,
        spi: vec![1, 2, 3, 4],
        transforms,
    };
    let (v4, v6) = (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
    let selectors = TrafficSelectors(vec![
        Selector::Ipv4(Range::addresses(v4, v4)),
        Selector::Ipv6(Range::addresses(v6, v6)),
    ]);
    let mut payloads = Payloads::new();
    payloads.push(PayloadType::DELETE, &Delete::Esp(vec![256, 257]));
    payloads.push(PayloadType::NOTIFY, &Notify::of_esp(NotifyType::REKEY_SA, 258));
    payloads.push(
        PayloadType::IDI,
        &Identification::new(IdType::FQDN, b"alice".to_vec()),
    );
    payloads.push(
        PayloadType::AUTH,
        &Authentication {
            method: AuthMethod::PSK,
            data: vec![6; 32],
        },
    );
    payloads.push(
        PayloadType::SA,
        &SecurityAssociation {
            proposals: vec![proposal],
        },
    );
    payloads.push(PayloadType::NONCE, &Nonce(vec![8; 32]));
    payloads.push(PayloadType::TSI, &selectors);
    payloads.push(PayloadType::TSR, &selectors);
    let header = Header {
        initiator_spi: IkeSpi(1),
        responder_spi: IkeSpi(2),
        exchange: ExchangeType::IKE_AUTH,
        flags: Flags {
            initiator: true,
            ..Flags::default()
        },
        message_id: 1,
    };
    seal(&header, &payloads, &Believer { block: 1 }, &[0; 8])
}

#[test]
fn reads_the_good_requests_as_what_they_are() {
    let plain = good_request();
    let (_, chain) = Chain::parse_message(&plain).expect("a good request");
    assert!(InitRequest::parse(&chain).is_ok());
    let opened = open(&good_sealed_request(), &Believer { block: 1 }).expect("a good request");
    let chain = opened.chain().expect("a good request");
    assert!(AuthRequest::parse(&chain).is_ok() && CreateChildRequest::parse(&chain).is_ok());
}

#[test]
fn reads_every_prefix_of_a_good_request() {
    let good = good_request();
    for end in 0..=good.len() {
        read_in_every_way(&good[..end]);
        // The same with a length field that agrees, so that the payloads are reached.
        if let Some(behind) = good.get(28..end) {
            read_in_every_way(&framed(good[16], 34, 8, behind));
        }
    }
}

#[test]
fn reads_a_good_request_with_any_octet_at_its_limits() {
    for good in [good_request(), good_sealed_request()] {
        for at in 0..good.len() {
            for value in [0, 1, 2, 3, 4, 0x7f, 0x80, 0xff] {
                let mut bytes = good.clone();
                bytes[at] = value;
                read_in_every_way(&bytes);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_octets(bytes in vec(any::<u8>(), 0..600)) {
        read_in_every_way(&bytes);
    }

    #[test]
    fn any_octets_behind_a_good_header(first: u8, exchange: u8, flags: u8, behind in vec(any::<u8>(), 0..400)) {
        read_in_every_way(&framed(first, exchange, flags, &behind));
    }

    #[test]
    fn any_bodies_in_a_good_chain(
        payloads in vec((33u8..=54, prop::bool::weighted(0.02), vec(any::<u8>(), 0..60)), 0..8),
        exchange in 34u8..=37,
    ) {
        let (first, chain) = chained(&payloads);
        read_in_every_way(&framed(first, exchange, 8, &chain));
        // The same inside an SK payload: IV, chain, pad length, ICV.
        let mut sk = vec![first, 0];
        sk.extend(u16::try_from(4 + 8 + chain.len() + 1 + 4).expect("short").to_be_bytes());
        sk.extend([0; 8]);
        sk.extend(&chain);
        sk.extend([0; 5]);
        read_in_every_way(&framed(46, exchange, 8, &sk));
    }

    #[test]
    fn a_good_request_with_three_wrong_octets(sealed: bool, wrong in vec((any::<Index>(), any::<u8>()), 3)) {
        let mut bytes = if sealed { good_sealed_request() } else { good_request() };
        let length = bytes.len();
        for (at, value) in wrong {
            bytes[at.index(length)] = value;
        }
        read_in_every_way(&bytes);
    }
}
