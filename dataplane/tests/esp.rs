//! ESP packets through the doors of the SAs: what one end seals, the other opens, once, unchanged.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test or bench fails by panicking"
)]

mod fixture;

use fixture::{SUITES, hex, inbound_spec, outbound_spec, packet, pair, seal, v4, v6};
use proptest::prelude::*;
use xvpn_dataplane::buffer::Packet;
use xvpn_dataplane::esp::layout::Layout;
use xvpn_dataplane::sa::{BadKeys, InboundSa, OutboundSa};
use xvpn_dataplane::{Discard, Suite};
use zeroize::Zeroizing;

#[test]
fn what_is_sealed_opens_for_every_suite_family_and_length() {
    for suite in SUITES {
        for esn in [false, true] {
            let (alice, bob) = pair(suite, esn);
            for len in (40..120).chain([576, 1372, 1438, 9000]) {
                for inner in [v4(len), v6(len)] {
                    let mut esp = seal(&alice, &inner);
                    assert_eq!(esp.len(), Layout::of(suite).sealed(len), "{suite:?}");
                    assert_ne!(esp.octets().get(32..52), inner.get(0..20), "in the clear");
                    bob.open(&mut esp)
                        .unwrap_or_else(|reason| panic!("{suite:?} {esn} {len}: {reason:?}"));
                    assert_eq!(esp.octets(), inner);
                }
            }
        }
    }
}

#[test]
fn a_change_of_any_octet_is_noticed_and_does_not_move_the_window() {
    for suite in SUITES {
        for esn in [false, true] {
            let (alice, bob) = pair(suite, esn);
            let good = seal(&alice, &v4(60));
            for at in 0..good.len() {
                let mut bad = packet(good.octets());
                bad.octets_mut()[at] ^= 0x40;
                assert!(bob.open(&mut bad).is_err(), "{suite:?} {esn} octet {at}");
                assert_eq!(bob.window().highest(), 0);
            }
            assert!(bob.open(&mut packet(good.octets())).is_ok());
        }
    }
}

#[test]
fn a_packet_cut_short_is_refused() {
    for suite in SUITES {
        let (alice, bob) = pair(suite, false);
        let good = seal(&alice, &v4(60));
        for len in 0..good.len() {
            assert!(
                bob.open(&mut packet(&good.octets()[..len])).is_err(),
                "{suite:?} {len}"
            );
        }
        assert_eq!(bob.window().highest(), 0);
    }
}

#[test]
fn a_packet_is_accepted_once() {
    let (alice, bob) = pair(Suite::AesGcm128, false);
    let mut esp = seal(&alice, &v4(60));
    let mut again = packet(esp.octets());
    assert!(bob.open(&mut esp).is_ok());
    assert_eq!(bob.open(&mut again), Err(Discard::Replayed));
}

#[test]
fn a_packet_older_than_the_window_is_refused() {
    // With ESN such a number is taken for one of the next 2^32 (RFC 4303 A2.2), and the ICV is wrong: no sign of a forger.
    for esn in [false, true] {
        let (alice, bob) = pair(Suite::ChaCha20Poly1305, esn);
        let mut packets: Vec<Packet> = (0..1025).map(|_| seal(&alice, &v4(60))).collect();
        assert!(bob.open(packets.last_mut().unwrap()).is_ok());
        assert_eq!(bob.open(&mut packets[0]), Err(Discard::OutsideWindow));
        assert!(bob.open(&mut packets[1]).is_ok());
    }
}

#[test]
fn a_forged_packet_within_the_window_or_ahead_of_it_fails_its_icv() {
    let last = 5_000;
    let bob = InboundSa::after(&inbound_spec(Suite::AesGcm128, true), last).unwrap();
    for ahead in [0, 1, 1_000_000] {
        let alice = OutboundSa::after(&outbound_spec(Suite::AesGcm128, true), last + ahead).unwrap();
        let mut forged = seal(&alice, &v4(60));
        *forged.octets_mut().last_mut().unwrap() ^= 1;
        assert_eq!(bob.open(&mut forged), Err(Discard::BadIcv), "{ahead}");
    }
}

