//! One end of a tunnel and the other, in memory, and each stage of the packet path between them as one call.
//!
//! [`Bed::prepare`] puts in place what a stage begins with and is never part of a measurement; [`Bed::run`] is the stage, for one
//! batch, and nothing else.

#![allow(dead_code, unreachable_pub, reason = "each bench uses its part")]

#[path = "../../tests/fixture/mod.rs"]
pub mod fixture;

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use fixture::{TUNNEL, inbound_spec, outbound_spec, path, tunnel_spec};
use xvpn_dataplane::buffer::{Batch, Packet, Pool};
use xvpn_dataplane::io::tun::door::{self, Split};
use xvpn_dataplane::io::tun::vnet::{F_NEEDS_CSUM, GSO_TCPV4, LEN, VnetHeader};
use xvpn_dataplane::io::{MemoryPort, landing};
use xvpn_dataplane::ip::{Header, checksum, selector};
use xvpn_dataplane::pipeline::{Inbound, Outbound};
use xvpn_dataplane::queue::{Queue, punt};
use xvpn_dataplane::sa::{InboundSa, OutboundSa, ReplayWindow};
use xvpn_dataplane::stats::QueueStats;
use xvpn_dataplane::tables::Tables;
use xvpn_dataplane::{Encapsulation, Suite};

/// Packets of a batch: a super-packet of 64 KiB, cut for a path MTU of 1,500, and what leaves in one send.
pub const PACKETS: usize = 44;

/// A stage of the packet path, or one look-up of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A super-packet of TCP, as read from a TUN, to packets.
    Split,
    /// The inner header of each packet parsed.
    Header,
    /// The selectors of an SA against the parsed header.
    Selector,
    /// A sequence number and the sealing of each packet: the cipher and what goes around it.
    Seal,
    /// The outbound pipeline: header, selectors, SA, MTU, ECN, sealing.
    Outbound,
    /// `Queue::turn` from TUN to wire, ports in memory.
    TurnOutbound,
    /// Datagrams that the kernel had joined, taken apart.
    Apart,
    /// An SA found by its SPI.
    Sad,
    /// The replay window asked and told.
    Window,
    /// Each packet opened: the cipher and what goes around it.
    Open,
    /// The inbound pipeline: SAD, window, opening, selectors, ECN.
    Inbound,
    /// `Queue::turn` from wire to TUN, ports in memory.
    TurnInbound,
    /// The packets of a flow joined to one write, checksums verified.
    Merge,
}

impl Stage {
    /// All, in the order of a packet's journey.
    pub const ALL: [Self; 13] = [
        Self::Split,
        Self::Header,
        Self::Selector,
        Self::Seal,
        Self::Outbound,
        Self::TurnOutbound,
        Self::Apart,
        Self::Sad,
        Self::Window,
        Self::Open,
        Self::Inbound,
        Self::TurnInbound,
        Self::Merge,
    ];

    /// Its name on the command line and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::Header => "header",
            Self::Selector => "selector",
            Self::Seal => "seal",
            Self::Outbound => "outbound",
            Self::TurnOutbound => "turn-outbound",
            Self::Apart => "apart",
            Self::Sad => "sad",
            Self::Window => "window",
            Self::Open => "open",
            Self::Inbound => "inbound",
            Self::TurnInbound => "turn-inbound",
            Self::Merge => "merge",
        }
    }
}

/// A queue between ports in memory.
pub type MemoryQueue = Queue<MemoryPort, MemoryPort>;

/// Both ends of a CHILD SA and a batch of packets between two stages.
pub struct Bed {
    tables: Tables,
    alice: Arc<OutboundSa>,
    bob: Arc<InboundSa>,
    header: [u8; LEN],
    split: Split,
    outbound: Outbound,
    inbound: Inbound,
    sending: MemoryQueue,
    receiving: MemoryQueue,
    window: ReplayWindow,
    sequence: u64,
    parsed: Header,
    stats: Arc<QueueStats>,
    pool: Pool,
    plain: Batch,
    sealed: Batch,
    answers: Batch,
    piece: BytesMut,
    segment: u16,
}

