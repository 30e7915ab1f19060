//! Batches that cross the end of 32 bits, and reach the end of 64, on their way from a queue to a queue.

use super::tests::{any, inner, keys, packet, path, queue};
use crate::api::{InboundSpec, Lane, OutboundSpec, Spi, Suite, TunnelId, TunnelSpec};
use crate::buffer::Packet;
use crate::discard::Discard;
use crate::sa::{InboundSa, OutboundSa};
use crate::tables::Tables;
use std::sync::Arc;

const SUITES: [Suite; 3] = [Suite::ChaCha20Poly1305, Suite::AesGcm256, Suite::AesGcm256Iiv];
const SPI: Spi = Spi(0x1000);
const EDGE: u64 = 1 << 32;

/// An SA from Alice to Bob after so many packets, in tables that serve for both.
fn tables(suite: Suite, esn: bool, last: u64) -> Tables {
    let mut tables = Tables::default();
    tables.open_tunnel(TunnelSpec {
        id: TunnelId(1),
        interface: "xvpn0".to_owned(),
        path_mtu: 1500,
        clamp_mss: false,
        copy_dscp: false,
    });
    let inbound = InboundSpec {
        tunnel: TunnelId(1),
        spi: SPI,
        suite,
        keys: keys(),
        esn,
        replay_window: 128,
        local: any(),
        remote: any(),
        aggfrag: false,
    };
    tables.install_inbound(Arc::new(InboundSa::after(&inbound, last).unwrap()));
    let outbound = OutboundSpec {
        tunnel: TunnelId(1),
        spi: SPI,
        inbound_spi: SPI,
        suite,
        keys: keys(),
        esn,
        local: any(),
        remote: any(),
        order: 0,
        path: path(),
        lane: Lane::default(),
        aggregation: None,
    };
    let sa = Arc::new(OutboundSa::after(&outbound, last).unwrap());
    assert!(tables.install_outbound(sa, path()));
    tables
}

/// What Alice puts on the wire for so many packets, and what she refuses for want of numbers.
fn sealed(tables: &Tables, count: u8) -> (Vec<Packet>, u64) {
    let (mut alice, _punts, stats) = queue();
    alice
        .tun
        .arriving
        .extend((0..count).map(|mark| packet(&inner(mark))));
    while alice.turn(|| tables).unwrap() > 0 {}
    (
        alice.wire.sent.drain(..).collect(),
        stats.discarded(Discard::SequenceExhausted),
    )
}

/// What Bob gives his host of it, by the octet that tells packets apart, and what he refuses as replayed or too late.
fn opened(tables: &Tables, esp: impl IntoIterator<Item = Packet>) -> (Vec<u8>, u64) {
    let (mut bob, _punts, stats) = queue();
    bob.wire.arriving.extend(esp);
    while bob.turn(|| tables).unwrap() > 0 {}
    let marks = bob.tun.sent.iter().map(|packet| packet.octets()[20]).collect();
    let refused = [Discard::Replayed, Discard::OutsideWindow, Discard::BadIcv];
    (
        marks,
        refused.into_iter().map(|reason| stats.discarded(reason)).sum(),
    )
}

fn number(esp: &Packet) -> u32 {
    let octets = esp.octets();
    u32::from_be_bytes([octets[4], octets[5], octets[6], octets[7]])
}

/// The same packets once more.
fn again(esp: &[Packet]) -> Vec<Packet> {
    esp.iter().map(|esp| packet(esp.octets())).collect()
}

#[test]
fn a_batch_passes_the_end_of_32_bits_with_extended_numbers() {
    for suite in SUITES {
        let tables = tables(suite, true, EDGE - 21);
        let (esp, exhausted) = sealed(&tables, 100);
        assert_eq!((esp.len(), exhausted), (100, 0), "{suite:?}");
        assert_eq!((number(&esp[0]), number(&esp[19])), (u32::MAX - 19, u32::MAX));
        assert_eq!((number(&esp[20]), number(&esp[99])), (0, 79));
        let copy = again(&esp);
        assert_eq!(opened(&tables, esp), ((0..100).collect(), 0), "{suite:?}");
        assert_eq!(opened(&tables, copy), (vec![], 100), "all are known by now");
    }
}

#[test]
fn packets_of_before_the_end_of_32_bits_come_after_it() {
    let tables = tables(Suite::AesGcm256, true, EDGE - 21);
    let (esp, _) = sealed(&tables, 60);
    let copies = again(&esp);
    let (early, late) = (again(&copies[..20]), again(&copies[20..]));
    // The second of the two batches overtakes the first.
    assert_eq!(opened(&tables, late), ((20..60).collect(), 0));
    assert_eq!(opened(&tables, early), ((0..20).collect(), 0));
    assert_eq!(opened(&tables, copies), (vec![], 60));
}

#[test]
fn without_extended_numbers_a_batch_ends_at_the_last_of_32_bits() {
    for suite in SUITES {
        let tables = tables(suite, false, EDGE - 31);
        let (esp, exhausted) = sealed(&tables, 100);
        // RFC 4303 3.3.3: the counter must not cycle.
        assert_eq!((esp.len(), exhausted), (30, 70), "{suite:?}");
        assert_eq!(number(&esp[29]), u32::MAX);
        let copy = again(&esp);
        assert_eq!(opened(&tables, esp), ((0..30).collect(), 0), "{suite:?}");
        assert_eq!(opened(&tables, copy), (vec![], 30));
        assert_eq!(sealed(&tables, 5).1, 5, "and nothing any more");
    }
}

#[test]
fn with_extended_numbers_a_batch_ends_at_the_last_of_64_bits() {
    for suite in SUITES {
        let tables = tables(suite, true, u64::MAX - 70);
        let (esp, exhausted) = sealed(&tables, 100);
        assert_eq!((esp.len(), exhausted), (70, 30), "{suite:?}");
        assert_eq!(number(&esp[69]), u32::MAX);
        let copy = again(&esp);
        assert_eq!(opened(&tables, esp), ((0..70).collect(), 0), "{suite:?}");
        assert_eq!(opened(&tables, copy), (vec![], 70));
        assert_eq!(sealed(&tables, 5).1, 5, "and nothing any more");
    }
}
