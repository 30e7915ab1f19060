//! Every payload: what was written is read back, what is read is written back, and no octets make a parser panic.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::*;
use xvpn_ike::wire::Body;
use xvpn_ike::wire::payload::*;

fn octets(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=max)
}

fn attribute() -> impl Strategy<Value = Attribute> {
    let value = prop_oneof![
        any::<u16>().prop_map(AttributeValue::Short),
        octets(12).prop_map(AttributeValue::Long),
    ];
    (0..0x8000u16, value).prop_map(|(kind, value)| Attribute { kind, value })
}

fn transform() -> impl Strategy<Value = Transform> {
    (any::<u8>(), any::<u16>(), vec(attribute(), 0..=3)).prop_map(|(kind, id, attributes)| Transform {
        kind: TransformType(kind),
        id,
        attributes,
    })
}

fn proposal() -> impl Strategy<Value = Proposal> {
    let spi = prop_oneof![Just(vec![]), vec(any::<u8>(), 4), vec(any::<u8>(), 8)];
    (any::<u8>(), any::<u8>(), spi, vec(transform(), 0..=6)).prop_map(
        |(number, protocol, spi, transforms)| Proposal {
            number,
            protocol: ProtocolId(protocol),
            spi,
            transforms,
        },
    )
}

fn security_association() -> impl Strategy<Value = SecurityAssociation> {
    vec(proposal(), 1..=5).prop_map(|proposals| SecurityAssociation { proposals })
}

fn key_exchange() -> impl Strategy<Value = KeyExchange> {
    (any::<u16>(), vec(any::<u8>(), 1..=300)).prop_map(|(method, data)| KeyExchange { method, data })
}

fn identification() -> impl Strategy<Value = Identification> {
    (any::<u8>(), any::<[u8; 3]>(), octets(64)).prop_map(|(kind, reserved, data)| Identification {
        kind: IdType(kind),
        reserved,
        data,
    })
}

fn certificate() -> impl Strategy<Value = Certificate> {
    (any::<u8>(), octets(64)).prop_map(|(encoding, data)| Certificate {
        encoding: CertificateEncoding(encoding),
        data,
    })
}

fn certificate_request() -> impl Strategy<Value = CertificateRequest> {
    (any::<u8>(), octets(64)).prop_map(|(encoding, authorities)| CertificateRequest {
        encoding: CertificateEncoding(encoding),
        authorities,
    })
}

fn authentication() -> impl Strategy<Value = Authentication> {
    (any::<u8>(), octets(64)).prop_map(|(method, data)| Authentication {
        method: AuthMethod(method),
        data,
    })
}

fn nonce() -> impl Strategy<Value = Nonce> {
    vec(any::<u8>(), 16..=256).prop_map(Nonce)
}

fn notify() -> impl Strategy<Value = Notify> {
    (any::<u8>(), octets(16), any::<u16>(), octets(64)).prop_map(|(protocol, spi, kind, data)| Notify {
        protocol: ProtocolId(protocol),
        spi,
        kind: NotifyType(kind),
        data,
    })
}

fn delete() -> impl Strategy<Value = Delete> {
    prop_oneof![
        Just(Delete::Ike),
        vec(any::<u32>(), 0..=9).prop_map(Delete::Esp),
        vec(any::<u32>(), 0..=9).prop_map(Delete::Ah),
    ]
}

fn vendor_id() -> impl Strategy<Value = VendorId> {
    octets(64).prop_map(VendorId)
}

fn range<A: core::fmt::Debug>(address: impl Strategy<Value = A> + Clone) -> impl Strategy<Value = Range<A>> {
    (any::<u8>(), any::<u16>(), any::<u16>(), address.clone(), address).prop_map(
        |(protocol, start_port, end_port, start, end)| Range {
            protocol,
            start_port,
            end_port,
            start,
            end,
        },
    )
}

fn traffic_selectors() -> impl Strategy<Value = TrafficSelectors> {
    let unknown = (any::<u8>(), any::<u8>(), octets(20))
        .prop_filter("known types are not unknown", |(kind, _, _)| {
            !matches!(kind, 7 | 8)
        })
        .prop_map(|(kind, second, data)| Selector::Unknown { kind, second, data });
    let selector = prop_oneof![
        range(any::<u32>().prop_map(Ipv4Addr::from)).prop_map(Selector::Ipv4),
        range(any::<u128>().prop_map(Ipv6Addr::from)).prop_map(Selector::Ipv6),
        unknown,
    ];
    vec(selector, 0..=9).prop_map(TrafficSelectors)
}

fn configuration() -> impl Strategy<Value = Configuration> {
    (any::<u8>(), octets(64)).prop_map(|(kind, attributes)| Configuration {
        kind: ConfigurationType(kind),
        attributes,
    })
}

macro_rules! the_same_for_each {
    ($($payload:ident: $type:ty;)*) => {$(
        mod $payload {
            use super::*;

            proptest! {
                #[test]
                fn reads_back_what_was_written(value in super::$payload()) {
                    let octets = value.to_bytes();
                    let read = <$type>::parse(&octets).expect("our own octets");
                    prop_assert_eq!(&read, &value);
                    prop_assert_eq!(read.to_bytes(), octets);
                }

                #[test]
                fn refuses_or_accepts_a_prefix_without_panic(value in super::$payload(), cut in any::<prop::sample::Index>()) {
                    let octets = value.to_bytes();
                    let end = cut.index(octets.len() + 1);
                    let _ = <$type>::parse(&octets[..end]);
                }

                #[test]
                fn survives_one_wrong_octet(
                    value in super::$payload(),
                    at in any::<prop::sample::Index>(),
                    wrong in any::<u8>(),
                ) {
                    let mut octets = value.to_bytes();
                    if !octets.is_empty() {
                        let at = at.index(octets.len());
                        octets[at] = wrong;
                    }
                    if let Ok(read) = <$type>::parse(&octets) {
                        // Whatever was understood is written in its one canonical form.
                        let canonical = read.to_bytes();
                        prop_assert_eq!(canonical.len(), octets.len());
                        prop_assert_eq!(<$type>::parse(&canonical).expect("our own octets"), read);
                    }
                }

                #[test]
                fn survives_any_octets(octets in super::octets(400)) {
                    if let Ok(read) = <$type>::parse(&octets) {
                        prop_assert_eq!(<$type>::parse(&read.to_bytes()).expect("our own octets"), read);
                    }
                }
            }
        }
    )*};
}

the_same_for_each! {
    security_association: SecurityAssociation;
    key_exchange: KeyExchange;
    identification: Identification;
    certificate: Certificate;
    certificate_request: CertificateRequest;
    authentication: Authentication;
    nonce: Nonce;
    notify: Notify;
    delete: Delete;
    vendor_id: VendorId;
    traffic_selectors: TrafficSelectors;
    configuration: Configuration;
}
