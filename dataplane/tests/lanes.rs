//! Which SA a queue sends on, and from which port, where there are SAs for single resources (RFC 9611).

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test or bench fails by panicking"
)]

mod fixture;

use std::sync::Arc;

use fixture::{TUNNEL, outbound_spec, packet, path, tunnel_spec, v4};
use xvpn_dataplane::io::MemoryPort;
use xvpn_dataplane::queue::{Queue, punt};
use xvpn_dataplane::sa::OutboundSa;
use xvpn_dataplane::stats::QueueStats;
use xvpn_dataplane::tables::Tables;
use xvpn_dataplane::{Encapsulation, Lane, OutboundSpec, Path, Spi, Suite};

const FOR_ANY: u32 = 0x0f00;
const APART: Lane = Lane {
    resource: None,
    own_port: true,
    apart: true,
    spread: true,
    window: 4096,
};

/// Tables with an SA for each lane, its SPI its resource; `FOR_ANY` without one.
fn with(lanes: &[Lane]) -> Tables {
    let mut tables = Tables::default();
    tables.open_tunnel(tunnel_spec());
    for lane in lanes {
        let spec = OutboundSpec {
            spi: Spi(lane.resource.unwrap_or(FOR_ANY)),
            lane: *lane,
            ..outbound_spec(Suite::AesGcm128, true)
        };
        let sa = OutboundSa::new(&spec).unwrap().shared_by(2);
        assert!(tables.install_outbound(Arc::new(sa), spec.path));
    }
    tables
}

/// The SPI that each of two queues sends a packet on, and whether it leaves from the queue's own port.
fn used(tables: &Tables) -> [(u32, bool); 2] {
    [0, 1].map(|place| {
        let (sender, _punts) = punt::ring().unwrap();
        let stats = Arc::new(QueueStats::new());
        let mut queue =
            Queue::new(MemoryPort::default(), MemoryPort::default(), stats, sender).serving(place, 2);
        queue.tun.arriving.extend([packet(&v4(60))]);
        while queue.turn(|| tables).unwrap() > 0 {}
        let sent = &queue.wire.sent[0];
        let spi = u32::from_be_bytes(*sent.octets().first_chunk().unwrap());
        (spi, sent.meta.own_port)
    })
}

fn of(resource: u32, lane: Lane) -> Lane {
    Lane {
        resource: Some(resource),
        ..lane
    }
}

const ANY: Lane = Lane {
    resource: None,
    own_port: false,
    apart: false,
    spread: true,
    window: 4096,
};

#[test]
fn each_queue_has_its_sa_and_its_port() {
    let tables = with(&[ANY, of(0, APART), of(1, APART)]);
    assert_eq!(used(&tables), [(0, true), (1, true)]);
}

#[test]
fn what_the_peer_tells_apart_by_a_port_that_we_cannot_have_is_not_used() {
    let shared = Lane {
        own_port: false,
        ..APART
    };
    let tables = with(&[ANY, of(0, shared), of(1, shared)]);
    assert_eq!(used(&tables), [(FOR_ANY, false); 2]);
    // Nothing else is there: one of them for all queues, so that each flow has one.
    let tables = with(&[of(0, shared), of(1, shared)]);
    let [first, second] = used(&tables);
    assert_eq!(first, second);
    assert!(!first.1);
}

#[test]
fn on_another_path_than_they_were_made_for_all_share_the_sa_for_any_queue() {
    let mut tables = with(&[ANY, of(0, APART), of(1, APART)]);
    tables.set_path(
        TUNNEL,
        Path {
            remote: "203.0.113.9:4500".parse().unwrap(),
            ..path()
        },
    );
    assert_eq!(used(&tables), [(FOR_ANY, false); 2]);
    tables.set_path(TUNNEL, path());
    assert_eq!(used(&tables), [(0, true), (1, true)]);
}

#[test]
fn without_udp_no_port_is_needed_and_with_it_again_one_is() {
    let without = Lane {
        own_port: false,
        ..APART
    };
    let mut tables = with(&[ANY, of(0, without), of(1, without)]);
    tables.set_path(
        TUNNEL,
        Path {
            encapsulation: Encapsulation::None,
            ..path()
        },
    );
    assert_eq!(used(&tables), [(0, false), (1, false)]);
    tables.set_path(TUNNEL, path());
    assert_eq!(used(&tables), [(FOR_ANY, false); 2]);
}

#[test]
fn a_peer_that_needs_no_ports_gets_an_sa_for_each_queue_from_the_shared_one() {
    let tables = with(&[ANY, of(0, ANY), of(1, ANY)]);
    assert_eq!(used(&tables), [(0, false), (1, false)]);
}
