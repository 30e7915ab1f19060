//! Two whole dataplanes with fixed keys: sockets on the loopback interface, each TUN in a namespace of its own.
//!
//! ```text
//!   namespace A            namespace of the program             namespace B
//!   10.70.0.1  xvpn0 --- Control A --- 127.0.0.1 / 127.0.0.2 --- Control B --- xvpn0  10.70.0.2
//!   fd70::1                            ::1, two ports                                 fd70::2
//! ```
//!
//! A TUN belongs to the namespace of the thread that opens it, a socket to that of the thread that makes it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use xvpn_dataplane::Offloads;
use xvpn_dataplane::{
    Command, Config, Control, Encapsulation, InboundSpec, Keys, Lane, OutboundSpec, Path, Selector, Spi,
    Started, Steering, Suite, TunnelId, TunnelSpec,
};

use crate::netns::{self, TUN_DEVICE};

/// One gateway and the host behind it.
pub(crate) struct Side {
    pub(crate) started: Started,
    pub(crate) host: Host,
    pub(crate) udp: SocketAddr,
}

/// A network namespace to run something in.
pub(crate) struct Host {
    namespace: std::fs::File,
}

impl Host {
    pub(crate) fn new() -> Self {
        let made = thread::spawn(|| {
            netns::unshare_network().unwrap();
            netns::bring_up("lo").unwrap();
            // Open, it keeps the namespace when the thread is gone.
            std::fs::File::open("/proc/thread-self/ns/net").unwrap()
        });
        Self {
            namespace: made.join().unwrap(),
        }
    }

    /// Runs `work` in the namespace while the caller waits.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                netns::enter(&self.namespace).unwrap();
                work()
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

pub(crate) fn start(udp: SocketAddr, raw_esp: bool) -> std::io::Result<Started> {
    start_with(udp, raw_esp, Offloads::default())
}

fn start_with(udp: SocketAddr, raw_esp: bool, offloads: Offloads) -> std::io::Result<Started> {
    let steering = steering();
    Control::start(&Config {
        queues: 2,
        udp: vec![udp],
        raw_esp,
        // As much as all streams of a test may have under way, so that the kernel need not drop any of it.
        socket_buffer: 64 << 20,
        tun_device: PathBuf::from(TUN_DEVICE),
        offloads,
        own_ports: true,
        steering,
    })
}

/// What keeps flows in order. Root of a user namespace only may be refused, and nothing can be said of order then; where nothing
/// may be left out (`XVPN_REQUIRE_NETNS`), that is a failure.
pub(crate) fn steering() -> Option<Steering> {
    let steering = Steering::load(2);
    if let Err(error) = &steering {
        let words = format!("no steering of flows, so no test of their order: bpf: {error}");
        assert!(!crate::required(), "{words}");
        println!("  SKIPPED: {words}");
    }
    steering.ok()
}

impl Side {
    pub(crate) fn new(udp: &str, inner: Ipv4Addr, raw_esp: bool, offloads: Offloads) -> Self {
        let udp = udp.parse().unwrap();
        let started = start_with(udp, raw_esp, offloads).unwrap();
        assert_eq!(started.notes, Vec::<String>::new());
        let host = Host::new();
        let control = &started.control;
        host.run(|| {
            assert_eq!(control.open_tunnel(&tunnel("xvpn0")).unwrap(), None);
            netns::configure("xvpn0", inner).unwrap();
            netns::add_ipv6("xvpn0", inner_ipv6(inner)).unwrap();
            netns::set_mtu("xvpn0", 1400).unwrap();
        });
        Self { started, host, udp }
    }