impl Bed {
    /// For packets whose inner length is `octets`.
    pub fn new(suite: Suite, octets: usize) -> Self {
        let (tables, alice, bob) = tables(suite);
        let (header, whole) = super_packet(octets);
        let stats = Arc::new(QueueStats::new());
        let split = Split::of(&whole).unwrap();
        Self {
            tables,
            alice,
            bob,
            header,
            split,
            outbound: Outbound::new(Arc::clone(&stats)),
            inbound: Inbound::new(Arc::clone(&stats)),
            sending: memory_queue(),
            receiving: memory_queue(),
            window: ReplayWindow::new(1024),
            sequence: 0,
            parsed: Header::parse(&fixture::v4(64)).unwrap(),
            stats,
            pool: Pool::default(),
            plain: Batch::default(),
            sealed: Batch::default(),
            answers: Batch::default(),
            piece: BytesMut::new(),
            segment: 0,
        }
    }

    /// What `stage` begins with.
    pub fn prepare(&mut self, stage: Stage) {
        for batch in [&mut self.plain, &mut self.sealed, &mut self.answers] {
            batch.recycle(&mut self.pool);
        }
        for packet in self
            .sending
            .wire
            .sent
            .drain(..)
            .chain(self.receiving.tun.sent.drain(..))
        {
            self.pool.give(packet);
        }
        match stage {
            Stage::Split | Stage::Selector | Stage::Sad | Stage::Window => {}
            Stage::Header | Stage::Seal | Stage::Outbound | Stage::Merge => self.fill(),
            Stage::TurnOutbound => {
                self.fill();
                self.sending.tun.arriving.extend(self.plain.drain());
            }
            Stage::Open | Stage::Inbound => self.seal(),
            Stage::TurnInbound => {
                self.seal();
                self.receiving.wire.arriving.extend(self.sealed.drain());
            }
            Stage::Apart => {
                self.seal();
                self.piece = BytesMut::with_capacity(1 << 16);
                for packet in self.sealed.iter() {
                    self.piece.extend_from_slice(packet.octets());
                    self.segment = u16::try_from(packet.len()).unwrap();
                }
                self.sealed.recycle(&mut self.pool);
            }
        }
    }

    /// The stage itself. Gives how many packets went through; anything but [`PACKETS`] is a fault of the bench.
    pub fn run(&mut self, stage: Stage) -> usize {
        match stage {
            Stage::Split => {
                self.fill();
                self.plain.len()
            }
            Stage::Header => passed(&self.plain, |packet| Header::parse(packet.octets()).is_ok()),
            Stage::Selector => {
                let selectors = self.alice.selectors();
                let permits =
                    || selector::permits_outbound(&selectors.local, &selectors.remote, &self.parsed);
                (0..PACKETS).filter(|_| std::hint::black_box(permits())).count()
            }
            Stage::Seal => {
                let block = self.alice.reserve(PACKETS as u64).unwrap();
                let numbered = block.iter().zip(self.plain.iter_mut());
                numbered
                    .filter_map(|(number, packet)| self.alice.seal(number, packet).ok())
                    .count()
            }
            Stage::Outbound => {
                self.run_outbound();
                self.sealed.len()
            }
            Stage::TurnOutbound => self.sending.turn(|| &self.tables).unwrap(),
            Stage::Apart => {
                // A reference to a shared place is split off, as from a place of the landing; the octets stay where they are.
                let (piece, segment) = (self.piece.split(), Some(self.segment));
                landing::take_apart_into(piece, segment, &mut self.sealed, &self.stats);
                self.sealed.len()
            }
            Stage::Sad => {
                let find = || self.tables.inbound(std::hint::black_box(fixture::SPI));
                (0..PACKETS).filter(|_| find().is_some()).count()
            }
            Stage::Window => {
                let first = self.sequence + 1;
                self.sequence += PACKETS as u64;
                let accept = |number: &u64| {
                    self.window
                        .check(*number)
                        .and_then(|()| self.window.accept(*number))
                        .is_ok()
                };
                (first..=self.sequence).filter(accept).count()
            }
            Stage::Open => {
                let bob = &self.bob;
                self.sealed
                    .iter_mut()
                    .filter_map(|packet| bob.open(packet).ok())
                    .count()
            }
            Stage::Inbound => {
                let (now, mut punt) = (Instant::now(), |_| {});
                let (sealed, plain) = (&mut self.sealed, &mut self.plain);
                self.inbound
                    .run(now, &self.tables, sealed, plain, &mut punt, &mut self.pool);
                self.plain.len()
            }
            Stage::TurnInbound => {
                self.receiving.turn(|| &self.tables).unwrap();
                self.receiving.tun.sent.len()
            }
            Stage::Merge => door::merge(self.plain.packets_mut(), true).unwrap_or(0),
        }
    }

