//! The caller's door: start, open tunnels, perform commands, read counts.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::api::{Command, Config, Pace, SaUsage, TunnelId, TunnelSpec, Usage};
use crate::discard::Discard;
use crate::io::udp::IkeSocket;
use crate::queue::{Beside, PuntReceiver, Workers};
use crate::sa::{InboundSa, OutboundSa, backend};
use crate::stats::{Counter, Counts, QueueStats};
use crate::tables::Tables;

/// What control and the queues share.
///
/// Concurrency: queues load `tables` once per batch and never wait; control publishes a new one.
#[derive(Debug)]
pub struct Shared {
    /// The tables in force.
    pub tables: ArcSwap<Tables>,
    /// One set of counters per queue, and a last one for control.
    pub stats: Vec<Arc<QueueStats>>,
}

impl Shared {
    /// Empty tables and zero counters for so many queues.
    pub fn new(queues: usize) -> Arc<Self> {
        let stats = (0..=queues).map(|_| Arc::new(QueueStats::new())).collect();
        Arc::new(Self {
            tables: ArcSwap::from_pointee(Tables::default()),
            stats,
        })
    }

    /// How many queues there are.
    pub fn queues(&self) -> usize {
        self.stats.len().saturating_sub(1)
    }

    /// The counters of queue `index`.
    pub fn queue_stats(&self, index: usize) -> Arc<QueueStats> {
        self.stats.get(index).cloned().unwrap_or_default()
    }
}

/// The running dataplane. Dropped, it stops.
///
/// Concurrency: all methods take `&self` and may be called from any thread; changes of the tables are serialised.
pub struct Control {
    shared: Arc<Shared>,
    changing: Mutex<()>,
    workers: Workers,
}

/// What starting gives.
pub struct Started {
    /// The door.
    pub control: Control,
    /// What the queues hand up.
    pub punts: PuntReceiver,
    /// One per UDP address of the configuration, to send IKE messages from the port that ESP uses.
    pub ike: Vec<IkeSocket>,
    /// For the operator: what the kernel did not give and is done without.
    pub notes: Vec<String>,
}

impl Control {
    /// Binds the sockets and starts one thread per queue.
    pub fn start(config: &Config) -> io::Result<Started> {
        // Measured before there is traffic.
        backend::choices();
        let shared = Shared::new(config.queues.max(1));
        let (workers, Beside { punts, ike, notes }) = Workers::start(config, Arc::clone(&shared))?;
        Ok(Started {
            control: Self {
                shared,
                changing: Mutex::new(()),
                workers,
            },
            punts,
            ike,
            notes,
        })
    }

    /// Creates the TUN of a tunnel and attaches its queues. Packets into it are refused until an SA is installed.
    ///
    /// Gives a note for the operator if the kernel lacks a feature. The interface is down and has no address yet.
    pub fn open_tunnel(&self, spec: &TunnelSpec) -> io::Result<Option<String>> {
        self.change(|tables| tables.open_tunnel(spec.clone()));
        self.workers
            .open_tunnel(spec)
            .inspect_err(|_| self.change(|tables| tables.close_tunnel(spec.id)))
    }

    /// Forgets a tunnel with its SAs and closes its TUN.
    pub fn close_tunnel(&self, id: TunnelId) {
        self.change(|tables| tables.close_tunnel(id));
        self.workers.close_tunnel(id);
    }

    /// Performs a command; it is visible to the next batch of every queue.
    pub fn perform(&self, command: Command) {
        let mut paced = None;
        if let Command::InstallOutbound(spec) = &command {
            self.workers.spread(spec.tunnel, spec.lane.spread);
            if let Some(Pace::Constant { per_second }) = spec.aggregation.map(|of| of.pace) {
                paced = Some((spec.tunnel, spec.order, per_second));
            }
        }
        self.shared.perform(&self.changing, command);
        // Only now: a queue that finds no SA does not go on.
        if let Some((tunnel, order, per_second)) = paced {
            self.workers.pace(tunnel, order, per_second);
        }
    }

