//! The typed messages: what each demands, what each forgives, and that each is read as it was written.

use std::net::Ipv4Addr;

use xvpn_ike::message::{
    AuthAccepted, AuthRequest, AuthResponse, ChildAnswer, ChildOffer, CreateChildRequest,
    CreateChildResponse, Informational, InitAccepted, InitNotifies, InitRequest, InitResponse, NewChild,
    NewIke, build_plain, only_notify,
};
use xvpn_ike::wire::payload::{
    AuthMethod, Authentication, Configuration, ConfigurationType, Delete, IdType, Identification,
    KeyExchange, Nonce, Notify, NotifyType, Proposal, ProtocolId, Range, SecurityAssociation, Selector,
    TrafficSelectors, Transform, TransformType, VendorId,
};
use xvpn_ike::wire::{Chain, ExchangeType, Fault, Flags, Header, IkeSpi, Malformed, PayloadType, Payloads};

/// Puts payloads on the wire and reads them as a message.
fn over_the_wire<T>(
    payloads: &Payloads,
    parse: impl Fn(&Chain<'_>) -> Result<T, Malformed>,
) -> Result<T, Malformed> {
    let header = Header {
        initiator_spi: IkeSpi(1),
        responder_spi: IkeSpi(2),
        exchange: ExchangeType::INFORMATIONAL,
        flags: Flags::default(),
        message_id: 1,
    };
    let bytes = build_plain(&header, payloads);
    let (_, chain) = Chain::parse_message(&bytes).expect("our own octets");
    parse(&chain)
}

fn sa(protocol: ProtocolId, spi: &[u8]) -> SecurityAssociation {
    let transforms = vec![Transform::with_key_length(TransformType::ENCRYPTION, 20, 256)];
    SecurityAssociation {
        proposals: vec![Proposal {
            number: 1,
            protocol,
            spi: spi.to_vec(),
            transforms,
        }],
    }
}

fn ke() -> KeyExchange {
    KeyExchange {
        method: 31,
        data: vec![4; 32],
    }
}

fn nonce() -> Nonce {
    Nonce(vec![5; 32])
}

fn selectors(third: u8) -> TrafficSelectors {
    let range = Range::addresses(Ipv4Addr::new(10, third, 0, 0), Ipv4Addr::new(10, third, 255, 255));
    TrafficSelectors(vec![Selector::Ipv4(range)])
}

fn child() -> ChildOffer {
    ChildOffer {
        sa: sa(ProtocolId::ESP, &[1, 2, 3, 4]),
        tsi: selectors(1),
        tsr: selectors(2),
        transport_mode: false,
        no_tfc_padding: true,
        aggfrag: None,
    }
}

fn init_request() -> InitRequest {
    InitRequest {
        cookie: None,
        puzzle_solution: None,
        sa: sa(ProtocolId::IKE, &[]),
        ke: ke(),
        nonce: nonce(),
        notifies: InitNotifies {
            nat_detection_source: vec![[1; 20], [2; 20]],
            nat_detection_destination: vec![[3; 20]],
            fragmentation_supported: true,
            puzzle: None,
            signature_hash_algorithms: vec![2, 3],
            intermediate_supported: true,
            other: vec![Notify::new(NotifyType(50_000))],
        },
        vendor_ids: vec![VendorId(b"somebody".to_vec())],
    }
}

fn identity(name: &str) -> Identification {
    Identification::new(IdType::FQDN, name.as_bytes().to_vec())
}

fn proof() -> Authentication {
    Authentication {
        method: AuthMethod::PSK,
        data: vec![6; 32],
    }
}

fn auth_request() -> AuthRequest {
    AuthRequest {
        idi: identity("alice"),
        idr: Some(identity("bob")),
        auth: proof(),
        certificates: vec![],
        certificate_requests: vec![],
        initial_contact: true,
        mobike_supported: true,
        child: Some(child()),
        wants_configuration: false,
        other: vec![],
    }
}

fn auth_accepted(child: ChildAnswer) -> AuthResponse {
    AuthResponse::Accepted(Box::new(AuthAccepted {
        idr: identity("bob"),
        auth: proof(),
        certificates: vec![],
        mobike_supported: false,
        child,
        other: vec![Notify::new(NotifyType::ADDITIONAL_TS_POSSIBLE)],
    }))
}

#[test]
fn reads_an_init_request_as_it_was_written() {
    let mut request = init_request();
    assert_eq!(
        over_the_wire(&request.emit(), InitRequest::parse),
        Ok(request.clone())
    );
    request.cookie = Some(vec![7; 64]);
    assert_eq!(
        over_the_wire(&request.emit(), InitRequest::parse),
        Ok(request.clone())
    );
    assert_eq!(
        request.emit().first(),
        PayloadType::NOTIFY,
        "RFC 7296 2.6: the cookie comes first"
    );
}

#[test]
fn demands_sa_ke_and_nonce_once_each_in_an_init_request() {
    let all = [PayloadType::SA, PayloadType::KE, PayloadType::NONCE];
    let push = |payloads: &mut Payloads, kind| match kind {
        PayloadType::SA => payloads.push(kind, &sa(ProtocolId::IKE, &[])),
        PayloadType::KE => payloads.push(kind, &ke()),
        kind => payloads.push(kind, &nonce()),
    };
    for special in all {
        let (mut without, mut twice) = (Payloads::new(), Payloads::new());
        all.iter()
            .filter(|kind| **kind != special)
            .for_each(|kind| push(&mut without, *kind));
        all.iter()
            .chain([&special])
            .for_each(|kind| push(&mut twice, *kind));
        let missing = over_the_wire(&without, InitRequest::parse).unwrap_err();
        assert_eq!(missing, Malformed::missing(special));
        let duplicate = over_the_wire(&twice, InitRequest::parse).unwrap_err();
        assert_eq!(duplicate.fault, Fault::Duplicate(special));
    }
    let text = Malformed::missing(PayloadType::KE).to_string();
    assert_eq!(text, "the KE payload is missing");
}

#[test]
fn refuses_notify_data_of_the_wrong_length() {
    for (kind, data) in [
        (NotifyType::NAT_DETECTION_SOURCE_IP, vec![0; 19]),
        (NotifyType::NAT_DETECTION_DESTINATION_IP, vec![]),
        (NotifyType::SIGNATURE_HASH_ALGORITHMS, vec![0; 3]),
        (NotifyType::COOKIE, vec![]),
        (NotifyType::COOKIE, vec![0; 65]),
    ] {
        let mut payloads = init_request().emit();
        payloads.push(PayloadType::NOTIFY, &Notify::with_data(kind, data));
        let error = over_the_wire(&payloads, InitRequest::parse).unwrap_err();
        assert!(matches!(error.fault, Fault::Length { .. }), "{kind}");
    }
}

#[test]
fn ignores_errors_and_foreign_payloads_in_an_init_request() {
    let mut payloads = init_request().emit();
    payloads.push(PayloadType::NOTIFY, &Notify::new(NotifyType::NO_PROPOSAL_CHOSEN));
    payloads.push(PayloadType::DELETE, &Delete::Ike);
    assert_eq!(over_the_wire(&payloads, InitRequest::parse), Ok(init_request()));
}

#[test]
fn reads_every_init_response_as_it_was_written() {
    let InitRequest {
        sa,
        ke,
        nonce,
        notifies,
        vendor_ids,
        ..
    } = init_request();
    for response in [
        InitResponse::Accepted(Box::new(InitAccepted {
            sa,
            ke,
            nonce,
            notifies,
            vendor_ids,
            certificate_requests: Vec::new(),
        })),
        InitResponse::Cookie(vec![1]),
        InitResponse::InvalidKe(14),
        InitResponse::NoProposalChosen,
        InitResponse::OtherError(NotifyType::INVALID_MAJOR_VERSION),
        InitResponse::OtherError(NotifyType(9999)),
    ] {
        assert_eq!(over_the_wire(&response.emit(), InitResponse::parse), Ok(response));
    }
    let status_only = only_notify(&Notify::new(NotifyType::INITIAL_CONTACT));
    let error = over_the_wire(&status_only, InitResponse::parse).unwrap_err();
    assert_eq!(error, Malformed::missing(PayloadType::SA));
    let no_method = only_notify(&Notify::new(NotifyType::INVALID_KE_PAYLOAD));
    assert!(over_the_wire(&no_method, InitResponse::parse).is_err());
}

#[test]
fn reads_an_auth_request_as_it_was_written() {
    assert_eq!(
        over_the_wire(&auth_request().emit(), AuthRequest::parse),
        Ok(auth_request())
    );
    let plain = AuthRequest {
        idr: None,
        initial_contact: false,
        mobike_supported: false,
        ..auth_request()
    };
    assert_eq!(over_the_wire(&plain.emit(), AuthRequest::parse), Ok(plain));
    let childless = AuthRequest {
        child: None,
        ..auth_request()
    };
    assert_eq!(
        over_the_wire(&childless.emit(), AuthRequest::parse),
        Ok(childless)
    );
}

#[test]
fn notices_that_the_peer_wants_an_address() {
    let mut payloads = auth_request().emit();
    let request = Configuration {
        kind: ConfigurationType::REQUEST,
        attributes: vec![],
    };
    payloads.push(PayloadType::CP, &request);
    assert!(
        over_the_wire(&payloads, AuthRequest::parse)
            .unwrap()
            .wants_configuration
    );
}

#[test]
fn demands_a_proof_and_a_child_in_an_auth_request() {
    let mut payloads = Payloads::new();
    payloads.push(PayloadType::IDI, &identity("alice"));
    let error = |payloads: &Payloads| over_the_wire(payloads, AuthRequest::parse).unwrap_err();
    // RFC 6023 5: a CHILD SA may be left out, but not half of it.
    assert_eq!(error(&payloads), Malformed::missing(PayloadType::AUTH));
    payloads.push(PayloadType::SA, &sa(ProtocolId::ESP, &[1; 4]));
    assert_eq!(error(&payloads), Malformed::missing(PayloadType::TSI));
    payloads.push(PayloadType::TSI, &selectors(1));
    payloads.push(PayloadType::TSR, &selectors(2));
    assert_eq!(error(&payloads), Malformed::missing(PayloadType::AUTH));
    payloads.push(PayloadType::AUTH, &proof());
    assert!(over_the_wire(&payloads, AuthRequest::parse).is_ok());
    payloads.push(PayloadType::IDI, &identity("eve"));
    assert_eq!(error(&payloads).fault, Fault::Duplicate(PayloadType::IDI));
}

#[test]
fn tells_a_refused_ike_sa_from_a_refused_child_sa() {
    for response in [
        auth_accepted(ChildAnswer::Accepted(child())),
        auth_accepted(ChildAnswer::Refused(Notify::new(NotifyType::TS_UNACCEPTABLE))),
        auth_accepted(ChildAnswer::Refused(Notify::new(NotifyType(8000)))),
        auth_accepted(ChildAnswer::Absent),
        AuthResponse::Refused(Notify::new(NotifyType::AUTHENTICATION_FAILED)),
    ] {
        assert_eq!(over_the_wire(&response.emit(), AuthResponse::parse), Ok(response));
    }
    let nothing = over_the_wire(&Payloads::new(), AuthResponse::parse).unwrap_err();
    assert!(
        matches!(nothing.fault, Fault::Missing(_)),
        "neither a proof nor an error"
    );
}

#[test]
fn reads_every_create_child_message_as_it_was_written() {
    let new = |ke| NewChild {
        offer: child(),
        nonce: nonce(),
        ke,
        other: vec![],
    };
    let ike = NewIke {
        sa: sa(ProtocolId::IKE, &[9; 8]),
        nonce: nonce(),
        ke: ke(),
        other: Vec::new(),
    };
    for request in [
        CreateChildRequest::Child {
            rekeyed: None,
            child: new(None),
        },
        CreateChildRequest::Child {
            rekeyed: Some(0xdead_beef),
            child: new(Some(ke())),
        },
        CreateChildRequest::RekeyIke(ike.clone()),
    ] {
        assert_eq!(
            over_the_wire(&request.emit(), CreateChildRequest::parse),
            Ok(request)
        );
    }
    for response in [
        CreateChildResponse::Child(new(Some(ke()))),
        CreateChildResponse::RekeyIke(ike),
        CreateChildResponse::Refused(Notify::new(NotifyType::NO_ADDITIONAL_SAS)),
    ] {
        assert_eq!(
            over_the_wire(&response.emit(), CreateChildResponse::parse),
            Ok(response)
        );
    }
}

#[test]
fn demands_a_key_exchange_to_rekey_the_ike_sa_and_selectors_for_a_child() {
    let mut payloads = Payloads::new();
    payloads.push(PayloadType::SA, &sa(ProtocolId::IKE, &[9; 8]));
    payloads.push(PayloadType::NONCE, &nonce());
    let error = over_the_wire(&payloads, CreateChildRequest::parse).unwrap_err();
    assert_eq!(error, Malformed::missing(PayloadType::KE));
    let mut payloads = Payloads::new();
    payloads.push(PayloadType::SA, &sa(ProtocolId::ESP, &[9; 4]));
    payloads.push(PayloadType::NONCE, &nonce());
    let error = over_the_wire(&payloads, CreateChildRequest::parse).unwrap_err();
    assert_eq!(error, Malformed::missing(PayloadType::TSI));
}

#[test]
fn refuses_a_rekey_of_no_sa_or_of_two() {
    let offer = NewChild {
        offer: child(),
        nonce: nonce(),
        ke: None,
        other: vec![],
    };
    let good = CreateChildRequest::Child {
        rekeyed: Some(7),
        child: offer,
    };
    let mut twice = good.emit();
    twice.push(PayloadType::NOTIFY, &Notify::of_esp(NotifyType::REKEY_SA, 8));
    assert!(over_the_wire(&twice, CreateChildRequest::parse).is_err());
    let mut without_spi = only_notify(&Notify::new(NotifyType::REKEY_SA));
    without_spi.push(PayloadType::SA, &sa(ProtocolId::ESP, &[9; 4]));
    assert!(over_the_wire(&without_spi, CreateChildRequest::parse).is_err());
}

#[test]
fn reads_every_informational_message_as_it_was_written() {
    for message in [
        Informational::liveness(),
        Informational::delete_ike(),
        Informational::delete_esp(vec![0x100, 0x200]),
        Informational {
            notifies: vec![Notify::new(NotifyType::AUTHENTICATION_FAILED)],
            ..Informational::default()
        },
    ] {
        assert_eq!(over_the_wire(&message.emit(), Informational::parse), Ok(message));
    }
    assert!(Informational::liveness().is_empty() && !Informational::delete_ike().is_empty());
}

#[test]
fn joins_several_deletes_and_ignores_those_of_ah() {
    let mut payloads = Payloads::new();
    payloads.push(PayloadType::DELETE, &Delete::Esp(vec![1]));
    payloads.push(PayloadType::DELETE, &Delete::Ah(vec![2]));
    payloads.push(PayloadType::DELETE, &Delete::Esp(vec![3]));
    let message = over_the_wire(&payloads, Informational::parse).unwrap();
    assert_eq!(message, Informational::delete_esp(vec![1, 3]));
}
