//! One payload's body; what parses must survive emit and parse unchanged.
#![no_main]
use libfuzzer_sys::fuzz_target;
use xvpn_ike::wire::payload::Body;
use xvpn_ike::wire::payload::authentication::Authentication;
use xvpn_ike::wire::payload::certificate::{Certificate, CertificateRequest};
use xvpn_ike::wire::payload::configuration::Configuration;
use xvpn_ike::wire::payload::delete::Delete;
use xvpn_ike::wire::payload::identification::Identification;
use xvpn_ike::wire::payload::key_exchange::KeyExchange;
use xvpn_ike::wire::payload::nonce::Nonce;
use xvpn_ike::wire::payload::notify::Notify;
use xvpn_ike::wire::payload::sa::SecurityAssociation;
use xvpn_ike::wire::payload::traffic_selector::TrafficSelectors;
use xvpn_ike::wire::payload::vendor_id::VendorId;
use xvpn_ike::wire::writer::Writer;

fn round_trip<T: Body + PartialEq + std::fmt::Debug>(body: &[u8]) {
    let Ok(parsed) = T::parse(body) else { return };
    let mut out = Writer::new();
    parsed.emit(&mut out);
    let again = T::parse(&out.into_bytes()).expect("what we emit parses");
    assert_eq!(parsed, again);
}

fuzz_target!(|data: &[u8]| {
    let Some((which, body)) = data.split_first() else { return };
    match which % 12 {
        0 => round_trip::<Authentication>(body),
        1 => round_trip::<Certificate>(body),
        2 => round_trip::<CertificateRequest>(body),
        3 => round_trip::<Configuration>(body),
        4 => round_trip::<Delete>(body),
        5 => round_trip::<Identification>(body),
        6 => round_trip::<KeyExchange>(body),
        7 => round_trip::<Nonce>(body),
        8 => round_trip::<Notify>(body),
        9 => round_trip::<SecurityAssociation>(body),
        10 => round_trip::<TrafficSelectors>(body),
        _ => round_trip::<VendorId>(body),
    }
});