    /// The counts of every CHILD SA, in no order.
    pub fn usage(&self) -> Vec<SaUsage> {
        usage(&self.shared.tables.load())
    }

    /// One counter per discard reason, summed over queues and control.
    pub fn counters(&self) -> Vec<Counter> {
        self.counts().discards()
    }

    /// What each queue discarded and what went through its stages, and what control itself refused.
    pub fn counts(&self) -> Counts {
        Counts::read(&self.shared.stats)
    }

    /// The longest inner packet of a tunnel now: for the MTU of its interface. `None` without an SA.
    pub fn inner_mtu(&self, tunnel: TunnelId) -> Option<u16> {
        self.shared.tables.load().tunnel(tunnel)?.inner_mtu()
    }

    /// Why a queue ended although nobody stopped it; `None` while all is well. Its peers carry on without it.
    pub fn failure(&self) -> Option<String> {
        self.workers.failure()
    }

    /// Stops the queues and closes everything. An error says how a queue had failed before.
    pub fn stop(self) -> io::Result<()> {
        self.workers.stop()
    }

    fn change(&self, change: impl FnOnce(&mut Tables)) {
        self.shared.change(&self.changing, change);
    }
}

impl Shared {
    /// Clone, change, publish. The lock is between callers of control only; no queue ever takes it.
    fn change(&self, changing: &Mutex<()>, change: impl FnOnce(&mut Tables)) {
        drop(self.exchange(changing, change));
    }

    /// The same. Gives what was in force until now.
    fn exchange(&self, changing: &Mutex<()>, change: impl FnOnce(&mut Tables)) -> Arc<Tables> {
        let _one_at_a_time = changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tables = Tables::clone(&self.tables.load());
        change(&mut tables);
        self.tables.swap(Arc::new(tables))
    }

    fn perform(&self, changing: &Mutex<()>, command: Command) {
        match command {
            Command::InstallInbound(spec) => match InboundSa::new(&spec) {
                Ok(sa) => self.change(changing, |tables| tables.install_inbound(Arc::new(sa))),
                Err(_) => self.refuse(),
            },
            Command::InstallOutbound(spec) => {
                let mut installed = false;
                if let Ok(sa) = OutboundSa::new(&spec).map(|sa| sa.shared_by(self.queues())) {
                    self.change(changing, |tables| {
                        installed = tables.install_outbound(Arc::new(sa), spec.path);
                    });
                }
                if !installed {
                    self.refuse();
                }
            }
            Command::RemoveInbound(spi) => self.change(changing, |tables| tables.remove_inbound(spi)),
            Command::RemoveOutbound(tunnel, spi) => {
                let old = self.exchange(changing, |tables| tables.remove_outbound(tunnel, spi));
                await_stragglers(&old, STRAGGLERS);
            }
            Command::SetPath(tunnel, path) => self.change(changing, |tables| tables.set_path(tunnel, path)),
            Command::Trap(tunnel, trap) => self.change(changing, |tables| tables.set_trap(tunnel, trap)),
        }
    }

    fn refuse(&self) {
        if let Some(own) = self.stats.last() {
            own.discard(Discard::UnusableSa);
        }
    }
}

/// Waits for the queues that have a batch in hand by tables that are no longer in force, for a moment: the peer may be told next that
/// nothing comes any more on an SA that was removed.
fn await_stragglers(old: &Arc<Tables>, patience: Duration) {
    let begin = Instant::now();
    // Whoever still looks at them is counted since they were exchanged.
    while Arc::strong_count(old) > 1 && begin.elapsed() < patience {
        thread::yield_now();
    }
}

/// A batch takes a tenth of a millisecond; a thread that waits for a CPU longer than this is not waited for, because control has
/// others to serve.
const STRAGGLERS: Duration = Duration::from_millis(5);