    pub(crate) fn install(&self, peer: &Self, sending: u32, receiving: u32, encapsulation: Encapsulation) {
        let everything = || vec![any_ipv4(), any_ipv6()];
        let control = &self.started.control;
        control.perform(Command::InstallInbound(Box::new(InboundSpec {
            tunnel: TUNNEL,
            spi: Spi(receiving),
            suite: Suite::AesGcm256,
            keys: keys(receiving),
            esn: true,
            replay_window: 8192,
            local: everything(),
            remote: everything(),
            aggfrag: false,
        })));
        control.perform(Command::InstallOutbound(Box::new(OutboundSpec {
            tunnel: TUNNEL,
            spi: Spi(sending),
            inbound_spi: Spi(receiving),
            suite: Suite::AesGcm256,
            keys: keys(sending),
            esn: true,
            local: everything(),
            remote: everything(),
            order: 0,
            path: Path {
                local: self.udp,
                remote: peer.udp,
                encapsulation,
            },
            lane: Lane {
                spread: true,
                window: 8192,
                ..Lane::default()
            },
            aggregation: None,
        })));
    }

    pub(crate) fn counters(&self) -> Vec<(&'static str, u64)> {
        let all = self.started.control.counters();
        all.into_iter()
            .filter(|counter| counter.value > 0)
            .map(|counter| (counter.name, counter.value))
            .collect()
    }
}

pub(crate) fn pair(alice: &str, bob: &str, encapsulation: Encapsulation) -> (Side, Side) {
    pair_with(alice, bob, encapsulation, [Offloads::default(); 2])
}

/// The same, each with these offloads.
pub(crate) fn pair_with(
    alice: &str,
    bob: &str,
    encapsulation: Encapsulation,
    offloads: [Offloads; 2],
) -> (Side, Side) {
    pair_of(alice, bob, encapsulation, offloads, (0x1000, 0x2001))
}

/// The same, with these SPIs: to Bob and to Alice.
pub(crate) fn pair_of(
    alice: &str,
    bob: &str,
    encapsulation: Encapsulation,
    offloads: [Offloads; 2],
    (to_bob, to_alice): (u32, u32),
) -> (Side, Side) {
    let raw = encapsulation == Encapsulation::None;
    let alice = Side::new(&format!("{}:4500", bracket(alice)), ALICE, raw, offloads[0]);
    // On IPv6 loopback there is one address only; the port tells the two apart.
    let port = if bob.contains(':') { 4501 } else { 4500 };
    let bob = Side::new(&format!("{}:{port}", bracket(bob)), BOB, raw, offloads[1]);
    alice.install(&bob, to_bob, to_alice, encapsulation);
    bob.install(&alice, to_alice, to_bob, encapsulation);
    (alice, bob)
}

pub(crate) fn bind(address: Ipv4Addr) -> UdpSocket {
    let socket = UdpSocket::bind((address, PORT)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

pub(crate) fn tunnel(interface: &str) -> TunnelSpec {
    let interface = interface.to_owned();
    TunnelSpec {
        id: TUNNEL,
        interface,
        path_mtu: 1500,
        clamp_mss: true,
        copy_dscp: true,
    }
}

pub(crate) fn keys(seed: u32) -> Keys {
    let encryption: Vec<u8> = (0..36)
        .map(|index| seed.to_be_bytes()[index % 4] ^ index.to_be_bytes()[7])
        .collect();
    Keys {
        encryption: encryption.into(),
        integrity: Vec::new().into(),
    }
}

pub(crate) fn any_ipv4() -> Selector {
    any(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::BROADCAST.into())
}

pub(crate) fn any_ipv6() -> Selector {
    any(Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::from([0xff; 16]).into())
}

/// The other address of the host that has this one.
pub(crate) fn inner_ipv6(inner: Ipv4Addr) -> Ipv6Addr {
    let [.., host] = inner.octets();
    Ipv6Addr::new(0xfd70, 0, 0, 0, 0, 0, 0, u16::from(host))
}

fn any(first: IpAddr, last: IpAddr) -> Selector {
    Selector {
        first,
        last,
        protocol: 0,
        first_port: 0,
        last_port: u16::MAX,
    }
}

pub(crate) fn bracket(address: &str) -> String {
    if address.contains(':') {
        format!("[{address}]")
    } else {
        address.to_owned()
    }
}

pub(crate) const TUNNEL: TunnelId = TunnelId(1);
pub(crate) const ALICE: Ipv4Addr = Ipv4Addr::new(10, 70, 0, 1);
pub(crate) const BOB: Ipv4Addr = Ipv4Addr::new(10, 70, 0, 2);
pub(crate) const PORT: u16 = 5000;
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
