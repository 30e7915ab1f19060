//! SAs for single resources (RFC 9611): each queue sends on its own, from a UDP port of its own.
//!
//! ```text
//!   host A, many flows --- xvpn0 q0 == SA of resource 0, port p ==> a plain socket in Bob's place
//!                                q1 == SA of resource 1, port q ==>
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use xvpn_dataplane::{Command, Encapsulation, Lane, Offloads, OutboundSpec, Path, Spi, Suite};

use crate::lab::{ALICE, BOB, PATIENCE, Side, TUNNEL, any_ipv4, keys, steering};
use crate::netns::until;

pub(crate) const TESTS: &[crate::Test] = &[(
    "each_queue_sends_on_the_sa_of_its_resource_from_a_port_of_its_own",
    has_lanes,
)];

fn has_lanes() {
    let alice = Side::new("127.0.0.1:4500", ALICE, false, Offloads::default());
    let bob = UdpSocket::bind("127.0.0.2:4500").unwrap();
    let control = &alice.started.control;
    let install = |spi, lane| {
        control.perform(Command::InstallOutbound(Box::new(OutboundSpec {
            tunnel: TUNNEL,
            spi: Spi(spi),
            inbound_spi: Spi(spi),
            suite: Suite::AesGcm256,
            keys: keys(spi),
            esn: true,
            local: vec![any_ipv4()],
            remote: vec![any_ipv4()],
            path: path(&alice, bob.local_addr().unwrap()),
            order: 0,
            lane,
            aggregation: None,
        })));
    };
    let spread = Lane {
        spread: true,
        ..Lane::default()
    };
    install(BASE, spread);
    for (resource, spi) in (0..).zip(OF_RESOURCES) {
        install(
            spi,
            Lane {
                resource: Some(resource),
                own_port: true,
                apart: true,
                spread: true,
                window: 4096,
            },
        );
    }

    // The thread of a queue has the flows spread, when it gets a CPU.
    let steered = steering().is_some();
    let seen = until("both queues to send", || {
        let seen = sent_by(&alice, &bob);
        (seen.len() == 2 || !steered).then_some(seen)
    });
    if steered {
        assert_eq!(seen.keys().copied().collect::<Vec<_>>(), OF_RESOURCES);
    }
    assert!(!seen.contains_key(&BASE), "{seen:?}");
    let ports: BTreeSet<u16> = seen.values().flatten().copied().collect();
    assert_eq!(ports.len(), seen.len(), "one port for each queue: {seen:?}");
    assert!(!ports.contains(&4500), "{seen:?}");

    // What comes to such a port is nobody's.
    let stranger = UdpSocket::bind("127.0.0.3:0").unwrap();
    for port in &ports {
        stranger.send_to(&[0x77; 40], ("127.0.0.1", *port)).unwrap();
    }

    // Lost: its queue goes on with the one for any queue, from the port of the path.
    control.perform(Command::RemoveOutbound(TUNNEL, Spi(OF_RESOURCES[1])));
    let seen = sent_by(&alice, &bob);
    assert!(!seen.contains_key(&OF_RESOURCES[1]), "{seen:?}");
    assert!(
        seen.get(&BASE)
            .is_none_or(|ports| *ports == BTreeSet::from([4500])),
        "{seen:?}"
    );

    // Elsewhere: whether the way takes other ports is not known.
    let elsewhere = UdpSocket::bind("127.0.0.2:4600").unwrap();
    control.perform(Command::SetPath(
        TUNNEL,
        path(&alice, elsewhere.local_addr().unwrap()),
    ));
    let seen = sent_by(&alice, &elsewhere);
    let ports: BTreeSet<u16> = seen.values().flatten().copied().collect();
    assert_eq!(ports, BTreeSet::from([4500]), "{seen:?}");
    assert_eq!(
        alice.counters().iter().find(|(name, _)| *name == "unknown_spi"),
        None
    );
}

/// The SPIs that many flows of Alice's host leave with, and the ports they come from.
fn sent_by(alice: &Side, bob: &UdpSocket) -> BTreeMap<u32, BTreeSet<u16>> {
    bob.set_read_timeout(Some(PATIENCE)).unwrap();
    alice.host.run(|| {
        for flow in 0..FLOWS {
            let socket = UdpSocket::bind((ALICE, 20_000 + flow)).unwrap();
            socket.send_to(b"flow", (BOB, 9)).unwrap();
        }
    });
    let mut seen: BTreeMap<u32, BTreeSet<u16>> = BTreeMap::new();
    let mut room = [0; 2048];
    let mut count = 0;
    until("all flows", || {
        let (len, from) = bob.recv_from(&mut room).unwrap();
        // Other things leave a host, too; they are longer.
        count += u16::from(len < 80);
        let spi = u32::from_be_bytes([room[0], room[1], room[2], room[3]]);
        seen.entry(spi).or_default().insert(from.port());
        (count == FLOWS).then_some(())
    });
    bob.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    while bob.recv_from(&mut room).is_ok() {}
    seen
}

fn path(alice: &Side, remote: SocketAddr) -> Path {
    Path {
        local: alice.udp,
        remote,
        encapsulation: Encapsulation::Udp,
    }
}

const BASE: u32 = 0x1000;
const OF_RESOURCES: [u32; 2] = [0x1100, 0x1200];
const FLOWS: u16 = 64;