    fn fill(&mut self) {
        self.split
            .run(&self.header, &mut self.plain, &mut self.pool)
            .unwrap();
        for packet in self.plain.iter_mut() {
            packet.meta.tunnel = TUNNEL;
        }
    }

    fn seal(&mut self) {
        self.fill();
        self.run_outbound();
        for packet in self.sealed.iter_mut() {
            packet.meta.path.encapsulation = Encapsulation::Udp;
        }
    }

    fn run_outbound(&mut self) {
        let (plain, sealed, answers) = (&mut self.plain, &mut self.sealed, &mut self.answers);
        self.outbound.run(
            Instant::now(),
            &self.tables,
            plain,
            sealed,
            answers,
            &mut self.pool,
        );
    }
}

fn passed(batch: &Batch, mut stage: impl FnMut(&Packet) -> bool) -> usize {
    batch
        .iter()
        .filter(|packet| std::hint::black_box(stage(packet)))
        .count()
}

/// Tables with both ends of one CHILD SA, and the two SAs.
pub fn tables(suite: Suite) -> (Tables, Arc<OutboundSa>, Arc<InboundSa>) {
    let mut tables = Tables::default();
    tables.open_tunnel(tunnel_spec());
    let alice = Arc::new(OutboundSa::new(&outbound_spec(suite, true)).unwrap());
    let bob = Arc::new(InboundSa::new(&inbound_spec(suite, true)).unwrap());
    assert!(tables.install_outbound(Arc::clone(&alice), path()));
    tables.install_inbound(Arc::clone(&bob));
    (tables, alice, bob)
}

/// A queue between two empty ports.
pub fn memory_queue() -> MemoryQueue {
    let (sender, _) = punt::ring().unwrap();
    Queue::new(
        MemoryPort::default(),
        MemoryPort::default(),
        Arc::new(QueueStats::new()),
        sender,
    )
}

/// What a read of a TUN gives: [`PACKETS`] segments of TCP with timestamps, each `octets` long with its headers.
pub fn super_packet(octets: usize) -> ([u8; LEN], Vec<u8>) {
    let size = octets - HEADERS;
    let total = HEADERS + size * PACKETS;
    let [high, low] = u16::try_from(total).unwrap().to_be_bytes();
    let mut whole = vec![
        0x45, 0, high, low, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 1, 0, 5, 10, 2, 0, 9,
    ];
    fixture::checksum_v4(&mut whole);
    whole.extend([
        0x13, 0x89, 0x9c, 0x40, 0, 0, 0, 1, 0, 0, 0, 1, 0x80, ACK, 2, 0, 0, 0, 0, 0,
    ]);
    whole.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1]);
    whole.extend((HEADERS..total).map(|at| u8::try_from(at % 251).unwrap()));
    let length = u32::try_from(total - TRANSPORT).unwrap();
    let pseudo = !checksum::finish(checksum::add(6 + length, &whole[12..20]));
    whole[36..38].copy_from_slice(&pseudo.to_be_bytes());
    let header = VnetHeader {
        flags: F_NEEDS_CSUM,
        gso_type: GSO_TCPV4,
        header_len: u16::try_from(HEADERS).unwrap(),
        gso_size: u16::try_from(size).unwrap(),
        checksum_start: u16::try_from(TRANSPORT).unwrap(),
        checksum_offset: 16,
    };
    (header.emit(), whole)
}

/// IPv4, and TCP with timestamps.
const HEADERS: usize = TRANSPORT + 32;
const TRANSPORT: usize = 20;
const ACK: u8 = 0x10;
