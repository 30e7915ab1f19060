//! Octets from the wire through the inbound pipeline: as they are, and as the contents of an authentic packet of a hostile peer.
#![no_main]
use std::sync::Arc;
use libfuzzer_sys::fuzz_target;
use xvpn_dataplane::{AesKey, Integrity, Suite};
use xvpn_fuzz::gateway::{Gateway, SPI};

fuzz_target!(|data: &[u8]| {
    let Some((which, octets)) = data.split_first() else { return };
    let suite = match which % 4 {
        0 if which & 8 != 0 => Suite::AesCcm8(AesKey::Bits128),
        1 if which & 8 != 0 => Suite::AesGcm8(AesKey::Bits256),
        0 => Suite::AesGcm128,
        1 => Suite::AesGcm256,
        2 => Suite::ChaCha20Poly1305,
        _ => Suite::AesCbc { key_bits: 128, integrity: Integrity::HmacSha2_256_128 },
    };
    let mut gateway = Gateway::new(suite, which & 4 != 0);
    if octets.len() > 9000 {
        return;
    }
    let mut delivered = gateway.receive(octets);
    assert!(delivered.is_empty(), "nobody can forge a packet");
    let mut with_spi = SPI.0.to_be_bytes().to_vec();
    with_spi.extend_from_slice(octets);
    delivered = gateway.receive(&with_spi);
    assert!(delivered.is_empty(), "nobody can forge a packet");

    // A peer with the keys may put anything inside; `seal` wants a version nibble, the rest is free.
    let mut inner = gateway.pool.take();
    inner.set(octets);
    let sa = gateway.tables.tunnel(xvpn_dataplane::TunnelId(1)).map(|t| Arc::clone(&t.outbound[0].sa));
    let Some(sa) = sa else { return };
    let seq = sa.reserve(1).expect("numbers are left").first;
    if sa.seal(seq, &mut inner).is_ok() {
        let sealed = inner.octets().to_vec();
        for packet in gateway.receive(&sealed).iter() {
            assert!(xvpn_dataplane::ip::Header::parse(packet.octets()).is_ok(), "only IP packets reach the TUN");
        }
        assert!(gateway.receive(&sealed).is_empty(), "a replay was delivered");
    }
});
