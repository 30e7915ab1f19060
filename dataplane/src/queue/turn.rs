//! A queue: two ports, two pipelines, and one turn of both.

use std::borrow::Borrow;
use std::io;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use super::punt::PuntSender;
use crate::api::Punted;
use crate::buffer::{Batch, Pool};
use crate::discard::Discard;
use crate::io::{Port, Sent};
use crate::pipeline::{Inbound, Outbound};
use crate::stats::{Load, QueueStats, Stage, Stopwatch};
use crate::tables::Tables;

/// A queue between a TUN side and a wire side.
///
/// With memory ports it is the object of tests and benches, with TUN and sockets it is production: the same code.
///
/// Concurrency: owned by exactly one thread.
pub struct Queue<Tun: Port, Wire: Port> {
    /// The TUN side.
    pub tun: Tun,
    /// The wire side.
    pub wire: Wire,
    outbound: Outbound,
    inbound: Inbound,
    received: Batch,
    to_wire: Batch,
    to_tun: Batch,
    pool: Pool,
    stats: Arc<QueueStats>,
    /// One for each direction: with one for both, taken in turns, every even sample would be of the same.
    watch_outbound: Stopwatch,
    watch_inbound: Stopwatch,
    punt: PuntSender,
}

impl<Tun: Port, Wire: Port> Queue<Tun, Wire> {
    /// A queue that counts into `stats` and hands up to `punt`.
    pub fn new(tun: Tun, wire: Wire, stats: Arc<QueueStats>, punt: PuntSender) -> Self {
        Self {
            tun,
            wire,
            outbound: Outbound::new(Arc::clone(&stats)),
            inbound: Inbound::new(Arc::clone(&stats)),
            received: Batch::default(),
            to_wire: Batch::default(),
            to_tun: Batch::default(),
            pool: Pool::default(),
            stats,
            watch_outbound: Stopwatch::default(),
            watch_inbound: Stopwatch::default(),
            punt,
        }
    }

    /// The same as queue `queue` of `of`: which of the SAs for single resources are its own (RFC 9611).
    pub fn serving(mut self, queue: u32, of: u32) -> Self {
        self.outbound.set_place(queue, of);
        self
    }

    /// One batch each way, run to completion. Returns how many packets were received; 0 means there is nothing to do.
    ///
    /// `tables` gives the tables in force. They are asked for when the packets of a batch are in hand, never before: a peer
    /// sends with a new SA as soon as it is told of it (RFC 7296 2.8), and this thread may have had to wait for a CPU
    /// between any two lines. What was received after an SA was installed must be looked up in tables that have it.
    ///
    /// An error means that a port is lost.
    pub fn turn<T>(&mut self, tables: impl Fn() -> T) -> io::Result<usize>
    where
        T: Deref<Target: Borrow<Tables>>,
    {
        let now = Instant::now();
        let from_wire = self.turn_inbound(now, &tables)?;
        let from_tun = self.turn_outbound(now, &tables)?;
        Ok(from_wire + from_tun)
    }

    fn turn_outbound<T>(&mut self, now: Instant, tables: impl Fn() -> T) -> io::Result<usize>
    where
        T: Deref<Target: Borrow<Tables>>,
    {
        self.watch_outbound.begin();
        let [before, _] = self.tun.system_calls();
        let count = self.tun.recv(&mut self.received, &mut self.pool)?;
        let [after, _] = self.tun.system_calls();
        let read = load(&self.received);
        self.stats
            .pass(Stage::TunRead, read, after - before, self.watch_outbound.lap());
        if count == 0 {
            return Ok(0);
        }
        let tables = tables();
        let tables: &Tables = (*tables).borrow();
        let (to_wire, to_tun) = (&mut self.to_wire, &mut self.to_tun);
        self.outbound
            .run(now, tables, &mut self.received, to_wire, to_tun, &mut self.pool);
        self.received.recycle(&mut self.pool);
        self.stats.pass(Stage::Seal, read, 0, self.watch_outbound.lap());
        for tunnel in self.outbound.take_wanted() {
            // Beyond the rate, or with a full ring: the next packet asks again.
            self.punt.push(Punted::Wanted { tunnel });
        }
        if !self.to_wire.is_empty() {
            let sealed = load(&self.to_wire);
            let [_, before] = self.wire.system_calls();
            let sent = self.wire.send(&mut self.to_wire, &mut self.pool);
            let [_, after] = self.wire.system_calls();
            self.stats
                .pass(Stage::WireSend, sealed, after - before, self.watch_outbound.lap());
            self.count_wire(&sent);
            if let Some(too_big) = sent.too_big {
                tables.lower_path_mtu(too_big.tunnel, too_big.path_mtu);
            }
            if let Some(offload) = self.wire.take_refused() {
                self.punt.push(Punted::Refused(offload));
            }
        }
        self.send_to_tun(false);
        Ok(count)
    }