#[test]
fn an_sa_without_esn_ends_at_32_bits() {
    let last = u64::from(u32::MAX) - 1;
    let alice = OutboundSa::after(&outbound_spec(Suite::AesGcm128, false), last).unwrap();
    let bob = InboundSa::after(&inbound_spec(Suite::AesGcm128, false), last).unwrap();
    assert_eq!(
        bob.open(&mut seal(&alice, &v4(60))).map(|opened| opened.sequence),
        Ok(u64::from(u32::MAX))
    );
    assert_eq!(alice.reserve(1), Err(Discard::SequenceExhausted));
}

#[test]
fn an_sa_with_esn_goes_on_beyond_32_bits_in_any_order() {
    for suite in SUITES {
        let last = (1 << 32) - 3;
        let alice = OutboundSa::after(&outbound_spec(suite, true), last).unwrap();
        let bob = InboundSa::after(&inbound_spec(suite, true), last).unwrap();
        let mut packets: Vec<Packet> = (0..6).map(|_| seal(&alice, &v4(60))).collect();
        for (index, offset) in [(4, 5), (0, 1), (2, 3), (1, 2), (5, 6), (3, 4)] {
            let opened = bob.open(&mut packets[index]).map(|opened| opened.sequence);
            assert_eq!(opened, Ok(last + offset), "{suite:?}");
        }
    }
}

#[test]
fn an_sa_with_esn_ends_at_64_bits() {
    let alice = OutboundSa::after(&outbound_spec(Suite::AesGcm128, true), u64::MAX - 1).unwrap();
    let bob = InboundSa::after(&inbound_spec(Suite::AesGcm128, true), u64::MAX - 1).unwrap();
    assert_eq!(
        bob.open(&mut seal(&alice, &v4(60))).map(|opened| opened.sequence),
        Ok(u64::MAX)
    );
    assert_eq!(alice.reserve(1), Err(Discard::SequenceExhausted));
}

#[test]
fn the_half_of_the_sequence_number_that_is_not_sent_is_authentic() {
    for suite in SUITES {
        let alice = OutboundSa::after(&outbound_spec(suite, true), 5 << 32).unwrap();
        let bob = InboundSa::after(&inbound_spec(suite, true), 6 << 32).unwrap();
        assert_eq!(
            bob.open(&mut seal(&alice, &v4(60))),
            Err(Discard::BadIcv),
            "{suite:?}"
        );
    }
}

#[test]
fn the_iv_of_cbc_never_repeats_and_does_not_count() {
    let (alice, _) = pair(SUITES[4], true);
    let mut ivs: Vec<Vec<u8>> = (0..100)
        .map(|_| seal(&alice, &v4(60)).octets()[8..24].to_vec())
        .collect();
    assert!(
        ivs.windows(2)
            .all(|two| two[0].iter().zip(&two[1]).filter(|(a, b)| a != b).count() > 8)
    );
    ivs.sort();
    ivs.dedup();
    assert_eq!(ivs.len(), 100);
}

#[test]
fn refuses_keys_of_another_length() {
    for suite in SUITES {
        let mut spec = outbound_spec(suite, false);
        spec.keys.encryption.push(0);
        assert_eq!(OutboundSa::new(&spec).err(), Some(BadKeys), "{suite:?}");
        let mut spec = inbound_spec(suite, false);
        spec.keys.integrity.push(0);
        assert_eq!(InboundSa::new(&spec).err(), Some(BadKeys), "{suite:?}");
        spec.keys.encryption = Zeroizing::new(Vec::new());
        assert_eq!(InboundSa::new(&spec).err(), Some(BadKeys), "{suite:?}");
    }
}

