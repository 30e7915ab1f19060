//! A datagram as an IKE message: header, chain, and every typed message that could be made of it.
#![no_main]
use libfuzzer_sys::fuzz_target;
use xvpn_ike::message::{auth, create_child, informational, init};
use xvpn_ike::wire::chain::Chain;

fuzz_target!(|datagram: &[u8]| {
    let Ok((_, chain)) = Chain::parse_message(datagram) else { return };
    let _ = init::InitRequest::parse(&chain);
    let _ = init::InitResponse::parse(&chain);
    let _ = auth::AuthRequest::parse(&chain);
    let _ = auth::AuthResponse::parse(&chain);
    let _ = create_child::CreateChildRequest::parse(&chain);
    let _ = create_child::CreateChildResponse::parse(&chain);
    let _ = informational::Informational::parse(&chain);
});