    fn turn_inbound<T>(&mut self, now: Instant, tables: impl Fn() -> T) -> io::Result<usize>
    where
        T: Deref<Target: Borrow<Tables>>,
    {
        self.watch_inbound.begin();
        let [before, _] = self.wire.system_calls();
        let count = self.wire.recv(&mut self.received, &mut self.pool)?;
        let [after, _] = self.wire.system_calls();
        let received = load(&self.received);
        self.stats.pass(
            Stage::WireReceive,
            received,
            after - before,
            self.watch_inbound.lap(),
        );
        if count == 0 {
            return Ok(0);
        }
        let tables = tables();
        let tables: &Tables = (*tables).borrow();
        let (punt, stats) = (&mut self.punt, &self.stats);
        let mut hand_up = |punted: Punted| {
            let hint = matches!(punted, Punted::UnknownSpi { .. });
            // A hint beyond the rate is no loss: the pipeline has counted its packet already.
            if !punt.push(punted) && !hint {
                stats.discard(Discard::PuntFull);
            }
        };
        self.inbound.run(
            now,
            tables,
            &mut self.received,
            &mut self.to_tun,
            &mut hand_up,
            &mut self.pool,
        );
        self.stats
            .pass(Stage::Open, received, 0, self.watch_inbound.lap());
        self.send_to_tun(true);
        Ok(count)
    }

    /// `timed`: as the last stage of an inbound turn. ICMP errors for senders are no stage of an outbound one.
    fn send_to_tun(&mut self, timed: bool) {
        if !self.to_tun.is_empty() {
            let opened = load(&self.to_tun);
            let [_, before] = self.tun.system_calls();
            let sent = self.tun.send(&mut self.to_tun, &mut self.pool);
            let [_, after] = self.tun.system_calls();
            let time = if timed { self.watch_inbound.lap() } else { None };
            self.stats.pass(Stage::TunWrite, opened, after - before, time);
            self.stats.discard_many(Discard::TunRefused, count(sent.lost));
            if let Some(offload) = self.tun.take_refused() {
                self.punt.push(Punted::Refused(offload));
            }
        }
    }

    fn count_wire(&self, sent: &Sent) {
        self.stats.discard_many(Discard::PathTooBig, count(sent.too_long));
        self.stats.discard_many(
            Discard::WireRefused,
            count(sent.lost.saturating_sub(sent.too_long)),
        );
    }
}

fn load(batch: &Batch) -> Load {
    Load {
        packets: count(batch.len()),
        octets: count(batch.octets()),
    }
}

