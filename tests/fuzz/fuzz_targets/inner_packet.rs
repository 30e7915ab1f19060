//! Octets from the TUN through the outbound pipeline; what is sent must arrive at the other side unchanged in number.
#![no_main]
use libfuzzer_sys::fuzz_target;
use xvpn_dataplane::Suite;
use xvpn_fuzz::gateway::Gateway;

fuzz_target!(|data: &[u8]| {
    if data.len() > 9000 {
        return;
    }
    let mut gateway = Gateway::new(Suite::AesGcm128, true);
    let sent: Vec<Vec<u8>> = gateway.send(data).iter().map(|p| p.octets().to_vec()).collect();
    for octets in &sent {
        assert!(octets.len() + 28 <= 1500, "longer than the path: {}", octets.len());
        assert_eq!(gateway.receive(octets).len(), 1, "the peer refuses what we sent");
    }
});