/// Joins the two SAs of each CHILD SA by our SPI.
fn usage(tables: &Tables) -> Vec<SaUsage> {
    let mut children = HashMap::new();
    for sa in tables.all_inbound() {
        let (inbound_bytes, inbound_packets) = sa.usage().read();
        let usage = Usage {
            inbound_bytes,
            inbound_packets,
            ..Usage::default()
        };
        children.insert(
            sa.spi(),
            SaUsage {
                tunnel: sa.tunnel(),
                inbound_spi: sa.spi(),
                usage,
            },
        );
    }
    for sa in tables
        .tunnels()
        .flat_map(|tunnel| tunnel.outbound.iter())
        .map(|outbound| &outbound.sa)
    {
        let child = children.entry(sa.inbound_spi()).or_insert_with(|| SaUsage {
            tunnel: sa.tunnel(),
            inbound_spi: sa.inbound_spi(),
            usage: Usage::default(),
        });
        (child.usage.outbound_bytes, child.usage.outbound_packets) = sa.usage().read();
    }
    children.into_values().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, Ordering};

    use zeroize::Zeroizing;

    use super::*;
    use crate::api::{Encapsulation, InboundSpec, Keys, Lane, OutboundSpec, Path, Spi, Suite};

    const TUNNEL: TunnelId = TunnelId(3);

    fn keys(len: usize) -> Keys {
        Keys {
            encryption: Zeroizing::new(vec![7; len]),
            integrity: Zeroizing::new(Vec::new()),
        }
    }

    fn path(port: u16) -> Path {
        let address = |last| ([192, 0, 2, last], port).into();
        Path {
            local: address(1),
            remote: address(2),
            encapsulation: Encapsulation::Udp,
        }
    }

    fn inbound(spi: u32, key: usize) -> Command {
        Command::InstallInbound(Box::new(InboundSpec {
            tunnel: TUNNEL,
            spi: Spi(spi),
            suite: Suite::AesGcm128,
            keys: keys(key),
            esn: true,
            replay_window: 1024,
            local: Vec::new(),
            remote: Vec::new(),
            aggfrag: false,
        }))
    }

    fn outbound(spi: u32, inbound_spi: u32) -> Command {
        Command::InstallOutbound(Box::new(OutboundSpec {
            tunnel: TUNNEL,
            spi: Spi(spi),
            inbound_spi: Spi(inbound_spi),
            suite: Suite::AesGcm128,
            keys: keys(20),
            esn: true,
            local: Vec::new(),
            remote: Vec::new(),
            order: 0,
            path: path(4500),
            lane: Lane::default(),
            aggregation: None,
        }))
    }

    /// What control and queues share, with one tunnel open and these commands performed.
    fn shared(commands: impl IntoIterator<Item = Command>) -> Arc<Shared> {
        let (shared, changing) = (Shared::new(2), Mutex::new(()));
        let spec = TunnelSpec {
            id: TUNNEL,
            interface: "xvpn0".into(),
            path_mtu: 1500,
            clamp_mss: true,
            copy_dscp: true,
        };
        shared.change(&changing, |tables| tables.open_tunnel(spec));
        for command in commands {
            shared.perform(&changing, command);
        }
        shared
    }

    fn outbound_spis(shared: &Shared) -> Vec<u32> {
        let tables = shared.tables.load();
        tables
            .tunnel(TUNNEL)
            .iter()
            .flat_map(|tunnel| &tunnel.outbound)
            .map(|outbound| outbound.sa.spi().0)
            .collect()
    }

    #[test]
    fn a_batch_in_hand_is_waited_for_before_an_sa_counts_as_removed() {
        let shared = shared([outbound(0x200, 0x100)]);
        let (in_hand, done) = (Barrier::new(2), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                let tables = shared.tables.load();
                in_hand.wait();
                thread::sleep(Duration::from_millis(20));
                done.store(true, Ordering::SeqCst);
                drop(tables);
            });
            in_hand.wait();
            let old = shared.exchange(&Mutex::new(()), |tables| {
                tables.remove_outbound(TUNNEL, Spi(0x200))
            });
            assert!(Arc::strong_count(&old) > 1);
            await_stragglers(&old, Duration::ZERO);
            await_stragglers(&old, Duration::from_secs(60));
            assert!(done.load(Ordering::SeqCst));
        });
    }

    #[test]
    fn the_newest_outbound_sa_comes_first_until_it_is_removed() {
        let installed = [outbound(0x500, 0x100), outbound(0x600, 0x200)];
        assert_eq!(outbound_spis(&shared(installed.clone())), [0x600, 0x500]);
        let remove = |spi| Command::RemoveOutbound(TUNNEL, Spi(spi));
        let after = shared(installed.into_iter().chain([remove(0x600), remove(0x777)]));
        assert_eq!(outbound_spis(&after), [0x500]);
    }

    #[test]
    fn both_directions_of_a_child_are_one_line_of_usage() {
        let shared = shared([inbound(0x100, 20), outbound(0x500, 0x100), inbound(0x200, 20)]);
        let tables = shared.tables.load();
        tables.inbound(Spi(0x100)).unwrap().usage().add(2, 300);
        tables.tunnel(TUNNEL).unwrap().outbound[0].sa.usage().add(1, 99);
        let mut lines = usage(&tables);
        lines.sort_by_key(|line| line.inbound_spi);
        assert_eq!(lines.len(), 2);
        let expected = Usage {
            inbound_bytes: 300,
            inbound_packets: 2,
            outbound_bytes: 99,
            outbound_packets: 1,
        };
        assert_eq!((lines[0].inbound_spi, lines[0].usage), (Spi(0x100), expected));
        assert_eq!(
            (lines[1].inbound_spi, lines[1].usage),
            (Spi(0x200), Usage::default())
        );
    }

    #[test]
    fn usage_and_sequence_numbers_outlive_a_change_of_the_tables() {
        let shared = shared([outbound(0x500, 0x100)]);
        let before = shared.tables.load_full();
        before.tunnel(TUNNEL).unwrap().outbound[0].sa.reserve(5).unwrap();
        shared.perform(&Mutex::new(()), Command::SetPath(TUNNEL, path(4501)));
        let after = shared.tables.load();
        let outbound = &after.tunnel(TUNNEL).unwrap().outbound[0];
        assert_eq!(outbound.path, path(4501));
        assert_eq!(outbound.sa.reserve(1).unwrap().first, 6);
        assert_eq!(
            before.tunnel(TUNNEL).unwrap().outbound[0].path,
            path(4500),
            "a snapshot stays as it is"
        );
    }

    #[test]
    fn an_sa_with_wrong_keys_is_counted_and_not_installed() {
        let shared = shared([inbound(0x100, 19)]);
        assert!(shared.tables.load().inbound(Spi(0x100)).is_none());
        let counts = Counts::read(&shared.stats);
        let unusable = |counters: &[Counter]| {
            let counter = counters.iter().find(|counter| counter.name == "unusable_sa");
            counter.map(|counter| counter.value)
        };
        assert_eq!(unusable(&counts.discards()), Some(1));
        assert_eq!(unusable(&counts.control), Some(1));
        let queues: Vec<_> = counts
            .queues
            .iter()
            .map(|queue| unusable(&queue.discards))
            .collect();
        assert_eq!(queues, [Some(0), Some(0)], "no queue refused it");
    }

    #[test]
    fn closing_a_tunnel_forgets_its_sas_both_ways() {
        let shared = shared([inbound(0x100, 20), outbound(0x500, 0x100)]);
        shared.change(&Mutex::new(()), |tables| tables.close_tunnel(TUNNEL));
        let tables = shared.tables.load();
        assert!(tables.inbound(Spi(0x100)).is_none() && tables.tunnel(TUNNEL).is_none());
        assert!(usage(&tables).is_empty());
    }
}