#[test]
fn opens_the_example_of_rfc_7634_appendix_a() {
    let mut spec = inbound_spec(Suite::ChaCha20Poly1305, false);
    spec.spi = xvpn_dataplane::Spi(0x0102_0304);
    spec.keys.encryption = Zeroizing::new((0x80..=0xa3).collect());
    let sa = InboundSa::new(&spec).unwrap();
    let mut esp = packet(&hex("01020304 00000005 1011121314151617
         240394 28b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c6
         14ee8099d52844eb61aa95dfab4c02f72aa71e7c4c4f64c9befe2facc638e8f3
         cbec163fac469b502773f6fb94e664da9165b82829f641e0
         76aaa8266b7fb0f7b11b369907e1ad43"));
    assert_eq!(sa.open(&mut esp).map(|opened| opened.sequence), Ok(5));
    let expected = hex("45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec10
         0007362708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223
         2425262728292a2b2c2d2e2f3031323334353637");
    assert_eq!(esp.octets(), expected);
}

/// draft-mcgrew-gcm-test-01, the two cases with a 128-bit key: one without and one with ESN.
///
/// Their next header is 1 (ICMP), which tunnel mode refuses, but only after the ICV was verified and removed.
#[test]
fn opens_the_examples_of_draft_mcgrew_gcm_test() {
    let mut spec = inbound_spec(Suite::AesGcm128, false);
    spec.spi = xvpn_dataplane::Spi(0xa5f8);
    spec.keys.encryption = Zeroizing::new(hex("feffe9928665731c6d6a8f9467308308 cafebabe"));
    let mut esp = packet(&hex("0000a5f80000000a facedbaddecaf888
         deb22cd9b07c72c16e3a65beeb8df304a5a5897d33ae530f1ba76d5d114d2a5c
         3de81827c10e9a4f51330d0eec416642cfbb85a5b47e48a4ec3b9ba95d918bd1
         83b70d3aa8bc6ee4c309e9d85a41ad4a"));
    assert_eq!(
        InboundSa::new(&spec).unwrap().open(&mut esp),
        Err(Discard::NextHeader)
    );
    let plain = "4500003e698f000080114dccc0a80102c0a801010a980035002a2343b2d00100
                 0001000000000000037369700963796265726369747902646b0000010001";
    assert_eq!(esp.octets(), hex(plain));

    spec.esn = true;
    spec.spi = xvpn_dataplane::Spi(0x4321);
    spec.keys.encryption = Zeroizing::new(hex("4c80cdefbb5d10da906ac73c3613a634 2e443b68"));
    let sa = InboundSa::after(&spec, 0x8765_4320_ffff_ffff).unwrap();
    let mut esp = packet(&hex("0000432100000000 4956ed7e3b244cfe
         fecf537e729d5b07dc30df528dd22b768d1b98736696a6fd348509fa13ceac34
         cfa2436f14a3f3cf65925bf1f4a13c5d15b21e1884f5ff6247aeabb786b93bce
         61bc17d768fd9732 459018148f6cbe722fd04796562dfdb4"));
    assert_eq!(sa.open(&mut esp), Err(Discard::NextHeader));
    assert_eq!(sa.window().highest(), 0x8765_4321_0000_0000);
}

proptest! {
    #[test]
    fn what_is_sealed_opens_alike_and_any_changed_bit_is_refused(
        suite in 0..SUITES.len(), esn: bool, last in 0..u64::from(u32::MAX) - 1,
        len in 40..1500_usize, bit in any::<proptest::sample::Index>(),
    ) {
        let suite = SUITES[suite];
        let alice = OutboundSa::after(&outbound_spec(suite, esn), last).unwrap();
        let sealed = seal(&alice, &v4(len));
        let bob = || InboundSa::after(&inbound_spec(suite, esn), last).unwrap();

        let mut good = packet(sealed.octets());
        prop_assert_eq!(bob().open(&mut good).map(|opened| opened.sequence), Ok(last + 1));
        prop_assert_eq!(good.octets(), v4(len));

        let bit = bit.index(sealed.len() * 8);
        let mut bad = packet(sealed.octets());
        bad.octets_mut()[bit / 8] ^= 1 << (bit % 8);
        let bob = bob();
        prop_assert!(bob.open(&mut bad).is_err(), "{:?} bit {}", suite, bit);
        prop_assert_eq!(bob.window().highest(), last, "nothing was accepted");
    }

    #[test]
    fn any_octets_are_opened_or_refused_without_panic(
        suite in 0..SUITES.len(), esn: bool, octets in proptest::collection::vec(any::<u8>(), 0..200), spi: bool,
    ) {
        let (_, bob) = pair(SUITES[suite], esn);
        let mut packet = packet(&octets);
        if spi && packet.len() >= 4 {
            packet.octets_mut()[..4].copy_from_slice(&fixture::SPI.0.to_be_bytes());
        }
        prop_assert!(bob.open(&mut packet).is_err());
        prop_assert_eq!(bob.window().highest(), 0);
    }
}