fn count(packets: usize) -> u64 {
    u64::try_from(packets).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use arc_swap::ArcSwap;

    use super::*;
    use crate::api::{
        Encapsulation, InboundSpec, Keys, Lane, OutboundSpec, Path, Selector, Spi, Suite, TunnelId,
        TunnelSpec,
    };
    use crate::buffer::Packet;
    use crate::io::MemoryPort;
    use crate::queue::punt::{self, PuntReceiver};
    use crate::sa::{InboundSa, OutboundSa};

    type MemoryQueue = Queue<MemoryPort, MemoryPort>;

    fn queue() -> (MemoryQueue, PuntReceiver, Arc<QueueStats>) {
        let (punt, punts) = punt::ring().unwrap();
        let stats = Arc::new(QueueStats::new());
        let queue = Queue::new(
            MemoryPort::default(),
            MemoryPort::default(),
            Arc::clone(&stats),
            punt,
        );
        (queue, punts, stats)
    }

    /// Tables that send on one SPI and receive on another, everything to everything.
    fn tables(sending: u32, receiving: u32) -> Tables {
        let mut tables = Tables::default();
        let spec = TunnelSpec {
            id: TunnelId(1),
            interface: "xvpn0".to_owned(),
            path_mtu: 1500,
            clamp_mss: false,
            copy_dscp: false,
        };
        tables.open_tunnel(spec);
        let inbound = InboundSpec {
            tunnel: TunnelId(1),
            spi: Spi(receiving),
            suite: Suite::ChaCha20Poly1305,
            keys: keys(),
            esn: true,
            replay_window: 64,
            local: any(),
            remote: any(),
        };
        tables.install_inbound(Arc::new(InboundSa::new(&inbound).unwrap()));
        let sa = Arc::new(OutboundSa::new(&outbound(sending, receiving)).unwrap());
        assert!(tables.install_outbound(sa, path()));
        tables
    }

    fn outbound(spi: u32, inbound_spi: u32) -> OutboundSpec {
        OutboundSpec {
            tunnel: TunnelId(1),
            spi: Spi(spi),
            inbound_spi: Spi(inbound_spi),
            suite: Suite::ChaCha20Poly1305,
            keys: keys(),
            esn: true,
            local: any(),
            remote: any(),
            order: 0,
            path: path(),
            lane: Lane::default(),
        }
    }

    fn any() -> Vec<Selector> {
        let (first, last) = ("0.0.0.0".parse().unwrap(), "255.255.255.255".parse().unwrap());
        vec![Selector {
            first,
            last,
            protocol: 0,
            first_port: 0,
            last_port: u16::MAX,
        }]
    }

    fn keys() -> Keys {
        Keys {
            encryption: vec![7; 36].into(),
            integrity: Vec::new().into(),
        }
    }

    fn path() -> Path {
        let (local, remote) = (
            "192.0.2.1:4500".parse().unwrap(),
            "192.0.2.2:4500".parse().unwrap(),
        );
        Path {
            local,
            remote,
            encapsulation: Encapsulation::Udp,
        }
    }

    fn packet(octets: &[u8]) -> Packet {
        let mut packet = Packet::new();
        packet.set(octets);
        packet.meta.tunnel = TunnelId(1);
        packet.meta.path = path();
        packet
    }

    /// An IPv4 packet of protocol 253 with a right header checksum and one octet that tells it from others.
    fn inner(mark: u8) -> Vec<u8> {
        let mut octets = vec![
            0x45, 0, 0, 21, 0, 0, 0x40, 0, 64, 253, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, mark,
        ];
        let mut sum: u32 = octets[..20]
            .chunks(2)
            .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
            .sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        let [.., high, low] = (!sum).to_be_bytes();
        octets[10..12].copy_from_slice(&[high, low]);
        octets
    }

    #[test]
    fn packets_pass_from_tun_to_wire_to_tun_in_order() {
        let (mut alice, _, alices) = queue();
        let (mut bob, _, bobs) = queue();
        let sent: Vec<Vec<u8>> = (0..150).map(inner).collect();
        alice
            .tun
            .arriving
            .extend(sent.iter().map(|octets| packet(octets)));
        let to_bob = tables(0x1000, 0x2000);
        // A batch is 64 packets: the other side has its turn in between.
        assert_eq!(alice.turn(|| &to_bob).unwrap(), 64);
        while alice.turn(|| &to_bob).unwrap() > 0 {}
        assert_eq!(alice.wire.sent.len(), 150);
        for (esp, plain) in alice.wire.sent.iter().zip(&sent) {
            assert_eq!(esp.octets()[..4], [0, 0, 0x10, 0]);
            assert!(!esp.octets().windows(plain.len()).any(|window| window == plain));
        }
        bob.wire.arriving.extend(alice.wire.sent.drain(..));
        let to_alice = tables(0x2000, 0x1000);
        while bob.turn(|| &to_alice).unwrap() > 0 {}
        let received: Vec<&[u8]> = bob.tun.sent.iter().map(Packet::octets).collect();
        assert_eq!(received, sent);

        let passed = |stats: &QueueStats, stage| {
            let counts = stats.passed(stage);
            (counts.batches, counts.packets, counts.octets)
        };
        let plain = 150 * u64::try_from(inner(0).len()).unwrap();
        assert_eq!(passed(&alices, Stage::TunRead), (3, 150, plain));
        assert_eq!(passed(&alices, Stage::Seal), (3, 150, plain));
        let sealed = passed(&alices, Stage::WireSend);
        assert!(sealed.2 > plain, "{sealed:?}");
        assert_eq!(passed(&bobs, Stage::WireReceive), sealed);
        assert_eq!(passed(&bobs, Stage::TunWrite), (3, 150, plain));
        assert_eq!(passed(&bobs, Stage::TunRead), (0, 0, 0));
    }

    #[test]
    fn a_queue_sends_on_the_sa_of_its_resource_else_on_the_one_for_any_else_on_whatever_there_is() {
        let mut tables = tables(0x1000, 0x2000);
        let mut install = |spi, resource| {
            let mut spec = outbound(spi, 0x2000);
            spec.lane.resource = Some(resource);
            let sa = Arc::new(OutboundSa::new(&spec).unwrap());
            assert!(tables.install_outbound(sa, path()));
        };
        install(0x1100, 0);
        install(0x1200, 3);
        // Sent by queue 0, 1 and 2 of `of`.
        let sent = |tables: &Tables, of| {
            [0, 1, 2].map(|index| {
                let (queue, ..) = queue();
                let mut queue = queue.serving(index, of);
                queue.tun.arriving.push_back(packet(&inner(1)));
                queue.turn(|| tables).unwrap();
                let esp = queue.wire.sent[0].octets();
                u32::from_be_bytes([esp[0], esp[1], esp[2], esp[3]])
            })
        };
        assert_eq!(sent(&tables, 4), [0x1100, 0x1000, 0x1000]);
        assert_eq!(sent(&tables, 2)[..2], [0x1100, 0x1200], "resource 3 is queue 1's");
        tables.remove_outbound(TunnelId(1), Spi(0x1100));
        assert_eq!(sent(&tables, 2)[..2], [0x1000, 0x1200]);
        tables.remove_outbound(TunnelId(1), Spi(0x1000));
        assert_eq!(sent(&tables, 2)[..2], [0x1200, 0x1200]);
    }

    #[test]
    fn every_stage_is_timed_now_and_then() {
        let (mut alice, _, alices) = queue();
        let (mut bob, _, bobs) = queue();
        let (to_bob, to_alice) = (tables(0x1000, 0x2000), tables(0x2000, 0x1000));
        for _ in 0..2 * crate::stats::SAMPLE {
            alice.tun.arriving.push_back(packet(&inner(1)));
            alice.turn(|| &to_bob).unwrap();
            bob.wire.arriving.extend(alice.wire.sent.drain(..));
            bob.turn(|| &to_alice).unwrap();
        }
        for (stats, stages) in [
            (alices, [Stage::TunRead, Stage::Seal, Stage::WireSend]),
            (bobs, [Stage::WireReceive, Stage::Open, Stage::TunWrite]),
        ] {
            for stage in stages {
                assert_eq!(stats.passed(stage).timed_packets, 2, "{stage:?}");
            }
        }
    }

    #[test]
    fn ike_and_hints_go_up_and_a_full_ring_is_counted() {
        let (mut queue, punts, stats) = queue();
        let nothing = Tables::default();
        queue.wire.arriving.push_back(packet(b"\0\0\0\0message"));
        queue.wire.arriving.push_back(packet(&[0x77; 40]));
        queue.turn(|| &nothing).unwrap();
        let message = Punted::Ike {
            local: path().local,
            remote: path().remote,
            bytes: b"message".to_vec(),
        };
        assert_eq!(punts.pop(), Some(message));
        assert_eq!(
            punts.pop(),
            Some(Punted::UnknownSpi {
                spi: Spi(0x7777_7777),
                remote: path().remote
            })
        );
        assert_eq!(punts.pop(), None);

        queue
            .wire
            .arriving
            .extend((0..punt::CAPACITY + 3).map(|_| packet(b"\0\0\0\0message")));
        while queue.turn(|| &nothing).unwrap() > 0 {}
        assert_eq!(stats.discarded(Discard::PuntFull), 3);
    }

    /// A wire from which a packet is read just after control has published other tables.
    struct Overtaking<'a> {
        wire: MemoryPort,
        installed: Option<Tables>,
        shared: &'a ArcSwap<Tables>,
    }

    impl Port for Overtaking<'_> {
        fn recv(&mut self, batch: &mut Batch, pool: &mut Pool) -> io::Result<usize> {
            if let Some(tables) = self.installed.take() {
                self.shared.store(Arc::new(tables));
            }
            self.wire.recv(batch, pool)
        }

        fn send(&mut self, batch: &mut Batch, pool: &mut Pool) -> Sent {
            self.wire.send(batch, pool)
        }
    }

    #[test]
    fn what_was_received_after_an_sa_was_installed_is_opened_with_it() {
        let (mut alice, ..) = queue();
        alice.tun.arriving.push_back(packet(&inner(1)));
        let to_bob = tables(0x1000, 0x2000);
        alice.turn(|| &to_bob).unwrap();

        // Bob's thread waited for a CPU meanwhile: he installs the SA, tells Alice, and she sends on it.
        let shared = ArcSwap::from_pointee(Tables::default());
        let wire = Overtaking {
            wire: MemoryPort {
                arriving: alice.wire.sent.drain(..).collect(),
                ..MemoryPort::default()
            },
            installed: Some(tables(0x2000, 0x1000)),
            shared: &shared,
        };
        let (punt, _punts) = punt::ring().unwrap();
        let stats = Arc::new(QueueStats::new());
        let mut bob = Queue::new(MemoryPort::default(), wire, Arc::clone(&stats), punt);
        bob.turn(|| shared.load()).unwrap();
        assert_eq!(stats.discarded(Discard::UnknownSpi), 0);
        assert_eq!(bob.tun.sent.len(), 1);
    }

    /// A wire that takes nothing.
    struct Refusing(Sent);

    impl Port for Refusing {
        fn recv(&mut self, _batch: &mut Batch, _pool: &mut Pool) -> io::Result<usize> {
            Ok(0)
        }

        fn send(&mut self, batch: &mut Batch, pool: &mut Pool) -> Sent {
            batch.recycle(pool);
            self.0
        }
    }

    #[test]
    fn a_path_that_takes_less_is_remembered_and_losses_are_counted() {
        use crate::io::TooBig;
        let too_big = Some(TooBig {
            tunnel: TunnelId(1),
            path_mtu: 1280,
        });
        let (punt, _punts) = punt::ring().unwrap();
        let stats = Arc::new(QueueStats::new());
        let wire = Refusing(Sent {
            packets: 0,
            lost: 2,
            too_long: 1,
            too_big,
        });
        let mut queue = Queue::new(MemoryPort::default(), wire, Arc::clone(&stats), punt);
        queue.tun.arriving.extend([packet(&inner(1)), packet(&inner(2))]);
        let tables = tables(0x1000, 0x2000);
        queue.turn(|| &tables).unwrap();
        assert_eq!(
            tables.tunnel(TunnelId(1)).map(crate::tunnel::Tunnel::path_mtu),
            Some(1280)
        );
        assert_eq!(stats.discarded(Discard::PathTooBig), 1);
        assert_eq!(stats.discarded(Discard::WireRefused), 1);
    }
}
