//! A dataplane without threads and sockets: two pipelines over tables with one tunnel, keys known to the fuzzer.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use xvpn_dataplane::buffer::{Batch, Pool};
use xvpn_dataplane::pipeline::{Inbound, Outbound};
use xvpn_dataplane::sa::{InboundSa, OutboundSa};
use xvpn_dataplane::stats::QueueStats;
use xvpn_dataplane::tables::Tables;
use xvpn_dataplane::*;

pub struct Gateway {
    pub tables: Tables,
    pub inbound: Inbound,
    pub outbound: Outbound,
    pub pool: Pool,
    pub now: Instant,
}

pub const SPI: Spi = Spi(0x0102_0304);

pub fn path() -> Path {
    let at = |last| SocketAddr::from((Ipv4Addr::new(192, 0, 2, last), 4500));
    Path { local: at(1), remote: at(2), encapsulation: Encapsulation::Udp }
}

fn any() -> Vec<Selector> {
    let one = |first, last| Selector { first, last, protocol: 0, first_port: 0, last_port: 65535 };
    vec![
        one(IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::BROADCAST)),
        one(IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::from(u128::MAX))),
    ]
}

fn keys(suite: Suite) -> Keys {
    let (encryption, integrity) = match suite {
        Suite::AesGcm128 | Suite::AesGcm128Iiv => (20, 0),
        Suite::AesGcm256 | Suite::AesGcm256Iiv | Suite::ChaCha20Poly1305 | Suite::ChaCha20Poly1305Iiv => (36, 0),
        Suite::AesCbc { .. } => (16, 32),
        Suite::AesCcm8(key) | Suite::AesCcm12(key) | Suite::AesCcm16(key) | Suite::AesCcm8Iiv(key) => (aes(key) + 3, 0),
        Suite::AesGcm8(key) | Suite::AesGcm12(key) => (aes(key) + 4, 0),
    };
    Keys { encryption: vec![7; encryption].into(), integrity: vec![9; integrity].into() }
}

fn aes(key: AesKey) -> usize {
    match key {
        AesKey::Bits128 => 16,
        AesKey::Bits192 => 24,
        AesKey::Bits256 => 32,
    }
}

impl Gateway {
    pub fn new(suite: Suite, esn: bool) -> Self {
        let tunnel = TunnelId(1);
        let spec = TunnelSpec { id: tunnel, interface: "fuzz0".into(), path_mtu: 1500, clamp_mss: true, copy_dscp: true };
        let mut tables = Tables::default();
        tables.open_tunnel(spec);
        let inbound = InboundSpec { tunnel, spi: SPI, suite, keys: keys(suite), esn, replay_window: 1024, local: any(), remote: any(), aggfrag: false };
        let outbound = OutboundSpec {
            tunnel, spi: SPI, inbound_spi: SPI, suite, keys: keys(suite), esn, local: any(), remote: any(), order: 0, path: path(),
            lane: Lane::default(), aggregation: None,
        };
        tables.install_inbound(Arc::new(InboundSa::new(&inbound).expect("keys")));
        assert!(tables.install_outbound(Arc::new(OutboundSa::new(&outbound).expect("keys")), path()), "the tunnel is open");
        let stats = Arc::new(QueueStats::new());
        Self {
            tables,
            inbound: Inbound::new(Arc::clone(&stats)),
            outbound: Outbound::new(stats),
            pool: Pool::new(256),
            now: Instant::now(),
        }
    }

    /// What arrives from the wire; returns what would be written to the TUN.
    pub fn receive(&mut self, octets: &[u8]) -> Batch {
        let (mut wire, mut tun) = (Batch::new(1), Batch::new(64));
        let mut packet = self.pool.take();
        packet.set(octets);
        packet.meta.path = path();
        wire.push(packet);
        self.inbound.run(self.now, &self.tables, &mut wire, &mut tun, &mut |_| {}, &mut self.pool);
        tun
    }

    /// What the kernel routes into the TUN; returns what would be sent.
    pub fn send(&mut self, octets: &[u8]) -> Batch {
        let (mut from, mut wire, mut back) = (Batch::new(1), Batch::new(4096), Batch::new(64));
        let mut packet = self.pool.take();
        packet.set(octets);
        packet.meta.tunnel = TunnelId(1);
        from.push(packet);
        self.outbound.run(self.now, &self.tables, &mut from, &mut wire, &mut back, &mut self.pool);
        for answer in back.iter() {
            assert!(xvpn_dataplane::ip::Header::parse(answer.octets()).is_ok(), "our own ICMP error is malformed");
        }
        wire
    }
}
